"""Whose CPU time it was: the readers on files of their own, the account on a machine made up here."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from builders import LIGHT
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.monitors.cpu_account import CpuAccount, ProcessTree
from pytest_rayperf.monitors.proc import CpuTimes, ProcessTimes, ProcFs
from pytest_rayperf.monitors.utilization import CpuSpans, Span

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="accounts are kept on Linux only")

ROOT, RAYLET, OTHER = 100, 200, 300
"""The driver, which waits for its children; a raylet, which doesn't; and somebody else's process."""


@dataclass
class Machine:
    """A process file system in memory. Time passes in seconds of work; each CPU's idle time is the rest."""

    cpus_online: tuple[int, ...] = (0, 1)
    now: float = 1000.0
    processes: dict[int, ProcessTimes] = field(default_factory=dict)
    ignoring: set[int] = field(default_factory=set)
    idle: float = 0.0
    steal: float = 0.0
    broken: Exception | None = None
    born: int = 0

    def start(self, pid, parent):
        self.born += 1
        self.processes[pid] = ProcessTimes(parent, self.born, 0.0)

    def work(self, pid, seconds):
        one = self.processes[pid]
        self.processes[pid] = ProcessTimes(one.parent, one.started, one.cpu_seconds + seconds)

    def end(self, pid):
        """As the kernel does: a parent that waits gets the time; from one that ignores SIGCHLD it is gone."""
        ended = self.processes.pop(pid)
        if ended.parent in self.processes and ended.parent not in self.ignoring:
            self.work(ended.parent, ended.cpu_seconds)
        for child, one in list(self.processes.items()):
            if one.parent == pid:
                self.processes[child] = ProcessTimes(1, one.started, one.cpu_seconds)

    def pass_time(self, seconds, busy, steal=0.0):
        """All CPUs together were busy, and stolen, for so many seconds."""
        self.now += seconds
        self.idle += seconds * len(self.cpus_online) - busy - steal
        self.steal += steal

    def pids(self):
        return set(self.processes)

    def process(self, pid):
        return self.processes.get(pid)

    def discards_children(self, pid):
        return pid in self.ignoring or pid not in self.processes

    def cpus(self):
        if self.broken is not None:
            raise self.broken
        # that of the last CPU is in these too: the sum is what counts
        first, *others = self.cpus_online
        return {first: CpuTimes(self.idle, 0.0, self.steal), **{n: CpuTimes(0, 0, 0) for n in others}}


def machine():
    made = Machine(ignoring={RAYLET})
    for pid, parent in ((ROOT, 1), (RAYLET, ROOT), (OTHER, 1)):
        made.start(pid, parent)
    return made


def account(made, roots=(ROOT,), affinity=(0, 1), quota=None):
    return CpuAccount(roots, made, affinity=lambda: set(affinity), clock=lambda: made.now, quota=quota)


class TestProcFs:
    def write(self, root, pid, stat, ignored="0000000000000000"):
        (root / str(pid)).mkdir()
        (root / str(pid) / "stat").write_text(stat)
        (root / str(pid) / "status").write_text(f"Name:\tx\nSigBlk:\tff\nSigIgn:\t{ignored}\nSigCgt:\tff\n")

    def test_reads_a_process(self, tmp_path):
        # 14 to 17 are utime, stime, cutime and cstime, 22 is the start: proc(5)
        fields = "S 42 1 1 0 -1 4194560 9 9 9 9 150 50 20 5 20 0 32 0 34156 1 2 3"
        self.write(tmp_path, 77, f"77 (a (b) S 1 c) {fields}")
        assert ProcFs(tmp_path).process(77) == ProcessTimes(parent=42, started=34156, cpu_seconds=2.25)
        assert ProcFs(tmp_path).process(78) is None

    def test_lists_processes_only(self, tmp_path):
        for name in ("1", "4711", "self", "pressure"):
            (tmp_path / name).mkdir()
        assert ProcFs(tmp_path).pids() == {1, 4711}

    @pytest.mark.parametrize(
        ("ignored", "discards"),
        [("0000000000010007", True), ("0000000001001007", False)],  # a raylet's and a Python's, Ray 2.60
    )
    def test_knows_who_ignores_the_end_of_children(self, tmp_path, ignored, discards):
        self.write(tmp_path, 5, "", ignored)
        assert ProcFs(tmp_path).discards_children(5) is discards

    def test_who_is_gone_keeps_nothing(self, tmp_path):
        assert ProcFs(tmp_path).discards_children(5)

    def test_what_the_system_hides_is_not_there(self, monkeypatch):
        def hidden(self, *arguments):
            raise PermissionError("hidepid")

        monkeypatch.setattr(Path, "read_bytes", hidden)
        monkeypatch.setattr(Path, "read_text", hidden)
        assert ProcFs().process(1) is None
        assert ProcFs().discards_children(1)

    def test_reads_the_cpus_that_are_online(self, tmp_path):
        (tmp_path / "stat").write_text(
            "cpu  9 9 9 9 9 9 9 9 0 0\n"
            "cpu0 100 200 300 4000 500 50 75 80 900 900\n"
            "cpu3 1 1 1 1 1 1 1 1 0 0\n"
            "intr 1 2 3\nctxt 5\n"
        )
        cpus = ProcFs(tmp_path).cpus()
        assert cpus == {0: CpuTimes(45.0, 1.25, 0.8), 3: CpuTimes(0.02, 0.02, 0.01)}

    def test_this_machine(self):
        proc = ProcFs()
        assert os.getpid() in proc.pids()
        me = proc.process(os.getpid())
        assert me.parent == os.getppid()
        assert me.cpu_seconds > 0
        assert not proc.discards_children(os.getpid())
        assert len(proc.cpus()) >= len(os.sched_getaffinity(0))


BURN = "import sys, time\nwhile time.process_time() < 0.3: pass\nprint('burnt', flush=True)\nsys.stdin.read()"
BETWEEN = f"""
import signal, subprocess, sys
if sys.argv[1] == "ignores":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", {BURN!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print("burnt", flush=True)
sys.stdin.readline()
child.stdin.close()
child.wait()
print("ended", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("between", ["waits", "ignores"])
def test_what_the_kernel_does_with_an_ended_child_s_time(between):
    with subprocess.Popen(
        [sys.executable, "-c", BETWEEN, between], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        tree = ProcessTree([parent.pid], ProcFs())
        assert parent.stdout.readline() == "burnt\n"
        before, whole = tree.look()
        assert whole
        assert len(tree.seen) == 2
        assert before >= 0.25
        parent.stdin.write("\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == "ended\n"
        after, whole = tree.look()
    if between == "waits":
        assert whole
        assert after >= before
    else:
        assert not whole
        assert after < before - 0.2


class TestTree:
    def test_children_of_children_belong_to_it_and_others_do_not(self):
        made = machine()
        made.start(50, 200)  # an id below its parent's: ids are given anew from 1 once they are used up
        made.start(301, OTHER)
        for pid, seconds in ((ROOT, 1), (RAYLET, 2), (50, 4), (OTHER, 8), (301, 16)):
            made.work(pid, seconds)
        tree = ProcessTree([ROOT], made)
        assert tree.look() == (7, True)
        assert tree.seen == {ROOT, RAYLET, 50}
        made.start(51, 50)
        made.work(51, 32)
        assert tree.look() == (39, True)

    def test_the_time_of_a_child_that_was_waited_for_is_kept(self):
        made = machine()
        made.start(110, ROOT)
        tree = ProcessTree([ROOT], made)
        made.work(110, 3)
        tree.look()
        made.work(110, 2)
        made.end(110)
        assert tree.look() == (5, True)

    def test_a_worker_that_a_raylet_ended_is_missing_once(self):
        made = machine()
        made.start(210, RAYLET)
        tree = ProcessTree([ROOT], made)
        tree.look()
        made.work(210, 2)
        made.end(210)
        assert tree.look() == (0, False)
        assert tree.look() == (0, True)

    def test_an_orphan_stays_and_is_missing_when_it_ends(self):
        made = machine()
        made.start(210, RAYLET)
        made.start(211, 210)
        tree = ProcessTree([ROOT], made)
        tree.look()
        made.end(210)
        made.work(211, 3)
        assert tree.look() == (3, False)
        assert tree.look() == (3, True)
        made.end(211)
        assert tree.look() == (0, False)

    def test_a_process_with_the_id_of_an_ended_one_is_another(self):
        made = machine()
        made.start(210, RAYLET)
        tree = ProcessTree([ROOT], made)
        tree.look()
        made.end(210)
        made.start(210, OTHER)
        made.work(210, 50)
        assert tree.look() == (0, False)
        assert tree.look() == (0, True)

    def test_a_root_that_does_not_exist_is_passed_over(self):
        assert ProcessTree([ROOT, 999], machine()).look() == (0, True)

    def test_others_are_read_once(self):
        made = machine()
        asked = []
        read = made.process
        made.process = lambda pid: asked.append(pid) or read(pid)
        tree = ProcessTree([ROOT], made)
        for _ in range(3):
            tree.look()
        assert (asked.count(ROOT), asked.count(OTHER)) == (3, 1)

    def test_a_child_that_ends_while_they_are_read_is_counted_once(self):
        made = machine()
        made.start(110, ROOT)
        made.work(110, 5)
        tree = ProcessTree([ROOT], made)
        tree.look()
        read = made.process

        def ends_meanwhile(pid):
            if pid == 110 and 110 in made.processes:
                made.end(110)
            return read(pid)

        made.process = ends_meanwhile
        assert tree.look() == (5, True)


class TestAccount:
    def test_others_are_what_is_left(self):
        made = machine()
        counted = account(made)
        counted.sample()
        made.work(ROOT, 2)
        made.work(OTHER, 3)
        made.pass_time(5, busy=5, steal=0.5)
        counted.sample()
        shares = counted.shares()
        assert shares.others == pytest.approx(0.3)
        assert shares.steal == pytest.approx(0.05)
        assert (shares.seconds, shares.accounted_seconds, shares.problem) == (5, 5, None)

    def test_an_interval_with_a_lost_worker_is_left_out_and_its_steal_is_not(self):
        made = machine()
        made.start(210, RAYLET)
        counted = account(made)
        counted.sample()
        made.work(OTHER, 1)
        made.pass_time(1, busy=1)
        counted.sample()
        made.work(210, 2)  # nobody knows: without leaving it out these are others' 2 s
        made.end(210)
        made.pass_time(1, busy=1, steal=1)
        counted.sample()
        shares = counted.shares()
        assert shares.others == pytest.approx(0.5)
        assert shares.steal == pytest.approx(0.25)
        assert shares.accounted_seconds == 1
        assert shares.seconds == 2

    @pytest.mark.parametrize(("quota", "told"), [(None, True), (2, True), (3, True), (1, False)])
    def test_a_container_that_is_granted_less_than_there_is(self, quota, told):
        made = machine()
        counted = account(made, quota=quota)
        counted.sample()
        made.work(OTHER, 3)
        made.pass_time(5, busy=3)
        counted.sample()
        shares = counted.shares()
        assert (shares.others is not None) == told
        assert (shares.problem is None) == told
        if not told:
            assert "the time of 1 of 2 CPUs" in shares.problem

    def test_rounding_makes_no_negative_others(self):
        made = machine()
        counted = account(made)
        counted.sample()
        made.work(ROOT, 1.02)
        made.pass_time(1, busy=1)
        counted.sample()
        assert counted.shares().others == 0

    def test_too_short_a_time_tells_nothing(self):
        made = machine()
        counted = account(made)
        counted.sample()
        made.pass_time(0.49, busy=0.9)
        counted.sample()
        assert (counted.shares().others, counted.shares().steal) == (None, None)

    @staticmethod
    def block(made, counted, seconds, others, steal=0.0):
        counted.start()
        counted.sample()
        made.work(OTHER, others)
        made.pass_time(seconds, busy=others, steal=steal)
        counted.sample()
        return counted.shares()

    @staticmethod
    def block_whose_worker_ends(made, counted, told_apart, after):
        made.start(210, RAYLET)
        counted.start()
        counted.sample()
        made.pass_time(told_apart, busy=0)
        counted.sample()
        made.end(210)
        made.pass_time(after, busy=0)
        counted.sample()
        return counted.shares()

    def test_short_ones_are_looked_at_together_with_those_just_before(self):
        """Rounds of 0.2 s beside a burner are as disturbed as rounds of 2 s."""
        made = machine()
        counted = account(made)
        for _ in range(2):
            shares = self.block(made, counted, 0.2, others=0.1, steal=0.1)
            assert (shares.others, shares.steal) == (None, None)
        shares = self.block(made, counted, 0.2, others=0.4)
        # No more of them than it takes, the latest first: half of the first one.
        assert shares.others == pytest.approx(0.4 + 0.1 + 0.1 / 2)
        assert shares.steal == pytest.approx(0.1 + 0.1 / 2)
        assert (shares.seconds, shares.accounted_seconds) == pytest.approx((0.5, 0.5))
        shares = self.block(made, counted, 0.4, others=0.0)
        assert (shares.seconds, shares.others) == pytest.approx((0.5, 0.4 / 2))

    @pytest.mark.parametrize(("before", "now"), [(0.0, 0.8), (6.0, 0.0)])
    def test_a_long_one_before_does_not_drown_it(self, before, now):
        """A quiet warm-up of 3 s and a burner since, or the other way round."""
        made = machine()
        counted = account(made)
        self.block(made, counted, 3.0, others=before)
        shares = self.block(made, counted, 0.4, others=now)
        assert shares.others == pytest.approx(now + before * (0.1 / 3))

    def test_of_one_with_next_to_nothing_told_apart_nothing_is_known(self):
        """Its actor ended in its only interval: what came before says nothing of it."""
        made = machine()
        counted = account(made)
        self.block(made, counted, 3.0, others=0.0)
        shares = self.block_whose_worker_ends(made, counted, told_apart=0.09, after=0.36)
        assert shares.others is None
        assert (shares.seconds, shares.accounted_seconds) == pytest.approx((0.45, 0.09))

    def test_one_that_is_long_enough_is_looked_at_alone(self):
        made = machine()
        counted = account(made)
        self.block(made, counted, 0.2, others=0.4)
        assert self.block(made, counted, 0.5, others=0.1).others == pytest.approx(0.1)

    def test_one_in_which_too_little_was_told_apart_is_not_alone(self):
        made = machine()
        counted = account(made)
        self.block(made, counted, 0.4, others=0.2)
        shares = self.block_whose_worker_ends(made, counted, told_apart=0.3, after=3)
        assert shares.others == pytest.approx(0.2 / 2)
        assert (shares.seconds, shares.accounted_seconds) == pytest.approx((3.3 + 0.2, 0.5))

    @pytest.mark.parametrize(("pause", "told"), [(8, True), (11, False)])
    def test_what_is_long_ago_tells_nothing_of_now(self, pause, told):
        made = machine()
        counted = account(made)
        self.block(made, counted, 0.3, others=0.3)
        made.pass_time(pause, busy=0)
        shares = self.block(made, counted, 0.3, others=0.0)
        assert (shares.others is not None) == told
        assert shares.seconds == pytest.approx(0.5 if told else 0.3)

    def test_of_one_that_broke_off_nothing_is_kept(self):
        made = machine()
        counted = account(made)
        self.block(made, counted, 0.3, others=0.3)
        made.broken = OSError("once")
        counted.sample()
        made.broken = None
        assert self.block(made, counted, 0.3, others=0.3).others is None

    def test_no_time_tells_nothing(self):
        counted = account(machine())
        assert counted.shares().others is None
        counted.sample()
        assert counted.shares().others is None

    def test_a_cpu_put_off_meanwhile_costs_the_interval(self):
        made = machine()
        counted = account(made)
        counted.sample()
        made.pass_time(1, busy=0)
        counted.sample()
        made.cpus_online = (0,)
        made.pass_time(1, busy=0)
        counted.sample()
        assert counted.shares().accounted_seconds == 1
        assert counted.shares().others == pytest.approx(0)

    def test_only_the_cpus_that_may_be_used_count(self):
        made = machine()
        counted = account(made, affinity=[0])
        counted.sample()
        made.work(OTHER, 1)
        made.now += 2
        made.idle += 1
        counted.sample()
        assert counted.shares().others == pytest.approx(0.5)

    def test_by_default_the_cpus_are_those_of_its_processes(self):
        counted = CpuAccount([os.getpid(), 2**22 + 1])
        counted.sample()
        assert counted.problem is None
        assert counted._usable == os.sched_getaffinity(0)

    def test_what_cannot_be_read_is_said_and_ends_it(self):
        made = machine()
        counted = account(made)
        counted.sample()
        made.broken = PermissionError("masked")
        made.pass_time(5, busy=0)
        counted.sample()
        made.broken = None
        counted.sample()
        shares = counted.shares()
        assert shares.problem == "PermissionError: masked"
        assert (shares.others, shares.steal) == (None, None)

    def test_over_time_each_interval_by_itself(self):
        made = machine()
        made.start(210, RAYLET)
        counted = account(made)
        counted.sample()
        began = made.now
        made.work(ROOT, 0.5)
        made.work(OTHER, 0.25)
        made.pass_time(1, busy=0.75)
        counted.sample()
        made.work(210, 2)
        made.end(210)  # with what it used: the interval is not known, and is not idle
        made.pass_time(1, busy=2)
        counted.sample()
        made.work(ROOT, 1)
        made.pass_time(0.5, busy=1)
        counted.sample()
        ends = [(began, began + 1), (began + 1, began + 2), (began + 2, began + 2.5)]
        assert counted.over_time() == CpuSpans(
            tuple(Span(*both, p) for both, p in zip(ends, [25, None, 100], strict=True)),
            tuple(Span(*both, pytest.approx(p)) for both, p in zip(ends, [12.5, None, 0], strict=True)),
        )
        counted.start()
        assert counted.over_time() == CpuSpans()

    def test_over_time_nothing_is_left_of_an_account_that_broke_off(self):
        made = machine()
        counted = account(made)
        for _ in range(2):
            counted.sample()
            made.pass_time(1, busy=0)
        assert counted.over_time() != CpuSpans()
        made.broken = PermissionError("masked")
        counted.sample()
        assert counted.over_time() == CpuSpans()

    def test_two_samples_at_one_time_are_no_interval(self):
        counted = account(machine())
        counted.sample()
        counted.sample()
        assert counted.over_time() == CpuSpans()

    def test_starts_from_nothing(self):
        made = machine()
        counted = account(made)
        made.broken = OSError("once")
        counted.sample()
        made.broken = None
        counted.start()
        counted.sample()
        made.pass_time(1, busy=0)
        counted.sample()
        assert counted.shares().others == pytest.approx(0)
        assert counted.pids == {ROOT, RAYLET}

    @LIGHT
    @given(st.data())
    def test_what_is_said_of_others_is_what_they_did(self, data):
        """A history of work, births and deaths; the truth is kept beside it, interval by interval."""
        made = machine()
        counted = account(made)
        counted.sample()
        pids = iter(range(1000, 2000))
        ours = {ROOT, RAYLET}
        others_seconds = accounted = total = 0.0
        for _ in range(data.draw(st.integers(1, 12))):
            parents = {pid: made.processes[pid].parent for pid in ours & set(made.processes)}
            mortal = set(parents) - {ROOT, RAYLET}
            ended = []
            busy = others = 0.0
            for _ in range(data.draw(st.integers(0, 6))):
                what = data.draw(st.sampled_from(["ours", "others", "born", "ended"]))
                mine = sorted(ours & set(made.processes))
                if what == "born":
                    pid, parent = next(pids), data.draw(st.sampled_from(mine))
                    made.start(pid, parent)
                    ours.add(pid)
                    mortal.discard(parent)  # it would leave an orphan that nobody has ever seen
                elif what == "ended" and mortal:
                    pid = data.draw(st.sampled_from(sorted(mortal)))
                    mortal.discard(pid)
                    ended.append(pid)
                    made.end(pid)
                else:
                    seconds = data.draw(st.integers(0, 15)) / 100
                    pid = OTHER if what == "others" else data.draw(st.sampled_from(mine))
                    made.work(pid, seconds)
                    busy += seconds
                    others += seconds if pid == OTHER else 0
            made.pass_time(1, busy=busy)
            counted.sample()
            total += 1
            # Where a parent ended as well, which of them ended first is not to be seen.
            if not any(parents[pid] == RAYLET or parents[pid] not in made.processes for pid in ended):
                accounted += 1
                others_seconds += others
        shares = counted.shares()
        assert shares.seconds == pytest.approx(total)
        assert shares.accounted_seconds == pytest.approx(accounted)
        if accounted:
            assert shares.others == pytest.approx(others_seconds / (2 * accounted), abs=1e-9)
        else:
            assert shares.others is None

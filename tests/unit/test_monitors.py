from __future__ import annotations

import itertools
import mmap
import os
import subprocess
import sys
import threading
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import ClassVar

import psutil
import pytest

from pytest_rayperf.metrics import METRICS
from pytest_rayperf.monitors import system
from pytest_rayperf.monitors.driver import DriverMonitor
from pytest_rayperf.monitors.object_store import ObjectStoreMonitor, StoreError, StoreReading
from pytest_rayperf.monitors.protocol import Monitor
from pytest_rayperf.monitors.sampler import SHARE, Sampler
from pytest_rayperf.monitors.system import (
    ClusterWorkers,
    NoRayletError,
    SystemMonitor,
    local_raylets,
    ray_worker_processes,
)

MIB = 1024**2


class Ticks:
    """A wait that lets `ticks` samples pass at once and then says that it is time to stop."""

    def __init__(self, ticks: int) -> None:
        self.ticks = ticks
        self.left = ticks
        self.waited: list[float] = []

    def __call__(self, seconds: float) -> bool:
        self.waited.append(seconds)
        if self.left == 0:
            self.left = self.ticks  # for a second block
            return True
        self.left -= 1
        return False


def ticking(ticks: int):
    def make(sample, interval_s, errors):
        return Sampler(sample, interval_s, errors, wait=Ticks(ticks))

    return make


class TestSampler:
    @pytest.mark.parametrize(
        ("cost", "pauses"),
        [
            (0.0001, [0.5, 0.5, 0.5]),
            (SHARE * 0.5, [0.5, 0.5, 0.5]),
            (SHARE * 2, [2.0, 2.0, 2.0]),
            (1.0, [400.0, 400.0, 400.0]),
        ],
    )
    def test_takes_no_more_than_its_share_of_a_core(self, cost, pauses):
        wait = Ticks(2)
        clock = itertools.count(step=cost)
        with Sampler(lambda: None, 0.5, wait=wait, cpu_clock=lambda: next(clock)):
            pass
        assert wait.waited == pytest.approx(pauses)

    def test_samples_at_both_ends_and_on_the_clock_between(self):
        threads = []
        wait = Ticks(3)
        sampler = Sampler(lambda: threads.append(threading.current_thread()), 0.25, wait=wait)
        with sampler:
            assert sampler.running
        assert sampler.samples == 5
        assert wait.waited == [0.25] * 4
        here = threading.current_thread()
        assert [thread is here for thread in threads] == [True, False, False, False, True]
        assert not threads[1].is_alive()
        assert not sampler.running

    def test_counts_what_its_calls_cost(self):
        now = iter([1.0, 1.5, 10.0, 10.25, 20.0, 20.125])
        sampler = Sampler(lambda: None, wait=Ticks(1), cpu_clock=lambda: next(now))
        with sampler:
            pass
        assert sampler.cpu_seconds == 0.875

    def test_is_usable_again_and_starts_from_nothing(self):
        sampler = Sampler(lambda: None, wait=Ticks(2), cpu_clock=iter(range(100)).__next__)
        for _ in range(2):
            with sampler:
                pass
            assert (sampler.samples, sampler.cpu_seconds) == (4, 4)

    @pytest.mark.parametrize("fails_at", [1, 3, 4])
    def test_an_expected_error_ends_it_and_is_kept(self, fails_at):
        calls = []

        def sample():
            calls.append(len(calls) + 1)
            if calls[-1] == fails_at:
                raise OSError("the disk is gone")

        sampler = Sampler(sample, errors=(OSError,), wait=Ticks(2))
        with sampler:
            pass
        assert sampler.problem == "OSError: the disk is gone"
        assert calls[-1] == fails_at  # and it was not called again
        assert sampler.samples == fails_at - 1

    def test_a_problem_is_forgotten_at_the_next_start(self):
        errors = [OSError("once")]

        def sample():
            if errors:
                raise errors.pop()

        sampler = Sampler(sample, wait=Ticks(1))
        with sampler:
            pass
        assert sampler.problem is not None
        with sampler:
            pass
        assert (sampler.problem, sampler.samples) == (None, 3)

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_a_mistake_in_the_sample_is_loud_and_marks_the_figures_as_partial(self, monkeypatch):
        loud = []
        monkeypatch.setattr(threading, "excepthook", lambda args: loud.append(args.exc_type))

        def sample():
            if threading.current_thread() is not threading.main_thread():
                raise KeyError("a mistake")

        sampler = Sampler(sample, errors=(OSError,), wait=Ticks(2))
        with sampler:
            pass
        assert loud == [KeyError]
        assert "unexpected error" in sampler.problem

    def test_a_mistake_in_the_first_sample_reaches_the_caller(self):
        def sample():
            raise KeyError("a mistake")

        sampler = Sampler(sample)
        with pytest.raises(KeyError):
            sampler.start()
        assert not sampler.running

    def test_stops_a_thread_that_waits_for_its_next_turn(self):
        sampler = Sampler(lambda: None, interval_s=3600)
        before = threading.active_count()
        with sampler:
            assert threading.active_count() == before + 1
        assert threading.active_count() == before
        assert sampler.samples == 2

    def test_cannot_be_started_twice_and_may_be_stopped_twice(self):
        sampler = Sampler(lambda: None, wait=Ticks(0))
        sampler.stop()
        assert sampler.samples == 0
        sampler.start()
        with pytest.raises(RuntimeError, match="runs already"):
            sampler.start()
        sampler.stop()
        sampler.stop()
        assert sampler.samples == 2

    def test_of_two_threads_that_start_it_at_once_one_does(self):
        entered, go_on, refused = threading.Event(), threading.Event(), []

        def slow():
            entered.set()
            go_on.wait(10)

        sampler = Sampler(slow, wait=Ticks(0))
        first = threading.Thread(target=sampler.start)
        first.start()
        entered.wait(10)
        try:
            sampler.stop()  # of what does not run yet
            sampler.start()
        except RuntimeError as error:
            refused.append(str(error))
        finally:
            go_on.set()
            first.join()
            sampler.stop()
        assert refused == ["the sampler runs already; stop it before starting it again"]

    @pytest.mark.parametrize("interval", [0, -1, float("nan")])
    def test_an_interval_that_is_no_time_is_refused(self, interval):
        with pytest.raises(ValueError, match="interval_s must be above 0"):
            Sampler(lambda: None, interval_s=interval)


class FakeProcess:
    """A process with a script of readings: (rss, shared, cpu seconds); an exception is raised instead."""

    cpu = 0.0

    def __init__(self, pid, readings, created=1.0):
        self.pid = pid
        self.readings = iter(readings)
        self.created = created

    def memory_info(self):
        reading = next(self.readings)
        if isinstance(reading, Exception):
            raise reading
        rss, shared, self.cpu = reading
        if shared is None:
            return SimpleNamespace(rss=rss)
        return SimpleNamespace(rss=rss, shared=shared)

    def cpu_times(self):
        return SimpleNamespace(user=self.cpu * 0.75, system=self.cpu * 0.25, children_user=100.0)

    def create_time(self):
        return self.created


def monitor(*samples, ticks=None, machine=None, **more):
    """A monitor whose n-th sample sees the n-th list of processes."""
    script = iter(samples)
    cpu = iter(machine or [(0.0, 0.0)] * len(samples))
    return SystemMonitor(
        lambda: next(script),
        sampler=ticking(len(samples) - 2 if ticks is None else ticks),
        machine_cpu=lambda: next(cpu),
        **more,
    )


class TestSystemMonitor:
    def test_what_an_idle_one_holds_does_not_count(self):
        """An earlier test's tasks may have left it a model."""
        idle = FakeProcess(1, [])
        works = FakeProcess(2, [(500, 0, 1.0), (600, 0, 2.0)])
        with monitor([idle, works], [idle, works], is_idle=lambda process: process is idle) as m:
            pass
        summary = m.summary()
        assert (summary["peak_worker_memory"], summary["total_peak_memory"]) == (600, 600)
        assert (summary["processes"], summary["cpu_seconds"]) == (2, 1.0)

    def test_it_counts_from_when_it_works(self):
        samples = iter([True, False, True])
        one = FakeProcess(1, [(500, 0, 1.0)])
        with monitor([one], [one], [one], is_idle=lambda process: next(samples)) as m:
            pass
        assert m.summary()["peak_worker_memory"] == 500

    def test_where_all_are_idle_memory_is_missing(self):
        idle = FakeProcess(1, [])
        with monitor([idle], [idle], is_idle=lambda process: True) as m:
            pass
        summary = m.summary()
        assert (
            summary["peak_worker_memory"] is summary["total_peak_memory"] is summary["reused_workers"] is None
        )

    def test_of_actors_and_other_workers_the_actors_count(self):
        """A read task may have been given to a worker that has torch from an earlier test."""
        actor = FakeProcess(1, [(500, 0, 1.0), (600, 0, 2.0)])
        reader = FakeProcess(2, [(900, 0, 1.0)] * 3)
        samples = [reader], [actor, reader], [actor, reader]
        with monitor(*samples, is_actor=lambda process: process is actor) as m:
            pass
        summary = m.summary()
        assert (summary["peak_worker_memory"], summary["reused_workers"]) == (600, 0)
        assert summary["total_peak_memory"] == 1500

    def test_an_actor_that_was_started_beforehand_is_new(self):
        one = FakeProcess(1, [(500, 0, 1.0), (600, 0, 2.0)])
        samples = iter([False, True])
        with monitor([one], [one], is_actor=lambda process: next(samples)) as m:
            pass
        assert (m.summary()["peak_worker_memory"], m.summary()["reused_workers"]) == (600, 0)

    def test_workers_that_were_there_before_are_told(self):
        old, new = FakeProcess(1, [(900, 0, 1.0)] * 2), FakeProcess(2, [(500, 0, 1.0)])
        with monitor([old], [old, new]) as m:
            pass
        assert (m.summary()["peak_worker_memory"], m.summary()["reused_workers"]) == (900, 1)
        with monitor([], [FakeProcess(3, [(500, 0, 1.0)])]) as m:
            pass
        assert (m.summary()["peak_worker_memory"], m.summary()["reused_workers"]) == (500, 0)

    def test_a_worker_that_was_there_and_stayed_idle_is_not_reused(self):
        old, new = FakeProcess(1, []), FakeProcess(2, [(500, 0, 1.0)])
        with monitor([old], [old, new], is_idle=lambda process: process is old) as m:
            pass
        assert (m.summary()["peak_worker_memory"], m.summary()["reused_workers"]) == (500, 0)

    def test_peaks_are_of_private_memory(self):
        one = FakeProcess(1, [(300, 200, 0), (900, 200, 0), (250, 200, 0)])
        two = FakeProcess(2, [(800, 700, 0), (850, 700, 0), (1300, 700, 0)])
        with monitor([one, two], [one, two], [one, two]) as m:
            pass
        summary = m.summary()
        assert summary["peak_worker_memory"] == 700  # the first process's second sample
        assert summary["total_peak_memory"] == 700 + 150
        assert summary["processes"] == 2
        assert summary["samples"] == 3
        assert (m.available, m.problem) == (True, None)

    def test_memory_is_the_whole_resident_set_where_sharing_is_not_told(self):
        one = FakeProcess(1, [(300, None, 0), (200, None, 0)])
        with monitor([one], [one]) as m:
            pass
        assert m.summary()["peak_worker_memory"] == 300

    def test_cpu_is_what_was_used_between_first_and_last_sight(self):
        stays = FakeProcess(1, [(1, 0, 10.0), (1, 0, 11.0), (1, 0, 14.0)])
        comes = FakeProcess(2, [(1, 0, 5.0), (1, 0, 5.5)])
        with monitor([stays], [stays, comes], [stays, comes]) as m:
            pass
        assert m.summary()["cpu_seconds"] == pytest.approx(4.0 + 0.5)

    def test_a_process_that_ended_keeps_its_last_reading(self):
        dies = FakeProcess(1, [(500, 0, 1.0), (600, 0, 3.0), psutil.NoSuchProcess(1)])
        stays = FakeProcess(2, [(100, 0, 0.0), (100, 0, 0.0), (100, 0, 1.0)])
        with monitor([dies, stays], [dies, stays], [dies, stays]) as m:
            pass
        summary = m.summary()
        assert summary["cpu_seconds"] == pytest.approx(3.0)
        assert summary["peak_worker_memory"] == 600
        assert summary["samples"] == 3
        assert m.problem is None

    def test_another_process_with_the_id_of_a_dead_one_is_another(self):
        first = FakeProcess(1, [(1, 0, 50.0), (1, 0, 60.0)], created=1.0)
        second = FakeProcess(1, [(1, 0, 0.5), (1, 0, 1.0)], created=2.0)
        with monitor([first], [first], [second], [second]) as m:
            pass
        assert m.summary()["cpu_seconds"] == pytest.approx(10.5)
        assert m.summary()["processes"] == 2

    def test_one_sight_of_a_process_makes_no_cpu_figure(self):
        with monitor([FakeProcess(1, [(7, 0, 10.0)])], []) as m:
            pass
        assert m.summary()["cpu_seconds"] is None
        assert m.summary()["peak_worker_memory"] == 7

    @pytest.mark.parametrize(
        ("readings", "expected"),
        [([(10.0, 100.0), (25.0, 120.0)], 0.75), ([(10.0, 100.0), (10.0, 100.0)], None)],
    )
    def test_machine_utilization_over_the_span(self, readings, expected):
        one = FakeProcess(1, [(1, 0, 0)] * 2)
        with monitor([one], [one], machine=readings) as m:
            pass
        assert m.summary()["machine_cpu_utilization"] == expected

    def test_no_process_seen_is_missing_and_not_0(self):
        with monitor([], [], machine=[(0.0, 0.0), (1.0, 2.0)]) as m:
            pass
        summary = m.summary()
        assert summary["processes"] == 0
        assert [summary[name] for name in ("peak_worker_memory", "total_peak_memory", "cpu_seconds")] == [
            None
        ] * 3
        assert summary["machine_cpu_utilization"] == 0.5
        assert m.problem == "no process was seen to sample"

    @pytest.mark.parametrize(
        "error", [psutil.AccessDenied(1, "python"), OSError("too many open files"), NoRayletError("gone")]
    )
    def test_an_error_makes_every_figure_missing_and_is_kept(self, error):
        one = FakeProcess(1, [(5, 0, 1.0), error])
        with monitor([one], [one], [one]) as m:
            pass
        assert set(m.summary().values()) == {None}
        assert type(error).__name__ in m.problem
        assert not m.available

    def test_before_its_first_block_every_figure_is_missing(self):
        assert set(monitor([], []).summary().values()) == {None}

    def test_the_next_block_starts_from_nothing(self):
        big = FakeProcess(1, [(5000, 0, 0.0), (5000, 0, 9.0)])
        small = FakeProcess(2, [(10, 0, 1.0), (10, 0, 2.0)])
        m = monitor([big], [big], [small], [small], ticks=0)
        with m:
            pass
        assert m.summary()["peak_worker_memory"] == 5000
        with m, pytest.raises(RuntimeError, match="runs already"), m:
            pass
        summary = m.summary()
        assert (summary["peak_worker_memory"], summary["cpu_seconds"]) == (10, 1.0)

    def test_the_block_s_own_error_passes_and_the_thread_ends(self):
        before = threading.active_count()
        with pytest.raises(ZeroDivisionError), SystemMonitor(lambda: [psutil.Process()], interval_s=3600):
            raise ZeroDivisionError
        assert threading.active_count() == before

    def test_measures_this_very_process(self):
        def is_monitor(m: Monitor) -> Monitor:
            return m

        with is_monitor(SystemMonitor(lambda: [psutil.Process()], interval_s=3600)) as m:
            held = bytearray(os.urandom(1)) * (32 * MIB)
        summary = m.summary()
        assert len(held) <= summary["peak_worker_memory"] < psutil.virtual_memory().total
        assert summary["cpu_seconds"] >= 0
        assert summary["sampler_cpu_seconds"] > 0

    @pytest.mark.skipif(sys.platform != "linux", reason="iowait and guest times are Linux's")
    def test_waiting_for_disks_is_idle_and_guests_are_counted_once(self, monkeypatch):
        fields = {"user": 30.0, "system": 10.0, "idle": 40.0, "iowait": 15.0, "steal": 5.0, "guest": 20.0}
        monkeypatch.setattr(psutil, "cpu_times", lambda: SimpleNamespace(_asdict=lambda: fields))
        assert system._machine_cpu_seconds() == (45.0, 100.0)


def scripted(readings):
    """A reader that gives these, one a sample; an exception is raised instead."""
    script = iter(readings)

    def read():
        reading = next(script)
        if isinstance(reading, Exception):
            raise reading
        return reading

    return read


class TestDriverMonitor:
    def monitor(self, *readings, ticks=None):
        ticks = len(readings) - 2 if ticks is None else ticks
        return DriverMonitor(scripted(readings), read_cpu=scripted((5.0, 7.5) * 9), sampler=ticking(ticks))

    @pytest.mark.parametrize(
        ("readings", "growth"),
        [
            ((100, 700, 300), 600),
            ((100, 90, 350), 250),
            ((100, 90, 80), 0),  # measured: it held no more than before
            ((100, 100), 0),
        ],
    )
    def test_growth_is_the_peak_over_the_first_sample(self, readings, growth):
        with self.monitor(*readings) as m:
            pass
        assert m.summary()["driver_memory_growth"] == growth
        assert (m.available, m.problem) == (True, None)

    @pytest.mark.parametrize("fails_at", [0, 1, 2])
    @pytest.mark.parametrize("error", [psutil.AccessDenied(1, "python"), OSError("too many open files")])
    def test_an_error_makes_it_missing_and_is_kept(self, fails_at, error):
        readings = [100, 200, 300]
        readings[fails_at] = error
        with self.monitor(*readings) as m:
            pass
        assert m.summary()["driver_memory_growth"] is None
        assert type(error).__name__ in m.problem
        assert not m.available

    def test_before_its_first_block_it_is_missing(self):
        assert set(self.monitor(1, 2).summary().values()) == {None}

    def test_the_cpu_time_of_the_block(self):
        with self.monitor(100, 100) as m:
            pass
        assert m.summary()["driver_cpu_seconds"] == 2.5

    def test_the_next_block_starts_from_nothing(self):
        m = self.monitor(100, 900, 500, 510, ticks=0)
        for growth in (800, 10):
            with m:
                pass
            assert m.summary()["driver_memory_growth"] == growth

    def test_measures_this_very_process(self):
        with DriverMonitor(interval_s=3600) as m:
            # Of its own: what the process freed before would be given out again, and it would not grow.
            held = mmap.mmap(-1, 32 * MIB, flags=mmap.MAP_PRIVATE)
            held.write(b"x" * len(held))
        assert len(held) * 0.9 <= m.summary()["driver_memory_growth"] < psutil.virtual_memory().total
        held.close()


class TestObjectStoreMonitor:
    MISSING: ClassVar = dict.fromkeys(
        ("object_store_peak", "object_store_written", "spilled_bytes", "sampler_cpu_seconds")
    )

    def monitor(self, *readings, ticks=None):
        ticks = len(readings) - 2 if ticks is None else ticks
        read = scripted([r if isinstance(r, Exception) else StoreReading(*r) for r in readings])
        return ObjectStoreMonitor(lambda: nullcontext(read), sampler=ticking(ticks))

    @pytest.mark.parametrize(
        ("readings", "peak", "written", "spilled"),
        [
            (((5, 1000, 30), (70, 1400, 30), (6, 1500, 90)), 70, 500, 60),
            (((50, 1000, 30), (20, 1000, 30)), 50, 0, 0),  # measured: nothing was written, nothing spilled
            (((0, 0, 0), (0, 7, 0)), 0, 7, 0),
        ],
    )
    def test_the_peak_and_what_was_added(self, readings, peak, written, spilled):
        with self.monitor(*readings) as m:
            pass
        assert m.summary() == {
            "object_store_peak": peak,
            "object_store_written": written,
            "spilled_bytes": spilled,
            "sampler_cpu_seconds": m.summary()["sampler_cpu_seconds"],
        }
        assert (m.available, m.problem) == (True, None)

    @pytest.mark.parametrize("fails_at", [0, 1, 2])
    def test_an_error_makes_all_missing_and_is_kept(self, fails_at):
        readings = [(1, 1, 1), (2, 2, 2), (3, 3, 3)]
        readings[fails_at] = StoreError("the raylet is gone")
        with self.monitor(*readings) as m:
            pass
        assert m.summary() == self.MISSING
        assert m.problem == "StoreError: the raylet is gone"
        assert not m.available

    @pytest.mark.parametrize(
        "readings", [((1, 500, 1), (1, 20, 1)), ((1, 20, 500), (1, 30, 1))], ids=["written", "spilled"]
    )
    def test_a_node_that_left_with_its_counts_makes_them_missing(self, readings):
        with self.monitor(*readings) as m:
            pass
        assert {k: v for k, v in m.summary().items() if k != "sampler_cpu_seconds"} == {
            "object_store_peak": 1,
            "object_store_written": None,
            "spilled_bytes": None,
        }

    def test_before_its_first_block_all_is_missing(self):
        assert self.monitor((1, 1, 1), (2, 2, 2)).summary() == self.MISSING

    def test_the_connection_is_open_from_the_first_sample_to_the_last(self):
        log = []

        @contextmanager
        def connect():
            log.append("open")
            yield lambda: log.append("read") or StoreReading(1, 1, 1)
            log.append("close")

        m = ObjectStoreMonitor(connect, sampler=ticking(1))
        for _ in range(2):
            with m:
                pass
        assert log == ["open", "read", "read", "read", "close"] * 2
        assert m.available

    def test_the_next_block_starts_from_nothing(self):
        m = self.monitor((900, 100, 0), (1, 150, 20), (3, 150, 20), (2, 153, 20), ticks=0)
        with m:
            pass
        assert m.summary()["object_store_peak"] == 900
        with m:
            pass
        summary = m.summary()
        assert (summary["object_store_peak"], summary["object_store_written"]) == (3, 3)
        assert summary["spilled_bytes"] == 0

    def test_is_a_monitor(self):
        def is_monitor(m: Monitor) -> Monitor:
            return m

        m = is_monitor(self.monitor((1, 1, 1), (2, 2, 2)))
        assert set(m.summary()) | {"driver_memory_growth"} <= set(METRICS)


@contextmanager
def family(*titles):
    """A process with one sleeping child for each title, as a raylet has; gives it and the children's pids."""
    code = (
        "import signal, subprocess, sys\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"  # a child that ends leaves no zombie
        "for title in sys.argv[1:]:\n"
        "    child = subprocess.Popen([title, '-c', 'print(flush=True); input()'],\n"
        "        executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "    child.stdout.readline()\n"  # Popen returns before the kernel has set the child's command line
        "    print(child.pid, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, *titles], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        pids = [int(parent.stdout.readline()) for _ in titles]
        try:
            while not all(psutil.Process(pid).cmdline() for pid in pids):
                pass  # one that was executed just now has no title for a moment
            yield parent, pids
        finally:
            for pid in pids:
                if psutil.pid_exists(pid):
                    psutil.Process(pid).kill()
            parent.kill()


class TestClusterWorkers:
    TITLES = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "python", "ray::MapWorker(f)")

    def test_workers_are_the_raylet_s_children_with_a_worker_s_title(self):
        with family(*self.TITLES) as (raylet, pids):
            found = ray_worker_processes([raylet.pid])
            assert {process.pid for process in found} == {pids[0], pids[4]}

    def test_what_this_package_starts_is_none(self):
        with family("ray::_Counting.run", "ray::SamplerActor", "ray::MapWorker(f)") as (raylet, pids):
            assert [process.pid for process in ray_worker_processes([raylet.pid])] == [pids[2]]

    def test_which_are_idle(self):
        with family("ray::IDLE", "ray::MapWorker(f)") as (raylet, pids):
            workers = ClusterWorkers([raylet.pid])
            assert {process.pid: workers.is_idle(process) for process in workers()} == {
                pids[0]: True,
                pids[1]: False,
            }

    def test_more_children_than_one_read_of_the_kernel_s_list_gives(self, tmp_path):
        (tmp_path / "children").write_text("123456 " * 3000)
        assert system._children_of_thread(str(tmp_path)) == [b"123456"] * 3000

    def test_a_thread_that_ended_has_no_children_and_a_kernel_without_the_list_says_so(self, tmp_path):
        assert system._children_of_thread(str(tmp_path / "gone")) == []
        with pytest.raises(FileNotFoundError):
            system._children_of_thread(str(tmp_path))

    def test_the_same_without_the_kernel_s_list_of_children(self, monkeypatch):
        monkeypatch.setattr(system.sys, "platform", "darwin")
        with family(*self.TITLES) as (raylet, pids):
            found = ray_worker_processes([raylet.pid])
            assert {process.pid for process in found} == {pids[0], pids[4]}

    def test_processes_are_kept_and_dead_ones_dropped(self):
        with family("ray::IDLE", "ray::IDLE") as (raylet, pids):
            workers = ClusterWorkers([raylet.pid])
            first = {process.pid: process for process in workers()}
            assert set(first) == set(pids)
            first[pids[0]].kill()
            first[pids[0]].wait(timeout=60)
            (kept,) = workers()
            assert kept is first[pids[1]]

    def test_a_dead_worker_s_id_in_another_process_is_looked_at_anew(self, monkeypatch):
        with family("ray::IDLE") as (raylet, pids):
            workers = ClusterWorkers([raylet.pid])
            (first,) = workers()
            # What psutil says of a process whose id another one has now.
            monkeypatch.setattr(first, "is_running", lambda: False)
            (second,) = workers()
            assert second is not first
            assert second.pid == pids[0]

    def test_one_of_two_raylets_may_end(self):
        with family("ray::IDLE") as (stays, pids), family("ray::IDLE") as (ends, _):
            workers = ClusterWorkers([stays.pid, ends.pid])
            assert len(workers()) == 2
            ends.kill()
            ends.wait()
            assert [process.pid for process in workers()] == pids

    def test_without_a_raylet_it_says_so(self):
        with pytest.raises(NoRayletError, match="no raylet is known"):
            ray_worker_processes([])

    def test_a_raylet_that_is_a_zombie_is_dead(self):
        with family() as (raylet, _):
            workers = ClusterWorkers([raylet.pid])
            assert workers() == []
            raylet.kill()
            os.waitid(os.P_PID, raylet.pid, os.WEXITED | os.WNOWAIT)  # ended, and still a zombie
            with pytest.raises(NoRayletError, match=str(raylet.pid)):
                workers()
            raylet.wait()
            with pytest.raises(NoRayletError, match=str(raylet.pid)):
                ray_worker_processes([raylet.pid])

    def test_a_monitor_without_a_raylet_has_no_figures_and_a_reason(self):
        with SystemMonitor(ClusterWorkers([]), interval_s=3600) as m:
            pass
        assert set(m.summary().values()) == {None}
        assert "no raylet is known" in m.problem
        assert not m.available

    def test_raylets_are_told_apart_by_their_cluster(self, monkeypatch):
        def process(pid, name, *command):
            def cmdline():
                if isinstance(command[0], Exception):
                    raise command[0]
                return list(command)

            return SimpleNamespace(pid=pid, info={"name": name}, cmdline=cmdline)

        processes = [
            process(30, "raylet", "raylet", "--gcs-address=10.0.0.1:6379"),
            process(20, "raylet", "raylet", "--gcs-address=10.0.0.1:6380"),
            process(10, "raylet", psutil.AccessDenied(10)),
            process(5, "python", "python", "--gcs-address=10.0.0.1:6379"),
        ]
        monkeypatch.setattr(psutil, "process_iter", lambda attributes: iter(processes))
        assert local_raylets() == (10, 20, 30)
        assert local_raylets("10.0.0.1:6379") == (30,)
        assert local_raylets("10.0.0.1:63") == ()

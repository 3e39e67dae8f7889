"""The judgement on given figures, and the monitor around the parts that watch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from builders import LIGHT
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.monitors import disturbance
from pytest_rayperf.monitors.cpu_account import CpuShares
from pytest_rayperf.monitors.disturbance import DisturbanceMonitor, cluster_processes, watch_disturbances
from pytest_rayperf.monitors.disturbance_limits import (
    DEFAULT_LIMITS,
    Limits,
    Reading,
    reasons_of,
    undecided_of,
    unseen_of,
)
from pytest_rayperf.monitors.gpu_load import GpuReading
from pytest_rayperf.monitors.pressure import Pressure
from pytest_rayperf.monitors.protocol import Monitor
from pytest_rayperf.monitors.sampler import Sampler
from pytest_rayperf.monitors.utilization import CpuSpans, Span

MIB = 1024**2
QUIET_CPU = CpuShares(others=0.02, steal=0.0, seconds=5.0, accounted_seconds=4.8)
QUIET = Reading(cpu=QUIET_CPU, pressure=Pressure(0.4, 0.0, 0.3, 0.6, 0.0))
SPANS = CpuSpans((Span(0.0, 1.0, 50.0),), (Span(0.0, 1.0, 2.0),))
FIGURES = {
    "others_cpu_share",
    "steal_share",
    "cpu_accounted_share",
    "cpu_stall_share",
    "memory_stall_share",
    "io_stall_share",
    "memory_available_share",
    "swapped_in_bytes",
    "gpu_throttled_share",
    "samples",
    "sampler_cpu_seconds",
}


def cpu(**figures):
    return replace(QUIET, cpu=replace(QUIET_CPU, **figures))


def pressure(**figures):
    return replace(QUIET, pressure=replace(QUIET.pressure, **figures))


def gpu(**figures):
    return replace(QUIET, gpus=(GpuReading(**{"index": 0, "used": True, **figures}),))


RECORDED = json.loads((Path(__file__).parent / "recorded" / "disturbed_rounds.json").read_text())
"""8 rounds of each kind of `benchmarks/disturbed_rounds.py` on 2 shared cores: the same pipeline alone, and
beside a busy loop a core that works half of the time."""


def recorded(one):
    seconds = one["wall_seconds"]
    shares = CpuShares(
        one["others_cpu_share"], one["steal_share"], seconds, seconds * one["cpu_accounted_share"]
    )
    stalls = (one["cpu_stall_share"], one["memory_stall_share"], one["io_stall_share"])
    return Reading(shares, Pressure(*stalls, one["memory_available_share"], one["swapped_in_bytes"]))


class TestRecorded:
    @pytest.mark.parametrize("one", RECORDED, ids=lambda one: f"{one['kind']} {one['wall_seconds']:.1f} s")
    def test_the_disturbed_rounds_are_found_and_no_other(self, one):
        found = reasons_of(recorded(one))
        assert bool(found) == (one["kind"] == "beside")
        assert all("of the CPU was used by others (limit 10 %)" in reason for reason in found)

    def test_the_limit_is_far_from_both(self):
        quiet = max(one["others_cpu_share"] for one in RECORDED if one["kind"] == "quiet")
        beside = min(one["others_cpu_share"] for one in RECORDED if one["kind"] == "beside")
        assert 3 * quiet < DEFAULT_LIMITS.others_cpu_share < beside / 3

    def test_how_long_a_round_took_would_not_have_told(self):
        """The machine's own speed changes as much as some disturbed round does."""
        quiet = [one["cpu_seconds_per_row"] for one in RECORDED if one["kind"] == "quiet"]
        beside = [one["cpu_seconds_per_row"] for one in RECORDED if one["kind"] == "beside"]
        assert min(beside) < max(quiet)


class TestReasons:
    def test_a_quiet_round_has_none(self):
        assert reasons_of(QUIET) == ()
        assert unseen_of(QUIET) == ()

    @pytest.mark.parametrize(
        ("reading", "reason"),
        [
            (cpu(others=0.381), "38 % of the CPU was used by others (limit 10 %)"),
            (cpu(others=0.104), "10.4 % of the CPU was used by others (limit 10 %)"),
            (cpu(steal=0.07), "7 % of the CPU was stolen by the hypervisor (limit 5 %)"),
            (pressure(memory_stall_share=0.25), "tasks waited for memory in 25 % of the time (limit 10 %)"),
            (
                pressure(memory_available_share=0.02),
                "only 2 % of the machine's memory was available (limit 5 %)",
            ),
            (pressure(swapped_in_bytes=100.0 * MIB), "100 MiB were swapped in (limit 64 MiB)"),
            (
                gpu(samples=10, throttled=4, slowed={"software thermal slowdown": 4}),
                "GPU 0 was throttled: software thermal slowdown (40 % of samples); limit 10 %",
            ),
            (gpu(foreign=(4711,)), "a process of others (pid 4711) was on GPU 0"),
            (gpu(foreign=(7, 4711)), "processes of others (pid 7, 4711) were on GPU 0"),
        ],
    )
    def test_one_reason_a_sentence(self, reading, reason):
        assert reasons_of(reading) == (reason,)

    def test_a_round_says_all_of_them(self):
        reading = replace(
            cpu(others=0.5, steal=0.2),
            pressure=Pressure(0.9, 0.5, 0.9, 0.01, 1e9),
            gpus=(
                GpuReading(0, 2, {"power brake": 2}, 2, (1,), True),
                GpuReading(1, used=True, foreign=(2,)),
            ),
        )
        assert len(reasons_of(reading)) == 8

    def test_a_limit_itself_does_not_disturb(self):
        at = Reading(
            cpu=replace(QUIET_CPU, others=DEFAULT_LIMITS.others_cpu_share, steal=DEFAULT_LIMITS.steal_share),
            pressure=Pressure(
                memory_stall_share=DEFAULT_LIMITS.memory_stall_share,
                memory_available_share=DEFAULT_LIMITS.memory_available_share,
                swapped_in_bytes=DEFAULT_LIMITS.swapped_in_bytes,
            ),
            gpus=(GpuReading(0, 10, {"power brake": 1}, 1, (), True),),
        )
        assert reasons_of(at) == ()

    def test_waiting_for_cpus_and_disks_alone_does_not_disturb(self):
        assert reasons_of(pressure(cpu_stall_share=1.0, io_stall_share=1.0)) == ()

    def test_what_was_not_measured_does_not_disturb(self):
        assert reasons_of(Reading()) == ()
        assert reasons_of(cpu(others=None, steal=None)) == ()

    def test_limits_are_a_matter_of_choice(self):
        assert reasons_of(cpu(others=0.3), Limits(others_cpu_share=0.5)) == ()
        (reason,) = reasons_of(cpu(others=0.03), Limits(others_cpu_share=0.01))
        assert reason == "3 % of the CPU was used by others (limit 1 %)"

    def test_a_card_that_the_cluster_does_not_use_is_none_of_its_business(self):
        busy = {"samples": 4, "throttled": 4, "slowed": {"power brake": 4}, "foreign": (9,)}
        assert reasons_of(gpu(**busy, used=False)) == ()
        assert len(reasons_of(gpu(**busy, used=True))) == 2
        # where process ids cannot be told apart, throttling counts on every card
        assert len(reasons_of(gpu(**{**busy, "foreign": None}, used=None))) == 1

    @LIGHT
    @given(
        st.floats(0, 1),
        st.floats(0, 1),
        st.floats(0, 1),
        st.floats(0, 1),
        st.integers(0, 1 << 40),
        st.builds(Limits, *[st.floats(0, 1)] * 4, st.integers(0, 1 << 40), st.floats(0, 1)),
    )
    def test_disturbed_exactly_where_a_figure_is_beyond_its_limit(
        self, others, steal, stalled, available, swapped, limits
    ):
        reading = Reading(
            cpu=replace(QUIET_CPU, others=others, steal=steal),
            pressure=Pressure(0.0, stalled, 0.0, available, swapped),
        )
        beyond = [
            others > limits.others_cpu_share,
            steal > limits.steal_share,
            stalled > limits.memory_stall_share,
            available < limits.memory_available_share,
            swapped > limits.swapped_in_bytes,
        ]
        assert len(reasons_of(reading, limits)) == sum(beyond)

    @LIGHT
    @given(st.floats(0, 1), st.floats(0, 1))
    def test_no_round_is_disturbed_for_the_time_that_it_took(self, others, steal):
        short, long = (cpu(others=others, steal=steal, seconds=s, accounted_seconds=s) for s in (1.0, 1000.0))
        assert reasons_of(short) == reasons_of(long)


class TestUnseen:
    @pytest.mark.parametrize(
        ("reading", "words"),
        [
            (replace(QUIET, cpu=None), "only on Linux"),
            (cpu(others=None, steal=None, problem="PermissionError: /proc/stat"), "PermissionError"),
            (cpu(others=None, steal=None, seconds=0.31, accounted_seconds=0.31), "0.31 s are too short"),
            (cpu(others=None, accounted_seconds=0.4), "in 4.6 of 5.0 s: processes of the cluster ended"),
            (cpu(accounted_seconds=2.0), "in 3.0 of 5.0 s: processes of the cluster ended"),
            (pressure(missing=("no pressure stall information",)), "no pressure stall information"),
            (replace(QUIET, gpus_missing=("throttling of GPU 0: lost",)), "GPU 0: lost"),
        ],
    )
    def test_says_what_and_why(self, reading, words):
        (sentence,) = unseen_of(reading)
        assert words in sentence

    @pytest.mark.parametrize(
        ("reading", "known"),
        [
            (QUIET, True),
            (replace(QUIET, cpu=None), True),  # of no round here: it would never accuse
            (cpu(others=None, steal=None, problem="PermissionError: /proc/stat"), True),
            (cpu(others=None, steal=None, seconds=0.31, accounted_seconds=0.31), False),
            (cpu(others=None, accounted_seconds=0.4), False),
            (cpu(accounted_seconds=2.0), True),
            (replace(QUIET, gpus_missing=("throttling of GPU 0: lost",)), True),
        ],
    )
    def test_undecided_where_others_rounds_are_decided(self, reading, known):
        said = undecided_of(reading)
        assert said == ("" if known else unseen_of(reading)[0])

    def test_a_gpu_that_is_not_there_is_not_unseen(self):
        assert unseen_of(replace(QUIET, gpus=())) == ()


class FakeCpu:
    """An account that was given its shares."""

    def __init__(self, shares, pids=(1,)):
        self._shares = shares
        self.pids = set(pids)
        self.problem = shares.problem
        self.calls = []

    def start(self):
        self.calls.append("start")

    def sample(self):
        self.calls.append("sample")

    def shares(self):
        return self._shares

    def over_time(self):
        return SPANS


class FakePressure(FakeCpu):
    def __init__(self, found):
        super().__init__(QUIET_CPU)
        self.found = found

    def stop(self):
        self.calls.append("stop")
        return self.found


class FakeGpus(FakePressure):
    def __init__(self, *cards, missing=()):
        super().__init__((cards, missing))
        self.ours = []

    def stop(self, ours):
        self.ours.append(ours)
        return super().stop()


def monitor(shares=QUIET_CPU, found=QUIET.pressure, gpus=None, ticks=1, **more):
    def sampler(sample, interval_s, errors):
        turns = iter([*[False] * ticks, True] * 3)
        return Sampler(sample, interval_s, errors, wait=lambda seconds: next(turns))

    parts = {
        "pressure": FakePressure(found),
        "gpus": gpus if gpus is not None else FakeGpus(),
        "sampler": sampler,
    }
    account = None if shares is None else FakeCpu(shares)
    return DisturbanceMonitor(account, **{**parts, **more}), account, parts


class TestMonitor:
    def test_figures_of_a_block(self):
        throttled = GpuReading(1, 4, {"power brake": 3}, 3, (), True)
        watching, account, parts = monitor(gpus=FakeGpus(GpuReading(0, 4, {}, 0, (), True), throttled))

        def is_monitor(m: Monitor) -> Monitor:
            return m

        with is_monitor(watching):
            pass
        assert watching.available
        assert watching.problem is None
        summary = watching.summary()
        assert set(summary) == FIGURES
        assert summary["sampler_cpu_seconds"] > 0
        assert {name: summary[name] for name in FIGURES - {"sampler_cpu_seconds"}} == {
            "others_cpu_share": 0.02,
            "steal_share": 0.0,
            "cpu_accounted_share": pytest.approx(0.96),
            "cpu_stall_share": 0.4,
            "memory_stall_share": 0.0,
            "io_stall_share": 0.3,
            "memory_available_share": 0.6,
            "swapped_in_bytes": 0.0,
            "gpu_throttled_share": 0.75,
            "samples": 3,
        }
        assert account.calls == ["start", "sample", "sample", "sample"]
        assert parts["pressure"].calls == ["start", "sample", "sample", "sample", "stop"]
        assert parts["gpus"].calls == ["start", "sample", "sample", "sample", "stop"]
        assert parts["gpus"].ours == [{1}]
        assert watching.reasons() == ("GPU 1 was throttled: power brake (75 % of samples); limit 10 %",)
        assert watching.over_time() == SPANS
        assert watching.unseen() == ()

    def test_says_nothing_before_the_first_block(self):
        watching, _, _ = monitor()
        assert watching.summary() == dict.fromkeys(FIGURES, None)
        assert (watching.reasons(), watching.unseen(), watching.reading) == ((), (), None)
        assert watching.over_time() == CpuSpans()

    def test_where_cpus_are_not_accounted_the_rest_is_there(self):
        watching, _, parts = monitor(shares=None)
        with watching:
            pass
        assert watching.summary()["others_cpu_share"] is None
        assert watching.summary()["steal_share"] is None
        assert watching.summary()["cpu_accounted_share"] is None
        assert watching.over_time() == CpuSpans()
        assert watching.summary()["memory_available_share"] == 0.6
        assert parts["gpus"].ours == [None]
        assert len(watching.unseen()) == 1

    def test_an_account_that_broke_off_does_not_tell_whose_a_process_is(self):
        watching, _, parts = monitor(CpuShares(None, None, 3.0, 0.0, "OSError: gone"))
        with watching:
            pass
        assert parts["gpus"].ours == [None]
        assert watching.summary()["cpu_accounted_share"] is None
        assert watching.reasons() == ()
        assert watching.available  # the rest is watched
        assert "OSError: gone" in watching.unseen()[0]

    def test_limits_are_its_own(self):
        watching, _, _ = monitor(limits=Limits(others_cpu_share=0.01))
        with watching:
            pass
        assert watching.reasons() == ("2 % of the CPU was used by others (limit 1 %)",)

    def test_a_second_block_inside_is_refused_and_the_first_goes_on(self):
        watching, _, parts = monitor()
        with pytest.raises(RuntimeError, match="runs already"), watching, watching:
            pass
        assert parts["gpus"].calls.count("stop") == 1
        assert watching.reading is not None

    def test_the_next_block_forgets_the_last(self):
        watching, _, _ = monitor()
        with watching:
            pass
        with watching:
            assert watching.reading is None
            assert watching.summary()["others_cpu_share"] is None
        assert watching.reading is not None

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_when_watching_breaks_off_no_figure_is_left(self, monkeypatch):
        monkeypatch.setattr("threading.excepthook", lambda args: None)
        watching, account, parts = monitor(replace(QUIET_CPU, others=0.9))
        samples = iter([None, KeyError("a mistake")])

        def sample():
            outcome = next(samples)
            if outcome is not None:
                raise outcome

        account.sample = sample
        with watching:
            pass
        assert not watching.available
        assert "unexpected error" in watching.problem
        assert watching.summary() == dict.fromkeys(FIGURES, None)
        assert watching.over_time() == CpuSpans()
        assert watching.reasons() == ()
        (sentence,) = watching.unseen()
        assert "unexpected error" in sentence
        assert parts["gpus"].calls[-1] == "stop"

    def test_a_mistake_at_the_first_look_closes_the_gpus(self):
        watching, account, parts = monitor()

        def sample():
            raise KeyError("a mistake")

        account.sample = sample
        with pytest.raises(KeyError), watching:
            pass
        assert parts["gpus"].calls == ["start", "stop"]

    def test_leaving_what_was_not_entered_does_nothing(self):
        watching, _, parts = monitor()
        watching.__exit__(None, None, None)
        assert parts["gpus"].calls == []
        assert watching.reading is None

    def test_an_interval_that_is_no_time_is_refused(self):
        with pytest.raises(ValueError, match="interval_s must be above 0"):
            DisturbanceMonitor(None, interval_s=0)

    def test_on_this_machine(self):
        with watch_disturbances(None) as watching:
            pass
        summary = watching.summary()
        assert set(summary) == FIGURES
        assert 0 < summary["memory_available_share"] < 1
        unseen = watching.unseen()
        assert (summary["others_cpu_share"] is None) == any("CPU time of others" in what for what in unseen)
        assert (summary["cpu_stall_share"] is None) == any("pressure stall" in what for what in unseen)


class TestClusterProcesses:
    def test_finds_all_that_name_the_cluster_or_its_session(self, monkeypatch):
        session = "--session-name=session_1"
        commands = {
            30: ["raylet", "--gcs-address=10.0.0.1:6379", session],
            10: ["gcs_server", "--log_dir=/tmp", session],
            20: ["python", "log_monitor.py", "--gcs-address=10.0.0.1:6379"],
            40: ["raylet", "--gcs-address=10.0.0.1:63790", "--session-name=session_2"],
            50: ["gcs_server", "--session-name=session_2"],
            60: ["bash"],
            70: psutil.NoSuchProcess(70),
            80: psutil.AccessDenied(80),
        }

        class Process:
            def __init__(self, pid):
                self.pid = pid

            def cmdline(self):
                if isinstance(commands[self.pid], Exception):
                    raise commands[self.pid]
                return commands[self.pid]

        monkeypatch.setattr(disturbance.psutil, "process_iter", lambda: map(Process, commands))
        assert cluster_processes("10.0.0.1:6379") == (10, 20, 30)
        assert cluster_processes("10.0.0.1:63790") == (40, 50)
        assert cluster_processes("10.0.0.9:6379") == ()

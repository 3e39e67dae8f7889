"""How fast the machine is at fixed work; and what is said where it is another one."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace

import pytest
from builders import FILE, SUBJECT, make_reference, make_round, make_rounds
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.judging.comparing import Chances
from pytest_rayperf.judging.policy import PROBE_LIMIT, Policy
from pytest_rayperf.judging.questions import Question
from pytest_rayperf.judging.series import other_machine, series_of
from pytest_rayperf.machine import Lap, Probe
from pytest_rayperf.metrics import CPU_PER_ROW, PEAK_MEMORY
from pytest_rayperf.probe import ACTIVATIONS, LAPS, probe
from pytest_rayperf.verdict import judge, settled
from pytest_rayperf.work.counts import OperatorWork, Work

POLICY = Policy(max_slowdown=1.15)
WIDE = Policy(max_slowdown=1.25)
"""What sessions without a probe can clear."""
UNTIMED = replace(POLICY, timed=False, looks=(1, 4))
THEN = Probe(0.002, 0.002)


def clock_of(*laps, memory=()):
    """A clock by which the laps take so long, with what is between them left out.

    Those of memory come after those of computing; unless said otherwise each takes 2 s.
    """
    now, readings = 100.0, []
    for seconds in (*laps, *(memory or [2.0] * len(laps))):
        readings += [now, now + seconds]
        now += seconds + 7.0
    return iter(readings).__next__


class TestProbe:
    def test_is_the_mean_of_the_laps(self):
        assert probe(3, clock_of(0.5, 0.25, 0.75)) == Lap(0.5, 2.0)
        assert probe(4, clock_of(1.0, 0.5, 0.25, 0.25)) == Lap(0.5, 2.0)
        assert probe(2, clock_of(1.0, 1.0, memory=(0.25, 0.75))) == Lap(1.0, 0.5)

    def test_one_lap(self):
        assert probe(1, clock_of(0.5)) == Lap(0.5, 2.0)

    def test_the_clock_is_read_around_each_lap_and_not_around_the_first_that_warms(self):
        readings = []

        def clock():
            readings.append(len(readings))
            return float(len(readings))

        probe(6, clock)
        assert len(readings) == 2 * 2 * 6

    @pytest.mark.parametrize("laps", [0, -1])
    def test_without_laps_there_is_no_mean(self, laps):
        with pytest.raises(ValueError, match=rf"probe\(laps={laps}\): at least 1"):
            probe(laps)

    def test_by_the_threads_own_clock_it_is_above_0(self):
        lap = probe(3)
        assert 0 < lap.compute_s < 10
        assert 0 < lap.memory_s < 10

    def test_its_arrays_are_not_kept(self):
        """The driver's memory is a metric."""
        tracemalloc.start()
        try:
            probe(1)
            kept, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        arrays = 3 * 4 * ACTIVATIONS
        assert kept < arrays / 10
        assert arrays <= peak

    def test_enough_laps_that_a_slow_one_says_little(self):
        assert LAPS >= 100


class TestLaps:
    def test_are_those_at_the_ends_and_between(self):
        laps = (Lap(1.0, 2.0), Lap(3.0, 4.0), Lap(5.0, 6.0))
        assert Probe.around(*laps).laps == laps
        assert Probe(1.0, 3.0).laps == (Lap(1.0), Lap(3.0))


class TestSeconds:
    def test_are_the_geometric_mean_of_both(self):
        assert Probe(0.001, 0.004).seconds == pytest.approx(0.002)

    @pytest.mark.parametrize("seconds", [1e-200, 1e-300, 1.0, 1e299])
    def test_of_any_figures_that_a_file_may_hold(self, seconds):
        assert Probe(seconds, seconds).seconds == pytest.approx(seconds)

    @pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
    def test_none_where_one_of_them_is_no_time(self, bad):
        assert Probe(bad, 1.0).seconds is Probe(1.0, bad).seconds is Probe(bad, bad).seconds is None
        assert Probe(1.0, 1.0, between=(Lap(1.0), Lap(bad))).seconds is None

    def test_laps_between_rounds_count_twice_what_a_lap_at_an_end_does(self):
        """Each stands for the time up to the laps beside it."""
        assert Probe(1.0, 1.0, between=(Lap(4.0),)).seconds == pytest.approx(2.0)
        assert Probe(16.0, 1.0, between=(Lap(1.0),)).seconds == pytest.approx(2.0)
        assert Probe(1.0, 16.0, between=(Lap(2.0), Lap(2.0))).seconds == pytest.approx(2 ** (4 / 3))

    @given(st.lists(st.floats(1e-4, 1e-1), min_size=1, max_size=30))
    def test_of_laps_that_are_alike_it_is_theirs_and_else_between_them(self, laps):
        mean = Probe.around(*map(Lap, laps)).seconds
        assert min(laps) * (1 - 1e-9) <= mean <= max(laps) * (1 + 1e-9)


class TestOfMemory:
    """It counts as much as computing, where both probes have it."""

    @pytest.mark.parametrize(
        ("now", "then", "times"),
        [
            (Probe(0.004, 0.004), Probe(0.002, 0.002), 2.0),
            (Probe(0.004, 0.004, 0.008, 0.008), Probe(0.002, 0.002, 0.001, 0.001), 4.0),
            (Probe(0.002, 0.002, 0.004, 0.001), Probe(0.002, 0.002, 0.001, 0.001), math.sqrt(2)),
            (Probe(0.004, 0.004, 0.008, 0.008), Probe(0.002, 0.002), 2.0),
            (Probe(0.004, 0.004), Probe(0.002, 0.002, 0.001, 0.001), 2.0),
        ],
        ids=["neither", "both", "before and after", "not then", "not now"],
    )
    def test_how_many_times_as_slow(self, now, then, times):
        assert now.log_slower(then) == pytest.approx(math.log(times))
        assert then.log_slower(now) == pytest.approx(-math.log(times))

    @pytest.mark.parametrize("bad", [None, 0.0, -1.0, math.nan, math.inf])
    def test_what_measured_nothing_is_left_out(self, bad):
        now, then = Probe(0.004, 0.004, 0.001, bad), Probe(0.002, 0.002, 0.001, 0.001)
        assert now.memory_seconds is Probe(1.0, 1.0, bad, 1.0).memory_seconds is None
        assert now.log_slower(then) == pytest.approx(math.log(2.0))

    @pytest.mark.parametrize("bad", [0.0, math.nan])
    def test_without_computing_nothing_is_known(self, bad):
        now, then = Probe(0.002, bad, 0.001, 0.001), Probe(0.002, 0.002, 0.001, 0.001)
        assert now.log_slower(then) is then.log_slower(now) is None

    def test_is_that_of_the_laps_around_the_rounds(self):
        assert Probe.around(Lap(1.0, 2.0), Lap(3.0, 4.0)) == Probe(1.0, 3.0, 2.0, 4.0)
        assert Probe.around(Lap(1.0), Lap(3.0)) == Probe(1.0, 3.0)
        inner = (Lap(5.0, 6.0), Lap(7.0, 8.0))
        assert Probe.around(Lap(1.0, 2.0), *inner, Lap(3.0, 4.0)) == Probe(1.0, 3.0, 2.0, 4.0, inner)
        assert Probe.around(Lap(1.0, 2.0)) == Probe(1.0, 1.0, 2.0, 2.0)

    def test_between_the_rounds_too(self):
        quick = Probe(1.0, 1.0, 1.0, 1.0)
        assert replace(quick, between=(Lap(1.0, 4.0),)).memory_seconds == pytest.approx(2.0)
        assert replace(quick, between=(Lap(1.0, None),)).memory_seconds is None
        assert replace(quick, between=(Lap(1.0, 0.0),)).memory_seconds is None

    @pytest.mark.parametrize("bad", [None, 0.0])
    def test_is_without_it_where_a_clock_ticked_too_rarely_to_time_a_lap(self, bad):
        assert Probe.around(Lap(1.0, bad), Lap(3.0, 4.0)) == Probe(1.0, 3.0)
        assert Probe.around(Lap(1.0, 2.0), Lap(3.0, bad)) == Probe(1.0, 3.0)
        around = Probe.around(Lap(1.0, 2.0), Lap(5.0, bad), Lap(6.0, 1.0), Lap(3.0, 4.0))
        assert around == Probe(1.0, 3.0, between=(Lap(5.0), Lap(6.0)))

    def test_a_machine_whose_memory_is_taken_is_slower_for_a_pipeline(self):
        """Its computing as fast as ever, its memory 2.25 times as slow: 1.5 times, and no regression."""
        then, now = Probe(0.002, 0.002, 0.001, 0.001), Probe(0.002, 0.002, 0.00225, 0.00225)
        reference = make_reference(*[make_rounds(n=20)] * 8, probe=then)
        rounds = slower_by(1.5)
        assert judge(rounds, SUBJECT, reference, POLICY, probe=now).status == "unchanged"
        assert judge(rounds, SUBJECT, reference, POLICY, probe=then).status == "regressed"

    @pytest.mark.parametrize(("slow", "status"), [(3.9, "improved"), (4.1, "incomparable")])
    def test_another_machine_by_its_memory(self, slow, status):
        then, now = Probe(0.002, 0.002, 0.001, 0.001), Probe(0.002, 0.002, 0.001 * slow, 0.001 * slow)
        reference = make_reference(*[make_rounds(n=20)] * 8, probe=then)
        assert judge(make_rounds(n=20), SUBJECT, reference, POLICY, probe=now).status == status

    def test_sessions_of_before_it_was_measured_are_compared_by_computing(self):
        then, now = Probe(0.002, 0.002), Probe(0.003, 0.003, 0.5, 0.5)
        reference = make_reference(*[make_rounds(n=20)] * 8, probe=then)
        assert judge(slower_by(1.5), SUBJECT, reference, POLICY, probe=now).status == "unchanged"


def judged(factor=1.0, reference=None, rounds=None, policy=POLICY, **more):
    """With a probe `factor` times as slow as the reference's."""
    now = Probe(THEN.before_s * factor, THEN.after_s * factor)
    given = reference or make_reference(*[make_rounds(n=20)] * 8, probe=THEN)
    return judge(rounds or make_rounds(n=20), SUBJECT, given, policy, probe=now, **more)


def slower_by(factor, n=20):
    """Rounds of a pipeline that computes, on a machine that is so many times slower."""
    return make_rounds(40 / factor, 0.02 * factor, n)


class TestAnotherMachine:
    @pytest.mark.parametrize("factor", [PROBE_LIMIT * 1.01, 10.0, 1 / PROBE_LIMIT / 1.01, 0.1])
    @pytest.mark.parametrize("cpu", [0.005, 0.02, 0.08])
    def test_is_incomparable_either_way(self, factor, cpu):
        verdict = judged(factor, rounds=make_rounds(cpu=cpu, n=20))
        assert (verdict.status, verdict.metric, verdict.comparisons) == ("incomparable", None, ())
        assert verdict.reason.startswith(
            f"incomparable: for fixed work this machine takes {factor:.2f}x the CPU time that it took when "
            f"{FILE} was recorded (limit {PROBE_LIMIT:g}x either way)"
        )
        assert verdict.reason.endswith("record it here with --rayperf-update-baselines")

    @pytest.mark.parametrize("how", ["a_run", "accepting"])
    def test_what_cannot_be_recorded_or_is_being_is_not_to_be(self, how):
        reference = replace(make_reference(probe=THEN), **{how: True})
        assert other_machine(THEN, reference) is None
        assert other_machine(Probe(0.006, 0.006), reference).endswith("; the counters are equal")

    @pytest.mark.parametrize("factor", [PROBE_LIMIT / 1.01, 1.0, 1.01 / PROBE_LIMIT])
    @pytest.mark.parametrize(
        ("cpu", "status"), [(0.005, "improved"), (0.02, "unchanged"), (0.08, "regressed")]
    )
    def test_within_the_limit_it_is_the_same_one(self, factor, cpu, status):
        # As much slower as the probe says: the machine's speed, and none of the pipeline's doing.
        rounds = make_rounds(0.8 / (cpu * factor), cpu * factor, 20)
        assert judged(factor, rounds=rounds).status == status

    def test_what_the_probe_does_not_explain_is_the_pipelines(self):
        assert judged(0.6, rounds=make_rounds(cpu=0.02, n=20)).status == "regressed"
        assert judged(1.6, rounds=make_rounds(cpu=0.02, n=20)).status == "improved"

    def test_the_limit_itself_is_within(self):
        reference = make_reference(*[make_rounds(n=20)] * 8, probe=Probe(1.0, 1.0))
        now = Probe(PROBE_LIMIT**2, 1.0)
        assert now.seconds == PROBE_LIMIT
        rounds = slower_by(PROBE_LIMIT)
        assert judge(rounds, SUBJECT, reference, WIDE, probe=now).status == "unchanged"

    def test_both_probes_count(self):
        """Slow before and fast after: an hour of something else, and not another machine."""
        now = Probe(THEN.before_s * 4, THEN.after_s / 4)
        reference = make_reference(*[make_rounds(n=20)] * 8, probe=THEN)
        assert judge(make_rounds(n=20), SUBJECT, reference, POLICY, probe=now).status == "unchanged"

    def test_of_several_sessions_it_is_the_geometric_mean(self):
        factors = (*[1.5] * 4, *[1 / 1.5] * 4)
        reference = make_reference(*map(slower_by, factors))
        sessions = tuple(
            replace(s, probe=Probe(THEN.before_s * f, THEN.after_s * f))
            for s, f in zip(reference.sessions, factors, strict=True)
        )
        assert judged(1.0, replace(reference, sessions=sessions)).status == "unchanged"
        assert judged(4.0, replace(reference, sessions=sessions)).status == "incomparable"

    def test_sessions_without_one_are_passed_over(self):
        reference = make_reference(*[make_rounds(n=20)] * 8, probe=None)
        assert judged(9.0, reference, policy=WIDE).status == "unchanged"
        sessions = (*reference.sessions[:-1], replace(reference.sessions[-1], probe=THEN))
        assert judged(9.0, replace(reference, sessions=sessions)).status == "incomparable"

    def test_without_one_of_this_run_it_is_taken_for_the_same(self):
        reference = make_reference(*[make_rounds(n=20)] * 8, probe=THEN)
        assert judge(make_rounds(n=20), SUBJECT, reference, WIDE).status == "unchanged"

    def test_only_the_recent_sessions_count(self):
        reference = make_reference(*[make_rounds(n=20)] * 20, probe=THEN)
        old = tuple(replace(s, probe=Probe(1e3, 1e3)) for s in reference.sessions[:3])
        moved = replace(reference, sessions=(*old, *reference.sessions[3:]))
        assert judged(1.0, moved).status == "unchanged"

    @pytest.mark.parametrize("seconds", [1e-6, 1e3])
    def test_the_oldest_sessions_of_another_machine_tell_of_no_creep(self, seconds):
        reference = make_reference(*[make_rounds(n=20)] * 20, probe=THEN)
        old = tuple(replace(s, probe=Probe(seconds, seconds)) for s in reference.sessions[:3])
        moved = replace(reference, sessions=(*old, *reference.sessions[3:]))
        assert {c.since for c in judged(1.0, moved).comparisons} == {None}
        assert judged(1.0, moved, make_rounds(cpu=0.04, n=20)).status == "regressed"

    def test_recent_sessions_are_brought_to_this_hours_speed_beside_the_oldest_too(self):
        reference = make_reference(*[make_rounds(n=20)] * 12, probe=THEN)
        verdict = judged(1.5, reference, slower_by(1.5))
        assert verdict.status == "unchanged"
        cpu = [c for c in verdict.comparisons if c.metric is CPU_PER_ROW]
        assert [c.reference for c in cpu] == [pytest.approx(0.03)] * 2

    def test_sessions_that_are_each_of_another_machine_say_nothing(self):
        """Their mean is this one's speed, and none of them is."""
        reference = make_reference(*[make_rounds(n=20)] * 2)
        sessions = tuple(
            replace(s, probe=Probe(THEN.before_s * f, THEN.after_s * f))
            for s, f in zip(reference.sessions, (PROBE_LIMIT * 2, 0.5 / PROBE_LIMIT), strict=True)
        )
        verdict = judged(1.0, replace(reference, sessions=sessions))
        assert (verdict.status, verdict.comparisons) == ("inconclusive", ())

    def test_a_session_of_another_machine_among_others_is_left_out(self):
        reference = make_reference(*[make_rounds(n=20)] * 7, probe=THEN)
        other = replace(reference.sessions[0], probe=Probe(1.0, 1.0))
        mixed = replace(reference, sessions=(other, *reference.sessions[1:]))
        sessions = series_of(CPU_PER_ROW, make_rounds(), mixed.sessions, THEN).sessions
        assert len(sessions) == 6


class TestAnotherHour:
    """The machine is slower for a while, or faster: it is none of the pipeline's doing.

    On a faster one some of the wait may be the machine's share of work that nobody waits for. So what is
    called waiting is less there, and is never more than elsewhere.
    """

    LOOKS = (1, 3, 4, 6, 10, 20)

    @pytest.mark.parametrize("n", LOOKS)
    @pytest.mark.parametrize("factor", [1.1, 1.3, 1.6, 1 / 1.3])
    def test_slower_for_all_is_no_regression(self, factor, n):
        verdict = judged(factor, rounds=slower_by(factor, n))
        assert [c.slowdown.ratio for c in verdict.comparisons] == pytest.approx([1.0, min(1.0, factor)])
        assert verdict.status in ("unchanged", "inconclusive")
        assert verdict.status == "unchanged" or n < 6

    @pytest.mark.parametrize("n", LOOKS)
    @pytest.mark.parametrize("factor", [0.6, 0.8, 0.9])
    def test_faster_where_the_pipeline_waits_for_a_gpu_is_none(self, factor, n):
        """The same wall time, for the GPU is no faster; and less CPU time, as the probe says."""
        verdict = judged(factor, rounds=make_rounds(40, 0.02 * factor, n))
        work, waiting = verdict.comparisons
        assert (work.slowdown.ratio, waiting.slowdown.ratio) == pytest.approx((1.0, 1.0))
        assert verdict.status in ("unchanged", "inconclusive")
        assert "regressed" not in {work.status, waiting.status}

    @pytest.mark.parametrize("factor", [1.3, 1.6])
    def test_slower_where_it_waits_for_a_gpu_is_none_and_no_gain(self, factor):
        verdict = judged(factor, rounds=make_rounds(40, 0.02 * factor, 20))
        assert {c.status for c in verdict.comparisons}.isdisjoint({"regressed", "improved"})

    @pytest.mark.parametrize("factor", [1 / 1.3, 1.0, 1.3])
    def test_what_waits_beside_that_is_one(self, factor):
        rounds = make_rounds(40 / factor / 1.5, 0.02 * factor, 20)
        verdict = judged(factor, rounds=rounds)
        assert verdict.comparisons[1].slowdown.ratio == pytest.approx(1.5 * min(1.0, factor))
        status = "regressed" if factor >= 1 else "inconclusive"  # 1.15 is left of it
        assert (verdict.status, verdict.metric) == (status, "throughput")

    @pytest.mark.parametrize("factor", [1 / 1.3, 1.0, 1.3])
    def test_what_works_more_beside_that_is_one(self, factor):
        verdict = judged(factor, rounds=slower_by(1.6 * factor))
        assert (verdict.status, verdict.metric) == ("regressed", "cpu_seconds_per_row")
        assert verdict.ratio == pytest.approx(1.6)
        assert verdict.comparisons[1].status == "inconclusive"  # slower, and not for waiting


class TestWithoutAProbe:
    """Nothing is known of the hour: sessions are believed to differ by more."""

    @pytest.mark.parametrize(("then", "now"), [(None, THEN), (THEN, None), (None, None)])
    def test_less_is_certain_of_the_work(self, then, now):
        rounds = make_rounds(n=20)
        known, unknown = (
            judge(rounds, SUBJECT, make_reference(*[rounds] * 3, probe=one), POLICY, probe=other)
            for one, other in ((THEN, THEN), (then, now))
        )
        assert known.comparisons[0].mde < unknown.comparisons[0].mde
        assert known.comparisons[0].slowdown.low > unknown.comparisons[0].slowdown.low

    def test_waiting_is_found_as_soon(self):
        """The hour is in both factors of the busy cores; but work and waiting are ruled out together."""
        rounds = make_rounds(n=20)
        known, unknown = (
            judge(rounds, SUBJECT, make_reference(*[rounds] * 3, probe=probe), POLICY, probe=probe)
            for probe in (THEN, None)
        )
        assert known.comparisons[1].slowdown.low == unknown.comparisons[1].slowdown.low
        assert known.comparisons[1].slowdown.high < unknown.comparisons[1].slowdown.high


class TestSettled:
    """While rounds are measured, with the probe of before them."""

    @staticmethod
    def scattered(slowdown=1.0):
        speeds = [slowdown * math.exp(x) for x in (-0.15, 0.0, 0.15)]
        return [make_round(40 / speed, 0.02 * speed) for speed in speeds]

    def undecided(self):
        """What was recorded, and a policy by which a round or two more would do."""
        reference = make_reference(*[self.scattered()] * 8, probe=THEN)
        verdict = judge(self.scattered(), SUBJECT, reference, POLICY, probe=THEN)
        return reference, replace(POLICY, max_slowdown=verdict.comparisons[0].slowdown.high * 0.99)

    def settled(self, factor, slowdown):
        now = Probe(THEN.before_s * factor, THEN.after_s * factor)
        reference, nearly = self.undecided()
        return settled(self.scattered(slowdown), SUBJECT, reference, nearly, now)

    def test_on_another_machine_no_round_tells_more(self):
        assert not self.settled(1.0, 1.0)
        assert self.settled(PROBE_LIMIT * 1.01, 1.0)
        assert self.settled(0.99 / PROBE_LIMIT, 1.0)

    def test_nor_does_its_memory(self):
        """The verdict is `incomparable`, whatever the rounds to come would say of that."""
        rounds = [make_round(memory=round(1e9 * math.exp(x))) for x in (-0.1, 0.0, 0.1)]
        reference = make_reference(*[rounds] * 8, probe=THEN)
        (memory,) = (
            c for c in judge(rounds, SUBJECT, reference, POLICY).comparisons if c.metric is PEAK_MEMORY
        )
        nearly = replace(POLICY, max_slowdown=memory.slowdown.high * 0.99)
        alone = [replace(r, operators=(), wall_seconds=0.0) for r in rounds]
        assert not settled(alone, SUBJECT, reference, nearly, THEN)
        assert settled(alone, SUBJECT, reference, nearly, Probe(1.0, 1.0))

    @pytest.mark.parametrize("factor", [PROBE_LIMIT / 1.01, 1.01 / PROBE_LIMIT])
    def test_what_the_probe_explains_decides_nothing(self, factor):
        assert not self.settled(factor, factor)
        assert self.settled(1.0, factor)

    @pytest.mark.parametrize("goes_on", [True, False])
    def test_it_asks_for_the_figures_at_this_hours_speed(self, monkeypatch, goes_on):
        then = [pytest.approx([0.02 * 1.5 * math.exp(x) for x in (-0.15, 0.0, 0.15)])] * 8

        def chances(question):
            series = question.series.work or question.series
            its_own = list(map(list, series.sessions)) == then
            assert not its_own or [list(series.current)] * 8 == then
            return Chances(float(its_own is goes_on), 0.0)

        monkeypatch.setattr(Question, "chances", property(chances))
        assert self.settled(1.5, 1.5) is not goes_on


class TestWhatHoldsOnAnyMachine:
    @pytest.mark.parametrize("factor", [9.0, 1 / 9.0])
    @pytest.mark.parametrize(("loads", "status"), [(4, "improved"), (5, "incomparable"), (6, "regressed")])
    def test_counters(self, factor, loads, status):
        reference = make_reference(make_rounds(counters={"loads": 5}), probe=THEN)
        verdict = judged(factor, reference, make_rounds(counters={"loads": loads}))
        assert (verdict.status, verdict.metric) == (status, None if loads == 5 else "loads")

    @pytest.mark.parametrize(("flops", "status"), [(7, "improved"), (8, "incomparable"), (9, "regressed")])
    def test_counted_work(self, flops, status):
        def work(flops):
            return Work((OperatorWork("Map", 4, {}, {"flops": flops}, {}),), {"ray": "2.60"})

        reference = make_reference(make_rounds(), probe=THEN)
        counted = replace(reference, sessions=(replace(reference.sessions[0], work=work(8)),))
        assert judged(9.0, counted, make_rounds(), work=work(flops)).status == status

    def test_a_target_of_the_mark(self):
        verdict = judged(9.0, policy=replace(POLICY, min_throughput=1000))
        assert (verdict.status, verdict.metric) == ("regressed", "throughput")

    def test_rows(self):
        verdict = judged(9.0, rounds=make_rounds(rows=63))
        assert (verdict.status, verdict.wrong) == ("invalid", True)

    @pytest.mark.parametrize("cpu", [0.002, 0.02, 0.2])
    def test_what_is_not_timed(self, cpu):
        """Its counters decide, and a time that is another machine's does not."""
        reference = make_reference(*[[make_round()]] * 6, probe=THEN)
        verdict = judged(9.0, reference, [make_round(cpu=cpu)], UNTIMED)
        assert (verdict.status, verdict.comparisons) == ("unchanged", ())
        assert verdict.reason.startswith("counters as in ")

    def test_what_is_not_timed_on_the_same_machine(self):
        reference = make_reference(*[[make_round()]] * 6, probe=THEN)
        assert judged(1.0, reference, [make_round(cpu=0.2)], UNTIMED).status == "regressed"

    def test_disturbed_rounds_are_that_first(self):
        assert judged(9.0, rounds=make_rounds(disturbed="busy")).status == "inconclusive"

    def test_another_subject_is_that_first(self):
        reference = make_reference(subject=replace(SUBJECT, model="resnet50"), probe=THEN)
        assert "measured something else" in judged(9.0, reference).reason

    def test_without_a_baseline(self):
        assert judge(make_rounds(), SUBJECT, None, POLICY, probe=THEN).status == "no-baseline"


@pytest.mark.parametrize("seconds", [5e-324, 1e-300, 1e300])
def test_whatever_a_probe_says_nothing_raises(seconds):
    now, rounds = Probe(seconds, seconds), make_rounds(n=20)
    for one, other in ((THEN, now), (now, THEN), (Probe(5e-324, 5e-324), Probe(1e300, 1e300))):
        verdict = judge(rounds, SUBJECT, make_reference(probe=one), POLICY, probe=other)
        assert verdict.status == "incomparable"
        assert "infx" not in verdict.reason
    assert settled(rounds, SUBJECT, make_reference(probe=now), POLICY) in (True, False)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("probe", [lambda bad: Probe(bad, 0.002), lambda bad: Probe(0.002, bad)])
def test_a_probe_that_measured_nothing_says_nothing(bad, probe):
    """A thread's clock may tick so rarely that a lap takes no time by it."""
    rounds = make_rounds(n=20)
    for then, now in ((THEN, probe(bad)), (probe(bad), THEN), (probe(bad), Probe(9.0, 9.0))):
        reference = make_reference(*[rounds] * 8, probe=then)
        assert judge(rounds, SUBJECT, reference, WIDE, probe=now).status == "unchanged"

"""What a baseline's figures would be now: by the probe; and of throughput the busy cores."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from builders import LIGHT, make_round, make_rounds
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.judging.noise import (
    DISTURBED,
    NOISE,
    UNPROBED_SD,
    UNPROBED_WEIGHT,
    WAITING,
    WAITING_DISTURBED,
)
from pytest_rayperf.judging.reference import ReferenceSession
from pytest_rayperf.judging.series import series_of
from pytest_rayperf.machine import Probe
from pytest_rayperf.metrics import CPU_PER_ROW, PEAK_MEMORY, THROUGHPUT

ONE = Probe(0.003, 0.003)
times = st.floats(1e-9, 1e9)


def session(throughput=40.0, cpu=0.02, n=2, probe=None):
    return ReferenceSession(tuple(make_rounds(throughput, cpu, n)), probe=probe)


class TestProbedCpu:
    def test_a_session_of_a_slower_hour_is_brought_to_this_ones_speed(self):
        """Its probe took 1.5x what it takes now: it would have taken 1 / 1.5 of its CPU time now."""
        slow = session(cpu=0.03, probe=Probe(0.0045, 0.0045))
        series = series_of(CPU_PER_ROW, make_rounds(), [slow], ONE)
        assert series.sessions == (pytest.approx((0.02, 0.02)),)
        assert series.current == pytest.approx((0.02,) * 3)

    @pytest.mark.parametrize(
        ("sessions", "probe"),
        [
            ([session(probe=Probe(0.006, 0.006))], None),
            ([session(probe=Probe(0.006, 0.006)), session()], ONE),
            ([session(probe=Probe(0.0, 0.006))], ONE),
            ([session()], ONE),
        ],
    )
    def test_where_one_has_none_all_stay_as_they_were_measured(self, sessions, probe):
        series = series_of(CPU_PER_ROW, make_rounds(), sessions, probe)
        assert all(figures == pytest.approx((0.02, 0.02)) for figures in series.sessions)

    def test_memory_is_of_any_speed(self):
        rounds = make_rounds(memory=10**9)
        series = series_of(PEAK_MEMORY, rounds, [ReferenceSession(tuple(rounds), probe=Probe(1, 1))], ONE)
        assert series.sessions == (series.current,)


class TestNoiseOfTimes:
    """Less is believed of times where the machine's speed could not be taken out of them."""

    def test_with_a_probe_on_every_side(self):
        series = series_of(CPU_PER_ROW, make_rounds(), [session(probe=ONE)] * 2, ONE)
        assert series.noise == NOISE[CPU_PER_ROW.name]

    @pytest.mark.parametrize("metric", [CPU_PER_ROW, THROUGHPUT], ids=lambda m: m.name)
    @pytest.mark.parametrize(
        ("then", "now"), [([ONE, None], ONE), ([None, None], ONE), ([ONE, ONE], None), ([None], None)]
    )
    def test_without(self, metric, then, now):
        cpu = 0.02 if metric is CPU_PER_ROW else None
        sessions = [session(cpu=cpu, probe=probe) for probe in then]
        series = series_of(metric, make_rounds(cpu=cpu), sessions, now)
        assert series.noise == replace(
            NOISE[metric.name], session_sd=UNPROBED_SD, session_weight=UNPROBED_WEIGHT
        )
        assert (series.work, series.machine) == (None, 0.0)

    def test_throughput_is_not_brought_to_another_speed_by_the_probe_alone(self):
        """Who does not compute is no faster on a faster machine."""
        sessions = [session(cpu=None, probe=Probe(0.0045, 0.0045))]
        series = series_of(THROUGHPUT, make_rounds(cpu=None), sessions, ONE)
        assert series.sessions == (pytest.approx((40, 40)),)
        assert series.noise.session_sd == UNPROBED_SD

    def test_memory_is_as_sure_without(self):
        rounds = make_rounds(memory=10**9)
        series = series_of(PEAK_MEMORY, rounds, [ReferenceSession(tuple(rounds))], None)
        assert series.noise == NOISE[PEAK_MEMORY.name]


class TestMachine:
    """How much slower the machine is now, which CPU times were multiplied by."""

    def test_of_several_sessions_it_is_the_geometric_mean(self):
        sessions = [session(probe=Probe(0.0015, 0.0015)), session(probe=Probe(0.0045, 0.0045))]
        series = series_of(CPU_PER_ROW, make_rounds(), sessions, ONE)
        assert series.machine == pytest.approx(math.log(2 / 1.5) / 2)
        assert series.sessions == (pytest.approx((0.04, 0.04)), pytest.approx((0.02 / 1.5,) * 2))

    def test_above_0_is_slower_now(self):
        series = series_of(CPU_PER_ROW, make_rounds(), [session(probe=ONE)], Probe(0.0045, 0.0045))
        assert series.machine == pytest.approx(math.log(1.5))

    def test_nothing_is_known_without_a_probe(self):
        assert series_of(CPU_PER_ROW, make_rounds(), [session()], ONE).machine == 0


class TestWaiting:
    """Of throughput: the busy cores, which are rows/s times CPU seconds a row."""

    def test_are_the_product_of_both(self):
        rounds = [make_round(40, 0.02), make_round(30, 0.03)]
        then = ReferenceSession((make_round(50, 0.02), make_round(60, 0.01)))
        series = series_of(THROUGHPUT, rounds, [then, session()], None)
        assert series.metric is THROUGHPUT
        assert series.current == pytest.approx((0.8, 0.9))
        assert series.sessions == (pytest.approx((1.0, 0.6)), pytest.approx((0.8, 0.8)))
        assert series.noise == WAITING
        assert series.whole == NOISE[THROUGHPUT.name]

    def test_what_only_computes_has_as_many_on_a_slower_machine(self):
        series = series_of(THROUGHPUT, make_rounds(32, 0.025), [session(40, 0.02)], None)
        assert series.sessions == (pytest.approx((0.8, 0.8)),)
        assert series.current == pytest.approx((0.8,) * 3)

    def test_what_waits_more_has_fewer(self):
        series = series_of(THROUGHPUT, make_rounds(20, 0.02), [session(40, 0.02)], None)
        assert series.sessions == (pytest.approx((0.8, 0.8)),)
        assert series.current == pytest.approx((0.4,) * 3)

    @pytest.mark.parametrize("probe", [None, Probe(0.0045, 0.0045)])
    def test_carries_the_cpu_times_of_the_same_sessions(self, probe):
        sessions, rounds = [session(probe=ONE), session(cpu=0.03, probe=ONE)], make_rounds(cpu=0.025)
        series = series_of(THROUGHPUT, rounds, sessions, probe)
        assert series.work == series_of(CPU_PER_ROW, rounds, sessions, probe)
        assert series.machine == 0

    def test_a_probe_does_not_change_the_busy_cores(self):
        plain = series_of(THROUGHPUT, make_rounds(), [session(probe=ONE)], None)
        probed = series_of(THROUGHPUT, make_rounds(), [session(probe=ONE)], Probe(0.0045, 0.0045))
        assert (plain.sessions, plain.current) == (probed.sessions, probed.current)

    @pytest.mark.parametrize(("now", "then"), [(None, 0.02), (0.02, None), (None, None)])
    def test_without_cpu_times_it_is_as_it_was_measured(self, now, then):
        series = series_of(THROUGHPUT, make_rounds(20, now), [session(40, then)], None)
        assert series.sessions == (pytest.approx((40, 40)),)
        assert series.current == pytest.approx((20,) * 3)
        assert series.work is None

    def test_the_few_sessions_without_are_left_out(self):
        series = series_of(THROUGHPUT, make_rounds(), [session(60, None), session(), session(50, 0.03)], None)
        assert series.sessions == (pytest.approx((0.8, 0.8)), pytest.approx((1.5, 1.5)))
        assert len(series.work.sessions) == 2

    def test_a_probe_is_asked_of_those_that_are_left(self):
        sessions = [session(60, None), session(probe=ONE)]
        series = series_of(THROUGHPUT, make_rounds(), sessions, ONE)
        assert series.work.noise == NOISE[CPU_PER_ROW.name]

    def test_a_round_that_lacks_one_of_both_is_none_at_all(self):
        """The rest would be a selection."""
        rounds = [*make_rounds(), make_round(40, None)]
        series = series_of(THROUGHPUT, rounds, [session()], None)
        assert (series.current, series.work) == (pytest.approx((40,) * 4), None)

    def test_nothing_to_compare_with(self):
        assert not series_of(THROUGHPUT, make_rounds(), [], ONE)
        silent = [replace(r, wall_seconds=0.0) for r in make_rounds()]
        assert not series_of(THROUGHPUT, silent, [session()], None)

    @given(times, times, times, times)
    @LIGHT
    def test_whatever_the_times_there_are_figures(self, fast, slow, now, then):
        series = series_of(THROUGHPUT, [make_round(fast, now)], [session(slow, then, n=1)], None)
        assert series
        assert all(0 < figure < math.inf for figures in series.sessions for figure in figures)


class TestDisturbed:
    """Where something else had the machine, other noise is believed."""

    @staticmethod
    def mixed(disturbed, of, cpu=0.02):
        marks = ["others used the CPU"] * disturbed + [""] * (of - disturbed)
        return [make_round(cpu=cpu, disturbed=mark) for mark in marks]

    @pytest.mark.parametrize(
        ("now", "then", "other"),
        [
            ((0, 3), (0, 3), False),
            ((3, 3), (3, 3), True),
            ((3, 3), (0, 3), True),
            ((0, 3), (3, 3), True),
            ((2, 3), (0, 3), False),
            ((1, 2), (1, 2), True),
            ((1, 3), (1, 2), False),
        ],
    )
    def test_half_of_all_the_rounds_or_more(self, now, then, other):
        sessions = [ReferenceSession(tuple(self.mixed(*then)), probe=ONE)]
        work, waiting = (
            series_of(metric, self.mixed(*now), sessions, ONE) for metric in (CPU_PER_ROW, THROUGHPUT)
        )
        believed = DISTURBED if other else NOISE
        assert work.noise == waiting.work.noise == believed[CPU_PER_ROW.name]
        assert waiting.noise == (WAITING_DISTURBED if other else WAITING)
        assert waiting.whole == believed[THROUGHPUT.name]

    def test_of_several_sessions_each_round_counts(self):
        sessions = [ReferenceSession(tuple(self.mixed(3, 3)), probe=ONE)] * 2
        assert series_of(CPU_PER_ROW, make_rounds(n=6), sessions, ONE).noise == DISTURBED[CPU_PER_ROW.name]
        assert series_of(CPU_PER_ROW, make_rounds(n=7), sessions, ONE).noise == NOISE[CPU_PER_ROW.name]

    @pytest.mark.parametrize("metric", [CPU_PER_ROW, THROUGHPUT], ids=lambda m: m.name)
    def test_without_a_probe_as_well(self, metric):
        cpu = 0.02 if metric is CPU_PER_ROW else None
        sessions = [ReferenceSession(tuple(self.mixed(3, 3, cpu)))]
        series = series_of(metric, self.mixed(3, 3, cpu), sessions, None)
        assert series.noise == replace(
            DISTURBED[metric.name], session_sd=UNPROBED_SD, session_weight=UNPROBED_WEIGHT
        )

    def test_memory_is_as_it_was(self):
        rounds = make_rounds(memory=10**9, disturbed="others used the CPU")
        series = series_of(PEAK_MEMORY, rounds, [ReferenceSession(tuple(rounds))], None)
        assert series.noise == NOISE[PEAK_MEMORY.name]


class TestMissing:
    def test_a_session_without_the_metric_is_left_out(self):
        series = series_of(CPU_PER_ROW, make_rounds(), [session(cpu=None), session()], None)
        assert len(series.sessions) == 1

    def test_nothing_on_a_side(self):
        assert not series_of(CPU_PER_ROW, make_rounds(cpu=None), [session()], None)
        assert not series_of(CPU_PER_ROW, make_rounds(), [session(cpu=None)], None)

    def test_what_no_machine_gives_is_no_figure(self):
        huge = ReferenceSession((make_round(cpu=1.5e308, rows=1),), probe=ONE)
        assert series_of(CPU_PER_ROW, make_rounds(), [huge], ONE)
        assert not series_of(CPU_PER_ROW, make_rounds(), [huge], Probe(0.0045, 0.0045))

    def test_nor_is_work_that_no_machine_has_at_this_speed(self):
        """Its busy cores are a number, and its CPU seconds at this speed are not."""
        huge = ReferenceSession((make_round(1e-300, cpu=1.5e308, rows=1),), probe=ONE)
        series = series_of(THROUGHPUT, make_rounds(), [huge], Probe(0.0045, 0.0045))
        assert (series.work, series.sessions) == (None, ((pytest.approx(1e-300),),))

    @pytest.mark.parametrize("side", ["now", "then"])
    @pytest.mark.parametrize(("throughput", "cpu"), [(1e200, 1e200), (1e-200, 1e-200)])
    def test_nor_are_busy_cores_that_no_machine_has(self, throughput, cpu, side):
        """Then the throughput is compared as it was measured."""
        odd, good = [make_round(throughput, cpu)], list(make_rounds())
        now, then = (odd, good) if side == "now" else (good, odd)
        series = series_of(THROUGHPUT, now, [ReferenceSession(tuple(then))], None)
        assert series.work is None
        assert series.current == tuple(r.throughput for r in now)
        assert series.sessions == (tuple(r.throughput for r in then),)

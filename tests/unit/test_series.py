"""What a baseline's figures would be now: the probe, and throughput at equal CPU time."""

from __future__ import annotations

import math

import pytest
from builders import LIGHT, make_round, make_rounds
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.reference import ReferenceSession
from pytest_rayperf.results import CPU_PER_ROW, PEAK_MEMORY, THROUGHPUT, Probe
from pytest_rayperf.series import series_of

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


class TestThroughputAtEqualCpuTime:
    def test_a_slower_machine_excuses_what_it_explains(self):
        """CPU time grew by 1.25x: 40 rows/s then are 32 now."""
        series = series_of(THROUGHPUT, make_rounds(32, 0.025), [session(40, 0.02)], None)
        assert series.sessions == (pytest.approx((32, 32)),)
        assert series.current == pytest.approx((32,) * 3)

    def test_waiting_is_not_excused(self):
        series = series_of(THROUGHPUT, make_rounds(20, 0.02), [session(40, 0.02)], None)
        assert series.sessions == (pytest.approx((40, 40)),)

    def test_saved_cpu_time_does_not_ask_for_more(self):
        series = series_of(THROUGHPUT, make_rounds(40, 0.01), [session(40, 0.02)], None)
        assert series.sessions == (pytest.approx((40, 40)),)

    @pytest.mark.parametrize(("now", "then"), [(None, 0.02), (0.02, None)])
    def test_without_cpu_times_it_is_as_it_was_measured(self, now, then):
        series = series_of(THROUGHPUT, make_rounds(20, now), [session(40, then)], None)
        assert series.sessions == (pytest.approx((40, 40)),)

    @given(times, times, times, times)
    @LIGHT
    def test_never_asks_for_more_than_was_measured(self, fast, slow, now, then):
        series = series_of(THROUGHPUT, [make_round(fast, now)], [session(slow, then, n=1)], None)
        assert all(0 < figure <= slow * (1 + 1e-9) for figures in series.sessions for figure in figures)


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
        extreme = session(40, 1e-300)
        series = series_of(THROUGHPUT, make_rounds(40, 1e300), [extreme], None)
        assert all(math.isfinite(figure) and figure > 0 for one in series.sessions for figure in one)

"""Use of CPUs and GPUs over time: spans of several samplers on one axis, and fewer points."""

from __future__ import annotations

import itertools

import pytest
from builders import LIGHT
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.monitors.utilization import (
    MOST_POINTS,
    NARROWEST_S,
    CpuSpans,
    Span,
    averaged,
    thinned,
    utilization_of,
)
from pytest_rayperf.results import Utilization

BEGAN = 100.0


def spans(*percents, width=1.0, begin=BEGAN):
    return tuple(Span(begin + i * width, begin + (i + 1) * width, p) for i, p in enumerate(percents))


def of_cpus(*percents, **more):
    return CpuSpans(spans(*percents, **more), spans(*(p and p / 10 for p in percents), **more))


class TestPoints:
    def test_are_the_ends_of_the_cpus_intervals(self):
        found = utilization_of(of_cpus(50, 70, 90), {}, BEGAN, 3.0)
        assert found == Utilization((1, 2, 3), (50, 70, 90), (5, 7, 9), {})

    def test_what_was_not_accounted_is_none_and_not_0(self):
        found = utilization_of(of_cpus(50, None, 0), {}, BEGAN, 3.0)
        assert (found.cpu, found.others) == ((50, None, 0), (5, None, 0))

    def test_the_samplers_run_longer_than_the_round(self):
        """What was before it is no point, and what ends after it ends with it."""
        found = utilization_of(of_cpus(10, 20, 30, 40, begin=98.5), {}, BEGAN, 2.2)
        assert found.seconds == pytest.approx((0.5, 1.5, 2.2))
        assert found.cpu == pytest.approx((20, 30, 40))

    def test_the_rest_after_the_last_sample_on_the_clock_is_no_point_of_its_own(self):
        """Of 10 ms nothing is known but that a tick passed or didn't."""
        late = CpuSpans(
            (*spans(50, 50), Span(102.0, 102.01, 5000.0)), (*spans(1, 1), Span(102.0, 102.01, 0.0))
        )
        found = utilization_of(late, {}, BEGAN, 2.01)
        assert found.seconds == pytest.approx((1, 2.01))
        assert found.cpu == pytest.approx((50, (50 * 1 + 5000 * 0.01) / 1.01))

    @pytest.mark.parametrize(("seconds", "points"), [(NARROWEST_S - 0.01, None), (NARROWEST_S + 0.01, 1)])
    def test_a_very_short_round_has_none(self, seconds, points):
        found = utilization_of(of_cpus(50), {}, BEGAN, seconds)
        assert (None if found is None else len(found.seconds)) == points

    @pytest.mark.parametrize(
        ("cpu", "gpus"), [(CpuSpans(), {}), (of_cpus(None, None), {}), (CpuSpans(), {"0 T4": spans(None)})]
    )
    def test_nothing_measured_is_no_series(self, cpu, gpus):
        assert utilization_of(cpu, gpus, BEGAN, 2.0) is None


class TestCards:
    def test_are_averaged_over_the_cpus_intervals(self):
        cards = {"0 T4": spans(0, 100, 0, 100, 0, 100, width=0.5), "1 T4": spans(40, width=3.0)}
        found = utilization_of(of_cpus(50, 70, 90), cards, BEGAN, 3.0)
        assert found.seconds == (1, 2, 3)
        assert found.gpus == {"0 T4": (50, 50, 50), "1 T4": (40, 40, 40)}

    def test_one_that_was_lost_ends(self):
        found = utilization_of(of_cpus(50, 70, 90), {"0 T4": spans(80)}, BEGAN, 3.0)
        assert found.gpus == {"0 T4": (80, None, None)}

    def test_one_that_did_not_tell_is_not_there(self):
        found = utilization_of(of_cpus(50), {"0 T4": (), "1 T4": spans(None)}, BEGAN, 1.0)
        assert found.gpus == {}

    def test_their_times_are_the_points_where_the_cpus_are_not_accounted(self):
        found = utilization_of(CpuSpans(), {"0 T4": spans(10), "1 T4": spans(20, 30)}, BEGAN, 2.0)
        assert found == Utilization(
            (1, 2), (None, None), (None, None), {"0 T4": (10, None), "1 T4": (20, 30)}
        )


percents = st.none() | st.floats(0, 100)
histories = st.lists(st.tuples(st.floats(0.01, 3), percents), max_size=400)


def history(steps, begin=BEGAN):
    ends = list(itertools.accumulate((width for width, _ in steps), initial=begin))
    return tuple(Span(a, b, p) for (a, b), (_, p) in zip(itertools.pairwise(ends), steps, strict=True))


def mean(spans_, begin, end):
    """Over what was measured, and how many seconds of that there were; slowly."""
    known = [
        (max(0.0, min(s.end, end) - max(s.begin, begin)), s.percent)
        for s in spans_
        if s.percent is not None and s.end > begin and s.begin < end
    ]
    seconds = sum(shared for shared, _ in known)
    return sum(shared * p for shared, p in known) / seconds if seconds else None, seconds


class TestProperties:
    @LIGHT
    @given(st.lists(st.floats(0, 1e6), max_size=500, unique=True).map(sorted), st.integers(1, 150))
    def test_thinned_edges_are_some_of_them_from_the_first_to_the_last(self, edges, most):
        kept = thinned(edges, most)
        assert len(kept) - 1 <= most
        assert kept == sorted(set(kept) & set(edges))
        assert (kept[:1], kept[-1:]) == (edges[:1], edges[-1:])
        if len(edges) - 1 <= most:
            assert kept == edges
        places = [edges.index(edge) for edge in kept]
        widths = [b - a for a, b in itertools.pairwise(places)]
        assert len(set(widths[:-1])) <= 1  # all of as many neighbours,
        assert widths[-1:] <= widths[:1]  # and the last of no more

    @LIGHT
    @given(histories, st.floats(0.01, 500))
    def test_a_round_of_any_length(self, steps, seconds):
        told = history(steps)
        found = utilization_of(CpuSpans(told, told), {"0 T4": told}, BEGAN, seconds)
        if found is None:
            assert seconds < NARROWEST_S or all(span.percent is None for span in told)
            return
        assert 1 <= len(found.seconds) <= MOST_POINTS
        assert found.seconds[-1] == pytest.approx(seconds)
        assert found.cpu == found.others == found.gpus["0 T4"]
        points = list(zip(itertools.pairwise((0.0, *found.seconds)), found.cpu, strict=True))
        for (before, now), percent in points:
            assert now > before
            expected, _ = mean(told, BEGAN + before, BEGAN + now)
            assert percent == (expected if expected is None else pytest.approx(expected, abs=1e-6))

    @LIGHT
    @given(histories, st.integers(1, 20))
    def test_thinning_keeps_the_mean_over_what_was_measured(self, steps, most):
        told = history(steps)
        edges = [BEGAN, *(span.end for span in told)]
        few = thinned(edges, most)
        total = known = 0.0
        for (begin, end), percent in zip(itertools.pairwise(few), averaged(told, few), strict=True):
            _, seconds = mean(told, begin, end)
            assert (percent is None) == (seconds == 0)
            total += seconds * (percent or 0.0)
            known += seconds
        before, seconds = mean(told, BEGAN, edges[-1])
        assert known == pytest.approx(seconds)
        if known:
            assert total / known == pytest.approx(before, abs=1e-6)

    @LIGHT
    @given(st.floats(-1e3, 1e3), st.floats(0.01, 10))
    def test_what_rounding_makes_of_a_share_is_cut(self, percent, width):
        (found,) = averaged((Span(0.0, width, percent),), (0.0, width))
        assert found == pytest.approx(min(max(percent, 0), 100))

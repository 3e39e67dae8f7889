"""One metric against its reference: which limit says what, and when measuring on is worth it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from builders import LIGHT
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf import comparing
from pytest_rayperf.comparing import compare_pairs, compare_sessions, pairs_may_decide, sessions_may_decide
from pytest_rayperf.noise import NOISE
from pytest_rayperf.policy import BETA, GATED, POWER, Policy
from pytest_rayperf.results import CPU_PER_ROW, THROUGHPUT
from pytest_rayperf.sequential import nominal_level
from pytest_rayperf.statistics import paired_ratio, session_ratio

POLICY = Policy()

figure = st.floats(1e-3, 1e6)
figures = st.lists(figure, min_size=1, max_size=6)
sessions = st.lists(figures, min_size=1, max_size=4)
pairs = st.lists(st.tuples(figure, figure), min_size=1, max_size=6)
metrics = st.sampled_from(GATED)
policies = st.builds(Policy, st.floats(1.001, 5), st.floats(1e-4, 0.4), st.integers(0, 300))


def scattered(middle=1.0, by=0.1, n=3):
    """Figures around `middle`, whose logs have the standard deviation `by`."""
    logs = np.linspace(-1, 1, n)
    return list(middle * np.exp(by * logs / logs.std(ddof=1)))


def by_sessions(slowdown, metric=CPU_PER_ROW, policy=POLICY, n=20, k=8):
    factor = slowdown if metric.better == "lower" else 1 / slowdown
    return compare_sessions(metric, [[3.0] * n] * k, [3.0 * factor] * n, policy)


def by_pairs(slowdown, metric=CPU_PER_ROW, policy=POLICY, n=20):
    factor = slowdown if metric.better == "lower" else 1 / slowdown
    return compare_pairs(metric, [3.0] * n, [3.0 * factor] * n, policy)


class TestStatus:
    @pytest.mark.parametrize("metric", GATED, ids=lambda m: m.name)
    @pytest.mark.parametrize("compare", [by_sessions, by_pairs])
    @pytest.mark.parametrize(
        ("slowdown", "status"), [(2.5, "regressed"), (1.10, "inconclusive"), (0.4, "improved")]
    )
    def test_is_of_the_slowdown_whichever_way_the_metric_counts(self, compare, metric, slowdown, status):
        comparison = compare(slowdown, metric)
        assert comparison.status == status
        assert comparison.slowdown.ratio == pytest.approx(slowdown)
        assert comparison.threshold == POLICY.max_slowdown
        assert comparison.metric is metric

    @pytest.mark.parametrize("compare", [by_sessions, by_pairs])
    def test_the_same_is_unchanged(self, compare):
        assert compare(1.0, policy=Policy(max_slowdown=1.2)).status == "unchanged"

    @pytest.mark.parametrize("compare", [by_sessions, by_pairs])
    def test_regressed_is_all_of_the_interval_beyond_the_threshold(self, compare):
        low = compare(1.5).slowdown.low
        assert compare(1.5, policy=replace(POLICY, max_slowdown=low)).status == "inconclusive"
        within = replace(POLICY, max_slowdown=math.nextafter(low, 0))
        assert compare(1.5, policy=within).status == "regressed"

    @pytest.mark.parametrize("compare", [by_sessions, by_pairs])
    def test_unchanged_is_all_of_it_on_the_near_side(self, compare):
        high = compare(1.01).slowdown.high
        assert compare(1.01, policy=replace(POLICY, max_slowdown=high)).status == "unchanged"
        beyond = replace(POLICY, max_slowdown=math.nextafter(high, 0))
        assert compare(1.01, policy=beyond).status == "inconclusive"

    @pytest.mark.parametrize("compare", [by_sessions, by_pairs])
    def test_improved_has_the_chance_of_a_false_alarm_and_not_that_of_a_pass(self, compare):
        """So that swapped sides have the opposite verdict: improved where the other way round regressed."""
        edge = compare(1.5).slowdown.low
        for limit, status in ((edge * (1 - 1e-9), "improved"), (edge * (1 + 1e-9), "unchanged")):
            assert compare(1 / 1.5, policy=replace(POLICY, max_slowdown=limit)).status == status
        assert compare(1 / 1.5).slowdown.high < 1 / edge

    def test_improved_is_all_of_it_beyond_the_threshold(self):
        alpha = nominal_level(POLICY.alpha_for(CPU_PER_ROW.name), POLICY.looks, 20, 0.0)
        at_the_edge = 0
        for cents in range(50, 80):
            then, now = [1.0] * 20, [cents / 100] * 20
            high = paired_ratio(now, then, NOISE[CPU_PER_ROW.name]).interval(alpha, alpha).high
            limit = 1 / high
            if 1 / limit == high:  # not of every float
                at_the_edge += 1
                policy = replace(POLICY, max_slowdown=limit)
                assert compare_pairs(CPU_PER_ROW, then, now, policy).status == "unchanged"
        assert at_the_edge > 3

    def test_a_session_more_says_more_and_a_round_less(self):
        assert by_sessions(1.0, k=8).slowdown.high < by_sessions(1.0, k=2).slowdown.high
        assert by_sessions(1.0, n=20).slowdown.high < by_sessions(1.0, n=5).slowdown.high
        assert by_pairs(1.0, n=20).slowdown.high < by_pairs(1.0, n=5).slowdown.high


class TestLimits:
    """Each limit is that of Student's t at the level of this look."""

    @pytest.mark.parametrize("metric", [CPU_PER_ROW, THROUGHPUT], ids=lambda m: m.name)
    @pytest.mark.parametrize("n", [3, 7, 20])
    def test_of_sessions(self, metric, n):
        reference, current = [scattered(2.0), scattered(2.2)], scattered(2.1, n=n)
        policy = Policy(comparisons=5)
        estimate = session_ratio(reference, current, NOISE[metric.name])
        self.hold(compare_sessions(metric, reference, current, policy), estimate, metric, n, policy)

    @pytest.mark.parametrize("metric", [CPU_PER_ROW, THROUGHPUT], ids=lambda m: m.name)
    @pytest.mark.parametrize("n", [3, 7, 20])
    def test_of_pairs(self, metric, n):
        reference, current = scattered(2.0, n=n), scattered(2.1, n=n)[::-1]
        policy = Policy(comparisons=5)
        estimate = paired_ratio(current, reference, NOISE[metric.name])
        self.hold(compare_pairs(metric, reference, current, policy), estimate, metric, n, policy)

    @staticmethod
    def hold(comparison, estimate, metric, n, policy):
        share = estimate.fixed_share
        alpha = nominal_level(policy.alpha_for(metric.name), policy.looks, n, share)
        beta = nominal_level(BETA, policy.looks, n, share)
        worse = estimate if metric.better == "lower" else estimate.inverse
        assert comparison.slowdown == worse.interval(alpha, beta)
        assert comparison.mde == worse.detectable(POWER)

    def test_pairs_could_see_less_than_sessions(self):
        assert by_sessions(1.0).mde > by_pairs(1.0).mde > 1
        assert by_sessions(1.0, n=3).mde > by_sessions(1.0).mde

    @given(metrics, sessions, figures, policies)
    @LIGHT
    def test_what_is_called_unchanged_could_have_shown_the_threshold(
        self, metric, reference, current, policy
    ):
        comparison = compare_sessions(metric, reference, current, policy)
        assert comparison.mde <= max(1.0, comparison.slowdown.high)
        if comparison.mde > comparison.threshold:
            assert comparison.status in ("inconclusive", "regressed")

    @pytest.mark.parametrize("metric", [CPU_PER_ROW, THROUGHPUT], ids=lambda m: m.name)
    def test_figures_are_geometric_means_in_which_each_session_counts_the_same(self, metric):
        comparison = compare_sessions(metric, [[1.0] * 9, [9.0, 4.0]], [2.0, 8.0], POLICY)
        assert comparison.reference == pytest.approx(math.sqrt(6))
        assert comparison.current == pytest.approx(4.0)
        assert comparison.ratio.ratio == pytest.approx(4 / math.sqrt(6))
        comparison = compare_pairs(metric, [1.0, 9.0], [2.0, 8.0], POLICY)
        assert (comparison.reference, comparison.current) == pytest.approx((3.0, 4.0))
        assert comparison.ratio.ratio == pytest.approx(4 / 3)


class TestSymmetry:
    @given(metrics, sessions, figures, st.floats(1e-3, 1e3), policies)
    @LIGHT
    def test_scaling_all_sessions_changes_no_verdict(self, metric, reference, current, scale, policy):
        plain = compare_sessions(metric, reference, current, policy)
        scaled = compare_sessions(
            metric, [[f * scale for f in s] for s in reference], [f * scale for f in current], policy
        )
        assert scaled.status == plain.status
        assert scaled.slowdown.ratio == pytest.approx(plain.slowdown.ratio)
        assert scaled.reference == pytest.approx(plain.reference * scale)

    @given(metrics, pairs, st.floats(1e-3, 1e3), policies)
    @LIGHT
    def test_scaling_all_pairs_changes_no_verdict(self, metric, both, scale, policy):
        one, other = zip(*both, strict=True)
        plain = compare_pairs(metric, one, other, policy)
        scaled = compare_pairs(metric, [f * scale for f in one], [f * scale for f in other], policy)
        assert scaled.status == plain.status
        assert scaled.slowdown.ratio == pytest.approx(plain.slowdown.ratio)

    @given(metrics, pairs, policies)
    @LIGHT
    def test_swapping_sides_inverts_the_ratio_and_the_verdict(self, metric, both, policy):
        one, other = zip(*both, strict=True)
        there = compare_pairs(metric, one, other, policy)
        back = compare_pairs(metric, other, one, policy)
        assert back.slowdown.ratio == pytest.approx(1 / there.slowdown.ratio)
        assert (there.status == "regressed") == (back.status == "improved")
        assert (there.status == "improved") == (back.status == "regressed")

    @given(metrics, figures, figures, policies)
    @LIGHT
    def test_swapping_two_sessions_inverts_the_ratio(self, metric, one, other, policy):
        there = compare_sessions(metric, [one], other, policy)
        back = compare_sessions(metric, [other], one, policy)
        assert back.slowdown.ratio == pytest.approx(1 / there.slowdown.ratio)
        assert {there.status, back.status} != {"regressed"}
        assert {there.status, back.status} != {"improved"}

    @given(metrics, sessions, figure, st.integers(1, 20), st.integers(1, 20), policies)
    @LIGHT
    def test_more_equal_rounds_never_turn_unchanged_into_regressed(
        self, metric, reference, now, few, more, policy
    ):
        before, after = (compare_sessions(metric, reference, [now] * n, policy) for n in (few, few + more))
        assert {before.status, after.status} != {"unchanged", "regressed"}
        assert {before.status, after.status} != {"improved", "regressed"}

    @given(metrics, figure, figure, st.integers(1, 20), st.integers(1, 20), policies)
    @LIGHT
    def test_nor_do_more_equal_pairs(self, metric, then, now, few, more, policy):
        before, after = (compare_pairs(metric, [then] * n, [now] * n, policy) for n in (few, few + more))
        assert {before.status, after.status} != {"unchanged", "regressed"}
        assert {before.status, after.status} != {"improved", "regressed"}

    @given(metrics, sessions, figures, policies)
    @LIGHT
    def test_the_verdict_is_what_the_interval_says(self, metric, reference, current, policy):
        c = compare_sessions(metric, reference, current, policy)
        assert c.slowdown.low <= c.slowdown.ratio <= c.slowdown.high
        assert (c.status == "regressed") == (c.slowdown.low > policy.max_slowdown)
        assert (c.status in ("improved", "unchanged")) >= (c.slowdown.high <= policy.max_slowdown)


class TestOddFigures:
    """What a machine may give at its worst has an answer, and it is no certainty."""

    def test_one_round_on_each_side(self):
        assert compare_sessions(CPU_PER_ROW, [[1.0]], [1.0], POLICY).status == "inconclusive"
        assert compare_pairs(CPU_PER_ROW, [1.0], [1.0], POLICY).status == "inconclusive"

    def test_identical_rounds_are_not_without_noise(self):
        comparison = compare_sessions(CPU_PER_ROW, [[1.0] * 3] * 3, [1.0] * 3, POLICY)
        assert comparison.slowdown.low < 0.95 < 1.05 < comparison.slowdown.high

    @pytest.mark.parametrize(("outlier", "never"), [(1e-6, "improved"), (1e6, "regressed")])
    def test_a_huge_outlier_is_neither_a_slowdown_nor_a_win(self, outlier, never):
        rounds = [1.0] * 4 + [outlier]
        found = [
            compare_sessions(CPU_PER_ROW, [[1.0] * 5] * 5, rounds, POLICY),
            compare_sessions(CPU_PER_ROW, [[1.0] * 5] * 4 + [rounds], rounds, POLICY),
            compare_pairs(CPU_PER_ROW, [1.0] * 5, rounds, POLICY),
        ]
        assert never not in {comparison.status for comparison in found}
        assert all(comparison.slowdown.high / comparison.slowdown.low > 10 for comparison in found)

    def test_unequal_counts_of_sessions_are_as_good_as_equal_ones(self):
        comparison = compare_sessions(CPU_PER_ROW, [[1.0], [1.0] * 7], [3.0] * 2, POLICY)
        assert (comparison.status, comparison.slowdown.ratio) == ("regressed", pytest.approx(3.0))

    def test_unequal_counts_of_pairs_are_none(self):
        with pytest.raises(ValueError, match="3 figures against 2"):
            compare_pairs(CPU_PER_ROW, [1.0, 1.0], [1.0] * 3, POLICY)

    @pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
    def test_what_is_no_figure_is_refused(self, bad):
        for then, now in (([bad, 1.0], [1.0, 1.0]), ([1.0, 1.0], [1.0, bad])):
            with pytest.raises(ValueError, match="finite and above 0"):
                compare_sessions(CPU_PER_ROW, [then], now, POLICY)
            with pytest.raises(ValueError, match="finite and above 0"):
                compare_pairs(CPU_PER_ROW, then, now, POLICY)

    extremes = st.floats(5e-324, 1.7976931348623157e308)

    @given(
        metrics,
        st.lists(st.lists(extremes, min_size=1, max_size=4), min_size=1, max_size=3),
        st.lists(st.tuples(extremes, extremes), min_size=1, max_size=4),
        policies,
    )
    @LIGHT
    def test_nothing_raises_on_any_positive_figures(self, metric, reference, both, policy):
        then, now = zip(*both, strict=True)
        for comparison in (
            compare_sessions(metric, reference, now, policy),
            compare_pairs(metric, then, now, policy),
        ):
            assert 0 < comparison.slowdown.low <= comparison.slowdown.high < math.inf
            assert 1 <= comparison.mde < math.inf
            assert comparison.ratio.low <= comparison.ratio.high
        assert sessions_may_decide(metric, reference, now, policy) in (True, False)
        assert pairs_may_decide(metric, then, now, policy) in (True, False)


def chance(monkeypatch, may_decide, *arguments):
    """How likely it is taken to be that the rest of the rounds decides: by which demand it just meets."""
    low, high = 0.0, 1.0 + 1e-9
    for _ in range(40):
        monkeypatch.setattr(comparing, "LIKELY", (low + high) / 2)
        if may_decide(*arguments):
            low = (low + high) / 2
        else:
            high = (low + high) / 2
    return low


class TestMayDecide:
    @pytest.mark.parametrize("metric", [CPU_PER_ROW, THROUGHPUT], ids=lambda m: m.name)
    @pytest.mark.parametrize(("slowdown", "n"), [(1.06, 6), (1.10, 6), (1.2, 6), (1.02, 4)])
    def test_the_chance_of_pairs_is_how_often_they_go_on_to_decide(self, monkeypatch, metric, slowdown, n):
        """Rounds drawn with what is estimated now, the slowdown as uncertain as its estimate."""
        factor = slowdown if metric.better == "lower" else 1 / slowdown
        then, now = [1.0] * n, scattered(factor, 0.05, n)
        policy = Policy(alpha=0.05, looks=tuple(range(3, 21)))
        believed = chance(monkeypatch, pairs_may_decide, metric, then, now, policy)
        estimate = paired_ratio(now, then, NOISE[metric.name])
        sd = estimate.standard_error * math.sqrt(n)
        generator = np.random.default_rng(9)
        decided, runs = 0, 400
        for _ in range(runs):
            truth = generator.normal(math.log(factor), estimate.standard_error)
            more = np.exp(generator.normal(truth, sd, 20 - n))
            last = compare_pairs(metric, [1.0] * 20, [*now, *more], policy)
            decided += last.status != "inconclusive"
        # The standard error of a rate is 2.5 % at most; the variance is estimated anew by the last look.
        assert believed == pytest.approx(decided / runs, abs=0.1)

    @pytest.mark.parametrize("n", [20, 25])
    @pytest.mark.parametrize("slowdown", [0.5, 1.0, 1.05, 1.10, 1.14, 1.5])
    @pytest.mark.parametrize("metric", [CPU_PER_ROW, THROUGHPUT], ids=lambda m: m.name)
    def test_after_the_last_look_it_is_whether_it_has_decided(self, metric, slowdown, n):
        factor = slowdown if metric.better == "lower" else 1 / slowdown
        then, now = [1.0] * n, [factor] * n
        status = compare_pairs(metric, then, now, POLICY).status
        assert pairs_may_decide(metric, then, now, POLICY) == (status != "inconclusive")
        reference = [then] * 30
        status = compare_sessions(metric, reference, now, POLICY).status
        assert sessions_may_decide(metric, reference, now, POLICY) == (status != "inconclusive")

    @pytest.mark.parametrize("looks", [(3, 20), (20,), tuple(range(3, 21))])
    @pytest.mark.parametrize(("slowdown", "limit"), [(1.01, "high"), (1.5, "low")])
    def test_after_the_last_look_to_the_last_digit(self, monkeypatch, slowdown, limit, looks):
        """And a certainty meets any demand."""
        then, now = [1.0] * 20, [slowdown] * 20
        policy = Policy(looks=looks)
        for compare, may_decide, reference in (
            (compare_pairs, pairs_may_decide, then),
            (compare_sessions, sessions_may_decide, [then] * 30),
        ):
            edge = getattr(compare(CPU_PER_ROW, reference, now, policy).slowdown, limit)
            decided = []
            for threshold in (math.nextafter(edge, 0), edge, edge * (1 + 1e-9)):
                strict = replace(policy, max_slowdown=threshold)
                for likely in (comparing.LIKELY, 1.0):
                    with monkeypatch.context() as patch:
                        patch.setattr(comparing, "LIKELY", likely)
                        decided.append(may_decide(CPU_PER_ROW, reference, now, strict))
            wanted = [False, True, True] if limit == "high" else [True, False, False]
            assert decided == [one for one in wanted for _ in range(2)]

    def test_few_rounds_within_the_threshold_are_worth_more(self):
        rounds = scattered(1.0, 0.1)
        assert compare_pairs(CPU_PER_ROW, rounds[::-1], rounds, POLICY).status == "inconclusive"
        assert pairs_may_decide(CPU_PER_ROW, rounds[::-1], rounds, POLICY)
        assert compare_sessions(CPU_PER_ROW, [rounds] * 30, rounds, POLICY).status == "inconclusive"
        assert sessions_may_decide(CPU_PER_ROW, [rounds] * 30, rounds, POLICY)

    def test_not_with_one_session_at_the_threshold(self):
        """What sessions differ by is not known, and no round says it."""
        rounds = [POLICY.max_slowdown] * 3
        assert not sessions_may_decide(CPU_PER_ROW, [[1.0] * 3], rounds, POLICY)
        assert pairs_may_decide(CPU_PER_ROW, [1.0] * 3, [1.0] * 3, POLICY)

    def test_at_the_threshold_neither_side_is_likely(self, monkeypatch):
        policy = Policy(looks=tuple(range(3, 21)))
        then, now = [1.0] * 18, [policy.max_slowdown] * 18
        assert chance(monkeypatch, pairs_may_decide, CPU_PER_ROW, then, now, policy) < 0.01

    def test_fewer_rounds_to_come_are_less_likely_to_decide(self, monkeypatch):
        then, now = scattered(1.0, 0.1), scattered(1.03, 0.1)[::-1]
        chances = [
            chance(monkeypatch, pairs_may_decide, CPU_PER_ROW, then, now, Policy(looks=(3, last)))
            for last in (6, 12, 20, 40)
        ]
        assert chances == sorted(chances)
        assert chances[0] < chances[-1] - 0.1

    def test_of_sessions_the_rounds_to_come_narrow_it_to_what_sessions_differ_by(self, monkeypatch):
        reference = [scattered(1.0, 0.1)] * 30
        current = scattered(1.03, 0.1)
        chances = [
            chance(monkeypatch, sessions_may_decide, CPU_PER_ROW, reference, current, Policy(looks=(3, last)))
            for last in (6, 12, 20, 40)
        ]
        assert chances == sorted(chances)
        assert 0.05 < chances[0] < chances[-1] < 1

"""One metric against its reference: which limit says what, and when measuring on is worth it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from builders import LIGHT
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_rayperf.judging.comparing import (
    Chances,
    chances_of_pairs,
    chances_of_sessions,
    compare_pairs,
    compare_sessions,
)
from pytest_rayperf.judging.noise import NOISE, WAITING
from pytest_rayperf.judging.policy import BETA, GATED, POWER, Policy
from pytest_rayperf.judging.sequential import nominal_level
from pytest_rayperf.judging.series import Series
from pytest_rayperf.metrics import CPU_PER_ROW, THROUGHPUT
from pytest_rayperf.reports.schema import LARGEST
from pytest_rayperf.statistics import after_pairs, after_rounds, paired_ratio, session_ratio, together

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


def of_sessions(metric, sessions, current):
    """Figures of this session, and of earlier ones."""
    return Series(metric, tuple(map(tuple, sessions)), tuple(current), NOISE[metric.name])


def of_pairs(metric, then, now):
    """Figures that were measured in turn."""
    return of_sessions(metric, [then], now)


def against_sessions(metric, sessions, current, policy):
    return compare_sessions(of_sessions(metric, sessions, current), policy)


def beside(metric, then, now, policy):
    return compare_pairs(of_pairs(metric, then, now), policy)


def by_sessions(slowdown, metric=CPU_PER_ROW, policy=POLICY, n=20, k=8):
    factor = slowdown if metric.better == "lower" else 1 / slowdown
    return against_sessions(metric, [[3.0] * n] * k, [3.0 * factor] * n, policy)


def by_pairs(slowdown, metric=CPU_PER_ROW, policy=POLICY, n=20):
    factor = slowdown if metric.better == "lower" else 1 / slowdown
    return beside(metric, [3.0] * n, [3.0 * factor] * n, policy)


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
            if -math.log(limit) == math.log(high):  # not of every float
                at_the_edge += 1
                policy = replace(POLICY, max_slowdown=limit)
                assert beside(CPU_PER_ROW, then, now, policy).status == "unchanged"
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
        self.hold(against_sessions(metric, reference, current, policy), estimate, metric, n, policy)

    @pytest.mark.parametrize("metric", [CPU_PER_ROW, THROUGHPUT], ids=lambda m: m.name)
    @pytest.mark.parametrize("n", [3, 7, 20])
    def test_of_pairs(self, metric, n):
        reference, current = scattered(2.0, n=n), scattered(2.1, n=n)[::-1]
        policy = Policy(comparisons=5)
        estimate = paired_ratio(current, reference, NOISE[metric.name])
        self.hold(beside(metric, reference, current, policy), estimate, metric, n, policy)

    @staticmethod
    def hold(comparison, estimate, metric, n, policy):
        share = estimate.fixed_share
        alpha = nominal_level(policy.alpha_for(metric.name), policy.looks, n, share)
        beta = nominal_level(BETA, policy.looks, n, share)
        worse = estimate if metric.better == "lower" else estimate.inverse
        assert comparison.slowdown == worse.interval(alpha, beta)
        missed = nominal_level(1 - POWER, policy.looks, n, share)
        assert comparison.mde == worse.detectable(1 - missed) < comparison.slowdown.high
        assert comparison.finds > policy.max_slowdown

    def test_pairs_could_see_less_than_sessions(self):
        assert by_sessions(1.0).mde > by_pairs(1.0).mde > 1
        assert by_sessions(1.0, n=3).mde > by_sessions(1.0).mde

    @given(metrics, sessions, figures, policies)
    @LIGHT
    def test_what_is_called_unchanged_could_have_shown_the_threshold(
        self, metric, reference, current, policy
    ):
        comparison = against_sessions(metric, reference, current, policy)
        assert comparison.mde <= max(1.0, comparison.slowdown.high)
        if comparison.mde > comparison.threshold:
            assert comparison.status in ("inconclusive", "regressed")

    @pytest.mark.parametrize("metric", [CPU_PER_ROW, THROUGHPUT], ids=lambda m: m.name)
    def test_figures_are_geometric_means_in_which_each_session_counts_the_same(self, metric):
        comparison = against_sessions(metric, [[1.0] * 9, [9.0, 4.0]], [2.0, 8.0], POLICY)
        assert comparison.reference == pytest.approx(math.sqrt(6))
        assert comparison.current == pytest.approx(4.0)
        assert comparison.ratio.ratio == pytest.approx(4 / math.sqrt(6))
        comparison = beside(metric, [1.0, 9.0], [2.0, 8.0], POLICY)
        assert (comparison.reference, comparison.current) == pytest.approx((3.0, 4.0))
        assert comparison.ratio.ratio == pytest.approx(4 / 3)


class TestFinds:
    """From where on a slowdown is called regressed, nine times in ten."""

    @pytest.mark.parametrize("metric", [CPU_PER_ROW, THROUGHPUT], ids=lambda m: m.name)
    @pytest.mark.parametrize("n", [3, 20, 25])
    def test_by_hand(self, metric, n):
        """At the last look, which may be of more rounds than there are."""
        then, now, last = scattered(2.0, n=n), scattered(2.1, n=n)[::-1], max(20, n)
        noise = NOISE[metric.name]
        pairs = after_pairs(paired_ratio(now, then, noise), n, last)
        sessions = after_rounds([then] * 3, now, noise, last)
        for estimate, found in (
            (pairs, beside(metric, then, now, POLICY)),
            (sessions, against_sessions(metric, [then] * 3, now, POLICY)),
        ):
            alpha = nominal_level(POLICY.alpha_for(metric.name), POLICY.looks, last, estimate.fixed_share)
            reach = estimate.standard_error * (
                stats.t.isf(alpha, estimate.df) + stats.t.isf(1 - POWER, estimate.df)
            )
            assert found.finds == pytest.approx(POLICY.max_slowdown * math.exp(reach))

    @pytest.mark.parametrize("metric", [CPU_PER_ROW, THROUGHPUT], ids=lambda m: m.name)
    def test_where_time_is_up_it_is_by_the_rounds_there_are(self, metric):
        then, now = scattered(2.0, n=6), scattered(2.1, n=6)[::-1]
        over, noise = replace(POLICY, over=True), NOISE[metric.name]
        for estimate, compare in (
            (paired_ratio(now, then, noise), lambda policy: beside(metric, then, now, policy)),
            (
                session_ratio([then] * 3, now, noise),
                lambda policy: against_sessions(metric, [then] * 3, now, policy),
            ),
        ):
            alpha = nominal_level(POLICY.alpha_for(metric.name), POLICY.looks, 6, estimate.fixed_share)
            needed = estimate.needed(POLICY.max_slowdown, alpha, POWER, estimate.standard_error)
            assert compare(over).finds == pytest.approx(needed)
            assert compare(over).finds > compare(POLICY).finds
            assert replace(compare(over), finds=None) == replace(compare(POLICY), finds=None)

    @pytest.mark.parametrize("compare", [by_sessions, by_pairs])
    def test_what_was_measured_has_no_part_in_it(self, compare):
        assert compare(0.5).finds == pytest.approx(compare(1.0).finds) == pytest.approx(compare(3.0).finds)

    def test_sessions_less_noise_and_fewer_benchmarks_find_more(self):
        assert by_pairs(1.0).finds < by_sessions(1.0).finds < by_sessions(1.0, k=2).finds
        many = replace(POLICY, comparisons=100)
        assert by_pairs(1.0).finds < by_pairs(1.0, policy=many).finds
        quiet, loud = (scattered(1.0, by, 6) for by in (0.02, 0.2))
        assert (
            beside(CPU_PER_ROW, quiet, quiet[::-1], POLICY).finds
            < beside(CPU_PER_ROW, loud, loud[::-1], POLICY).finds
        )

    @pytest.mark.parametrize("kind", ["work", "waiting"])
    @pytest.mark.parametrize("sessions", [0, 3], ids=["pairs", "3 sessions"])
    def test_is_found_nine_times_in_ten(self, kind, sessions):
        """Rounds drawn with the noise that is believed, and looked at until the verdict is in.

        Of waiting more often: the error of CPU time is in it as if all of it were taken off.
        """
        generator = np.random.default_rng(5)
        policy = Policy(comparisons=22)
        cpu, cores = NOISE[CPU_PER_ROW.name], WAITING
        if not sessions:
            cpu, cores = (replace(noise, session_sd=0.0) for noise in (cpu, cores))

        def session(rounds, work=1.0, wall=1.0):
            def drawn(noise, middle):
                mean = math.log(middle) + generator.normal(0, noise.session_sd)
                return tuple(np.exp(generator.normal(mean, noise.round_sd, rounds)).tolist())

            return drawn(cpu, work), drawn(cores, work / wall)

        def played(slowdown):
            then = [session(3) for _ in range(sessions)] or [session(20)]
            now = session(20, work=slowdown if kind == "work" else 1.0, wall=slowdown)
            for n in range(3, 21):
                few = n if not sessions else None
                work = Series(
                    CPU_PER_ROW, tuple(s[0][:few] for s in then), now[0][:n], NOISE[CPU_PER_ROW.name]
                )
                waits = Series(THROUGHPUT, tuple(s[1][:few] for s in then), now[1][:n], WAITING, work)
                compare = compare_sessions if sessions else compare_pairs
                yield compare(work if kind == "work" else waits, policy)

        shown = float(np.median([list(played(1.0))[5].finds for _ in range(40)]))
        runs = 300
        found = sum(any(c.status == "regressed" for c in played(shown)) for _ in range(runs)) / runs
        assert 0.86 < found < 0.99
        fewer = sum(any(c.status == "regressed" for c in played(1 + (shown - 1) / 2)) for _ in range(60)) / 60
        assert fewer < 0.5


class TestSymmetry:
    @given(metrics, sessions, figures, st.floats(1e-3, 1e3), policies)
    @LIGHT
    def test_scaling_all_sessions_changes_no_verdict(self, metric, reference, current, scale, policy):
        plain = against_sessions(metric, reference, current, policy)
        scaled = against_sessions(
            metric, [[f * scale for f in s] for s in reference], [f * scale for f in current], policy
        )
        assert scaled.status == plain.status
        assert scaled.slowdown.ratio == pytest.approx(plain.slowdown.ratio)
        assert scaled.reference == pytest.approx(plain.reference * scale)

    @given(metrics, pairs, st.floats(1e-3, 1e3), policies)
    @LIGHT
    def test_scaling_all_pairs_changes_no_verdict(self, metric, both, scale, policy):
        one, other = zip(*both, strict=True)
        plain = beside(metric, one, other, policy)
        scaled = beside(metric, [f * scale for f in one], [f * scale for f in other], policy)
        assert scaled.status == plain.status
        assert scaled.slowdown.ratio == pytest.approx(plain.slowdown.ratio)

    @given(metrics, pairs, policies)
    @LIGHT
    def test_swapping_sides_inverts_the_ratio_and_the_verdict(self, metric, both, policy):
        one, other = zip(*both, strict=True)
        there = beside(metric, one, other, policy)
        back = beside(metric, other, one, policy)
        assert back.slowdown.ratio == pytest.approx(1 / there.slowdown.ratio)
        assert (there.status == "regressed") == (back.status == "improved")
        assert (there.status == "improved") == (back.status == "regressed")

    @given(metrics, figures, figures, policies)
    @LIGHT
    def test_swapping_two_sessions_inverts_the_ratio(self, metric, one, other, policy):
        there = against_sessions(metric, [one], other, policy)
        back = against_sessions(metric, [other], one, policy)
        assert back.slowdown.ratio == pytest.approx(1 / there.slowdown.ratio)
        assert {there.status, back.status} != {"regressed"}
        assert {there.status, back.status} != {"improved"}

    @given(metrics, sessions, figure, st.integers(1, 20), st.integers(1, 20), policies)
    @LIGHT
    def test_more_equal_rounds_never_turn_unchanged_into_regressed(
        self, metric, reference, now, few, more, policy
    ):
        before, after = (against_sessions(metric, reference, [now] * n, policy) for n in (few, few + more))
        assert {before.status, after.status} != {"unchanged", "regressed"}
        assert {before.status, after.status} != {"improved", "regressed"}

    @given(metrics, figure, figure, st.integers(1, 20), st.integers(1, 20), policies)
    @LIGHT
    def test_nor_do_more_equal_pairs(self, metric, then, now, few, more, policy):
        before, after = (beside(metric, [then] * n, [now] * n, policy) for n in (few, few + more))
        assert {before.status, after.status} != {"unchanged", "regressed"}
        assert {before.status, after.status} != {"improved", "regressed"}

    @given(metrics, sessions, figures, policies)
    @LIGHT
    def test_the_verdict_is_what_the_interval_says(self, metric, reference, current, policy):
        c = against_sessions(metric, reference, current, policy)
        assert c.slowdown.low <= c.slowdown.ratio <= c.slowdown.high
        assert (c.status == "regressed") == (c.slowdown.low > policy.max_slowdown)
        assert (c.status in ("improved", "unchanged")) >= (c.slowdown.high <= policy.max_slowdown)


class TestOddFigures:
    """What a machine may give at its worst has an answer, and it is no certainty."""

    def test_one_round_on_each_side(self):
        assert against_sessions(CPU_PER_ROW, [[1.0]], [1.0], POLICY).status == "inconclusive"
        assert beside(CPU_PER_ROW, [1.0], [1.0], POLICY).status == "inconclusive"

    def test_identical_rounds_are_not_without_noise(self):
        comparison = against_sessions(CPU_PER_ROW, [[1.0] * 3] * 3, [1.0] * 3, POLICY)
        assert comparison.slowdown.low < 0.95 < 1.05 < comparison.slowdown.high

    @pytest.mark.parametrize(("outlier", "never"), [(1e-6, "improved"), (1e6, "regressed")])
    def test_a_huge_outlier_is_neither_a_slowdown_nor_a_win(self, outlier, never):
        rounds = [1.0] * 4 + [outlier]
        found = [
            against_sessions(CPU_PER_ROW, [[1.0] * 5] * 5, rounds, POLICY),
            against_sessions(CPU_PER_ROW, [[1.0] * 5] * 4 + [rounds], rounds, POLICY),
            beside(CPU_PER_ROW, [1.0] * 5, rounds, POLICY),
        ]
        assert never not in {comparison.status for comparison in found}
        assert all(comparison.slowdown.high / comparison.slowdown.low > 10 for comparison in found)

    def test_unequal_counts_of_sessions_are_as_good_as_equal_ones(self):
        comparison = against_sessions(CPU_PER_ROW, [[1.0], [1.0] * 7], [3.0] * 2, POLICY)
        assert (comparison.status, comparison.slowdown.ratio) == ("regressed", pytest.approx(3.0))

    def test_unequal_counts_of_pairs_are_none(self):
        with pytest.raises(ValueError, match="3 figures against 2"):
            beside(CPU_PER_ROW, [1.0, 1.0], [1.0] * 3, POLICY)

    @pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
    def test_what_is_no_figure_is_refused(self, bad):
        for then, now in (([bad, 1.0], [1.0, 1.0]), ([1.0, 1.0], [1.0, bad])):
            with pytest.raises(ValueError, match="finite and above 0"):
                against_sessions(CPU_PER_ROW, [then], now, POLICY)
            with pytest.raises(ValueError, match="finite and above 0"):
                beside(CPU_PER_ROW, then, now, POLICY)

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
            against_sessions(metric, reference, now, policy),
            beside(metric, then, now, policy),
        ):
            assert 0 < comparison.slowdown.low <= comparison.slowdown.high < math.inf
            assert 1 <= comparison.mde < math.inf
            assert policy.max_slowdown <= comparison.finds < LARGEST
            assert comparison.ratio.low <= comparison.ratio.high
        for chances in (
            chances_of_sessions(of_sessions(metric, reference, now), policy),
            chances_of_pairs(of_pairs(metric, then, now), policy),
        ):
            assert 0 <= chances.clear <= 1
            assert 0 <= chances.alarm <= 1


def either(chances):
    """The chance that anything is decided."""
    return chances.clear + chances.alarm


class TestChances:
    @pytest.mark.parametrize("metric", [CPU_PER_ROW, THROUGHPUT], ids=lambda m: m.name)
    @pytest.mark.parametrize(("slowdown", "n"), [(1.06, 6), (1.10, 6), (1.2, 6), (1.02, 4)])
    def test_of_pairs_are_how_often_they_go_on_to_decide(self, metric, slowdown, n):
        """Rounds drawn with what is estimated now, the slowdown as uncertain as its estimate."""
        factor = slowdown if metric.better == "lower" else 1 / slowdown
        then, now = [1.0] * n, scattered(factor, 0.05, n)
        policy = Policy(alpha=0.05, looks=tuple(range(3, 21)))
        believed = chances_of_pairs(of_pairs(metric, then, now), policy)
        estimate = paired_ratio(now, then, NOISE[metric.name])
        sd = estimate.standard_error * math.sqrt(n)
        generator = np.random.default_rng(9)
        runs, found = 400, []
        for _ in range(runs):
            truth = generator.normal(math.log(factor), estimate.standard_error)
            more = np.exp(generator.normal(truth, sd, 20 - n))
            found.append(beside(metric, [1.0] * 20, [*now, *more], policy).status)
        # The standard error of a rate is 2.5 % at most; the variance is estimated anew by the last look.
        assert believed.alarm == pytest.approx(found.count("regressed") / runs, abs=0.1)
        cleared = found.count("unchanged") + found.count("improved")
        assert believed.clear == pytest.approx(cleared / runs, abs=0.1)

    @pytest.mark.parametrize("n", [20, 25])
    @pytest.mark.parametrize("slowdown", [0.5, 1.0, 1.05, 1.10, 1.14, 1.5])
    @pytest.mark.parametrize("metric", [CPU_PER_ROW, THROUGHPUT], ids=lambda m: m.name)
    def test_after_the_last_look_are_whether_it_has_decided(self, metric, slowdown, n):
        factor = slowdown if metric.better == "lower" else 1 / slowdown
        then, now = [1.0] * n, [factor] * n
        for series, compare, chances_of in (
            (of_pairs(metric, then, now), compare_pairs, chances_of_pairs),
            (of_sessions(metric, [then] * 30, now), compare_sessions, chances_of_sessions),
        ):
            status = compare(series, POLICY).status
            chances = chances_of(series, POLICY)
            assert chances == Chances(status in ("unchanged", "improved"), status == "regressed")

    @pytest.mark.parametrize("looks", [(3, 20), (20,), tuple(range(3, 21))])
    @pytest.mark.parametrize(("slowdown", "limit"), [(1.01, "high"), (1.5, "low")])
    def test_after_the_last_look_to_the_last_digit(self, slowdown, limit, looks):
        then, now = [1.0] * 20, [slowdown] * 20
        policy = Policy(looks=looks)
        for series, compare, chances_of in (
            (of_pairs(CPU_PER_ROW, then, now), compare_pairs, chances_of_pairs),
            (of_sessions(CPU_PER_ROW, [then] * 30, now), compare_sessions, chances_of_sessions),
        ):
            edge = getattr(compare(series, policy).slowdown, limit)
            thresholds = (math.nextafter(edge, 0), edge, edge * (1 + 1e-9))
            decided = [chances_of(series, replace(policy, max_slowdown=one)) for one in thresholds]
            if limit == "high":
                assert [chances.clear for chances in decided] == [0, 1, 1]
                assert not any(chances.alarm for chances in decided)
            else:
                assert [chances.alarm for chances in decided] == [1, 0, 0]
                assert not any(chances.clear for chances in decided)

    def test_of_few_rounds_within_the_threshold_are_worth_more(self):
        rounds = scattered(1.0, 0.1)
        assert beside(CPU_PER_ROW, rounds[::-1], rounds, POLICY).status == "inconclusive"
        assert chances_of_pairs(of_pairs(CPU_PER_ROW, rounds[::-1], rounds), POLICY).clear > 0.1
        assert against_sessions(CPU_PER_ROW, [rounds] * 30, rounds, POLICY).status == "inconclusive"
        policy = Policy(max_slowdown=1.2)  # what sessions differ by does not go away with more rounds
        assert chances_of_sessions(of_sessions(CPU_PER_ROW, [rounds] * 30, rounds), policy).clear > 0.1

    def test_with_one_session_at_the_threshold_are_next_to_none(self):
        """What sessions differ by is not known, and no round says it."""
        rounds = [POLICY.max_slowdown] * 3
        assert either(chances_of_sessions(of_sessions(CPU_PER_ROW, [[1.0] * 3], rounds), POLICY)) < 0.01
        assert chances_of_pairs(of_pairs(CPU_PER_ROW, [1.0] * 3, [1.0] * 3), POLICY).clear > 0.9

    def test_at_the_threshold_neither_side_is_likely(self):
        policy = Policy(looks=tuple(range(3, 21)))
        then, now = [1.0] * 18, [policy.max_slowdown] * 18
        assert either(chances_of_pairs(of_pairs(CPU_PER_ROW, then, now), policy)) < 0.01

    def test_fewer_rounds_to_come_are_less_likely_to_decide(self):
        series = of_pairs(CPU_PER_ROW, scattered(1.0, 0.1), scattered(1.03, 0.1)[::-1])
        chances = [chances_of_pairs(series, Policy(looks=(3, last))).clear for last in (6, 12, 20, 40)]
        assert chances == sorted(chances)
        assert chances[0] < chances[-1] - 0.1

    def test_of_sessions_the_rounds_to_come_narrow_it_to_what_sessions_differ_by(self):
        series = of_sessions(CPU_PER_ROW, [scattered(1.0, 0.1)] * 30, scattered(1.03, 0.1))
        policies = [Policy(max_slowdown=1.15, looks=(3, last)) for last in (6, 12, 20, 40)]
        chances = [chances_of_sessions(series, policy).clear for policy in policies]
        assert chances == sorted(chances)
        assert 0.05 < chances[0] < chances[-1] < 1

    @pytest.mark.parametrize("paired", [True, False])
    def test_are_of_the_estimate_that_the_last_look_would_have(self, paired):
        """By hand: its limits are that of the last look, its value is as uncertain as the two differ."""
        then, now = scattered(1.0, 0.08, 5), scattered(1.04, 0.08, 5)[::-1]
        noise, alpha = NOISE[CPU_PER_ROW.name], POLICY.alpha_for(CPU_PER_ROW.name)
        if paired:
            chances = chances_of_pairs(of_pairs(CPU_PER_ROW, then, now), POLICY)
            before = paired_ratio(now, then, noise)
            last = after_pairs(before, 5, 20)
        else:
            chances = chances_of_sessions(of_sessions(CPU_PER_ROW, [then] * 9, now), POLICY)
            before = session_ratio([then] * 9, now, noise)
            last = after_rounds([then] * 9, now, noise, 20)
        share = last.fixed_share
        levels = [
            nominal_level(alpha, POLICY.looks, 20, share),
            nominal_level(BETA, POLICY.looks, 20, share),
        ]
        limits = last.interval(*levels)
        spread = math.sqrt(before.standard_error**2 - last.standard_error**2)
        threshold = math.log(POLICY.max_slowdown)
        assert chances.clear == pytest.approx(stats.norm.cdf((threshold - math.log(limits.high)) / spread))
        assert chances.alarm == pytest.approx(stats.norm.cdf((math.log(limits.low) - threshold) / spread))


def waiting(wall, cpu=1.0, machine=1.0, n=20, k=8, by=0.0):
    """Busy cores of a pipeline with so many times the wall and CPU time, on a machine so many times slower.

    `by`: the standard deviation of the logs of the rounds' CPU times.
    """
    spread = scattered(1.0, by, n) if by else [1.0] * n
    work = Series(
        CPU_PER_ROW,
        (tuple(0.02 * machine * x for x in spread),) * k,
        tuple(0.02 * cpu * x for x in reversed(spread)),
        NOISE[CPU_PER_ROW.name],
        machine=math.log(machine),
    )
    whole = NOISE[THROUGHPUT.name]
    return Series(THROUGHPUT, ((0.8,) * n,) * k, (0.8 * cpu / wall,) * n, WAITING, work, whole)


BOTH = pytest.mark.parametrize(
    ("compare", "ratio_of"),
    [
        (compare_sessions, lambda series: session_ratio(series.sessions, series.current, series.noise)),
        (compare_pairs, lambda series: paired_ratio(series.current, series.sessions[0], series.noise)),
    ],
    ids=["sessions", "pairs"],
)
walls = st.floats(0.3, 3)


def whole_of(compare, series):
    """Work and waiting together: of sessions the sum of both, of pairs the seconds a row themselves."""
    now, work = series.current, series.work
    if compare is compare_sessions:
        waits = session_ratio(series.sessions, now, series.noise).inverse
        return together(waits, session_ratio(work.sessions, work.current, work.noise), len(now))
    then = [a / b for a, b in zip(work.sessions[0], series.sessions[0], strict=True)]
    return paired_ratio([a / b for a, b in zip(work.current, now, strict=True)], then, NOISE[THROUGHPUT.name])


class TestWaiting:
    """Fewer busy cores are a loss only as far as there is not less work for them."""

    @BOTH
    @pytest.mark.parametrize(
        ("wall", "cpu", "machine", "slowdown"),
        [
            (1.0, 1.0, 1.0, 1.0),
            (1.5, 1.0, 1.0, 1.5),  # it only waits
            (1.5, 1.5, 1.0, 1.0),  # it only works more, and CPU time says so
            (2.0, 1.25, 1.0, 1.6),  # it does both
            (1.3, 1.3, 1.3, 1.0),  # the machine is slower for all
            (1.95, 1.3, 1.3, 1.5),  # and it waits as well
            (1.0, 0.85, 1.0, 1.0),  # what was saved was not waited for
            (0.9, 0.8, 1.0, 0.9),
            (1.0, 0.8, 0.8, 1.0),  # it waits for a GPU, which is no faster on a faster machine
            (1.0, 1.0, 1.3, 1 / 1.3),  # as much CPU time on a slower machine is less work
        ],
    )
    def test_the_slowdown_is_what_was_not_saved(self, compare, ratio_of, wall, cpu, machine, slowdown):
        comparison = compare(waiting(wall, cpu, machine), POLICY)
        assert comparison.slowdown.ratio == pytest.approx(slowdown)
        assert comparison.at_equal_work

    @BOTH
    @given(walls, walls, st.floats(0.6, 1.6), policies)
    @LIGHT
    def test_is_never_more_than_the_wall_time_is(self, compare, ratio_of, wall, cpu, machine, policy):
        comparison = compare(waiting(wall, cpu, machine, n=3, k=2), policy)
        assert comparison.slowdown.ratio <= wall * (1 + 1e-9)
        assert comparison.slowdown.ratio <= wall / cpu * (1 + 1e-9)
        assert comparison.slowdown.low <= comparison.slowdown.ratio <= comparison.slowdown.high
        assert comparison.mde <= max(1.0, comparison.slowdown.high * (1 + 1e-9))
        if comparison.status == "regressed":
            assert wall > policy.max_slowdown
        if comparison.status == "improved":
            assert wall < 1 / policy.max_slowdown

    @BOTH
    @pytest.mark.parametrize("machine", [1.0, 0.8, 1.3])
    @pytest.mark.parametrize(("wall", "cpu"), [(1.3, 1.0), (1.0, 1.2), (1.0, 0.8), (1.1, 0.7), (0.7, 0.9)])
    def test_the_limits_by_hand(self, compare, ratio_of, wall, cpu, machine):
        """The lower one is of the busy cores, less what was saved; the upper one of both together."""
        series = waiting(wall, cpu, machine, n=7, by=0.05)
        own, work = ratio_of(series).inverse, ratio_of(series.work)
        assert work.value == pytest.approx(math.log(cpu / machine))
        saved = min(1.0, cpu, cpu / machine)
        whole = whole_of(compare, series)
        alpha = nominal_level(POLICY.alpha_for(THROUGHPUT.name), POLICY.looks, 7, own.fixed_share)
        beta = nominal_level(BETA, POLICY.looks, 7, whole.fixed_share)
        found = compare(series, POLICY)
        assert found.slowdown.ratio == pytest.approx(wall / cpu * saved)
        assert found.slowdown.low == pytest.approx(own.interval(alpha, alpha).low * saved)
        assert found.slowdown.high == pytest.approx(whole.interval(beta, beta).high)
        missed = nominal_level(1 - POWER, POLICY.looks, 7, whole.fixed_share)
        assert found.mde == pytest.approx(whole.detectable(1 - missed))

    @BOTH
    @pytest.mark.parametrize("n", [7, 20])
    def test_what_is_found_has_the_error_of_what_may_be_taken_off(self, compare, ratio_of, n):
        series = waiting(1.1, 0.9, n=n, by=0.05)
        own, work = (self.at_the_last_look(compare, one) for one in (series, series.work))
        alpha = nominal_level(POLICY.alpha_for(THROUGHPUT.name), POLICY.looks, 20, own.fixed_share)
        error = math.hypot(own.standard_error, work.standard_error)
        needed = own.needed(POLICY.max_slowdown, alpha, POWER, error)
        assert compare(series, POLICY).finds == pytest.approx(needed)

    @staticmethod
    def at_the_last_look(compare, series):
        if compare is compare_sessions:
            return after_rounds(series.sessions, series.current, series.noise, 20)
        estimate = paired_ratio(series.current, series.sessions[0], series.noise)
        return after_pairs(estimate, len(series.current), 20)

    @BOTH
    def test_what_may_not_have_been_saved_is_not_taken_off_the_upper_limit(self, compare, ratio_of):
        """CPU times that scatter leave it open whether any was saved: neither regressed nor unchanged."""
        sure, unsure = (compare(waiting(1.0, 0.85, n=5, by=by), POLICY) for by in (0.01, 0.4))
        assert sure.slowdown.low == pytest.approx(unsure.slowdown.low)
        assert sure.slowdown.high < unsure.slowdown.high
        assert unsure.slowdown.high > 1 / 0.85  # as if nothing had been
        assert unsure.status == "inconclusive"
        assert sure.mde < unsure.mde

    @BOTH
    def test_work_that_grew_is_no_waiting_and_must_be_ruled_out_all_the_same(self, compare, ratio_of):
        grown, same = compare(waiting(1.2, 1.2), POLICY), compare(waiting(1.0, 1.0), POLICY)
        assert grown.slowdown.ratio == pytest.approx(same.slowdown.ratio)
        assert grown.slowdown.low == pytest.approx(same.slowdown.low)
        assert grown.slowdown.high == pytest.approx(1.2 * same.slowdown.high)
        assert grown.mde == pytest.approx(1.2 * same.mde)

    @BOTH
    @pytest.mark.parametrize("both", [1.07, 1.09])
    def test_a_little_of_each_is_not_unchanged(self, compare, ratio_of, both):
        """1.07x of the work and 1.07x of the wait are 1.145x of the wall time, which is beyond 1.10x."""
        series = waiting(both**2, both, k=30)
        assert compare(series, POLICY).status == "inconclusive"
        assert compare(waiting(both, both, k=30), POLICY).slowdown.ratio == pytest.approx(1.0)

    @BOTH
    @given(st.floats(1.0, 3), st.floats(0.6, 1.6), policies)
    @LIGHT
    def test_more_cpu_time_at_equal_wall_time_is_never_improved(
        self, compare, ratio_of, cpu, machine, policy
    ):
        """More cores are busy, with what was added: nothing was won."""
        assert compare(waiting(1.0, cpu, machine), policy).status != "improved"

    @BOTH
    @pytest.mark.parametrize(("wall", "cpu", "status"), [(0.5, 1.0, "improved"), (0.9, 1.8, "unchanged")])
    def test_improved_is_what_is_better_with_what_work_may_have_been_added(
        self, compare, ratio_of, wall, cpu, status
    ):
        assert compare(waiting(wall, cpu), POLICY).slowdown.ratio == pytest.approx(0.5)
        assert compare(waiting(wall, cpu), replace(POLICY, max_slowdown=1.2)).status == status

    @BOTH
    @pytest.mark.parametrize(("cpu", "machine"), [(1.0, 1.0), (1.2, 1.0), (0.9, 0.9), (1.3, 1.3)])
    def test_improved_to_the_edge(self, compare, ratio_of, cpu, machine):
        """By hand: the upper limit of both together, on a machine that is no faster than it was."""
        series = waiting(0.5, cpu, machine)
        whole = whole_of(compare, series)
        alpha = nominal_level(POLICY.alpha_for(THROUGHPUT.name), POLICY.looks, 20, whole.fixed_share)
        edge = 1 / (whole.interval(alpha, alpha).high * max(1.0, machine))
        assert edge > 1
        for factor, status in ((1 - 1e-9, "improved"), (1 + 1e-9, "unchanged")):
            assert compare(series, replace(POLICY, max_slowdown=edge * factor)).status == status

    def test_of_pairs_what_work_and_waiting_do_to_each_other_is_no_noise(self):
        """A round that computes for longer has more busy cores: seconds a row are as they were."""
        then = waiting(1.0)
        shaken = scattered(1.0, 0.2, 20)
        work = replace(then.work, current=tuple(0.02 * x for x in shaken))
        series = replace(then, work=work, current=tuple(0.8 * x for x in shaken))
        limits = compare_pairs(series, POLICY).slowdown
        assert limits.high == pytest.approx(compare_pairs(then, POLICY).slowdown.high)

    def test_of_pairs_that_are_known_the_noise_is_the_wholes(self):
        known = replace(NOISE[THROUGHPUT.name], round_sd=0.01, round_weight=math.inf)
        limits = compare_pairs(replace(waiting(1.0, by=0.1), whole=known), POLICY).slowdown
        reach = stats.norm.isf(nominal_level(BETA, POLICY.looks, 20, 0.0)) * 0.01 * math.sqrt(2 / 20)
        assert math.log(limits.high) == pytest.approx(reach)

    @BOTH
    def test_shows_the_rows_a_second_at_this_cpu_time(self, compare, ratio_of):
        """Of 1.25x the CPU time it is 32 of 40 rows/s that would have been; it is 20."""
        comparison = compare(waiting(2.0, 1.25), POLICY)
        assert (comparison.current, comparison.reference) == pytest.approx((20.0, 32.0))
        assert comparison.ratio.ratio == pytest.approx(20 / 32)
        saved = compare(waiting(1.0, 0.5), POLICY)
        assert (saved.current, saved.reference) == pytest.approx((40.0, 40.0))

    @BOTH
    def test_figures_of_other_metrics_are_not_at_equal_work(self, compare, ratio_of):
        comparison = compare(waiting(1.0).work, POLICY)
        assert not comparison.at_equal_work
        assert comparison.current == pytest.approx(0.02)

    @pytest.mark.parametrize(
        ("compare", "chances_of"),
        [(compare_sessions, chances_of_sessions), (compare_pairs, chances_of_pairs)],
        ids=["sessions", "pairs"],
    )
    @pytest.mark.parametrize(
        ("wall", "cpu", "status"),
        [
            (1.5, 1.0, "regressed"),
            (1.0, 1.0, "unchanged"),
            (1.0, 0.8, "unchanged"),
            (1.1, 0.85, "inconclusive"),
        ],
    )
    def test_the_chances_are_of_what_was_not_saved(self, compare, chances_of, wall, cpu, status):
        series = waiting(wall, cpu, k=30)
        assert compare(series, POLICY).status == status
        assert chances_of(series, POLICY) == Chances(status == "unchanged", status == "regressed")

    @BOTH
    def test_what_is_no_figure_of_the_work_is_refused(self, compare, ratio_of):
        series = waiting(1.0)
        bad = replace(series, work=replace(series.work, current=(0.0,) * 20))
        with pytest.raises(ValueError, match="finite and above 0"):
            compare(bad, POLICY)

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from builders import LIGHT
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from pytest_rayperf.reports.schema import LARGEST
from pytest_rayperf.results import Interval
from pytest_rayperf.statistics import (
    LogEstimate,
    Noise,
    _moderated,
    after_pairs,
    after_rounds,
    median_interval,
    paired_product,
    paired_ratio,
    session_ratio,
    together,
)

NOISE = Noise(session_sd=0.07, round_sd=0.08)
NO_PRIOR = Noise(session_sd=0.07, round_sd=0.08, session_weight=1e-9, round_weight=1e-9)

figure = st.floats(1e-3, 1e6)
figures = st.lists(figure, min_size=1, max_size=6)
sessions = st.lists(figures, min_size=1, max_size=4)
BAD = [
    pytest.param([math.nan], id="nan"),
    pytest.param([math.inf], id="inf"),
    pytest.param([-math.inf], id="minus inf"),
    pytest.param([0.0], id="zero"),
    pytest.param([-0.0], id="minus zero"),
    pytest.param([-1.0], id="negative"),
    pytest.param([], id="empty"),
    pytest.param([1.0, math.nan, 2.0], id="nan among good"),
    pytest.param([1.0, 0.0, 2.0], id="zero among good"),
    pytest.param([1.0, 2.0, -3.0], id="negative among good"),
]


def belief(squares: float, df: int, sd: float, weight: float, point: float) -> tuple[float, float]:
    """The variance and its degrees of freedom: the belief is heard unless the figures contradict it."""
    if df and squares / df > sd**2 * stats.f.ppf(point, df, weight):
        return squares / df, df
    return (squares + weight * sd**2) / (df + weight), df + weight


def sd_at_the_limit(noise_sd: float, df: int, weight: float, point: float = 0.95) -> float:
    """The standard deviation of a sample that a belief just allows: at that point of F."""
    return noise_sd * math.sqrt(stats.f.ppf(point, df, weight))


def width(estimate: LogEstimate, alpha: float = 0.01) -> float:
    interval = estimate.interval(alpha, alpha)
    return math.log(interval.high / interval.low)


class TestLogEstimate:
    def test_interval_is_students(self):
        estimate = LogEstimate(0.2, 0.1, 7.0)
        interval = estimate.interval(0.025, 0.05)
        assert interval.ratio == pytest.approx(math.exp(0.2))
        assert interval.low == pytest.approx(math.exp(0.2 - 0.1 * 2.364624), rel=1e-6)  # t table, 7 df
        assert interval.high == pytest.approx(math.exp(0.2 + 0.1 * 1.894579), rel=1e-6)

    def test_each_limit_has_its_own_error(self):
        estimate = LogEstimate(0.0, 0.1, 10.0)
        one, other = estimate.interval(0.01, 0.2), estimate.interval(0.2, 0.01)
        assert one.low == pytest.approx(1 / other.high)
        assert one.high == pytest.approx(1 / other.low)
        assert one.low < other.low

    @given(
        st.floats(-5, 5),
        st.floats(1e-4, 1),
        st.floats(3, 200),
        st.floats(1e-6, 0.4),
        st.floats(1.01, 10),
    )
    @LIGHT
    def test_smaller_alpha_is_wider(self, value, error, df, alpha, factor):
        estimate = LogEstimate(value, error, df)
        loose, strict = estimate.interval(alpha, alpha), estimate.interval(alpha / factor, alpha / factor)
        assert strict.low < loose.low < loose.ratio < loose.high < strict.high

    @pytest.mark.parametrize("value", [-1e6, -800.0, 800.0, 1e6])
    def test_no_overflow(self, value):
        interval = LogEstimate(value, 10.0, 5.0).interval(1e-6, 1e-6)
        assert 0 < interval.low <= interval.ratio <= interval.high < math.inf
        inverse = interval.inverse
        assert 0 < inverse.low <= inverse.ratio <= inverse.high < math.inf

    @pytest.mark.parametrize("value", [-1e6, 1e6])
    def test_a_limit_that_means_none_may_stand_in_a_report(self, value):
        interval = LogEstimate(value, 10.0, 5.0).interval(1e-6, 1e-6)
        for one in (interval, interval.inverse):
            assert all(figure < LARGEST for figure in (one.low, one.ratio, one.high))

    @pytest.mark.parametrize("df", [1.4, 3.0, 10.0, 17.0, 200.0, math.inf])
    def test_next_to_no_chance_of_error_leaves_nothing_out(self, df):
        """SciPy's quantile has the other infinity there."""
        interval = LogEstimate(0.2, 0.1, df).interval(1e-307, 1e-307)
        assert interval.low < 1e-1 < 1e1 < interval.high
        assert LogEstimate(math.log(2), 0.0, df).interval(1e-307, 1e-307).high == pytest.approx(2)

    def test_zero_error_is_a_point(self):
        assert LogEstimate(math.log(2), 0.0, 5.0).interval(0.01, 0.01) == Interval(
            pytest.approx(2), pytest.approx(2), pytest.approx(2)
        )

    def test_nine_times_in_ten_a_slowdown_that_large_gives_more_than_was_seen(self):
        estimate = LogEstimate(0.03, 0.05, 20.0)
        ratio = estimate.detectable(0.9)
        seen = math.log(ratio) + 0.05 * np.random.default_rng(1).standard_t(20, 20_000)
        assert np.mean(seen > 0.03) == pytest.approx(0.9, abs=0.01)

    @pytest.mark.parametrize("power", [0.5, 0.8, 0.9, 0.99])
    def test_more_power_needs_more_change(self, power):
        estimate = LogEstimate(0.1, 0.05, 20.0)
        assert estimate.detectable(power) >= estimate.detectable(0.5) == pytest.approx(math.exp(0.1))

    def test_where_it_got_faster_any_slowdown_would_have_shown(self):
        assert LogEstimate(-1.0, 0.05, 20.0).detectable(0.9) == 1.0

    def test_what_it_takes_to_be_beyond_a_limit_is_so_nine_times_in_ten(self):
        estimate = LogEstimate(0.03, 0.05, 20.0)
        needed = estimate.needed(1.1, 0.01, 0.9, 0.05)
        came = math.log(needed) + 0.05 * np.random.default_rng(1).standard_t(20, 20_000)
        reach = math.log(estimate.ratio / estimate.low(0.01))
        assert np.mean(came - reach > math.log(1.1)) == pytest.approx(0.9, abs=0.01)

    @given(st.floats(-5, 5), st.floats(1e-4, 1.0), st.floats(3, 1e4), st.floats(1.0, 2.0))
    @LIGHT
    def test_it_hangs_on_the_noise_and_not_on_what_was_estimated(self, value, error, df, more):
        seen, other = LogEstimate(value, error, df), LogEstimate(0.0, error, df)
        needed = seen.needed(1.1, 0.01, 0.9, error)
        assert needed == other.needed(1.1, 0.01, 0.9, error) > 1.1
        assert seen.needed(1.1, 0.001, 0.9, error) > needed > seen.needed(1.05, 0.01, 0.9, error)
        assert seen.needed(1.1, 0.01, 0.95, error) > needed > seen.needed(1.1, 0.01, 0.5, error)
        assert seen.needed(1.1, 0.01, 0.5, error) == pytest.approx(1.1 * seen.ratio / seen.low(0.01))
        assert seen.needed(1.1, 0.01, 0.9, error * more) >= needed

    @given(st.floats(-5, 5), st.floats(1e-4, 1.0), st.floats(3, 1e4))
    @LIGHT
    def test_the_inverse_has_the_inverse_interval(self, value, error, df):
        estimate = LogEstimate(value, error, df, fixed_share=0.3)
        there, back = estimate.interval(0.01, 0.05), estimate.inverse.interval(0.05, 0.01).inverse
        assert (back.ratio, back.low, back.high) == pytest.approx((there.ratio, there.low, there.high))
        assert estimate.inverse.fixed_share == 0.3


class TestSessionRatio:
    def test_value_is_the_ratio_of_geometric_means(self):
        estimate = session_ratio([[1.0, 4.0]], [6.0, 6.0], NOISE)
        assert math.exp(estimate.value) == pytest.approx(3.0)

    def test_each_session_counts_the_same_however_many_rounds(self):
        estimate = session_ratio([[1.0] * 50, [4.0]], [2.0], NOISE)
        assert estimate.value == pytest.approx(0.0)

    def test_one_round_on_each_side_has_the_priors_error(self):
        estimate = session_ratio([[2.0]], [2.0], NOISE)
        assert estimate.standard_error == pytest.approx(math.sqrt(2 * 0.07**2 + 2 * 0.08**2))

    def test_by_hand(self):
        # k = 2 sessions of 2 rounds, 2 rounds now; logs around their means are +-0.1, +-0.1 and +-0.2.
        e = math.exp
        noise = Noise(session_sd=0.1, round_sd=0.1, session_weight=4.0, round_weight=6.0)
        estimate = session_ratio([[e(-0.1), e(0.1)], [e(0.2), e(0.4)]], [e(0.8), e(1.2)], noise)
        round_df = 3 + 6
        round_var = (0.02 + 0.02 + 0.08 + 6 * 0.01) / round_df
        between = 0.3**2 / 2 - round_var / 2
        session_df = 1 + 4
        session_var = (4 * 0.01 + between) / session_df
        session_part = session_var * 1.5
        round_part = round_var * (1 / 2 + 1 / 4)
        assert estimate.value == pytest.approx(1.0 - 0.15)
        assert estimate.standard_error == pytest.approx(math.sqrt(session_part + round_part))
        total = session_part + round_part
        assert estimate.df == pytest.approx(
            total**2 / (session_part**2 / session_df + round_part**2 / round_df)
        )
        assert estimate.fixed_share == pytest.approx(
            (session_part + round_var / 4) / (session_part + round_var / 4 + round_var)
        )

    def test_by_hand_where_sessions_differ_by_more_than_is_believed(self):
        # F(1, 4) is 21.2 at 99 %: 0.398 is beyond 21.2 * 0.01, so that one degree of freedom is all there is.
        e = math.exp
        noise = Noise(session_sd=0.1, round_sd=0.1, session_weight=4.0, round_weight=4.0)
        estimate = session_ratio([[e(-0.1), e(0.1)], [e(0.8), e(1.0)]], [e(0.9), e(1.1)], noise)
        round_df = 3 + 4
        round_var = (0.02 + 0.02 + 0.02 + 4 * 0.01) / round_df
        session_var = 0.9**2 / 2 - round_var / 2
        session_part, round_part = session_var * 1.5, round_var * (1 / 2 + 1 / 4)
        total = session_part + round_part
        assert session_var == pytest.approx(0.3979, abs=1e-4)
        assert estimate.standard_error == pytest.approx(math.sqrt(total))
        assert estimate.df == pytest.approx(total**2 / (session_part**2 / 1 + round_part**2 / round_df))

    def test_by_hand_where_rounds_do(self):
        # F(3, 4) is 6.59 at 95 %: 0.22 / 3 = 0.0733 is beyond 6.59 * 0.01.
        e = math.exp
        noise = Noise(session_sd=0.1, round_sd=0.1, session_weight=4.0, round_weight=4.0)
        estimate = session_ratio([[e(-0.1), e(0.1)], [e(-0.1), e(0.1)]], [e(0.7), e(1.3)], noise)
        round_var = (0.02 + 0.02 + 0.18) / 3
        session_part = 4 * 0.01 / 5 * 1.5  # the means are equal
        round_part = round_var * (1 / 2 + 1 / 4)
        total = session_part + round_part
        assert estimate.standard_error == pytest.approx(math.sqrt(total))
        assert estimate.df == pytest.approx(total**2 / (session_part**2 / 5 + round_part**2 / 3))

    def test_without_session_noise_and_prior_it_is_the_pooled_t_test(self):
        one, other = [10.0, 11.0, 12.5, 9.8], [13.0, 14.5, 12.2, 15.1, 13.3]
        noise = Noise(session_sd=1e-9, round_sd=1e-9, session_weight=1e-9, round_weight=1e-9)
        estimate = session_ratio([one], other, noise)
        known = stats.ttest_ind(np.log(other), np.log(one))
        interval = known.confidence_interval(0.95)
        # The session part is next to nothing, and so are its degrees of freedom: only the error compares.
        assert estimate.value / estimate.standard_error == pytest.approx(known.statistic, rel=1e-6)
        found = LogEstimate(estimate.value, estimate.standard_error, known.df).interval(0.025, 0.025)
        assert math.log(found.low) == pytest.approx(interval.low, rel=1e-6)
        assert math.log(found.high) == pytest.approx(interval.high, rel=1e-6)

    def test_session_noise_is_estimated_where_there_are_sessions(self):
        alike = session_ratio([[1.0, 1.01]] * 4, [1.0, 1.01], NO_PRIOR)
        apart = session_ratio([[1.0, 1.01], [1.3, 1.31], [0.8, 0.81], [1.1, 1.11]], [1.0, 1.01], NO_PRIOR)
        means = np.log([math.sqrt(a * (a + 0.01)) for a in (1.0, 1.3, 0.8, 1.1)])
        assert alike.standard_error < 0.01
        assert apart.standard_error == pytest.approx(math.sqrt(means.var(ddof=1) * 1.25), rel=0.01)

    def test_more_rounds_do_not_remove_session_noise(self):
        estimate = session_ratio([[1.0] * 10_000], [1.0] * 10_000, NOISE)
        assert estimate.standard_error == pytest.approx(math.sqrt(2) * 0.07, rel=1e-3)

    def test_more_sessions_do(self):
        errors = [session_ratio([[1.0] * 3] * k, [1.0] * 3, NOISE).standard_error for k in (1, 2, 4, 8)]
        assert errors == sorted(errors, reverse=True)
        assert len(set(errors)) == 4

    def test_three_equal_rounds_do_not_prove_that_there_is_no_noise(self):
        assert session_ratio([[5.0] * 3] * 3, [5.0] * 3, NOISE).standard_error > 0.04

    @given(sessions, figures, st.floats(1e-3, 1e3))
    @LIGHT
    def test_scaling_everything_changes_nothing(self, reference, current, scale):
        plain = session_ratio(reference, current, NOISE)
        scaled = session_ratio(
            [[x * scale for x in s] for s in reference], [x * scale for x in current], NOISE
        )
        assert scaled.value == pytest.approx(plain.value, abs=1e-9)
        assert scaled.standard_error == pytest.approx(plain.standard_error, rel=1e-6)
        assert scaled.df == pytest.approx(plain.df, rel=1e-6)

    @given(figures, figures)
    @LIGHT
    def test_swapping_sides_inverts_the_ratio(self, one, other):
        there = session_ratio([one], other, NOISE).interval(0.01, 0.05)
        back = session_ratio([other], one, NOISE).interval(0.05, 0.01).inverse
        assert (back.ratio, back.low, back.high) == pytest.approx((there.ratio, there.low, there.high))

    @given(sessions, figures)
    @LIGHT
    def test_rates_and_times_give_inverse_ratios(self, reference, current):
        rates = session_ratio(reference, current, NOISE)
        times = session_ratio([[1 / x for x in s] for s in reference], [1 / x for x in current], NOISE)
        assert times.value == pytest.approx(-rates.value, abs=1e-9)
        assert times.standard_error == pytest.approx(rates.standard_error)

    @given(sessions, figures, st.randoms(use_true_random=False))
    @LIGHT
    def test_order_does_not_matter(self, reference, current, random):
        shuffled = [random.sample(s, len(s)) for s in random.sample(reference, len(reference))]
        plain = session_ratio(reference, current, NOISE)
        other = session_ratio(shuffled, random.sample(current, len(current)), NOISE)
        assert other.value == pytest.approx(plain.value, abs=1e-9)
        assert other.standard_error == pytest.approx(plain.standard_error)

    @given(figure, figure, st.integers(1, 3), st.integers(1, 30), st.integers(1, 30))
    @LIGHT
    def test_more_equal_rounds_narrow_and_never_move(self, before, now, k, n, more):
        few = session_ratio([[before] * 3] * k, [now] * n, NOISE)
        many = session_ratio([[before] * 3] * k, [now] * (n + more), NOISE)
        assert many.value == pytest.approx(few.value, abs=1e-9)
        assert many.standard_error < few.standard_error
        assert width(many) < width(few)

    @given(st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=6), st.floats(1.1, 5))
    @LIGHT
    def test_wider_noise_widens(self, spread, factor):
        if np.ptp(spread) < 1e-3:
            spread = [0.0, 0.1]
        quiet = session_ratio([[1.0] * 3], [math.exp(x) for x in spread], NOISE)
        loud = session_ratio([[1.0] * 3], [math.exp(x * factor) for x in spread], NOISE)
        assert loud.standard_error > quiet.standard_error

    @pytest.mark.parametrize("at", [0, 1, 2])
    @pytest.mark.parametrize("outlier", [1e-6, 1e-3, 1e3, 1e6])
    def test_an_outlier_widens_rather_than_convinces(self, outlier, at):
        current = [1.0, 1.0, 1.0]
        current[at] = outlier
        interval = session_ratio([[1.0] * 3] * 3, current, NOISE).interval(0.001, 0.001)
        assert interval.low < 1 < interval.high

    @given(sessions, figures)
    @LIGHT
    def test_always_a_proper_estimate(self, reference, current):
        estimate = session_ratio(reference, current, NOISE)
        assert math.isfinite(estimate.value)
        assert 0 < estimate.standard_error < math.inf
        assert 0 < estimate.df < math.inf
        interval = estimate.interval(0.001, 0.05)
        assert 0 < interval.low < interval.ratio < interval.high < math.inf

    @given(sessions, figures)
    @LIGHT
    def test_degrees_of_freedom_lie_between_the_smaller_and_the_sum(self, reference, current):
        estimate = session_ratio(reference, current, NOISE)
        (_, rounds), (_, between) = self.parts(reference, current)
        assert min(rounds, between) * (1 - 1e-9) <= estimate.df <= (rounds + between) * (1 + 1e-9)

    @staticmethod
    def parts(reference, current):
        """The variances between rounds and between sessions, each with its degrees of freedom."""
        logs = [np.log(session) for session in reference]
        squares = sum(float(np.square(x - x.mean()).sum()) for x in [*logs, np.log(current)])
        seen = sum(len(session) - 1 for session in [*reference, current])
        rounds = belief(squares, seen, NOISE.round_sd, NOISE.round_weight, 0.95)
        means, k = np.array([x.mean() for x in logs]), len(logs)
        apart = float(np.square(means - means.mean()).sum())
        between = max(0.0, apart - (k - 1) * rounds[0] * float(np.mean([1 / x.size for x in logs])))
        return rounds, belief(between, k - 1, NOISE.session_sd, NOISE.session_weight, 0.99)

    @given(sessions, figures)
    @LIGHT
    def test_is_that_of_both_parts(self, reference, current):
        estimate = session_ratio(reference, current, NOISE)
        (rounds, round_df), (between, session_df) = self.parts(reference, current)
        k = len(reference)
        session_part = between * (1 + 1 / k)
        round_part = rounds * (1 / len(current) + sum(1 / len(s) for s in reference) / k**2)
        total = session_part + round_part
        assert estimate.standard_error == pytest.approx(math.sqrt(total))
        assert estimate.df == pytest.approx(
            total**2 / (session_part**2 / session_df + round_part**2 / round_df)
        )

    @pytest.mark.parametrize("bad", BAD)
    def test_bad_figures_on_either_side(self, bad):
        with pytest.raises(ValueError, match="finite and above 0"):
            session_ratio([[1.0]], bad, NOISE)
        with pytest.raises(ValueError, match="finite and above 0"):
            session_ratio([[1.0], bad], [1.0], NOISE)

    def test_no_reference_session(self):
        with pytest.raises(ValueError, match=r"^no reference session$"):
            session_ratio([], [1.0], NOISE)

    def test_the_inputs_stay_as_they_are(self):
        reference, current = [[3.0, 1.0], [2.0]], [5.0, 4.0]
        session_ratio(reference, current, NOISE)
        assert (reference, current) == ([[3.0, 1.0], [2.0]], [5.0, 4.0])


class TestBelief:
    """A prior counts for its degrees of freedom, unless the figures scatter beyond a point of F.

    That is the one of 95 % for rounds, of which there may be more; for sessions, that of 99 %.
    """

    SD = math.sqrt(2) * NOISE.round_sd  # of the difference of a pair

    @staticmethod
    def pairs(sd: float, n: int = 4):
        """Pairs whose log ratios have this standard deviation."""
        logs = np.arange(n) - (n - 1) / 2
        return list(np.exp(sd * logs / logs.std(ddof=1))), [1.0] * n

    @pytest.mark.parametrize("n", [2, 3, 4, 10])
    @pytest.mark.parametrize("weight", [0.5, 5.0, 12.0])
    def test_of_pairs_at_the_edge(self, n, weight):
        noise = replace(NOISE, round_weight=weight)
        edge = sd_at_the_limit(self.SD, n - 1, weight)
        within = paired_ratio(*self.pairs(edge * (1 - 1e-6), n), noise)
        variance = ((n - 1) * edge**2 + weight * self.SD**2) / (n - 1 + weight)
        assert within.df == n - 1 + weight
        assert within.standard_error == pytest.approx(math.sqrt(variance / n), rel=1e-5)
        beyond = paired_ratio(*self.pairs(edge * (1 + 1e-6), n), noise)
        assert beyond.df == n - 1
        assert beyond.standard_error == pytest.approx(edge / math.sqrt(n), rel=1e-5)

    def test_of_pairs_by_hand(self):
        # F(2, 5) is 5.786 at 95 %: a standard deviation of 2.41 times the believed one.
        assert paired_ratio(*self.pairs(2.40 * self.SD, 3), NOISE).df == 2 + 5
        beyond = paired_ratio(*self.pairs(2.41 * self.SD, 3), NOISE)
        assert (beyond.df, beyond.standard_error) == (2, pytest.approx(2.41 * self.SD / math.sqrt(3)))

    def test_the_point_itself_is_allowed(self):
        """Of numbers that a float holds, where `beyond` and `not below` are not the same."""
        limit = float(special.fdtri(3, 5.0, 0.95))
        assert _moderated(3 * 0.25 * limit, 3, 0.25, 5.0, 0.95)[1] == 3 + 5
        assert _moderated(math.nextafter(3 * 0.25 * limit, math.inf), 3, 0.25, 5.0, 0.95)[1] == 3

    @pytest.mark.parametrize("k", [2, 3, 8])
    def test_of_sessions_at_the_edge(self, k):
        """Means apart by what the belief just allows, beyond what the rounds explain."""
        n = 3
        rounds = NOISE.round_weight * NOISE.round_sd**2 / ((k + 1) * (n - 1) + NOISE.round_weight)
        edge = sd_at_the_limit(NOISE.session_sd, k - 1, NOISE.session_weight, 0.99)
        for factor, lost in ((1 - 1e-6, 0.0), (1 + 1e-6, NOISE.session_weight)):
            spread = math.sqrt((edge * factor) ** 2 + rounds / n)
            means, _ = self.pairs(spread, k)
            estimate = session_ratio([[mean] * n for mean in means], [1.0] * n, NOISE)
            session_df = k - 1 + NOISE.session_weight - lost
            between = edge**2 * (k - 1)
            if not lost:
                between += NOISE.session_weight * NOISE.session_sd**2
            session_part = between / session_df * (1 + 1 / k)
            round_part = rounds * (1 / n + 1 / n / k)
            round_df = (k + 1) * (n - 1) + NOISE.round_weight
            total = session_part + round_part
            assert estimate.standard_error == pytest.approx(math.sqrt(total), rel=1e-5)
            assert estimate.df == pytest.approx(
                total**2 / (session_part**2 / session_df + round_part**2 / round_df), rel=1e-5
            )

    def test_one_session_contradicts_nothing(self):
        """What sessions differ by is believed as it is: there is nothing to set against it."""
        estimate = session_ratio([[1.0] * 1000], [9.0] * 1000, NOISE)
        assert estimate.standard_error == pytest.approx(math.sqrt(2) * NOISE.session_sd, rel=1e-3)
        assert estimate.df == pytest.approx(NOISE.session_weight, rel=0.01)

    def test_less_scatter_than_is_believed_is_no_contradiction(self):
        assert paired_ratio([1.0] * 50, [1.0] * 50, NOISE).df == 49 + NOISE.round_weight

    def test_each_belief_is_dropped_by_itself(self):
        quiet = session_ratio([[1.0] * 3] * 3, [1.0] * 3, NOISE)
        sessions_apart = session_ratio([[1.0] * 3, [3.0] * 3, [9.0] * 3], [1.0] * 3, NOISE)
        rounds_apart = session_ratio([[1.0, 3.0, 9.0]] * 3, [1.0, 3.0, 9.0], NOISE)
        assert quiet.df > 12
        assert sessions_apart.df == pytest.approx(2, abs=0.1)  # of three sessions
        assert rounds_apart.df == pytest.approx(4 * 2, abs=0.2)  # of four times three rounds
        assert sessions_apart.fixed_share > 0.99 > 0.3 > rounds_apart.fixed_share

    def test_a_heavier_belief_is_contradicted_by_less(self):
        """It is surer of itself: F has a lower point with more degrees of freedom below."""
        figures = self.pairs(2.0 * self.SD)
        assert paired_ratio(*figures, replace(NOISE, round_weight=5.0)).df == 3 + 5
        assert paired_ratio(*figures, replace(NOISE, round_weight=50.0)).df == 3

    def test_noise_that_is_believed_to_be_small_is_not_hidden_by_that(self):
        """Weighed against any number of figures, a belief with a great weight would hide them all."""
        sure = replace(NOISE, round_weight=1e6, session_weight=1e6)
        one, other = self.pairs(10 * self.SD, 4)
        known = stats.ttest_rel(np.log(one), np.log(other)).confidence_interval(0.98)
        found = paired_ratio(one, other, sure).interval(0.01, 0.01)
        assert (math.log(found.low), math.log(found.high)) == pytest.approx((known.low, known.high))


class TestCoverage:
    """Where the model is true, a limit is missed as rarely as it says."""

    @pytest.mark.parametrize("k", [1, 3, 6])
    @pytest.mark.parametrize("alpha", [0.01, 0.05])
    def test_the_low_limit_is_missed_about_alpha(self, k, alpha):
        generator = np.random.default_rng(20250 + k)
        runs = 400
        missed = 0
        for _ in range(runs):
            shifts = generator.normal(0, NOISE.session_sd, k + 1)
            drawn = [np.exp(s + generator.normal(0, NOISE.round_sd, 3)) for s in shifts]
            estimate = session_ratio([list(d) for d in drawn[:-1]], list(drawn[-1]), NOISE)
            missed += estimate.interval(alpha, alpha).low > 1
        assert missed <= stats.binom.isf(1e-4, runs, alpha)

    def test_paired(self):
        generator = np.random.default_rng(7)
        runs, alpha, missed = 400, 0.05, 0
        for _ in range(runs):
            shared = generator.normal(0, 0.5, 4)
            one, other = (np.exp(shared + generator.normal(0, NOISE.round_sd, 4)) for _ in range(2))
            interval = paired_ratio(list(one), list(other), NOISE).interval(alpha, alpha)
            missed += not interval.low <= 1 <= interval.high
        assert missed <= stats.binom.isf(1e-4, runs, 2 * alpha)

    def test_median(self):
        generator = np.random.default_rng(11)
        runs, missed = 400, 0
        for _ in range(runs):
            low, high = median_interval(list(np.exp(generator.normal(0, 0.1, 7))))
            missed += not low <= 1 <= high
        assert missed <= stats.binom.isf(1e-4, runs, 0.07)  # approximately 95 %

    def test_a_prior_that_is_too_small_is_corrected_by_the_data(self):
        believed = Noise(session_sd=0.01, round_sd=0.01, session_weight=2.0, round_weight=2.0)
        generator = np.random.default_rng(13)
        drawn = [list(np.exp(generator.normal(0, 0.3, 6))) for _ in range(7)]
        estimate = session_ratio(drawn[:-1], drawn[-1], believed)
        assert (
            estimate.standard_error > 10 * session_ratio([[1.0] * 6] * 6, [1.0] * 6, believed).standard_error
        )


class TestAfterRounds:
    def test_keeps_the_value_and_narrows(self):
        reference, current = [[1.0, 1.1, 0.9]] * 3, [1.2, 1.1, 1.3]
        now = session_ratio(reference, current, NOISE)
        later = after_rounds(reference, current, NOISE, 20)
        assert later.value == now.value
        assert later.standard_error < now.standard_error

    def test_is_what_as_many_like_rounds_would_say(self):
        reference, current = [[1.0, 1.1, 0.9]], [1.2, 1.1, 1.3]
        later = after_rounds(reference, current, NOISE, 12)
        measured = session_ratio(reference, current * 4, NOISE)
        assert (later.standard_error, later.df) == (measured.standard_error, measured.df)

    @pytest.mark.parametrize("rounds", [3, 4, 5, 7, 20])
    def test_rounds_that_are_no_multiple(self, rounds):
        later = after_rounds([[1.0, 1.0]], [1.0, 1.0, 1.0], NOISE, rounds)
        assert later.standard_error == pytest.approx(
            session_ratio([[1.0, 1.0]], [1.0] * rounds, NOISE).standard_error
        )

    def test_after_as_many_as_there_are_is_now(self):
        reference, current = [[1.0, 1.1]], [1.2, 1.1, 1.3]
        assert after_rounds(reference, current, NOISE, 3) == session_ratio(reference, current, NOISE)


class TestPairedRatio:
    def test_value_is_the_mean_log_ratio(self):
        estimate = paired_ratio([2.0, 8.0], [1.0, 1.0], NOISE)
        assert math.exp(estimate.value) == pytest.approx(4.0)

    def test_without_a_prior_it_is_the_paired_t_test(self):
        one, other = [10.0, 11.0, 12.5, 9.8, 10.4], [13.0, 14.5, 12.2, 15.1, 13.3]
        estimate = paired_ratio(one, other, NO_PRIOR)
        known = stats.ttest_rel(np.log(one), np.log(other))
        limits = known.confidence_interval(0.95)
        found = estimate.interval(0.025, 0.025)
        assert estimate.df == pytest.approx(known.df)
        assert math.log(found.low) == pytest.approx(limits.low, rel=1e-6)
        assert math.log(found.high) == pytest.approx(limits.high, rel=1e-6)

    def test_one_pair_has_the_priors_error(self):
        estimate = paired_ratio([2.0], [1.0], NOISE)
        assert estimate.standard_error == pytest.approx(math.sqrt(2) * 0.08)
        assert estimate.df == NOISE.round_weight == 5.0

    def test_what_is_believed_of_sessions_does_not_matter(self):
        other = replace(NOISE, session_sd=9.0, session_weight=99.0)
        one, two = [1.0, 1.1, 1.2], [1.0, 1.05, 0.9]
        assert paired_ratio(one, two, other) == paired_ratio(one, two, NOISE)

    def test_what_hits_both_cancels(self):
        estimate = paired_ratio([2.0, 20.0, 0.2], [1.0, 10.0, 0.1], NOISE)
        assert math.exp(estimate.value) == pytest.approx(2.0)
        assert estimate.standard_error < math.sqrt(2) * 0.08 / math.sqrt(3)

    @given(st.lists(st.tuples(figure, figure), min_size=1, max_size=6))
    @LIGHT
    def test_swapping_inverts(self, pairs):
        one, other = zip(*pairs, strict=True)
        there = paired_ratio(one, other, NOISE).interval(0.01, 0.05)
        back = paired_ratio(other, one, NOISE).interval(0.05, 0.01).inverse
        assert (back.ratio, back.low, back.high) == pytest.approx((there.ratio, there.low, there.high))

    @given(st.lists(st.tuples(figure, figure, st.floats(0.1, 10)), min_size=1, max_size=6))
    @LIGHT
    def test_scaling_each_pair_changes_nothing(self, rows):
        one, other, scale = zip(*rows, strict=True)
        plain = paired_ratio(one, other, NOISE)
        scaled = paired_ratio(
            [a * s for a, s in zip(one, scale, strict=True)],
            [b * s for b, s in zip(other, scale, strict=True)],
            NOISE,
        )
        assert scaled.value == pytest.approx(plain.value, abs=1e-9)
        assert scaled.standard_error == pytest.approx(plain.standard_error, rel=1e-6)

    @given(figure, figure, st.integers(1, 20), st.integers(1, 20))
    @LIGHT
    def test_more_equal_pairs_narrow_and_never_move(self, a, b, n, more):
        few, many = (paired_ratio([a] * m, [b] * m, NOISE) for m in (n, n + more))
        assert many.value == pytest.approx(few.value, abs=1e-9)
        assert width(many) < width(few)

    @pytest.mark.parametrize("bad", BAD)
    def test_bad_figures(self, bad):
        good = [1.0] * len(bad)
        with pytest.raises(ValueError, match="finite and above 0"):
            paired_ratio(bad, good, NOISE)
        with pytest.raises(ValueError, match="finite and above 0"):
            paired_ratio(good, bad, NOISE)

    @pytest.mark.parametrize(("n", "m"), [(1, 2), (3, 2), (0, 1), (5, 1)])
    def test_unequal_counts(self, n, m):
        with pytest.raises(ValueError, match=f"{n} figures against {m}"):
            paired_ratio([1.0] * n, [1.0] * m, NOISE)


class TestPairedProduct:
    """Of several ratios measured in the same pairs, as they went together."""

    ONE, OTHER = ([2.0, 8.0, 3.0], [1.0, 2.0, 4.0]), ([1.0, 0.5, 0.6], [3.0, 3.0, 1.0])

    def test_of_one_ratio_is_that_ratio(self):
        assert paired_product([self.ONE], NOISE) == paired_ratio(*self.ONE, NOISE)

    def test_is_the_ratio_of_the_products(self):
        found = paired_product([self.ONE, self.OTHER], NOISE)
        numerator, denominator = (
            [a * b for a, b in zip(one, other, strict=True)]
            for one, other in zip(self.ONE, self.OTHER, strict=True)
        )
        known = paired_ratio(numerator, denominator, NOISE)
        assert found.value == pytest.approx(known.value)
        assert found.standard_error == pytest.approx(known.standard_error)
        assert (found.df, found.fixed_share) == (known.df, 0.0)

    def test_what_cancels_in_each_pair_is_no_noise(self):
        """Added up as if independent it would be twice as much."""
        shaken = [1.0, 2.0, 0.5, 4.0]
        flat = [1.0] * 4
        both = paired_product([(shaken, flat), (flat, shaken)], NOISE)
        assert both == paired_ratio(flat, flat, NOISE)

    def test_every_ratio_has_as_many_pairs(self):
        with pytest.raises(ValueError, match="3 figures against 2"):
            paired_product([self.ONE, ([1.0] * 3, [1.0] * 2)], NOISE)
        with pytest.raises(ValueError, match="zip"):
            paired_product([self.ONE, ([1.0] * 2, [1.0] * 2)], NOISE)


class TestKnownNoise:
    """A belief of infinite weight is knowledge: no figure contradicts it; quantiles are the normal's."""

    KNOWN = Noise(session_sd=0.07, round_sd=0.08, session_weight=math.inf, round_weight=math.inf)
    FIGURES = st.lists(figure, min_size=1, max_size=6)

    @given(FIGURES)
    @LIGHT
    def test_of_pairs_it_is_that_of_the_mean(self, now):
        estimate = paired_ratio(now, [1.0] * len(now), self.KNOWN)
        assert estimate.df == math.inf
        assert estimate.standard_error == pytest.approx(0.08 * math.sqrt(2 / len(now)))

    @given(sessions, FIGURES)
    @LIGHT
    def test_of_sessions_both_parts_are_known(self, reference, now):
        estimate = session_ratio(reference, now, self.KNOWN)
        k, sizes = len(reference), [len(one) for one in reference]
        rounds = 1 / len(now) + sum(1 / size for size in sizes) / k**2
        variance = 0.07**2 * (1 + 1 / k) + 0.08**2 * rounds
        assert estimate.df == math.inf
        assert estimate.standard_error == pytest.approx(math.sqrt(variance))

    def test_what_is_known_of_rounds_alone_leaves_the_sessions_part_unsure(self):
        estimate = session_ratio([[1.0] * 3] * 2, [1.0] * 3, replace(self.KNOWN, session_weight=12.0))
        session = (12 * 0.07**2 / 13) * 1.5
        total = session + 0.08**2 * (1 / 3 + 1 / 6)
        assert estimate.df == pytest.approx(total**2 / (session**2 / 13))

    @given(st.floats(1e-9, 0.49), st.floats(1e-9, 0.49))
    @LIGHT
    def test_limits_are_the_normals(self, low, high):
        limits = LogEstimate(0.2, 0.05, math.inf).interval(low, high)
        assert math.log(limits.low) == pytest.approx(0.2 - 0.05 * stats.norm.isf(low))
        assert math.log(limits.high) == pytest.approx(0.2 + 0.05 * stats.norm.isf(high))

    def test_two_that_are_known_are_known_together(self):
        one = LogEstimate(0.1, 0.03, math.inf, 0.2)
        assert together(one, one, 4).df == math.inf


class TestAfterPairs:
    def test_is_what_as_many_like_pairs_would_say(self):
        """But for the variance, which those would estimate anew; here the belief outweighs them."""
        noise = Noise(session_sd=0.07, round_sd=0.08, round_weight=1e6)
        one, other = [1.0, 1.1, 1.2], [1.0, 1.0, 1.0]
        now, measured = paired_ratio(one, other, noise), paired_ratio(one * 4, other * 4, noise)
        later = after_pairs(now, 3, 12)
        assert (later.value, later.df, later.fixed_share) == (now.value, measured.df, 0.0)
        assert later.standard_error == pytest.approx(measured.standard_error, rel=1e-4)
        assert later.standard_error == pytest.approx(now.standard_error / 2)

    @pytest.mark.parametrize("later", [0, 2, 3])
    def test_after_no_more_than_there_are_is_now(self, later):
        now = paired_ratio([1.0, 1.1, 1.2], [1.0, 1.0, 1.0], NOISE)
        assert after_pairs(now, 3, later) == now


class TestTogether:
    """Of the sum of two independent log ratios."""

    ONE, OTHER = LogEstimate(0.1, 0.03, 5.0, 0.2), LogEstimate(-0.3, 0.04, 7.0, 0.6)

    def test_by_hand(self):
        whole = together(self.ONE, self.OTHER, 4)
        assert whole.value == pytest.approx(-0.2)
        assert whole.standard_error == pytest.approx(0.05)
        assert whole.df == pytest.approx(0.05**4 / (0.03**4 / 5 + 0.04**4 / 7))
        # After one round it was 0.03**2 / 0.4, of which 0.2 stay; and 0.04**2 / 0.7, of which 0.6 do.
        once = 0.0009 / 0.4, 0.0016 / 0.7
        assert whole.fixed_share == pytest.approx((0.2 * once[0] + 0.6 * once[1]) / sum(once))

    @pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
    def test_two_that_are_alike(self, share):
        one = LogEstimate(0.1, 0.03, 5.0, share)
        whole = together(one, one, 7)
        assert whole.fixed_share == pytest.approx(share)
        assert whole.df == pytest.approx(10.0)

    @given(st.lists(figures, min_size=1, max_size=4), figures, st.integers(1, 9))
    @LIGHT
    def test_has_the_variance_that_both_would_have_later(self, reference, current, times):
        """Its share is right if the variance of a later look follows from it."""
        later = len(current) * times
        now, then = (
            [after_rounds(reference, current, noise, n) for noise in (NOISE, replace(NOISE, session_sd=0.01))]
            for n in (len(current), later)
        )
        whole = together(*now, len(current))
        once = whole.standard_error**2 / (whole.fixed_share + (1 - whole.fixed_share) / len(current))
        assert once == pytest.approx(
            sum(e.standard_error**2 / (e.fixed_share + (1 - e.fixed_share) / len(current)) for e in now)
        )
        assert together(*then, later).standard_error ** 2 == pytest.approx(
            sum(e.standard_error**2 for e in then)
        )

    def test_either_may_be_the_first(self):
        assert together(self.ONE, self.OTHER, 3) == together(self.OTHER, self.ONE, 3)


class TestMedianInterval:
    @pytest.mark.parametrize("n", [0, 1, 2])
    def test_none_for_fewer_than_three(self, n):
        assert median_interval([1.0] * n) is None

    def test_equal_figures_give_a_point(self):
        assert median_interval([3.0] * 5) == pytest.approx((3.0, 3.0))

    def test_by_hand(self):
        logs = [-0.1, 0.0, 0.1]  # standard deviation 0.1
        low, high = median_interval([math.exp(x) for x in logs])
        reach = 4.302653 * math.sqrt(math.pi / 2) * 0.1 / math.sqrt(3)  # t table, 2 df
        assert math.log(high) == pytest.approx(reach, rel=1e-6)
        assert math.log(low) == pytest.approx(-reach, rel=1e-6)

    @given(st.lists(figure, min_size=3, max_size=9), st.floats(0.01, 100))
    @LIGHT
    def test_scales_with_the_figures_and_holds_the_middle(self, values, scale):
        low, high = median_interval(values)
        scaled = median_interval([v * scale for v in values])
        middle = math.exp(float(np.median(np.log(values))))
        assert low <= middle * (1 + 1e-12)
        assert middle <= high * (1 + 1e-12)
        if low > 1e-250 and high < 1e250:
            assert scaled == pytest.approx((low * scale, high * scale), rel=1e-6)

    def test_more_confidence_is_wider(self):
        values = [1.0, 1.2, 0.9, 1.1]
        narrow, wide = median_interval(values, 0.8), median_interval(values, 0.99)
        assert wide[0] < narrow[0] < narrow[1] < wide[1]

    @pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
    def test_bad_figures(self, bad):
        with pytest.raises(ValueError, match="finite and above 0"):
            median_interval([1.0, 2.0, bad])

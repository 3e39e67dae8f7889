from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from builders import LIGHT
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_rayperf.judging.sequential import levels_at, nominal_level, spent

LOOKS = tuple(range(3, 21))
shares = st.floats(0, 1)
totals = st.floats(1e-7, 0.2)


def crossings(total, looks, share, power=1.0, paths=200_000, seed=1):
    """How often the estimate of an unchanged pipeline crosses a limit at any look."""
    generator = np.random.default_rng(seed)
    common = generator.standard_normal(paths) * np.sqrt(share)
    rounds = np.zeros(paths)
    crossed = np.zeros(paths, dtype=bool)
    for n in range(1, looks[-1] + 1):
        rounds += generator.standard_normal(paths) * np.sqrt(1 - share)
        if n in looks:
            z = (common + rounds / n) / np.sqrt(share + (1 - share) / n)
            crossed |= z > stats.norm.isf(nominal_level(total, looks, n, share, power))
    return crossed.mean()


class TestAllLooksTogether:
    @pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.5, 0.9, 1.0])
    @pytest.mark.parametrize("looks", [LOOKS, (3, 6, 12, 20), (1, 4), (5,)])
    def test_they_have_the_error_and_no_more(self, share, looks):
        # 200,000 paths: the standard error of a rate of 5 % is 0.05 %.
        assert crossings(0.05, looks, share) == pytest.approx(0.05, abs=0.002)

    @pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
    def test_of_two_hundred_looks(self, share):
        """As --rayperf-max-rounds allows: most of them are much like the one before, and count for more."""
        error = crossings(0.05, tuple(range(3, 201)), share, 2.0, paths=40_000)
        assert 0.04 <= error <= 0.053

    @pytest.mark.parametrize("power", [2.0, 3.0])
    def test_however_late_it_is_spent(self, power):
        assert crossings(0.05, LOOKS, 0.1, power) == pytest.approx(0.05, abs=0.002)

    def test_of_a_small_error(self):
        assert crossings(0.002, LOOKS, 0.1) == pytest.approx(0.002, abs=0.0004)

    def test_looks_at_the_full_level_would_have_more(self):
        """What the correction is for."""
        each = stats.norm.isf(0.05)
        generator = np.random.default_rng(2)
        means = generator.standard_normal((20_000, 20)).cumsum(axis=1) / np.sqrt(np.arange(1, 21))
        assert (means[:, 2:] > each).any(axis=1).mean() > 0.12


class TestLevel:
    def test_a_single_look_has_all_of_it(self):
        assert nominal_level(0.01, (5,), 5, 0.4) == pytest.approx(0.01)

    @pytest.mark.parametrize("rounds", LOOKS)
    def test_where_rounds_say_nothing_new_each_look_has_what_may_have_been_spent(self, rounds):
        """They are one look, whose estimate does not change; its time is the mean of 1 and of the rounds'."""
        time = (1 + rounds / 20) / 2
        assert nominal_level(0.01, LOOKS, rounds, 1.0) == pytest.approx(0.01 * time**2, rel=0.03)

    @pytest.mark.parametrize(("share", "level"), [(0.0, 0.58), (0.25, 0.82), (0.5, 0.92), (0.9, 0.99)])
    def test_where_they_say_little_new_the_last_look_has_nearly_all_of_it(self, share, level):
        assert nominal_level(0.05, LOOKS, 20, share) == pytest.approx(0.05 * level, rel=0.01)

    def test_pocock(self):
        """Five equally spaced looks that spend evenly: near Pocock's constant level (0.0158 two-sided)."""
        fractions = [0.2, 0.4, 0.6, 0.8, 1.0]
        levels = levels_at(fractions, spent(0.025, fractions, power=1.0))
        assert levels[0] == pytest.approx(0.005)
        assert all(0.004 < level < 0.012 for level in levels)

    @pytest.mark.parametrize(("rounds", "look"), [(1, 3), (2, 3), (4, 6), (13, 20), (99, 20)])
    def test_between_looks_it_is_the_next_one_brought_forward(self, rounds, look):
        looks = (3, 6, 12, 20)
        assert nominal_level(0.01, looks, rounds, 0.2) == nominal_level(0.01, looks, look, 0.2)

    @given(totals, shares, st.integers(1, 30))
    @LIGHT
    def test_no_look_has_more_than_all_of_it(self, total, share, rounds):
        assert 0 < nominal_level(total, LOOKS, rounds, share) <= total * (1 + 1e-9)

    def test_by_default_it_is_spent_by_the_square_of_the_information(self):
        assert nominal_level(0.01, LOOKS, 3, 0.0) == pytest.approx(0.01 * (3 / 20) ** 2)
        assert spent(0.01, [0.5, 1.0]) == pytest.approx([0.0025, 0.0075])

    def test_what_is_spent_late_leaves_the_last_look_more_and_the_first_less(self):
        evenly, late = ([nominal_level(0.01, LOOKS, n, 0.0, power) for n in (3, 20)] for power in (1.0, 2.0))
        assert late[0] == pytest.approx(0.01 * (3 / 20) ** 2)
        assert evenly[0] == pytest.approx(0.01 * 3 / 20)
        assert evenly[1] < late[1] < 0.01

    @pytest.mark.parametrize("power", [1.0, 2.0, 2.5])
    def test_all_looks_together_spend_all_of_it(self, power):
        parts = spent(0.03, [0.2, 0.7, 1.0], power)
        assert parts[0] == pytest.approx(0.03 * 0.2**power)
        assert sum(parts[:2]) == pytest.approx(0.03 * 0.7**power)
        assert sum(parts) == pytest.approx(0.03)

    @given(totals, st.floats(1.01, 3), shares, st.integers(3, 20))
    @LIGHT
    def test_more_error_to_spend_is_a_higher_level(self, total, factor, share, rounds):
        low, high = (nominal_level(t, LOOKS, rounds, share) for t in (total, total * factor))
        assert low < high

    @given(totals, st.integers(4, 20))
    @LIGHT
    def test_a_larger_common_part_leaves_later_looks_more(self, total, rounds):
        levels = [nominal_level(total, LOOKS, rounds, share / 10) for share in range(11)]
        assert all(a <= b * (1 + 1e-3) for a, b in itertools.pairwise(levels))

    def test_shares_between_two_are_taken_for_the_smaller(self):
        one, other = (nominal_level(0.01, LOOKS, 20, share) for share in (0.1, 0.1249))
        assert one == other < nominal_level(0.01, LOOKS, 20, 0.125)


class TestLevelsAt:
    def test_equal_fractions_are_taken_to_be_a_little_apart(self):
        """And what each of them spends adds up: one that crosses now did not cross by less."""
        levels = levels_at([1.0, 1.0, 1.0], [0.01, 0.02, 0.03])
        assert levels == pytest.approx([0.01, 0.03, 0.06], rel=0.02)

    def test_there_may_be_more_equal_ones_than_the_gaps_would_leave_room_for(self):
        levels = levels_at([1.0] * 3000, [1e-5] * 3000)
        assert 0.01 < levels[-1] <= 0.03

    def test_of_two_looks_by_the_bivariate_normal(self):
        """The chance to cross at the second look only, of a normal pair with the correlation sqrt(0.5)."""
        first, second = levels_at([0.5, 1.0], [0.01, 0.02])
        assert first == pytest.approx(0.01)
        limits = stats.norm.isf([first, second])
        both = stats.multivariate_normal([0, 0], [[1, math.sqrt(0.5)], [math.sqrt(0.5), 1]])
        crossed = (1 - first) - both.cdf(limits)
        assert crossed == pytest.approx(0.02, abs=1e-5)

    def test_what_may_spend_nothing_is_all_but_never_crossed(self):
        assert 0 <= levels_at([0.5, 1.0], [0.01, 0.0])[1] < 1e-12

    @pytest.mark.parametrize(("fractions", "spending"), [([0.5, 1.0], [0.01]), ([1.0], [0.01, 0.02])])
    def test_each_look_has_its_part(self, fractions, spending):
        with pytest.raises(ValueError, match="zip"):
            levels_at(fractions, spending)


class TestSpent:
    @given(totals, st.lists(st.floats(0.01, 1), min_size=1, max_size=9, unique=True))
    @LIGHT
    def test_all_of_it_and_never_a_negative_part(self, total, fractions):
        fractions = sorted(fractions)
        fractions[-1] = 1.0
        parts = spent(total, fractions)
        assert sum(parts) == pytest.approx(total)
        assert all(part >= 0 for part in parts)

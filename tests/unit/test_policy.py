from __future__ import annotations

import dataclasses
import itertools

import pytest
from builders import LIGHT
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.judging.policy import ALPHA_SHARE, BETA, GATED, Policy, look_schedule
from pytest_rayperf.metrics import CPU_PER_ROW, PEAK_MEMORY, THROUGHPUT


class TestLookSchedule:
    @pytest.mark.parametrize(
        ("least", "most", "looks"),
        [
            (3, 7, (3, 4, 5, 6, 7)),
            (3, 3, (3,)),
            (1, 1, (1,)),
            (1, 3, (1, 2, 3)),
            (20, 20, (20,)),
        ],
    )
    def test_examples(self, least, most, looks):
        assert look_schedule(least, most) == looks

    @given(st.integers(1, 100), st.integers(0, 1000))
    @LIGHT
    def test_looks_after_every_round_from_the_least_to_the_most(self, least, more):
        looks = look_schedule(least, least + more)
        assert looks[0] == least
        assert looks[-1] == least + more
        assert all(b == a + 1 for a, b in itertools.pairwise(looks))

    def test_the_default_is_the_policys(self):
        assert Policy().looks == look_schedule(3, 20)


class TestAlphaEach:
    @given(st.floats(1e-6, 0.5), st.integers(1, 500))
    @LIGHT
    def test_everything_together_is_at_most_alpha(self, alpha, comparisons):
        policy = Policy(alpha=alpha, comparisons=comparisons)
        assert sum(policy.alpha_for(m.name) for m in GATED) * comparisons <= alpha * (1 + 1e-9)

    @pytest.mark.parametrize("comparisons", [0, 1])
    def test_nothing_selected_counts_as_one(self, comparisons):
        assert sum(Policy(comparisons=comparisons).alpha_for(m.name) for m in GATED) == pytest.approx(0.01)

    def test_more_benchmarks_have_less_each(self):
        name = GATED[0].name
        assert Policy(comparisons=10).alpha_for(name) == pytest.approx(Policy().alpha_for(name) / 10)


class TestTables:
    def test_the_surest_comes_first(self):
        assert GATED[0] is CPU_PER_ROW

    def test_every_gated_metric_has_its_share_of_the_error_and_all_have_it_all(self):
        assert {metric.name for metric in GATED} == set(ALPHA_SHARE)
        assert sum(ALPHA_SHARE.values()) == pytest.approx(1.0)
        assert min(ALPHA_SHARE.values()) > 0

    def test_work_and_waiting_have_nearly_all_of_it(self):
        """A slowdown is one or the other; memory is heard, and is seldom what got worse."""
        policy = Policy(alpha=0.01, comparisons=2)
        assert policy.alpha_for(CPU_PER_ROW.name) == pytest.approx(0.0030)
        assert policy.alpha_for(THROUGHPUT.name) == pytest.approx(0.00175)
        assert policy.alpha_for(PEAK_MEMORY.name) == pytest.approx(0.00025)

    def test_beta_is_what_the_readme_says(self):
        assert BETA == 0.05

    def test_frozen(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            Policy().alpha = 1.0

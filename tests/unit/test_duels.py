from __future__ import annotations

import pytest
from builders import LIGHT, make_round
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.duels import duel_verdict
from pytest_rayperf.policy import Policy

POLICY = Policy()


def pairs(antipattern: float, fix: float, n: int = 6):
    return [(make_round(antipattern), make_round(fix)) for _ in range(n)]


def counted(*values: tuple[int | None, int | None], name: str = "model_loads"):
    def one(value):
        return make_round(counters={} if value is None else {name: value})

    return [(one(a), one(b)) for a, b in values]


def duel(rounds, metric="throughput", floor=None, equal=True, policy=POLICY):
    return duel_verdict("model_loading", metric, rounds, floor, equal, policy)


class TestStatuses:
    @pytest.mark.parametrize(
        ("antipattern", "fix", "n", "status"),
        [
            (10, 100, 6, "effect"),
            (10, 15, 20, "effect"),
            (40, 40, 20, "no effect"),
            (100, 10, 6, "reversed"),
            (40, 44, 3, "inconclusive"),
            (44, 40, 3, "inconclusive"),
        ],
    )
    def test_by_throughput(self, antipattern, fix, n, status):
        result = duel(pairs(antipattern, fix, n))
        assert result.status == status
        assert result.ratio.ratio == pytest.approx(fix / antipattern)
        assert result.ratio.low < result.ratio.ratio < result.ratio.high
        assert bool(result.reason) == (status != "effect")

    def test_a_time_is_better_when_lower(self):
        rounds = [(make_round(cpu=0.1), make_round(cpu=0.02))] * 6
        result = duel(rounds, "cpu_seconds_per_row")
        assert result.status == "effect"
        assert result.ratio.ratio == pytest.approx(5.0)

    def test_memory(self):
        rounds = [(make_round(memory=4 * 10**9), make_round(memory=10**9))] * 3
        assert duel(rounds, "peak_worker_memory").ratio.ratio == pytest.approx(4.0)

    def test_wall_time_has_the_noise_of_throughput(self):
        wall, speed = duel(pairs(10, 50), "wall_seconds"), duel(pairs(10, 50))
        assert wall.ratio.ratio == pytest.approx(speed.ratio.ratio)
        assert wall.ratio.low == pytest.approx(speed.ratio.low)

    def test_reversed_says_so(self):
        assert "the fix is worse in throughput" in duel(pairs(100, 10)).reason

    def test_the_names_come_through(self):
        result = duel(pairs(10, 100), floor=2.0)
        assert (result.antipattern, result.metric, result.floor) == ("model_loading", "throughput", 2.0)


class TestFloors:
    @pytest.mark.parametrize(
        ("floor", "status"), [(2.0, "effect"), (4.9, "effect"), (5.0, "effect"), (9.0, "below-floor")]
    )
    def test_is_missed_by_the_whole_interval(self, floor, status):
        result = duel(pairs(10, 50), floor=floor)
        assert result.status == status
        assert ("its floor is 9x" in result.reason) == (status == "below-floor")

    def test_noise_does_not_miss_it(self):
        result = duel(pairs(10, 48), floor=5.0)
        assert result.ratio.ratio < 5.0 < result.ratio.high
        assert result.status == "effect"

    def test_reversed_below_its_floor(self):
        assert duel(pairs(100, 10), floor=1.5).status == "below-floor"

    def test_a_counter_that_only_the_antipattern_has_is_an_effect_without_a_ratio(self):
        found = duel(counted((64, 0), (64, None)), "model_loads", floor=8)
        assert (found.status, found.ratio) == ("effect", None)
        assert "does not happen in the fix" in found.reason

    def test_exact_counters_have_no_slack(self):
        rounds = counted((64, 8))
        assert duel(rounds, "model_loads", floor=8.0).status == "effect"
        assert duel(rounds, "model_loads", floor=8.1).status == "below-floor"


class TestCounters:
    @pytest.mark.parametrize(
        ("bad", "good", "status"),
        [(64, 2, "effect"), (3, 2, "effect"), (2, 2, "no effect"), (1, 2, "reversed")],
    )
    def test_exact(self, bad, good, status):
        result = duel(counted((bad, good), (bad, good)), "model_loads")
        assert result.status == status
        assert result.ratio.low == result.ratio.ratio == result.ratio.high == bad / good

    def test_varying_ones_span_their_range(self):
        result = duel(counted((4, 2), (8, 2), (6, 2)), "model_loads")
        assert (result.ratio.low, result.ratio.ratio, result.ratio.high) == (2.0, 3.0, 4.0)

    def test_nothing_in_the_antipattern_is_a_reversal(self):
        assert duel(counted((0, 2)), "model_loads").status == "reversed"

    def test_rows_are_one(self):
        assert duel(pairs(10, 20, 1), "rows").status == "no effect"

    @pytest.mark.parametrize("values", [(None, 2), (2, None), (None, None)])
    @pytest.mark.parametrize(("floor", "status"), [(None, "invalid"), (2.0, "below-floor")])
    def test_not_counted(self, values, floor, status):
        result = duel(counted((4, 2), values), "model_loads", floor)
        assert (result.status, result.ratio) == (status, None)
        assert "model_loads was not measured" in result.reason


class TestMissing:
    @pytest.mark.parametrize(
        "metric", ["cpu_seconds_per_row", "peak_worker_memory", "throughput", "model_loads"]
    )
    def test_no_pairs(self, metric):
        result = duel([], metric)
        assert (result.status, result.ratio) == ("invalid", None)
        assert metric in result.reason

    def test_a_floor_that_cannot_be_held(self):
        result = duel(pairs(1, 2), "peak_worker_memory", floor=2.0)
        assert result.status == "below-floor"
        assert "cannot be held" in result.reason

    def test_pairs_that_lack_a_side_do_not_count(self):
        whole = [(make_round(memory=400), make_round(memory=100))] * 3
        lacking = [(make_round(memory=400), make_round()), (make_round(), make_round(memory=1))]
        assert duel([*whole, *lacking], "peak_worker_memory").ratio.ratio == pytest.approx(4.0)


class TestOutputs:
    @pytest.mark.parametrize("rounds", [pairs(10, 100), pairs(100, 10), pairs(40, 40), []])
    @pytest.mark.parametrize("floor", [None, 2.0])
    def test_unequal_ones_make_it_invalid(self, rounds, floor):
        result = duel(rounds, floor=floor, equal=False)
        assert (result.status, result.outputs_equal) == ("invalid", False)
        assert "outputs differ" in result.reason

    @pytest.mark.parametrize("equal", [True, None])
    def test_equal_or_not_compared(self, equal):
        result = duel(pairs(10, 100), equal=equal)
        assert (result.status, result.outputs_equal) == ("effect", equal)


class TestErrors:
    def test_more_comparisons_widen(self):
        one = duel(pairs(10, 50), policy=Policy(comparisons=1)).ratio
        many = duel(pairs(10, 50), policy=Policy(comparisons=100)).ratio
        assert many.low < one.low < one.high < many.high

    @pytest.mark.parametrize("comparisons", [0, 1])
    def test_no_comparisons_count_as_one(self, comparisons):
        assert duel(pairs(10, 50), policy=Policy(comparisons=comparisons)).status == "effect"

    @given(st.lists(st.tuples(st.floats(1e-3, 1e6), st.floats(1e-3, 1e6)), min_size=1, max_size=5))
    @LIGHT
    def test_swapping_the_variants_inverts(self, figures):
        there = duel([(make_round(a), make_round(b)) for a, b in figures]).ratio
        back = duel([(make_round(b), make_round(a)) for a, b in figures]).ratio.inverse
        assert (back.ratio, back.low, back.high) == pytest.approx((there.ratio, there.low, there.high))

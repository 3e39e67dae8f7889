from __future__ import annotations

import pytest
from builders import LIGHT, make_round
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.judging.duels import NO_EFFECT, duel_verdict, ladder_of, sweep_of
from pytest_rayperf.judging.noise import NOISE
from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.results import Interval
from pytest_rayperf.statistics import paired_ratio

POLICY = Policy()


def pairs(antipattern: float, fix: float, n: int = 6):
    return [(make_round(antipattern), make_round(fix)) for _ in range(n)]


def counted(*values: tuple[int | None, int | None], name: str = "model_loads"):
    def one(value):
        return make_round(counters={} if value is None else {name: value})

    return [(one(a), one(b)) for a, b in values]


def duel(rounds, metric="throughput", floor=None, equal=True, policy=POLICY):
    return duel_verdict("model_loading", metric, rounds, floor, equal, policy)


class TestDisturbed:
    def pairs(self, **more):
        return [(make_round(100, **more), make_round(10, disturbed="others used 38 %", **more))] * 6

    @pytest.mark.parametrize("metric", ["throughput", "cpu_seconds_per_row"])
    def test_times_are_inconclusive_and_miss_no_floor(self, metric):
        result = duel(self.pairs(), metric, floor=2.0)
        assert (result.status, result.reason) == ("inconclusive", "rounds were disturbed: others used 38 %")

    def test_counters_and_bytes_hold(self):
        disturbed = make_round(counters={"loads": 1}, figures={"bytes_written": 10.0}, disturbed="others")
        rounds = [(make_round(counters={"loads": 8}, figures={"bytes_written": 50.0}), disturbed)] * 3
        assert duel(rounds, "loads", floor=4.0).status == "effect"
        assert duel(rounds, "bytes_written", floor=4.0).status == "effect"
        assert duel(rounds, "loads", floor=9.0).status == "below-floor"


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

    @pytest.mark.parametrize(("floor", "status"), [(1.8, "effect"), (1.9, "below-floor")])
    def test_three_pairs_have_their_even_share_of_the_error(self, floor, status):
        """They may be all that a test asks for, and the error is not saved for looks that never come."""
        assert duel(pairs(40, 60, 3), floor=floor).status == status

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


def spilled(*values: tuple[float | None, float | None], name: str = "spilled_bytes"):
    def one(value):
        return make_round(figures={} if value is None else {name: value})

    return [(one(a), one(b)) for a, b in values]


class TestFiguresThatAre0:
    @pytest.mark.parametrize(
        ("values", "floor", "status", "told"),
        [
            ([(100, 0)] * 3, None, "effect", "spilled_bytes does not happen in the fix at all"),
            ([(100, 0)] * 3, 1000.0, "effect", "spilled_bytes does not happen in the fix at all"),
            ([(100, 0), (120, 10), (90, 0)], 2.0, "effect", "90 to 120 in the anti-pattern, 0 to 10 in the"),
            ([(100, 0), (0, 10)], None, "inconclusive", "too noisy to tell in spilled_bytes"),
            ([(100, 0), (0, 0)], 2.0, "inconclusive", "0 to 100 in the anti-pattern, 0 in the fix"),
            ([(30, 0), (30, 20)], 2.0, "inconclusive", "30 in the anti-pattern, 0 to 20 in the fix"),
            ([(0, 0)] * 3, None, "no effect", "it is 0 in both variants"),
            ([(0, 0)] * 3, 2.0, "below-floor", "its floor of 2x is not held"),
            ([(0, 100)] * 3, None, "reversed", "worse in spilled_bytes here: spilled_bytes 0 in the anti"),
            ([(0, 100)] * 3, 2.0, "below-floor", "its floor of 2x is not held"),
        ],
    )
    def test_have_a_status_and_a_reason_but_no_ratio(self, values, floor, status, told):
        found = duel(spilled(*values), "spilled_bytes", floor)
        assert (found.status, found.ratio) == (status, None)
        assert told in found.reason
        assert "not measured" not in found.reason

    def test_a_metric_that_is_better_when_higher(self):
        found = duel(spilled((0, 50), (0, 60), name="gpu_utilization_mean"), "gpu_utilization_mean", 2.0)
        assert (found.status, found.ratio) == ("effect", None)
        assert found.reason == "gpu_utilization_mean 0 in the anti-pattern, 50 to 60 in the fix"
        back = duel(spilled((50, 0), (60, 0), name="gpu_utilization_mean"), "gpu_utilization_mean")
        assert back.status == "reversed"

    def test_above_0_they_have_a_ratio(self):
        found = duel(spilled(*[(100, 10)] * 3), "spilled_bytes")
        assert (found.status, found.reason) == ("effect", "")
        assert found.ratio.ratio == pytest.approx(10)

    @pytest.mark.parametrize("floor", [None, 2.0])
    def test_missing_is_not_0(self, floor):
        found = duel(spilled((None, None), (None, 0)), "spilled_bytes", floor)
        assert found.status == ("below-floor" if floor else "invalid")
        assert "not measured" in found.reason

    def test_counters_that_neither_counted_a_thing(self):
        assert duel(counted((0, 0)), "model_loads").status == "no effect"
        assert duel(counted((0, 0)), "model_loads", floor=2.0).status == "below-floor"

    @given(
        st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=4),
        st.none() | st.floats(1, 10),
    )
    @LIGHT
    def test_swapping_the_variants_swaps_who_is_better(self, values, floor):
        there = duel(spilled(*values), "spilled_bytes").status
        back = duel(spilled(*[(b, a) for a, b in values]), "spilled_bytes").status
        swapped = {"effect": "reversed", "reversed": "effect"}
        assert back == swapped.get(there, there)
        with_floor = duel(spilled(*values), "spilled_bytes", floor).status
        assert with_floor in ("below-floor", "inconclusive") or with_floor == there


def steps_of(result):
    return [(step.name, step.status) for step in result.steps]


class TestLadder:
    def ladder(self, metric="throughput", n=6, **figures):
        rounds = {name: [make_round(figure)] * n for name, figure in figures.items()}
        return ladder_of("all_at_once", metric, rounds, POLICY)

    def test_each_rung_against_the_one_before(self):
        found = self.ladder(naive=10, pool=40, batch=41, worse=20)
        assert steps_of(found) == [
            ("naive", "first"),
            ("pool", "effect"),
            ("batch", "no effect"),
            ("worse", "reversed"),
        ]
        assert found.steps[0].ratio is None
        assert [s.ratio.ratio for s in found.steps[1:]] == pytest.approx([4, 41 / 40, 20 / 41])
        assert found.total.ratio == pytest.approx(2.0)
        assert found.total.low < 2.0 < found.total.high
        assert (found.name, found.metric) == ("all_at_once", "throughput")

    def test_the_order_is_the_one_given(self):
        assert [s.name for s in self.ladder(z=10, a=20, m=30).steps] == ["z", "a", "m"]

    def test_rounds_go_with_their_rung(self):
        found = self.ladder(naive=10, pool=40, n=4)
        assert [[r.throughput for r in step.rounds] for step in found.steps] == [
            pytest.approx([10] * 4),
            pytest.approx([40] * 4),
        ]

    def test_a_metric_that_is_better_when_lower(self):
        rounds = {name: [make_round(cpu=cpu)] * 3 for name, cpu in (("naive", 0.1), ("pool", 0.02))}
        found = ladder_of("it", "cpu_seconds_per_row", rounds, POLICY)
        assert found.steps[1].ratio.ratio == found.total.ratio == pytest.approx(5)

    def test_a_counter_is_exact_and_may_end_at_0(self):
        rounds = {name: [make_round(counters={"loads": n})] * 3 for name, n in (("a", 8), ("b", 2), ("c", 0))}
        found = ladder_of("it", "loads", rounds, POLICY)
        assert [s.ratio for s in found.steps] == [None, Interval(4, 4, 4), None]
        assert [s.status for s in found.steps] == ["first", "effect", "effect"]
        assert found.total is None

    def test_a_rung_that_was_not_measured(self):
        rounds = {"a": [make_round()] * 3, "b": [make_round(cpu=None)] * 3, "c": [make_round()] * 3}
        found = ladder_of("it", "cpu_seconds_per_row", rounds, POLICY)
        assert [s.status for s in found.steps] == ["first", "invalid", "invalid"]
        assert found.total.ratio == pytest.approx(1)


class TestSweep:
    def sweep(self, metric="throughput", n=6, **figures):
        return sweep_of("size", metric, {name: [make_round(f)] * n for name, f in figures.items()})

    def test_best_plateau_and_worse(self):
        found = self.sweep(a=10, b=39, c=40, d=5)
        assert (found.best, found.plateau) == ("c", ("b",))
        assert steps_of(found) == [("a", "worse"), ("b", "plateau"), ("c", "best"), ("d", "worse")]
        assert found.steps[0].ratio.ratio == pytest.approx(0.25)
        assert found.steps[2].ratio is None
        assert (found.name, found.metric, found.ended) == ("size", "throughput", "")

    def test_all_equal_are_the_first_and_its_plateau(self):
        found = self.sweep(a=40, b=40, c=40)
        assert (found.best, found.plateau) == ("a", ("b", "c"))

    def test_one_setting(self):
        found = self.sweep(a=40)
        assert (found.best, found.plateau, steps_of(found)) == ("a", (), [("a", "best")])

    def test_why_it_ended(self):
        rounds = {"a": [make_round()]}
        assert sweep_of("size", "throughput", rounds, "out of memory at b").ended == "out of memory at b"

    def test_a_metric_that_is_better_when_lower(self):
        rounds = {name: [make_round(memory=m)] * 3 for name, m in (("a", 900), ("b", 100), ("c", 101))}
        found = sweep_of("size", "peak_worker_memory", rounds)
        assert steps_of(found) == [("a", "worse"), ("b", "best"), ("c", "plateau")]
        assert found.steps[0].ratio.ratio == pytest.approx(1 / 9)

    @pytest.mark.parametrize("metric", ["peak_worker_memory", "gpu_utilization_mean"])
    def test_what_was_not_measured_is_neither_best_nor_plateau(self, metric):
        measured = make_round(memory=100, figures={"gpu_utilization_mean": 50.0})
        rounds = {"a": [make_round()] * 3, "b": [measured] * 3, "c": [make_round()] * 3}
        found = sweep_of("size", metric, rounds)
        assert (found.best, found.plateau) == ("b", ())
        assert steps_of(found) == [("a", "invalid"), ("b", "best"), ("c", "invalid")]

    def test_best_is_0_of_what_is_better_when_lower(self):
        rounds = {
            name: [make_round(figures={"spilled_bytes": b})] * 3 for name, b in (("a", 0), ("b", 0), ("c", 9))
        }
        found = sweep_of("size", "spilled_bytes", rounds)
        assert steps_of(found) == [("a", "best"), ("b", "plateau"), ("c", "worse")]

    def test_a_counter_is_better_when_lower(self):
        rounds = {name: [make_round(counters={"calls": n})] * 3 for name, n in (("a", 8), ("b", 4), ("c", 4))}
        found = sweep_of("size", "calls", rounds)
        assert steps_of(found) == [("a", "worse"), ("b", "best"), ("c", "plateau")]

    @given(st.lists(st.lists(st.floats(1, 1e4), min_size=3, max_size=3), min_size=1, max_size=5))
    @LIGHT
    def test_each_setting_is_best_in_the_plateau_or_worse(self, figures):
        rounds = {str(i): [make_round(f) for f in own] for i, own in enumerate(figures)}
        found = sweep_of("size", "throughput", rounds)
        medians = {name: sorted(r.throughput for r in own)[1] for name, own in rounds.items()}
        assert medians[found.best] == max(medians.values())
        assert [s.name for s in found.steps if s.status == "best"] == [found.best]
        for step in found.steps:
            assert (step.name in found.plateau) == (step.status == "plateau")
            assert (step.status == "worse") == (step.ratio is not None and step.ratio.high < 1)


class TestNoEffect:
    @pytest.mark.parametrize("factor", [1.0, 1.1, 1 / 1.1])
    def test_inside_the_zone_however_sure_it_is(self, factor):
        found = duel(pairs(40, 40 * factor, 300))
        assert 1 / NO_EFFECT < found.ratio.low < found.ratio.high < NO_EFFECT
        assert found.status == "no effect"

    @pytest.mark.parametrize(("factor", "status"), [(1.25, "effect"), (0.8, "reversed")])
    def test_beyond_it(self, factor, status):
        assert duel(pairs(40, 40 * factor, 300)).status == status

    def test_counters_have_no_zone(self):
        assert duel(counted((11, 10)), "model_loads").status == "effect"


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
    def test_more_comparisons_do_not_change_what_is_shown(self):
        one = duel(pairs(10, 50), policy=Policy(comparisons=1))
        many = duel(pairs(10, 50), policy=Policy(comparisons=100))
        assert one.ratio == many.ratio

    def test_more_comparisons_make_it_harder_to_miss_a_floor(self):
        shown = duel(pairs(10, 50)).ratio

        def status(floor, comparisons):
            return duel(pairs(10, 50), floor=floor, policy=Policy(comparisons=comparisons)).status

        assert status(1.02 * shown.high, 1) == "effect"  # beyond 95 %, and yet a floor fails the run
        missed = next(floor for i in range(1000) if status(floor := shown.high + i / 100, 1) != "effect")
        assert status(missed, 1) == "below-floor"
        assert status(missed, 100) == "effect"
        assert status(3 * missed, 100) == "below-floor"

    def test_the_interval_shown_has_95_percent(self):
        estimate = paired_ratio([50.0] * 6, [10.0] * 6, NOISE["throughput"])
        expected = estimate.interval(0.025, 0.025)
        shown = duel(pairs(10, 50)).ratio
        assert (shown.low, shown.high) == pytest.approx((expected.low, expected.high))

    @pytest.mark.parametrize("comparisons", [0, 1])
    def test_no_comparisons_count_as_one(self, comparisons):
        assert duel(pairs(10, 50), policy=Policy(comparisons=comparisons)).status == "effect"

    @given(st.lists(st.tuples(st.floats(1e-3, 1e6), st.floats(1e-3, 1e6)), min_size=1, max_size=5))
    @LIGHT
    def test_swapping_the_variants_inverts(self, figures):
        there = duel([(make_round(a), make_round(b)) for a, b in figures]).ratio
        back = duel([(make_round(b), make_round(a)) for a, b in figures]).ratio.inverse
        assert (back.ratio, back.low, back.high) == pytest.approx((there.ratio, there.low, there.high))

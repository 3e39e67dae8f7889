"""Several pipelines that must compute the same, and where a sweep ends."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
from builders import make_round, make_rounds

from pytest_rayperf.harness.contest import Contest, SweepLimit
from pytest_rayperf.measurement import Execution, Samples, Schedule, measure

SIDES = {"a": "rung 'a'", "b": "rung 'b'", "c": "rung 'c'"}


def samples(**outputs):
    return Samples({}, {name: {"x": np.array(values)} for name, values in outputs.items()})


class TestOutputs:
    def test_equal_of_all(self):
        contest = Contest(SIDES)
        assert contest.accept_outputs(samples(a=[1, 2], b=[2, 1], c=[1, 2]))
        assert (contest.difference, contest.compared, contest.outputs_equal) == (None, True, True)

    @pytest.mark.parametrize(
        ("outputs", "told"),
        [
            ({"a": [1, 2], "b": [1, 3], "c": [1, 2]}, "2 in rung 'a', 3 in rung 'b'"),
            ({"a": [1, 2], "b": [1, 2], "c": [1, 4]}, "2 in rung 'a', 4 in rung 'c'"),
            ({"a": [1, 2], "b": [1], "c": [1, 2]}, "2 rows in rung 'a', 1 in rung 'b'"),
        ],
    )
    def test_a_difference_is_told_with_both_sides(self, outputs, told):
        contest = Contest(SIDES)
        assert not contest.accept_outputs(samples(**outputs))
        assert told in contest.difference
        assert contest.outputs_equal is False

    def test_rows_on_one_side_alone_cannot_be_compared(self):
        """A dataset, and a write that nobody has looked at: it may have written anything."""
        one = Samples({"a": [], "b": []}, {"b": {"x": np.array([1])}})
        contest = Contest(SIDES)
        assert not contest.accept_outputs(one)
        assert contest.difference.startswith("rung 'b' gives rows, rung 'a' none to compare them with; ")
        assert contest.outputs_equal is False

    def test_of_two_writes_nothing_is_compared(self):
        contest = Contest(SIDES)
        assert contest.accept_outputs(Samples({"a": [], "b": []}, {}))
        assert contest.outputs_equal is None

    def test_one_that_was_left_out_is_missed_by_nobody(self):
        left = Samples({"a": [], "b": []}, {name: {"x": np.array([1])} for name in "ab"})
        assert Contest(SIDES).accept_outputs(left)

    @pytest.mark.parametrize(("tolerance", "equal"), [(1e-3, False), (0.02, True)])
    def test_tolerance_of_floats(self, tolerance, equal):
        contest = Contest(SIDES, tolerance=tolerance)
        assert contest.accept_outputs(samples(a=[100.0], b=[101.0])) == equal
        assert contest.outputs_equal == equal

    def test_integers_have_none(self):
        assert not Contest(SIDES, tolerance=0.5).accept_outputs(samples(a=[100], b=[101]))

    @pytest.mark.parametrize(("share", "equal"), [(0.4, False), (0.5, True)])
    def test_but_for_a_share_of_labels(self, share, equal):
        contest = Contest(SIDES, label_tolerance=share)
        assert contest.accept_outputs(samples(a=[1, 2], b=[1, 3])) == equal

    @pytest.mark.parametrize(("columns", "equal"), [((), False), (("x",), True), (("x", "y"), False)])
    def test_columns(self, columns, equal):
        outputs = {name: {"x": np.array([1]), "y": np.array([y])} for name, y in (("a", 1), ("b", 2))}
        assert Contest(SIDES, columns).accept_outputs(Samples({}, outputs)) == equal

    @pytest.mark.parametrize("outputs", [{}, {"a": [1]}, {"c": [1]}])
    def test_nothing_to_compare(self, outputs):
        contest = Contest(SIDES)
        assert contest.accept_outputs(samples(**outputs))
        assert contest.outputs_equal is None

    def test_those_that_were_fetched_are_compared(self):
        contest = Contest(SIDES)
        assert not contest.accept_outputs(samples(b=[1], c=[2]))
        assert "1 in rung 'b', 2 in rung 'c'" in contest.difference


class TestRows:
    def test_unequal_ones_are_told_by_side(self):
        contest = Contest(SIDES)
        contest.samples.rounds.update(
            a=list(make_rounds()), b=list(make_rounds()), c=list(make_rounds(rows=60))
        )
        contest.compare_rows()
        assert contest.difference == "rows [64] in rung 'a', [64] in rung 'b', [60] in rung 'c'"
        assert contest.outputs_equal is False

    def test_equal_ones_prove_nothing_of_the_outputs(self):
        contest = Contest(SIDES)
        contest.samples.rounds.update(a=[make_round()], b=[make_round()])
        contest.compare_rows()
        assert (contest.difference, contest.outputs_equal) == (None, None)

    @pytest.mark.parametrize("found", [{"difference": "x differs"}, {"error": ValueError("broken")}])
    def test_what_was_found_before_stays(self, found):
        contest = Contest(SIDES, **found)
        contest.samples.rounds.update(a=[make_round()], b=[make_round(rows=1)])
        contest.compare_rows()
        assert contest.difference == found.get("difference")


class Sweeping:
    """A sweep over settings 1, 2, 4, 8, of which some run out of memory in a given round (0: the warm-up)."""

    NAMES = ("1", "2", "4", "8")

    def __init__(self, *broken, rounds=2, error=MemoryError):
        self.limit = SweepLimit(list(self.NAMES))
        self.samples = Samples()
        self.order = []
        self._broken = broken
        self._error = error
        pipelines = {name: self.limit.guard(name, self.pipeline(name)) for name in self.NAMES}
        measure(
            pipelines,
            self,
            Schedule((rounds,), 1e9),
            self.samples,
            clock=lambda: 0.0,
            settled=lambda _: True,
            accept_outputs=lambda _: True,
            on_progress=lambda _: None,
            gives_up=self.limit.gives_up,
        )

    def pipeline(self, name):
        def run():
            round_ = self.order.count(name)
            self.order.append(name)
            if (name, round_) in self._broken:
                raise self._error(f"at {name}")

        return run

    def run(self, pipeline, *, keep_outputs, on_rows):
        pipeline()
        return Execution(make_round())

    def shipping(self, modules):
        return nullcontext()

    @property
    def kept(self):
        return [name for name in self.samples.rounds if name not in self.limit.left_out]


class TestSweepLimit:
    def test_all_fit(self):
        sweep = Sweeping()
        assert (sweep.kept, sweep.limit.left_out, sweep.limit.reason) == (list(Sweeping.NAMES), [], "")

    def test_the_settings_above_are_not_executed(self):
        sweep = Sweeping(("4", 0))
        assert sweep.order == ["1", "2", "4", "1", "2", "2", "1"]
        assert sweep.kept == list(sweep.samples.rounds) == ["1", "2"]
        assert sweep.limit.left_out == ["4", "8"]
        assert sweep.limit.reason == "out of memory at 4: at 4"

    @pytest.mark.parametrize("round_", [1, 2])
    def test_in_a_later_round_those_above_do_not_count_either(self, round_):
        sweep = Sweeping(("4", round_))
        assert sweep.kept == ["1", "2"]
        assert [len(sweep.samples.rounds[name]) for name in sweep.kept] == [2, 2]
        assert sweep.limit.reason == "out of memory at 4: at 4"

    def test_the_lowest_counts(self):
        sweep = Sweeping(("8", 0), ("2", 1))
        assert (sweep.kept, sweep.limit.reason) == (["1"], "out of memory at 2: at 2")

    @pytest.mark.parametrize("round_", [0, 1])
    def test_at_the_first_setting_it_is_an_error(self, round_):
        with pytest.raises(MemoryError, match="at 1"):
            Sweeping(("1", round_))

    def test_any_other_error_is_one(self):
        with pytest.raises(ValueError, match="at 4"):
            Sweeping(("4", 0), error=ValueError)

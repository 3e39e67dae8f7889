"""Two counts of one pipeline's work: what changed, and what explains it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import LIGHT
from hypothesis import given
from hypothesis import strategies as st
from test_work_counts import operator, works

from pytest_rayperf.work.comparison import (
    compare_work,
    counts_more,
    not_compared,
    rows_to_count_again,
    same_code,
    software_differences,
)
from pytest_rayperf.work.counts import KEPT_CALLS, Work, left_out

SOFTWARE = {"python": "3.11.7", "torch": "2.15.0"}


def work(*operators) -> Work:
    return Work(operators, SOFTWARE)


def compare(now, then):
    return compare_work(work(now), work(then))


class TestSameCode:
    @pytest.mark.parametrize(
        ("one", "other", "same"),
        [
            (operator(direct={"f": 8}), operator(direct={"f": 8}), True),
            (operator(rows=8, direct={"f": 8}), operator(rows=16, direct={"f": 16}), True),
            (operator(counts={"flops": 1}), operator(counts={"flops": 2}), True),
            (operator(direct={"f": 8}), operator(direct={"f": 9}), False),
            (operator(direct={"f": 8}), operator(direct={"g": 8}), False),
            (operator(name="A", direct={"f": 8}), operator(name="B", direct={"f": 8}), False),
        ],
    )  # fmt: skip
    def test_by_the_users_own_functions(self, one, other, same):
        assert same_code(work(one), work(other)) is same

    def test_one_operator_more(self):
        assert not same_code(work(operator()), work(operator(), operator(name="B")))

    @LIGHT
    @given(works)
    def test_itself_with_other_software(self, one):
        assert same_code(one, replace(one, software={"torch": "x"}))


class TestCountsMore:
    @pytest.mark.parametrize(
        ("now", "then", "more"),
        [
            (operator(counts={"flops": 1}), operator(counts={"flops": 2}), False),
            (operator(counts={"flops": 1}), operator(counts={"flops": 2, "slept": 0}), False),
            (operator(counts={"flops": 1, "slept": 0}), operator(counts={"flops": 1}), True),
            (operator(construction={"slept": 0}), operator(construction={}), True),
            (operator(construction={"slept": 0}), operator(counts={"slept": 0}), False),
        ],
    )
    def test_a_counter_that_no_operator_had(self, now, then, more):
        assert counts_more(work(operator(name="A"), now), work(operator(name="A"), then)) is more

    def test_what_one_operator_had_was_counted(self):
        had = work(operator(counts={"slept": 0}), operator(name="B", counts={}))
        assert not counts_more(work(operator(counts={}), operator(name="B", counts={"slept": 0})), had)

    @pytest.mark.parametrize("part", [{}, {"construction": True}])
    def test_what_was_left_out_was_looked_at(self, part):
        now, then = operator(counts={"slept": 0}), operator(counts={})
        notes = (left_out("MapBatches(f)", "slept", "1 or 2", **part),)
        assert not counts_more(work(now), replace(work(then), undetermined=notes))
        notes = (left_out("MapBatches(f)", "slept_long", "1 or 2", **part),)
        assert counts_more(work(now), replace(work(then), undetermined=notes))


class TestRows:
    """Of the data: a pass over others shares what is done once a block among more, or fewer."""

    def test_are_those_of_the_first_operator(self):
        assert work(operator(rows=8), operator(name="B", rows=16)).rows == 8
        assert work().rows == 0

    def test_are_not_the_paths_that_are_listed(self):
        assert work(operator(name="ListFiles", rows=2), operator(name="ReadFiles", rows=16)).rows == 16

    @pytest.mark.parametrize(
        ("now", "then", "again"), [(16, 16, None), (32, 16, 16), (16, 32, 32), (16, 0, None)]
    )
    def test_counted_again_where_they_are_others(self, now, then, again):
        earlier = work(operator(rows=then)) if then else work()
        assert rows_to_count_again(work(operator(rows=now)), earlier) == again

    def test_others_do_not_gate(self):
        once = {"python_calls": 160}
        changes = compare(operator(rows=32, counts=once), operator(rows=16, counts=once))
        assert [(c.counter, c.gates) for c in changes] == [("rows", False), ("python_calls", False)]
        assert all(c.explanation.endswith(" (of other rows: 16 -> 32)") for c in changes)

    def test_more_of_them_for_a_later_operator_gate(self):
        read = operator(name="Read", rows=16)
        (change,) = compare_work(
            work(read, operator(rows=32, counts={})), work(read, operator(rows=16, counts={}))
        )
        assert (change.counter, change.ratio, change.gates, change.regression) == ("rows", 2.0, True, True)


class TestCounters:
    @LIGHT
    @given(works)
    def test_nothing_changed(self, one):
        assert compare_work(one, one) == ()

    @LIGHT
    @given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(1, 100), st.integers(1, 100))
    def test_the_smallest_change_a_row_is_one(self, now, then, rows, other_rows):
        changes = compare(
            operator(rows=rows, counts={"flops": now}), operator(rows=other_rows, counts={"flops": then})
        )
        assert ("flops" in {change.counter for change in changes}) == (now * other_rows != then * rows)
        assert ("rows" in {change.counter for change in changes}) == (rows != other_rows)

    @pytest.mark.parametrize(
        ("now", "then", "worse"), [(9, 8, True), (8, 9, False), (1, 0, True), (0, 1, False)]
    )
    def test_more_work_is_a_regression(self, now, then, worse):
        (change,) = compare(operator(counts={"flops": now}), operator(counts={"flops": then}))
        assert (change.operator, change.counter, change.unit) == ("MapBatches(f)", "flops", "a row")
        assert (change.now, change.then) == (now / 8, then / 8)
        assert change.ratio == (None if then == 0 else now / then)
        assert change.regression is worse
        assert change.gates

    @pytest.mark.parametrize(
        ("counter", "margin"),
        [("allocated_bytes", 5), ("python_calls", 10), ("flops", 0), ("slept_microseconds", 0)],
    )
    @pytest.mark.parametrize("sign", [1, -1])
    def test_some_have_a_margin(self, counter, margin, sign):
        """Of 1000: a helper that is called in a function does not make it slow."""
        within, beyond = (
            compare(operator(counts={counter: 1000 + sign * by}), operator(counts={counter: 1000}))
            for by in (margin - (sign < 0 < margin), margin + 1)
        )
        assert within == ()
        assert len(beyond) == 1

    def test_a_construction_is_compared_as_a_whole(self):
        (change,) = compare(
            operator(rows=9, construction={"model_loads": 2}),
            operator(rows=9, construction={"model_loads": 1}),
        )
        assert (change.unit, change.now, change.then) == ("a construction", 2, 1)
        assert change.explanation == "MapBatches(f): model loads a construction 2.00x (1 -> 2)"

    def test_a_counter_of_one_side_is_passed_over_and_named(self):
        now, then = work(operator(counts={"flops": 1})), work(operator(counts={"loads": 1}))
        assert compare_work(now, then) == ()
        assert not_compared(now, then) == (
            "MapBatches(f): FLOPs not counted then",
            "MapBatches(f): loads not counted now",
        )

    def test_without_rows_there_is_no_amount_a_row(self):
        changes = compare(operator(rows=0, counts={"flops": 5}), operator(rows=8, counts={"flops": 5}))
        assert [change.counter for change in changes] == ["rows"]


class TestOperators:
    def test_a_new_one_and_a_lost_one(self):
        a, b = operator("Map(a)"), operator("Map(b)")
        (new,) = compare_work(work(a, b), work(a))
        assert (new.operator, new.counter, new.now, new.then) == ("Map(b)", "operators", 1, None)
        assert new.regression
        (lost,) = compare_work(work(a), work(a, b))
        assert (lost.operator, lost.now, lost.then, lost.regression) == ("Map(b)", None, 1, False)

    def test_a_renamed_one_is_compared(self):
        (change,) = compare(operator("Map(b)", counts={"flops": 9}), operator("Map(a)", counts={"flops": 8}))
        assert change.explanation.startswith("Map(b) (was Map(a)): FLOPs a row")


class TestSoftware:
    def test_the_same_gates(self):
        assert software_differences(work(), work()) == ()

    def test_another_is_shown_and_does_not_gate(self):
        now = Work((operator(counts={"flops": 9}),), {**SOFTWARE, "torch": "2.16.0", "numpy": "2.4"})
        (change,) = compare_work(now, work(operator(counts={"flops": 8})))
        assert not change.gates
        assert change.explanation.endswith("(with other software: torch 2.15.0 -> 2.16.0, numpy none -> 2.4)")

    def test_what_no_count_depends_on_is_no_difference(self):
        assert software_differences(Work((), {**SOFTWARE, "pytest": "9"}), work()) == ()


class TestExplanation:
    COMPOSE = "torchvision.transforms.transforms.Compose.__init__"

    def test_the_users_own_calls_come_first(self):
        (change,) = compare(
            operator(
                counts={"python_calls": 80},
                calls={"torch.nn.Module.__setattr__": 48, self.COMPOSE: 8},
                direct={self.COMPOSE: 8},
            ),
            operator(counts={"python_calls": 20}, calls={"torch.nn.Module.__setattr__": 8}),
        )
        assert change.explanation == (
            "MapBatches(f): Python calls a row 4.00x (2.5 -> 10): "
            f"{self.COMPOSE} called 0 -> 1 times a row; torch.nn.Module.__setattr__ called 1 -> 6 times a row"
        )

    def test_less_work_is_explained_by_what_is_called_less(self):
        (change,) = compare(
            operator(counts={"flops": 8}, direct={"f": 8, "g": 16}),
            operator(counts={"flops": 16}, direct={"f": 16, "g": 8}),
        )
        assert "f called 2 -> 1 times a row" in change.explanation
        assert "g called" not in change.explanation

    def test_what_a_list_was_cut_off_before_is_not_said_to_be_new(self):
        full = {f"f{i:03}": 9 for i in range(KEPT_CALLS)}
        (change,) = compare(
            operator(counts={"flops": 9}, calls={**full, "late": 9}),
            operator(counts={"flops": 8}, calls=full),
        )
        assert "late" not in change.explanation

    def test_a_small_change_shows(self):
        (change,) = compare(operator(counts={"flops": 10_001}), operator(counts={"flops": 10_000}))
        assert "1.0001x" in change.explanation

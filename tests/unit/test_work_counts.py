"""The data of work counters, its JSON, and what several passes agree on."""

from __future__ import annotations

import copy
import json

import pytest
from builders import LIGHT
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.errors import BaselineError
from pytest_rayperf.work.counts import (
    OperatorWork,
    Work,
    WorkUncountable,
    merge_passes,
    work_from_json,
    work_to_json,
)

amounts = st.dictionaries(st.text(max_size=8), st.integers(0, 10**15), max_size=4)
operators = st.builds(
    OperatorWork,
    name=st.text(max_size=8),
    rows=st.integers(0, 1000),
    construction=amounts,
    counts=amounts,
    calls=amounts,
    direct=amounts,
)
works = st.builds(
    Work,
    operators=st.lists(operators, max_size=3, unique_by=lambda one: one.name).map(tuple),
    software=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
    undetermined=st.lists(st.text(max_size=8), max_size=3, unique=True).map(tuple),
)


def operator(name: str = "MapBatches(f)", rows: int = 8, **parts) -> OperatorWork:
    return OperatorWork(name, rows, **{"construction": {}, "counts": {}, "calls": {}, "direct": {}, **parts})


class TestJson:
    @LIGHT
    @given(works)
    def test_what_was_written_is_read(self, work):
        assert work_from_json(json.loads(json.dumps(work_to_json(work), sort_keys=True))) == work

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            (("operators",), None, r"work\.operators must be a list, found None"),
            (("operators", 0), [], r"work\.operators\[0\] must be an object"),
            (("operators", 0, "name"), 3, r"work\.operators\[0\]\.name must be a text, found 3"),
            (("operators", 0, "rows"), -1, r"rows must be a whole number, 0 or more, found -1"),
            (("operators", 0, "rows"), 2**63, r"rows must be below 2\*\*63, found 9223372036854775808"),
            (("operators", 0, "rows"), True, r"rows must be a whole number"),
            (
                ("operators", 0, "counts", "flops"),
                1.5,
                r"operators\[0\]\.counts\.flops must be a whole number",
            ),
            (("operators", 0, "construction"), None, r"construction must be an object"),
            (("operators", 0, "direct"), [1], r"direct must be an object"),
            (("software", "torch"), None, r"work\.software\.torch must be a text"),
            (("undetermined", 0), {}, r"work\.undetermined\[0\] must be a text"),
        ],
    )
    def test_what_is_wrong_is_named(self, path, value, message):
        data = copy.deepcopy(work_to_json(Work((operator(counts={"flops": 1}),), {"torch": "2"}, ("note",))))
        part = data
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = value
        with pytest.raises(BaselineError, match=message):
            work_from_json(data)

    @pytest.mark.parametrize("data", [None, [], "work", 3])
    def test_what_is_no_work(self, data):
        with pytest.raises(BaselineError, match="sessions' work must be an object"):
            work_from_json(data, "sessions' work")


class TestMerge:
    @LIGHT
    @given(works, st.integers(1, 4))
    def test_equal_passes_are_their_pass(self, work, times):
        assert merge_passes([work] * times) == work

    def test_what_differs_is_left_out_and_named(self):
        merged = merge_passes(
            [Work((operator(counts={"flops": 1, "python_calls": amount}),), {}) for amount in (20, 20, 24)]
        )
        assert merged.operators[0].counts == {"flops": 1}
        assert merged.undetermined == ("MapBatches(f): python_calls: 20 or 24",)

    def test_what_one_did_not_count_is_left_out(self):
        merged = merge_passes([Work((operator(construction=one),), {}) for one in ({"flops": 3}, {})])
        assert merged.operators[0].construction == {}
        assert merged.undetermined == ("MapBatches(f), construction: flops: 3 or not counted",)

    def test_functions_that_differ_stay_as_the_fewest(self):
        merged = merge_passes(
            [Work((operator(calls=calls, direct=calls),), {}) for calls in ({"f": 3, "g": 1}, {"f": 2})]
        )
        assert merged.operators[0].calls == merged.operators[0].direct == {"f": 2, "g": 1}

    def test_a_note_of_both_passes_is_there_once(self):
        assert merge_passes([Work((), {}, ("a", "b")), Work((), {}, ("b",))]).undetermined == ("a", "b")

    @pytest.mark.parametrize("other", [(), (operator(rows=7),), (operator("Map(g)"),)])
    def test_passes_over_other_rows_or_operators(self, other):
        with pytest.raises(WorkUncountable, match=r"MapBatches\(f\) 8 rows and"):
            merge_passes([Work((operator(),), {}), Work(other, {})])

    def test_no_pass(self):
        with pytest.raises(ValueError, match="no pass"):
            merge_passes([])

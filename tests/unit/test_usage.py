"""What a test gives to `rayperf` is looked at before anything is executed."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pytest_rayperf.errors import UsageInTestError
from pytest_rayperf.usage import (
    by_name,
    check_pattern,
    check_pipelines,
    check_switch,
    check_type,
    floors_of,
    rounds_or_none,
    rows_or_none,
    whole,
)


def refused(text):
    return pytest.raises(UsageInTestError, match=re.escape(text))


def pipeline():
    return None


def test_pipelines_can_be_called():
    check_pipelines({"fix": pipeline})
    with refused("rayperf: fix is a list, and must be a function that takes nothing"):
        check_pipelines({"antipattern": pipeline, "fix": []})


class TestNames:
    def test_a_setting_is_named_as_it_is_written(self):
        assert list(by_name("sweep", {8: pipeline, 16: pipeline, "all": pipeline})) == ["8", "16", "all"]

    def test_two_of_one_name_would_be_one_pipeline(self):
        with refused("rayperf.sweep: two of [8, '8'] have one name"):
            by_name("sweep", {8: pipeline, "8": pipeline})

    def test_each_is_a_pipeline(self):
        with refused("rayperf: 16 is a int, and must be a function"):
            by_name("ladder", {8: pipeline, 16: 16})

    def test_names_are_needed(self):
        with refused("rayperf.ladder got a list, and needs a mapping of name to pipeline"):
            by_name("ladder", [pipeline, pipeline])


class TestNumbers:
    def test_numpys_are_pythons(self):
        """What is in a report must be JSON's."""
        found = [whole("rounds", np.int64(3), 1), rounds_or_none(np.int32(2)), rows_or_none(np.uint8(64))]
        assert found == [3, 2, 64]
        assert {type(one) for one in found} == {int}
        assert [type(floor) for floor in floors_of({"a": np.float32(1.5), "b": np.int64(2)}).values()] == [
            float
        ] * 2

    def test_none_is_no_demand(self):
        assert rounds_or_none(None) is rows_or_none(None) is None
        assert (rounds_or_none(1), rows_or_none(0), whole("warm_ups", 0, 0)) == (1, 0, 0)

    @pytest.mark.parametrize("value", [0, -1, 1.5, "3", True])
    def test_no_rounds(self, value):
        with refused(f"rayperf: rounds={value!r}: must be a whole number, 1 or more"):
            rounds_or_none(value)

    @pytest.mark.parametrize("value", [-1, 64.0, "64"])
    def test_no_rows(self, value):
        with refused(f"rayperf: expected_rows={value!r}: must be a whole number, 0 or more"):
            rows_or_none(value)

    @pytest.mark.parametrize("value", [-1, 0.5, "1", False, None])
    def test_no_warm_ups(self, value):
        """Fewer than none would leave the outputs uncompared."""
        with refused(f"rayperf: warm_ups={value!r}: must be a whole number, 0 or more"):
            whole("warm_ups", value, 0)


@pytest.mark.parametrize("value", ["no", 0, 1, None])
def test_a_switch_is_true_or_false(value):
    check_switch("timed", True)
    check_switch("timed", False)
    with refused(f"rayperf: timed={value!r}: must be True or False"):
        check_switch("timed", value)


@pytest.mark.parametrize("floor", [float("nan"), float("inf"), -1, 0, "2", None])
def test_a_floor_is_a_factor(floor):
    assert floors_of({"throughput": 1.5, "model_loads": 2}) == {"throughput": 1.5, "model_loads": 2.0}
    assert floors_of(None) == {}
    with refused("must be a factor above 0, such as 1.5"):
        floors_of({"throughput": floor})


class TestPatterns:
    def test_what_is_none_is_told_with_how_to_find_it_as_it_stands(self):
        check_pattern("raises", r"allowed: \d")
        with refused("rayperf.raises: match='drv (': must be a regular expression") as told:
            check_pattern("raises", "drv (")
        assert str(told.value).endswith("; to find it as it stands: re.escape('drv (')")

    @pytest.mark.parametrize("match", [None, b"x", "a{99999999999}"])
    def test_what_none_can_be(self, match):
        with refused(f"rayperf.warns: match={match!r}: must be a regular expression"):
            check_pattern("warns", match)


@pytest.mark.parametrize("value", ["ValueError", None, ValueError("x"), KeyboardInterrupt, int])
def test_an_error_is_a_class_of_them(value):
    check_type("raises", "error", ValueError, Exception)
    with refused(
        f"rayperf.raises: error={value!r}: must be a class derived from Exception, such as ValueError"
    ):
        check_type("raises", "error", value, Exception)


def test_a_category_is_one_of_warnings():
    check_type("warns", "category", DeprecationWarning, Warning)
    with refused("must be a class derived from Warning, such as UserWarning"):
        check_type("warns", "category", ValueError, Warning)

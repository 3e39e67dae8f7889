"""The JSON report and its schema: each says what the other has."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files

import jsonschema
import pytest
from reported import FULL, full_round, full_run, report_of

from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.metrics import CPU_PER_ROW
from pytest_rayperf.reports import json as json_report
from pytest_rayperf.selftest import Condition, Selftest, examine

SCHEMA = json.loads(files("pytest_rayperf.reports").joinpath("report.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def problems(report):
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(report)]


def undescribed(value, schema, where="$"):
    """Paths in `value` that the schema does not name, and names of the schema that nothing has."""
    if "$ref" in schema:
        schema = {**SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], **{}}
    if "anyOf" in schema:
        schema = schema["anyOf"][0]
        if value is None:
            return
        yield from undescribed(value, schema, where)
        return
    if isinstance(value, dict):
        names = schema.get("properties")
        if names is None:
            of_each = schema.get("additionalProperties")
            if of_each is not None:
                for key, one in value.items():
                    yield from undescribed(one, of_each, f"{where}.{key}")
            return
        yield from (f"{where}.{key}" for key in value.keys() - names.keys())
        for key in value.keys() & names.keys():
            yield from undescribed(value[key], names[key], f"{where}.{key}")
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from undescribed(one, schema.get("items", {}), f"{where}[{index}]")


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("keep", [0, 1, 2, 99])
def test_a_report_is_valid_however_much_was_measured(keep):
    run = full_run()
    less = replace(run, benchmarks=run.benchmarks[:keep], duels=run.duels[:keep], history=None)
    assert problems(report_of(less)) == []


def test_the_full_report_is_valid_and_every_key_of_it_is_described():
    assert problems(FULL) == []
    assert list(undescribed(FULL, SCHEMA)) == []


SELFTEST = Selftest(
    "test_it.py::test_pipe",
    "pipe",
    Policy(),
    (
        examine(
            Condition("same", "", CPU_PER_ROW, 1.0, ((full_round(), full_round(41.0, 0.021)),) * 8),
            Policy(),
            20,
        ),
        examine(
            Condition("CPU", "1 ms", CPU_PER_ROW, None, ((full_round(), full_round()),) * 2), Policy(), 20
        ),
    ),
    "the time was up",
    "Classify",
    ("38 % of the CPU was used by others",),
)


def test_so_is_that_on_a_selftest():
    report = report_of(full_run(selftests=(SELFTEST,)))
    assert problems(report) == []
    assert list(undescribed(report, SCHEMA)) == []
    played, unplayed = report["selftest"][0]["conditions"]
    assert played["regressed"] is not None
    assert unplayed["regressed"] is None


def test_a_rendered_report_is_the_same():
    assert json.loads(json_report.render(FULL)) == json.loads(json.dumps(FULL))
    assert problems(json.loads(json_report.render(FULL))) == []


@pytest.mark.parametrize(
    ("break_it", "where"),
    [
        (lambda r: r.pop("summary"), "$"),
        (lambda r: r.update(schema_version=2), "$.schema_version"),
        (lambda r: r["benchmarks"][0]["verdict"].update(status="slow"), "$.benchmarks[0].verdict.status"),
        (lambda r: r["benchmarks"][0]["rounds"].update(throughput="40"), "$.benchmarks[0].rounds.throughput"),
        (lambda r: r["duels"][0].pop("floor"), "$.duels[0]"),
    ],
)
def test_a_broken_one_is_refused(break_it, where):
    report = json.loads(json.dumps(FULL))
    break_it(report)
    assert any(problem.startswith(f"{where}:") for problem in problems(report))

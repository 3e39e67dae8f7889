from __future__ import annotations

import copy
import json
import os
import threading

import pytest
from builders import LIGHT
from hypothesis import given, settings
from mutated import contract_alone, mutations_of
from reported import FULL
from test_report_schema import VALIDATOR

from pytest_rayperf.advising.advice import situation_of
from pytest_rayperf.advising.symptoms import symptoms
from pytest_rayperf.errors import ConfigurationError
from pytest_rayperf.offline import runfile
from pytest_rayperf.offline.runfile import read_run
from pytest_rayperf.reports import json as json_report
from pytest_rayperf.reports.rows import headline, rows_of
from pytest_rayperf.reports.schema import Unfit, conform

WHOLE = json.loads(json_report.render(FULL))


@pytest.fixture
def write(tmp_path):
    def write(report):
        path = tmp_path / "run.json"
        path.write_text(report if isinstance(report, str) else json.dumps(report), encoding="utf-8")
        return path

    return write


def problem(path):
    with pytest.raises(ConfigurationError) as caught:
        read_run(path)
    return str(caught.value)


class TestWhole:
    def test_is_read_as_it_is(self, write):
        assert read_run(write(WHOLE)) == WHOLE

    def test_with_the_mark_that_powershell_writes(self, tmp_path):
        path = tmp_path / "run.json"
        path.write_bytes(b"\xef\xbb\xbf" + json.dumps(WHOLE).encode())
        assert read_run(path) == WHOLE

    def test_out_of_a_pipe(self, tmp_path):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_text, args=(json.dumps(WHOLE),))
        writer.start()
        assert read_run(pipe) == WHOLE
        writer.join()

    def test_what_a_newer_version_added_is_passed_over(self, write):
        more = copy.deepcopy(WHOLE)
        more["benchmarks"][0]["colour"] = {"red": [1]}
        assert read_run(write(more)) == more

    def test_what_stands_in_it_twice_is_named(self, write):
        """Of two lists of benchmarks the first would be lost without a word."""
        text = json.dumps(WHOLE)
        said = problem(write(text[:-1] + ', "benchmarks": []}'))
        assert "no JSON ('benchmarks' stands in it twice)" in said

    def test_whole_numbers_may_be_written_with_a_point(self, write):
        more = copy.deepcopy(WHOLE)
        more["benchmarks"][0]["counters"]["rows"] = 64.0
        assert repr(read_run(write(more))["benchmarks"][0]["counters"]["rows"]) == "64"


class TestContractAlone:
    def test_lacks_nothing_but_what_nobody_measured(self, write):
        read = read_run(write(contract_alone(WHOLE)))
        assert read.keys() == WHOLE.keys()
        for benchmark, whole in zip(read["benchmarks"], WHOLE["benchmarks"], strict=True):
            assert benchmark.keys() == whole.keys()
            assert benchmark["slug"] == whole["slug"]  # it follows from the id
            assert benchmark["timed"] is True
            assert [benchmark[key] for key in ("subject", "probe", "work", "duel", "history")] == [None] * 5
            assert [benchmark[key] for key in ("limits", "counters_by_round")] == [{}, {}]
            assert [benchmark[key] for key in ("disturbed", "operators_by_round", "latency")] == [[], [], []]

    def test_is_valid_but_for_the_machines_size(self, write):
        read = dict(read_run(write(contract_alone(WHOLE))))
        read["environment"] = WHOLE["environment"]
        assert list(VALIDATOR.iter_errors(read)) == []

    def test_its_verdicts_are_counted(self, write):
        less = contract_alone(WHOLE)
        del less["summary"]
        assert read_run(write(less))["summary"] == WHOLE["summary"]

    def test_two_variants_of_one_id_have_two_slugs(self, write):
        less = contract_alone(WHOLE)
        for benchmark in less["benchmarks"][:2]:
            benchmark["id"] = "tests/test_a.py::test_b"
        slugs = [benchmark["slug"] for benchmark in read_run(write(less))["benchmarks"][:2]]
        assert slugs == ["tests.a.b-antipattern", "tests.a.b-fix"]

    def test_null_for_a_list_or_an_object_is_as_if_it_were_not_there(self, write):
        less = contract_alone(WHOLE)
        less["duels"] = less["software"] = less["benchmarks"][0]["counters"] = None
        read = read_run(write(less))
        assert (read["duels"], read["software"], read["benchmarks"][0]["counters"]) == ([], {}, {})


class TestBad:
    TEXTS = {  # noqa: RUF012 - not changed
        "": "is truncated, or no JSON",
        '{"schema_version": 1, "benchm': "is truncated, or no JSON",
        "[" * 100_000: "is nested too deep",
        '{"schema_version": 1, "duration_s": NaN}': "NaN is no number of JSON's",
        '{"schema_version": 1, "duration_s": 1e999}': "1e999 is no number that a computer has",
        "[]": "has no schema_version",
        "{}": "has no schema_version",
        '"text"': "has no schema_version",
        '{"schema_version": true}': "has no schema_version",
        '{"schema_version": "1"}': "has no schema_version",
        '{"machine_info": {}, "benchmarks": [], "version": "5.0"}': "has no schema_version",
        '{"schema_version": 0}': "schema_version must be one of 1, found 0",
        '{"schema_version": 2}': "schema_version 2 is newer than what this pytest-rayperf reads, 1; upgrade",
        '{"schema_version": 1, "sessions": []}': "is a baseline, not a report; name the folder of baselines",
        '{"schema_version": 1}': "is missing",
    }

    @pytest.mark.parametrize("text", TEXTS, ids=list(TEXTS.values()))
    def test_text(self, write, text):
        path = write(text)
        assert problem(path).startswith(f"{path}: ")
        assert self.TEXTS[text] in problem(path)

    VALUES = (
        (lambda r: r.pop("benchmarks"), "benchmarks is missing"),
        (lambda r: r.update(benchmarks=None), "benchmarks is missing"),
        (lambda r: r.update(benchmarks={}), "benchmarks must be a list, found {}"),
        (lambda r: r.update(environment=[]), "environment must be an object, found []"),
        (lambda r: r["environment"].pop("id"), "environment.id is missing"),
        (lambda r: r["environment"].update(cores="2"), "environment.cores must be a whole number"),
        (lambda r: r["data"].update(images=-1), "data.images must be a whole number or null"),
        (lambda r: r.update(duration_s=10**101), "duration_s must be within 1e+100, found 1000"),
        (lambda r: r["policy"].update(alpha=[]), "policy.alpha must be a number"),
        (lambda r: r["benchmarks"].insert(0, 7), "benchmarks[0] must be an object, found 7"),
        (lambda r: r["benchmarks"][1].pop("id"), "benchmarks[1].id is missing"),
        (lambda r: r["benchmarks"][1].pop("verdict"), "benchmarks[1].verdict.status is missing"),
        (lambda r: r["benchmarks"][1]["counters"].update(x="1"), "benchmarks[1].counters.x must be a whole"),
        (lambda r: r["benchmarks"][1]["metrics"].update(x=1), "benchmarks[1].metrics.x must be an object"),
        (lambda r: r["benchmarks"][1].update(operators={}), "benchmarks[1].operators must be a list"),
        (lambda r: r["benchmarks"][1].update(operators=[{}]), "benchmarks[1].operators[0].name is missing"),
        (
            lambda r: r["benchmarks"][1]["verdict"].update(status="slow"),
            "benchmarks[1].verdict.status must be one of regressed, invalid, ",
        ),
        (
            lambda r: r["benchmarks"][1]["verdict"].update(ci=[1]),
            "benchmarks[1].verdict.ci must be a list of 2, found [1]",
        ),
        (
            lambda r: r["benchmarks"][1]["rounds"].update(throughput=[1.0, None]),
            "benchmarks[1] has not one number of rounds: 2 in rounds.throughput and 3 in",
        ),
        (
            lambda r: r["benchmarks"][1]["rounds"]["throughput"].__setitem__(2, "fast"),
            "benchmarks[1].rounds.throughput[2] must be a number or null, found 'fast'",
        ),
        (
            lambda r: r["benchmarks"][1]["utilization"]["cpu"].pop(),
            "benchmarks[1] has a utilization with more or fewer figures than seconds",
        ),
        (
            lambda r: r["benchmarks"][1]["utilization"].update(round=9),
            "benchmarks[1] has the utilization of round 9, which is none of its rounds",
        ),
        (
            lambda r: r["benchmarks"][1].update(work=json.loads('{"a":' * 60 + "1" + "}" * 60)),
            "benchmarks[1].work has more than 40 levels",
        ),
    )

    @pytest.mark.parametrize(("spoil", "told"), VALUES, ids=[told for _, told in VALUES])
    def test_value(self, write, spoil, told):
        report = copy.deepcopy(WHOLE)
        spoil(report)
        path = write(report)
        said = problem(path)
        assert said.startswith(f"{path}: {told}")
        assert said.endswith("; make one with: pytest --rayperf --rayperf-json RUN.json")

    def test_truncated_anywhere(self, write):
        text = json.dumps(WHOLE)
        for length in range(0, len(text), 997):
            assert "is truncated, or no JSON" in problem(write(text[:length]))

    def test_no_text(self, tmp_path):
        (tmp_path / "run.json").write_bytes(b"\xff\xfe\x00")
        assert "is not a report, but no text" in problem(tmp_path / "run.json")

    def test_missing(self, tmp_path):
        assert "none.json: cannot be read: No such file" in problem(tmp_path / "none.json")

    def test_a_folder(self, tmp_path):
        assert "cannot be read: Is a directory" in problem(tmp_path)

    def test_a_name_that_no_file_can_have(self, tmp_path):
        assert "cannot be read: " in problem(tmp_path / "a\0b")
        assert "cannot be read: File name too long" in problem(tmp_path / ("a" * 300))

    def test_too_large_to_be_one(self, write, monkeypatch):
        monkeypatch.setattr(runfile, "LARGEST_FILE", 100)
        assert "is not a report, for it is larger than 1 GiB" in problem(write(WHOLE))


def read_or_refused(report):
    """What is read of it; None where it is refused."""
    try:
        return conform(report)
    except Unfit as unfit:
        told = unfit.text()
    assert told
    return None


@given(mutations_of(WHOLE))
@settings(LIGHT, max_examples=200)
def test_whatever_is_changed_it_is_refused_or_can_be_worked_with(changed):
    read = read_or_refused(changed.made())
    if read is not None:
        assert len(rows_of(read)) == len(read["benchmarks"])
        assert headline(read)
        assert json_report.render(read)
        symptoms(read)
        situation_of(read, 1)


@given(mutations_of(contract_alone(WHOLE)))
@settings(LIGHT, max_examples=20)
def test_what_is_read_is_valid_but_for_the_machines_size(changed):
    read = read_or_refused(changed.made())
    if read is not None:
        read["environment"] = WHOLE["environment"]
        assert list(VALIDATOR.iter_errors(json.loads(json_report.render(read)))) == []

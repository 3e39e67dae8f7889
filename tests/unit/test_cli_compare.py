from __future__ import annotations

import json
import types

import pytest
from builders import PROBE, make_session
from test_rejudging import OTHER, benchmark, near, report, stored

from pytest_rayperf.baselines.format import to_json
from pytest_rayperf.cli import main
from pytest_rayperf.commands.outcome import REGRESSED, USAGE_ERROR
from pytest_rayperf.reports import json as json_report
from pytest_rayperf.reports import terminal

SLOW = report(benchmark(near(20, 0.06)))


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def _summary(monkeypatch):
    """A summary of a line a benchmark in the place of the terminal's."""

    def lines_of(given, accepted=()):
        line = types.SimpleNamespace
        return [line(text=f"{b['slug']} {b['verdict']['status']}", style="bad") for b in given["benchmarks"]]

    monkeypatch.setattr(terminal, "lines_of", lines_of, raising=False)


@pytest.fixture
def write(tmp_path):
    def write(name, given):
        (tmp_path / name).write_text(json_report.render(given), encoding="utf-8")
        return name

    return write


def write_baselines(tmp_path, environment="cpu-2", **more):
    folder = tmp_path / "baselines" / environment
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.json").write_text(to_json(stored(environment, **more).baseline))
    return folder


def compare(capsys, *arguments):
    status = main(["compare", *map(str, arguments), "--format", "json"])
    out, err = capsys.readouterr()
    return status, json.loads(out) if out else None, err


class TestExitStatus:
    def test_0_where_nothing_is_worse(self, write, capsys):
        status, result, err = compare(capsys, write("old", report()), write("new", report()))
        assert (status, err) == (0, "")
        assert result["summary"]["regressed"] == 0

    def test_1_where_something_is(self, write, capsys):
        status, result, _ = compare(capsys, write("old", report()), write("new", SLOW))
        assert (status, result["summary"]["regressed"]) == (REGRESSED, 1)

    def test_0_under_a_threshold_that_allows_it(self, write, capsys):
        arguments = [write("old", report()), write("new", SLOW), "--max-slowdown", "9"]
        assert compare(capsys, *arguments)[0] == 0

    def test_0_for_what_is_new(self, write, capsys):
        arguments = [write("old", report(benchmark(test="b"))), write("new", report())]
        status, result, _ = compare(capsys, *arguments)
        assert (status, result["summary"]["no-baseline"]) == (0, 1)

    def test_0_for_another_machine(self, write, capsys):
        arguments = [write("old", report(environment=OTHER)), write("new", SLOW)]
        status, result, _ = compare(capsys, *arguments)
        assert (status, result["summary"]["incomparable"]) == (0, 1)

    def test_alpha_is_handed_on(self, write, capsys):
        arguments = [write("old", report()), write("new", report()), "--alpha", "0.5"]
        assert compare(capsys, *arguments)[1]["policy"]["alpha"] == 0.5


@pytest.mark.usefixtures("_summary")
class TestTable:
    def test_is_the_runs_own_with_what_is_gone(self, write, capsys):
        old = report(benchmark(), benchmark(test="b"))
        assert main(["compare", write("old", old), write("new", SLOW)]) == REGRESSED
        out = capsys.readouterr().out
        assert out == "a regressed\ngone: tests/test_b.py::test_b is in old, and not in new\n"

    def test_the_runs_warnings_are_notes(self, write, capsys):
        main(
            ["compare", write("old", report()), write("new", report(warnings=("PSI is \x1b[31m not seen",)))]
        )
        assert capsys.readouterr().out.splitlines()[-1] == r"note: PSI is \x1b[31m not seen"

    def test_in_colour_on_a_terminal(self, write, capsys, monkeypatch):
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
        arguments = ["compare", write("old", report()), write("new", SLOW)]
        main(arguments)
        assert capsys.readouterr().out == "\x1b[31ma regressed\x1b[0m\n"
        monkeypatch.setenv("NO_COLOR", "1")
        main(arguments)
        assert capsys.readouterr().out == "a regressed\n"


class TestBaselines:
    @pytest.mark.parametrize("folder", ["baselines", "baselines/", "baselines/cpu-2"])
    def test_of_the_runs_environment(self, tmp_path, write, capsys, folder):
        write_baselines(tmp_path)
        status, result, _ = compare(capsys, folder, write("new", SLOW))
        assert status == REGRESSED
        assert result["benchmarks"][0]["baseline"] == "baselines/cpu-2/a.json"

    def test_of_another_one(self, tmp_path, write, capsys):
        write_baselines(tmp_path, "gpu-8")
        status, result, _ = compare(capsys, "baselines", write("new", SLOW))
        assert (status, result["summary"]["no-baseline"]) == (0, 1)
        status, result, _ = compare(capsys, "baselines/gpu-8", write("new", SLOW))
        assert (status, result["summary"]["incomparable"]) == (0, 1)
        assert "another environment, gpu-8" in result["benchmarks"][0]["verdict"]["reason"]

    def test_of_another_one_by_what_is_in_it(self, tmp_path, write, capsys):
        folder = write_baselines(tmp_path)
        folder.rename(folder.with_name("gpu-8"))
        new = report(environment=OTHER)
        status, _, err = compare(capsys, "baselines", write("new", new))
        assert status == USAGE_ERROR
        assert "baselines/gpu-8/a.json: was measured on 'cpu-2', by what is in it; move it" in err
        assert compare(capsys, "baselines/gpu-8", write("new", new))[0] == 0  # that one, whatever it is

    def test_of_many_sessions(self, tmp_path, write, capsys):
        sessions = [make_session(near(), probe=PROBE) for _ in range(12)]
        write_baselines(tmp_path, sessions=sessions)
        new = report(benchmark(near(n=12)))
        result = compare(capsys, "baselines", write("new", new), "--max-slowdown", "1.3")[1]
        assert result["summary"]["unchanged"] == 1

    def test_none(self, tmp_path, write, capsys):
        (tmp_path / "baselines").mkdir()
        status, _, err = compare(capsys, "baselines", write("new", report()))
        assert status == USAGE_ERROR
        assert "baselines: has no baselines, neither of its own" in err

    def test_a_broken_one(self, tmp_path, write, capsys):
        (write_baselines(tmp_path) / "b.json").write_text("{")
        status, _, err = compare(capsys, "baselines", write("new", report()))
        assert status == USAGE_ERROR
        assert err.startswith("rayperf: error: baselines/cpu-2/b.json: is not whole JSON")


class TestBadInput:
    @pytest.mark.parametrize("which", [0, 1])
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            (None, "cannot be read: No such file or directory"),
            ("", "is truncated, or no JSON"),
            ("{}", "is not a report of pytest-rayperf"),
            ('{"schema_version": 99}', "schema_version 99 is newer"),
            ('{"schema_version": 1}', "is missing; make one with"),
        ],
    )
    def test_names_the_file_and_the_mend(self, tmp_path, write, capsys, which, text, told):
        names = [write("old", report()), write("new", report())]
        (tmp_path / "bad").unlink(missing_ok=True)
        if text is not None:
            (tmp_path / "bad").write_text(text)
        names[which] = "bad"
        status, _, err = compare(capsys, *names)
        assert status == USAGE_ERROR
        assert err.startswith("rayperf: error: bad: ")
        assert told in err

    def test_one_baseline_is_no_run(self, tmp_path, write, capsys):
        path = write_baselines(tmp_path) / "a.json"
        status, _, err = compare(capsys, path, write("new", report()))
        assert status == USAGE_ERROR
        assert "is a baseline, not a report; name the folder of baselines" in err

    def test_a_folder_for_the_new_one(self, tmp_path, write, capsys):
        status, _, err = compare(capsys, write("old", report()), tmp_path)
        assert status == USAGE_ERROR
        assert "NEW must be a JSON report, and is a folder" in err
        assert "rayperf compare BASELINES RUN.json" in err

    def test_a_policy_that_no_run_has(self, write, capsys):
        bad = report(policy={"max_slowdown": 0.9})
        status, _, err = compare(capsys, write("old", report()), write("new", bad))
        assert status == USAGE_ERROR
        assert err.startswith("rayperf: error: new: policy.max_slowdown must be a number")

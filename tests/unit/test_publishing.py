from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from builders import make_baseline, make_options
from reported import full_run, report_of

from pytest_rayperf import history, publishing
from pytest_rayperf.baseline_format import to_json
from pytest_rayperf.publishing import STEP_SUMMARY, publish
from pytest_rayperf.reports import html, markdown

REPORT = report_of(full_run(history={}))
"""Without a history: nothing was ever accepted where these tests are run."""


def never():
    raise AssertionError("nothing was asked for, and everything was computed")


def test_nothing_asked_for_nothing_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert publish(make_options(), never, {}) == []
    assert publish(make_options(), never, {STEP_SUMMARY: ""}) == []
    assert list(tmp_path.iterdir()) == []


def test_each_report_goes_where_it_was_asked_for(tmp_path):
    paths = {kind: tmp_path / f"run.{kind}" for kind in ("json", "markdown", "html")}
    assert publish(make_options(**paths, baselines=tmp_path / "none"), full_run, {}) == []
    assert json.loads(paths["json"].read_text("utf-8")) == json.loads(json.dumps(REPORT))
    assert paths["markdown"].read_text("utf-8") == markdown.render(REPORT)
    assert paths["html"].read_text("utf-8") == html.render(REPORT, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(paths.values())


def test_a_step_summary_is_appended_to(tmp_path):
    summary = tmp_path / "summary.md"
    summary.write_text("# Of another step\n", encoding="utf-8")
    environ = {STEP_SUMMARY: str(summary)}
    assert publish(make_options(baselines=tmp_path), full_run, environ) == []
    assert summary.read_text("utf-8") == "# Of another step\n" + markdown.render(REPORT)
    assert publish(make_options(baselines=tmp_path), full_run, environ) == []
    assert summary.read_text("utf-8").count(markdown.render(REPORT)) == 2


def test_what_cannot_be_written_is_said_and_keeps_nothing_else(tmp_path):
    there = tmp_path / "run.html"
    problems = publish(
        make_options(json=tmp_path / "no" / "run.json", html=there), full_run, {STEP_SUMMARY: str(tmp_path)}
    )
    assert [problem.partition(":")[0] for problem in problems] == [
        f"--rayperf-json {tmp_path / 'no' / 'run.json'}",
        f"$GITHUB_STEP_SUMMARY {tmp_path}",
    ]
    assert all("cannot be written" in problem for problem in problems)
    assert there.is_file()


def broken(*_):
    raise OverflowError("int too large\nto convert")


@pytest.mark.parametrize("kind", ["json", "markdown", "html"])
def test_what_cannot_be_made_is_said_and_keeps_nothing_else(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(publishing, f"as_{kind}", broken)
    paths = {each: tmp_path / f"run.{each}" for each in ("json", "markdown", "html")}
    problems = publish(make_options(**paths, baselines=tmp_path / "none"), full_run, {})
    said = f"--rayperf-{kind} {paths[kind]}: could not be made (OverflowError: int too large to convert)"
    assert problems == [said]
    assert sorted(tmp_path.iterdir()) == sorted(path for each, path in paths.items() if each != kind)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (OverflowError("too large"), "could not be made (OverflowError: too large)"),
        (PermissionError(13, "Permission denied"), "cannot be read (Permission denied)"),
    ],
)
def test_reports_are_made_without_a_history_that_cannot_be_read(tmp_path, monkeypatch, raised, said):
    def fail(*_):
        raise raised

    monkeypatch.setattr(history, "history_of", fail)
    path = tmp_path / "run.json"
    problems = publish(make_options(json=path, baselines=tmp_path), lambda: full_run(history=None), {})
    assert problems == [f"the history of {tmp_path}: {said}"]
    found = json.loads(path.read_text("utf-8"))["benchmarks"]
    assert [one["history"] for one in found] == [None] * len(found)


def test_the_users_interrupt_is_no_problem_of_a_report(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(publishing, "as_json", interrupt)
    with pytest.raises(KeyboardInterrupt):
        publish(make_options(json=tmp_path / "run.json", baselines=tmp_path), full_run, {})


def test_the_history_of_the_baselines_is_in_it(tmp_path):
    run = full_run()
    folder = tmp_path / "baselines" / run.environment.id
    folder.mkdir(parents=True)
    (folder / "model_loading-fix.json").write_text(to_json(make_baseline()), encoding="utf-8")
    path = tmp_path / "run.json"
    assert publish(make_options(json=path, baselines=tmp_path / "baselines"), lambda: run, {}) == []
    found = {b["slug"]: b["history"] for b in json.loads(path.read_text("utf-8"))["benchmarks"]}
    (point,) = found.pop("model_loading-fix")
    assert point["commit"] == "abc123"
    assert point["throughput"] == pytest.approx(40.0)
    assert set(map(str, found.values())) == {"[]"}


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_disk_that_is_full_leaves_the_old_report(tmp_path, monkeypatch, where):
    path = tmp_path / "run.json"
    path.write_text("old", encoding="utf-8")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if where == "fsync" else Path, where, fail)
    (problem,) = publish(make_options(json=path), full_run, {})
    assert problem == f"--rayperf-json {path}: cannot be written (No space left on device)"
    assert path.read_text("utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "run.json"
    link.symlink_to(tmp_path / "real" / "run.json")
    assert publish(make_options(json=link), full_run, {}) == []
    assert link.is_symlink()
    assert json.loads((tmp_path / "real" / "run.json").read_text("utf-8"))["schema_version"] == 1


def test_to_what_is_no_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        publishing.write_whole(pipe, "report")
        assert os.read(reader, 100) == b"report"
    finally:
        os.close(reader)

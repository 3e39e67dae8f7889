from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from builders import make_options, make_run
from markdown_it import MarkdownIt
from reported import FULL

from pytest_rayperf import publishing
from pytest_rayperf.publishing import STEP_SUMMARY, Interim, Problem, publish
from pytest_rayperf.reports import html, markdown


def test_nothing_asked_for_nothing_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert publish(make_options(), FULL, {}) == []
    assert publish(make_options(), FULL, {STEP_SUMMARY: ""}) == []
    assert list(tmp_path.iterdir()) == []


def test_each_report_goes_where_it_was_asked_for(tmp_path):
    paths = {kind: tmp_path / f"run.{kind}" for kind in ("json", "markdown", "html")}
    assert publish(make_options(**paths), FULL, {}) == []
    assert json.loads(paths["json"].read_text("utf-8")) == json.loads(json.dumps(FULL))
    assert paths["markdown"].read_text("utf-8") == markdown.render(FULL)
    assert paths["html"].read_text("utf-8") == html.render(FULL, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(paths.values())


def test_a_step_summary_is_appended_to(tmp_path):
    summary = tmp_path / "summary.md"
    summary.write_text("# Of another step\n", encoding="utf-8")
    environ = {STEP_SUMMARY: str(summary)}
    assert publish(make_options(), FULL, environ) == []
    assert summary.read_text("utf-8") == "# Of another step\n\n\n" + markdown.render(FULL)
    assert publish(make_options(), FULL, environ) == []
    text = summary.read_text("utf-8")
    assert text.count(markdown.render(FULL)) == 2
    headings = [token for token in MarkdownIt("commonmark").parse(text) if token.type == "heading_open"]
    assert [heading.tag for heading in headings if heading.tag != "h3"] == ["h1", "h2", "h2"]


@pytest.mark.parametrize("there", [True, False])
def test_an_empty_step_summary_begins_with_the_report(tmp_path, there):
    summary = tmp_path / "summary.md"
    if there:
        summary.touch()
    assert publish(make_options(), FULL, {STEP_SUMMARY: str(summary)}) == []
    assert summary.read_text("utf-8") == markdown.render(FULL)


def test_what_cannot_be_written_is_said_and_keeps_nothing_else(tmp_path):
    there = tmp_path / "run.html"
    problems = publish(
        make_options(json=tmp_path / "no" / "run.json", html=there), FULL, {STEP_SUMMARY: str(tmp_path)}
    )
    assert [(problem.text.partition(":")[0], problem.asked) for problem in problems] == [
        (f"--rayperf-json {tmp_path / 'no' / 'run.json'}", True),
        (f"$GITHUB_STEP_SUMMARY {tmp_path}", False),
    ]
    assert all("cannot be written" in problem.text for problem in problems)
    assert there.is_file()


def broken(*_):
    raise OverflowError("int too large\nto convert")


@pytest.mark.parametrize("kind", ["json", "markdown", "html"])
def test_what_cannot_be_made_is_said_and_keeps_nothing_else(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(publishing, f"as_{kind}", broken)
    paths = {each: tmp_path / f"run.{each}" for each in ("json", "markdown", "html")}
    problems = publish(make_options(**paths), FULL, {})
    said = f"--rayperf-{kind} {paths[kind]}: could not be made (OverflowError: int too large to convert)"
    assert problems == [Problem(said, asked=True)]
    assert sorted(tmp_path.iterdir()) == sorted(path for each, path in paths.items() if each != kind)


def test_the_users_interrupt_is_no_problem_of_a_report(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(publishing, "as_json", interrupt)
    with pytest.raises(KeyboardInterrupt):
        publish(make_options(json=tmp_path / "run.json"), FULL, {})


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_disk_that_is_full_leaves_the_old_report(tmp_path, monkeypatch, where):
    path = tmp_path / "run.json"
    path.write_text("old", encoding="utf-8")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if where == "fsync" else Path, where, fail)
    (problem,) = publish(make_options(json=path), FULL, {})
    assert problem.text == f"--rayperf-json {path}: cannot be written (No space left on device)"
    assert path.read_text("utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "run.json"
    link.symlink_to(tmp_path / "real" / "run.json")
    assert publish(make_options(json=link), FULL, {}) == []
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


class TestInterim:
    """Between tests: at once, then now and then."""

    @pytest.fixture
    def interim(self, tmp_path):
        self.now, self.cost, self.written = 0.0, 0.0, 0
        self.path = tmp_path / "run.json"
        return Interim(self.path, clock=lambda: self.now)

    def run(self):
        self.now += self.cost
        self.written += 1
        return make_run()

    def at(self, interim, now):
        self.now = now
        interim.write(self.run)
        return self.written

    def test_every_ten_seconds_at_the_most(self, interim):
        assert [self.at(interim, now) for now in (0, 9, 10, 15, 19, 21)] == [1, 1, 2, 2, 2, 3]
        assert json.loads(self.path.read_text("utf-8"))["schema_version"] == 1

    def test_less_often_where_it_takes_long(self, interim):
        self.cost = 1.0
        assert [self.at(interim, now) for now in (0, 40, 50, 52)] == [1, 1, 1, 2]

    def test_what_is_no_file_is_for_the_last_one(self, interim):
        os.mkfifo(self.path)
        assert self.at(interim, 0) == 0

    def test_what_fails_is_the_last_one_s_to_say(self, interim, monkeypatch):
        def fails(report):
            raise KeyError("a figure")

        monkeypatch.setattr(publishing, "as_json", fails)
        interim.write(self.run)
        assert not self.path.exists()

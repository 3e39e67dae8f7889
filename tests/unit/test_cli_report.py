from __future__ import annotations

import json
import os
import sys
import threading
import types
from pathlib import Path

import pytest
from reported import FULL

from pytest_rayperf import reports
from pytest_rayperf.cli import main
from pytest_rayperf.commands.outcome import USAGE_ERROR
from pytest_rayperf.reports import json as json_report
from pytest_rayperf.reports import terminal


@pytest.fixture(autouse=True)
def _renderers(monkeypatch):
    """Short ones in the place of the terminal's, Markdown's and HTML's, which have tests of their own."""
    line = types.SimpleNamespace(text="the table", style="")
    monkeypatch.setattr(terminal, "lines_of", lambda report, accepted=(): [line], raising=False)
    for name, render in (
        ("markdown", lambda report: f"# {len(report['benchmarks'])} …\n"),
        ("html", lambda report, folder=None: f"<p>{len(report['benchmarks'])} in {folder}</p>\n"),
    ):
        module = types.ModuleType(f"pytest_rayperf.reports.{name}")
        module.render = render
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(reports, name, module, raising=False)


@pytest.fixture(autouse=True)
def run_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "run.json"
    path.write_text(json_report.render(FULL), encoding="utf-8")
    return path


def said(capsys, *arguments):
    status = main(["report", "run.json", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


class TestPrints:
    def test_the_table_and_the_notes(self, capsys):
        assert said(capsys) == (0, "the table\nnote: PSI is not to be seen here\n", "")

    def test_markdown(self, capsys):
        assert said(capsys, "--format", "markdown") == (0, "# 8 …\n", "")

    def test_json(self, capsys):
        status, out, _ = said(capsys, "--format", "json")
        assert status == 0
        assert json.loads(out) == json.loads(json_report.render(FULL))


class TestWrites:
    def test_both_and_says_so(self, tmp_path, capsys):
        assert said(capsys, "--html", "out.html", "--markdown", tmp_path / "out.md") == (
            0,
            f"out.html: written\n{tmp_path}/out.md: written\n",
            "",
        )
        assert (tmp_path / "out.html").read_text() == "<p>8 in .</p>\n"
        assert (tmp_path / "out.md").read_text(encoding="utf-8") == "# 8 …\n"

    def test_links_are_relative_to_where_it_lies(self, tmp_path, capsys):
        (tmp_path / "deep").mkdir()
        said(capsys, "--html", "deep/out.html")
        assert (tmp_path / "deep" / "out.html").read_text() == "<p>8 in deep</p>\n"

    def test_and_prints_where_that_is_asked_for_too(self, capsys):
        status, out, _ = said(capsys, "--html", "out.html", "--format", "table")
        assert (status, out.splitlines()[:2]) == (0, ["out.html: written", "the table"])

    def test_over_what_was_there(self, tmp_path, capsys):
        (tmp_path / "out.md").write_text("old")
        assert said(capsys, "--markdown", "out.md")[0] == 0
        assert (tmp_path / "out.md").read_text(encoding="utf-8") == "# 8 …\n"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out.md", "run.json"]

    def test_into_a_pipe(self, tmp_path, capsys):
        os.mkfifo(tmp_path / "pipe")
        read = []
        reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text(encoding="utf-8")))
        reader.start()
        assert said(capsys, "--markdown", "pipe")[0] == 0
        reader.join()
        assert read == ["# 8 …\n"]


class TestRefuses:
    @pytest.mark.parametrize("option", ["--html", "--markdown"])
    @pytest.mark.parametrize("name", ["run.json", "./run.json", "link.json", "hard.json", "sub/../run.json"])
    def test_to_overwrite_the_run(self, tmp_path, run_file, capsys, option, name):
        (tmp_path / "link.json").symlink_to(run_file)
        os.link(run_file, tmp_path / "hard.json")
        (tmp_path / "sub").mkdir()
        before = run_file.read_bytes()
        status, out, err = said(capsys, option, name)
        assert (status, out) == (USAGE_ERROR, "")
        assert f"{option} {Path(name)}: is RUN.json too, which would be lost; name another file" in err
        assert run_file.read_bytes() == before

    def test_one_file_for_two(self, tmp_path, capsys):
        status, _, err = said(capsys, "--html", "out", "--markdown", tmp_path / "out")
        assert status == USAGE_ERROR
        assert f"--markdown {tmp_path}/out: is --html too" in err
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            (".", "--html .: is a folder; name a file in it"),
            ("none/out.html", "--html none/out.html: the folder none does not exist; make it"),
            ("run.json/out.html", "the folder run.json does not exist"),
        ],
    )
    def test_what_is_no_place_for_a_file(self, tmp_path, capsys, name, told):
        status, out, err = said(capsys, "--html", name, "--markdown", "out.md")
        assert (status, out) == (USAGE_ERROR, "")
        assert told in err
        assert not (tmp_path / "out.md").exists()  # found before anything is written

    def test_a_name_that_no_file_can_have(self, capsys):
        for name in ("a\0b", "a" * 300):
            status, _, err = said(capsys, "--html", name)
            assert status == USAGE_ERROR
            assert "cannot be written" in err

    def test_a_run_that_is_none(self, run_file, tmp_path, capsys):
        run_file.write_text("{}")
        status, _, err = said(capsys, "--html", "out.html")
        assert status == USAGE_ERROR
        assert "run.json: is not a report of pytest-rayperf" in err
        assert not (tmp_path / "out.html").exists()


def test_what_cannot_be_written_keeps_nothing_else_from_being(tmp_path, capsys, monkeypatch):
    from pytest_rayperf.commands import report

    real = report.write_whole

    def full(path, text):
        if path.name == "out.html":
            raise OSError(28, "No space left on device")
        real(path, text)

    monkeypatch.setattr(report, "write_whole", full)
    status, out, err = said(capsys, "--html", "out.html", "--markdown", "out.md", "--format", "table")
    assert status == USAGE_ERROR
    assert err == "rayperf: error: --html out.html: cannot be written (No space left on device)\n"
    assert out.startswith("out.md: written\nthe table\n")

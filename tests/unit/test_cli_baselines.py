from __future__ import annotations

import json

import pytest
from builders import SUBJECT, make_session
from test_history import git, project  # noqa: F401 - fixtures
from test_stored import sessions, write

from pytest_rayperf.baselines.format import read_baseline
from pytest_rayperf.cli import main
from pytest_rayperf.commands.outcome import USAGE_ERROR


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("")
    return tmp_path / "baselines"


def said(capsys, *arguments):
    status = main(["baselines", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


def as_json(capsys, *arguments):
    status, out, _ = said(capsys, *arguments, "--format", "json")
    assert status == 0
    return json.loads(out)


class TestList:
    def test_table(self, folder, capsys):
        write(folder, variant="fix", id="tests/test_a.py::test_a[fix]")
        assert said(capsys, "list") == (
            0,
            "cpu-2: 1 baselines\n"
            "\n"
            "baseline    sessions    rounds    recorded          commit\n"
            "----------  ----------  --------  ----------------  --------\n"
            "a           3           9         2025-01-02 03:04  2\n",
            "",
        )

    def test_of_two_environments(self, folder, capsys):
        write(folder)
        write(folder, environment="gpu-8")
        write(folder, "b", environment="gpu-8", id="b")
        _, out, _ = said(capsys, "list")
        assert "cpu-2: 1 baselines" in out
        assert "gpu-8: 2 baselines" in out
        assert "also in" in out
        assert "b           3" not in said(capsys, "list", "--environment", "cpu-2")[1]

    def test_markdown_is_harmless(self, folder, capsys):
        write(folder, id="tests/test_a.py::test_a[<script>|\n]", variant="fix")
        _, out, _ = said(capsys, "list", "--format", "markdown")
        assert "&#60;script&#62;&#124;" in out
        assert "<script>" not in out
        assert out.splitlines()[2].startswith("| baseline")

    def test_json(self, folder, capsys):
        write(folder)
        (one,) = as_json(capsys, "list")
        assert (one["slug"], one["environments"], one["file"]) == ("a", ["cpu-2"], "baselines/cpu-2/a.json")

    def test_none(self, folder, capsys):
        folder.mkdir()
        assert said(capsys, "list") == (0, "no baselines in baselines\n", "")
        assert as_json(capsys, "list") == []

    def test_what_is_broken_is_said_beside_what_is_not(self, folder, capsys):
        write(folder)
        (folder / "cpu-2" / "b.json").write_text("{")
        status, out, err = said(capsys, "list")
        assert status == USAGE_ERROR
        assert "a           3" in out
        assert err.startswith("rayperf: error: baselines/cpu-2/b.json: is not whole JSON")

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--baselines", "none"], "none: there is no such folder"),
            (["--baselines", "tests/test_a.py"], "tests/test_a.py: is a file, not a folder of baselines"),
            (["--environment", "x"], "has no environment 'x'; it has: cpu-2"),
        ],
    )
    def test_no_folder(self, folder, capsys, arguments, told):
        write(folder)
        status, out, err = said(capsys, "list", *arguments)
        assert (status, out) == (USAGE_ERROR, "")
        assert told in err


class TestShow:
    def test_table(self, folder, capsys):
        write(folder)
        _, out, _ = said(capsys, "show", "a")
        assert out.startswith(
            "test: tests/test_a.py::test_a\nfile: baselines/cpu-2/a.json\nmeasured: quick, synthetic"
        )
        assert "counters of the last session: rows 64\n" in out
        assert "software of the last session: python 3.11.9, ray 2.51.1, torch 2.9.0\n" in out
        assert out.count("2025-01-02 03:04") == 3

    def test_a_hostile_name_moves_nothing(self, folder, capsys):
        write(folder, id="tests/test_a.py::test_a[\x1b[31m]", variant="fix")
        _, out, _ = said(capsys, "show", "a")
        assert out.startswith(r"test: tests/test_a.py::test_a[\x1b[31m] (fix)")

    def test_markdown(self, folder, capsys):
        write(folder)
        _, out, _ = said(capsys, "show", "a", "--format", "markdown")
        assert "| test " in out
        assert "\n\n| recorded " in out

    def test_json(self, folder, capsys):
        write(folder)
        shown = as_json(capsys, "show", "tests/test_a.py::test_a")
        assert shown["subject"]["images"] == SUBJECT.images
        assert [one["throughput"] for one in shown["sessions"]] == [40.0] * 3

    @pytest.mark.parametrize("action", ["show", "history"])
    def test_one_that_is_not_there(self, folder, capsys, action):
        write(folder)
        status, _, err = said(capsys, action, "b")
        assert (status, err) == (
            USAGE_ERROR,
            "rayperf: error: b: no such baseline in baselines; see: rayperf baselines list\n",
        )

    @pytest.mark.parametrize("action", ["show", "history"])
    def test_one_that_is_broken(self, folder, capsys, action):
        write(folder)
        (folder / "cpu-2" / "b.json").write_text("{")
        status, _, err = said(capsys, action, "b")
        assert status == USAGE_ERROR
        assert err.startswith("rayperf: error: baselines/cpu-2/b.json: is not whole JSON")
        assert said(capsys, action, "a")[0] == 0  # another one's trouble


class TestHistory:
    def test_without_git_it_is_what_the_file_has(self, folder, capsys):
        write(folder)
        _, out, _ = said(capsys, "history", "a")
        assert out.count("2025-01-02 03:04") == 3
        assert out.endswith("\nnote: git has no history of it: the sessions are those of the file as it is\n")

    def test_with_git_it_is_what_it_ever_had(self, folder, project, capsys):  # noqa: F811
        path = write(folder, sessions=[make_session(commit="first")])
        project.commit()
        path.write_text("{")
        project.commit()
        write(folder, sessions=[make_session(commit="second")])
        project.commit()
        _, out, _ = said(capsys, "history", "a")
        assert [line.split()[2] for line in out.splitlines()[2:4]] == ["first", "second"]
        assert out.endswith("\nnote: 1 files of older commits cannot be read any more, and are left out\n")
        shown = as_json(capsys, "history", "a", "--baselines", folder)
        assert [one["commit"] for one in shown["history"]] == ["first", "second"]
        assert (shown["unreadable"], shown["complete"]) == (1, True)

    def test_of_one_environments_folder(self, folder, project, capsys):  # noqa: F811
        write(folder)
        project.commit()
        assert len(as_json(capsys, "history", "a", "--baselines", folder / "cpu-2")["history"]) == 3


class TestPrune:
    @pytest.fixture
    def gone(self, folder):
        write(folder)
        return write(folder, "b", id="tests/test_b.py::test_b")

    def test_says_what_it_would_do(self, gone, capsys):
        status, out, _ = said(capsys, "prune")
        assert status == 0
        assert "baselines/cpu-2/b.json  would be removed  tests/test_b.py is gone\n" in out
        assert out.endswith("\nnothing was changed; do it with --yes\n")
        assert gone.exists()

    def test_and_does_it(self, gone, folder, capsys):
        status, out, _ = said(capsys, "prune", "--yes")
        assert status == 0
        assert "baselines/cpu-2/b.json  removed  tests/test_b.py is gone\n" in out
        assert "nothing was changed" not in out
        assert not gone.exists()
        assert (folder / "cpu-2" / "a.json").exists()
        assert said(capsys, "prune") == (0, "nothing to prune in baselines\n", "")

    def test_drops_old_sessions(self, gone, folder, capsys):
        path = write(folder, sessions=sessions(20))
        _, out, _ = said(capsys, "prune", "--keep-sessions", "8")
        assert "would be shortened  9 of 20 sessions are between the oldest 3 and the newest 8" in out
        assert len(read_baseline(path, "a").sessions) == 20
        said(capsys, "prune", "--keep-sessions", "8", "--yes")
        assert len(read_baseline(path, "a").sessions) == 11

    def test_json(self, gone, capsys):
        shown = as_json(capsys, "prune")
        assert shown["done"] is False
        assert [(one["slug"], one["sessions"], one["sessions_after"]) for one in shown["prune"]] == [
            ("b", 3, 0)
        ]

    def test_in_the_wrong_folder_it_removes_nothing(self, gone, tmp_path, monkeypatch, folder, capsys):
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        status, _, err = said(capsys, "prune", "--yes", "--baselines", folder)
        assert status == USAGE_ERROR
        assert "name the folder that test ids begin in (pytest's rootdir) with --root" in err
        assert gone.exists()
        assert said(capsys, "prune", "--yes", "--baselines", folder, "--root", tmp_path)[0] == 0
        assert not gone.exists()

    def test_beside_a_broken_one_it_removes_nothing(self, gone, folder, capsys):
        (folder / "cpu-2" / "c.json").write_text("{")
        status, _, err = said(capsys, "prune", "--yes")
        assert status == USAGE_ERROR
        assert "c.json: is not whole JSON" in err
        assert gone.exists()

    def test_too_few_sessions_are_refused(self, gone, capsys):
        status, _, err = said(capsys, "prune", "--keep-sessions", "3")
        assert status == USAGE_ERROR
        assert "--keep-sessions 3: must be 8 or more" in err

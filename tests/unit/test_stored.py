from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from builders import ID, LIGHT, PROBE, SUBJECT, make_baseline, make_rounds, make_session
from hypothesis import given
from hypothesis import strategies as st
from reported import WORK

from pytest_rayperf.baselines.format import read_baseline, to_json
from pytest_rayperf.baselines.history import History, accepted_of
from pytest_rayperf.baselines.pruning import Pruning, gone_tests, long_ones, prune, shortened
from pytest_rayperf.baselines.stored import Stored, files_in, find, read_all, read_stored
from pytest_rayperf.errors import ConfigurationError
from pytest_rayperf.judging.reference import ANCHORS, RECENT
from pytest_rayperf.reports.stored import (
    changed,
    commit,
    file_cells,
    file_of,
    history_cells,
    history_to_json,
    pruning_of,
    session_cells,
    sessions_of,
)


def sessions(n, counted=()):
    """`n` of them, by number; those of `counted` have counted work."""
    return [
        replace(make_session(commit=str(i), probe=PROBE), work=WORK if i in counted else None)
        for i in range(n)
    ]


def write(folder, slug="a", environment="cpu-2", id="tests/test_a.py::test_a", variant=None, n=3, **more):
    path = folder / environment / f"{slug}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    baseline = make_baseline(*more.pop("sessions", sessions(n)), id=id, subject=more.pop("subject", SUBJECT))
    path.write_text(to_json(replace(baseline, variant=variant)))
    return path


class TestFolder:
    def test_of_all_environments_or_one(self, tmp_path):
        one, two = write(tmp_path), write(tmp_path, environment="gpu-8")
        assert files_in(tmp_path) == [one, two]
        assert files_in(tmp_path, "gpu-8") == [two]

    def test_one_environments_own(self, tmp_path, monkeypatch):
        one = write(tmp_path)
        assert files_in(tmp_path / "cpu-2") == [one]
        monkeypatch.chdir(tmp_path / "cpu-2")
        assert [path.parent.name for path in files_in(Path())] == ["cpu-2"]
        assert files_in(Path(), "cpu-2") == [one]

    def test_empty(self, tmp_path):
        assert files_in(tmp_path) == []

    def test_none(self, tmp_path):
        with pytest.raises(
            ConfigurationError, match="none: there is no such folder; name the folder of baselines, or"
        ):
            files_in(tmp_path / "none")

    def test_a_file(self, tmp_path):
        (tmp_path / "a").write_text("")
        with pytest.raises(ConfigurationError, match="a: is a file, not a folder of baselines"):
            files_in(tmp_path / "a")

    def test_another_environment(self, tmp_path):
        write(tmp_path)
        with pytest.raises(ConfigurationError, match="has no environment 'x'; it has: cpu-2"):
            files_in(tmp_path, "x")

    def test_a_name_that_no_folder_can_have(self):
        with pytest.raises(ConfigurationError):
            files_in(Path("a\0b"))

    def test_what_is_broken_is_told_beside_what_is_not(self, tmp_path):
        write(tmp_path)
        (tmp_path / "cpu-2" / "b.json").write_text("{")
        found, broken = read_all(files_in(tmp_path))
        assert [one.slug for one in found] == ["a"]
        assert len(broken) == 1
        assert "cpu-2/b.json: is not whole JSON" in broken[0]


class TestFind:
    @pytest.fixture
    def found(self, tmp_path):
        write(tmp_path, "a-fix", id="t.py::test_a", variant="fix")
        write(tmp_path, "a-antipattern", id="t.py::test_a", variant="antipattern")
        write(tmp_path, "b", id="t.py::test_b")
        write(tmp_path, "b", id="t.py::test_b", environment="gpu-8")
        return [read_stored(path) for path in files_in(tmp_path)]

    @pytest.mark.parametrize("name", ["a-fix", "a-fix.json", "baselines/cpu-2/a-fix.json"])
    def test_by_its_file(self, found, name):
        assert find(found, name, Path("baselines")).slug == "a-fix"

    def test_by_its_test(self, found):
        assert find(found[:3], "t.py::test_b", Path("baselines")).slug == "b"

    def test_by_its_folder(self, found):
        assert find(found, "baselines/gpu-8/b.json", Path("baselines")).environment == "gpu-8"

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("b", "b: there is one in each of several environments; choose with --environment: cpu-2, gpu-8"),
            ("t.py::test_a", "has several baselines; name one: a-antipattern, a-fix"),
            ("a", "a: no such baseline in baselines; did you mean a-antipattern, a-fix?"),
            ("zz", "zz: no such baseline in baselines; see: rayperf baselines list"),
            ("", "no such baseline in baselines; see"),
        ],
    )
    def test_or_it_is_said_what_there_is(self, found, name, told):
        with pytest.raises(ConfigurationError) as caught:
            find(found, name, Path("baselines"))
        assert told in str(caught.value)


class TestGone:
    def test_are_those_whose_file_is_missing(self, tmp_path):
        (tmp_path / "tests").mkdir()
        (tmp_path / "tests" / "test_a.py").write_text("")
        write(tmp_path / "baselines")
        write(tmp_path / "baselines", "b", id="tests/test_b.py::test_b[x]")
        found = [read_stored(path) for path in files_in(tmp_path / "baselines")]
        (one,) = gone_tests(found, tmp_path)
        assert (one.stored.slug, one.why, one.keep) == ("b", "tests/test_b.py is gone", None)

    def test_where_all_are_missing_it_is_the_wrong_folder(self, tmp_path):
        found = [read_stored(write(tmp_path))]
        with pytest.raises(
            ConfigurationError, match=r"has none of the baselines' tests, such as tests/test_a\.py; .* --root"
        ):
            gone_tests(found, tmp_path)

    def test_of_none_none(self, tmp_path):
        assert gone_tests([], tmp_path) == []

    @pytest.mark.parametrize("id", ["a" * 300 + ".py::test", "a\0b::test", "::"])
    def test_a_name_that_no_file_can_have_is_missing(self, tmp_path, id):
        (tmp_path / "tests").mkdir()
        (tmp_path / "tests" / "test_a.py").write_text("")
        baseline = make_baseline(id=id)
        found = [Stored(tmp_path, "x", "cpu-2", baseline), read_stored(write(tmp_path))]
        assert [p.stored.shown for p in gone_tests(found, tmp_path)] == (["x"] if id != "::" else [])


class TestShortened:
    @given(st.integers(1, 40), st.integers(RECENT, 20))
    @LIGHT
    def test_what_a_run_is_compared_with_stays(self, n, keep):
        baseline = make_baseline(*sessions(n))
        kept = shortened(baseline, keep)
        assert len(kept.sessions) == min(n, keep + ANCHORS)
        assert kept.sessions[:ANCHORS] == baseline.sessions[:ANCHORS]
        assert kept.sessions[-RECENT:] == baseline.sessions[-RECENT:]
        assert replace(kept, sessions=()) == replace(baseline, sessions=())

    def test_so_does_the_session_that_counted_work_last(self):
        kept = shortened(make_baseline(*sessions(20, counted=(5, 6))), 8)
        assert [s.commit for s in kept.sessions] == ["0", "1", "2", "6", *map(str, range(12, 20))]

    def test_it_is_the_same_the_second_time(self):
        once = shortened(make_baseline(*sessions(20, counted=(6,))), 8)
        assert shortened(once, 8) == once

    @pytest.mark.parametrize("keep", [7, 0, -1])
    def test_fewer_than_a_run_is_compared_with_are_refused(self, keep):
        with pytest.raises(ConfigurationError, match=f"^--keep-sessions {keep}: must be 8 or more"):
            long_ones([], keep)

    def test_it_is_said_how_many_go(self, tmp_path):
        found = [read_stored(write(tmp_path, n=20)), read_stored(write(tmp_path, "b", n=11))]
        (one,) = long_ones(found, 8)
        assert one.stored.slug == "a"
        assert one.why == "9 of 20 sessions are between the oldest 3 and the newest 8"
        told = pruning_of(one)
        assert (told["sessions"], told["sessions_after"]) == (20, 11)


class TestPrune:
    def test_removes_and_shortens(self, tmp_path):
        gone, long_ = write(tmp_path), write(tmp_path, "b", n=20)
        prune([Pruning(read_stored(gone), "gone"), Pruning(read_stored(long_), "long", 8)])
        assert not gone.exists()
        assert len(read_baseline(long_, "b").sessions) == 11

    def test_a_session_that_was_added_meanwhile_stays(self, tmp_path):
        path = write(tmp_path, n=20)
        pruning = Pruning(read_stored(path), "long", 8)
        write(tmp_path, n=21)
        prune([pruning])
        assert read_baseline(path, "a").sessions[-1].commit == "20"

    def test_what_is_gone_already_is_gone(self, tmp_path):
        path = write(tmp_path)
        pruning = Pruning(read_stored(path), "gone")
        path.unlink()
        prune([pruning])

    def test_what_cannot_be_changed_is_said(self, tmp_path):
        path = write(tmp_path)
        stored = read_stored(path)
        path.unlink()
        path.mkdir()
        with pytest.raises(ConfigurationError, match=r"a\.json: cannot be removed"):
            prune([Pruning(stored, "gone")])


class TestFigures:
    def test_a_file(self, tmp_path):
        found = [read_stored(write(tmp_path)), read_stored(write(tmp_path, environment="gpu-8"))]
        data = file_of(found[0], found)
        assert data == {
            "file": found[0].shown,
            "environment": "cpu-2",
            "slug": "a",
            "id": "tests/test_a.py::test_a",
            "variant": None,
            "sessions": 3,
            "rounds": 9,
            "recorded_at": "2025-01-02T03:04:05+00:00",
            "commit": "2",
            "environments": ["cpu-2", "gpu-8"],
        }
        assert file_cells([data]) == [
            ["a", "3", "9", "2025-01-02 03:04", "2", "gpu-8", "tests/test_a.py::test_a", "-"]
        ]

    def test_its_sessions(self, tmp_path):
        newer = replace(
            make_session(make_rounds(50, None, memory=2**21)), software={"ray": "2.60.0", "x": "1"}
        )
        found = sessions_of(read_stored(write(tmp_path, sessions=[make_session(probe=PROBE), newer])))
        assert [one["probe_s"] for one in found] == [pytest.approx(0.003), None]
        assert [one["counters"] for one in found] == [{"rows": 64}] * 2
        assert json.dumps(found, allow_nan=False)
        assert session_cells(found) == [
            ["2025-01-02 03:04", "abc123", "3", "40", "20", "-", "-"],
            ["2025-01-02 03:04", "abc123", "3", "50", "-", "2", "ray 2.51.1 -> 2.60.0"],
        ]

    def test_its_history(self, tmp_path):
        one = read_stored(write(tmp_path, n=1, id=ID))
        accepted = [accepted_of(session) for session in one.baseline.sessions]
        data = history_to_json(one, accepted, History(unreadable=1, others=2, complete=False))
        assert (data["id"], data["unreadable"], data["of_other_subjects"], data["complete"]) == (
            ID,
            1,
            2,
            False,
        )
        assert data["history"][0]["throughput"] == 40.0
        assert history_cells(accepted) == [["2025-01-02 03:04", "0", "40", "20"]]

    def test_software_that_did_not_change(self):
        assert changed(None, {"ray": "1"}) == "-"
        assert changed({"ray": "1"}, {"ray": "1", "new": "2"}) == "nothing"
        assert changed({"ray": None, "x": "1"}, {"ray": "1", "x": None}) == "ray none -> 1, x 1 -> none"

    def test_a_commit(self):
        assert commit(None) == "-"
        assert commit("0123456789abcdef+dirty") == "0123456789+dirty"

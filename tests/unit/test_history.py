from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import pytest
from builders import ENVIRONMENT, LIGHT, SUBJECT, make_baseline, make_rounds, make_session
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.baselines import history as module
from pytest_rayperf.baselines.format import to_json
from pytest_rayperf.baselines.history import NEWEST, accepted_of, median_of, read_history
from pytest_rayperf.run import Accepted

CPU = ENVIRONMENT.id


def history_of(*given):
    return read_history(*given).sessions


def session(minute, throughput=40.0, commit="abc", cpu=0.02):
    """Recorded at that minute of a day."""
    return replace(
        make_session(make_rounds(throughput, cpu), commit),
        recorded_at=f"2025-01-02T{minute // 60:02}:{minute % 60:02}:00+00:00",
    )


@pytest.fixture
def git(tmp_path, monkeypatch):
    """Runs git in a new repository, with no configuration but its own."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)

    def git(*arguments):
        done = subprocess.run(
            ["git", "-C", tmp_path, "-c", "user.name=A", "-c", "user.email=a@b.c", *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    git("init", "-q", "-b", "main")
    return git


class Project:
    """A repository with a folder of baselines."""

    def __init__(self, folder, git):
        self.root, self.git = folder, git
        self.folder = folder / "baselines"

    def write(self, *sessions, slug="a", environment=CPU, subject=SUBJECT):
        path = self.folder / environment / f"{slug}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_json(make_baseline(*sessions, id=f"test_{slug}", subject=subject)))
        return path

    def commit(self, *arguments):
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "baselines", *arguments)


@pytest.fixture
def project(tmp_path, git):
    return Project(tmp_path, git)


def minutes(accepted):
    return [int(a.recorded_at[11:13]) * 60 + int(a.recorded_at[14:16]) for a in accepted]


class TestHistory:
    def test_is_of_all_commits_and_the_working_tree_oldest_first(self, project):
        project.write(session(1), session(2))
        project.commit()
        project.write(session(3, 80.0))  # accepted anew: the others are history
        project.commit()
        project.write(session(3, 80.0), session(4, 81.0, commit=None))
        found = history_of(project.folder, CPU)
        assert list(found) == ["a"]
        assert minutes(found["a"]) == [1, 2, 3, 4]
        assert [a.throughput for a in found["a"]] == pytest.approx([40, 40, 80, 81])
        assert found["a"][-1].commit is None
        assert read_history(project.folder, CPU).notes() == []

    def test_what_is_not_committed_is_there_too(self, project):
        project.commit()
        project.write(session(1))
        assert minutes(history_of(project.folder, CPU)["a"]) == [1]

    def test_what_was_deleted_is_there_too(self, project):
        path = project.write(session(1))
        project.commit()
        path.unlink()
        project.commit()
        assert minutes(history_of(project.folder, CPU)["a"]) == [1]

    def test_both_sides_of_a_merge(self, project):
        project.write(session(1))
        project.commit()
        project.git("checkout", "-q", "-b", "side")
        project.write(session(1), session(2))
        project.write(session(9), slug="b")
        project.commit()
        project.git("checkout", "-q", "main")
        project.write(session(3), slug="c")
        project.commit()
        project.git("merge", "-q", "side", "-m", "merge")
        project.write(session(8))
        project.commit()
        found = history_of(project.folder, CPU)
        assert {slug: minutes(one) for slug, one in found.items()} == {"a": [1, 2, 8], "b": [9], "c": [3]}

    def test_of_the_environment_that_is_asked_for(self, project):
        project.write(session(1))
        project.write(session(2), environment="gpu-8")
        project.commit()
        assert minutes(history_of(project.folder, "gpu-8")["a"]) == [2]
        assert history_of(project.folder, "none") == {}

    @pytest.mark.parametrize("slugs", [["a"], ("b", "none"), {"a", "b"}, [], [*map(str, range(50)), "b"]])
    def test_of_the_benchmarks_that_are_asked_for(self, project, slugs):
        for slug in ("a", "b", "c"):
            project.write(session(1), slug=slug)
        project.commit()
        assert set(history_of(project.folder, CPU, slugs)) == {"a", "b"} & set(slugs)

    def test_from_a_folder_below_the_repositorys_top(self, project, git):
        project.folder = project.root / "deep" / "er" / "baselines"
        project.write(session(1))
        project.commit()
        project.write(session(2))
        assert minutes(history_of(project.folder, CPU)["a"]) == [1, 2]

    def test_names_that_mean_something_to_git(self, project):
        for slug in ("a*", "[ab]", ":(top)x", "with space", "é"):
            project.write(session(1), slug=slug)
        project.commit()
        for slug in ("a*", "[ab]", ":(top)x", "with space", "é"):
            project.write(session(2), slug=slug)
            assert {s: minutes(one) for s, one in history_of(project.folder, CPU, [slug]).items()} == {
                slug: [1, 2]
            }
        assert len(history_of(project.folder, CPU)) == 5

    def test_one_session_is_one_in_however_many_commits(self, project):
        for n in range(1, 6):
            project.write(*(session(i) for i in range(n)))
            project.commit()
        assert minutes(history_of(project.folder, CPU)["a"]) == [0, 1, 2, 3, 4]

    def test_two_commits_that_measured_in_one_second_are_two(self, project):
        project.write(session(1, commit="x"))
        project.commit()
        project.write(session(1, commit="y"))
        assert [a.commit for a in history_of(project.folder, CPU)["a"]] == ["x", "y"]

    def test_the_newest_are_kept_and_no_more_is_read_than_they_take(self, project, monkeypatch):
        monkeypatch.setattr(module, "NEWEST", 4)
        monkeypatch.setattr(module, "_BLOBS_AT_ONCE", 1)
        for i in range(8):
            project.write(session(2 * i), session(2 * i + 1))
            project.commit()
        asked, ask = [], module.ask_git

        def recorded(folder, *arguments, **more):
            asked.append(arguments[0])
            return ask(folder, *arguments, **more)

        monkeypatch.setattr(module, "ask_git", recorded)
        assert minutes(history_of(project.folder, CPU)["a"]) == [12, 13, 14, 15]
        assert asked == ["log", "cat-file", "cat-file"]  # the newest blob is that of the working tree again

    def test_of_a_whole_suite_takes_two_processes(self, project, monkeypatch):
        for slug in "abcdefgh":
            project.write(session(1), slug=slug)
        project.commit()
        for slug in "abcdefgh":
            project.write(session(2), slug=slug)
        project.commit()
        asked, ask = [], module.ask_git
        monkeypatch.setattr(module, "ask_git", lambda *a, **m: asked.append(a) or ask(*a, **m))
        assert [minutes(one) for one in history_of(project.folder, CPU).values()] == [[1, 2]] * 8
        assert len(asked) == 2

    def test_other_subjects_are_left_out_and_counted(self, project):
        project.write(session(1), subject=replace(SUBJECT, images=9))
        project.commit()
        project.write(session(2))
        project.commit()
        found = read_history(project.folder, CPU)
        assert minutes(found.sessions["a"]) == [2]
        assert found.others == 1
        assert found.notes() == ["1 sessions measured other data, another model or profile, and are left out"]

    @pytest.mark.parametrize(
        "text", ["", "{", "\udcff", '{"schema_version": 99}', "[]", "x" * 70_000], ids=range(6)
    )
    def test_what_cannot_be_read_any_more_is_passed_over_and_counted(self, project, text):
        path = project.write(session(1))
        project.commit()
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        project.commit()
        project.write(session(2))
        project.commit()
        found = read_history(project.folder, CPU)
        assert minutes(found.sessions["a"]) == [1, 2]
        assert found.unreadable == 1
        assert found.notes() == ["1 files of older commits cannot be read any more, and are left out"]

    def test_files_that_are_no_baselines_by_name_are_passed_over(self, project):
        (project.write(session(1)).parent / "README.md").write_text("# they are\n")
        (project.folder / CPU / "old").mkdir()
        (project.folder / CPU / "old" / "b.json").write_text("{}")
        project.commit()
        found = read_history(project.folder, CPU)
        assert list(found.sessions) == ["a"]
        assert found.notes() == []


class TestWithoutGit:
    def test_no_repository(self, tmp_path):
        Project(tmp_path, None).write(session(1), session(2))
        assert minutes(history_of(tmp_path / "baselines", CPU)["a"]) == [1, 2]
        found = read_history(tmp_path / "baselines", CPU)
        assert (found.complete, found.from_git) == (True, False)
        assert found.notes() == ["git has no history of it: the sessions are those of the file as it is"]

    def test_no_commit_yet(self, project):
        project.write(session(1))
        assert minutes(history_of(project.folder, CPU)["a"]) == [1]

    def test_no_git(self, project, monkeypatch):
        project.write(session(1))
        project.commit()
        monkeypatch.setenv("PATH", "")
        assert minutes(history_of(project.folder, CPU)["a"]) == [1]

    @pytest.mark.parametrize("environment", ["", ".", "..", "../x", "a/b", "a\0b"])
    def test_no_environment(self, project, environment):
        project.write(session(1))
        project.commit()
        assert history_of(project.folder, environment) == {}

    def test_no_folder(self, tmp_path):
        assert history_of(tmp_path / "none", CPU) == {}

    def test_a_slow_one_is_said_to_be(self, project):
        project.write(session(1))
        project.commit()
        ticks = iter([0.0, 0.5, 11.0, 11.0])
        found = read_history(project.folder, CPU, time_limit_s=10.0, clock=lambda: next(ticks))
        assert not found.complete
        assert found.notes() == ["git took too long: the oldest sessions are missing"]
        assert minutes(found.sessions["a"]) == [1]  # the working tree's

    def test_one_that_is_slow_from_the_start(self, project):
        project.write(session(1))
        project.commit()
        found = read_history(project.folder, CPU, time_limit_s=0.0)
        assert (minutes(found.sessions["a"]), found.complete) == ([1], False)


class TestHostileSurroundings:
    def test_a_hooks_variables_do_not_mislead(self, project, monkeypatch, tmp_path):
        project.write(session(1))
        project.commit()
        monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
        monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "nowhere"))
        assert minutes(history_of(project.folder, CPU)["a"]) == [1]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("color.ui", "always"),
            ("log.showSignature", "true"),
            ("log.follow", "true"),
            ("log.decorate", "full"),
            ("diff.renames", "copies"),
            ("log.diffMerges", "separate"),
            ("core.abbrev", "4"),
            ("format.pretty", "fuller"),
            ("diff.noprefix", "true"),
            ("core.quotePath", "true"),
            ("log.date", "relative"),
        ],
    )
    def test_a_users_configuration_changes_nothing(self, project, name, value):
        project.git("config", name, value)
        project.write(session(1))
        project.write(session(1), slug="b")
        project.commit()
        project.write(session(2))
        project.commit()
        found = history_of(project.folder, CPU)
        assert {slug: minutes(one) for slug, one in found.items()} == {"a": [1, 2], "b": [1]}

    def test_nothing_is_written(self, project):
        project.write(session(1))
        project.commit()
        project.write(session(2))
        before = {path: path.stat().st_mtime_ns for path in project.root.rglob("*")}
        history_of(project.folder, CPU)
        assert {path: path.stat().st_mtime_ns for path in project.root.rglob("*")} == before

    def test_a_shallow_clone_has_what_it_has(self, project, tmp_path):
        for minute in (1, 2):
            project.write(session(minute))
            project.commit()
        subprocess.run(
            ["git", "clone", "-q", "--depth", "1", f"file://{tmp_path}", tmp_path / "clone"], check=True
        )
        assert minutes(history_of(tmp_path / "clone" / "baselines", CPU)["a"]) == [2]


class TestAccepted:
    def test_has_the_medians(self):
        rounds = (*make_rounds(40, 0.02, n=2), *make_rounds(50, 0.03, n=1))
        made = accepted_of(make_session(rounds))
        assert made == Accepted("2025-01-02T03:04:05+00:00", "abc123", 40.0, pytest.approx(0.02))

    def test_what_a_round_lacks_was_not_measured(self):
        rounds = (*make_rounds(40, 0.02), *make_rounds(40, None, n=1))
        assert accepted_of(make_session(rounds)).cpu_seconds_per_row is None
        assert median_of((), "throughput") is None

    @given(st.lists(st.text(max_size=30), min_size=1, max_size=NEWEST, unique=True))
    @LIGHT
    def test_whatever_is_written_for_a_date_is_sorted(self, dates):
        found = module._Sessions()
        baseline = make_baseline(*(replace(make_session(), recorded_at=date) for date in dates))
        assert found.add(to_json(baseline).encode())
        assert sorted(a.recorded_at for a in found.accepted()) == sorted(dates)

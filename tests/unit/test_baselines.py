from __future__ import annotations

import dataclasses
import errno
import os
import tempfile
import threading
from pathlib import Path

import pytest
from builders import ENVIRONMENT, ID, SUBJECT, make_baseline, make_benchmark, make_rounds, make_session

from pytest_rayperf.baselines import store as baselines
from pytest_rayperf.baselines.format import read_baseline, to_json
from pytest_rayperf.baselines.store import BaselineStore
from pytest_rayperf.errors import BaselineError
from pytest_rayperf.work.counts import OperatorWork, Work

SLUG = "model_loading-fix"


@pytest.fixture(autouse=True)
def own_locks(tmp_path, monkeypatch):
    (tmp_path / "locks").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "locks"))


@pytest.fixture
def store(tmp_path):
    return BaselineStore(tmp_path / "baselines", ENVIRONMENT, tmp_path)


def write(store, slug=SLUG, baseline=None, environment=None) -> Path:
    path = store.folder / (environment or store.environment.id) / f"{slug}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(baseline or make_baseline()))
    return path


def commits(store):
    return [session.commit for session in store.load(SLUG).sessions]


class TestNames:
    def test_path(self, store, tmp_path):
        assert store.path("a.b-c") == tmp_path / "baselines" / "cpu-2" / "a.b-c.json"

    def test_shown_from_where_the_run_started(self, store):
        assert store.shown(store.path("a")) == "baselines/cpu-2/a.json"

    def test_shown_whole_where_it_lies_elsewhere(self, store):
        assert store.shown(Path("/elsewhere/a.json")) == "/elsewhere/a.json"


class TestReading:
    def test_none(self, store):
        assert store.load(SLUG) is None
        assert store.reference(SLUG, ID) is None
        assert list(store.elsewhere(SLUG, ID)) == []
        assert list(store.all()) == []

    def test_load(self, store):
        write(store)
        assert store.load(SLUG) == make_baseline()

    def test_reference(self, store):
        write(store, baseline=make_baseline(make_session(), make_session(make_rounds(n=5))))
        reference = store.reference(SLUG, ID)
        assert reference.name == "baselines/cpu-2/model_loading-fix.json"
        assert reference.subject == SUBJECT
        assert [len(session.rounds) for session in reference.sessions] == [3, 5]
        assert reference.sessions[0].software["ray"] == "2.51.1"

    def test_of_another_test(self, store):
        write(store)
        with pytest.raises(BaselineError) as caught:
            store.reference(SLUG, "test_other.py::test_other")
        message = str(caught.value)
        assert message.startswith("baselines/cpu-2/model_loading-fix.json: is the baseline of ")
        assert ID in message
        assert "test_other.py::test_other" in message
        assert "rename the file and its 'id'" in message

    def test_elsewhere_is_another_environments(self, store):
        write(store)
        assert list(store.elsewhere(SLUG, ID)) == []
        write(store, environment="b-env")
        write(store, environment="a-env")
        found = list(store.elsewhere(SLUG, ID))
        assert [one.name for one in found] == [
            f"baselines/{env}/model_loading-fix.json" for env in ("a-env", "b-env")
        ]
        assert {one.cores for one in found} == {make_baseline().environment.cores}

    def test_elsewhere_passes_over_another_test(self, store):
        write(store, environment="a-env", baseline=make_baseline(id="test_x.py::test_x"))
        write(store, environment="b-env")
        assert [one.name for one in store.elsewhere(SLUG, ID)] == ["baselines/b-env/model_loading-fix.json"]

    def test_all_of_this_environment_in_order(self, store):
        for slug in ("b", "a", "c"):
            write(store, slug)
        write(store, "z", environment="other")
        assert [path.name for path, _ in store.all()] == ["a.json", "b.json", "c.json"]

    def test_other_files_are_none(self, store):
        write(store).with_name("README.md").write_text("notes")
        assert len(list(store.all())) == 1
        store.check()


class TestCheck:
    def test_no_folder_is_fine(self, store):
        store.check()

    @pytest.mark.parametrize("environment", ["cpu-2", "another"])
    def test_names_the_broken_one(self, store, environment):
        write(store)
        path = write(store, "broken", environment=environment)
        path.write_text("{")
        with pytest.raises(BaselineError, match=rf"baselines/{environment}/broken\.json: is not whole JSON"):
            store.check()

    def test_a_file_for_a_folder(self, store):
        store.folder.write_text("")
        with pytest.raises(BaselineError, match="--rayperf-baselines baselines: is a file, not a folder"):
            store.check()


class TestCheckWritable:
    def test_makes_the_folder_and_leaves_it_empty(self, store):
        store.check_writable()
        assert list(store.path("a").parent.iterdir()) == []

    def test_a_file_for_a_folder(self, store):
        store.folder.write_text("")
        with pytest.raises(BaselineError, match="--rayperf-baselines baselines/cpu-2: cannot be written"):
            store.check_writable()

    def test_a_file_for_the_environment(self, store):
        store.folder.mkdir()
        (store.folder / "cpu-2").write_text("")
        with pytest.raises(BaselineError, match="cannot be written"):
            store.check_writable()

    def test_no_space(self, store, monkeypatch):
        def full(**_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(baselines.tempfile, "NamedTemporaryFile", full)
        with pytest.raises(BaselineError, match="No space left on device"):
            store.check_writable()


class TestAccept:
    def accept(self, store, commit="new", subject=SUBJECT, anew=False, n=3):
        session = make_session(make_rounds(n=n), commit=commit)
        return store.accept(make_benchmark(), subject, session, anew=anew)

    def test_the_first(self, store):
        path = self.accept(store)
        assert path == store.path(SLUG)
        baseline = store.load(SLUG)
        assert (baseline.id, baseline.variant, baseline.environment) == (ID, "fix", ENVIRONMENT)
        assert commits(store) == ["new"]

    def test_appends_in_order(self, store):
        for commit in "abc":
            self.accept(store, commit)
        assert commits(store) == ["a", "b", "c"]

    def test_anew_drops_the_old_ones(self, store):
        self.accept(store, "old")
        self.accept(store, "new", anew=True)
        assert commits(store) == ["new"]

    @pytest.mark.parametrize("change", [{"model": "resnet50"}, {"images": 5}, {"data_fingerprint": "x"}])
    def test_drops_those_of_another_subject(self, store, change):
        self.accept(store, "old")
        other = dataclasses.replace(SUBJECT, **change)
        self.accept(store, "new", subject=other)
        assert commits(store) == ["new"]
        assert store.load(SLUG).subject == other

    def test_work_is_kept_with_the_last_session_that_counted_it(self, store):
        work = Work((OperatorWork("Map", 4, {}, {"flops": 8}, {}),), {"ray": "2.60"})
        for counted in (work, None, work):
            session = dataclasses.replace(make_session(), work=counted)
            store.accept(make_benchmark(), SUBJECT, session, anew=False)
        assert [s.work for s in store.load(SLUG).sessions] == [None, None, work]
        assert store.reference(SLUG, ID).work == work

    @pytest.mark.parametrize(
        ("own_calls", "kept"), [({"mine.f": 4}, True), ({"mine.f": 8}, False), ({}, False)]
    )
    def test_work_of_other_software_is_kept_while_the_code_is_the_same(self, store, own_calls, kept):
        def counted(version, calls, flops):
            return Work((OperatorWork("Map", 4, {}, {"flops": flops}, {}, calls),), {"torch": version})

        old, new = counted("2.14", {"mine.f": 4}, 8), counted("2.15", own_calls, 9)
        for work in (old, new):
            session = dataclasses.replace(make_session(), work=work)
            store.accept(make_benchmark(), SUBJECT, session, anew=False)
        reference = store.reference(SLUG, ID)
        assert [s.work for s in reference.sessions] == [old if kept else None, new]
        assert reference.work == new
        assert reference.work_with({"torch": "2.14"}) == (old if kept else new)
        assert reference.work_with({"torch": "2.15"}) == new
        assert reference.work_with({"torch": "2.16"}) == new

    def test_leaves_other_files_alone(self, store):
        others = [write(store, "other"), write(store, environment="elsewhere")]
        before = [path.read_bytes() for path in others]
        self.accept(store)
        assert [path.read_bytes() for path in others] == before

    def test_nothing_else_is_in_the_folder(self, store):
        path = self.accept(store)
        assert list(path.parent.iterdir()) == [path]

    def test_a_broken_file_is_not_written_over(self, store):
        path = write(store)
        path.write_text("{")
        with pytest.raises(BaselineError, match="is not whole JSON"):
            self.accept(store)
        assert path.read_text() == "{"

    def test_a_folder_that_is_a_file(self, store):
        store.folder.write_text("")
        with pytest.raises(BaselineError, match=r"model_loading-fix\.json: cannot be written"):
            self.accept(store)

    def test_two_at_once_keep_both(self, tmp_path):
        start = threading.Barrier(4)
        errors = []

        def add(number):
            store = BaselineStore(tmp_path / "baselines", ENVIRONMENT, tmp_path)
            start.wait()
            try:
                for i in range(5):
                    self.accept(store, f"{number}.{i}")
            except BaseException as error:  # noqa: BLE001 - told below, in the test's thread
                errors.append(error)

        threads = [threading.Thread(target=add, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        found = commits(BaselineStore(tmp_path / "baselines", ENVIRONMENT, tmp_path))
        assert sorted(found) == sorted(f"{n}.{i}" for n in range(4) for i in range(5))
        for number in range(4):  # each one's in its order
            own = [c for c in found if c.startswith(f"{number}.")]
            assert own == sorted(own)


class TestAtomic:
    @pytest.fixture(params=["write", "fsync", "chmod", "replace"])
    def failing(self, request, monkeypatch):
        error = OSError(errno.ENOSPC, "No space left on device")

        def fail(*_, **__):
            raise error

        if request.param == "write":
            make = tempfile.NamedTemporaryFile

            def full(*args, **more):
                file = make(*args, **more)

                class Full:
                    name = file.name

                    def __enter__(self):
                        return self

                    def __exit__(self, *_):
                        file.close()

                    write = staticmethod(fail)

                return Full()

            monkeypatch.setattr(baselines.tempfile, "NamedTemporaryFile", full)
        elif request.param == "fsync":
            monkeypatch.setattr(os, "fsync", fail)
        else:
            monkeypatch.setattr(Path, request.param, fail)
        return error

    def test_the_old_file_stays(self, store, failing):
        path = write(store)
        before = path.read_bytes()
        with pytest.raises(
            BaselineError, match=r"cannot be written.*No space.*the old file is as it was"
        ) as caught:
            store.accept(make_benchmark(), SUBJECT, make_session(), anew=False)
        assert caught.value.__cause__ is failing
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]

    def test_no_file_where_there_was_none(self, store, failing):
        with pytest.raises(BaselineError):
            store.accept(make_benchmark(), SUBJECT, make_session(), anew=False)
        assert list(store.path(SLUG).parent.iterdir()) == []

    def test_an_interrupt_leaves_the_old_file(self, store, monkeypatch):
        path = write(store)
        before = path.read_bytes()

        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.accept(make_benchmark(), SUBJECT, make_session(), anew=False)
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]

    def test_after_a_failure_it_can_be_written_again(self, store, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("no")))
            with pytest.raises(BaselineError):
                store.accept(make_benchmark(), SUBJECT, make_session(), anew=False)
        path = store.accept(make_benchmark(), SUBJECT, make_session(), anew=False)
        assert read_baseline(path, "it").id == ID

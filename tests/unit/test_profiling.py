"""What becomes of the stacks and events of a profiled execution, without Ray and without a profiler."""

from __future__ import annotations

import json
import os
import sys
from types import ModuleType, SimpleNamespace

import pytest
from builders import LIGHT
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf import profiling
from pytest_rayperf.profiling import Profile, cut, file_names, merged, profile_pipeline
from pytest_rayperf.tally import Taken
from pytest_rayperf.udfs import instrumenting, stacks
from pytest_rayperf.udfs.stacks import STACKS, StackWatch

THREAD = "MainThread\x00<thread>\x00140"
RAY = "__next__\x00/env/lib/python3.11/site-packages/ray/data/map.py\x0010"
OURS = f"plain\x00{instrumenting.__file__}\x001"
PROFILER = f"pause\x00{stacks.__file__}\x001"
USER = "__call__\x00/home/me/test_it.py\x007\x01cClassifier\x01l9"
TORCH = "relu\x00/env/lib/python3.11/site-packages/torch/nn.py\x0030\x01l31"
USER_FRAME = ("Classifier.__call__", "/home/me/test_it.py", 7)
TORCH_FRAME = ("relu", "/env/lib/python3.11/site-packages/torch/nn.py", 30)


@pytest.fixture
def records(monkeypatch):
    found = []
    monkeypatch.setattr(stacks, "record", lambda kind, *fields: found.append((kind, *fields)))
    return found


@pytest.fixture
def profilers(monkeypatch):
    """Those that were made. Each sees what `seen` says, once for each start."""
    made = []

    class Profiler:
        seen = (([THREAD, RAY, OURS, OURS, USER, TORCH], 0.5), ([THREAD, RAY, OURS, USER], 0.25))

        def __init__(self, interval):
            self.running = False
            self.last_session = None
            made.append(self)

        def start(self, target_description):
            assert not self.running
            self.running = True

        def stop(self):
            assert self.running
            self.running = False
            before = self.last_session.frame_records if self.last_session else []
            self.last_session = SimpleNamespace(frame_records=[*before, *self.seen])

    module = ModuleType("pyinstrument")
    module.Profiler = Profiler
    monkeypatch.setitem(sys.modules, "pyinstrument", module)
    return made


class TestStackWatch:
    def test_a_call(self, profilers, records):
        udf = instrumenting.instrumented(lambda batch: batch * 2, "double", "profile")
        assert udf(3) == 6
        assert records == [
            (STACKS, "double", [((USER_FRAME, TORCH_FRAME), 0.5), ((USER_FRAME,), 0.25)]),
        ]

    def test_a_generator_is_looked_at_while_it_runs(self, profilers, records):
        def twice(batch):
            assert profilers[0].running
            yield batch
            assert profilers[0].running
            yield batch

        for _ in instrumenting.instrumented(twice, "twice", "profile")(3):
            assert not profilers[0].running
        assert len(profilers) == 1
        assert records == [
            (STACKS, "twice", [((USER_FRAME, TORCH_FRAME), 1.5), ((USER_FRAME,), 0.75)]),
        ]

    def test_of_a_call_that_failed_too(self, profilers, records):
        def breaks(batch):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            instrumenting.instrumented(breaks, "breaks", "profile")(3)
        assert not profilers[0].running
        assert [fields[1] for fields in records] == ["breaks"]

    def test_a_call_within_another_is_part_of_it(self, profilers, records):
        inner = instrumenting.instrumented(lambda batch: batch * 2, "inner", "profile")
        outer = instrumenting.instrumented(lambda batch: inner(batch) + inner(batch), "outer", "profile")
        assert outer(3) == 12
        assert [fields[1] for fields in records] == ["outer"]
        assert inner(1) == 2
        assert [fields[1] for fields in records] == ["outer", "inner"]

    def test_what_is_timed_by_hand_is_profiled_too(self, profilers, records):
        timed = instrumenting.instrument(lambda batch: batch)
        assert instrumenting.instrumented(timed, "f", "profile")(3) == 3
        assert [fields[1] for fields in records] == ["f"]

    @pytest.mark.parametrize(
        "infos",
        [[], [THREAD, RAY], [THREAD, OURS], [THREAD, OURS, PROFILER], [THREAD, OURS, PROFILER, TORCH]],
        ids=["none", "rays", "ours", "the watch", "the profiler"],
    )
    def test_stacks_without_the_users_function_are_none(self, infos):
        assert stacks._own_part(infos, "f") == ()

    @pytest.mark.parametrize("rays", ["_SingleThreadedWrapper", "_Wrapper"])
    def test_the_class_is_the_users(self, rays):
        stack = stacks._own_part(
            [THREAD, OURS, f"__call__\x00/home/me/test_it.py\x007\x01c{rays}"], "Classifier"
        )
        assert stack == (USER_FRAME,)

    def test_waiting_is_a_frame(self):
        stack = stacks._own_part([THREAD, OURS, USER, "[await]"], "f")
        assert stack == (USER_FRAME, ("[await]", "<profiler>", 0))

    def test_the_real_profiler(self, records):
        """It has these names, and its frames this form."""
        pytest.importorskip("pyinstrument")

        class Counts:
            def __call__(self, batch):
                # Until it was seen, however long that takes.
                while not watch._profiler._active_session.frame_records:
                    sum(batch)
                return batch

        made = Counts()
        watch = StackWatch("Counts", interval_s=0.0001)
        assert instrumenting._step(watch, lambda: made(range(1000)), ends=()) == range(1000)
        watch.finish(failed=False)
        ((kind, name, stacks),) = records
        assert (kind, name) == (STACKS, "Counts")
        assert all(seconds > 0 for _, seconds in stacks)
        # `_step` is of the module that is cut off, the lambda within this test the first frame after it.
        called = [frames for frames, _ in stacks if len(frames) > 1]
        assert all(frames[1][0].endswith("Counts.__call__") for frames in called)
        assert all(frames[0][1] == __file__ for frames, _ in stacks)


class TestMerged:
    def test_over_calls_and_processes(self):
        stack, other = [["f", "/a.py", 1]], [["f", "/a.py", 1], ["g", "/a.py", 9]]
        records = [("b", [[stack, 1.0], [other, 2.0]]), ("a", []), ("b", [[stack, 0.5]])]
        f, g = ("f", "/a.py", 1), ("g", "/a.py", 9)
        assert merged(records) == {"a": {}, "b": {(f,): 1.5, (f, g): 2.0}}
        assert list(merged(records)) == ["a", "b"]

    @LIGHT
    @given(
        calls=st.lists(
            st.tuples(
                st.sampled_from("ab"),
                st.lists(
                    st.tuples(
                        st.lists(st.tuples(st.sampled_from("fg"), st.just("/a.py"), st.just(1)), min_size=1),
                        st.integers(1, 100),
                    ),
                    max_size=4,
                ),
            ),
            max_size=8,
        )
    )
    def test_no_time_is_lost(self, calls):
        through_json = [tuple(json.loads(json.dumps(call))) for call in calls]
        found = merged(through_json)
        for udf, seconds in found.items():
            assert sum(seconds.values()) == sum(s for name, of in calls if name == udf for _, s in of)


class TestFileNames:
    def test_readable(self):
        udfs = ["Classifier", "<lambda>", "<lambda>#2", "A.b", "...", ""]
        assert list(file_names(udfs).values()) == ["Classifier", "lambda", "lambda-2", "A.b", "udf", "udf-2"]

    @LIGHT
    @given(udfs=st.lists(st.text(max_size=100), unique=True, max_size=10))
    def test_each_another_file_within_the_folder(self, udfs):
        names = file_names(udfs)
        assert list(names) == udfs
        assert len({name.lower() for name in names.values()}) == len(udfs)
        for name in names.values():
            assert not set(name) & set('/\\\0:*?"<>|#%')
            assert name.strip(".")
            assert len(name) < 100


class TestCut:
    def test_to_what_overlaps(self):
        name = {"ph": "M", "name": "process_name", "args": {}}

        def at(start, end):
            return {"ph": "X", "ts": start * 1e6, "dur": (end - start) * 1e6}

        inside, around, begins, ends = at(11, 12), at(5, 30), at(19, 25), at(5, 11)
        events = [at(1, 9), name, inside, around, begins, ends, at(20.5, 22)]
        assert cut(events, 10, 20) == [name, inside, around, begins, ends]

    def test_names_alone_are_no_timeline(self):
        assert cut([{"ph": "M", "name": "process_name"}], 10, 20) == []


class FakeTally:
    """Has one round's records."""

    def __init__(self, records):
        self.records = records
        self.discarded = 0

    def discard(self):
        self.discarded += 1

    def take_all(self):
        return Taken({}, tuple(self.records))


@pytest.fixture
def ray(monkeypatch):
    """A Ray whose timeline is a list of what each look at it shows."""

    class Dataset:
        consumed = False

        def map_batches(self, fn):
            return self

        def iter_internal_ref_bundles(self):
            self.consumed = True
            return iter(())

    looks: list[list[dict]] = []
    fake, data = ModuleType("ray"), ModuleType("ray.data")
    data.Dataset = Dataset
    fake.data = data
    fake.looks = looks
    fake.timeline = lambda: looks.pop(0) if len(looks) > 1 else (looks[0] if looks else [])
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setitem(sys.modules, "ray.data", data)
    monkeypatch.setattr(profiling.time, "time", iter([10.0, 20.0]).__next__)
    return fake


EVENT = {"ph": "X", "ts": 15e6, "dur": 1e6, "name": "task"}
SEEN = (STACKS, "Classifier", [[[["f", "/a.py", 1]], 0.5]])


class TestProfilePipeline:
    def test_files(self, ray, tmp_path):
        ray.looks += [[], [EVENT], [EVENT, EVENT], [EVENT, EVENT]]  # they arrive late
        tally = FakeTally([SEEN])
        dataset = ray.data.Dataset()
        profile = profile_pipeline(lambda: dataset, tmp_path / "new" / "folder", "slow-fix", tally)
        assert (dataset.consumed, tally.discarded) == (True, 1)
        folder = tmp_path / "new" / "folder"
        assert profile == Profile(
            {"Classifier": folder / "slow-fix-Classifier.html"}, folder / "slow-fix.timeline.json", ()
        )
        assert "slow-fix: Classifier" in profile.flame_graphs["Classifier"].read_text()
        assert json.loads(profile.timeline.read_text()) == [EVENT, EVENT]
        assert len(list(folder.iterdir())) == 2

    def test_a_pipeline_that_executes_by_itself(self, ray, tmp_path):
        ray.looks += [[EVENT]]
        assert profile_pipeline(lambda: 100, tmp_path, "s", FakeTally([SEEN])).problems == ()

    def test_what_is_missing_is_said(self, ray, tmp_path):
        profile = profile_pipeline(lambda: 100, tmp_path, "s", FakeTally([(STACKS, "f", [])]))
        assert profile == Profile(
            {},
            None,
            (
                "no flame graph of f: none of its calls took 1 ms",
                "no timeline: Ray has no events; it was started without RAY_PROFILING=1",
            ),
        )
        assert list(tmp_path.iterdir()) == []

    def test_nothing_was_called(self, ray, tmp_path):
        ray.looks += [[EVENT]]
        profile = profile_pipeline(lambda: 100, tmp_path, "s", FakeTally([]))
        assert profile.problems == ("no flame graph: no function that was given to map_batches was called",)

    def test_a_folder_that_cannot_be_made(self, ray, tmp_path):
        (tmp_path / "file").touch()
        ray.looks += [[EVENT]]
        profile = profile_pipeline(lambda: 100, tmp_path / "file" / "in", "s", FakeTally([SEEN]))
        assert (profile.flame_graphs, profile.timeline) == ({}, None)
        first, second = profile.problems
        assert first.startswith(f"{tmp_path}/file/in/s-Classifier.html cannot be written: ")
        assert second.startswith(f"{tmp_path}/file/in/s.timeline.json cannot be written: ")

    def test_a_full_disk_leaves_no_half_file(self, ray, tmp_path, monkeypatch):
        ray.looks += [[EVENT]]

        def write_text(path, text, encoding):
            path.write_bytes(text.encode()[:10])
            raise OSError(28, os.strerror(28))

        monkeypatch.setattr(profiling.Path, "write_text", write_text)
        profile = profile_pipeline(lambda: 100, tmp_path, "s", FakeTally([SEEN]))
        assert len(profile.problems) == 2
        assert all(problem.endswith("No space left on device") for problem in profile.problems)
        assert list(tmp_path.iterdir()) == []

    def test_an_error_of_the_pipeline_goes_on(self, ray, tmp_path):
        def breaks():
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            profile_pipeline(breaks, tmp_path, "s", FakeTally([SEEN]))

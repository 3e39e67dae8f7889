"""The two sides of --rayperf-against without a process: what they tell each other, and what is made of it."""

from __future__ import annotations

import json
import os
import socket
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from builders import LIGHT, make_round
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.against.arguments import carried
from pytest_rayperf.against.far import FarPipeline, FarSide, FarSideError, import_path
from pytest_rayperf.against.serving import last_line
from pytest_rayperf.against.wire import Channel, SideLost, execution_from_json, execution_to_json
from pytest_rayperf.errors import BaselineError
from pytest_rayperf.measurement import Execution, Spoiled

FAR = "main (1a2b3c4d5e6f)"


@pytest.fixture
def ends():
    near, far = socket.socketpair()
    channels = Channel(Connection(near.detach())), Channel(Connection(far.detach()))
    yield channels
    for channel in channels:
        channel.close()


class TestChannel:
    def test_there_and_back(self, ends):
        near, far = ends
        near.send("open", item="test_x[\u00fc]")
        assert far.receive() == {"kind": "open", "item": "test_x[\u00fc]"}
        far.send("rows", rows=3)
        assert near.receive() == {"kind": "rows", "rows": 3}

    def test_the_other_end_is_gone(self, ends):
        near, far = ends
        far.close()
        with pytest.raises(SideLost, match="has ended"):
            near.receive()
        with pytest.raises(SideLost, match="has ended"):
            near.send("close")

    def test_the_other_process_is_gone_though_its_socket_is_not(self):
        near, far = socket.socketpair()
        channel = Channel(Connection(near.detach()), lambda: False)
        with far, pytest.raises(SideLost):
            channel.receive()
        channel.close()

    @pytest.mark.parametrize("said", [b"{", b"[]", b'{"kind": 1}', b"null", b"\xff"])
    def test_what_is_no_message(self, said):
        near, far = socket.socketpair()
        channel, other = Channel(Connection(near.detach())), Connection(far.detach())
        other.send_bytes(said)
        with pytest.raises(SideLost):
            channel.receive()
        channel.close()
        other.close()


class TestExecutions:
    @LIGHT
    @given(
        throughput=st.floats(0.1, 1e6),
        cpu=st.floats(1e-6, 10),
        loads=st.integers(0, 2**40),
        disturbed=st.none() | st.tuples(st.text(max_size=20), st.booleans()),
    )
    def test_are_the_same_on_the_other_side(self, throughput, cpu, loads, disturbed):
        round_ = make_round(throughput, cpu, counters={"loads": loads}, figures={"startup_seconds": 0.5})
        execution = Execution(round_, spoiled=None if disturbed is None else Spoiled(*disturbed))
        said = json.loads(json.dumps(execution_to_json(execution)))
        assert execution_from_json(said, FAR) == execution

    @pytest.mark.parametrize("message", [{}, {"round": None}, {"round": {"rows": "many"}}])
    def test_that_are_none(self, message):
        with pytest.raises(BaselineError, match="another version of pytest-rayperf"):
            execution_from_json(message, FAR)


class TestFarSide:
    def test_its_name(self, tmp_path):
        far = FarSide(tmp_path, "main", [], [])
        assert far.name == "main"
        far.commit = "1a2b3c4d5e6f7890"
        assert far.name == FAR
        assert FarSide(tmp_path, None, ["ray==2.58.1", "x"], []).name == "this tree with ray==2.58.1 x"

    def test_it_is_asked_before_it_runs(self, tmp_path):
        far = FarSide(tmp_path, "main", [], [])
        with pytest.raises(FarSideError, match="main: it does not run"):
            FarPipeline(far, "test_x", None).run(lambda rows: None)
        far.close()

    def test_its_pipelines_are_not_executed_here(self, tmp_path):
        with pytest.raises(FarSideError, match="on the near one"):
            FarPipeline(FarSide(tmp_path, "main", [], []), "test_x", None)()

    def test_an_answer_to_a_question_whose_asker_was_interrupted_is_dropped(self, tmp_path, ends):
        near, far = ends
        side = FarSide(tmp_path, "main", [], [])
        side._channel = near
        far.send("rows", number=1, rows=7)
        far.send("answer", number=1, old=True)
        far.send("rows", number=2, rows=8)
        far.send("answer", number=2, old=False)
        side._number = 1
        heard: list[int] = []
        assert side.ask("round", heard.append)["old"] is False
        assert heard == [8]
        assert far.receive() == {"kind": "round", "number": 2}


class TestImportPath:
    @pytest.fixture
    def trees(self, tmp_path, monkeypatch):
        monkeypatch.delenv("PYTHONPATH", raising=False)
        for folder in ("near/app", "near/lib", "near/.venv", "far/app/src", "far/lib", "other"):
            (tmp_path / folder).mkdir(parents=True)
        return tmp_path

    def path(self, trees, *given, near="near", far="far"):
        tops = (trees / near, trees / far) if near else (None, None)
        path = import_path([str(trees / one) if one else "" for one in given], trees / "far/app", *tops)
        return [Path(one).relative_to(trees).as_posix() for one in path]

    @pytest.mark.parametrize(
        ("given", "path"),
        [
            ([], []),
            ([""], []),
            (["near/app"], []),
            (["other", "near/lib"], ["far/lib"]),
            (["near/.venv", "near/gone"], []),
        ],
    )
    def test_what_is_imported_from_this_tree_is_found_in_that_one(self, trees, given, path):
        assert self.path(trees, *given) == ["far/app/src", "far/app", *path]

    def test_through_a_link(self, trees):
        (trees / "link").symlink_to(trees / "near/lib")
        assert self.path(trees, "link") == ["far/app/src", "far/app", "far/lib"]

    def test_what_is_given_elsewhere_stays(self, trees, monkeypatch):
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(trees / "other"), str(trees / "near/lib"), ""]))
        assert self.path(trees, "near/lib") == ["far/app/src", "far/app", "far/lib", "other"]

    def test_of_one_tree(self, trees, monkeypatch):
        monkeypatch.setenv("PYTHONPATH", str(trees / "near/lib"))
        assert self.path(trees, "near/lib", near=None) == ["far/app/src", "far/app", "near/lib"]


class TestArguments:
    FLAGS = ("--rayperf", "--rayperf-gate")

    @pytest.mark.parametrize(
        ("given", "left"),
        [
            (["--size=128", "--size", "64"], ["--size=128", "--size", "64"]),
            (["-p", "no:cacheprovider", "-o", "x=y"], ["-p", "no:cacheprovider", "-o", "x=y"]),
            (["--rayperf", "--rayperf-gate", "-q"], ["-q"]),
            (["--rayperf-against", "main", "--rayperf-json=x", "-q"], ["-q"]),
            (["-k", "one", "-kone", "-m", "slow", "-x", "--lf", "--maxfail=1", "-n", "0", "-n0"], []),
            (["test_it.py", "tests/test_b.py::test_x"], []),
            (["--junitxml", "out.xml", "--durations=3"], ["--durations=3"]),
        ],
    )
    def test_what_the_far_side_gets_too(self, given, left):
        assert carried(given, ["test_it.py", "tests/test_b.py::test_x"], self.FLAGS) == left


def test_the_last_line_of_a_traceback():
    text = "test_it.py:1: in <module>\nE   ModuleNotFoundError: No module named 'gone'\n"
    assert last_line(text) == "ModuleNotFoundError: No module named 'gone'"
    assert last_line("what it is") == "what it is"
    assert last_line("") == "it fails"

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

from pytest_rayperf.against.far import FarPipeline, FarSide, FarSideError, _environment
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

    @pytest.mark.parametrize(
        ("given", "path"),
        [
            ("", ["far/src", "far"]),
            ("near", ["far/src", "far"]),
            ("near/lib", ["far/src", "far", "far/lib"]),
            ("other:near/lib:", ["far/src", "far", "other", "far/lib"]),
        ],
    )
    def test_it_imports_from_its_own_folder(self, tmp_path, given, path):
        near, far = tmp_path / "near", tmp_path / "far"
        (far / "src").mkdir(parents=True)
        given = os.pathsep.join(str(tmp_path / one) if one else "" for one in given.split(":"))
        environment = _environment({"PYTHONPATH": given, "HOME": "h"}, near, far)
        assert environment["HOME"] == "h"
        assert [Path(one) for one in environment["PYTHONPATH"].split(os.pathsep)] == [
            tmp_path / one for one in path
        ]

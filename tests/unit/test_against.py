"""The two sides of --rayperf-against without a process: what they tell each other, and what is made of it."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from builders import LIGHT, SUBJECT, make_reference, make_round, make_rounds
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.against.far import FarPipeline, FarSide, FarSideError, _environment
from pytest_rayperf.against.wire import Channel, SideLost, execution_from_json, execution_to_json
from pytest_rayperf.errors import BaselineError
from pytest_rayperf.measurement import Execution, Spoiled
from pytest_rayperf.policy import Policy
from pytest_rayperf.results import Operator
from pytest_rayperf.verdict import judge, judge_pairs, settled, settled_pairs

FAR = "main (1a2b3c4d5e6f)"
POLICY = Policy()
UNTIMED = Policy(looks=(1, 4), timed=False)


def beside(rounds, **more):
    return replace(make_reference(rounds, name=FAR, **more), beside=True)


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


class TestVerdict:
    """What `judge` makes of rounds that were measured beside others."""

    @pytest.mark.parametrize(
        ("cpu", "status"), [(0.04, "regressed"), (0.02, "unchanged"), (0.01, "improved")]
    )
    def test_is_that_of_pairs(self, cpu, status):
        then, now = make_rounds(n=20), make_rounds(40 * 0.02 / cpu, cpu, 20)
        verdict = judge(now, SUBJECT, beside(then), POLICY)
        pairs = judge_pairs(then, now, POLICY)
        assert verdict.status == pairs.status == status
        assert verdict.ci == pairs.ci
        assert settled(now, SUBJECT, beside(then), POLICY) == settled_pairs(then, now, POLICY) is True

    def test_names_the_far_side_and_asks_for_no_update(self):
        verdict = judge(make_rounds(20, 0.04, 20), SUBJECT, beside(make_rounds(n=20)), POLICY)
        assert verdict.reason.endswith(f"; {FAR}, measured beside it")
        for reference in (beside(make_rounds(counters={"loads": n}, n=3)) for n in (1, 3)):
            verdict = judge(make_rounds(counters={"loads": 2}, n=3), SUBJECT, reference, POLICY)
            assert FAR in verdict.reason
            assert "baseline" not in verdict.reason

    def test_is_open_after_few_rounds_near_the_threshold(self):
        then, now = make_rounds(n=3), make_rounds(40 / 1.1, 0.022, 3)
        assert judge(now, SUBJECT, beside(then), POLICY).status == "inconclusive"
        assert not settled(now, SUBJECT, beside(then), POLICY)

    def test_of_a_round_without_a_partner_says_nothing(self):
        then, now = make_rounds(n=20), make_rounds(n=20)
        late = (*now, make_round(4, 0.2))
        assert judge(late, SUBJECT, beside(then), POLICY).ci == judge(now, SUBJECT, beside(then), POLICY).ci

    def test_counters_speak_before_times(self):
        then, now = make_rounds(counters={"loads": 1}, n=20), make_rounds(80, 0.01, 20, counters={"loads": 2})
        verdict = judge(now, SUBJECT, beside(then), POLICY)
        assert (verdict.status, verdict.metric) == ("regressed", "loads")
        assert settled(now[:1], SUBJECT, beside(then[:1]), POLICY)

    def test_fewer_counts_are_an_improvement_unless_it_is_slower(self):
        then = make_rounds(counters={"loads": 2}, n=20)
        for cpu, status, metric in ((0.02, "improved", "loads"), (0.04, "regressed", "cpu_seconds_per_row")):
            now = make_rounds(40 * 0.02 / cpu, cpu, 20, counters={"loads": 1})
            verdict = judge(now, SUBJECT, beside(then), POLICY)
            assert (verdict.status, verdict.metric) == (status, metric)

    def test_of_what_was_executed_once(self):
        then = make_rounds(n=1, counters={"loads": 1})
        same = make_rounds(n=1, counters={"loads": 1})
        verdict = judge(same, SUBJECT, beside(then), UNTIMED)
        assert (verdict.status, verdict.metric) == ("unchanged", None)
        assert verdict.reason == f"counters as in {FAR}; executed once: only a large slowdown shows"
        assert settled(same, SUBJECT, beside(then), UNTIMED)

    def test_of_what_was_executed_once_and_looks_slow(self):
        then, slow = make_rounds(n=1), make_rounds(2, 0.4, 1)
        assert not settled(slow, SUBJECT, beside(then), UNTIMED)
        verdict = judge(slow * 4, SUBJECT, beside(then * 4), UNTIMED)
        assert (verdict.status, verdict.metric) == ("regressed", "cpu_seconds_per_row")

    def test_the_first_of_several_untimed_rounds_was_the_warm_up(self):
        then, now = make_rounds(n=4), (make_round(1, 1.0), *make_rounds(n=3))
        assert judge(now, SUBJECT, beside(then), UNTIMED).status == "unchanged"

    def test_disturbed_rounds_are_judged_in_pairs_and_said(self):
        busy = make_rounds(n=20, disturbed="38 % of the CPU was used by others")
        verdict = judge(make_rounds(20, 0.04, 20), SUBJECT, beside(busy), POLICY)
        assert verdict.status == "regressed"
        assert "38 % of the CPU" in judge(make_rounds(n=20), SUBJECT, beside(busy), POLICY).reason

    def test_a_target_is_missed_whatever_stands_beside(self):
        verdict = judge(make_rounds(n=3), SUBJECT, beside(make_rounds(n=3)), Policy(min_throughput=1e6))
        assert verdict.status == "regressed"

    def test_the_operator_is_named(self):
        def rounds(cpu):
            operators = [Operator("A", cpu_s=cpu * 64, rows=64), Operator("B", cpu_s=0.64, rows=64)]
            return make_rounds(20, n=20, operators=operators)

        verdict = judge(rounds(0.05), SUBJECT, beside(rounds(0.01)), POLICY)
        assert "operator A +400% CPU" in verdict.reason


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

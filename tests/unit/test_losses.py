"""What a round lost, from what the cluster says before and after."""

from __future__ import annotations

import pytest

from pytest_rayperf.monitors.losses import ClusterLosses, LossError, LossMonitor, _brief
from pytest_rayperf.monitors.protocol import Monitor


def monitor(*answers):
    given = iter(answers)

    def read():
        answer = next(given)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return LossMonitor(read)


def losses(*answers):
    with monitor(*answers) as m:
        pass
    return m.losses()


OLD = ClusterLosses({"a": "worker 1 was lost: long ago"}, frozenset({"node-one", "node-two"}))


def test_nothing():
    assert losses(OLD, OLD) == ()


def test_a_worker():
    after = ClusterLosses({**OLD.workers, "b": "worker 2 was lost: SIGKILL"}, OLD.nodes)
    assert losses(OLD, after) == ("worker 2 was lost: SIGKILL",)


def test_a_node_and_its_workers():
    after = ClusterLosses({**OLD.workers, "b": "worker 2 was lost: node"}, frozenset({"node-one"}))
    assert losses(OLD, after) == ("node node-two died", "worker 2 was lost: node")


def test_a_node_that_joined_is_no_loss():
    assert losses(OLD, ClusterLosses(OLD.workers, OLD.nodes | {"node-three"})) == ()


def test_the_next_block_forgets_them():
    after = ClusterLosses({**OLD.workers, "b": "worker 2 was lost: SIGKILL"}, OLD.nodes)
    m = monitor(OLD, after, after, after)
    with m:
        pass
    assert len(m.losses()) == 1
    with m:
        pass
    assert m.losses() == ()


@pytest.mark.parametrize("answers", [(LossError("no answer"), OLD), (OLD, LossError("no answer"))])
def test_a_cluster_that_does_not_answer_is_said(answers):
    with monitor(*answers) as m:
        pass
    assert m.losses() == ()
    assert (m.available, m.problem) == (False, "no answer")


def test_the_next_block_asks_again():
    m = monitor(LossError("no answer"), OLD, OLD, OLD)
    with m:
        pass
    with m:
        pass
    assert (m.available, m.problem) == (True, None)


def test_before_its_first_block():
    def is_monitor(m: Monitor) -> Monitor:
        return m

    m = monitor()
    assert (is_monitor(m).summary(), m.losses(), m.problem) == ({}, (), None)


@pytest.mark.parametrize(
    ("detail", "brief"),
    [
        (
            "Worker unexpectedly exits with a connection error code 2. End of file. There are some causes",
            "Worker unexpectedly exits with a connection error code 2",
        ),
        ("Killed.", "Killed"),
        ("", "Ray does not say how"),
    ],
)
def test_the_first_sentence_of_ray_s_account(detail, brief):
    assert _brief(detail) == brief

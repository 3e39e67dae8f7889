"""What the executor does around a round; rounds themselves need Ray (tests/integration)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pytest_rayperf.execution import RayExecutor


@pytest.fixture
def executor_on():
    """An executor on a cluster that does nothing; what it warned of."""

    def make(is_idle, problem=None):
        warned = []
        tally = SimpleNamespace(discard=lambda: None, take=lambda: {"calls": 2})
        cluster = SimpleNamespace(tally=tally, wait_until_idle=lambda: is_idle, starts=1)
        clock = iter(range(100)).__next__
        return RayExecutor(cluster, lambda: [Monitor(problem)], warned.append, clock=clock), warned

    return make


class Monitor:
    def __init__(self, problem=None):
        self.problem = problem

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        pass

    def summary(self):
        return {"peak_worker_memory": None}


@pytest.mark.parametrize("is_idle", [True, False])
def test_says_when_the_cluster_was_busy(executor_on, is_idle):
    executor, warned = executor_on(is_idle)
    execution = executor.run(lambda: 7, keep_outputs=True, on_rows=lambda _: None)
    assert (execution.round.rows, execution.round.wall_seconds) == (7, 1)
    assert execution.round.counters == {"calls": 2}
    assert execution.round.peak_worker_memory is None
    assert execution.outputs is None
    assert [("in use by something else" in text) for text in warned] == [True] * (not is_idle)


def test_a_monitor_that_broke_is_said(executor_on):
    executor, warned = executor_on(True, "no raylet is alive")
    executor.run(lambda: 7, keep_outputs=False, on_rows=lambda _: None)
    assert warned == ["figures are missing: no raylet is alive"]

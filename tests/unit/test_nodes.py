"""Figures of several nodes: added up where that means something, and kept by node."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_rayperf.monitors.nodes import NodeError, NodeReport, NodesMonitor, machine_id
from pytest_rayperf.monitors.protocol import Monitor

HERE = {
    "peak_worker_memory": 500.0,
    "total_peak_memory": 900.0,
    "cpu_seconds": 2.0,
    "machine_cpu_utilization": 0.5,
    "sampler_cpu_seconds": 0.01,
}
THERE = {
    "peak_worker_memory": 700.0,
    "total_peak_memory": 800.0,
    "cpu_seconds": 3.0,
    "machine_cpu_utilization": 0.9,
    "sampler_cpu_seconds": 0.02,
}


class Own:
    """The driver's node's monitor."""

    problem = None
    available = True

    def __init__(self):
        self.log = []

    def __enter__(self):
        self.log.append("begins here")
        return self

    def __exit__(self, *exc_info):
        self.log.append("ends here")

    def summary(self):
        return HERE


class Other:
    def __init__(self, log, figures=THERE, start=None, stop=None, **seen):
        self.log, self.report = log, NodeReport(figures, **seen)
        self.errors = {"begins": start, "ends": stop}

    def _do(self, what):
        self.log.append(f"{what} there")
        if self.errors[what] is not None:
            raise NodeError(self.errors[what])

    def start(self):
        self._do("begins")

    def stop(self):
        self._do("ends")
        return self.report


def measured(*others):
    own = Own()
    made = {f"node{i}": Other(own.log, **kwargs) for i, kwargs in enumerate(others)}
    with NodesMonitor(("here", own), made) as m:
        own.log.append("round")
    return m, own.log


def test_what_adds_up_and_what_does_not():
    m, _ = measured({})
    assert m.summary() == {
        "peak_worker_memory": 700,
        "total_peak_memory": 1700,
        "cpu_seconds": 5,
        "machine_cpu_utilization": 0.5,
        "sampler_cpu_seconds": 0.03,
    }
    assert (m.available, m.problem) == (True, None)


def test_by_node():
    m, _ = measured({}, {"figures": {"cpu_seconds": 9.0}})
    assert m.by_node() == {"here": HERE, "node0": THERE, "node1": {"cpu_seconds": 9.0}}


def test_all_nodes_sample_the_whole_round():
    _, log = measured({})
    assert log == ["begins there", "begins here", "round", "ends here", "ends there"]


@pytest.mark.parametrize(
    "error",
    [
        {"start": "no module named pytest_rayperf"},
        {"stop": "it was killed"},
        {"problem": "no raylet is alive"},
    ],
)
def test_a_sampler_that_breaks_makes_the_sums_missing_and_is_said(error):
    m, _ = measured({}, error)
    summary = m.summary()
    assert [name for name, value in summary.items() if value is not None] == ["machine_cpu_utilization"]
    assert m.by_node().keys() == {"here", "node0"}
    (reason,) = error.values()
    assert (m.available, m.problem) == (False, f"node node1: {reason}")


def test_one_that_did_not_begin_is_not_asked_to_end():
    _, log = measured({"start": "it does not answer"})
    assert log == ["begins there", "begins here", "round", "ends here"]


def test_a_figure_that_one_node_lacks_is_missing():
    m, _ = measured({"figures": {**THERE, "cpu_seconds": None}})
    assert (m.summary()["cpu_seconds"], m.summary()["total_peak_memory"]) == (None, 1700)


def test_the_next_block_tries_again():
    own = Own()
    other = Other(own.log, stop="it was killed")
    m = NodesMonitor(("here", own), {"node0": other})
    with m:
        pass
    other.errors["ends"] = None
    with m:
        pass
    assert (m.problem, m.summary()["cpu_seconds"]) == (None, 5)


def test_what_disturbed_other_machines_is_said_with_the_node():
    m, _ = measured(
        {"disturbed": ("38 % of the CPU was used by others",)}, {"unseen": ("PSI: no such file",)}
    )
    assert m.reasons() == ("node node0: 38 % of the CPU was used by others",)
    assert m.unseen() == ("node node1: PSI: no such file",)


def test_that_a_lost_sampler_saw_no_disturbance_is_said():
    m, _ = measured({"stop": "it was killed"}, {"disturbed": ("a",), "problem": "no raylet is alive"})
    assert m.unseen() == ("node node0: disturbances, for its sampler is lost",)
    assert m.reasons() == ("node node1: a",)


def test_the_next_block_forgets_what_disturbed_the_last():
    own = Own()
    other = Other(own.log, disturbed=("a",))
    m = NodesMonitor(("here", own), {"node0": other})
    with m:
        pass
    other.report = NodeReport(THERE)
    with m:
        pass
    assert m.reasons() == ()


def test_a_machine_has_one_id():
    other = subprocess.run(
        [sys.executable, "-c", "from pytest_rayperf.monitors.nodes import machine_id; print(machine_id())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == machine_id()
    assert machine_id()


def test_is_a_monitor():
    def is_monitor(m: Monitor) -> Monitor:
        return m

    assert is_monitor(NodesMonitor(("here", Own()), {})).problem is None

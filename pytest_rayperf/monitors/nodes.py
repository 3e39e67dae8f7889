"""The workers of a cluster's other nodes: on each of them a sampler of its own, an actor pinned there.

The driver's own node is sampled from the driver. What the nodes tell is added up, or the largest of it is
taken, and is kept by node besides.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Protocol

import psutil

from pytest_rayperf.monitors.gpu import GpuMonitor
from pytest_rayperf.monitors.protocol import Monitor
from pytest_rayperf.monitors.system import ClusterWorkers, SystemMonitor

ANSWER_TIMEOUT_S = 30.0
"""How long a node's sampler has to answer. Ray takes up to half a minute to notice that one died."""

Figures = Mapping[str, float | None]

_ADDED = frozenset(
    {"total_peak_memory", "processes", "cpu_seconds", "gpu_count", "gpu_power_total", "sampler_cpu_seconds"}
)
_LARGEST = frozenset({"peak_worker_memory", "gpu_utilization_max", "gpu_memory_peak", "gpu_temperature_max"})


class NodeError(Exception):
    """A node's sampler did not start, or does not answer."""


class NodeSampler(Protocol):
    """What samples on one other node."""

    def start(self) -> None:
        """Begin; raises NodeError where it cannot."""

    def stop(self) -> Figures:
        """End, and what was measured since; raises NodeError where that is lost."""


class NodesMonitor:
    """Samples all nodes: `with monitor as m: ...; m.summary()`, `m.by_node()`.

    Args:
        here: the driver's node, as its id and what samples it.
        others: by node id.
    """

    def __init__(self, here: tuple[str, Monitor], others: Mapping[str, NodeSampler]) -> None:
        self._name, self._here = here
        self._others = others
        self._figures: dict[str, Figures] = {}
        self._problems: dict[str, str] = {}

    @property
    def available(self) -> bool:
        """Whether every node can be sampled, as far as is known."""
        return self._here.available and not self._problems

    @property
    def problem(self) -> str | None:
        """Why figures are missing, all nodes' reasons in one line; None while nothing is wrong."""
        reasons = [self._here.problem, *self._problems.values()]
        return "; ".join(reason for reason in reasons if reason is not None) or None

    def __enter__(self) -> NodesMonitor:
        """Forget the last block, and begin on all nodes."""
        self._figures, self._problems = {}, {}
        for node, sampler in self._others.items():
            self._asked(node, sampler.start)
        self._here.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._here.__exit__(kind, error, trace)
        for node, sampler in self._others.items():
            if node not in self._problems:
                self._asked(node, partial(self._end, node, sampler))

    def _end(self, node: str, sampler: NodeSampler) -> None:
        self._figures[node] = sampler.stop()

    def _asked(self, node: str, action: Callable[[], None]) -> None:
        try:
            action()
        except NodeError as error:
            self._problems[node] = f"node {node[:12]}: {error}"

    def by_node(self) -> Mapping[str, Figures]:
        """The figures of each node of which they are known, by its id."""
        return {self._name: self._here.summary(), **self._figures}

    def summary(self) -> Figures:
        """The figures of all nodes together; None where one of them does not know its own.

        Memory, CPU time, cards and watts are added up; of peaks that belong to one process or card the
        largest is taken. What is neither (means over time, shares) is the driver's node's alone.
        """
        own = self._here.summary()
        known = list(self.by_node().values())
        whole = len(known) == 1 + len(self._others)
        return {name: _together(name, own[name], known, whole) for name in own}


def _together(name: str, own: float | None, known: Iterable[Figures], whole: bool) -> float | None:
    if name not in _ADDED | _LARGEST:
        return own
    values = [figures.get(name) for figures in known]
    told = [value for value in values if value is not None]
    if not whole or len(told) < len(values):
        return None
    return sum(told) if name in _ADDED else max(told)


class SamplerActor:
    """Samples the node it is on; runs as a Ray actor."""

    def __init__(self, interval_s: float) -> None:
        workers = ClusterWorkers((os.getppid(),))  # whoever starts a worker is its node's raylet
        own = os.getpid()

        def others() -> list[psutil.Process]:
            return [worker for worker in workers() if worker.pid != own]

        self._monitors: list[Monitor] = [SystemMonitor(others, interval_s, is_idle=workers.is_idle)]
        gpu = GpuMonitor(interval_s)
        if gpu.available:
            self._monitors.append(gpu)

    def start(self) -> None:
        """Begin."""
        for monitor in self._monitors:
            monitor.__enter__()

    def stop(self) -> tuple[dict[str, float | None], str | None]:
        """End; the figures since, and why some are missing."""
        figures: dict[str, float | None] = {}
        problems = []
        for monitor in self._monitors:
            monitor.__exit__(None, None, None)
            cost = figures.get("sampler_cpu_seconds") or 0.0
            figures |= monitor.summary()
            figures["sampler_cpu_seconds"] = cost + (figures["sampler_cpu_seconds"] or 0.0)
            if monitor.problem is not None:
                problems.append(monitor.problem)
        return figures, "; ".join(problems) or None


class RemoteSampler:
    """The driver's end of a `SamplerActor`.

    Args:
        node: the id of the node to sample.
        interval_s: seconds between two samples.
    """

    def __init__(self, node: str, interval_s: float) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        pinned = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        remote: Any = ray.remote(num_cpus=0, max_restarts=0, scheduling_strategy=pinned)(SamplerActor)
        self._actor = remote.remote(interval_s)

    def start(self) -> None:
        """Begin; raises NodeError where the actor did not start (no pytest-rayperf on that node, say)."""
        self._ask(self._actor.start)

    def stop(self) -> Figures:
        """End, and the figures since; raises NodeError where they are lost."""
        figures, problem = self._ask(self._actor.stop)
        if problem is not None:
            raise NodeError(problem)
        found: Figures = figures
        return found

    def _ask(self, method: Any) -> Any:
        import ray

        try:
            return ray.get(method.remote(), timeout=ANSWER_TIMEOUT_S)
        except ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise NodeError(f"its sampler does not answer ({lines[-1]})") from error


def other_nodes() -> list[str]:
    """Ids of the nodes that are alive, but for the one that this process is on."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    return [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]

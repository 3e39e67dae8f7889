"""A cluster's other nodes: on each of them a sampler of its own, an actor pinned there.

The driver's own node is sampled from the driver. What the nodes tell is added up, or the largest of it is
taken, and is kept by node besides. A node on another machine says too whether something disturbed it there.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import psutil

from pytest_rayperf.limits import usable_cores
from pytest_rayperf.monitors.disturbance import DisturbanceMonitor, watch_disturbances
from pytest_rayperf.monitors.gpu import GpuMonitor
from pytest_rayperf.monitors.protocol import Monitor
from pytest_rayperf.monitors.system import ClusterWorkers, SystemMonitor

ANSWER_TIMEOUT_S = 30.0
"""How long a node's sampler has to answer. Ray takes up to half a minute to notice that one died."""

Figures = Mapping[str, float | None]

_ADDED = frozenset(
    {
        "total_peak_memory",
        "processes",
        "reused_workers",
        "cpu_seconds",
        "gpu_count",
        "gpu_power_total",
        "sampler_cpu_seconds",
    }
)
_LARGEST = frozenset({"peak_worker_memory", "gpu_utilization_max", "gpu_memory_peak", "gpu_temperature_max"})


class NodeError(Exception):
    """A node's sampler did not start, or does not answer."""


@dataclass(frozen=True)
class NodeReport:
    """What one other node's sampler saw.

    Attributes:
        figures: of its workers and GPUs.
        disturbed: why the block was disturbed there, a sentence each.
        unseen: what could not be seen of that, and why.
        problem: why figures are missing.
    """

    figures: Figures
    disturbed: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    problem: str | None = None


class NodeSampler(Protocol):
    """What samples on one other node."""

    def start(self) -> None:
        """Begin; raises NodeError where it cannot."""

    def stop(self) -> NodeReport:
        """End, and what was seen since; raises NodeError where that is lost."""


class NodesMonitor:
    """Samples all nodes: `with monitor as m: ...; m.summary()`, `m.by_node()`.

    Args:
        here: the driver's node, as its id and what samples it.
        others: by node id.
    """

    def __init__(self, here: tuple[str, Monitor], others: Mapping[str, NodeSampler]) -> None:
        self._name, self._here = here
        self._others = others
        self._reports: dict[str, NodeReport] = {}
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
        self._reports, self._problems = {}, {}
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
        report = sampler.stop()
        self._reports[node] = report
        if report.problem is not None:
            raise NodeError(report.problem)

    def _asked(self, node: str, action: Callable[[], None]) -> None:
        try:
            action()
        except NodeError as error:
            self._problems[node] = f"{_named(node)}: {error}"

    def by_node(self) -> Mapping[str, Figures]:
        """The figures of each node of which they are known, by its id."""
        known = {node: one.figures for node, one in self._reports.items() if one.problem is None}
        return {self._name: self._here.summary(), **known}

    def reasons(self) -> tuple[str, ...]:
        """Why the last block was disturbed on other machines, a sentence each."""
        return tuple(f"{_named(node)}: {why}" for node, one in self._reports.items() for why in one.disturbed)

    def unseen(self) -> tuple[str, ...]:
        """What could not be seen of that."""
        lost = [
            f"{_named(node)}: disturbances, for its sampler is lost"
            for node in self._problems
            if node not in self._reports
        ]
        return (
            *lost,
            *(f"{_named(node)}: {what}" for node, one in self._reports.items() for what in one.unseen),
        )

    def summary(self) -> Figures:
        """The figures of all nodes together; None where one of them does not know its own.

        Memory, CPU time, cards and watts are added up; of peaks that belong to one process or card the
        largest is taken. What is neither (means over time, shares) is the driver's node's alone.
        """
        own = self._here.summary()
        known = list(self.by_node().values())
        whole = len(known) == 1 + len(self._others)
        return {name: _together(name, own[name], known, whole) for name in own}


def _named(node: str) -> str:
    return f"node {node[:12]}"


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

    def __init__(self, interval_s: float, gcs_address: str, drivers_machine: str) -> None:
        workers = ClusterWorkers((os.getppid(),))  # whoever starts a worker is its node's raylet
        own = os.getpid()

        def others() -> list[psutil.Process]:
            return [worker for worker in workers() if worker.pid != own]

        self._monitors: list[Monitor] = [
            SystemMonitor(others, interval_s, is_idle=workers.is_idle, is_actor=workers.is_actor)
        ]
        gpu = GpuMonitor(interval_s)
        if gpu.available:
            self._monitors.append(gpu)
        self._disturbance: DisturbanceMonitor | None = None
        if machine_id() != drivers_machine:  # else the driver looks at all of it
            self._disturbance = watch_disturbances(gcs_address, quota=usable_cores())
            self._monitors.insert(0, self._disturbance)

    def start(self) -> None:
        """Begin."""
        for monitor in self._monitors:
            monitor.__enter__()

    def stop(self) -> NodeReport:
        """End, and what was seen since."""
        figures: dict[str, float | None] = {}
        problems = []
        for monitor in reversed(self._monitors):
            monitor.__exit__(None, None, None)
            cost = figures.get("sampler_cpu_seconds") or 0.0
            figures |= monitor.summary()
            figures["sampler_cpu_seconds"] = cost + (figures["sampler_cpu_seconds"] or 0.0)
            if monitor.problem is not None:
                problems.append(monitor.problem)
        watched = self._disturbance
        return NodeReport(
            figures,
            () if watched is None else watched.reasons(),
            () if watched is None else watched.unseen(),
            "; ".join(problems) or None,
        )


def machine_id() -> str:
    """The same for all processes of a machine that runs, and on no other: the kernel's boot id.

    Where there is none (not Linux), the host's name.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()


class RemoteSampler:
    """The driver's end of a `SamplerActor`.

    Args:
        node: the id of the node to sample.
        interval_s: seconds between two samples.
        gcs_address: of its cluster, "host:port".
    """

    def __init__(self, node: str, interval_s: float, gcs_address: str) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        pinned = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        remote: Any = ray.remote(num_cpus=0, max_restarts=0, scheduling_strategy=pinned)(SamplerActor)
        self._actor = remote.remote(interval_s, gcs_address, machine_id())

    def start(self) -> None:
        """Begin; raises NodeError where the actor did not start (no pytest-rayperf on that node, say)."""
        self._ask(self._actor.start)

    def stop(self) -> NodeReport:
        """End, and what was seen since; raises NodeError where that is lost."""
        report: NodeReport = self._ask(self._actor.stop)
        return report

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

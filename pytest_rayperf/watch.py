"""What looks on while a round runs, put together for a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_rayperf.cluster import Cluster
from pytest_rayperf.limits import usable_cores
from pytest_rayperf.monitors.disturbance import DisturbanceMonitor, watch_disturbances
from pytest_rayperf.monitors.driver import DriverMonitor
from pytest_rayperf.monitors.gpu import GpuMonitor
from pytest_rayperf.monitors.losses import LossMonitor, ray_losses
from pytest_rayperf.monitors.nodes import NodesMonitor, RemoteSampler, other_nodes
from pytest_rayperf.monitors.object_store import ObjectStoreMonitor, ray_object_store
from pytest_rayperf.monitors.protocol import Monitor
from pytest_rayperf.monitors.sampler import DEFAULT_INTERVAL_S
from pytest_rayperf.monitors.system import ClusterWorkers, SystemMonitor, local_raylets
from pytest_rayperf.monitors.utilization import CpuSpans, utilization_of
from pytest_rayperf.results import Utilization


@dataclass(frozen=True)
class Watch:
    """What looks on while a round runs.

    Attributes:
        monitors: their figures are the round's.
        disturbance: says whether something else had this machine.
        losses: says whether workers were lost.
        nodes: the one of the monitors that knows figures by node, where there are several nodes, and whether
            something else had the other machines.
        gpu: the one that knows this machine's cards; among the monitors where there are any.
    """

    monitors: Sequence[Monitor] = ()
    disturbance: DisturbanceMonitor | None = None
    losses: LossMonitor | None = None
    nodes: NodesMonitor | None = None
    gpu: GpuMonitor | None = None

    def all(self) -> list[Monitor]:
        """All of them; what is asked for a disturbance begins first and ends last."""
        others: list[Monitor | None] = [self.disturbance, self.losses]
        return [monitor for monitor in (*others, *self.monitors) if monitor is not None]

    def reasons(self) -> tuple[str, ...]:
        """Why the last block was disturbed, on any of the machines, a sentence each."""
        return tuple(reason for one in (self.disturbance, self.nodes) if one for reason in one.reasons())

    def unseen(self) -> tuple[str, ...]:
        """What could not be seen of that, and why."""
        return tuple(what for one in (self.disturbance, self.nodes) if one for what in one.unseen())

    def undecided(self) -> str:
        """Why nobody knows of the last block whether it was, where that is known of others; "" if it is."""
        return "" if self.disturbance is None else self.disturbance.undecided()

    def by_node(self) -> Mapping[str, Mapping[str, float]]:
        """The last block's figures of each node, by its id; nothing where there is one node."""
        found = {} if self.nodes is None else self.nodes.by_node()
        return {
            node: {name: value for name, value in figures.items() if value is not None}
            for node, figures in found.items()
        }

    def utilization(self, began: float, seconds: float) -> Utilization | None:
        """How busy this machine was in the last block; None where that was not measured.

        The round began at `began`, by the monitors' clock, and took `seconds`.
        """
        cpu = CpuSpans() if self.disturbance is None else self.disturbance.over_time()
        return utilization_of(cpu, {} if self.gpu is None else self.gpu.over_time(), began, seconds)


def watch_over(cluster: Cluster) -> Watch:
    """All there is to look on at the rounds of `cluster`, which this process is connected to."""
    import ray

    others = other_nodes()
    nodes: NodesMonitor | None = None
    processes = ClusterWorkers(cluster.raylet_pids)
    workers: Monitor = SystemMonitor(processes, is_idle=processes.is_idle, is_actor=processes.is_actor)
    if others:
        # Another node's raylet may be on this machine too: it has a sampler of its own.
        socket = ray._private.worker.global_worker.node.raylet_socket_name
        here = ClusterWorkers(local_raylets(socket=socket))
        own = SystemMonitor(here, is_idle=here.is_idle, is_actor=here.is_actor)
        samplers = {node: RemoteSampler(node, DEFAULT_INTERVAL_S, cluster.address) for node in others}
        workers = nodes = NodesMonitor((ray.get_runtime_context().get_node_id(), own), samplers)
    monitors: list[Monitor] = [workers, DriverMonitor(), ObjectStoreMonitor(ray_object_store)]
    gpu = GpuMonitor()
    if gpu.available:
        monitors.append(gpu)
    return Watch(
        monitors=monitors,
        disturbance=watch_disturbances(cluster.address, quota=usable_cores()),
        losses=LossMonitor(ray_losses),
        nodes=nodes,
        gpu=gpu,
    )

"""Workers and nodes that were lost while a round ran: Ray starts others, so that it only looks slow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class ClusterLosses:
    """What a cluster has lost since it was started, as it knows now.

    Attributes:
        workers: how each worker died that was not meant to, by its id.
        nodes: ids of the nodes that are alive.
    """

    workers: Mapping[str, str] = field(default_factory=dict)
    nodes: frozenset[str] = frozenset()


class LossError(Exception):
    """The cluster could not be asked."""


class LossMonitor:
    """Asks the cluster at both ends of a block: `with monitor as m: ...; m.losses()`.

    Args:
        read: asks; raises LossError where it cannot.
    """

    def __init__(self, read: Callable[[], ClusterLosses]) -> None:
        self._read = read
        self._before: ClusterLosses | None = None
        self._after: ClusterLosses | None = None
        self._problem: str | None = None

    @property
    def available(self) -> bool:
        """Whether the cluster has answered, as far as it was asked."""
        return self._problem is None

    @property
    def problem(self) -> str | None:
        """Why it is not known what was lost; None while nothing is wrong."""
        return self._problem

    def __enter__(self) -> LossMonitor:
        """Forget the last block, and ask."""
        self._problem = self._after = None
        self._before = self._ask()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._after = self._ask()

    def summary(self) -> Mapping[str, float | None]:
        """Nothing: a loss is no figure of a round that counts."""
        return {}

    def losses(self) -> tuple[str, ...]:
        """What was lost in the last block, in words; nothing too where the cluster did not answer."""
        before, after = self._before, self._after
        if before is None or after is None:
            return ()
        died = [how for worker, how in after.workers.items() if worker not in before.workers]
        left = [f"node {node[:12]} died" for node in sorted(before.nodes - after.nodes)]
        return (*left, *died)

    def _ask(self) -> ClusterLosses | None:
        try:
            return self._read()
        except LossError as error:
            self._problem = str(error)
            return None


def ray_losses() -> ClusterLosses:
    """What the cluster that this process is connected to has lost.

    Its control store keeps a record of each worker, and how it ended. A worker that Ray or the user's own
    code ended as it was meant to is no loss, nor is one whose code raised an error.

    Raises:
        LossError: it does not answer, or this Ray calls things differently.
    """
    import ray
    import ray._private.state
    from ray.core.generated import common_pb2, gcs_pb2

    state: Any = ray._private.state.state
    lost = (common_pb2.SYSTEM_ERROR, common_pb2.NODE_OUT_OF_MEMORY)
    try:
        table = [gcs_pb2.WorkerTableData.FromString(row) for row in _accessor(state).get_worker_table()]
        workers = {
            row.worker_address.worker_id.hex(): f"worker {row.pid} was lost: {_brief(row.exit_detail)}"
            for row in table
            if not row.is_alive and row.worker_type == common_pb2.WORKER and row.exit_type in lost
        }
        nodes = frozenset(node["NodeID"] for node in ray.nodes() if node["Alive"])
    except (AttributeError, KeyError, ValueError, RuntimeError, ray.exceptions.RaySystemError) as error:
        raise LossError(f"whether workers were lost is not known: {error!r}") from error
    return ClusterLosses(workers, nodes)


def _accessor(state: Any) -> Any:
    if hasattr(state, "_connect_and_get_accessor"):
        return state._connect_and_get_accessor()
    state._check_connected()  # until Ray 2.5x
    return state.global_state_accessor


def _brief(detail: str) -> str:
    """The first sentence of Ray's account: the others say in general what may kill a worker."""
    return (detail.strip().partition(". ")[0] or "Ray does not say how").rstrip(".")

"""The cluster's object store: how full it was, what was written to it, what it spilled to disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Any

from pytest_rayperf.monitors.sampler import DEFAULT_INTERVAL_S, Sampler


@dataclass(frozen=True)
class StoreReading:
    """All nodes' object stores together; the last two count from the cluster's start."""

    used_bytes: int
    written_bytes: int
    spilled_bytes: int


_PATIENCE_S = 60.0
"""How long a raylet has to answer; one that is busy spilling takes its time."""


class StoreError(Exception):
    """The object store could not be asked."""


class ObjectStoreMonitor:
    """Samples the object store: `with monitor as m: ...; m.summary()`.

    Args:
        connect: opens the way to the store for a block, and gives the function that asks it, which raises
            StoreError where it cannot.
        interval_s: seconds between two samples.
        sampler: makes the sampler; tests pass one with a clock of their own.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractContextManager[Callable[[], StoreReading]]],
        interval_s: float = DEFAULT_INTERVAL_S,
        *,
        sampler: Callable[..., Sampler] = Sampler,
    ) -> None:
        self._connect = connect
        self._connection = ExitStack()
        self._sampler = sampler(self._sample, interval_s, (StoreError,))
        self._readings: list[StoreReading] = []

    @property
    def available(self) -> bool:
        """Whether nothing has kept it from sampling, as far as is known."""
        return self._sampler.problem is None

    @property
    def problem(self) -> str | None:
        """Why figures are missing; None while nothing is wrong."""
        return self._sampler.problem

    def __enter__(self) -> ObjectStoreMonitor:
        """Forget the last block and take the first sample."""
        self._readings = []
        with ExitStack() as connection:
            self._read = connection.enter_context(self._connect())
            self._sampler.start()
            self._connection = connection.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._connection:
            self._sampler.stop()

    def summary(self) -> Mapping[str, float | None]:
        """The figures of the last block, in bytes; all None if the sampling broke off.

        A node that leaves takes its counts with it: then the last two are None.

        - `object_store_peak`: the most that was in the store at a sample
        - `object_store_written`: what was created in it, between the first sample and the last
        - `spilled_bytes`: what went to disk between them
        - `sampler_cpu_seconds`: what the asking itself cost, in CPU seconds of this process
        """
        readings = self._readings if self._sampler.problem is None else []
        if len(readings) < 2:
            names = ("object_store_peak", "object_store_written", "spilled_bytes", "sampler_cpu_seconds")
            return dict.fromkeys(names)
        first, last = readings[0], readings[-1]
        whole = all(
            one.written_bytes <= next_.written_bytes and one.spilled_bytes <= next_.spilled_bytes
            for one, next_ in pairwise(readings)
        )
        return {
            "object_store_peak": float(max(reading.used_bytes for reading in readings)),
            "object_store_written": float(last.written_bytes - first.written_bytes) if whole else None,
            "spilled_bytes": float(last.spilled_bytes - first.spilled_bytes) if whole else None,
            "sampler_cpu_seconds": self._sampler.cpu_seconds,
        }

    def _sample(self) -> None:
        self._readings.append(self._read())


@contextmanager
def ray_object_store() -> Iterator[Callable[[], StoreReading]]:
    """While it is open: a function that asks the cluster that this process is connected to.

    Ray's raylets are asked through gRPC, which Ray itself does without: where grpcio is missing, its own
    statistics say that 0 bytes were spilled. Here that is a StoreError.
    """
    import ray

    try:
        import grpc
        from ray.core.generated import node_manager_pb2, node_manager_pb2_grpc
    except ImportError as error:
        missing = f"grpcio is missing, through which raylets are asked ({error})"

        def unable() -> StoreReading:
            raise StoreError(missing)

        yield unable
        return

    # The driver's own raylet, which asks the others. One channel for all samples of a round: Ray's own
    # function for this (`internal_api.get_memory_info_reply`) makes one at each call, and looks the nodes up.
    # Not kept longer: gRPC prints a line to the terminal when a cluster ends before its channels.
    own = ray.get_runtime_context().get_node_id()
    node = next(node for node in ray.nodes() if node["NodeID"] == own)
    channel = _channel_to(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}")
    raylet: Any = node_manager_pb2_grpc.NodeManagerServiceStub(channel)
    request = node_manager_pb2.FormatGlobalMemoryInfoRequest(include_memory_info=False)

    def read() -> StoreReading:
        try:
            stats: Any = raylet.FormatGlobalMemoryInfo(request, timeout=_PATIENCE_S).store_stats
        except grpc.RpcError as error:
            raise StoreError(f"the raylet did not tell its object store's figures ({error})") from error
        return StoreReading(
            used_bytes=int(stats.object_store_bytes_used),
            written_bytes=int(stats.cumulative_created_bytes),
            spilled_bytes=int(stats.spilled_bytes_total),
        )

    try:
        yield read
    finally:
        channel.close()


def _channel_to(address: str) -> Any:
    # It carries the cluster's token, where there is one.
    try:
        from ray._private.grpc_utils import init_grpc_channel
    except ImportError:  # Ray 2.51
        from ray._private.utils import init_grpc_channel
    return init_grpc_channel(address, options=[])

"""The cluster's object store: how full it was, what was written to it, what it spilled to disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


class StoreError(Exception):
    """The object store could not be asked."""


class ObjectStoreMonitor:
    """Samples the object store: `with monitor as m: ...; m.summary()`.

    Args:
        read: asks the store; raises StoreError where it cannot.
        interval_s: seconds between two samples.
        sampler: makes the sampler; tests pass one with a clock of their own.
    """

    def __init__(
        self,
        read: Callable[[], StoreReading],
        interval_s: float = DEFAULT_INTERVAL_S,
        *,
        sampler: Callable[..., Sampler] = Sampler,
    ) -> None:
        self._read = read
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
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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


def ray_object_store() -> Callable[[], StoreReading]:
    """A function that asks the cluster that this process is connected to.

    Ray's raylets are asked through gRPC, which Ray itself does without: where grpcio is missing, its own
    statistics say that 0 bytes were spilled. Here that is a StoreError.
    """
    import ray
    from ray._private import internal_api

    state = internal_api.get_state_from_address(ray.get_runtime_context().gcs_address)

    def read() -> StoreReading:
        try:
            import grpc
        except ImportError as error:
            raise StoreError(f"grpcio is missing, through which raylets are asked ({error})") from error
        try:
            stats: Any = internal_api.get_memory_info_reply(state).store_stats
        except (grpc.RpcError, AssertionError) as error:  # AssertionError: no raylet is alive
            raise StoreError(f"the raylet did not tell its object store's figures ({error})") from error
        return StoreReading(
            used_bytes=int(stats.object_store_bytes_used),
            written_bytes=int(stats.cumulative_created_bytes),
            spilled_bytes=int(stats.spilled_bytes_total),
        )

    return read

"""Exact counts from inside the workers: model loads, UDF calls, whatever a pipeline wants to count.

A UDF calls `count("model_loads")`; the measurement reads the sums after each round. The sums are kept by
one small actor of the cluster (it takes no CPU of the scheduler's), because workers of any node must reach
it and they may be killed as soon as the last row is out: so a count waits until the actor has it, about a
millisecond. Where no measurement is going on, `count` does nothing.
"""

from __future__ import annotations

from typing import Any

ACTOR_NAME = "pytest-rayperf-counters"
NAMESPACE = "pytest-rayperf"


class Tally:
    """Sums by name. Runs as a Ray actor."""

    def __init__(self) -> None:
        self._sums: dict[str, int] = {}

    def add(self, name: str, amount: int) -> None:
        """Add `amount` to the sum of `name`."""
        self._sums[name] = self._sums.get(name, 0) + amount

    def take(self) -> dict[str, int]:
        """The sums since the last call."""
        sums, self._sums = self._sums, {}
        return sums


_tally: tuple[str, Any] | None = None  # (job id, handle): a handle is good for one cluster connection only


def count(name: str, amount: int = 1) -> None:
    """Add `amount` to the counter `name` of the round that is running.

    For rare events (a model load, a file opened): each call is a round trip to another process.
    Outside a Ray worker or driver that is being measured it does nothing.

    Raises:
        ray.exceptions.RayError: the counting actor died, so the counts would be wrong.
    """
    import ray

    if not ray.is_initialized():
        return
    handle = _find_tally()
    if handle is not None:
        ray.get(handle.add.remote(name, amount))


def _find_tally() -> Any:
    global _tally
    import ray

    job = ray.get_runtime_context().get_job_id()
    if _tally is None or _tally[0] != job:
        try:
            handle = ray.get_actor(_actor_name(job), namespace=NAMESPACE)
        except ValueError:  # no such actor: this process belongs to no measurement
            handle = None
        _tally = (job, handle)
    return _tally[1]


def start_tally() -> Any:
    """Start the counting actor of this driver's job, and return its handle."""
    import ray

    options = {
        "name": _actor_name(ray.get_runtime_context().get_job_id()),
        "namespace": NAMESPACE,
        "num_cpus": 0,
        "max_concurrency": 1,
    }
    handle = ray.remote(Tally).options(**options).remote()
    ray.get(handle.take.remote())  # it is up before the first round, not during it
    return handle


def _actor_name(job: str) -> str:
    return f"{ACTOR_NAME}-{job}"

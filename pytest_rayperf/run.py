"""A whole run, as frozen data: what reports are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_rayperf.machine import Environment
from pytest_rayperf.results import Benchmark, Duel, Ladder, Sweep
from pytest_rayperf.selftest import Selftest


@dataclass(frozen=True)
class Accepted:
    """One session that was accepted into a baseline: a point of its benchmark's history.

    Medians over its rounds; None where a round lacks the figure.
    """

    recorded_at: str
    commit: str | None
    throughput: float | None
    cpu_seconds_per_row: float | None


@dataclass(frozen=True)
class Run:
    """Everything that one pytest session measured."""

    started_at: str
    duration_s: float
    environment: Environment
    software: Mapping[str, str | None]
    profile: str
    data: Mapping[str, str | int | None]
    model: Mapping[str, str | int | None]
    policy: Mapping[str, float | int | bool | str | None]
    benchmarks: tuple[Benchmark, ...] = ()
    duels: tuple[Duel, ...] = ()
    ladders: tuple[Ladder, ...] = ()
    sweeps: tuple[Sweep, ...] = ()
    selftests: tuple[Selftest, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    commit: str | None = None
    cost_per_hour: float | None = None
    """USD an hour that the cluster costs; None where that was not said."""
    against: str | None = None
    """The far side, which was measured beside it and compared with instead of baselines; None without one."""
    history: Mapping[str, tuple[Accepted, ...]] | None = None
    """By slug, the sessions that its baseline ever had, oldest first; None where nobody looked."""

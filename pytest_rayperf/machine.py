"""The machine that figures belong to: its hardware, and how fast it was. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Environment:
    """The hardware that a figure belongs to. `id` names the baselines' folder."""

    id: str
    cpu_model: str
    cores: int
    memory_bytes: int
    gpu_model: str | None = None
    gpu_count: int = 0
    system: str = ""
    machine: str = ""


@dataclass(frozen=True)
class Lap:
    """CPU seconds of one lap of fixed work (`probe.py`).

    Attributes:
        compute_s: of decoding and arithmetic, whose data a core's own caches hold.
        memory_s: of reading and writing more than they hold; None where that was not measured.
    """

    compute_s: float
    memory_s: float | None = None


@dataclass(frozen=True)
class Probe:
    """CPU seconds of a lap of fixed work (`probe.py`), before, between and after the rounds.

    Attributes:
        before_s: of computing, before the first round.
        after_s: of computing, after the last one.
        memory_before_s: of reading and writing memory, before; None where it was not measured.
        memory_after_s: the same, after.
        between: laps between the rounds, where there were any: what slows a core comes and goes within
            seconds, and two laps alone say as much of their own moments as of the rounds'.
    """

    before_s: float
    after_s: float
    memory_before_s: float | None = None
    memory_after_s: float | None = None
    between: tuple[Lap, ...] = ()

    @classmethod
    def around(cls, first: Lap, *others: Lap) -> Probe:
        """That of these laps, in their order; a single one stands for both ends.

        Without memory where a clock ticked too rarely to time it in one of them.
        """
        last, between = (first, *others)[-1], others[:-1]
        probe = cls(first.compute_s, last.compute_s, first.memory_s, last.memory_s, between)
        if probe.memory_seconds is not None:
            return probe
        return cls(first.compute_s, last.compute_s, between=tuple(Lap(lap.compute_s) for lap in between))

    @property
    def laps(self) -> tuple[Lap, ...]:
        """All of them, in their order."""
        before = Lap(self.before_s, self.memory_before_s)
        return (before, *self.between, Lap(self.after_s, self.memory_after_s))

    @property
    def seconds(self) -> float | None:
        """Of computing: the geometric mean. None where a clock ticked too rarely to time a lap."""
        return _mean_over_time([lap.compute_s for lap in self.laps])

    @property
    def memory_seconds(self) -> float | None:
        """Of reading and writing memory, as `seconds`. None where it was not measured."""
        return _mean_over_time([lap.memory_s for lap in self.laps])

    def log_slower(self, then: Probe) -> float | None:
        """The log of how many times as slow the machine is as it was `then`; None where that isn't known.

        It is that of computing, and where both know how fast memory was the mean of both: a model's
        activations do not fit into a core's own caches, so that a pipeline feels both.
        """
        computing = _log_ratio(self.seconds, then.seconds)
        memory = _log_ratio(self.memory_seconds, then.memory_seconds)
        return computing if computing is None or memory is None else (computing + memory) / 2


def _mean_over_time(laps: Sequence[float | None]) -> float | None:
    """The geometric mean, by the trapezoidal rule: a lap at either end has a round on one side of it only.

    As if they were evenly spaced: when each was is not kept.
    """
    logs = [math.log(lap) for lap in laps if lap is not None and 0 < lap < math.inf]
    if len(logs) < len(laps):
        return None
    inner = math.fsum(logs[1:-1])
    return math.exp((inner + (logs[0] + logs[-1]) / 2) / (len(logs) - 1))


def _log_ratio(now: float | None, then: float | None) -> float | None:
    return None if now is None or then is None else math.log(now) - math.log(then)

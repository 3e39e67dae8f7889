"""The machine that figures belong to: its hardware, and how fast it was. Standard library only."""

from __future__ import annotations

import math
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
    """CPU seconds of a lap of fixed work (`probe.py`), before the first and after the last round.

    Attributes:
        before_s: of computing, before the first round.
        after_s: of computing, after the last one.
        memory_before_s: of reading and writing memory, before; None where it was not measured.
        memory_after_s: the same, after.
    """

    before_s: float
    after_s: float
    memory_before_s: float | None = None
    memory_after_s: float | None = None

    @classmethod
    def around(cls, before: Lap, after: Lap) -> Probe:
        """That of these two laps; without memory where a clock ticked too rarely to time one of them."""
        probe = cls(before.compute_s, after.compute_s, before.memory_s, after.memory_s)
        return probe if probe.memory_seconds is not None else cls(before.compute_s, after.compute_s)

    @property
    def seconds(self) -> float | None:
        """Of computing: the geometric mean. None where a clock ticked too rarely to time a lap."""
        return _geometric_mean_of(self.before_s, self.after_s)

    @property
    def memory_seconds(self) -> float | None:
        """Of reading and writing memory: the geometric mean. None where it was not measured."""
        return _geometric_mean_of(self.memory_before_s, self.memory_after_s)

    def log_slower(self, then: Probe) -> float | None:
        """The log of how many times as slow the machine is as it was `then`; None where that isn't known.

        It is that of computing, and where both know how fast memory was the mean of both: a model's
        activations do not fit into a core's own caches, so that a pipeline feels both.
        """
        computing = _log_ratio(self.seconds, then.seconds)
        memory = _log_ratio(self.memory_seconds, then.memory_seconds)
        return computing if computing is None or memory is None else (computing + memory) / 2


def _geometric_mean_of(before: float | None, after: float | None) -> float | None:
    if before is None or after is None or not (0 < before < math.inf and 0 < after < math.inf):
        return None
    return math.sqrt(before) * math.sqrt(after)


def _log_ratio(now: float | None, then: float | None) -> float | None:
    return None if now is None or then is None else math.log(now) - math.log(then)

"""What counts as a regression, and how sure a run must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_rayperf.metrics import CPU_PER_ROW, PEAK_MEMORY, THROUGHPUT, Metric

BETA = 0.05
"""Chance that a slowdown beyond the threshold is called unchanged."""

POWER = 0.9
"""With which chance the smallest slowdowns that are shown are ruled out (`mde`), or found (`finds`)."""

PROBE_LIMIT = 2.0
"""Beyond this factor between the probes' CPU seconds a baseline is another machine's (benchmarks/gate)."""

GATED: tuple[Metric, ...] = (CPU_PER_ROW, THROUGHPUT, PEAK_MEMORY)
"""The metrics with noise that can fail a benchmark, surest first."""

ALPHA_SHARE: Mapping[str, float] = {CPU_PER_ROW.name: 0.60, THROUGHPUT.name: 0.35, PEAK_MEMORY.name: 0.05}
"""How a benchmark's part of the error is dealt to its metrics (a weighted Bonferroni correction): to work and
to waiting nearly all."""


MOST_ROUNDS = 1000
"""More cannot be asked for: the levels of so many looks take seconds."""


@dataclass(frozen=True)
class Policy:
    """What counts as a regression, and how sure the whole run must be.

    Args:
        max_slowdown: the factor T, above 1.
        alpha: chance that the whole run raises any false alarm.
        comparisons: how many benchmarks share that chance.
        looks: the numbers of rounds after which the data are looked at, ascending.
        min_throughput: rows/s below which a benchmark fails, baseline or none.
        max_batch_latency_p95: seconds that 95 % of the calls of each UDF must be within.
        max_error_rate: share of the UDFs' calls, 0 to 1, that may raise an error.
        over: whether there was no time for more rounds than there are.
        timed: whether the metrics with noise decide. Else the counters do, and a slowdown that is certain
            all the same, after the rounds of the last look: a single round without a warm-up may be slow.
    """

    max_slowdown: float = 1.10
    alpha: float = 0.01
    comparisons: int = 1
    looks: tuple[int, ...] = tuple(range(3, 21))
    min_throughput: float | None = None
    max_batch_latency_p95: float | None = None
    max_error_rate: float | None = None
    timed: bool = True
    over: bool = False

    def alpha_for(self, metric: str) -> float:
        """Chance of a false alarm of one metric of one benchmark, over all looks."""
        return self.alpha / max(1, self.comparisons) * ALPHA_SHARE[metric]


def look_schedule(min_rounds: int, max_rounds: int) -> tuple[int, ...]:
    """Looks after `min_rounds` rounds and then after each one, up to `max_rounds`."""
    return tuple(range(min_rounds, max(min_rounds, max_rounds) + 1))

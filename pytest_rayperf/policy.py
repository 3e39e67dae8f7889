"""What counts as a regression, how sure a run must be, and what is believed of the noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_rayperf.results import (
    BYTES_WRITTEN,
    CPU_PER_ROW,
    DRIVER_MEMORY,
    FILES_WRITTEN,
    PEAK_MEMORY,
    SPILLED,
    STORE_PEAK,
    STORE_WRITTEN,
    TASKS,
    THROUGHPUT,
    Metric,
)
from pytest_rayperf.statistics import Noise

BETA = 0.05
"""Chance that a slowdown beyond the threshold is called unchanged."""

POWER = 0.9
"""Chance that the smallest detectable slowdown (`mde`) is seen."""

PROBE_LIMIT = 2.0
"""Beyond this factor between the probes' CPU seconds a baseline is another machine's (benchmarks/gate)."""

GATED: tuple[Metric, ...] = (CPU_PER_ROW, THROUGHPUT, PEAK_MEMORY)
"""The metrics with noise that can fail a benchmark, surest first."""

ALPHA_SHARE: Mapping[str, float] = {CPU_PER_ROW.name: 0.80, THROUGHPUT.name: 0.15, PEAK_MEMORY.name: 0.05}
"""How a benchmark's part of the error is dealt to its metrics (a weighted Bonferroni correction): most to the
surest, which can do most with it. The noise of the others decides more than their quantile."""

NOISE: Mapping[str, Noise] = {
    # Standard deviations of the log on 2 shared cores; where from: baselines/README.md.
    CPU_PER_ROW.name: Noise(session_sd=0.05, round_sd=0.075),
    THROUGHPUT.name: Noise(session_sd=0.07, round_sd=0.08),
    PEAK_MEMORY.name: Noise(session_sd=0.03, round_sd=0.04),
    # For duels only. Bytes hardly vary; what is sampled, or hangs on when Ray spills, does.
    STORE_WRITTEN.name: Noise(session_sd=0.01, round_sd=0.02),
    BYTES_WRITTEN.name: Noise(session_sd=0.01, round_sd=0.02),
    FILES_WRITTEN.name: Noise(session_sd=0.01, round_sd=0.02),
    TASKS.name: Noise(session_sd=0.01, round_sd=0.02),
    STORE_PEAK.name: Noise(session_sd=0.05, round_sd=0.15),
    SPILLED.name: Noise(session_sd=0.1, round_sd=0.3),
    DRIVER_MEMORY.name: Noise(session_sd=0.1, round_sd=0.2),
}


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

    def alpha_for(self, metric: str) -> float:
        """Chance of a false alarm of one metric of one benchmark, over all looks."""
        return self.alpha / max(1, self.comparisons) * ALPHA_SHARE[metric]


def look_schedule(min_rounds: int, max_rounds: int) -> tuple[int, ...]:
    """Looks after `min_rounds` rounds and then after each one, up to `max_rounds`."""
    return tuple(range(min_rounds, max(min_rounds, max_rounds) + 1))

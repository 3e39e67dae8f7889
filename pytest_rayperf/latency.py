"""How long the calls of a UDF took, from the records of a round. Pure.

A percentile is the sample quantile of type 7 of Hyndman and Fan (1996, doi:10.2307/2684934), which is
NumPy's and R's own: linear between the order statistics, with the smallest sample as the 0th percentile and
the largest as the 100th.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from pytest_rayperf.results import BatchLatency, Call


def calls_of(records: Iterable[Sequence[Any]]) -> tuple[Call, ...]:
    """The calls, out of the records that `pytest_rayperf.udfs.instrumenting` wrote.

    Args:
        records: each a name, nanoseconds, rows or None, and whether it failed: `Taken.of(CALL)`.
    """
    return tuple(Call(udf, nanoseconds / 1e9, rows, failed) for udf, nanoseconds, rows, failed in records)


def latencies(calls: Iterable[Call]) -> tuple[BatchLatency, ...]:
    """What each UDF's calls took, by name in the alphabet's order; nothing for one that was not called."""
    by_udf: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by_udf[call.udf].append(call)
    return tuple(_latency(udf, of_it) for udf, of_it in sorted(by_udf.items()))


def _latency(udf: str, calls: list[Call]) -> BatchLatency:
    seconds = [call.seconds for call in calls if not call.failed]
    return BatchLatency(
        udf=udf,
        count=len(calls),
        p50_s=percentile(seconds, 50),
        p95_s=percentile(seconds, 95),
        p99_s=percentile(seconds, 99),
        errors=sum(call.failed for call in calls),
    )


def samples_for(percent: int) -> int:
    """How many samples a percentile needs: 2 for the 50th, 20 for the 95th, 100 for the 99th.

    As many as it takes for one of them to be expected above it. With fewer, the figure is between the two
    largest samples whatever the tail is like, and would be the maximum under another name.

    It is an estimate then, and no bound: the largest of n samples is still below the true percentile p with
    probability p^n, which is about 1/e at that n. A limit at 95 % confidence takes three times as many.
    """
    return -(-100 // (100 - percent))


def percentile(samples: Sequence[float], percent: int) -> float | None:
    """The sample quantile of type 7; None for fewer samples than `samples_for` says.

    Args:
        samples: finite, in any order.
        percent: 1 to 99.

    Raises:
        ValueError: another `percent`.
    """
    if not 1 <= percent <= 99:
        raise ValueError(f"a percentile is one of 1 to 99, not {percent!r}")
    if len(samples) < samples_for(percent):
        return None
    return statistics.quantiles(samples, n=100, method="inclusive")[percent - 1]

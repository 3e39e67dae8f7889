"""What a report says of rounds: medians and their intervals, by metric and by operator."""

from __future__ import annotations

import statistics as _statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from pytest_rayperf.metrics import METRICS, Metric
from pytest_rayperf.results import STATUSES, Benchmark, Interval, Operator, Round
from pytest_rayperf.statistics import median_interval


def summary(benchmarks: Iterable[Benchmark]) -> dict[str, int]:
    """How many benchmarks have each verdict, worst first, those that none has left in as 0."""
    counts = Counter(benchmark.verdict.status for benchmark in benchmarks)
    return {status: counts[status] for status in STATUSES}


def metrics_of(rounds: Sequence[Round]) -> dict[str, dict[str, Any]]:
    """Each metric's unit, direction, median and 95 % interval of the median (None for under 3 rounds)."""
    return {name: metric_of(rounds, name) for name in METRICS}


def metric_of(rounds: Sequence[Round], name: str) -> dict[str, Any]:
    """The same of one metric, or of a counter, which is exact and has no interval."""
    metric = METRICS.get(name) or Metric(name, "", "lower")
    figures = [r.figure(name) for r in rounds]
    known = [f for f in figures if f is not None]
    whole = bool(known) and len(known) == len(figures)
    limits = median_interval(known) if name in METRICS and whole and min(known) > 0 else None
    return {
        "unit": metric.unit,
        "direction": metric.better,
        "median": _statistics.median(known) if whole else None,
        "ci": list(limits) if limits else None,
    }


def interval(ratio: Interval | None) -> dict[str, Any]:
    """`ratio` and `ci`, as the report has them."""
    return {
        "ratio": None if ratio is None else ratio.ratio,
        "ci": None if ratio is None else [ratio.low, ratio.high],
    }


def operators_of(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """Medians over the rounds of each operator's figures, in the first round's order.

    Several of one name (two reads of a union) are several: the first of each round go together, and so on.
    """
    found: dict[tuple[str, int], list[Operator]] = {}
    for round_ in rounds:
        seen: Counter[str] = Counter()
        for operator in round_.operators:
            found.setdefault((operator.name, seen[operator.name]), []).append(operator)
            seen[operator.name] += 1
    return [{"name": name, **_medians(operators)} for (name, _), operators in found.items()]


def _medians(operators: Sequence[Operator]) -> Mapping[str, float | None]:
    medians: dict[str, float | None] = {}
    for name in (field.name for field in fields(Operator) if field.name != "name"):
        known = [value for o in operators if (value := getattr(o, name)) is not None]
        medians[name] = _statistics.median(known) if known else None
    return medians

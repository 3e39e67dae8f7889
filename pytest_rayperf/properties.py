"""A benchmark as properties of its test item: what JUnit's XML, and what reads that, gets of it."""

from __future__ import annotations

from pytest_rayperf.reports import safe
from pytest_rayperf.reports.figures import metrics_of
from pytest_rayperf.results import Benchmark

Property = tuple[str, str | float | int]


def properties_of(benchmark: Benchmark) -> list[Property]:
    """The verdict, what it is of, each metric's median and each counter, under `rayperf_...`.

    A duel that is measured in one item has both variants' properties: `rayperf_throughput_fix`. What was
    not measured has no property.
    """
    verdict = benchmark.verdict
    found: list[tuple[str, str | float | int | None]] = [
        ("verdict", verdict.status),
        ("metric", verdict.metric),
        ("ratio", verdict.ratio),
        ("ratio_low", verdict.ci[0] if verdict.ci else None),
        ("ratio_high", verdict.ci[1] if verdict.ci else None),
        ("threshold", verdict.threshold),
        ("mde", verdict.mde),
        ("finds", verdict.finds),
        ("baseline", benchmark.baseline),
        ("rounds", len(benchmark.rounds)),
    ]
    found += [(name, metric["median"]) for name, metric in metrics_of(benchmark.rounds).items()]
    if benchmark.rounds:
        # pytest escapes a property's value and not its name: a control character would spoil the file.
        counters = benchmark.rounds[-1].all_counters()
        found += [(f"counter_{safe.visible(name)}", n) for name, n in counters.items()]
    suffix = f"_{benchmark.variant}" if benchmark.variant else ""
    return [(f"rayperf_{name}{suffix}", value) for name, value in found if value is not None]

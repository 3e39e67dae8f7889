"""Verdicts in words: one line, with what changed, by how much, where, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_rayperf.attribution import tell
from pytest_rayperf.results import Attribution, Comparison, Interval


def describe(c: Comparison, found: Attribution | None, baseline: str) -> str:
    """One line: the metric, both figures, the ratio, the threshold, the operators, the file, the mend."""
    unit = f" {c.metric.unit}"
    limit = f"{c.threshold:.2f}" if c.metric.better == "lower" else f"1/{c.threshold:.2f}"
    told = tell(found) if found else ""
    operator = f"; operator {told}" if told else ""
    return (
        f"{c.status}: {c.metric.name} {c.reference:.4g} -> {c.current:.4g}{unit}, {show(c.ratio)}, "
        f"threshold {limit}{operator}; baseline {baseline}; accept with --rayperf-update-baselines"
    )


def explain(surest: Comparison, comparisons: Sequence[Comparison], sessions: int) -> str:
    """Why the benchmark is what it is, where nothing regressed, and how small a change it could have seen."""
    parts = [f"{surest.status}: {surest.metric.name} {show(surest.ratio)}"]
    parts.append(f"could have seen a slowdown of {surest.mde:.2f}x")
    for other in comparisons[1:]:
        if other.status == "inconclusive":
            parts.append(f"{other.metric.name} only one of {other.mde:.2f}x")
    if surest.status == "inconclusive":
        help_ = "a quieter machine"
        if sessions < 5:
            help_ = f"more baseline sessions (there are {sessions}), or {help_}"
        parts.append(f"what would help: {help_}")
    return "; ".join(parts)


def show(ratio: Interval) -> str:
    """`0.80x [0.77, 0.83]`."""
    return f"{ratio.ratio:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]"

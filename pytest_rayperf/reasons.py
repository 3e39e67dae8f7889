"""Verdicts in words: one line, with what changed, by how much, where, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_rayperf.results import Comparison, Interval, Operator, Round


def describe(c: Comparison, rounds: Sequence[Round], before: Sequence[Round], baseline: str) -> str:
    """One line: the metric, both figures, the ratio, the threshold, the operator, the file, the mend."""
    unit = f" {c.metric.unit}"
    limit = f"{c.threshold:.2f}" if c.metric.better == "lower" else f"1/{c.threshold:.2f}"
    culprit = slowest_growth(rounds, before)
    operator = f"; operator {culprit}" if culprit else ""
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


def slowest_growth(now: Sequence[Round], before: Sequence[Round]) -> str | None:
    """The operator whose CPU seconds a row grew most, as `Name +24% CPU`; None if that is not known."""
    new, old = _cpu_by_operator(now), _cpu_by_operator(before)
    growth = {name: new[name] - old.get(name, 0.0) for name in new}
    if not growth or not old:
        return None
    name = max(growth, key=lambda key: growth[key])
    if name not in old:
        return f"{name} is new"
    return f"{name} {new[name] / old[name] - 1:+.0%} CPU" if old[name] > 0 else None


def _cpu_by_operator(rounds: Sequence[Round]) -> dict[str, float]:
    sums: dict[str, list[float]] = {}
    for round_ in rounds:
        for operator in round_.operators:
            sums.setdefault(operator.name, []).append(_cpu_per_row(operator, round_))
    return {name: sum(values) / len(values) for name, values in sums.items()}


def _cpu_per_row(operator: Operator, round_: Round) -> float:
    return (operator.cpu_s or 0.0) / max(1, round_.rows)

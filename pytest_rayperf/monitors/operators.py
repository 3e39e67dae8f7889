"""Ray Data's statistics by operator. The only place that knows their names, from Ray 2.51 to 2.60.

Until 2.5x a summary's figures are dicts (`{"sum": ...}`) behind `Dataset._get_stats_summary()`; later they
are objects (`.sum`) behind `Dataset.get_stats_summary()`. The time inside the functions is `udf_time` at
first and `function_body_time` later. What is not there is None.
"""

from __future__ import annotations

from typing import Any

from pytest_rayperf.results import Operator


def operators_of(dataset: Any) -> tuple[Operator, ...]:
    """What each operator of an executed dataset did, first operator first.

    Args:
        dataset: a `ray.data.Dataset` whose rows have all been consumed. The statistics belong to the very
            dataset that was consumed, not to those that it was made from.
    """
    summary = getattr(dataset, "get_stats_summary", None) or dataset._get_stats_summary
    found: list[Operator] = []
    _collect(summary(), found)
    return tuple(found)


def _collect(summary: Any, found: list[Operator]) -> None:
    for parent in summary.parents:
        _collect(parent, found)
    for stats in summary.operators_stats:
        if _figure(stats, "wall_time") is not None:
            found.append(_operator(stats))


def _operator(stats: Any) -> Operator:
    udf = _figure(stats, "function_body_time")
    return Operator(
        name=stats.operator_name,
        wall_s=_figure(stats, "wall_time"),
        cpu_s=_figure(stats, "cpu_time"),
        udf_s=udf if udf is not None else _figure(stats, "udf_time"),
        rows=_whole(_figure(stats, "output_num_rows")),
        bytes=_whole(_figure(stats, "output_size_bytes")),
        # Blocks lag for the last operator in 2.60; the tasks that gave rows do not.
        tasks=_whole(_figure(stats, "task_rows", "count")),
    )


def _figure(stats: Any, name: str, part: str = "sum") -> float | None:
    value = getattr(stats, name, None)
    if value is None:
        return None
    value = value.get(part) if isinstance(value, dict) else getattr(value, part)
    return None if value is None else float(value)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)

"""How figures of a report are written for HTML: in a unit that people read, and nothing computed of them.

Every figure is one of the report's. What was not measured is `-`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_rayperf.metrics import CPU_PER_ROW, METRICS, THROUGHPUT
from pytest_rayperf.reports.rows import MISSING, number, ratio_of, unit_of


@dataclass(frozen=True)
class Unit:
    """How a metric is written: times `factor`, under which name; `counts` are written to the last digit."""

    factor: float
    label: str
    counts: bool = False

    def written(self, value: float | None) -> str:
        """The number alone."""
        if value is None:
            return MISSING
        return f"{value:,.0f}" if self.counts and value == round(value) else number(value * self.factor)

    def limits(self, ci: Sequence[float] | None) -> str:
        """`[27.9, 43.6]`; "" where there are none."""
        return "" if ci is None else f"[{self.written(ci[0])}, {self.written(ci[1])}]"


_SIZES = tuple(Unit(1 / 1024**n, name) for n, name in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")))
BYTES = Unit(1, "bytes")
PLAIN = Unit(1, "")
COUNT = Unit(1, "", counts=True)


def unit_for(metric: str, values: Iterable[float | None]) -> Unit:
    """The unit in which these figures of a metric, or counter, are written."""
    if metric == CPU_PER_ROW.name:
        return Unit(1000, "CPU ms/row")
    unit = unit_of(metric)
    if metric not in METRICS:
        return Unit(1, unit, counts=True)
    return size_for(values) if unit == "bytes" else Unit(1, {"percent": "%"}.get(unit, unit))


def size_for(values: Iterable[float | None]) -> Unit:
    """For bytes: the largest unit of which the largest has at least one."""
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    return next((unit for unit in _SIZES if largest * unit.factor >= 1), BYTES)


def head(metric: str, unit: Unit) -> str:
    """A column's: the metric, where its unit does not say it, and its unit."""
    if metric in (THROUGHPUT.name, CPU_PER_ROW.name) or unit.label in ("", metric):
        return unit.label or metric
    name = metric.replace("_", " ")
    return name if unit.label in name else f"{name}, {unit.label}"


def times(found: Mapping[str, Any] | None) -> tuple[str, str]:
    """`2.97x` and `[2.70, 3.28]` of what the report has as `ratio` and `ci`."""
    ratio = ratio_of(found, None)
    return (MISSING, "") if ratio is None else (ratio.times(), ratio.limits())


def factor(value: float | None) -> str:
    """`1.06x`; `7.7e+99x` where next to nothing is known."""
    if value is None:
        return MISSING
    return f"{value:.2f}x" if value < 1000 else f"{number(value)}x"


def percent(share: float | None) -> str:
    """A share of 1: `+24 %`."""
    return MISSING if share is None else f"{100 * share:+.1f} %"

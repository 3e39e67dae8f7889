"""An anti-pattern beside its fix in one metric: bars with intervals, and the rounds as dots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_rayperf.metrics import METRICS
from pytest_rayperf.reports.pictures.drawing import WIDTH, Drawing, Picture, from_zero, spread
from pytest_rayperf.reports.rows import MISSING
from pytest_rayperf.reports.tables import LIMITS, Column, Sides, Table, median_of, rounds_of
from pytest_rayperf.reports.units import Unit, head, times, unit_for

_KINDS = ("antipattern", "fix")
_ROW = 44.0


def duel_picture(sides: Sides, duel: Mapping[str, Any]) -> Picture | None:
    """Bars from 0 to each variant's median; None where one of them lacks the metric.

    Args:
        sides: the anti-pattern, and its fix.
        duel: of the report, in one metric.
    """
    metric = duel["metric"]
    medians = {side: median_of(benchmark, metric) for side, benchmark in sides.items()}
    rounds = {side: rounds_of(benchmark, metric) for side, benchmark in sides.items()}
    if any(median is None for median, _ in medians.values()):
        return None
    everything = [value for figures in rounds.values() for value in figures if value is not None]
    everything += [value for median, ci in medians.values() for value in (median or 0.0, *(ci or ()))]
    unit, scale = unit_for(metric, everything), from_zero(everything)
    drawing = Drawing()
    for index, (kind, side) in enumerate(zip(_KINDS, sides, strict=True)):
        median, ci = medians[side]
        top = index * _ROW
        drawing.text(0, top + 13, side)
        drawing.text(WIDTH, top + 13, _figure(median, ci, unit), "figure end")
        drawing.rect(scale.at(0), top + 19, scale.at(median or 0.0) - scale.at(0), 18, f"bar {kind}")
        middle = top + 28
        shifts = spread(len(rounds[side]))
        dots = zip(rounds[side], shifts, strict=True)
        drawing.dots([(scale.at(v), middle + shift) for v, shift in dots if v is not None], kind)
        if ci is not None:
            drawing.interval(scale.at(ci[0]), scale.at(ci[1]), middle)
    # The scale's figures are the metric's own, not the unit's: so it gets a scale in that unit.
    shown = from_zero([value * unit.factor for value in everything])
    height = drawing.axis(shown, 2 * _ROW, 17, head(metric, unit))
    better, limits = times(duel)
    told = [f"{side} {_figure(*found, unit)}" for side, found in medians.items()]
    description = "; ".join([*told, f"fix better by {better} {limits}"])
    svg = drawing.svg(f"{metric} of the anti-pattern and of its fix", description, height)
    legend = [("bar", _middle(metric).lower()), ("dots", "rounds")]
    if any(ci is not None for _, ci in medians.values()):
        legend.append(("ci", "95 % interval of the median"))
    table = _table(medians, rounds, metric, unit)
    return Picture(f"Before and after: {head(metric, unit)}", svg, tuple(legend), (table,))


def _middle(metric: str) -> str:
    """What stands for a variant; a count without noise needs no median."""
    return "Median" if metric in METRICS else "Last round"


def _figure(median: float | None, ci: Sequence[float] | None, unit: Unit) -> str:
    return unit.written(median) if ci is None else f"{unit.written(median)} {unit.limits(ci)}"


def _table(
    medians: Mapping[str, tuple[float | None, Sequence[float] | None]],
    rounds: Mapping[str, Sequence[float | None]],
    metric: str,
    unit: Unit,
) -> Table:
    rows = tuple(
        (
            side,
            unit.written(median),
            unit.limits(ci),
            "; ".join(unit.written(value) for value in rounds[side]) or MISSING,
        )
        for side, (median, ci) in medians.items()
    )
    columns = (
        Column("Variant", "text"),
        Column(_middle(metric)),
        LIMITS,
        Column("Rounds, in turn", "series"),
    )
    return Table(f"{head(metric, unit)} of both variants", columns, rows)

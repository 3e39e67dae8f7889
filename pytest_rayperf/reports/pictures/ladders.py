"""Several pipelines in turn: a ladder of mends as a waterfall, a sweep of one setting as points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_rayperf.reports.pictures.drawing import WIDTH, Drawing, Picture, from_zero, spread
from pytest_rayperf.reports.rows import MISSING
from pytest_rayperf.reports.tables import LIMITS, Column, Table
from pytest_rayperf.reports.units import Unit, head, times, unit_for

_ROW = 40.0


def ladder_picture(ladder: Mapping[str, Any]) -> Picture | None:
    """What each mend brought: from the rung before to its own median; None where no rung has the metric."""
    metric, rungs = ladder["metric"], ladder["rungs"]
    known = _known(rungs, metric)
    if not known:
        return None
    unit, scale = unit_for(metric, known), from_zero(known)
    drawing, before = Drawing(), None
    for index, rung in enumerate(rungs):
        top = index * _ROW
        median, ci = _median(rung, metric)
        if before is not None and median is not None:
            drawing.down(scale.at(before), top - _ROW + 31, top + 31, "join")
        drawing.line(top + 13, rung["name"], _told(rung, metric, unit))
        if median is not None:
            drawing.rect(scale.at(0), top + 19, scale.at(median) - scale.at(0), 12, "bar level")
            if before is not None:
                left, right = sorted((scale.at(before), scale.at(median)))
                drawing.rect(left, top + 19, right - left, 12, "bar step")
            if ci is not None:
                drawing.interval(scale.at(ci[0]), scale.at(ci[1]), top + 25)
        before = median
    end = len(rungs) * _ROW
    better, limits = times(ladder["total"])
    drawing.text(0, end + 14, "in total", "heading")
    drawing.text(WIDTH, end + 14, f"{better} {limits}" if better != MISSING else MISSING, "heading end")
    first, last = (_median(rungs[place], metric)[0] for place in (0, -1))
    if first is not None and last is not None:
        left, right = sorted((scale.at(first), scale.at(last)))
        drawing.interval(left, right, end + 25, "total")
    shown = from_zero([value * unit.factor for value in known])
    height = drawing.axis(shown, end + 34, 17, head(metric, unit))
    description = "; ".join(f"{rung['name']} {_told(rung, metric, unit)}" for rung in rungs)
    svg = drawing.svg(f"{metric} from rung to rung", f"{description}; in total {better} {limits}", height)
    legend = (
        ("bar level", "median"),
        ("bar step", "what this mend changed"),
        ("ci", "95 % interval of the median"),
        ("total", "from the first to the last"),
    )
    return Picture("What each mend brought", svg, legend, (_ladder_table(ladder, unit),))


def sweep_picture(sweep: Mapping[str, Any]) -> Picture | None:
    """A point and an interval a setting; None where no setting has the metric."""
    metric, settings = sweep["metric"], sweep["settings"]
    known = _known(settings, metric)
    if not known:
        return None
    unit, scale = unit_for(metric, known), from_zero(known)
    drawing = Drawing()
    for index, setting in enumerate(settings):
        top = index * _ROW
        median, ci = _median(setting, metric)
        if setting["status"] in ("best", "plateau"):
            drawing.rect(0, top + 1, WIDTH, _ROW - 2, "plateau")
        drawing.line(top + 14, setting["name"], _told(setting, metric, unit), inset=4)
        rounds = [value for value in setting["rounds"].get(metric) or () if value is not None]
        shifts = zip(rounds, spread(len(rounds)), strict=True)
        drawing.dots([(scale.at(value), top + 27 + shift) for value, shift in shifts], "fix")
        if ci is not None:
            drawing.interval(scale.at(ci[0]), scale.at(ci[1]), top + 27)
        if median is not None:
            drawing.dots([(scale.at(median), top + 27)], "median")
    shown = from_zero([value * unit.factor for value in known])
    height = drawing.axis(shown, len(settings) * _ROW + 2, 0, head(metric, unit))
    description = "; ".join(f"{one['name']} {_told(one, metric, unit)}" for one in settings)
    svg = drawing.svg(f"{metric} by setting", description, height)
    legend = (
        ("dots median", "median"),
        ("ci", "95 % interval of the median"),
        ("dots fix", "rounds"),
        ("plateau", "best, and what is not told apart from it"),
    )
    return Picture("Setting by setting", svg, legend, (_sweep_table(sweep, unit),))


def _median(step: Mapping[str, Any], metric: str) -> tuple[float | None, Sequence[float] | None]:
    found = step["metrics"].get(metric) or {}
    return found.get("median"), found.get("ci")


def _known(steps: Sequence[Mapping[str, Any]], metric: str) -> list[float]:
    """Every figure that is drawn; nothing where no median is."""
    known: list[float] = []
    for median, ci in (_median(step, metric) for step in steps):
        known += [] if median is None else [median, *(ci or ())]
    rounds = [value for step in steps for value in step["rounds"].get(metric) or () if value is not None]
    return known + rounds if known else []


def _told(step: Mapping[str, Any], metric: str, unit: Unit) -> str:
    """`25 · 2.50x [2.30, 2.70]`, and what that is worth where it is no effect."""
    median, _ = _median(step, metric)
    better, limits = times(step)
    parts = [unit.written(median)] + ([f"{better} {limits}"] if better != MISSING else [])
    return " · ".join([*parts, *([] if step["status"] in ("effect", "first") else [step["status"]])])


def _ladder_table(ladder: Mapping[str, Any], unit: Unit) -> Table:
    metric = ladder["metric"]
    rows = [
        (rung["name"], unit.written(median), unit.limits(ci), *times(rung), rung["status"])
        for rung in ladder["rungs"]
        for median, ci in [_median(rung, metric)]
    ]
    rows.append(("in total", "", "", *times(ladder["total"]), ""))
    columns = (
        Column("Rung", "name"),
        Column(head(metric, unit)),
        LIMITS,
        Column("Better than the one before"),
        LIMITS,
        Column("Found", "text"),
    )
    return Table(f"Rungs of {ladder['antipattern']}", columns, tuple(rows))


def _sweep_table(sweep: Mapping[str, Any], unit: Unit) -> Table:
    metric = sweep["metric"]
    rows = tuple(
        (
            setting["name"],
            unit.written(median),
            unit.limits(ci),
            *times(setting),
            setting["status"],
            "; ".join(unit.written(value) for value in setting["rounds"].get(metric) or ()) or MISSING,
        )
        for setting in sweep["settings"]
        for median, ci in [_median(setting, metric)]
    )
    columns = (
        Column("Setting", "name"),
        Column(head(metric, unit)),
        LIMITS,
        Column("Of the best"),
        LIMITS,
        Column("Found", "text"),
        Column("Rounds", "series"),
    )
    return Table(f"Settings of {sweep['name']}", columns, rows)

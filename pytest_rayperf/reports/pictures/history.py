"""A benchmark's throughput in the sessions that its baseline ever had, by commit, and in this run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_rayperf.metrics import CPU_PER_ROW, THROUGHPUT
from pytest_rayperf.reports.pictures.drawing import WIDTH, Drawing, Picture, Scale, line_path
from pytest_rayperf.reports.rows import MISSING, number
from pytest_rayperf.reports.tables import Column, Sides, Table, median_of
from pytest_rayperf.reports.units import unit_for

_LEFT, _RIGHT, _HEIGHT, _PANEL = 46.0, WIDTH - 14, 84.0, 112.0
_COMMIT = 7
NOW = "this run"


def history_picture(sides: Sides, commit: str | None) -> Picture | None:
    """A panel a side, the newest to the right; None where no side has sessions with throughput.

    Args:
        sides: whose.
        commit: this run's.
    """
    known = {side: benchmark for side, benchmark in sides.items() if _is_known(benchmark)}
    if not known:
        return None
    drawing, top, told = Drawing(), 0.0, []
    for side, benchmark in known.items():
        if side:
            drawing.text(_LEFT, top + 12, side, "heading")
            top += 16
        sessions = benchmark["history"]
        _panel(drawing, benchmark, top)
        drawing.text(_LEFT, top + _HEIGHT + 17, _label(sessions[0]), "tick")
        drawing.text(WIDTH, top + _HEIGHT + 17, NOW, "tick end")
        now = _written(median_of(benchmark, THROUGHPUT.name)[0])
        of = f"{side}: " if side else ""
        told.append(f"{of}{len(sessions)} accepted sessions since {_label(sessions[0])}; {NOW} {now} rows/s")
        top += _PANEL
    drawing.text(WIDTH, top + 4, "rows/s; the scale does not begin at 0", "tick end")
    svg = drawing.svg("Throughput by commit, the newest to the right", "; ".join(told), top + 9)
    legend = (("dots session", "accepted sessions, medians"), ("dots now", f"{NOW}, with its 95 % interval"))
    tables = tuple(_table(side, benchmark, commit) for side, benchmark in known.items())
    return Picture("Throughput history", svg, legend, tables)


def _is_known(benchmark: Mapping[str, Any]) -> bool:
    return any(one["throughput"] is not None for one in benchmark.get("history") or ())


def _panel(drawing: Drawing, benchmark: Mapping[str, Any], top: float) -> None:
    now, ci = median_of(benchmark, THROUGHPUT.name)
    figures = [*(one["throughput"] for one in benchmark["history"]), now]
    known = [*(figure for figure in figures if figure is not None), *(ci or ())]
    room = (max(known) - min(known)) * 0.08 or max(known) * 0.05
    up = Scale(min(known) - room, max(known) + room, top + _HEIGHT, top + 6)
    across = Scale(0, len(figures) - 1, _LEFT + 12, _RIGHT)
    xs = [round(across.at(index)) for index in range(len(figures))]
    # In whole units, as the line has them.
    ys = [None if figure is None else round(up.at(figure)) for figure in figures]
    ticks = up.ticks(4)
    drawing.across_all(_LEFT, WIDTH, [up.at(tick) for tick in ticks])
    drawing.texts([(_LEFT - 5, up.at(tick) + 4, number(tick)) for tick in ticks], "tick end")
    drawing.path(line_path(xs, ys), "line history")
    drawing.dots([(x, y) for x, y in zip(xs[:-1], ys[:-1], strict=True) if y is not None], "session")
    if ys[-1] is not None:
        if ci is not None:
            drawing.down(xs[-1], up.at(ci[0]), up.at(ci[1]), "ci")
        drawing.dots([(xs[-1], ys[-1])], "now")


def _label(session: Mapping[str, Any]) -> str:
    commit = session["commit"]
    day = str(session["recorded_at"])[:10]
    return f"{commit[:_COMMIT]}, {day}" if commit else day


def _written(value: float | None) -> str:
    return MISSING if value is None else number(value)


def _table(side: str, benchmark: Mapping[str, Any], commit: str | None) -> Table:
    speed, cpu = (median_of(benchmark, metric)[0] for metric in (THROUGHPUT.name, CPU_PER_ROW.name))
    accepted = [
        (str(s["recorded_at"])[:10], s["commit"], s["throughput"], s["cpu_seconds_per_row"])
        for s in benchmark["history"]
    ]
    unit = unit_for(CPU_PER_ROW.name, [cpu])
    rows = tuple(
        (
            recorded,
            # The `+dirty` of a commit is worth its place, the rest of its 40 digits is not.
            MISSING if revision is None else revision[:_COMMIT] + revision[40:],
            _written(figure),
            unit.written(work),
        )
        for recorded, revision, figure, work in [*accepted, (NOW, commit, speed, cpu)]
    )
    columns = (Column("Recorded", "text"), Column("Commit", "name"), Column("rows/s"), Column(unit.label))
    return Table(f"Medians{f' of the {side}' if side else ''} by commit, oldest first", columns, rows)

"""How busy CPUs and GPUs were in the course of a round. Where nobody looked the line has a gap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_rayperf.reports.pictures.drawing import WIDTH, Drawing, Picture, Scale, line_path
from pytest_rayperf.reports.rows import MISSING
from pytest_rayperf.reports.tables import Column, Sides, Table

_LEFT, _HEIGHT, _PANEL = 34.0, 96.0, 108.0
_GRID = (0, 50, 100)
_STRETCH = 10

_Series = Sequence[tuple[str, str, Sequence[float | None]]]
"""Of each line its kind, its name, its figures."""


def utilization_picture(sides: Sides) -> Picture | None:
    """Percent over seconds, a panel a side, on one scale of time; None where nobody looked at either."""
    sampled = {
        side: found
        for side, benchmark in sides.items()
        if (found := benchmark.get("utilization")) and found["seconds"]
    }
    if not sampled:
        return None
    longest = max(max(found["seconds"]) for found in sampled.values())
    across = Scale(0.0, longest, _LEFT, WIDTH - 9)
    drawing, top, legend = Drawing(), 0.0, {}
    for side, found in sampled.items():
        if side:
            drawing.text(_LEFT, top + 12, side, "heading")
            top += 16
        series = _series(found)
        legend.update({kind: name for kind, name, _ in series})
        _panel(drawing, found["seconds"], series, across, top)
        top += _PANEL
    drawing.texts([(across.at(tick), top + 4, f"{tick:g}") for tick in across.ticks()], "tick middle")
    drawing.text(WIDTH, top + 18, "seconds since the round began; percent upwards", "tick end")
    told = "; ".join(
        f"{f'{side}: ' * bool(side)}{len(found['seconds'])} points over {max(found['seconds']):.3g} s"
        for side, found in sampled.items()
    )
    svg = drawing.svg("How busy CPUs and GPUs were, in percent over time", told, top + 23)
    return Picture(
        "Utilization in the course of a round",
        svg,
        tuple(legend.items()),
        tuple(_table(side, found) for side, found in sampled.items()),
    )


def _panel(drawing: Drawing, seconds: Sequence[float], series: _Series, across: Scale, top: float) -> None:
    # NVML and /proc may say a little over 100.
    known = [v for _, _, figures in series for v in figures if v is not None]
    up = Scale(0.0, max([100.0, *known]), top + _HEIGHT, top + 6)
    drawing.across_all(_LEFT, WIDTH, [up.at(percent) for percent in _GRID])
    drawing.texts([(_LEFT - 5, up.at(percent) + 4, f"{percent}") for percent in _GRID], "tick end")
    for kind, _, figures in series:
        path = line_path([across.at(s) for s in seconds], [None if v is None else up.at(v) for v in figures])
        if path:
            drawing.path(path, kind)


def _series(found: Mapping[str, Any]) -> _Series:
    gpus = enumerate((found.get("gpus") or {}).items())
    return [
        ("line cpu", "CPU: cluster and driver", found["cpu"]),
        ("line others", "CPU: other processes", found["others"]),
        *((f"line gpu{index % 4}", f"GPU {card}", figures) for index, (card, figures) in gpus),
    ]


def _table(side: str, found: Mapping[str, Any]) -> Table:
    """A row a stretch of points, for a row a point would be long to read and long to load."""
    seconds, series = found["seconds"], _series(found)
    rows = []
    for first in range(0, len(seconds), _STRETCH):
        stretch = slice(first, first + _STRETCH)
        times = seconds[stretch]
        cells = (" ".join(_percent(value) for value in figures[stretch]) for _, _, figures in series)
        rows.append((f"{times[0]:.1f} to {times[-1]:.1f}", *cells))
    columns = (Column("Seconds", "text"), *(Column(f"{name}, %", "series") for _, name, _ in series))
    of = f" of the {side}" if side else ""
    caption = f"Round {found['round'] + 1}{of}, in each row {_STRETCH} points in turn"
    return Table(caption, columns, tuple(rows))


def _percent(value: float | None) -> str:
    return MISSING if value is None else f"{value:.0f}"

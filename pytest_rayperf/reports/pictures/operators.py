"""Where a pipeline's time and bytes go: each operator's CPU time and waiting, stacked, and its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_rayperf.reports.pictures.drawing import Drawing, Picture, from_zero
from pytest_rayperf.reports.rows import MISSING, number
from pytest_rayperf.reports.tables import Sides, operators_table
from pytest_rayperf.reports.units import size_for

_ROW = 41.0


def operators_picture(sides: Sides) -> Picture | None:
    """Both variants, or a single pipeline, on one scale; None where no operator's time or bytes are known.

    The bar of an operator's CPU time is followed by one up to its wall time: what is between them it waited.
    Where it computed on several threads at once, there is nothing between.

    Args:
        sides: benchmarks by how they are called, "" for one alone.
    """
    found = {side: benchmark.get("operators") or [] for side, benchmark in sides.items()}
    every = [operator for operators in found.values() for operator in operators]
    seconds = [v for o in every for v in (o.get("cpu_s"), o.get("wall_s")) if v is not None]
    sizes = [o["bytes"] for o in every if o.get("bytes") is not None]
    if not seconds and not sizes:
        return None
    drawing, y = Drawing(), 0.0
    time, space, unit = from_zero(seconds), from_zero(sizes), size_for(sizes)
    for side, operators in found.items():
        if side:
            drawing.text(0, y + 14, side, "heading")
            y += 20
        for operator in operators:
            cpu, wall, out = operator.get("cpu_s"), operator.get("wall_s"), operator.get("bytes")
            drawing.line(y + 12, operator["name"], _figures(operator))
            _bar(drawing, time.at(0), time.at(cpu or 0.0), y + 17, 10, "bar cpu")
            # Without its CPU time nobody knows how much of it was waiting.
            if wall is not None and cpu is not None and wall > cpu:
                _bar(drawing, time.at(cpu), time.at(wall), y + 17, 10, "bar waiting")
            _bar(drawing, space.at(0), space.at(out or 0.0), y + 30, 3, "bar out")
            y += _ROW
        if not operators:
            drawing.text(0, y + 12, "operators not measured", "tick")
            y += 20
    if seconds:
        y = drawing.axis(time, y + 2, 0, "seconds of its tasks, summed")
    svg = drawing.svg("CPU time, waiting and bytes by operator", _told(found), y)
    largest = f", the longest {unit.written(max(sizes))} {unit.label}" if sizes else ""
    legend = (("bar cpu", "CPU"), ("bar waiting", "waiting"), ("bar out", f"bytes that came out{largest}"))
    tables = tuple(
        operators_table(benchmark, f"Operators{f' of the {side}' * bool(side)}, medians a round")
        for side, benchmark in sides.items()
    )
    return Picture("Operators: CPU, waiting, bytes", svg, legend, tables)


def _bar(drawing: Drawing, left: float, right: float, y: float, height: float, kind: str) -> None:
    if right > left:
        drawing.rect(left, y, right - left, height, kind)


def _figures(operator: Mapping[str, Any]) -> str:
    cpu, wall = (
        MISSING if value is None else f"{number(value)} s"
        for value in (operator.get("cpu_s"), operator.get("wall_s"))
    )
    return f"CPU {cpu}, wall {wall}"


def _told(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    parts = []
    for side, operators in found.items():
        each = "; ".join(f"{operator['name']} {_figures(operator)}" for operator in operators)
        parts.append(f"{side}: {each}" if side else each)
    return "; ".join(parts)

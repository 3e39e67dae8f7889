"""Tables of a report's figures, for HTML: cells as texts. Every figure is one of the report's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pytest_rayperf.metrics import CPU_PER_ROW, METRICS, PEAK_MEMORY, THROUGHPUT
from pytest_rayperf.reports.phrases import reference
from pytest_rayperf.reports.rows import MISSING
from pytest_rayperf.reports.units import (
    BYTES,
    COUNT,
    PLAIN,
    Unit,
    factor,
    head,
    percent,
    size_for,
    times,
    unit_for,
)

Kind = Literal["name", "text", "number", "limits", "series"]


@dataclass(frozen=True)
class Column:
    """Its head, and what is in it: a name, words, a number, the limits of the one before, or several."""

    head: str
    kind: Kind = "number"


@dataclass(frozen=True)
class Table:
    """Rows of texts under heads; the first column names the row."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


Sides = Mapping[str, Mapping[str, Any]]
"""Benchmarks by how they are called: `anti-pattern` and `fix`, or "" for one alone."""

LIMITS = Column("95 % interval", "limits")


def rounds_of(benchmark: Mapping[str, Any], metric: str) -> Sequence[float | None]:
    """A metric's, or counter's, figure in each round; empty where it has none."""
    among = "rounds" if metric in METRICS else "counters_by_round"
    figures: Sequence[float | None] = (benchmark.get(among) or {}).get(metric) or ()
    return figures


def median_of(benchmark: Mapping[str, Any], metric: str) -> tuple[float | None, Sequence[float] | None]:
    """A metric's median and its limits; of a counter its figure in the last round."""
    if metric in METRICS:
        found = (benchmark.get("metrics") or {}).get(metric) or {}
        return found.get("median"), found.get("ci")
    return (benchmark.get("counters") or {}).get(metric), None


def metrics_table(sides: Sides) -> Table:
    """All metrics that were measured, of each side beside the other."""
    rows = []
    for name in METRICS:
        found = [median_of(benchmark, name) for benchmark in sides.values()]
        medians = [median for median, _ in found]
        if any(median is not None for median in medians):
            unit = unit_for(name, medians)
            cells = (text for median, ci in found for text in (unit.written(median), unit.limits(ci)))
            rows.append((name, unit.label, *cells))
    columns = [Column("Metric", "text"), Column("Unit", "text")]
    for side in sides:
        columns += [Column(side.capitalize() or "Median"), LIMITS]
    return Table("Metrics, medians over the rounds", tuple(columns), tuple(rows))


def counters_table(sides: Sides) -> Table:
    """Counts of the last round, of each side beside the other."""
    names = dict.fromkeys(name for b in sides.values() for name in b.get("counters") or {})
    rows = tuple(
        (name, *(COUNT.written(median_of(benchmark, name)[0]) for benchmark in sides.values()))
        for name in names
    )
    columns = (Column("Counter", "name"), *(Column(side.capitalize() or "Count") for side in sides))
    return Table("Counters, in the last round", columns, rows)


def rounds_table(sides: Sides, signal: str | None = None) -> Table:
    """What decides, round by round, of each side beside the other; and what else had the machine meanwhile.

    Args:
        sides: measured in turn.
        signal: the metric of their duel.
    """
    names = dict.fromkeys((THROUGHPUT.name, CPU_PER_ROW.name, PEAK_MEMORY.name, signal or THROUGHPUT.name))
    columns: list[Column] = []
    cells: list[Sequence[str]] = []
    for name in names:
        figures = {side: rounds_of(benchmark, name) for side, benchmark in sides.items()}
        unit = unit_for(name, [value for of in figures.values() for value in of])
        for side, of in figures.items():
            if any(value is not None for value in of):
                columns.append(Column(head(name, unit) + (f", {side}" if side else "")))
                cells.append([unit.written(value) for value in of])
    for side, benchmark in sides.items():
        disturbed, unseen = (benchmark.get(key) or () for key in ("disturbed", "unseen"))
        if any(disturbed):
            columns.append(Column("Disturbed" + (f", {side}" if side else ""), "text"))
            unknown = [bool(why) for why in unseen] or [False] * len(disturbed)
            told = zip(disturbed, unknown, strict=True)
            cells.append([why or ("not known" if blind else "no") for why, blind in told])
    numbers = range(max(map(len, cells), default=0))
    rows = tuple((str(n + 1), *(of[n] if n < len(of) else MISSING for of in cells)) for n in numbers)
    return Table("Rounds, in turn", (Column("Round"), *columns), rows)


_OPERATOR = (
    ("rows", "Rows", COUNT),
    ("tasks", "Tasks", COUNT),
    ("blocks", "Blocks", COUNT),
    ("cpu_s", "CPU, s", PLAIN),
    ("wall_s", "Wall, s", PLAIN),
    ("udf_s", "In functions, s", PLAIN),
    ("scheduling_s", "Scheduling, s", PLAIN),
    ("backpressure_s", "Backpressure, s", PLAIN),
    ("bytes_in", "In", BYTES),
    ("bytes", "Out", BYTES),
    ("actors", "Actors", COUNT),
    ("actor_utilization", "Actors busy, %", Unit(100, "")),
    ("errored_blocks", "Failed blocks", COUNT),
)


def operators_table(benchmark: Mapping[str, Any], caption: str = "Operators, medians a round") -> Table:
    """Their figures; columns that no operator has are left out."""
    operators = benchmark.get("operators") or []
    columns, units = [], []
    for key, name, unit in _OPERATOR:
        values = [operator.get(key) for operator in operators]
        if any(value is not None for value in values):
            used = size_for(values) if unit is BYTES else unit
            columns.append(Column(f"{name}, {used.label}" if unit is BYTES else name))
            units.append((key, used))
    rows = tuple((o["name"], *(unit.written(o.get(key)) for key, unit in units)) for o in operators)
    return Table(caption, (Column("Operator", "name"), *columns), rows)


def comparisons_table(benchmark: Mapping[str, Any]) -> Table:
    """Every metric that was compared with the baseline."""
    rows = []
    for one in benchmark["verdict"].get("comparisons") or ():
        unit = unit_for(one["metric"], [one["reference"], one["current"]])
        notes = [f"against {one['since']}"] if one["since"] else []
        notes += ["at this run's CPU time a row"] if one["at_equal_work"] else []
        rows.append(
            (
                one["metric"],
                one["status"],
                unit.written(one["reference"]),
                unit.written(one["current"]),
                unit.label,
                *times(one),
                factor(one["threshold"]),
                factor(one["mde"]),
                factor(one["finds"]),
                "; ".join(notes) or MISSING,
            )
        )
    columns = (
        Column("Metric", "text"),
        Column("Verdict", "text"),
        Column(reference(benchmark).capitalize()),
        Column("Now"),
        Column("Unit", "text"),
        Column(f"Now / {reference(benchmark)}"),
        Column("Limits", "limits"),
        Column("Threshold"),
        Column("Sees"),
        Column("Finds"),
        Column("Compared", "text"),
    )
    return Table(f"Compared with the {reference(benchmark)}", columns, tuple(rows))


def attribution_table(benchmark: Mapping[str, Any]) -> Table:
    """What became of each operator since the baseline."""
    found = benchmark["verdict"].get("attribution") or {}
    rows = [
        (one["operator"], one["kind"], percent(one["own"]), percent(one["share"]))
        for one in found.get("operators") or ()
    ]
    rows += [(name, "new", MISSING, MISSING) for name in found.get("new") or ()]
    if found.get("waiting") is not None:
        rows.append(("all operators", "waiting", MISSING, percent(found["waiting"])))
    columns = (Column("Operator", "name"), Column("In", "text"), Column("Own change"), Column("Of the whole"))
    title = f"Where it comes from: operators since the {reference(benchmark)}"
    return Table(title, columns, tuple(rows))


def latency_table(benchmark: Mapping[str, Any]) -> Table:
    """Calls of the functions given to map_batches."""
    milliseconds = Unit(1000, "ms")
    rows = tuple(
        (
            one["udf"],
            f"{one['count']:,}",
            *(milliseconds.written(one[key]) for key in ("p50_s", "p95_s", "p99_s")),
            f"{one['errors']:,}",
            MISSING if one["error_rate"] is None else f"{100 * one['error_rate']:.3g} %",
        )
        for one in benchmark.get("latency") or ()
    )
    columns = (
        Column("Function", "name"),
        *map(Column, ("Calls", "p50, ms", "p95, ms", "p99, ms", "Failed", "Failed, share")),
    )
    return Table("Calls of the functions, over all rounds", columns, rows)


def nodes_table(benchmark: Mapping[str, Any]) -> Table:
    """Each node's figures in the last round that has them."""
    rounds = benchmark.get("nodes") or []
    last = next((index for index in reversed(range(len(rounds))) if rounds[index]), None)
    rows = []
    for node, figures in rounds[last].items() if last is not None else ():
        for metric, value in figures.items():
            unit = unit_for(metric, [value])
            rows.append((node, metric, unit.written(value), unit.label))
    columns = (Column("Node", "name"), Column("Metric", "text"), Column("Figure"), Column("Unit", "text"))
    caption = "Nodes" if last is None else f"Nodes, in round {last + 1}"
    return Table(caption, columns, tuple(rows))


def work_table(benchmark: Mapping[str, Any]) -> Table:
    """What the short pass counted."""
    rows = [
        (operator["name"], counter, when, COUNT.written(count), COUNT.written(operator["rows"]))
        for operator in (benchmark.get("work") or {}).get("operators") or ()
        for when, counts in (("construction", operator["construction"]), ("its rows", operator["counts"]))
        for counter, count in counts.items()
    ]
    columns = (
        Column("Operator", "name"),
        Column("Counter", "text"),
        Column("During", "text"),
        Column("Count"),
        Column("Rows"),
    )
    return Table("Work, counted in a short pass that is not timed", columns, tuple(rows))


def duels_table(duels: Sequence[Mapping[str, Any]]) -> Table:
    """A row a metric in which the two variants were compared."""
    equal = {True: "equal", False: "differ", None: "not compared"}
    why = any(one.get("reason") for one in duels)
    rows = tuple(
        (
            one["metric"],
            *times(one),
            factor(one["floor"]),
            one["status"],
            equal[one["outputs_equal"]],
            *([one.get("reason") or MISSING] * why),
        )
        for one in duels
    )
    columns = (
        Column("Metric", "text"),
        Column("Fix better by"),
        LIMITS,
        Column("Floor"),
        Column("Found", "text"),
        Column("Outputs", "text"),
        *([Column("Why", "text")] * why),
    )
    return Table("Fix against anti-pattern, measured in turn", columns, rows)

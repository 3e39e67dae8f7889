"""What stands on top of the HTML report: every benchmark in one table, and what the run was made with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_rayperf.metrics import THROUGHPUT
from pytest_rayperf.reports.phrases import reference
from pytest_rayperf.reports.pictures.verdicts import reach, verdict_drawing
from pytest_rayperf.reports.rows import MISSING, Row, counts_of, headline
from pytest_rayperf.reports.tables import LIMITS, Column, Table
from pytest_rayperf.reports.units import size_for, times, unit_for

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """One benchmark's row: what it says, and its interval as a drawing, "" where there is none."""

    row: Row
    drawing: str
    saving: tuple[str, str]


@dataclass(frozen=True)
class Overview:
    """All of it, as the template lays it out.

    Attributes:
        headline: `1 of 22 slower; 2 inconclusive`.
        reference: what is compared with: `baseline`, `far side`.
        counts: how many benchmarks have each verdict, those that none has left out.
        lines: the worst first.
        reach: the factor at both ends of the drawings.
        priced: whether a price was given.
        facts: of the run, pairs of a word and what is to be said.
        environment: of the machine, likewise.
        changes: what is of another version than in the baselines; None without a baseline.
        software: all versions.
        final: from old to new; None where no ladder was measured.
    """

    headline: str
    reference: str
    counts: Mapping[str, int]
    lines: tuple[Line, ...]
    reach: float
    priced: bool
    facts: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]
    changes: tuple[str, ...] | None
    software: Table
    final: Table | None


def overview_of(report: Report, rows: Sequence[Row]) -> Overview:
    """The overview of a report, of its rows in order."""
    end = reach(rows)
    return Overview(
        headline=headline(report),
        reference=reference(report),
        counts=counts_of(report),
        lines=tuple(Line(row, verdict_drawing(row, end), _saving(row)) for row in rows),
        reach=end,
        priced=report.get("cost_per_hour_usd") is not None,
        facts=tuple(_facts(report)),
        environment=tuple(_environment(report)),
        changes=_changes(report),
        software=_software(report),
        final=_final(report.get("final")),
    )


def _saving(row: Row) -> tuple[str, str]:
    """A share of the anti-pattern's cost in percent, and its limits."""
    if row.saving is None:
        return MISSING, ""
    share, low, high = (
        # Without the sign of a rounded -0.
        MISSING if part is None else f"{round(100 * part)}"
        for part in (row.saving.value, row.saving.low, row.saving.high)
    )
    return f"{share} %", f"[{low}, {high}]"


def _facts(report: Report) -> Iterable[tuple[str, str]]:
    data, model = report.get("data") or {}, report.get("model") or {}
    yield "started", str(report["started_at"])
    yield "took", f"{report['duration_s']:.0f} s"
    yield "commit", report.get("commit") or "not known"
    if report.get("against"):
        yield "far side", report["against"]
    yield "profile", report["profile"]
    images = data.get("images")
    size = data.get("bytes")
    told = [data.get("name") or "no images"]
    told += [] if images is None else [f"{images:,} images"]
    told += [] if size is None else [f"{size_for([size]).written(size)} {size_for([size]).label}"]
    told += [] if data.get("fingerprint") is None else [f"fingerprint {data['fingerprint']}"]
    yield "data", ", ".join(told)
    weights = model.get("weights")
    yield "model", f"{model.get('name') or 'none'}" + (f", weights {weights}" if weights else "")
    price = report.get("cost_per_hour_usd")
    if price is not None:
        yield "price", f"{price:g} USD an hour"
    for name, value in (report.get("policy") or {}).items():
        yield name.replace("_", " "), _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return MISSING if value is None else f"{value:g}" if isinstance(value, int | float) else str(value)


def _environment(report: Report) -> Iterable[tuple[str, str]]:
    machine = report["environment"]
    memory = machine["memory_bytes"]
    yield "id", machine["id"]
    yield "CPU", machine["cpu_model"]
    yield "cores", _plain(machine["cores"])
    yield "memory", f"{size_for([memory]).written(memory)} {size_for([memory]).label}"
    yield "GPU", _gpus(machine["gpu_count"], machine["gpu_model"])
    if machine.get("system"):
        yield "system", f"{machine['system']} {machine.get('machine') or ''}".rstrip()


def _gpus(count: int | None, model: str | None) -> str:
    if count is None:
        return MISSING
    return f"{count} x {model or MISSING}" if count else "none"


def _changes(report: Report) -> tuple[str, ...] | None:
    """`ray 2.50.0 -> 2.51.1`."""
    changes = report.get("software_changes")
    if changes is None:
        return None
    return tuple(
        f"{one['name']} {', '.join(_version(v) for v in one['from'])} -> {_version(one['to'])}"
        for one in changes
    )


def _version(version: str | None) -> str:
    return "not installed" if version is None else version


def _software(report: Report) -> Table:
    before = {one["name"]: one["from"] for one in report.get("software_changes") or ()}
    known = report.get("software_changes") is not None
    rows = tuple(
        (
            name,
            _version(version),
            ", ".join(map(_version, before[name])) if name in before else "same" if known else MISSING,
        )
        for name, version in (report.get("software") or {}).items()
    )
    there = "on the far side" if report.get("against") else "in the baselines"
    columns = (Column("Name", "name"), Column("Version", "text"), Column(there.capitalize(), "text"))
    return Table(f"Versions, now and {there}", columns, rows)


def _final(final: Mapping[str, Any] | None) -> Table | None:
    if final is None:
        return None
    unit = unit_for(THROUGHPUT.name, [])
    first, best = final["first"], final["best"]
    rungs = (("baseline throughput", first), ("best throughput", best))
    rows = [
        (told, rung["name"], unit.written(speed["median"]), unit.limits(speed["ci"]))
        for told, rung in rungs
        for speed in [rung["throughput"]]
    ]
    rows.append(("total improvement", "", *times(final["total"])))
    columns = (Column("What", "text"), Column("Of", "name"), Column(unit.label), LIMITS)
    return Table(f"From the first to the best rung of {final['ladder']}", columns, tuple(rows))

"""What the HTML report shows of each anti-pattern with its fix, and of each other benchmark."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pytest_rayperf.reports import tables
from pytest_rayperf.reports.pictures.drawing import Picture
from pytest_rayperf.reports.pictures.duels import duel_picture
from pytest_rayperf.reports.pictures.history import history_picture
from pytest_rayperf.reports.pictures.operators import operators_picture
from pytest_rayperf.reports.pictures.utilization import utilization_picture
from pytest_rayperf.reports.rows import Figure, Row
from pytest_rayperf.reports.tables import Table

Report = Mapping[str, Any]

CALLED = {"antipattern": "anti-pattern", "fix": "fix"}


@dataclass(frozen=True)
class Group:
    """What has a section of its own: both variants of an anti-pattern, or one benchmark.

    Attributes:
        name: the anti-pattern, or the test's name.
        rows: at least one, the anti-pattern before its fix.
        duels: of the two variants, in every metric; where another file has a test of this name, in the
            signal alone.
    """

    name: str
    rows: tuple[Row, ...]
    duels: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Link:
    """A file beside the report."""

    name: str
    href: str


@dataclass(frozen=True)
class Part:
    """One benchmark within its section.

    Attributes:
        row: the benchmark.
        reasons: the verdict's, without the word that stands before them.
        notes: what a reader of its verdict has to know: which rounds are not its own, what is not counted.
        called: `fix`, ...; "" where there is one pipeline only.
        facts: pairs of a word and what is to be said.
        links: to flame graphs and the timeline.
        tables: of it alone, none of them empty.
    """

    row: Row
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    called: str
    facts: tuple[tuple[str, str], ...]
    links: tuple[Link, ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Section:
    """All of it, as the template lays it out."""

    anchor: str
    group: Group
    duels: Table
    pictures: tuple[Picture, ...]
    without_pictures: bool
    figures: tuple[Table, ...]
    parts: tuple[Part, ...]


def groups_of(report: Report, rows: Sequence[Row]) -> list[Group]:
    """The rows by test, in the order of the worst one of each."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        # A test that is parametrized with its variant has an id for each, and one title.
        alone = "" if row.variant else f" {row.index}"
        key = (row.benchmark["id"].partition("[")[0], row.name + alone)
        found.setdefault(key, []).append(row)
    named = Counter(rows[0].name for rows in found.values() if rows[0].variant)
    return [_group(report, of, alone=named[of[0].name] == 1) for of in found.values()]


def _group(report: Report, rows: list[Row], *, alone: bool) -> Group:
    """`alone`: no other test has its name, which is all that the report's duels say of whose they are."""
    rows = sorted(rows, key=lambda row: (row.variant != "antipattern", row.index))
    name = rows[0].name
    given = report.get("duels") or () if alone else ()
    duels = [duel for duel in given if duel["antipattern"] == name and rows[0].variant]
    own = [row.benchmark.get("duel") for row in rows]
    duels += [duel for duel in own if duel is not None and duel not in duels]
    # The signal first: it is what the fix is judged by.
    return Group(name, tuple(rows), tuple(sorted(duels, key=lambda duel: duel not in own)))


def anchor_of(group: Group) -> str:
    """What links to its section point at."""
    return f"s{group.rows[0].index + 1}"


def section_of(report: Report, group: Group, folder: Path | None, *, pictures: bool) -> Section:
    """The section of a group.

    Args:
        report: whose.
        group: of it.
        folder: where the page will lie; None where that is not known, and links stay as they are.
        pictures: whether there is room for them.
    """
    signal = group.duels[0]["metric"] if group.duels else None
    sides = _sides(group)
    return Section(
        anchor=anchor_of(group),
        group=group,
        duels=tables.duels_table(group.duels),
        pictures=tuple(_pictures(report, group)) if pictures else (),
        without_pictures=not pictures,
        figures=_filled(
            tables.metrics_table(sides),
            tables.counters_table(sides),
            *([tables.rounds_table(sides, signal)] if pictures else []),
        ),
        parts=tuple(_part(row, folder, pictures) for row in group.rows),
    )


def _called(row: Row) -> str:
    return CALLED.get(row.variant, row.variant)


def _sides(group: Group) -> tables.Sides:
    return {_called(row): row.benchmark for row in group.rows}


def _filled(*given: Table) -> tuple[Table, ...]:
    return tuple(table for table in given if table.rows)


def _pictures(report: Report, group: Group) -> Iterable[Picture]:
    sides = _sides(group)
    found: list[Picture | None] = []
    if len(sides) == 2:
        found += [duel_picture(sides, duel) for duel in group.duels]
    found += [operators_picture(sides), utilization_picture(sides)]
    found.append(history_picture(sides, report.get("commit")))
    return (picture for picture in found if picture is not None)


def _part(row: Row, folder: Path | None, pictures: bool) -> Part:
    benchmark = row.benchmark
    return Part(
        row=row,
        reasons=tuple(line.removeprefix(f"{row.status}: ") for line in row.reasons if line != row.status),
        notes=tuple(_notes(benchmark)),
        called=_called(row),
        facts=tuple(_facts(benchmark)),
        links=_links(benchmark.get("profile") or {}, folder),
        tables=_filled(
            tables.comparisons_table(benchmark),
            tables.attribution_table(benchmark),
            # With pictures these are behind that of the operators.
            *([] if pictures else [tables.operators_table(benchmark)]),
            tables.latency_table(benchmark),
            tables.work_table(benchmark),
            tables.nodes_table(benchmark),
        ),
    )


def _notes(benchmark: Mapping[str, Any]) -> Iterable[str]:
    repeated = benchmark.get("repeated") or ()
    if repeated:
        yield f"{_rounds(len(repeated))} measured again: {'; '.join(dict.fromkeys(repeated))}"
    disturbed = [why for why in benchmark.get("disturbed") or () if why]
    if disturbed:
        whose = f"{len(disturbed)} of {_rounds(_count(benchmark))}"
        yield f"{whose} disturbed: {'; '.join(dict.fromkeys(disturbed))}"
    unseen = [why for why in benchmark.get("unseen") or () if why]
    if unseen:
        whose = f"{len(unseen)} of {_rounds(_count(benchmark))}"
        yield f"of {whose} it is not known what disturbed them: {'; '.join(dict.fromkeys(unseen))}"
    if benchmark.get("work_problem"):
        yield f"work not counted: {benchmark['work_problem']}"


def _rounds(count: int) -> str:
    return f"{count} round{'s' * (count != 1)}"


def _facts(benchmark: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    yield "test", benchmark["id"]
    against = benchmark.get("against")
    yield ("far side", against) if against else ("baseline", benchmark.get("baseline") or "none")
    yield "rounds", f"{_count(benchmark)} counted, {len(benchmark.get('repeated') or ())} measured again"
    if not benchmark.get("timed", True):
        yield "executed once", "its signal has no noise; metrics that have do not decide"
    cost, saving = benchmark.get("cost"), benchmark.get("saving")
    if cost is not None:
        yield "costs", f"{_usd(cost)} USD a million rows"
    if saving is not None:
        yield "saves", f"{_usd(saving)} USD a million rows"
    for name, limit in (benchmark.get("limits") or {}).items():
        yield "its mark demands", f"{name}={limit:g}"
    for note in (benchmark.get("work") or {}).get("undetermined") or ():
        yield "work not determined", note
    probe = benchmark.get("probe")
    if probe is not None:
        for name, of in (("fixed work", ""), ("fixed work in memory", "memory_")):
            laps = [probe[f"{of}{when}_s"] for when in ("before", "after")]
            if None not in laps:
                before, after = (f"{1000 * seconds:.3g}" for seconds in laps)
                inner = [lap["memory_s" if of else "compute_s"] for lap in probe["between"]]
                yield name, f"{before} and {after} CPU ms a lap, before and after{_between(inner)}"
    for problem in (benchmark.get("profile") or {}).get("problems") or ():
        yield "profile", problem


def _between(laps: Sequence[float | None]) -> str:
    known = [1000 * seconds for seconds in laps if seconds is not None]
    if not known:
        return ""
    return f"; {min(known):.3g} to {max(known):.3g} in {len(known)} between the rounds"


def _usd(found: Mapping[str, Any]) -> str:
    return Figure(found["usd_per_million_rows"], *(found["ci"] or (None, None))).written()


def _count(benchmark: Mapping[str, Any]) -> int:
    return max((len(figures) for figures in (benchmark.get("rounds") or {}).values()), default=0)


def _links(profile: Mapping[str, Any], folder: Path | None) -> tuple[Link, ...]:
    files = [(f"flame graph of {udf}", path) for udf, path in (profile.get("flame_graphs") or {}).items()]
    if profile.get("timeline"):
        files.append(("timeline, for ui.perfetto.dev", profile["timeline"]))
    return tuple(Link(name, _href(path, folder)) for name, path in files)


def _href(path: str, folder: Path | None) -> str:
    """Relative to `folder`, and never anything but a path: no scheme, no host."""
    if folder is not None:
        # Where there is no way from one drive to the other, it stays as it is.
        try:
            path = Path(os.path.relpath(path, folder)).as_posix()
        except ValueError:
            path = Path(path).as_posix()
    written = quote(path, safe="/", errors="surrogatepass")  # a file somebody edited may name anything
    return "/" + written.lstrip("/") if written.startswith("/") else written

"""The report as GitHub's Markdown, for a comment or a step's summary: table, reasons, details folded away.

GitHub refuses a comment of more than 65,536 characters. So what is least interesting is left out of a long
one, and that is said: details of what is unchanged, then of what is not bad, then rows of what is unchanged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from pytest_rayperf.reports import phrases
from pytest_rayperf.reports.markdown_benchmark import folded
from pytest_rayperf.reports.markdown_parts import (
    details,
    name,
    prose,
    row,
    short_bullets,
    short_table,
    size,
    table,
    within,
)
from pytest_rayperf.reports.rows import MISSING, Figure, Row, hardware_of, headline, rows_of, short
from pytest_rayperf.reports.selftest_table import selftest_table
from pytest_rayperf.reports.units import factor
from pytest_rayperf.results import STATUSES

Report = Mapping[str, Any]

LIMIT = 60_000
"""Characters, as GitHub counts them."""

_BAD = ("regressed", "invalid")

_NOTE = 500  # for the sentence that says what was left out
_SECTION = 4_000
"""So long may each section be that is not about one benchmark: together far less than half of the whole."""

_REASONS = "### Reasons"
_DETAILS = "### Details"
_LEGEND = (
    "In brackets are 95 % intervals, and against the baseline the limits that decide: with the certainty "
    "that the run's alpha asks for it is not better than the one, with 95 % not worse than the other. More "
    "rows/s are better, and less of all else. "
    "*sees*: slowdowns above it are ruled out, with 90 %; *finds*: from it on they would be called "
    "regressed, with 90 %, by the last look that there is time for."
)


def render(report: Report) -> str:
    """The whole of it, under `LIMIT`."""
    rows = rows_of(report)
    interesting = [row for row in rows if row.status != "unchanged"]
    unchanged = [row for row in rows if row.status == "unchanged"]
    head, middle, end = _head(report), _middle(report), _end(report)
    table_head = table(_columns(report), [])
    fixed = [*head, table_head, _LEGEND, _REASONS, *middle, _DETAILS, *end]
    space = _Space(LIMIT - _NOTE - sum(size(part) + 2 for part in fixed))

    bad = [row for row in interesting if row.status in _BAD]
    written = [_row(report, each) for each in interesting]
    reasons = _reasons(interesting)
    worse_rows = space.take(f"{cells}\n{reason}\n" for cells, reason in zip(written, reasons, strict=True))
    bad_details = space.take(f"{folded(each)}\n\n" for each in bad)
    unchanged_rows = space.take(f"{_row(report, each)}\n" for each in unchanged)
    shown = [*interesting[:worse_rows], *unchanged[:unchanged_rows]]
    explained = bad[:bad_details]
    rest = [row for row in rows if row.status not in _BAD]
    explained += rest[: space.take(f"{folded(each)}\n\n" for each in rest)]
    said = [reason for reason in reasons[:worse_rows] if reason]
    parts = [
        *head,
        "\n".join([table_head, *(_row(report, each) for each in shown)]) if rows else "",
        _LEGEND if rows else "",
        _left_out(rows, shown, explained),
        *([_REASONS, "\n".join(said)] if said else []),
        *middle,
        *([_DETAILS, *map(folded, explained)] if explained else []),
        *end,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


class _Space:
    """Room that is filled with the most interesting first. Once something does not fit, nothing else does."""

    def __init__(self, room: int) -> None:
        self._room = room

    def take(self, texts: Iterable[str]) -> int:
        """How many of the texts, from the first on, fit."""
        taken = 0
        for text in texts:
            self._room -= size(text)
            if self._room < 0:
                break
            taken += 1
        return taken


def _left_out(rows: Sequence[Row], shown: Sequence[Row], explained: Sequence[Row]) -> str:
    """What is not here for want of space."""
    missing = Counter(each.status for each in rows) - Counter(each.status for each in shown)
    told = []
    if missing:
        worst = list(missing.items())[: len(STATUSES)]
        told.append(f"the rows of {', '.join(f'{count} {name(status)}' for status, count in worst)}")
    if len(explained) < len(rows):
        told.append(f"the details of {len(rows) - len(explained)} of {len(rows)} benchmarks")
    if not told:
        return ""
    return (
        f"Left out, for GitHub takes no longer text: {'; '.join(told)}. The JSON and HTML reports have them."
    )


def _head(report: Report) -> list[str]:
    facts = [
        phrases.counts(report, name),
        phrases.subject(report, name),
        f"environment {name(report['environment']['id'])}",
        f"{report['duration_s']:.0f} s",
        phrases.far_side(report, name),
        phrases.software(report, name),
    ]
    return [f"## rayperf: {prose(headline(report))}", "; ".join(filter(None, facts))]


def _columns(report: Report) -> list[str]:
    priced = ["USD/M rows", "fix saves"] if report["cost_per_hour_usd"] is not None else []
    against = f"vs {phrases.reference(report)}"
    return ["test", "rows/s", "CPU ms/row", against, "sees", "finds", "fix is better by", *priced, "verdict"]


def _row(report: Report, each: Row) -> str:
    duel, saving = each.benchmark["duel"], each.benchmark["saving"]
    ratio = each.against
    cells = [
        name(each.title),
        _written(each.throughput),
        _written(each.cpu),
        MISSING if ratio is None else f"{ratio.times()} {ratio.limits()} {name(short(ratio.metric))}",
        *(factor(limit) for limit in (each.mde, each.finds)),
        MISSING if duel is None else phrases.better_by(duel, hardware_of(report), name),
    ]
    if report["cost_per_hour_usd"] is not None:
        cells += [_written(each.cost), MISSING if saving is None else phrases.percent(saving)]
    return row([*cells, f"**{each.status}**" if each.status in _BAD else name(each.status)])


def _written(figure: Figure | None) -> str:
    return MISSING if figure is None else figure.written()


def _reasons(rows: Sequence[Row]) -> list[str]:
    """A bullet a row, "" where the one before it, or the row itself, has said it."""
    found: list[str] = []
    for (status, reasons), group in groupby(rows, lambda each: (each.status, each.reasons)):
        alike = list(group)
        who = name(alike[0].title) if len(alike) == 1 else f"{len(alike)} tests"
        why = prose("; ".join(reasons).removeprefix(status).removeprefix(": "))
        told = "" if status == "improved" else f"- {prose(status)}, {who}: {why}".removesuffix(": ")
        found += [told, *[""] * (len(alike) - 1)]
    return found


def _middle(report: Report) -> list[str]:
    """What is not of one benchmark, and is to be seen."""
    parts = []
    if report["warnings"]:
        parts += ["### Warnings", short_bullets(_SECTION, map(prose, report["warnings"]))]
    if report["selftest"]:
        tested, others = within(4 * _SECTION, [_selftest(one) for one in report["selftest"]])
        parts += ["### Self-test of the gate", *tested, others]
    if facts := phrases.final_facts(report, name):
        parts += ["### From old to new", short_table(_SECTION, ["what", "measured"], facts.items())]
    if ladders := list(_ladder_rows(report)):
        head = ["ladder", "mend", "measured", "better than the one above by"]
        parts += ["### Ladder", short_table(_SECTION, head, ladders)]
    if sweeps := list(_sweep_rows(report)):
        heads = short_bullets(
            _SECTION, (f"sweep {phrases.sweep_head(sweep, name)}" for sweep in report["sweeps"])
        )
        parts += ["### Sweeps", heads, short_table(_SECTION, ["sweep", "setting", "measured", ""], sweeps)]
    return parts


def _selftest(one: Mapping[str, Any]) -> str:
    """What was found of one pipeline, and how often the gate found what was put into it."""
    found = selftest_table(one)
    cells = ([name(cell) for cell in found_row] for found_row in found.rows)
    return (
        f"{name(one['name'])}: {prose('; '.join(one['reason'].splitlines()))}\n\n"
        f"{short_table(_SECTION, [column.head for column in found.columns], cells)}"
    )


def _ladder_rows(report: Report) -> Iterator[list[str]]:
    for ladder in report["ladders"]:
        which = name(ladder["antipattern"])
        for rung in ladder["rungs"]:
            figure = phrases.step_figure(rung, ladder["metric"], name)
            yield [which, name(rung["name"]), figure, phrases.rung_note(rung, name)]
        yield [which, "in total", "", phrases.interval(ladder["total"]) or MISSING]


def _sweep_rows(report: Report) -> Iterator[list[str]]:
    for sweep in report["sweeps"]:
        for setting in sweep["settings"]:
            figure = phrases.step_figure(setting, sweep["metric"], name)
            yield [name(sweep["name"]), name(setting["name"]), figure, phrases.setting_note(setting, name)]


def _end(report: Report) -> list[str]:
    """What is folded away and not of one benchmark."""
    duels = [
        [
            name(duel["antipattern"]),
            phrases.better_by(duel, hardware_of(report), name),
            MISSING if duel["floor"] is None else f"{duel['floor']:g}x",
            phrases.OUTPUTS[duel["outputs_equal"]],
            "; ".join(filter(None, [name(duel["status"]), prose(phrases.duel_reason(duel))])),
        ]
        for duel in report["duels"]
    ]
    head = ["duel", "fix is better by", "floor", "outputs", "verdict"]
    parts = [details("Duels", short_table(2 * _SECTION, head, duels))] if duels else []
    facts = [[name(key), prose(str(value))] for key, value in _facts(report) if value is not None]
    return [
        *parts,
        details("Environment, software and policy", short_table(_SECTION, ["what", "value"], facts)),
    ]


def _facts(report: Report) -> Iterator[tuple[str, object]]:
    yield "started at", report["started_at"]
    yield "commit", report["commit"]
    yield from report["environment"].items()
    yield from ((f"data {key}", value) for key, value in report["data"].items())
    yield from ((f"model {key}", value) for key, value in report["model"].items())
    if report["cost_per_hour_usd"] is not None:
        yield "USD an hour", report["cost_per_hour_usd"]
    yield from report["policy"].items()
    yield from ((package, version or "not installed") for package, version in report["software"].items())

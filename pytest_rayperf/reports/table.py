"""The terminal's comparison table: a row a benchmark, worst first, each with its reason in a line below.

Within `COLUMNS` whatever the names are. So figures stand in a short form there; JSON, Markdown and HTML have
them in full, and the reason has that which decided.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pytest_rayperf.reports import safe
from pytest_rayperf.reports.lines import COLUMNS, Line, Style, cut, shortened, width, wrapped
from pytest_rayperf.reports.phrases import reference
from pytest_rayperf.reports.rows import MISSING, Figure, Ratio, Row, number, rows_of, short

if TYPE_CHECKING:
    import pandas

MOST_UNCHANGED = 100
"""So many unchanged benchmarks have a row; of more, the others are summed up."""

STYLES: Mapping[str, Style] = {
    "regressed": "bad",
    "invalid": "bad",
    "incomparable": "doubtful",
    "inconclusive": "doubtful",
    "no-baseline": "doubtful",
    "improved": "good",
    "unchanged": "",
}

_TEST, _AGAINST, _SEES, _BETTER = "test", "vs baseline", "sees", "fix is\nbetter by"

_FAIR = {_TEST: 24, _AGAINST: 22}
"""What is left out for the sake of names is left out until columns have so much of their text."""

_GIVING_WAY = ((_BETTER, 12), (_AGAINST, 22), (_TEST, 14), (_AGAINST, 19), (_TEST, 9))
"""Which columns give way in turn after that, and to how little. Of a ratio the numbers stay."""

_BRIEFEST = 5

_VERDICT = 12  # columns of the longest one

_GAP = 2  # columns between two of tabulate's
_INDENT = "  "
_SAID = (
    re.compile(r"^slowdowns above [\d.]+x are ruled out$"),
    re.compile(r" those above [\d.]+x$"),
    re.compile(r"^\w+ [\d.]+x \["),
)
"""Parts of a reason that can be missed below a row of the table, first those that are missed least."""

_THRESHOLD = re.compile(r", threshold [\d./]+(?=; operator )")
_METRICS = {"CPU/row": "CPU"}

Parts = tuple[str, str, str]
"""A cell: what stays as it is, what can be shortened, what stays after that."""


def table_lines(report: Mapping[str, Any]) -> list[Line]:
    """The table, its reasons, what is summed up, and what its short forms mean."""
    rows = rows_of(report)
    shown, others = _without_most_unchanged(rows)
    made = frame(report, shown)
    text = _formatted(made)
    head, body = text[: len(text) - len(shown)], text[len(text) - len(shown) :]
    lines = [Line(line, "heading") for line in head[:-1]] + [Line(line) for line in head[-1:]]
    place = 0
    for (status, reasons), group in groupby(shown, lambda row: (row.status, row.reasons)):
        alike = len(list(group))
        lines += [Line(line, STYLES.get(status, "")) for line in body[place : place + alike]]
        place += alike
        if status != "unchanged" and (told := reason_of(status, reasons, alike)):
            lines.append(Line(told, STYLES.get(status, "")))
    if others:
        lines.append(Line(_summed_up(others), "faint"))
    return [*lines, *(Line(line, "faint") for line in _legend(shown, lines, sees=_SEES in made))]


def frame(report: Mapping[str, Any], rows: Sequence[Row]) -> pandas.DataFrame:
    """One row a benchmark; texts as the table shows them, made to fit."""
    import pandas

    tried = (_columns(report, rows, brief) for brief in range(_BRIEFEST + 1))
    columns = next((columns for columns in tried if _width(columns, _FAIR) <= COLUMNS), None)
    made: pandas.DataFrame = pandas.DataFrame(_fitted(columns or _columns(report, rows, _BRIEFEST)))
    renamed: pandas.DataFrame = made.rename(columns={_AGAINST: f"vs {reference(report)}"})  # as wide
    return renamed


def _columns(report: Mapping[str, Any], rows: Sequence[Row], brief: int) -> dict[str, list[Parts]]:
    """Each column's cells.

    Args:
        report: for the price.
        rows: to be shown.
        brief: from 1 on "antipattern" is "anti", from 2 on a duel is without its metric, from 3 on it is not
            said what is ruled out (the limits say nearly that), from 4 on CPU time and from 5 on throughput
            are without their intervals.
    """
    names = {"antipattern": "anti"} if brief else {}
    columns = {
        _TEST: [("", row.name, names.get(row.variant, row.variant)) for row in rows],
        "rows/s": [(spread(row.throughput, brief < 5), "", "") for row in rows],
        "CPU\nms/row": [(spread(row.cpu, brief < 4), "", "") for row in rows],
        _AGAINST: [_against(row.against) for row in rows],
        **({_SEES: [_factor(row.mde) for row in rows]} if brief < 3 else {}),
        "finds": [_factor(row.finds) for row in rows],
        _BETTER: [_better(row, brief >= 2) for row in rows],
    }
    if report.get("cost_per_hour_usd") is not None:
        costs = [MISSING if row.cost is None else number(row.cost.value) for row in rows]
        columns["USD/M\nrows"] = [(cost, "", "") for cost in costs]
    return {**columns, "verdict": [(shortened(row.status, _VERDICT), "", "") for row in rows]}


def spread(figure: Figure | None, with_interval: bool = True) -> str:
    """A median, with the wider side of its interval: `34.9 ±25%`."""
    if figure is None:
        return MISSING
    text = number(figure.value)
    if not with_interval or figure.low is None or figure.high is None or figure.value <= 0:
        return text
    wider = 100 * max(figure.high / figure.value - 1, 1 - figure.low / figure.value)
    if wider >= 99.5:
        return f"{text} ±>99%"  # the lower limit would be below 0
    return f"{text} ±{wider:.0f}%" if wider >= 0.95 or wider < 0.05 else f"{text} ±{wider:.1f}%"


def times(ratio: float) -> str:
    """`0.80x`; three digits of a large one."""
    return f"{number(ratio)}x" if abs(ratio) >= 9.995 else f"{ratio:.2f}x"


def _factor(factor: float | None) -> Parts:
    return (MISSING if factor is None else times(factor), "", "")


def _metric(name: str) -> str:
    return _METRICS.get(short(name), short(name))


def _against(ratio: Ratio | None) -> Parts:
    """`0.80x 0.77-0.83 rows/s`."""
    if ratio is None:
        return (MISSING, "", "")
    figure = ratio.figure
    if ratio.exact or figure.low is None or figure.high is None:
        return (f"{times(figure.value)} exact", _metric(ratio.metric), "")
    low, high = (times(limit).removesuffix("x") for limit in (figure.low, figure.high))
    return (f"{times(figure.value)} {low}-{high}", _metric(ratio.metric), "")


def _better(row: Row, brief: bool) -> Parts:
    """`2.97x CPU`, or what else is to be said of the two."""
    duel = row.benchmark.get("duel")
    if duel is None:
        return (MISSING, "", "")
    ratio = "" if row.better is None else times(row.better.figure.value)
    if duel["status"] == "effect":
        return (ratio or "none left", "" if brief else _metric(duel["metric"]), "")
    return ("" if brief else ratio, str(duel["status"]), "")


def _fitted(columns: Mapping[str, Sequence[Parts]]) -> dict[str, list[str]]:
    """The cells as texts, those of the columns that give way shortened until all fit."""
    over = _width(columns) - COLUMNS
    fitted = {name: [_cell(parts) for parts in cells] for name, cells in columns.items()}
    for name, least in _GIVING_WAY:
        now = max(map(width, fitted[name]), default=0)
        if over > 0 and now > least:
            given = min(over, now - least)
            fitted[name] = [_cell(parts, now - given) for parts in columns[name]]
            over -= given
    return fitted


def _cell(parts: Parts, columns: int | None = None) -> str:
    before, name, after = parts
    around = sum(len(part) + 1 for part in (before, after) if part)
    shown = safe.isolated(safe.visible(name)) if columns is None else shortened(name, columns - around)
    return " ".join(part for part in (before, shown, after) if part)


def _width(columns: Mapping[str, Sequence[Parts]], most: Mapping[str, int] = MappingProxyType({})) -> int:
    """Of the whole table; some columns count no more than `most`."""
    widths = {name: _widest(name, [_cell(parts) for parts in cells]) for name, cells in columns.items()}
    counted = [min(found, most.get(name, found)) for name, found in widths.items()]
    return sum(counted) + _GAP * (len(counted) - 1)


def _widest(name: str, cells: Sequence[str]) -> int:
    return max([*map(len, name.split("\n")), *map(width, cells)])


def _formatted(table: pandas.DataFrame) -> list[str]:
    """Two lines of names, a rule, and a line a row."""
    import tabulate

    columns: dict[str, list[str]] = {str(name): list(cells) for name, cells in table.items()}
    head = zip(*(["", *name.split("\n")][-2:] for name in columns), strict=True)
    rule = ["-" * _widest(name, cells) for name, cells in columns.items()]
    text = tabulate.tabulate(
        [*head, rule, *zip(*columns.values(), strict=True)],
        tablefmt="plain",  # the others give a name two columns more than it needs
        disable_numparse=True,  # texts: "1.10x" is no number, and "12.30" must keep its zero
    )
    return [line.rstrip() for line in text.splitlines()]


def reason_of(status: str, reasons: Sequence[str], alike: int = 1) -> str:
    """The reason in one line, without the verdict that stands above it.

    Of several metrics the first. What regressed begins with what happened, and loses its end; what is only
    doubtful or better begins with what the row says already, and goes on with what to do.

    Args:
        status: the verdict.
        reasons: a line a metric; each may begin with the verdict.
        alike: how many benchmarks in a row have this very reason.
    """
    before = f"all {alike}: " if alike > 1 else ""
    after = f" (+{len(reasons) - 1} more)" if len(reasons) > 1 else ""
    text = safe.visible(reasons[0].removeprefix(status).removeprefix(": ")) if reasons else ""
    if not text:
        return ""
    room = COLUMNS - len(_INDENT) - len(before) - len(after)
    if status in ("inconclusive", "improved"):
        text = _without_what_the_row_says(text, room)
    elif width(text) > room:
        text = _THRESHOLD.sub("", text, count=1)  # where it came from says more
    return f"{_INDENT}{before}{cut(text, room)}{after}"


def _without_what_the_row_says(text: str, columns: int) -> str:
    """The text without as many of the parts that say what stands above it as makes it fit."""
    for said in _SAID:
        if width(text) > columns:
            first, *others = text.split("; ")
            kept = [part for part in others if not said.search(part)]
            text = "; ".join(["…" if said.search(first) else first, *kept])
    return text


def _without_most_unchanged(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Those that have a row of their own, and the others, all unchanged; in the same order."""
    unchanged = [row for row in rows if row.status == "unchanged"]
    left_out = {row.index for row in unchanged[MOST_UNCHANGED:]}
    return (
        [row for row in rows if row.index not in left_out],
        [row for row in rows if row.index in left_out],
    )


def _summed_up(others: Sequence[Row]) -> str:
    seen = [row.mde for row in others if row.mde is not None]
    least = f"; slowdowns above {times(min(seen))} to {times(max(seen))} are ruled out" if seen else ""
    return f"and {len(others)} more unchanged{least}"


def _legend(rows: Sequence[Row], lines: Sequence[Line], *, sees: bool) -> Iterator[str]:
    """What the short forms mean that stand in the table; `sees`: whether it says what is ruled out."""
    text = "\n".join(line.text for line in lines)
    meanings = [
        ("±" in text, "±: 95 % intervals"),
        (any(row.against and not row.against.exact for row in rows), "a-b: the limits that decide"),
        (sees and any(row.mde for row in rows), f"{_SEES}: more is ruled out"),
        (any(row.finds for row in rows), "finds: red from there, by the last look"),
        (" anti " in text, "anti: antipattern"),
    ]
    told = "; ".join(meaning for stands, meaning in meanings if stands)
    return wrapped(told) if told else iter(())

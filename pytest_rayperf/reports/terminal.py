"""What a run ends with on the terminal: the table, what else was measured, and a line that counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_rayperf.reports import phrases, safe
from pytest_rayperf.reports.json import Report
from pytest_rayperf.reports.lines import COLUMNS, Line, Style, cut, shortened, width, wrapped
from pytest_rayperf.reports.rows import MISSING, counts_of, hardware_of, rows_of
from pytest_rayperf.reports.table import STYLES, table_lines

__all__ = ["Line", "lines_of"]

_MOST = 100
"""So many lines has a section."""

_INDENT = "  "


def lines_of(report: Report, accepted: Sequence[str] = ()) -> list[Line]:
    """The summary of a run.

    Args:
        report: on it.
        accepted: the baseline files that it wrote.
    """
    lines = table_lines(report) if report["benchmarks"] or not report["selftest"] else []
    price = report["cost_per_hour_usd"] or 0.0
    parts = {
        "self-test": _selftests(report),
        "duels": _duels(report),
        "ladder": _ladders(report),
        "sweeps": _sweeps(report),
        "profiles": _profiles(report),
        "from old to new": _final(report),
        f"savings at {price:g} USD an hour": _savings(report),
    }
    for title, found in parts.items():
        if section := _without_most(list(found)):
            lines += [Line(""), Line(f"{title}:", "heading"), *section]
    lines.append(Line(""))
    lines += [Line(f"baseline written: {safe.visible(name)}") for name in accepted]
    return [*lines, *_closing(report)]


def _name(text: str, columns: int = 40) -> str:
    """A name among other things."""
    return shortened(text, columns)


def _without_most(lines: list[Line]) -> list[Line]:
    """A section of a readable length: of a very long one those lines first that something is wrong with."""
    if len(lines) <= _MOST:
        return lines
    order = sorted(range(len(lines)), key=lambda index: lines[index].style == "")
    shown = [lines[index] for index in sorted(order[:_MOST])]
    return [*shown, Line(f"{_INDENT}and {len(lines) - _MOST} lines more", "faint")]


def _lines(text: str, style: Style = "") -> Iterator[Line]:
    return (Line(line, style) for line in wrapped(text, _INDENT, _INDENT * 2))


def _selftests(report: Report) -> Iterator[Line]:
    """Of each tested pipeline whether the gate is fit for it, and why not."""
    for one in report["selftest"]:
        style: Style = "" if one["status"] == "fit" else "bad" if one["status"] == "not fit" else "doubtful"
        reason = "; ".join(one["reason"].splitlines())
        yield from _lines(f"{_name(one['name'])}: {safe.visible(reason)}", style)


def _duels(report: Report) -> Iterator[Line]:
    """A line for each metric in which a pair was compared."""
    hardware = hardware_of(report)
    for duel in report["duels"]:
        floor = "" if duel["floor"] is None else f", floor {duel['floor']:g}x"
        reason = safe.visible(phrases.duel_reason(duel))
        yield from _lines(
            f"{_name(duel['antipattern'])}: fix better by {phrases.better_by(duel, hardware, _name)}{floor}; "
            f"{phrases.OUTPUTS[duel['outputs_equal']]}{f' ({reason})' if reason else ''}",
            _duel_style(duel),
        )


def _duel_style(duel: Mapping[str, Any]) -> Style:
    if duel["status"] in ("invalid", "below-floor"):
        return "bad"
    return "doubtful" if duel["status"] == "inconclusive" else ""


def _ladders(report: Report) -> Iterator[Line]:
    """Of each ladder a line a rung: what was mended, the metric, how many times better than the one above."""
    for ladder in report["ladders"]:
        yield Line(f"{_INDENT}{_name(ladder['antipattern'])}:")
        steps = [
            (rung["name"], phrases.step_figure(rung, ladder["metric"], _name), phrases.rung_note(rung, _name))
            for rung in ladder["rungs"]
        ]
        yield from _steps([*steps, ("in total", "", phrases.interval(ladder["total"]) or MISSING)])


def _sweeps(report: Report) -> Iterator[Line]:
    """Of each sweep the best setting and what cannot be told apart from it, then a line a setting."""
    for sweep in report["sweeps"]:
        yield from _lines(phrases.sweep_head(sweep, lambda text: shortened(text, COLUMNS)))
        steps = [
            (
                step["name"],
                phrases.step_figure(step, sweep["metric"], _name),
                phrases.setting_note(step, _name),
            )
            for step in sweep["settings"]
        ]
        yield from _steps(steps, right=True)


def _steps(steps: Sequence[tuple[str, str, str]], right: bool = False) -> Iterator[Line]:
    """Name, figure and note of each, the names in a column."""
    names = [_name(name) for name, _, _ in steps]
    widest = max(map(width, names), default=0)
    for name, (_, figure, note) in zip(names, steps, strict=True):
        space = " " * (widest - width(name))
        padded = f"{space}{name}" if right else f"{name}{space}"
        told = "  ".join(part for part in (padded, figure, note) if part)
        yield Line(cut(f"{_INDENT * 2}{told}", COLUMNS))


def _profiles(report: Report) -> Iterator[Line]:
    """Of each profiled benchmark its files, whose paths stay whole, and what is missing."""
    for row in rows_of(report):
        profile = row.benchmark.get("profile")
        if profile is None:
            continue
        name = _name(row.title)
        for udf, path in profile["flame_graphs"].items():
            yield Line(f"{_INDENT}{name}: {_name(udf)}: {safe.visible(path)}")
        if profile["timeline"] is not None:
            yield Line(f"{_INDENT}{name}: timeline: {safe.visible(profile['timeline'])}")
        for problem in profile["problems"]:
            yield from _lines(f"{name}: {safe.visible(problem)}", "doubtful")


def _final(report: Report) -> Iterator[Line]:
    """What the ladder's mends brought in all."""
    facts = phrases.final_facts(report, _name)
    widest = max(map(len, facts), default=0)
    for title, fact in facts.items():
        lines = wrapped(f"{title:<{widest}}  {fact}", _INDENT, " " * (len(_INDENT) + widest + 2))
        yield from map(Line, lines)


def _savings(report: Report) -> Iterator[Line]:
    """Of each fix what it saves of its anti-pattern's cost."""
    for line in phrases.savings(report, [row.benchmark for row in rows_of(report)], _name):
        yield from _lines(line)


def _closing(report: Report) -> Iterator[Line]:
    """Counts by verdict, and what they belong to: one line where that fits, and broken at `;` where not."""
    style: Style = STYLES.get(next(iter(counts_of(report)), ""), "")
    parts = [
        phrases.counts(report, _name),
        phrases.subject(report, _name),
        f"environment {_name(report['environment']['id'], 80)}",
        f"{report['duration_s']:.0f} s",
        phrases.far_side(report, _name),
        phrases.software(report, _name),
    ]
    line = ""
    for part in filter(None, parts):
        if width(line) + len("; ;") + width(part) > COLUMNS:
            indent = _INDENT if line else ""
            *whole, rest = wrapped(part, indent, _INDENT)
            yield from (Line(text, style) for text in [*([f"{line};"] if line else []), *whole])
            line = rest
        else:
            line = f"{line}; {part}" if line else part
    yield Line(line, style)

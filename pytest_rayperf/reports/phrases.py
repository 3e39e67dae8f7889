"""What the terminal and Markdown say in the same words: duels, rungs, final figures, savings, software.

What others named goes through `Name`, which makes it harmless and short enough for where it stands; verdicts
too, for a report may have been read from a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pytest_rayperf.metrics import THROUGHPUT
from pytest_rayperf.reports.rows import (
    MISSING,
    Figure,
    counts_of,
    duel_note,
    figure_of,
    ratio_of,
    selftests_of,
    short,
    unit_of,
)
from pytest_rayperf.results import STATUSES

Report = Mapping[str, Any]
Name = Callable[[str], str]

OUTPUTS = {True: "outputs equal", False: "outputs differ", None: "outputs not compared"}

_ALWAYS = ("ray", "torch")
"""Software that is named beside what changed, though it is the same."""

_MOST_CHANGES = 12
_MOST_VERSIONS = 3


def counts(report: Report, name: Name) -> str:
    """`1 regressed, 2 unchanged`."""
    found = list(counts_of(report).items())[: len(STATUSES)]
    return (
        ", ".join(f"{count} {name(status)}" for status, count in found)
        or selftests_of(report)
        or "nothing measured"
    )


def subject(report: Report, name: Name) -> str:
    """`profile quick, synthetic (64 images), model mobilenet_v3_small`."""
    data, model = report["data"], report["model"]
    images = "" if data.get("images") is None else f" ({data['images']} images)"
    return (
        f"profile {name(report['profile'])}, {name(data.get('name') or 'no images')}{images}, "
        f"model {name(model.get('name') or 'none')}"
    )


def reference(one: Mapping[str, Any]) -> str:
    """What the figures of a report, or of a benchmark, are compared with."""
    return "far side" if one.get("against") else "baseline"


def far_side(report: Report, name: Name) -> str | None:
    """`far side main (1a2b3c4d5e6f)`; None without one."""
    return f"far side {name(report['against'])}" if report.get("against") else None


def software(report: Report, name: Name) -> str | None:
    """`ray 2.58.1 -> 2.60.0, torch same`: what may explain a change before anything else does.

    None where there is no baseline to compare with.
    """
    changes = report["software_changes"]
    if changes is None:
        return None
    if not changes:
        return "the same software on both sides" if report.get("against") else "software as in the baselines"
    changed = {change["name"]: change for change in changes}
    same = {package for package in _ALWAYS if package not in changed and report["software"].get(package)}
    named = [package for package in dict.fromkeys([*_ALWAYS, *changed]) if package in {*same, *changed}]
    told = [
        f"{package} same" if package in same else _changed(changed[package], name)
        for package in named[:_MOST_CHANGES]
    ]
    others = len(named) - len(told)
    return ", ".join([*told, *([f"{others} more changed"] if others else [])])


def _changed(change: Mapping[str, Any], name: Name) -> str:
    """`ray 2.58.1 -> 2.60.0`."""
    versions = change["from"]
    then = [name(version or "none") for version in versions[:_MOST_VERSIONS]]
    others = len(versions) - len(then)
    then += [f"{others} others"] if others else []
    return f"{name(change['name'])} {' or '.join(then)} -> {name(change['to'] or 'none')}"


def better_by(duel: Mapping[str, Any], hardware: str, name: Name) -> str:
    """`2.97x [2.70, 3.28] CPU/row`, and what the ratio leaves unsaid; `none left model_loads`."""
    ratio, note = ratio_of(duel, duel["metric"]), name(duel_note(duel, hardware))
    metric = name(short(duel["metric"]))
    if ratio is not None:
        return f"{ratio.times()} {ratio.limits()} {metric}{f', {note}' if note else ''}"
    if duel["status"] == "effect":
        return f"{note} {metric}"
    return MISSING if duel["status"] == "invalid" else f"{MISSING} {metric}, {note}"


def duel_reason(duel: Mapping[str, Any]) -> str:
    """Its reason, where `better_by` has not said it."""
    reason = str(duel.get("reason") or "")
    return "" if duel["status"] == "no effect" and duel["ratio"] is not None else reason


def interval(found: Mapping[str, Any]) -> str:
    """`3.00x [2.70, 3.30]`; "" where there is no ratio."""
    ratio, limits = found.get("ratio"), found.get("ci")
    if ratio is None:
        return ""
    return f"{ratio:.2f}x [{limits[0]:.2f}, {limits[1]:.2f}]" if limits else f"{ratio:.2f}x"


def rung_note(rung: Mapping[str, Any], name: Name) -> str:
    """How many times better than the rung above, or what else is to be said of the two."""
    none_left = "none left" if rung["status"] == "effect" else ""
    note = "" if rung["status"] in ("first", "effect") else f", {name(rung['status'])}"
    return f"{interval(rung) or none_left}{note}".removeprefix(", ")


def setting_note(setting: Mapping[str, Any], name: Name) -> str:
    """What part of the best setting's metric a setting reaches."""
    found, status = interval(setting), name(setting["status"])
    return f"{found} of the best, {status}" if found else status


def step_figure(step: Mapping[str, Any], metric: str, name: Name) -> str:
    """`40 [38, 42] rows/s`."""
    figure = figure_of(step["metrics"].get(metric))
    return f"{figure.written() if figure else MISSING} {name(unit_of(metric))}"


def sweep_head(sweep: Mapping[str, Any], name: Name) -> str:
    """The best setting, what cannot be told apart from it, and why it ended."""
    plateau = ", ".join(map(name, sweep["plateau"]))
    beside = f"; not told apart from it: {plateau}" if plateau else ""
    ended = f"; ended: {name(sweep['ended'])}" if sweep["ended"] else ""
    return f"{name(sweep['name'])}: best at {name(sweep['best'])}{beside}{ended}"


def final_facts(report: Report, name: Name) -> dict[str, str]:
    """From old to new: what the ladder's mends brought in all; empty where no ladder was measured."""
    final = report["final"]
    if final is None:
        return {}
    facts = {}
    for title, rung in (("baseline throughput", final["first"]), ("best throughput", final["best"])):
        figure = figure_of(rung["throughput"])
        written = figure.written() if figure else MISSING
        facts[title] = f"{written} {THROUGHPUT.unit} ({name(rung['name'])})"
    facts["total improvement"] = interval(final["total"]) or MISSING
    mends = ", ".join(map(name, final["configuration"]))
    facts["best configuration"] = mends or f"{name(final['first']['name'])} (nothing mended)"
    facts["experiments"] = str(final["experiments"])
    return facts


def percent(saving: Mapping[str, Any]) -> str:
    """The share of its anti-pattern's cost that a fix saves: `18% [8%, 26%]`."""
    share, low, high = (f"{part:.0%}" for part in (saving["share"], *saving["share_ci"]))
    return f"{share} [{low}, {high}]"


def savings(report: Report, benchmarks: Sequence[Mapping[str, Any]], name: Name) -> Iterator[str]:
    """Of each fix what it saves, in percent and in USD for a million rows; nothing without a price."""
    for benchmark in benchmarks:
        saving = benchmark.get("saving")
        if saving is not None and report["cost_per_hour_usd"] is not None:
            usd = Figure(saving["usd_per_million_rows"], *saving["ci"]).written()
            fix = name(benchmark.get("antipattern") or benchmark["id"])
            yield f"{fix}: the fix saves {percent(saving)}, {usd} USD a million rows"

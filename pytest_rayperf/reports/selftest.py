"""What the self-test found: a table a pipeline for the terminal, and entries of the JSON report."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from pytest_rayperf.metrics import CPU_PER_ROW, METRICS, THROUGHPUT
from pytest_rayperf.playing import Played, Rate, percent
from pytest_rayperf.results import Interval, Round
from pytest_rayperf.run import Run
from pytest_rayperf.selftest import FEWEST_PAIRS, FOUND, Finding, Selftest

_MISSING = "-"

_WIDTH = 100

_NOTES = (
    "The gate is run on pairs drawn anew from the measured ones, 2,000 times for each line. Slowdown: as",
    "measured, with its 95 % interval. Called regressed: in how many of these runs; the interval covers",
    "the drawing, and that the pairs are few shows in that of the slowdown. Passed: called unchanged or",
    "improved. Rounds: until the verdict, median (5 to 95 %). 90% from: the least slowdown of this kind",
    "that is found in 90 % of the runs; in brackets where the gate is not held to it. Neither has noise",
    "that these minutes did not bring, nor the difference between sessions, which a comparison with a",
    "stored baseline has on top.",
)


def lines(run: Run) -> Iterator[str]:
    """The whole report."""
    for one in run.selftests:
        yield from _head(one)
        if one.findings:
            yield ""
            yield from table(one).splitlines()
            yield ""
        if one.disturbed:
            yield f"{len(one.disturbed)} rounds were disturbed, though measured again: {one.disturbed[0]}"
        for line in one.reason.splitlines():
            yield from textwrap.wrap(line, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
        yield ""
    if any(finding.played for one in run.selftests for finding in one.findings):
        yield from _NOTES


def _head(one: Selftest) -> Iterator[str]:
    policy = one.policy
    benchmarks = f"{policy.comparisons} benchmark{'s' * (policy.comparisons != 1)}"
    yield (
        f"{one.name}: threshold {policy.max_slowdown:g}, alpha {policy.alpha:g} for {benchmarks}, "
        f"{policy.looks[0]} to {policy.looks[-1]} rounds"
    )
    if one.udf:
        pairs = min((len(finding.condition.pairs) for finding in one.findings), default=0)
        yield f"measured: {pairs} pairs of each, with this put into each batch of {one.udf}:"


def table(one: Selftest) -> str:
    """A row a condition; at most 100 columns."""
    import tabulate

    rows = [
        {
            "put in": _put_in(finding),
            "slowdown": _slowdown(finding),
            "called regressed": _MISSING if finding.played is None else percent(finding.played.regressed),
            "passed": _MISSING if finding.played is None else f"{finding.played.passed.share:.0%}",
            "rounds": _MISSING if finding.played is None else _rounds(finding.played),
            f"{FOUND:.0%} from": _findable(finding),
        }
        for finding in one.findings
    ]
    return str(tabulate.tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True))


def _put_in(finding: Finding) -> str:
    condition = finding.condition
    if condition.is_same:
        return "nothing"
    return f"{condition.name} {condition.amount}".rstrip()


def _slowdown(finding: Finding) -> str:
    metric = {CPU_PER_ROW.name: "CPU", THROUGHPUT.name: "rows/s"}[finding.condition.metric.name]
    slowdown = finding.slowdown
    if slowdown is None:
        return _MISSING
    digits = 2 if slowdown.high < 10 else 1
    ratio, low, high = (f"{x:.{digits}f}" for x in (slowdown.ratio, slowdown.low, slowdown.high))
    return f"{ratio}x [{low}, {high}] {metric}"


def _rounds(played: Played) -> str:
    median, low, high = played.rounds
    return f"{median:.0f} ({low:.0f} to {high:.0f})"


def _findable(finding: Finding) -> str:
    if finding.condition.is_same or finding.played is None:
        return _MISSING
    if finding.findable is None:
        return "none" if finding.judged else _MISSING
    return f"{finding.findable:.2f}x" if finding.judged else f"({finding.findable:.2f}x)"


def to_json(one: Selftest) -> dict[str, Any]:
    """The entry of the JSON report. `pairs`: by metric, the figures of the plain and of the slowed rounds."""
    policy = one.policy
    return {
        "id": one.id,
        "name": one.name,
        "udf": one.udf or None,
        "disturbed": list(one.disturbed),
        "status": one.status,
        "reason": one.reason,
        "max_slowdown": policy.max_slowdown,
        "alpha": policy.alpha,
        "comparisons": policy.comparisons,
        "max_rounds": policy.looks[-1],
        "fewest_pairs": FEWEST_PAIRS,
        "conditions": [_condition(finding) for finding in one.findings],
    }


def _condition(finding: Finding) -> dict[str, Any]:
    condition, played = finding.condition, finding.played
    then, now = [p[0] for p in condition.pairs], [p[1] for p in condition.pairs]
    return {
        "name": condition.name,
        "put_in": condition.amount,
        "metric": condition.metric.name,
        "wanted": condition.wanted,
        "slowdown": _interval(finding.slowdown),
        "pairs": {"plain": _figures(then), "slowed": _figures(now)},
        "plays": None if played is None else played.regressed.of,
        "regressed": None if played is None else _rate(played.regressed),
        "passed": None if played is None else _rate(played.passed),
        "rounds": None if played is None else dict(zip(("median", "p5", "p95"), played.rounds, strict=True)),
        "found_90_percent": finding.findable,
        "judged": finding.judged,
        "problem": finding.problem or None,
    }


def _figures(rounds: list[Round]) -> dict[str, list[float | None]]:
    return {name: [r.metric(name) for r in rounds] for name in METRICS}


def _rate(found: Rate) -> dict[str, Any]:
    return {"share": found.share, "ci": [found.low, found.high]}


def _interval(ratio: Interval | None) -> dict[str, Any] | None:
    return None if ratio is None else asdict(ratio)

"""What the self-test found: a table a pipeline for the terminal, and entries of the JSON report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from pytest_rayperf.results import CPU_PER_ROW, METRICS, THROUGHPUT, Interval, Round, Run
from pytest_rayperf.selftest import FEWEST_PAIRS, FOUND, Finding, Played, Rate, Selftest, percent

_MISSING = "-"

_NOTES = (
    "regressed: in how many plays of the gate it said so. A play draws anew from the measured pairs until",
    "the gate is settled. That interval covers the playing; how few the pairs are shows in the interval",
    "of the slowdown. Neither has noise that these minutes did not bring, nor the difference between",
    "sessions, which a comparison with a stored baseline has on top.",
)


def lines(run: Run) -> Iterator[str]:
    """The whole report."""
    for one in run.selftests:
        policy = one.policy
        yield (
            f"{one.name}: threshold {policy.max_slowdown:g}, alpha {policy.alpha:g} for "
            f"{policy.comparisons} benchmarks, up to {policy.looks[-1]} rounds"
        )
        if one.findings:
            yield ""
            yield from table(one).splitlines()
            yield ""
        yield from _disturbed(one)
        yield from one.reason.splitlines()
        yield ""
    if any(finding.played for one in run.selftests for finding in one.findings):
        yield from _NOTES


def table(one: Selftest) -> str:
    """A row a condition; at most 100 columns."""
    import tabulate

    rows = [
        {
            "put in": _put_in(finding),
            "slowdown, as measured": _slowdown(finding),
            "pairs": str(len(finding.condition.pairs)),
            "regressed": _MISSING if finding.played is None else percent(finding.played.regressed),
            "rounds": _MISSING if finding.played is None else _rounds(finding.played),
            f"{FOUND:.0%} found": _findable(finding),
        }
        for finding in one.findings
    ]
    return str(tabulate.tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True))


def _put_in(finding: Finding) -> str:
    condition = finding.condition
    return "nothing" if condition.is_same else f"{condition.name}: {condition.amount}"


def _slowdown(finding: Finding) -> str:
    metric = {CPU_PER_ROW.name: "CPU", THROUGHPUT.name: "rows/s"}[finding.condition.metric.name]
    slowdown = finding.slowdown
    if slowdown is None:
        return _MISSING
    return f"{slowdown.ratio:.2f}x [{slowdown.low:.2f}, {slowdown.high:.2f}] {metric}"


def _rounds(played: Played) -> str:
    median, low, high = played.rounds
    return f"{median:.0f} ({low:.0f} to {high:.0f})"


def _findable(finding: Finding) -> str:
    if finding.condition.is_same or finding.played is None:
        return _MISSING
    text = "none" if finding.findable is None else f"{finding.findable:.2f}x"
    return text if finding.judged else f"{text}, not judged"


def _disturbed(one: Selftest) -> Iterator[str]:
    rounds = {id(r): r for finding in one.findings for pair in finding.condition.pairs for r in pair}
    reasons = [r.disturbed for r in rounds.values() if r.disturbed]
    if reasons:
        yield f"{len(reasons)} of {len(rounds)} rounds were disturbed, though measured again: {reasons[0]}"


def to_json(one: Selftest) -> dict[str, Any]:
    """The entry of the JSON report. `pairs`: by metric, the figures of the plain and of the slowed rounds."""
    policy = one.policy
    return {
        "id": one.id,
        "name": one.name,
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

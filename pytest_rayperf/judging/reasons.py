"""Verdicts in words: one line, with what changed, by how much, where, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_rayperf.judging.attribution import tell
from pytest_rayperf.judging.reference import Reference
from pytest_rayperf.results import Attribution, Comparison, Interval

ENOUGH_SESSIONS = 5
"""From here on one more session of a baseline shrinks the interval by under 2 %."""

OLDEST = "the oldest kept sessions"
RECORD = "record one with --rayperf-update-baselines"
BESIDE = "against the reference measured beside it in this run"


def describe(c: Comparison, found: Attribution | None, reference: str, faster: float | None = None) -> str:
    """One line: the metric, both figures, the ratio, the threshold, the operators, and the `reference`.

    Args:
        c: which metric regressed.
        found: what became of each operator.
        reference: what it was compared with, and what to do.
        faster: of work that regressed, how many times as many rows/s there are all the same: on more cores.
    """
    limit = f"{c.threshold:.2f}" if c.metric.better == "lower" else f"1/{c.threshold:.2f}"
    told = tell(found) if found else ""
    operator = f"; operator {told}" if told else ""
    since = f"; against {c.since}" if c.since else ""
    though = f"; though {faster:.2f}x the rows/s" if faster is not None else ""
    equal = "; both at this run's CPU time a row" if c.at_equal_work else ""
    return f"{c.status}: {slower(c)}, threshold {limit}{operator}{though}{equal}{since}; {reference}"


def slower(c: Comparison) -> str:
    """`throughput 41.2 -> 33.0 rows/s, 0.80x [0.77, 0.83]`."""
    return f"{c.metric.name} {c.reference:.4g} -> {c.current:.4g} {c.metric.unit}, {show(c.ratio)}"


def explain(surest: Comparison, comparisons: Sequence[Comparison], reference: Reference | None) -> str:
    """Why the benchmark is what it is, where nothing regressed, and what slowdowns are ruled out.

    Args:
        surest: the comparison that decides.
        comparisons: all of them.
        reference: the baseline or run; None for what was measured beside it.
    """
    parts = [f"{surest.status}: {surest.metric.name} {show(surest.ratio)}"]
    parts.append(f"slowdowns above {surest.mde:.2f}x are ruled out")
    for other in comparisons:
        if other is not surest and other.status == "inconclusive":
            parts.append(f"of {other.metric.name} those above {other.mde:.2f}x")
    if surest.status == "inconclusive":
        help_ = "more rounds, or a quieter machine"
        sessions = len(reference.recent) if reference is not None and reference.is_kept else ENOUGH_SESSIONS
        if sessions < ENOUGH_SESSIONS:
            help_ = f"more baseline sessions (there are {sessions}), {help_}"
        parts.append(f"what would help: {help_}")
    stale = reference.update if reference is not None and surest.status == "improved" else ""
    return "; ".join(parts) + stale


def creeping(c: Comparison) -> str:
    """Why what is as fast as lately is not called unchanged."""
    return (
        f"inconclusive: as fast as in the last sessions, and {c.metric.name} {show(c.ratio)} against "
        f"{OLDEST}: it may have crept there, a little each time; what would help: more rounds, or accept it: "
        "delete the old sessions' file and record it anew with --rayperf-update-baselines"
    )


def show(ratio: Interval) -> str:
    """`0.80x [0.77, 0.83]`."""
    return f"{ratio.ratio:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]"

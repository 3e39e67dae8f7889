"""What has no noise against its reference: counters and counted work, compared exactly. Pure.

Of sleeping that is so, and not of the time that it is a part of (`slept.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from pytest_rayperf.judging.reference import Reference
from pytest_rayperf.judging.slept import slowed_by
from pytest_rayperf.metrics import BYTES_WRITTEN, COUNTED
from pytest_rayperf.results import Round, Status, Verdict
from pytest_rayperf.work.comparison import WorkChange, compare_work
from pytest_rayperf.work.counts import SLEPT_MICROSECONDS, Work

_MARGIN = {BYTES_WRITTEN.name: 0.01}
"""As a share of what it was. In which order blocks are compressed, and how many digits a float is spelt with,
moves bytes by less, and may be the same in every round of one run and another in the next."""

_HARDLY_NOISE = 1.2
"""Of the rows/s, either way: less than this is not said beside a change, for it may be none of its doing."""


def judge_counters(rounds: Sequence[Round], reference: Reference) -> Verdict | None:
    """The verdict, if any counter changed: exactly compared.

    A counter that varies from round to round on a side has noise: it does not gate.

    Args:
        rounds: this session's.
        reference: what they are compared with.
    """
    changed = _changed_counters(rounds, reference)
    for name, old, new in changed:
        if name == "rows":
            text = f"{_counter_change(name, old, new)}; {reference.source}"
            reason = f"invalid: {text}; rows are missing or doubled{reference.accept}"
            return Verdict("invalid", reason, metric=name, wrong=True, acceptable=reference.is_kept)
    worse = [change for change in changed if change[2] > change[1]]
    status: Status = "regressed" if worse else "improved"
    told = worse or changed
    if not told:
        return None
    name, old, new = told[0]
    end = f"; {reference.source}{reference.accept if worse else reference.update}"
    lines = [f"{status}: {_counter_change(*change)}{_came_of_it(rounds, reference)}{end}" for change in told]
    reason = "\n".join(lines)
    ratio = new / old if old else None
    return Verdict(status, reason, metric=name, ratio=ratio, threshold=1.0)


def judge_work(
    work: Work | None, reference: Reference, rounds: Sequence[Round], max_slowdown: float
) -> Verdict | None:
    """Exact comparison of the counted work; None where nothing changed, or where it cannot be told.

    Args:
        work: what is counted now.
        reference: what it is compared with.
        rounds: this session's: of their times sleeping is a part.
        max_slowdown: the factor by which sleeping has to make them longer.
    """
    then = None if work is None else reference.work_with(work.software)
    if work is None or then is None:
        return None
    found = {
        change: said
        for change in compare_work(work, then)
        if change.gates and (said := _said(change, work, rounds, reference, max_slowdown))
    }
    worse = {change: said for change, said in found.items() if change.regression}
    told = worse or found
    if not told:
        return None
    status: Status = "regressed" if worse else "improved"
    ending = reference.accept if worse else reference.update
    end = f"{_came_of_it(rounds, reference)}; {reference.source}{ending}"
    lines = [f"{status}: {said}{end}" for said in told.values()]
    first = next(iter(told))
    return Verdict(status, "\n".join(lines), metric=first.counter, ratio=first.ratio, threshold=1.0)


def _said(
    change: WorkChange, work: Work, rounds: Sequence[Round], reference: Reference, max_slowdown: float
) -> str | None:
    """The change in words; None where it does not count."""
    text = f"{change.explanation} (exact)"
    if change.counter != SLEPT_MICROSECONDS:
        return text
    cores = None if reference.elsewhere else reference.cores
    factor = slowed_by(change, work, rounds, speed=_speed(rounds, reference), cores=cores)
    if factor is None or 1 / max_slowdown <= factor <= max_slowdown:
        return None
    return f"{text}, {factor:.2f}x the time, threshold {max_slowdown:.2f}"


def _counter_change(name: str, old: int, new: int) -> str:
    return f"{name} {old} -> {new} a round (exact)"


def _came_of_it(rounds: Sequence[Round], reference: Reference) -> str:
    """What came of it, where it is so much that hardly noise alone did it. It decides nothing."""
    speed = _speed(rounds, reference)
    if speed is None or 1 / _HARDLY_NOISE < speed < _HARDLY_NOISE:
        return ""
    return f", {speed:.2f}x the rows/s"


def _speed(rounds: Sequence[Round], reference: Reference) -> float | None:
    """How many times the rows/s of then, by the medians; None where that was not measured.

    Of two rounds one may have had no warm-up; disturbed rounds, and another machine's, say nothing.
    """
    then = [speed for s in reference.recent for r in s.rounds if (speed := r.throughput)]
    now = [speed for r in rounds if (speed := r.throughput)]
    if reference.elsewhere or len(now) < 3 or not then or any(r.disturbed for r in rounds):
        return None
    return median(now) / median(then)


def _changed_counters(rounds: Sequence[Round], reference: Reference) -> list[tuple[str, int, int]]:
    """Counters that are constant on both sides, but for their margin, and differ by more than that.

    A new name was not counted before: no change.
    """
    changes = []
    old_rounds = [r.all_counters() for s in reference.sessions for r in s.rounds]
    new_rounds = [r.all_counters() for r in rounds]
    for name in sorted({name for r in old_rounds for name in r}):
        # What a write wrote is found by looking, which may fail: what is not there is not known, and not 0.
        missing = None if name in COUNTED else 0
        old = {n for r in old_rounds if (n := r.get(name, missing)) is not None}
        new = {r.get(name, missing) for r in new_rounds}
        known = {n for n in new if n is not None}
        margin = _MARGIN.get(name, 0.0)
        if not old or known != new or any(max(n) - min(n) > margin * min(n) for n in (old, known)):
            continue
        if min(known) - max(old) > margin * max(old):
            changes.append((name, max(old), min(known)))
        elif min(old) - max(known) > margin * min(old):
            changes.append((name, min(old), max(known)))
    return changes

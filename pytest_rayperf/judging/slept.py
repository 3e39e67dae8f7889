"""How much slower more sleeping makes a pipeline: what it asks for is counted, its share is measured. Pure.

Other counted work is work however little it is. A sleep is time, and time has a threshold.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from pytest_rayperf.results import Operator, Round
from pytest_rayperf.work.comparison import WorkChange


def times_as_long(change: WorkChange, rounds: Sequence[Round]) -> float | None:
    """The time that sleeping is a part of, now, over what it would be had the sleep not changed; above 0.

    Of sleeps a row that is the wall time of the operator's tasks, of those of a construction the round's. Of
    tasks that run at once each sleeps its own part, so that the ratio is one of them all. The median of the
    rounds that tell; None where none does, or where they took less time than the sleep that was added: then
    what was counted is not what they did.

    Args:
        change: of slept microseconds, in an operator that both sides have.
        rounds: those of now.
    """
    found = [ratio for one in rounds if (ratio := _ratio(change, one)) is not None]
    return statistics.median(found) if found else None


def _ratio(change: WorkChange, round_: Round) -> float | None:
    times, wall = _times(change, round_), _wall(change, round_)
    if times is None or not wall:
        return None
    before = wall - times * ((change.now or 0) - (change.then or 0)) / 1e6
    return wall / before if before > 0 else None


def _times(change: WorkChange, round_: Round) -> int | None:
    """How often a round did what the change is of: for how many rows, or once."""
    if change.unit != "a row":
        return 1
    place = _place(change, round_)
    if place is None:
        return None
    # What went in came out of the operator before. An operator that Ray Data fused with one that keeps fewer
    # rows slept for fewer, and one that makes more of them slept before it did.
    counts = [one.rows for one in round_.operators[max(0, place - 1) : place + 1]]
    return min((n for n in counts if n is not None), default=None)


def _wall(change: WorkChange, round_: Round) -> float | None:
    if change.unit != "a row":
        return round_.wall_seconds
    place = _place(change, round_)
    return None if place is None else round_.operators[place].wall_s


def _place(change: WorkChange, round_: Round) -> int | None:
    """Where among the round's operators, which may be fused, the counted one is."""
    name, _, number = change.operator.partition(" #")
    found = [place for place, one in enumerate(round_.operators) for part in _parts(one) if part == name]
    index = int(number or 1) - 1
    return found[index] if index < len(found) else None


def _parts(operator: Operator) -> list[str]:
    return operator.name.split("->")

"""How much slower more sleeping makes a pipeline: what it asks for is counted, its share is measured. Pure.

Other counted work is work however little it is. A sleep is time, and time has a threshold. What is not known
here for sure is left to the rounds' times to say.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence

from pytest_rayperf.metrics import UDF_CALLS
from pytest_rayperf.results import Round
from pytest_rayperf.work.comparison import WorkChange
from pytest_rayperf.work.counts import OperatorWork, Work

_BATCHES = re.compile(r"MapBatches\((.*)\)", re.DOTALL)
_BY_ROW = re.compile(r"(Map|Filter|FlatMap)\(.*\)", re.DOTALL)
_AS_MANY = re.compile(r"Map\(.*\)|Write", re.DOTALL)
"""Operators that give as many rows as they get."""


def slowed_by(
    change: WorkChange, work: Work, rounds: Sequence[Round], *, speed: float | None, cores: int | None
) -> float | None:
    """How many times as long rounds are for the change: above 1 for more sleep; None where it is not certain.

    Args:
        change, work, rounds: as `times_as_long` has them.
        speed: rows/s now over rows/s then, where that was measured. It decides whether the sleep hides; else
            only what cannot have hidden counts.
        cores: of this machine; None where that is not known.
    """
    factor = times_as_long(change, work, rounds, cores if speed is None else 1)
    return None if factor is None or (speed is not None and not borne_out(factor, speed)) else factor


def borne_out(factor: float, speed: float) -> bool:
    """Whether rounds are rather `factor` times as long than as long as before, by how fast they are.

    A sleep may hide behind another operator, or stand where something else was waited for.

    Args:
        factor: as `times_as_long` gives it.
        speed: rows/s now over rows/s then.
    """
    return -math.log(speed) > math.log(factor) / 2 if factor > 1 else -math.log(speed) < math.log(factor) / 2


def times_as_long(
    change: WorkChange, work: Work, rounds: Sequence[Round], at_once: int | None = None
) -> float | None:
    """How many times as long the sleep makes an operator's tasks and the round: above 1 for more of it.

    What all tasks of the operator sleep more is compared with their time, for those that run at once sleep at
    once; and with the round's, for an operator that has little of it makes nothing slow. Of both factors the
    one nearer to 1 counts; of rounds the median. Whether the round waits for the operator is not known.

    None where it cannot be told: of a construction, which may hide behind reading; where it is not known how
    often a round did what the pass did, or for how long; where it took less than the sleep that was added.

    Args:
        change: of slept microseconds a row, in an operator that both sides have.
        work: that the change is of, now.
        rounds: those of now.
        at_once: how many tasks may have run at once at the most, in an operator without actors; 1 if they are
            to be taken as one after another. None leaves it to how many there were.
    """
    counted = next((one for one in work.operators if one.name == change.operator), None)
    if counted is None or change.unit != "a row":
        return None
    added = ((change.now or 0) - (change.then or 0)) / 1e6
    found = [ratio for one in rounds if (ratio := _ratio(added, counted, work, one, at_once)) is not None]
    return statistics.median(found) if found else None


def _ratio(
    added: float, counted: OperatorWork, work: Work, round_: Round, at_once: int | None
) -> float | None:
    place = _place(counted, work, round_)
    if place is None:
        return None
    operator = round_.operators[place[0]]
    times, wall = _times(counted, work, round_, *place), operator.wall_s
    if times is None or wall is None or not wall > max(0.0, added * times) or not round_.wall_seconds > 0:
        return None
    lanes = [n for n in (operator.tasks, at_once) if n is not None]
    if operator.actors and at_once != 1:
        lanes = [operator.actors]
    if not lanes:
        return None
    slept = added * times / max(1, min(lanes))
    factors = _without(wall, added * times), _without(round_.wall_seconds, slept)
    return min(factors) if added > 0 else max(factors)


def _without(seconds: float, slept: float) -> float:
    """A time over that without the sleep. Tasks that ran at once may have slept longer than a round took."""
    return seconds / (seconds - slept) if seconds > slept else math.inf


def _times(counted: OperatorWork, work: Work, round_: Round, place: int, part: int) -> float | None:
    """How many rows' sleep a round had, in rows of the pass.

    A pass has few rows, and so has its last batch. A UDF of batches may sleep once a batch or once a row:
    what is less is taken.
    """
    if _udf_of_batches(counted) is None:
        by_row = _BY_ROW.fullmatch(_base(counted.name)[0])
        return _rows_in(round_, place, part) if by_row else None
    calls = _calls(counted, work, round_)
    rows = _rows_of_calls(counted, round_) or _rows_in(round_, place, part)
    if not calls or not rows or not counted.rows:
        return None
    calls_of_the_pass = -(-counted.rows * calls // rows)
    return min(rows, calls * counted.rows / calls_of_the_pass)


def _calls(counted: OperatorWork, work: Work, round_: Round) -> int | None:
    """How often the round called the UDF; without the calls themselves, as in a report, if it has but one."""
    if round_.calls:
        return sum(1 for call in round_.calls if call.udf == _udf_of_batches(counted)) or None
    several = sum(1 for one in work.operators if _udf_of_batches(one) is not None) > 1
    return None if several else round_.counters.get(UDF_CALLS)


def _rows_of_calls(counted: OperatorWork, round_: Round) -> int | None:
    rows = [call.rows for call in round_.calls if call.udf == _udf_of_batches(counted)]
    return None if None in rows else sum(n for n in rows if n is not None)


def _rows_in(round_: Round, place: int, part: int) -> int | None:
    """What went into that part of a fused operator, if anything tells it."""
    if part == 0 and place > 0:
        return round_.operators[place - 1].rows
    parts = _parts(round_.operators[place].name)[part:]
    return round_.operators[place].rows if all(_AS_MANY.fullmatch(one) for one in parts) else None


def _place(counted: OperatorWork, work: Work, round_: Round) -> tuple[int, int] | None:
    """Which of the round's operators, and which part of it where several are fused, the counted one is.

    None where there are more of that name than were counted: what was executed besides has some.
    """
    name, number = _base(counted.name)
    found = [
        (place, part)
        for place, one in enumerate(round_.operators)
        for part, each in enumerate(_parts(one.name))
        if each == name
    ]
    same = sum(1 for one in work.operators if _base(one.name)[0] == name)
    return found[number - 1] if len(found) == same else None


def _udf_of_batches(counted: OperatorWork) -> str | None:
    """As its calls have it (`udfs/batches.py`); None where it has none that gets batches."""
    name, number = _base(counted.name)
    found = _BATCHES.fullmatch(name)
    if found is None:
        return None
    return found[1] if number == 1 else f"{found[1]}#{number}"


def _base(name: str) -> tuple[str, int]:
    """`Map(f) #2`: the second `Map(f)`."""
    base, _, number = name.rpartition(" #")
    return (base, int(number)) if base and number.isdecimal() else (name, 1)


def _parts(name: str) -> list[str]:
    return name.split("->")

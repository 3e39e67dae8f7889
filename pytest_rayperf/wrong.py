"""What makes a measurement wrong, whatever its speed: in words, starting with the verdict."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pytest_rayperf.errors import RayperfError
from pytest_rayperf.measurement import Samples
from pytest_rayperf.metrics import METRICS
from pytest_rayperf.results import Duel, Round, Verdict

_NO_MEMORY = re.compile(
    r"out of memory|MemoryError|ObjectStoreFullError|OutOfDiskError|can(?:no|')t allocate memory",
    re.IGNORECASE,
)


def unfinished(rounds: Sequence[Round], error: BaseException) -> Verdict:
    """The verdict on a benchmark that broke, or was interrupted."""
    if isinstance(error, RayperfError):
        return Verdict("invalid", f"invalid: {error}")
    if isinstance(error, Exception):
        text = f"invalid: the pipeline raised {type(error).__name__}: {gist(error)}"
        return Verdict("invalid", text)
    return Verdict("inconclusive", f"interrupted after {len(rounds)} round{'s' * (len(rounds) != 1)}")


def gist(error: BaseException) -> str:
    """The line of an error's text that says what happened.

    Ray's errors hold the worker's traceback first and its own advice last; what was raised stands between.
    """
    lines = str(error).strip().splitlines()
    raised = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(Error|Exception|Warning): ", line)]
    return [*raised, *reversed(lines), ""][0]


def unexpected_rows(rounds: Sequence[Round], expected: int | None) -> str | None:
    """What is wrong with the numbers of rows; None if nothing, or if nothing is expected."""
    found = {round_.rows for round_ in rounds}
    if expected is None or found == {expected}:
        return None
    listed = ", ".join(map(str, sorted(found)))
    return f"invalid: {listed} rows, expected {expected}; the pipeline loses or doubles rows"


def row_difference(samples: Samples, sides: Mapping[str, str]) -> str | None:
    """For variants whose rows cannot be fetched (a write): their numbers at least must be equal.

    Args:
        samples: of every variant.
        sides: what each is called in the text; what is not among them is not compared.
    """
    mine = ((name, rounds) for name, rounds in samples.rounds.items() if name in sides)
    rows = {name: sorted({r.rows for r in rounds}) for name, rounds in mine}
    if len({tuple(found) for found in rows.values()}) < 2:
        return None
    return "rows " + ", ".join(f"{found} in {sides[name]}" for name, found in rows.items())


def outputs_wrong(difference: str | None, rounds: Sequence[Round], expected_rows: int | None) -> str | None:
    """What is wrong with one pipeline of a contest, given how two outputs differ; None if nothing."""
    if difference is not None:
        return f"invalid: the variants compute different outputs: {difference}"
    return unexpected_rows(rounds, expected_rows)


def unmeasured(metric: str, rounds: Mapping[str, Sequence[Round]]) -> str | None:
    """What is wrong where not one round of a ladder or a sweep has the metric; None if any has."""
    if any(r.figure(metric) is not None for own in rounds.values() for r in own):
        return None
    return f"invalid: {metric} was not measured: there is nothing to compare"


def unknown_signal(metric: str, rounds: Mapping[str, Sequence[Round]]) -> str | None:
    """What is wrong with a duel's signal metric that is none, nor a counter of any round; None if it is one.

    What is a metric, and was not measured here, is missing: a GPU's utilization where there is no GPU.
    """
    if metric in METRICS or unmeasured(metric, rounds) is None:
        return None
    known = ", ".join(METRICS)
    return f"invalid: metric={metric!r} is no metric, and no variant has counted it; metrics: {known}"


def below_floor(duels: Sequence[Duel]) -> str | None:
    """Which floors were missed; None if none was."""
    missed = [duel.reason for duel in duels if duel.status == "below-floor"]
    return f"invalid: {'; '.join(missed)}" if missed else None


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: of a worker, the node, the object store or a GPU."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__
    names = {kind.__name__ for one in chain for kind in type(one).__mro__}
    if names & {"MemoryError", "OutOfMemoryError", "ObjectStoreFullError", "OutOfDiskError"}:
        return True
    # Ray Data raises a UDF's error as its own: the type that it had stands in the text alone.
    return any(_NO_MEMORY.search(str(one)) for one in chain)

"""Rounds in turn, until nothing more can be learnt. The clock and the executor are passed in."""

from __future__ import annotations

import math
import numbers
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from traceback import walk_tb
from types import FrameType, ModuleType
from typing import Any, Protocol

from pytest_rayperf.errors import PipelineError, WorkersLostError
from pytest_rayperf.metrics import COUNTED
from pytest_rayperf.results import Profile, Round
from pytest_rayperf.udfs.faults import Fault
from pytest_rayperf.work.counts import Work

__tracebackhide__ = True  # who reads the traceback of a pipeline looks for its own lines

Pipeline = Callable[[], Any]
Outputs = Mapping[str, Any]
"""Column name -> NumPy array, one entry a row."""


@dataclass(frozen=True)
class Spoiled:
    """Why a round does not count; found without a look at how long it took.

    Attributes:
        reason: in words.
        lost: whether work was lost in it (a worker, a node, counts). Such a round is none of the pipeline's;
            of one that was only disturbed the times are doubtful, and all else holds.
    """

    reason: str
    lost: bool = False


@dataclass(frozen=True)
class Execution:
    """A round, and the rows that it gave where they were asked for."""

    round: Round
    outputs: Outputs | None = None
    spoiled: Spoiled | None = None


@dataclass(frozen=True)
class Inspection:
    """What a test found out after a round that executed by itself (a write), outside of the measured time.

    Args:
        figures: by name of their metric, 0 or more; None where it was not measured. Of a write elsewhere than
            in a local folder: `bytes_written` and `files_written`, which are counters.
        outputs: the rows that were written, read back; compared between the variants.
    """

    figures: Mapping[str, float | None] = field(default_factory=dict)
    outputs: Outputs | None = None


AfterRound = Callable[[str], Inspection | None]
"""Called with a variant's name after each of its rounds, once the clock has stopped."""


def with_figures(execution: Execution, found: Inspection | None) -> Execution:
    """The execution, with what was found out of its round besides: what is counted among its counters.

    Raises:
        PipelineError: a figure is no number, below 0, or a count that is not whole.
    """
    if found is None:
        return execution
    told = {name: value for name, value in found.figures.items() if value is not None}
    for name, value in told.items():
        wanted = "whole number" if name in COUNTED else "number"
        if not _is_figure(value) or (name in COUNTED and value != int(value)):
            raise PipelineError(
                f"Inspection: {name} is {value!r}; it must be a {wanted}, 0 or more, or None where it was "
                "not measured"
            )
    counted = {name: int(value) for name, value in told.items() if name in COUNTED}
    figures = {name: float(value) for name, value in told.items() if name not in COUNTED}
    round_ = execution.round
    counters, figures = {**round_.counters, **counted}, {**round_.figures, **figures}
    return replace(execution, round=replace(round_, counters=counters, figures=figures))


def _is_figure(value: object) -> bool:
    return isinstance(value, numbers.Real) and 0 <= float(value) < math.inf


class Executor(Protocol):
    """Runs a pipeline once."""

    def run(self, pipeline: Pipeline, *, keep_outputs: bool, on_rows: Callable[[int], None]) -> Execution:
        """Execute from the call of `pipeline` to its last row.

        `on_rows` hears the number of rows so far, now and then.
        """
        ...

    def count_work(self, pipeline: Pipeline, *, anew: bool = False, rows: int | None = None) -> Work:
        """Count the pipeline's work for a few batches, in one process, untimed.

        Args:
            pipeline: returns a lazy dataset.
            anew: in new processes, twice, so that what is not determined is left out; else in one that has
                counted others before.
            rows: as many of the data as what it is compared with; None leaves it to the pipeline's batches.

        Raises:
            WorkUncountable: it cannot be counted so; the text says why.
        """
        ...

    def profile(self, pipeline: Pipeline, folder: Path, slug: str) -> Profile:
        """Execute the pipeline once more, untimed, and write what its UDFs did into `folder`.

        Raises:
            Exception: whatever the pipeline or Ray raised.
        """
        ...

    def slowed(self, pipeline: Pipeline, fault: Fault) -> Pipeline:
        """The same pipeline, with a known slowdown put into one of its UDFs."""
        ...

    def shipping(self, modules: Iterable[ModuleType]) -> AbstractContextManager[None]:
        """While it is open, pipelines may use functions of these modules, which workers cannot import."""
        ...


@dataclass(frozen=True)
class Schedule:
    """When to look at the data and when to stop.

    Args:
        looks: numbers of rounds, ascending; the last one is the most that are measured.
        max_seconds: no further round is started after this long, once there are `looks[0]` rounds.
        warm_ups: rounds before, not counted: they fill page caches and start Ray's task workers. Without
            them the outputs are those of the first round.
        spares: how many spoiled rounds of a variant are measured again: so many that lost work, and so many
            that were disturbed. What is disturbed after that counts, and says so.
        more_spares: how many disturbed ones besides, for each of its rounds that was not disturbed: a machine
            that is never quiet has used its spares at the first round, one that is quiet half of the time
            is seldom at its end before its time is up.
        timed: whether the rounds' times matter; else those that were only disturbed are not spoiled.
        keep_outputs: whether the first outputs of several pipelines are kept, to be compared.
    """

    looks: tuple[int, ...]
    max_seconds: float
    warm_ups: int = 1
    spares: int = 3
    more_spares: int = 0
    timed: bool = True
    keep_outputs: bool = True


@dataclass
class Samples:
    """What was measured so far: it is filled as the rounds end, so that an interrupt leaves it usable."""

    rounds: dict[str, list[Round]] = field(default_factory=dict)
    outputs: dict[str, Outputs] = field(default_factory=dict)
    repeated: dict[str, list[str]] = field(default_factory=dict)
    """By variant, why rounds of it were measured again."""
    time_is_up: bool = False
    """Whether there was none left when it ended, whatever ended it."""

    @property
    def pairs(self) -> int:
        """How many rounds every variant has."""
        return min((len(rounds) for rounds in self.rounds.values()), default=0)


@dataclass(frozen=True)
class Course:
    """How far a measurement is.

    Attributes:
        elapsed: seconds since it began.
        budget: seconds after which no further turn begins, once there are the fewest rounds.
        rounds: those that have ended, of each variant that is measured in turn.
    """

    elapsed: float
    budget: float
    rounds: Mapping[str, tuple[Round, ...]]


@dataclass(frozen=True)
class Progress:
    """Where a measurement is. `number` counts from 1; 0 is `apart`, no round. `repeated` did not count.

    `seconds` are those of this round; `course` is None where no rounds are measured in turn.
    """

    variant: str
    number: int
    rows: int
    seconds: float
    rounds: tuple[Round, ...]
    repeated: int = 0
    apart: str = "warm-up"
    course: Course | None = None


def take_turns(names: list[str]) -> Iterator[str]:
    """A, B, B, A, A, B, B, A, ...: a drift of the machine hits both variants alike.

    (The "ABBA" design, against linear trends; Cox, "Planning of Experiments", 1958, ch. 14.)
    """
    forward = True
    while True:
        yield from names if forward else reversed(names)
        forward = not forward


def measure(
    pipelines: Mapping[str, Pipeline],
    executor: Executor,
    schedule: Schedule,
    samples: Samples,
    *,
    clock: Callable[[], float],
    settled: Callable[[Samples], bool],
    accept_outputs: Callable[[Samples], bool],
    on_progress: Callable[[Progress], None],
    aside: Callable[[], None] = lambda: None,
    after_round: AfterRound = lambda name: None,
    gives_up: Callable[[str, Exception], bool] = lambda name, error: False,
) -> None:
    """Fill `samples` with the rounds of each variant.

    First comes a warm-up of every variant, whose outputs are kept; where `accept_outputs` refuses them,
    nothing is timed. Then the variants take turns. After each look of the schedule `settled` says whether to
    go on. `aside` is called before the first round and after each that counts; `after_round` is asked once
    the clock has stopped. Where `gives_up` says so of a variant that
    raised, it is left out from there on, and so is what was measured of it; of the last one that is left
    the error is raised all the same.

    In a schedule without warm-ups the first rounds' outputs are kept, and where they are refused no second
    round is measured.

    A spoiled round is measured again at once, while the schedule has spares and time left.

    Raises:
        WorkersLostError: work was lost in one round of a variant more than there are spares.
        Exception: whatever a pipeline or Ray raised; the rounds that ended before are in `samples`.
    """
    start = clock()
    budget = schedule.max_seconds * len(pipelines)

    def run(name: str, number: int, keep_outputs: bool) -> Execution:
        began = clock()

        def on_rows(rows: int) -> None:
            now = clock()
            done = {variant: tuple(rounds) for variant, rounds in samples.rounds.items()}
            again = len(samples.repeated.get(name, ()))
            course = Course(now - start, budget, done)
            on_progress(Progress(name, number, rows, now - began, done[name], again, course=course))

        on_rows(0)
        execution = executor.run(pipelines[name], keep_outputs=keep_outputs, on_rows=on_rows)
        found = after_round(name)
        execution = with_figures(execution, found)
        if found is None or found.outputs is None or not keep_outputs:
            return execution
        return replace(execution, outputs=found.outputs)

    def attempt(name: str, number: int, keep_outputs: bool) -> Execution | None:
        try:
            return run(name, number, keep_outputs)
        except Exception as error:
            if not gives_up(name, error) or len(samples.rounds) == 1:
                raise
            release(error)
            del samples.rounds[name]
            samples.outputs.pop(name, None)
            samples.repeated.pop(name, None)
            return None

    compare = len(pipelines) > 1 and schedule.keep_outputs

    lost: Counter[str] = Counter()

    def unspoiled(name: str, number: int, keep_outputs: bool) -> Execution | None:
        while True:
            execution = attempt(name, number, keep_outputs)
            spoiled = None if execution is None else execution.spoiled
            if execution is None or spoiled is None or (number == 0 and not spoiled.lost):
                return execution  # nobody asks how long a warm-up took
            repeated = samples.repeated.get(name, [])
            if spoiled.lost:
                lost[name] += 1
                if lost[name] > schedule.spares:
                    raise WorkersLostError(f"{spoiled.reason}; in {lost[name]} rounds of {name}")
            else:
                quiet = sum(1 for one in samples.rounds[name] if not one.disturbed)
                spares = schedule.spares + schedule.more_spares * quiet
                enough = len(repeated) - lost[name] >= spares
                if enough or not schedule.timed or clock() - start >= budget:
                    return replace(execution, round=replace(execution.round, disturbed=spoiled.reason))
            samples.repeated[name] = [*repeated, spoiled.reason]

    def measured(name: str, number: int, is_first: bool) -> Execution | None:
        keep = compare and is_first
        execution = unspoiled(name, number, keep)
        if keep and execution is not None and execution.outputs is not None:
            samples.outputs[name] = execution.outputs
        return execution

    def refused() -> bool:
        if compare and not accept_outputs(samples):
            return True
        samples.outputs.clear()
        return False

    for name in pipelines:
        samples.rounds[name] = []
    for warm_up in range(schedule.warm_ups):
        for name in list(samples.rounds):
            measured(name, 0, is_first=warm_up == 0)
    if schedule.warm_ups and refused():
        return

    for name in take_turns(list(pipelines)):
        if name not in samples.rounds:
            continue
        finished = all(len(r) == samples.pairs for r in samples.rounds.values())
        if finished and samples.pairs == 1 and not schedule.warm_ups and refused():
            return
        if finished:
            samples.time_is_up = clock() - start >= budget
            if _enough(samples, schedule, settled):
                return
        number = len(samples.rounds[name]) + 1
        if not any(samples.rounds.values()):
            aside()
        execution = measured(name, number, is_first=number == 1 and not schedule.warm_ups)
        if execution is not None:
            samples.rounds[name].append(execution.round)
            aside()


def release(error: BaseException) -> None:
    """Empty the frames of `error`, of the errors that it came of, and of their callers that have ended.

    Whoever keeps an error keeps its round: pytest does, of all that is logged, and Ray logs its errors. Then
    the round's actors live on, and have the CPUs that the next round waits for.
    """
    left: list[BaseException | None] = [error]
    seen: list[BaseException] = []
    while left:
        one = left.pop()
        if one is not None and not any(one is other for other in seen):
            seen.append(one)
            for frame, _ in walk_tb(one.__traceback__):
                caller: FrameType | None = frame
                while caller is not None:
                    with suppress(RuntimeError):  # it still runs
                        caller.clear()
                    caller = caller.f_back
            left += [one.__cause__, one.__context__]


def _enough(
    samples: Samples,
    schedule: Schedule,
    settled: Callable[[Samples], bool],
) -> bool:
    done = samples.pairs
    if done < schedule.looks[0]:
        return False
    if done >= schedule.looks[-1] or samples.time_is_up:
        return True
    return done in schedule.looks and settled(samples)

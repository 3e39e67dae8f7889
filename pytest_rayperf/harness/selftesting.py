"""Measures what a self-test plays on: a pipeline plain and slowed, in turn, on this machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import NoReturn

from pytest_rayperf import selftest
from pytest_rayperf.errors import GateFailure, SelftestDone
from pytest_rayperf.harness.workbench import Workbench
from pytest_rayperf.measurement import (
    Inspection,
    Pipeline,
    Progress,
    Samples,
    Schedule,
    measure,
    release,
)
from pytest_rayperf.metrics import CPU_PER_ROW, THROUGHPUT, Metric
from pytest_rayperf.results import Round
from pytest_rayperf.selftest import FEWEST_PAIRS, SAME, Condition, Selftest, examine
from pytest_rayperf.udfs.faults import Calls, Fault, cpu_fault, heaviest, trial_waiting, waiting_fault
from pytest_rayperf.wrong import unexpected_rows

CALIBRATING = 2
"""Plain rounds, after a warm-up, that say how much is to be put in."""

INTERRUPTED_PLAYS = 200
"""After Ctrl-C: the figures that there are, soon."""


@dataclass(frozen=True)
class _Slowdown:
    fault: Fault
    metric: Metric
    wanted: float | None

    @property
    def name(self) -> str:
        return self.fault.kind


class Selftester:
    """Measures and judges one pipeline's self-test.

    Args:
        bench: of the test; its executor puts slowdowns into pipelines.
        clock: seconds, monotonic.
    """

    def __init__(self, bench: Workbench, clock: Callable[[], float] = perf_counter) -> None:
        self._item, self._record = bench.item, bench.record
        self._executor = bench.executor
        self._on_progress = bench.on_progress
        self._clock = clock
        self._policy = self._record.policy(self._item.limits)
        most = max(FEWEST_PAIRS, self._record.options.max_rounds)
        # Seven pipelines' outputs at once may be more than memory holds, and nobody compares them. Three
        # spares of each would be half of the time on a machine that is never quiet.
        self._shown = Schedule(
            (FEWEST_PAIRS, most), self._record.options.max_time, spares=1, keep_outputs=False
        )

    def run(
        self,
        pipeline: Pipeline,
        expected_rows: int | None,
        after_round: Callable[[], Inspection | None] = lambda: None,
    ) -> NoReturn:
        """Test the gate with `pipeline`, record what was found, and end the test.

        Args:
            pipeline, expected_rows: as in a measurement.
            after_round: called after each round.

        Raises:
            SelftestDone: the gate is fit.
            GateFailure: it is not, or that could not be told; or rows are wrong.
            Exception: whatever a pipeline raised.
        """
        samples = Samples()
        slowdowns: list[_Slowdown] = []
        try:
            plain = self._measured("plain", pipeline, CALIBRATING, after_round)
            wrong = unexpected_rows(plain, expected_rows)
            if wrong:
                raise GateFailure(wrong)
            slowdowns, ended = self._calibrated(pipeline, plain, after_round)
            if not ended:
                self._turns(pipeline, slowdowns, samples, after_round)
                ended = self._too_few(samples)
            found = self._conclude(samples, slowdowns, ended)
        except Exception as error:
            release(error)
            raise
        except BaseException as error:  # Ctrl-C: what was measured is printed
            release(error)
            self._conclude(samples, slowdowns, "interrupted", interrupted=True)
            raise
        if found.status != "fit":
            raise GateFailure(found.reason)
        raise SelftestDone

    def _measured(
        self, name: str, pipeline: Pipeline, rounds: int, after_round: Callable[[], Inspection | None]
    ) -> list[Round]:
        """A few rounds by themselves, after a warm-up; only one round has none."""
        samples = Samples()
        schedule = replace(self._shown, looks=(rounds,), warm_ups=int(rounds > 1))
        self._measure({name: pipeline}, schedule, schedule, samples, after_round)
        return samples.rounds[name]

    def _calibrated(
        self, pipeline: Pipeline, plain: Sequence[Round], after_round: Callable[[], Inspection | None]
    ) -> tuple[list[_Slowdown], str]:
        """What is to be put in, or why nothing can be, or not in the time that there is."""
        factor = self._policy.max_slowdown**2
        calls = heaviest(plain)
        if calls is None:
            return [], "no call of a UDF of map_batches was seen: there is nothing that could be slowed"
        # All rounds of a turn, and the ends of the slowed ones.
        seconds = FEWEST_PAIRS * (7 + 2 * (factor - 1)) * min(r.wall_seconds for r in plain)
        budget = 4 * self._record.options.max_time
        if seconds > budget:
            return [], (
                f"{FEWEST_PAIRS} pairs of 4 conditions take {seconds:.0f} s or more here, and there are "
                f"{budget:.0f} s: give it --rayperf-max-time {math.ceil(seconds / 4)}, or fewer rows a round "
                "(--rayperf-images)"
            )
        trial = self._executor.slowed(pipeline, trial_waiting(plain, calls))
        (tried,) = self._measured("trial of waiting", trial, 1, after_round)
        return self._slowdowns(plain, calls, factor, tried), ""

    def _slowdowns(
        self, plain: Sequence[Round], calls: Calls, factor: float, trial: Round
    ) -> list[_Slowdown]:
        cpu = cpu_fault(plain, calls, factor)
        waiting = waiting_fault(plain, calls, factor, trial)
        load = Fault("model load", calls.udf)
        found = [] if cpu is None else [_Slowdown(cpu, CPU_PER_ROW, factor)]
        return [
            *found,
            _Slowdown(waiting, THROUGHPUT, factor),
            _Slowdown(load, THROUGHPUT if cpu is None else CPU_PER_ROW, None),
        ]

    def _turns(
        self,
        pipeline: Pipeline,
        slowdowns: Sequence[_Slowdown],
        samples: Samples,
        after_round: Callable[[], Inspection | None],
    ) -> None:
        """Plain, plain again, then each slowed pipeline with a plain one before it; and all of it back."""
        sides = {"plain": pipeline, "plain again": pipeline}
        for number, slowdown in enumerate(slowdowns, 1):
            if number > 1:
                sides[f"plain beside {slowdown.name}"] = pipeline
            sides[slowdown.name] = self._executor.slowed(pipeline, slowdown.fault)
        budget = self._record.options.max_time * (len(slowdowns) + 1)
        most = self._shown.looks[-1]
        # Looks from the first turn on, for the time to be looked at.
        schedule = replace(self._shown, looks=(1, most), max_seconds=budget / len(sides), warm_ups=0)
        self._measure(sides, schedule, self._shown, samples, after_round)

    def _measure(
        self,
        sides: Mapping[str, Pipeline],
        schedule: Schedule,
        shown: Schedule,
        samples: Samples,
        after_round: Callable[[], Inspection | None],
    ) -> None:
        measure(
            sides,
            self._executor,
            schedule,
            samples,
            clock=self._clock,
            settled=lambda _: False,
            accept_outputs=lambda _: True,
            on_progress=lambda progress: self._on_progress(self._item, progress, shown),
            after_round=lambda _: after_round(),
        )

    def _too_few(self, samples: Samples) -> str:
        if samples.pairs >= FEWEST_PAIRS:
            return ""
        time = self._record.options.max_time
        return (
            f"{samples.pairs} pairs of a condition were measured within --rayperf-max-time {time:g}, and "
            f"{FEWEST_PAIRS} are needed; give it more, or fewer rows a round (--rayperf-images)"
        )

    def _conclude(
        self, samples: Samples, slowdowns: Sequence[_Slowdown], ended: str, *, interrupted: bool = False
    ) -> Selftest:
        """Play the gate on what there is, and record what comes of it; soon, if the user is waiting."""
        findings = []
        for condition in _conditions(samples.rounds, slowdowns):
            apart = f"playing the gate on what was measured ({condition.name})"
            self._on_progress(self._item, Progress(self._item.name, 0, 0, 0.0, (), apart=apart), self._shown)
            plays = INTERRUPTED_PLAYS if interrupted else selftest.PLAYS
            findings.append(examine(condition, self._policy, plays, search=not interrupted))
        found = Selftest(
            id=self._item.id,
            name=self._item.name,
            policy=self._policy,
            findings=tuple(findings),
            ended=ended,
            udf=slowdowns[0].fault.udf if slowdowns else "",
            disturbed=tuple(r.disturbed for own in samples.rounds.values() for r in own if r.disturbed),
        )
        self._record.selftests.append(found)
        return found


def _conditions(rounds: Mapping[str, Sequence[Round]], slowdowns: Sequence[_Slowdown]) -> Iterable[Condition]:
    if not rounds:
        return
    surest = CPU_PER_ROW
    if any(r.cpu_seconds_per_row is None for own in rounds.values() for r in own):
        surest = THROUGHPUT
    yield Condition(SAME, "", surest, 1.0, _pairs(rounds, "plain", "plain again"))
    for number, slowdown in enumerate(slowdowns, 1):
        beside = "plain again" if number == 1 else f"plain beside {slowdown.name}"
        pairs = _pairs(rounds, beside, slowdown.name)
        amount = _in_words(slowdown.fault, pairs)
        yield Condition(slowdown.name, amount, slowdown.metric, slowdown.wanted, pairs)


def _pairs(rounds: Mapping[str, Sequence[Round]], beside: str, name: str) -> tuple[tuple[Round, Round], ...]:
    return tuple(zip(rounds.get(beside, ()), rounds.get(name, ()), strict=False))


def _in_words(fault: Fault, pairs: Sequence[tuple[Round, Round]]) -> str:
    if fault.kind != "model load":
        return f"{fault.seconds:.2f} s" if fault.seconds >= 1 else f"{1000 * fault.seconds:.3g} ms"
    loads = sum(
        now.counters.get("model_loads", 0) - then.counters.get("model_loads", 0) for then, now in pairs
    )
    calls = sum(call.udf == fault.udf for _, now in pairs for call in now.calls)
    return "" if loads >= calls else f"at {loads / calls:.0%}"

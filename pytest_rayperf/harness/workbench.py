"""Where the pipelines of one test are executed: in turn, once, counted, profiled; and progress is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter

from pytest_rayperf.against.far import FarSide
from pytest_rayperf.harness.beside import Beside, BothSides
from pytest_rayperf.harness.conclusions import Conclusions, Item, Side
from pytest_rayperf.harness.contest import Contest
from pytest_rayperf.harness.laps import Laps
from pytest_rayperf.harness.session import RunRecord
from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.measurement import (
    AfterRound,
    Execution,
    Executor,
    Pipeline,
    Progress,
    Samples,
    Schedule,
    measure,
    release,
)
from pytest_rayperf.results import Profile, Round, Variant
from pytest_rayperf.work.counts import Work

__tracebackhide__ = True  # who reads the traceback of a pipeline looks for its own lines

OnProgress = Callable[[Item, Progress, Schedule], None]


_MORE_SPARES = 2
"""For each undisturbed round: two of three may be disturbed."""


class Workbench:
    """What a test's measurements have in common.

    Args:
        item: the test.
        record: the run.
        executor: runs pipelines.
        on_progress: hears where the measurement is; between rounds, and at most now and then inside one.
        on_rounds: hears the item's own rounds once they are complete.
        far: what is compared with instead of baselines.

    Attributes:
        conclusions: what is concluded of the test's rounds.
    """

    def __init__(
        self,
        item: Item,
        record: RunRecord,
        executor: Executor,
        on_progress: OnProgress,
        on_rounds: Callable[[Sequence[Round]], None],
        far: FarSide | None = None,
    ) -> None:
        self.item = item
        self.record = record
        self.executor = executor if far is None else BothSides(executor)
        self.on_progress = on_progress
        self.conclusions = Conclusions(item, record, on_rounds)
        self._far = far

    def beside(self, names: Mapping[Variant | None, str], *, alone: bool = False) -> Beside:
        """What the far side has of the test, if there is one; arguments as `Beside` has them."""
        return Beside(self._far, self.item, names, alone=alone)

    def measure(
        self,
        contest: Contest,
        pipelines: Mapping[str, Pipeline],
        policy: Policy,
        is_settled: Callable[[Samples], bool],
        after_round: AfterRound | None = None,
        gives_up: Callable[[str, Exception], bool] = lambda name, error: False,
        warm_ups: int = 1,
        lapped: bool = True,
    ) -> None:
        """Measure these in turn, into `contest`, with laps of fixed work before, between and after.

        Args:
            contest: what is measured; its samples and its probe are filled in.
            pipelines: by name; the far side's too, whose outputs are not this side's to compare.
            policy: when it is looked at the rounds.
            is_settled: whether measuring on is pointless.
            after_round, warm_ups: as for a duel.
            gives_up: as `measure` has it.
            lapped: whether there are laps between the rounds; else before and after only.

        Raises:
            BaseException: whatever stopped it; then there is no lap after it.
        """
        schedule = replace(self._schedule(policy, warm_ups), keep_outputs=len(contest.sides) > 1)
        # With a far side the machine's speed is in both sides.
        laps = Laps(self.record.probe, self.record.clock, between=lapped and self._far is None)

        def aside() -> None:
            laps.aside()
            self.conclusions.probe = laps.probe  # as far as it is known while rounds are measured

        try:
            measure(
                pipelines,
                self.executor,
                schedule,
                contest.samples,
                clock=perf_counter,
                settled=is_settled,
                accept_outputs=contest.accept_outputs,
                on_progress=lambda progress: self.on_progress(self.item, progress, schedule),
                aside=aside,
                after_round=after_round or (lambda name: None),
                gives_up=gives_up,
            )
        except BaseException as error:
            release(error)
            raise
        laps.finish()
        contest.probe = self.conclusions.probe = laps.probe

    def execute_once(self, pipeline: Pipeline) -> Execution:
        """Execute a pipeline by itself; nothing is kept of its rows."""
        self._show(self.item.name, "warm-up")
        try:
            return self.executor.run(pipeline, keep_outputs=False, on_rows=lambda _: None)
        except Exception as error:
            release(error)
            raise

    def profiled(self, side: Side, pipeline: Pipeline) -> Profile | None:
        """What its UDFs do, of one more execution; None where that was not asked for."""
        folder = self.record.options.profile_udf
        if folder is None:
            return None
        self._show(side.variant or self.item.name, "profiling")
        return self.executor.profile(pipeline, folder, side.slug)

    def counted(
        self, side: Side, beside: Beside, rounds: Sequence[Round], pipeline: Pipeline
    ) -> tuple[Side, tuple[Work | None, str | None]]:
        """The benchmark, with the far side's work if there is one; and its own, or why it is not counted."""

        def count(anew: bool, rows: int | None) -> Work:
            self._show(side.variant or self.item.name, "counting work")
            return self.executor.count_work(pipeline, anew=anew, rows=rows)

        if side.reference is None or not side.reference.beside:
            return side, self.conclusions.counted(side, rounds, count)
        if not self.conclusions.asks_for_work(side, rounds):
            return side, (None, None)
        side, work, problem = beside.with_work(side, count)
        return side, (work, problem)

    def _show(self, name: str, apart: str) -> None:
        """What goes on that is no round."""
        progress = Progress(name, 0, 0, 0.0, (), apart=apart)
        self.on_progress(self.item, progress, self._schedule(self.record.policy()))

    def _schedule(self, policy: Policy, warm_ups: int = 1) -> Schedule:
        # Rounds in turn with a far side are judged though they were disturbed.
        more = 0 if self._far is not None else _MORE_SPARES
        most = self.record.options.max_time
        return Schedule(policy.looks, most, warm_ups, more_spares=more, timed=policy.timed)

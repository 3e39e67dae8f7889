"""The object that the `rayperf` fixture gives to a test: it measures, judges and records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import NoReturn

from pytest_rayperf.against.beside import Beside, BothSides
from pytest_rayperf.against.far import FarSide
from pytest_rayperf.conclusions import Conclusions, Item, Side
from pytest_rayperf.contest import Contest, SweepLimit
from pytest_rayperf.errors import GateFailure, NotSelftested, UsageInTestError
from pytest_rayperf.expectations import Expectations
from pytest_rayperf.judging.duels import duel_verdict, ladder_of, sweep_of
from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.machine import Lap, Probe
from pytest_rayperf.measurement import (
    AfterRound,
    Execution,
    Executor,
    Inspection,
    Pipeline,
    Progress,
    Samples,
    Schedule,
    measure,
    release,
)
from pytest_rayperf.outputs import RELATIVE
from pytest_rayperf.results import (
    Benchmark,
    DuelResult,
    Ladder,
    Profile,
    Result,
    Round,
    Sweep,
    Variant,
    Verdict,
)
from pytest_rayperf.selftesting import Selftester
from pytest_rayperf.session import RunRecord
from pytest_rayperf.udfs.instrumenting import Udf, instrument
from pytest_rayperf.work.counts import Work
from pytest_rayperf.wrong import below_floor, outputs_wrong, unexpected_rows, unmeasured

VARIANTS: tuple[Variant, Variant] = ("antipattern", "fix")
_SIDES = {"antipattern": "the anti-pattern", "fix": "the fix"}


class RayPerf:
    """Measures one benchmark of a test item, or one duel.

    Args:
        item: the test.
        record: the run.
        executor: runs pipelines.
        shared: duels that another item of the same test has measured.
        on_progress: hears where the measurement is; between rounds, and at most now and then inside one.
        on_rounds: hears the item's own rounds once they are complete.
        far: what is compared with instead of baselines.
    """

    def __init__(
        self,
        item: Item,
        record: RunRecord,
        executor: Executor,
        shared: dict[str, Contest],
        on_progress: Callable[[Item, Progress, Schedule], None],
        on_rounds: Callable[[Sequence[Round]], None],
        far: FarSide | None = None,
    ) -> None:
        self._item = item
        self._far = far
        self._record = record
        self._executor = executor if far is None else BothSides(executor)
        self._shared = shared
        self._on_progress = on_progress
        self._conclusions = Conclusions(item, record, on_rounds)
        self._used = False

    def __call__(
        self,
        pipeline: Pipeline,
        *,
        expected_rows: int | None = None,
        warm_ups: int = 1,
        rounds: int | None = None,
    ) -> Result:
        """Measure `pipeline`, compare it with its baseline, and fail the test if that must be.

        Args:
            pipeline: takes nothing; returns a lazy `ray.data.Dataset`, or executes by itself and returns
                the number of rows that it wrote.
            expected_rows: a round with any other number of rows is invalid.
            warm_ups: rounds before, which are not counted. 0 where they would warm nothing: an actor pool
                starts new processes in each round.
            rounds: how many, within --rayperf-max-rounds; by default as many as the verdict needs.
        """
        self._use_once()
        if self._record.options.selftest:
            self._selftest(pipeline, expected_rows)
        policy = _with_rounds(self._record.policy(self._item.limits), rounds)
        conclusions, name = self._conclusions, self._item.name
        side = conclusions.side(self._item.variant)
        contest = Contest({name: name})
        beside = Beside(self._far, self._item, {self._item.variant: name}, alone=True)

        def is_settled(so_far: Samples) -> bool:
            return conclusions.settled(beside.side(side, so_far), so_far.rounds[name], policy)

        try:
            pipelines = {name: pipeline, **beside.pipelines}
            self._measure(contest, pipelines, policy, is_settled, warm_ups=warm_ups)
        except BaseException as error:
            conclusions.add_unfinished(side, contest.samples.rounds.get(name, []), error)
            raise
        beside.take(contest.samples)
        measured = contest.samples.rounds[name]
        repeated = contest.samples.repeated.get(name, [])
        wrong = unexpected_rows(measured, expected_rows)
        side, work = self._counted(beside.side(side), beside, measured, pipeline)
        profile = self._profiled(side, pipeline)
        benchmark = conclusions.judge(
            side, measured, policy, wrong, repeated=repeated, work=work, profile=profile
        )
        conclusions.add(benchmark)
        conclusions.enforce([benchmark])
        return Result(benchmark.rounds, benchmark.verdict)

    def duel(
        self,
        *,
        antipattern: Pipeline,
        fix: Pipeline,
        metric: str = "throughput",
        floors: Mapping[str, float] | None = None,
        outputs: Sequence[str] | None = None,
        tolerance: float = RELATIVE,
        label_tolerance: float = 0.0,
        after_round: AfterRound | None = None,
        expected_rows: int | None = None,
        warm_ups: int = 1,
        rounds: int | None = None,
        timed: bool = True,
    ) -> DuelResult:
        """Measure two pipelines in turn, and compare their outputs and each with its baseline.

        A test parametrized with `variant` as `"antipattern"` and `"fix"` has two items: each reports its
        own variant, and the duel is measured once for both. Otherwise the one item reports both.

        Args:
            antipattern: the pipeline that does it wrong.
            fix: the one that does it right; it must compute the same rows.
            metric: the signal metric, in which the harm shows.
            floors: for metrics or counters, how many times better the fix must be at the least.
            outputs: the columns to compare; by default all.
            tolerance: relative difference of floats that counts as equal, where rounding is part of the fix.
            label_tolerance: share of the rows, 0 to 1, whose integers may differ: a GPU rounds otherwise in
                batches of another size, and of two classes that are nearly tied either may be the larger.
            after_round: called with the variant's name after each round, once the clock has stopped; gives
                what a write wrote (`Inspection`), and may clean up.
            expected_rows: a round with any other number of rows is invalid.
            warm_ups: rounds of each variant before, which are not counted. 0 where they would warm nothing:
                an actor pool starts new processes in each round. Then the first rounds' outputs are compared.
            rounds: of each variant, within --rayperf-max-rounds; by default as many as the verdict needs.
            timed: False where the signal has no noise (a counter, bytes, tasks): each variant is executed
                once, without a warm-up. Where that took so long that it looks like a regression, more rounds
                are measured, which have had that one for a warm-up, and they must make it certain.
        """
        self._use_once()
        variant = self._item.variant
        if self._record.options.selftest:
            self._not_selftested("its anti-pattern is there to be slow", variant == "antipattern")
            self._selftest(fix, expected_rows, after_round and (lambda: after_round("fix")))
        reported: tuple[Variant, ...] = (variant,) if variant else VARIANTS
        policy = _with_rounds(self._record.policy(self._item.limits, benchmarks=len(reported)), rounds)
        if not timed:
            policy, warm_ups = replace(policy, looks=_once_and_more(policy.looks), timed=False), 0
        conclusions = self._conclusions
        sides = {v: conclusions.side(v) for v in VARIANTS}
        pipelines: dict[str, Pipeline] = {"antipattern": antipattern, "fix": fix}

        contest = self._shared.get(self._item.duel_key) if variant else None
        first_time = contest is None
        beside = contest.beside if contest is not None else None
        beside = beside or Beside(self._far, self._item, {v: v for v in VARIANTS})
        if contest is None:

            def is_settled(so_far: Samples) -> bool:
                pairs = ((beside.side(sides[v], so_far), so_far.rounds[v]) for v in VARIANTS)
                return all(conclusions.settled(side, rounds, policy) for side, rounds in pairs)

            contest = Contest(_SIDES, tuple(outputs or ()), tolerance, label_tolerance, beside=beside)
            self._measure_duel(
                contest,
                pipelines,
                policy,
                is_settled,
                beside.on_near_side(after_round),
                warm_ups,
            )
            beside.take(contest.samples)
            if variant:
                self._shared[self._item.duel_key] = contest
        conclusions.probe = contest.probe
        measured = contest.samples.rounds
        if contest.error is not None:
            for name in reported:
                conclusions.add_unfinished(sides[name], measured.get(name, []), contest.error)
            raise contest.error
        pairs = list(zip(measured["antipattern"], measured["fix"], strict=False))
        duels = tuple(
            duel_verdict(self._item.name, name, pairs, floor, contest.outputs_equal, policy)
            for name, floor in {metric: None, **(floors or {})}.items()
        )
        if first_time:
            self._record.duels.extend(duels)
        benchmarks: dict[Variant, Benchmark] = {}
        for name in VARIANTS:
            wrong = outputs_wrong(contest.difference, measured[name], expected_rows)
            signal = None
            if name == "fix":
                wrong, signal = wrong or below_floor(duels), duels[0]
            repeated = contest.samples.repeated.get(name, [])
            # The anti-pattern is there to be bad: nobody mends it, and it has no work to keep.
            sides[name] = beside.side(sides[name])
            work: tuple[Work | None, str | None] = (None, None)
            if name == "fix" and name in reported:
                sides[name], work = self._counted(sides[name], beside, measured[name], fix)
            profile = self._profiled(sides[name], pipelines[name]) if name in reported else None
            benchmarks[name] = conclusions.judge(
                sides[name], measured[name], policy, wrong, signal, repeated, work, profile
            )
        for name in reported:
            conclusions.add(benchmarks[name])
        conclusions.enforce(benchmarks[name] for name in reported)
        bad, good = (Result(benchmarks[name].rounds, benchmarks[name].verdict) for name in VARIANTS)
        return DuelResult(bad, good, duels)

    def ladder(
        self,
        rungs: Mapping[str, Pipeline],
        *,
        metric: str = "throughput",
        outputs: Sequence[str] | None = None,
        label_tolerance: float = 0.0,
        after_round: AfterRound | None = None,
        expected_rows: int | None = None,
        warm_ups: int = 1,
        rounds: int | None = None,
    ) -> Ladder:
        """Measure pipelines of which each has one fix more than the one before, in turn.

        All must compute the same. The last is compared with the item's baseline.

        Args:
            rungs: from the worst to the best, by the name of what was mended.
            metric: what each rung is compared in.
            outputs, label_tolerance, after_round, expected_rows, warm_ups, rounds: as for a duel.
        """
        self._use_once()
        if len(rungs) < 2:
            raise UsageInTestError("rayperf.ladder needs two rungs or more: the worst pipeline and its mends")
        if self._record.options.selftest:
            name = list(rungs)[-1]
            self._selftest(rungs[name], expected_rows, after_round and (lambda: after_round(name)))
        policy = _with_rounds(self._record.policy(self._item.limits), rounds)
        last = list(rungs)[-1]
        conclusions = self._conclusions
        side = conclusions.side(None)
        sides = {name: f"rung {name!r}" for name in rungs}
        contest = Contest(sides, tuple(outputs or ()), label_tolerance=label_tolerance)
        beside = Beside(self._far, self._item, {None: last}, alone=True)

        def is_settled(so_far: Samples) -> bool:
            return conclusions.settled(beside.side(side, so_far), so_far.rounds[last], policy)

        measured = contest.samples.rounds
        try:
            self._measure(
                contest,
                {**rungs, **beside.pipelines},
                policy,
                is_settled,
                beside.on_near_side(after_round),
                warm_ups=warm_ups,
            )
        except BaseException as error:
            conclusions.add_unfinished(side, measured.get(last, []), error)
            raise
        beside.take(contest.samples)
        side = beside.side(side)
        contest.compare_rows()
        found = [outputs_wrong(contest.difference, own, expected_rows) for own in measured.values()]
        wrong = next((text for text in found if text), None) or unmeasured(metric, measured)
        ladder = ladder_of(self._item.name, metric, measured, policy)
        if wrong is None:
            self._record.ladders.append(ladder)
        repeated = contest.samples.repeated.get(last, [])
        benchmark = conclusions.judge(side, measured[last], policy, wrong, repeated=repeated)
        conclusions.add(benchmark)
        conclusions.enforce([benchmark])
        return ladder

    def sweep(
        self,
        settings: Mapping[str, Pipeline],
        *,
        metric: str = "throughput",
        outputs: Sequence[str] | None = None,
        expected_rows: int | None = None,
    ) -> Sweep:
        """Measure pipelines that differ in one setting, in turn, and find the best one.

        Where one runs out of memory, it and all after it are left out, and the report says so. There is no
        baseline: what is best is a fact of the machine.

        Args:
            settings: ascending, by the setting's value.
            metric, outputs, expected_rows: as for a duel.

        Raises:
            GateFailure: two settings compute different outputs, or rows are lost.
            Exception: whatever a pipeline raised, other than that memory ran out; and that too where not one
                setting is left.
        """
        self._use_once()
        if len(settings) < 2:
            raise UsageInTestError("rayperf.sweep needs two settings or more")
        self._not_selftested("a sweep has no verdict")
        policy = self._record.policy(self._item.limits)
        contest = Contest({name: f"{self._item.name} {name}" for name in settings}, tuple(outputs or ()))
        limit = SweepLimit(list(settings))
        rounds = contest.samples.rounds
        try:
            self._measure(
                contest,
                {name: limit.guard(name, pipeline) for name, pipeline in settings.items()},
                policy,
                lambda _: True,
                gives_up=limit.gives_up,
            )
        except BaseException as error:
            self._conclusions.add_unfinished(self._conclusions.side(None), [], error)
            raise
        for name in limit.left_out:
            rounds.pop(name, None)
        contest.compare_rows()
        found = [outputs_wrong(contest.difference, own, expected_rows) for own in rounds.values()]
        wrong = next((text for text in found if text), None)
        wrong = wrong or unmeasured(metric, rounds)
        if wrong is not None:
            self._conclusions.conclude(Verdict("invalid", wrong, wrong=True))
            raise GateFailure(wrong)
        sweep = sweep_of(self._item.name, metric, rounds, limit.reason)
        self._record.sweeps.append(sweep)
        self._conclusions.conclude(Verdict("unchanged", f"best at {sweep.best}"), rounds[sweep.best])
        return sweep

    @staticmethod
    def instrument(udf: Udf) -> Udf:
        """The same UDF, whose calls are counted and timed, errors too: `pytest_rayperf.instrument`.

        What is given to `map_batches` while the pipeline is called is instrumented without it.
        """
        return instrument(udf)

    def raises(
        self,
        pipeline: Pipeline,
        error: type[Exception],
        match: str,
    ) -> Exception:
        """Execute `pipeline` once, and fail unless it raises `error` with a text that `match` is found in.

        Args:
            pipeline: as in a measurement.
            error: the type, or a base of it.
            match: a regular expression, searched in the error's text.

        Returns:
            The error.
        """
        return self._expectations().raises(pipeline, error, match)

    def warns(self, pipeline: Pipeline, match: str, category: type[Warning] | None = None) -> str:
        """Execute `pipeline` once, and fail unless it runs and something is said that `match` is found in.

        Args:
            pipeline: as in a measurement.
            match: a regular expression, searched in the texts of Python warnings and of log records from
                WARNING on by Ray's loggers, in this process.
            category: only a Python warning of this category, or of one derived from it.

        Returns:
            The text that was found.
        """
        return self._expectations().warns(pipeline, match, category)

    def is_silent(self, pipeline: Pipeline, expected_rows: int | None = None) -> None:
        """Execute `pipeline` once, and fail if it raises, or if anything is heard in the sense of `warns`.

        What Ray Data logs of the machine and its load while it runs does not count.

        Args:
            pipeline: as in a measurement.
            expected_rows: any other number of rows fails too.
        """
        self._expectations().is_silent(pipeline, expected_rows)

    def _selftest(
        self,
        pipeline: Pipeline,
        expected_rows: int | None,
        after_round: Callable[[], Inspection | None] | None = None,
    ) -> NoReturn:
        tester = Selftester(self._item, self._record, self._executor, self._on_progress)
        tester.run(pipeline, expected_rows, after_round or (lambda: None))

    def _not_selftested(self, reason: str, applies: bool = True) -> None:
        if self._record.options.selftest and applies:
            raise NotSelftested(f"--rayperf-selftest: {reason}")

    def _expectations(self) -> Expectations:
        self._use_once()
        self._not_selftested("what is expected of this pipeline is no speed")
        return Expectations(self._execute_once, self._conclusions.conclude)

    def _execute_once(self, pipeline: Pipeline) -> Execution:
        schedule = self._schedule(self._record.policy())
        self._on_progress(self._item, Progress(self._item.name, 0, 0, 0.0, ()), schedule)
        try:
            return self._executor.run(pipeline, keep_outputs=False, on_rows=lambda _: None)
        except Exception as error:
            release(error)
            raise

    def _profiled(self, side: Side, pipeline: Pipeline) -> Profile | None:
        folder = self._record.options.profile_udf
        if folder is None:
            return None
        progress = Progress(side.variant or self._item.name, 0, 0, 0.0, (), apart="profiling")
        self._on_progress(self._item, progress, self._schedule(self._record.policy()))
        return self._executor.profile(pipeline, folder, side.slug)

    def _counted(
        self, side: Side, beside: Beside, rounds: Sequence[Round], pipeline: Pipeline
    ) -> tuple[Side, tuple[Work | None, str | None]]:
        """The benchmark, with the far side's work if there is one; and its own, or why it is not counted."""

        def count(anew: bool) -> Work:
            schedule = self._schedule(self._record.policy())
            progress = Progress(side.variant or self._item.name, 0, 0, 0.0, (), apart="counting work")
            self._on_progress(self._item, progress, schedule)
            return self._executor.count_work(pipeline, anew=anew)

        if side.reference is None or not side.reference.beside:
            return side, self._conclusions.counted(side, rounds, count)
        if not self._conclusions.asks_for_work(side, rounds):
            return side, (None, None)
        side, work, problem = beside.with_work(side, count)
        return side, (work, problem)

    def _use_once(self) -> None:
        if self._used:
            raise UsageInTestError(
                "rayperf was used twice in one test: a benchmark is one test; split it, or parametrize it"
            )
        self._used = True

    def _schedule(self, policy: Policy, warm_ups: int = 1) -> Schedule:
        return Schedule(policy.looks, self._record.options.max_time, warm_ups, timed=policy.timed)

    def _measure(
        self,
        contest: Contest,
        pipelines: Mapping[str, Pipeline],
        policy: Policy,
        is_settled: Callable[[Samples], bool],
        after_round: AfterRound | None = None,
        gives_up: Callable[[str, Exception], bool] = lambda name, error: False,
        warm_ups: int = 1,
    ) -> None:
        # A far side's outputs are not this side's to compare.
        schedule = replace(self._schedule(policy, warm_ups), keep_outputs=len(contest.sides) > 1)
        before = self._record.probe()
        self._conclusions.probe = _probed(before, before)  # as far as it is known while rounds are measured
        try:
            measure(
                pipelines,
                self._executor,
                schedule,
                contest.samples,
                clock=perf_counter,
                settled=is_settled,
                accept_outputs=contest.accept_outputs,
                on_progress=lambda progress: self._on_progress(self._item, progress, schedule),
                after_round=after_round or (lambda name: None),
                gives_up=gives_up,
            )
        except BaseException as error:
            release(error)
            raise
        contest.probe = self._conclusions.probe = _probed(before, self._record.probe())

    def _measure_duel(
        self,
        contest: Contest,
        pipelines: Mapping[str, Pipeline],
        policy: Policy,
        is_settled: Callable[[Samples], bool],
        after_round: AfterRound | None,
        warm_ups: int,
    ) -> None:
        try:
            if contest.beside is not None:
                pipelines = {**pipelines, **contest.beside.pipelines}
            self._measure(contest, pipelines, policy, is_settled, after_round, warm_ups=warm_ups)
        except Exception as error:  # noqa: BLE001 - kept: raised again in both of the duel's items
            contest.error = error
        except BaseException as error:  # Ctrl-C: what was measured is printed
            for name in VARIANTS:
                rounds = contest.samples.rounds.get(name, [])
                self._conclusions.add_unfinished(self._conclusions.side(name), rounds, error)
            raise
        contest.compare_rows()


def _once_and_more(looks: tuple[int, ...]) -> tuple[int, ...]:
    """One round, and where that is not enough the fewest more that a timed benchmark has."""
    return tuple(sorted({1, min(1 + looks[0], looks[-1])}))


def _with_rounds(policy: Policy, rounds: int | None) -> Policy:
    if rounds is None:
        return policy
    if rounds < 1:
        raise UsageInTestError(f"rayperf: rounds={rounds}: at least 1 is needed")
    return replace(policy, looks=(min(rounds, policy.looks[-1]),))


def _probed(before: Lap, after: Lap) -> Probe | None:
    probe = Probe.around(before, after)
    return None if probe.seconds is None else probe

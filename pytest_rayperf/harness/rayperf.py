"""The object that the `rayperf` fixture gives to a test: it measures, judges and records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from pytest_rayperf.against.far import FarSide
from pytest_rayperf.errors import GateFailure, NotSelftested, UsageInTestError
from pytest_rayperf.harness.conclusions import Item
from pytest_rayperf.harness.contest import Contest, SweepLimit
from pytest_rayperf.harness.dueling import SIDES, Dueling, reported, untimed
from pytest_rayperf.harness.expectations import Expectations
from pytest_rayperf.harness.selftesting import Selftester
from pytest_rayperf.harness.session import RunRecord
from pytest_rayperf.harness.workbench import OnProgress, Workbench
from pytest_rayperf.judging.duels import ladder_of, sweep_of
from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.measurement import AfterRound, Executor, Inspection, Pipeline, Samples
from pytest_rayperf.outputs import RELATIVE
from pytest_rayperf.results import DuelResult, Ladder, Result, Round, Sweep, Verdict
from pytest_rayperf.udfs.instrumenting import Udf, instrument
from pytest_rayperf.usage import (
    by_name,
    check_pattern,
    check_pipelines,
    check_switch,
    check_type,
    floors_of,
    rounds_or_none,
    rows_or_none,
    whole,
)
from pytest_rayperf.wrong import outputs_wrong, unexpected_rows, unmeasured

__tracebackhide__ = True  # who reads the traceback of a pipeline looks for its own lines


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
        on_progress: OnProgress,
        on_rounds: Callable[[Sequence[Round]], None],
        far: FarSide | None = None,
    ) -> None:
        self._item = item
        self._record = record
        self._bench = Workbench(item, record, executor, on_progress, on_rounds, far)
        self._shared = shared
        self.used = False
        """Whether the test has measured, or expected, anything."""

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
        self._use_once(pipeline=pipeline)
        rounds, warm_ups = rounds_or_none(rounds), whole("warm_ups", warm_ups, 0)
        expected_rows = rows_or_none(expected_rows)
        if self._record.options.selftest:
            self._selftest(pipeline, expected_rows)
        policy = _with_rounds(self._record.policy(self._item.limits), rounds)
        conclusions, name = self._bench.conclusions, self._item.name
        side = conclusions.side(self._item.variant)
        contest = Contest({name: name})
        beside = self._bench.beside({self._item.variant: name}, alone=True)

        def is_settled(so_far: Samples) -> bool:
            return conclusions.settled(beside.side(side, so_far), so_far.rounds[name], policy)

        try:
            pipelines = {name: pipeline, **beside.pipelines}
            self._bench.measure(contest, pipelines, policy, is_settled, warm_ups=warm_ups)
        except BaseException as error:
            conclusions.add_unfinished(side, contest.samples.rounds.get(name, []), error)
            raise
        beside.take(contest.samples)
        measured = contest.samples.rounds[name]
        repeated = contest.samples.repeated.get(name, [])
        wrong = unexpected_rows(measured, expected_rows)
        side, work = self._bench.counted(beside.side(side), beside, measured, pipeline)
        profile = self._bench.profiled(side, pipeline)
        policy = replace(policy, over=contest.samples.time_is_up)
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
            tolerance: relative difference of floats that counts as equal, where rounding is part of the fix;
                one of 1e-5 counts as equal anyhow.
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
        self._use_once(antipattern=antipattern, fix=fix)
        rounds, warm_ups = rounds_or_none(rounds), whole("warm_ups", warm_ups, 0)
        expected_rows = rows_or_none(expected_rows)
        check_switch("timed", timed)
        floors = floors_of(floors)
        variant = self._item.variant
        if self._record.options.selftest:
            self._not_selftested("its anti-pattern is there to be slow", variant == "antipattern")
            self._selftest(fix, expected_rows, after_round and (lambda: after_round("fix")))
        benchmarks = len(reported(variant))
        policy = _with_rounds(self._record.policy(self._item.limits, benchmarks=benchmarks), rounds)
        if not timed:
            policy, warm_ups = untimed(policy), 0
        dueling = Dueling(self._bench, antipattern, fix, policy, self._shared)
        blank = Contest(SIDES, tuple(outputs or ()), tolerance, label_tolerance)
        contest = dueling.measured(blank, after_round, warm_ups)
        return dueling.judged(contest, metric, floors, expected_rows)

    def ladder(
        self,
        rungs: Mapping[Any, Pipeline],
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
        rounds, warm_ups = rounds_or_none(rounds), whole("warm_ups", warm_ups, 0)
        expected_rows = rows_or_none(expected_rows)
        rungs = by_name("ladder", rungs)
        if len(rungs) < 2:
            raise UsageInTestError("rayperf.ladder needs two rungs or more: the worst pipeline and its mends")
        if self._record.options.selftest:
            name = list(rungs)[-1]
            self._selftest(rungs[name], expected_rows, after_round and (lambda: after_round(name)))
        policy = _with_rounds(self._record.policy(self._item.limits), rounds)
        last = list(rungs)[-1]
        conclusions = self._bench.conclusions
        side = conclusions.side(None)
        sides = {name: f"rung {name!r}" for name in rungs}
        contest = Contest(sides, tuple(outputs or ()), label_tolerance=label_tolerance)
        beside = self._bench.beside({None: last}, alone=True)

        def is_settled(so_far: Samples) -> bool:
            return conclusions.settled(beside.side(side, so_far), so_far.rounds[last], policy)

        measured = contest.samples.rounds
        try:
            self._bench.measure(
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
        policy = replace(policy, over=contest.samples.time_is_up)
        benchmark = conclusions.judge(side, measured[last], policy, wrong, repeated=repeated)
        conclusions.add(benchmark)
        conclusions.enforce([benchmark])
        return ladder

    def sweep(
        self,
        settings: Mapping[Any, Pipeline],
        *,
        metric: str = "throughput",
        outputs: Sequence[str] | None = None,
        expected_rows: int | None = None,
    ) -> Sweep:
        """Measure pipelines that differ in one setting, in turn, and find the best one.

        Where one runs out of memory, it and all after it are left out, and the report says so. There is no
        baseline: what is best is a fact of the machine.

        Args:
            settings: ascending, by the setting's value, which is named as `str` writes it.
            metric, outputs, expected_rows: as for a duel.

        Raises:
            GateFailure: two settings compute different outputs, or rows are lost.
            Exception: whatever a pipeline raised, other than that memory ran out; and that too where not one
                setting is left.
        """
        self._use_once()
        expected_rows = rows_or_none(expected_rows)
        settings = by_name("sweep", settings)
        if len(settings) < 2:
            raise UsageInTestError("rayperf.sweep needs two settings or more")
        self._not_selftested("a sweep has no verdict")
        policy = self._record.policy(self._item.limits)
        contest = Contest({name: f"{self._item.name} {name}" for name in settings}, tuple(outputs or ()))
        limit = SweepLimit(list(settings))
        rounds = contest.samples.rounds
        try:
            self._bench.measure(
                contest,
                {name: limit.guard(name, pipeline) for name, pipeline in settings.items()},
                policy,
                lambda _: True,
                gives_up=limit.gives_up,
                lapped=False,  # a sweep is compared with nothing
            )
        except BaseException as error:
            self._bench.conclusions.add_unfinished(self._bench.conclusions.side(None), [], error)
            raise
        for name in limit.left_out:
            rounds.pop(name, None)
        contest.compare_rows()
        found = [outputs_wrong(contest.difference, own, expected_rows) for own in rounds.values()]
        wrong = next((text for text in found if text), None)
        wrong = wrong or unmeasured(metric, rounds)
        if wrong is not None:
            self._bench.conclusions.conclude(Verdict("invalid", wrong, wrong=True))
            raise GateFailure(wrong)
        sweep = sweep_of(self._item.name, metric, rounds, limit.reason)
        self._record.sweeps.append(sweep)
        self._bench.conclusions.conclude(Verdict("unchanged", f"best at {sweep.best}"), rounds[sweep.best])
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
        expectations = self._expectations(pipeline)
        check_type("raises", "error", error, Exception)
        check_pattern("raises", match)
        return expectations.raises(pipeline, error, match)

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
        expectations = self._expectations(pipeline)
        check_pattern("warns", match)
        if category is not None:
            check_type("warns", "category", category, Warning)
        return expectations.warns(pipeline, match, category)

    def is_silent(self, pipeline: Pipeline, expected_rows: int | None = None) -> None:
        """Execute `pipeline` once, and fail if it raises, or if anything is heard in the sense of `warns`.

        What Ray Data logs of the machine and its load while it runs does not count.

        Args:
            pipeline: as in a measurement.
            expected_rows: any other number of rows fails too.
        """
        expectations = self._expectations(pipeline)
        expected_rows = rows_or_none(expected_rows)
        expectations.is_silent(pipeline, expected_rows)

    def _selftest(
        self,
        pipeline: Pipeline,
        expected_rows: int | None,
        after_round: Callable[[], Inspection | None] | None = None,
    ) -> NoReturn:
        Selftester(self._bench).run(pipeline, expected_rows, after_round or (lambda: None))

    def _not_selftested(self, reason: str, applies: bool = True) -> None:
        if self._record.options.selftest and applies:
            raise NotSelftested(f"--rayperf-selftest: {reason}")

    def _expectations(self, pipeline: Pipeline) -> Expectations:
        self._use_once(pipeline=pipeline)
        self._not_selftested("what is expected of this pipeline is no speed")
        return Expectations(self._bench.execute_once, self._bench.conclusions.conclude)

    def _use_once(self, **pipelines: object) -> None:
        """The fixture is used, with these pipelines, by what the caller gave them as."""
        check_pipelines(pipelines)
        if self.used:
            raise UsageInTestError(
                "rayperf was used twice in one test: a benchmark is one test; split it, or parametrize it"
            )
        self.used = True


def _with_rounds(policy: Policy, rounds: int | None) -> Policy:
    if rounds is None:
        return policy
    return replace(policy, looks=(min(rounds, policy.looks[-1]),))

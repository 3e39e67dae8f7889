"""The object that the `rayperf` fixture gives to a test: it measures, judges and records."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

from pytest_rayperf.contest import Contest, SweepLimit
from pytest_rayperf.duels import duel_verdict, ladder_of, sweep_of
from pytest_rayperf.errors import GateFailure, UsageInTestError
from pytest_rayperf.expectations import Expectations
from pytest_rayperf.measurement import (
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
from pytest_rayperf.policy import Policy
from pytest_rayperf.results import (
    Benchmark,
    Duel,
    DuelResult,
    Ladder,
    Result,
    Round,
    Subject,
    Sweep,
    Variant,
    Verdict,
)
from pytest_rayperf.session import RunRecord
from pytest_rayperf.slugs import slug_of
from pytest_rayperf.verdict import Reference, judge, settled
from pytest_rayperf.wrong import below_floor, outputs_wrong, unexpected_rows, unfinished

VARIANTS: tuple[Variant, Variant] = ("antipattern", "fix")
_SIDES = {"antipattern": "the anti-pattern", "fix": "the fix"}


@dataclass(frozen=True)
class Item:
    """What the harness knows of the test that it serves."""

    id: str
    name: str
    subject: Subject
    limits: Mapping[str, float]
    """`max_slowdown` and `min_throughput` of the mark, where given."""
    variant: Variant | None = None
    """Of a test that is parametrized with `variant`: which of its anti-pattern's two this item reports."""
    duel_key: str = ""
    """Equal for the test items that are variants of one duel."""


class RayPerf:
    """Measures one benchmark of a test item, or one duel.

    Args:
        item: the test.
        record: the run.
        executor: runs pipelines.
        shared: duels that another item of the same test has measured.
        on_progress: hears where the measurement is; between rounds, and at most now and then inside one.
        on_rounds: hears the item's own rounds once they are complete.
    """

    def __init__(
        self,
        item: Item,
        record: RunRecord,
        executor: Executor,
        shared: dict[str, Contest],
        on_progress: Callable[[Item, Progress, Schedule], None],
        on_rounds: Callable[[Sequence[Round]], None],
    ) -> None:
        self._item = item
        self._record = record
        self._executor = executor
        self._shared = shared
        self._on_progress = on_progress
        self._on_rounds = on_rounds
        self._used = False

    def __call__(self, pipeline: Pipeline, *, expected_rows: int | None = None) -> Result:
        """Measure `pipeline`, compare it with its baseline, and fail the test if that must be.

        Args:
            pipeline: takes nothing; returns a lazy `ray.data.Dataset`, or executes by itself and returns
                the number of rows that it wrote.
            expected_rows: a round with any other number of rows is invalid.
        """
        self._use_once()
        policy = self._record.policy(self._item.limits)
        slug = slug_of(self._item.id)
        reference = self._record.store.reference(slug, self._item.id)
        name = self._item.name
        contest = Contest({name: name})
        subject = self._item.subject

        def is_settled(so_far: Samples) -> bool:
            return settled(so_far.rounds[name], subject, reference, policy, policy.looks[-1])

        try:
            self._measure(contest, {name: pipeline}, policy, is_settled)
        except BaseException as error:
            rounds = contest.samples.rounds.get(name, [])
            self._unfinished(rounds, self._item.id, slug, self._item.variant, error)
            raise
        rounds = contest.samples.rounds[name]
        wrong = unexpected_rows(rounds, expected_rows)
        benchmark = self._judge(rounds, slug, self._item.variant, reference, policy, wrong)
        self._add(benchmark)
        self._record.enforce(benchmark.verdict)
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
        after_round: Callable[[str], Inspection | None] | None = None,
        expected_rows: int | None = None,
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
            after_round: called with the variant's name after each round, once the clock has stopped; gives
                what a write wrote (`Inspection`), and may clean up.
            expected_rows: a round with any other number of rows is invalid.
        """
        self._use_once()
        variant = self._item.variant
        reported: tuple[Variant, ...] = (variant,) if variant else VARIANTS
        policy = self._record.policy(self._item.limits, benchmarks=len(reported))
        slugs = {v: self._variant_slug(v) for v in VARIANTS}
        references = {v: self._variant_reference(v, slugs[v]) for v in VARIANTS}
        pipelines: dict[str, Pipeline] = {"antipattern": antipattern, "fix": fix}

        def is_settled(so_far: Samples) -> bool:
            subject, most = self._item.subject, policy.looks[-1]
            return all(settled(so_far.rounds[v], subject, references[v], policy, most) for v in VARIANTS)

        contest = self._shared.get(self._item.duel_key) if variant else None
        first_time = contest is None
        if contest is None:
            contest = Contest(_SIDES, tuple(outputs or ()), tolerance)
            self._measure_duel(contest, pipelines, policy, is_settled, after_round)
            if variant:
                self._shared[self._item.duel_key] = contest
        rounds = contest.samples.rounds
        if contest.error is not None:
            for name in reported:
                self._unfinished(rounds.get(name, []), self._item.id, slugs[name], name, contest.error)
            raise contest.error
        pairs = list(zip(rounds["antipattern"], rounds["fix"], strict=False))
        duels = tuple(
            duel_verdict(self._item.name, name, pairs, floor, contest.outputs_equal, policy)
            for name, floor in {metric: None, **(floors or {})}.items()
        )
        if first_time:
            self._record.duels.extend(duels)
        benchmarks: dict[Variant, Benchmark] = {}
        for name in VARIANTS:
            wrong = outputs_wrong(contest.difference, rounds[name], expected_rows)
            signal = None
            if name == "fix":
                wrong, signal = wrong or below_floor(duels), duels[0]
            benchmarks[name] = self._judge(
                rounds[name], slugs[name], name, references[name], policy, wrong, signal
            )
        for name in reported:
            self._add(benchmarks[name])
        self._enforce_all({name: benchmarks[name].verdict for name in reported})
        bad, good = (Result(benchmarks[name].rounds, benchmarks[name].verdict) for name in VARIANTS)
        return DuelResult(bad, good, duels)

    def ladder(
        self,
        rungs: Mapping[str, Pipeline],
        *,
        metric: str = "throughput",
        outputs: Sequence[str] | None = None,
        after_round: Callable[[str], Inspection | None] | None = None,
        expected_rows: int | None = None,
    ) -> Ladder:
        """Measure pipelines of which each has one fix more than the one before, in turn.

        All must compute the same. The last is compared with the item's baseline.

        Args:
            rungs: from the worst to the best, by the name of what was mended.
            metric: what each rung is compared in.
            outputs, after_round, expected_rows: as for a duel.
        """
        self._use_once()
        if len(rungs) < 2:
            raise UsageInTestError("rayperf.ladder needs two rungs or more: the worst pipeline and its mends")
        policy = self._record.policy(self._item.limits)
        last = list(rungs)[-1]
        slug, subject = slug_of(self._item.id), self._item.subject
        reference = self._record.store.reference(slug, self._item.id)
        contest = Contest({name: f"rung {name!r}" for name in rungs}, tuple(outputs or ()))

        def is_settled(so_far: Samples) -> bool:
            return settled(so_far.rounds[last], subject, reference, policy, policy.looks[-1])

        rounds = contest.samples.rounds
        try:
            self._measure(contest, rungs, policy, is_settled, after_round)
        except BaseException as error:
            self._unfinished(rounds.get(last, []), self._item.id, slug, None, error)
            raise
        contest.compare_rows()
        found = [outputs_wrong(contest.difference, own, expected_rows) for own in rounds.values()]
        wrong = next((text for text in found if text), None)
        ladder = ladder_of(self._item.name, metric, rounds, policy)
        if wrong is None:
            self._record.ladders.append(ladder)
        benchmark = self._judge(rounds[last], slug, None, reference, policy, wrong)
        self._add(benchmark)
        self._record.enforce(benchmark.verdict)
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
        policy = self._record.policy(self._item.limits)
        slug = slug_of(self._item.id)
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
            self._unfinished([], self._item.id, slug, None, error)
            raise
        for name in limit.left_out:
            rounds.pop(name, None)
        contest.compare_rows()
        found = [outputs_wrong(contest.difference, own, expected_rows) for own in rounds.values()]
        wrong = next((text for text in found if text), None)
        if wrong is None and all(r.figure(metric) is None for own in rounds.values() for r in own):
            wrong = f"invalid: {metric} was not measured: there is no best setting"
        if wrong is not None:
            self._conclude(Verdict("invalid", wrong, wrong=True))
            raise GateFailure(wrong)
        sweep = sweep_of(self._item.name, metric, rounds, limit.reason)
        self._record.sweeps.append(sweep)
        self._conclude(Verdict("unchanged", f"best at {sweep.best}"), rounds[sweep.best])
        return sweep

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

    def _expectations(self) -> Expectations:
        self._use_once()
        return Expectations(self._execute_once, self._conclude)

    def _execute_once(self, pipeline: Pipeline) -> Execution:
        schedule = self._schedule(self._record.policy())
        self._on_progress(self._item, Progress(self._item.name, 0, 0, 0.0, ()), schedule)
        try:
            return self._executor.run(pipeline, keep_outputs=False, on_rows=lambda _: None)
        except Exception as error:
            release(error)
            raise

    def _conclude(self, verdict: Verdict, rounds: Sequence[Round] = ()) -> None:
        """Record the verdict on what has no baseline."""
        benchmark = Benchmark(
            id=self._item.id,
            slug=slug_of(self._item.id),
            rounds=tuple(rounds),
            verdict=verdict,
            antipattern=self._item.name,
            variant=self._item.variant,
        )
        if not verdict.wrong:
            self._on_rounds(rounds)
        self._record.add_unfinished(benchmark)

    def _use_once(self) -> None:
        if self._used:
            raise UsageInTestError(
                "rayperf was used twice in one test: a benchmark is one test; split it, or parametrize it"
            )
        self._used = True

    def _schedule(self, policy: Policy) -> Schedule:
        return Schedule(policy.looks, self._record.options.max_time)

    def _measure(
        self,
        contest: Contest,
        pipelines: Mapping[str, Pipeline],
        policy: Policy,
        is_settled: Callable[[Samples], bool],
        after_round: Callable[[str], Inspection | None] | None = None,
        gives_up: Callable[[str, Exception], bool] = lambda name, error: False,
    ) -> None:
        schedule = self._schedule(policy)
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

    def _measure_duel(
        self,
        contest: Contest,
        pipelines: Mapping[str, Pipeline],
        policy: Policy,
        is_settled: Callable[[Samples], bool],
        after_round: Callable[[str], Inspection | None] | None,
    ) -> None:
        try:
            self._measure(contest, pipelines, policy, is_settled, after_round)
        except Exception as error:  # noqa: BLE001 - kept: raised again in both of the duel's items
            contest.error = error
        except BaseException as error:  # Ctrl-C: what was measured is printed
            for name in VARIANTS:
                rounds, id = contest.samples.rounds.get(name, []), self._variant_id(name)
                self._unfinished(rounds, id, self._variant_slug(name), name, error)
            raise
        contest.compare_rows()

    def _variant_slug(self, name: Variant) -> str:
        if self._item.variant is None:
            return f"{slug_of(self._item.id)}-{name}"
        return slug_of(self._variant_id(name))

    def _variant_id(self, name: Variant) -> str:
        """The node id of the duel's other item differs from this one's in the variant alone."""
        id, own = self._item.id, self._item.variant
        if own is None or name == own:
            return id
        head, bracket, params = id.partition("[")
        return head + bracket + re.sub(rf"(?<![A-Za-z0-9_]){own}(?![A-Za-z0-9_])", name, params)

    def _variant_reference(self, name: Variant, slug: str) -> Reference | None:
        return self._record.store.reference(slug, self._variant_id(name))

    def _judge(
        self,
        rounds: Sequence[Round],
        slug: str,
        variant: Variant | None,
        reference: Reference | None,
        policy: Policy,
        wrong: str | None,
        duel: Duel | None = None,
    ) -> Benchmark:
        store = self._record.store
        if wrong is not None:
            verdict = Verdict("invalid", wrong, wrong=True)
        else:
            elsewhere = None if reference else store.elsewhere(slug, self._item.id)
            software = self._record.provenance.software
            verdict = judge(rounds, self._item.subject, reference, policy, elsewhere, software)
        return Benchmark(
            id=self._item.id,
            slug=slug,
            rounds=tuple(rounds),
            verdict=verdict,
            antipattern=self._item.name if variant else None,
            variant=variant,
            baseline=reference.name if reference else None,
            duel=duel,
        )

    def _add(self, benchmark: Benchmark) -> None:
        self._on_rounds(benchmark.rounds)
        self._record.add(benchmark, self._item.subject)

    def _unfinished(
        self,
        rounds: Sequence[Round],
        id: str,
        slug: str,
        variant: Variant | None,
        error: BaseException,
    ) -> None:
        self._record.add_unfinished(
            Benchmark(
                id=id,
                slug=slug,
                rounds=tuple(rounds),
                verdict=unfinished(rounds, error),
                antipattern=self._item.name if variant else None,
                variant=variant,
            )
        )

    def _enforce_all(self, verdicts: Mapping[str, Verdict]) -> None:
        failures = []
        for name, verdict in verdicts.items():
            try:
                self._record.enforce(verdict)
            except GateFailure as failure:
                failures.append(str(failure) if len(verdicts) == 1 else f"{name}: {failure}")
        if failures:
            raise GateFailure("\n".join(failures))

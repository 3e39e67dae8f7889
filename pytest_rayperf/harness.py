"""The object that the `rayperf` fixture gives to a test: it measures, judges and records."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NoReturn

from pytest_rayperf.duels import duel_verdict
from pytest_rayperf.errors import GateFailure, UsageInTestError
from pytest_rayperf.measurement import Executor, Pipeline, Progress, Samples, Schedule, measure
from pytest_rayperf.outputs import difference
from pytest_rayperf.policy import Policy
from pytest_rayperf.results import Benchmark, Duel, DuelResult, Result, Round, Subject, Variant, Verdict
from pytest_rayperf.session import RunRecord
from pytest_rayperf.slugs import slug_of
from pytest_rayperf.verdict import Reference, judge, settled
from pytest_rayperf.wrong import below_floor, duel_wrong, gist, row_difference, unexpected_rows, unfinished

VARIANTS: tuple[Variant, Variant] = ("antipattern", "fix")


@dataclass
class DuelMeasurement:
    """A duel that was measured once for the two test items of its variants."""

    samples: Samples
    compared: bool = False
    difference: str | None = None
    error: BaseException | None = None


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
        shared: dict[str, DuelMeasurement],
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
        samples = Samples()
        name = self._item.name
        subject = self._item.subject

        def is_settled(so_far: Samples) -> bool:
            return settled(so_far.rounds[name], subject, reference, policy, policy.looks[-1])

        try:
            self._measure({name: pipeline}, samples, policy, is_settled, lambda _: True)
        except BaseException as error:
            rounds = samples.rounds.get(name, [])
            self._unfinished(rounds, self._item.id, slug, self._item.variant, error)
            raise
        wrong = unexpected_rows(samples.rounds[name], expected_rows)
        benchmark = self._judge(samples.rounds[name], slug, self._item.variant, reference, policy, wrong)
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

        measured = self._shared.get(self._item.duel_key) if variant else None
        first_time = measured is None
        if measured is None:
            measured = self._measure_duel(pipelines, policy, is_settled, tuple(outputs or ()))
            if variant:
                self._shared[self._item.duel_key] = measured
        rounds = measured.samples.rounds
        if measured.error is not None:
            for name in reported:
                self._unfinished(rounds.get(name, []), self._item.id, slugs[name], name, measured.error)
            raise measured.error
        duels = self._judge_duel(measured, {metric: None, **(floors or {})}, policy)
        if first_time:
            self._record.duels.extend(duels)
        benchmarks: dict[Variant, Benchmark] = {}
        for name in VARIANTS:
            wrong = duel_wrong(measured.difference, rounds[name], expected_rows)
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
        self._use_once()
        schedule = self._schedule(self._record.policy())
        self._on_progress(self._item, Progress(self._item.name, 0, 0, 0.0, ()), schedule)
        try:
            execution = self._executor.run(pipeline, keep_outputs=False, on_rows=lambda _: None)
        except Exception as raised:  # noqa: BLE001 - which it is, is what is asked; another one fails the test
            if isinstance(raised, error) and re.search(match, str(raised)):
                reason = f"raised {error.__name__} ({match!r}), as it must"
                self._add(Benchmark(**self._names(), rounds=(), verdict=Verdict("unchanged", reason)))
                return raised
            text = (
                f"invalid: raised another error than {error.__name__} ({match!r}): "
                f"{type(raised).__name__}: {gist(raised)}"
            )
            self._fail_wrong(text, raised)
        rows = execution.round.rows
        self._fail_wrong(
            f"invalid: {error.__name__} ({match!r}) was not raised; the pipeline ran and gave {rows} rows; "
            "if Ray allows this now, the anti-pattern is history: say so in its test",
            None,
        )

    def _fail_wrong(self, text: str, cause: Exception | None) -> NoReturn:
        verdict = Verdict("invalid", text, wrong=True)
        self._record.add_unfinished(Benchmark(**self._names(), rounds=(), verdict=verdict))
        raise GateFailure(text) from cause

    def _names(self) -> dict[str, Any]:
        return {
            "id": self._item.id,
            "slug": slug_of(self._item.id),
            "antipattern": self._item.name,
            "variant": self._item.variant,
        }

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
        pipelines: Mapping[str, Pipeline],
        samples: Samples,
        policy: Policy,
        is_settled: Callable[[Samples], bool],
        accept_outputs: Callable[[Samples], bool],
    ) -> None:
        schedule = self._schedule(policy)
        measure(
            pipelines,
            self._executor,
            schedule,
            samples,
            clock=perf_counter,
            settled=is_settled,
            accept_outputs=accept_outputs,
            on_progress=lambda progress: self._on_progress(self._item, progress, schedule),
        )

    def _measure_duel(
        self,
        pipelines: Mapping[str, Pipeline],
        policy: Policy,
        is_settled: Callable[[Samples], bool],
        columns: tuple[str, ...],
    ) -> DuelMeasurement:
        measured = DuelMeasurement(Samples())

        def accept_outputs(samples: Samples) -> bool:
            sides = [samples.outputs.get(name) for name in VARIANTS]
            if sides[0] is not None and sides[1] is not None:
                measured.compared = True
                measured.difference = difference(sides[0], sides[1], columns or None)
            return measured.difference is None

        try:
            self._measure(pipelines, measured.samples, policy, is_settled, accept_outputs)
        except Exception as error:  # noqa: BLE001 - kept: raised again in both of the duel's items
            measured.error = error
        except BaseException as error:  # Ctrl-C: what was measured is printed
            for name in VARIANTS:
                rounds, id = measured.samples.rounds.get(name, []), self._variant_id(name)
                self._unfinished(rounds, id, self._variant_slug(name), name, error)
            raise
        if measured.error is None and measured.difference is None:
            measured.difference = row_difference(measured.samples)
        return measured

    def _judge_duel(
        self, measured: DuelMeasurement, floors: Mapping[str, float | None], policy: Policy
    ) -> tuple[Duel, ...]:
        rounds = measured.samples.rounds
        pairs = list(zip(rounds["antipattern"], rounds["fix"], strict=False))
        equal = None
        if measured.compared or measured.difference is not None:
            equal = measured.difference is None
        return tuple(
            duel_verdict(self._item.name, metric, pairs, floor, equal, policy)
            for metric, floor in floors.items()
        )

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

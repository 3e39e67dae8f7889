"""What is concluded of one test's rounds: verdicts against its baselines, recorded, and enforced."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_rayperf.errors import GateFailure
from pytest_rayperf.harness.session import RunRecord
from pytest_rayperf.judging.carrying import most_carried
from pytest_rayperf.judging.exact import judge_counters
from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.judging.reasons import RECORD
from pytest_rayperf.judging.reference import Reference
from pytest_rayperf.machine import Probe
from pytest_rayperf.metrics import STARTUP
from pytest_rayperf.results import Benchmark, Duel, Profile, Round, Subject, Variant, Verdict
from pytest_rayperf.slugs import slug_of
from pytest_rayperf.verdict import judge, settled
from pytest_rayperf.work.comparison import compare_work, counts_more, rows_to_count_again
from pytest_rayperf.work.counts import Work, WorkUncountable
from pytest_rayperf.wrong import unfinished

Count = Callable[[bool, int | None], Work]
"""Counts a pipeline's work: whether in processes of its own, several times; and of how many rows: those of
what it is compared with, or (None) as its batches have it."""


@dataclass(frozen=True)
class Item:
    """What is known of the test."""

    id: str
    name: str
    subject: Subject
    limits: Mapping[str, float]
    """What the mark demands, by keyword."""
    variant: Variant | None = None
    """Of a test that is parametrized with `variant`: which of its anti-pattern's two this item reports."""
    duel_key: str = ""
    """Equal for the test items that are variants of one duel."""


@dataclass(frozen=True)
class Side:
    """One benchmark: the whole of a test, or one variant of its duel."""

    id: str
    slug: str
    variant: Variant | None
    reference: Reference | None
    """Its baseline on this environment, or what was measured beside it."""
    problem: str | None = None
    """Why there is nothing to compare with, where that is not for want of a baseline."""


class Conclusions:
    """Judges the rounds of one test and records what comes of it.

    Args:
        item: the test.
        record: the run.
        on_rounds: hears the item's own rounds once they are complete.
    """

    def __init__(self, item: Item, record: RunRecord, on_rounds: Callable[[Sequence[Round]], None]) -> None:
        self._item = item
        self._record = record
        self._on_rounds = on_rounds
        self.probe: Probe | None = None
        """How fast the machine was at fixed work around the rounds that are judged."""

    def side(self, variant: Variant | None) -> Side:
        """The benchmark of `variant`; of the whole test, if that is None."""
        own = self._item.variant
        id = self._item.id
        if variant is not None and own is not None and variant != own:
            # The node id of the duel's other item differs from this one's in the variant alone.
            head, bracket, params = id.partition("[")
            id = head + bracket + re.sub(rf"(?<![A-Za-z0-9_]){own}(?![A-Za-z0-9_])", variant, params)
        slug = slug_of(id)
        if variant is not None and own is None:
            slug = f"{slug}-{variant}"
        kept = self._record.options.reads_baselines
        reference = self._record.store.reference(slug, id) if kept else None
        return Side(id, slug, variant, self._accepting(reference))

    def settled(self, side: Side, rounds: Sequence[Round], policy: Policy) -> bool:
        """Whether measuring on is pointless."""
        return settled(rounds, self._item.subject, side.reference, policy, self.probe)

    def judge(
        self,
        side: Side,
        rounds: Sequence[Round],
        policy: Policy,
        wrong: str | None = None,
        duel: Duel | None = None,
        repeated: Sequence[str] = (),
        work: tuple[Work | None, str | None] = (None, None),
        profile: Profile | None = None,
    ) -> Benchmark:
        """The benchmark with its verdict.

        Args:
            side, rounds, policy: what is judged.
            wrong: says what makes it invalid whatever its speed.
            duel: of a fix, against its anti-pattern.
            repeated: why rounds of it were measured again.
            work: of its pipeline, as `counted` gives it.
            profile: of its pipeline.
        """
        if wrong is not None:
            verdict = Verdict("invalid", wrong, wrong=True)
        else:
            subject, apart = self._item.subject, not self._record.options.reads_baselines
            elsewhere = None if apart or side.reference is not None else self._elsewhere(side)
            verdict = judge(rounds, subject, side.reference, policy, elsewhere, work[0], self.probe)
            if side.problem is not None and verdict.status == "no-baseline":
                verdict = Verdict("no-baseline", side.problem)
            elif verdict.status == "no-baseline" and not self._record.options.update_baselines:
                verdict = replace(verdict, reason=f"{verdict.reason}; {RECORD}")
        beside = side.reference if side.reference is not None and side.reference.beside else None
        return Benchmark(
            id=side.id,
            slug=side.slug,
            rounds=tuple(rounds),
            verdict=verdict,
            antipattern=self._item.name if side.variant else None,
            variant=side.variant,
            baseline=side.reference.name if side.reference and beside is None else None,
            against=None if beside is None else beside.name,
            then=() if beside is None else beside.sessions[0].rounds,
            duel=duel,
            repeated=tuple(repeated),
            work=work[0],
            work_problem=work[1],
            profile=profile,
            probe=self.probe,
            subject=self._item.subject,
            limits=self._item.limits,
            timed=policy.timed,
            looks=policy.looks,
            comparisons=policy.comparisons,
            baseline_software=side.reference.sessions[-1].software if side.reference else None,
        )

    def counted(self, side: Side, rounds: Sequence[Round], count: Count) -> tuple[Work | None, str | None]:
        """The work of a benchmark's pipeline, where anything asks for it; or why it could not be counted.

        Args:
            side: whose baseline it is compared with.
            rounds: of the pipeline. One that executes by itself would execute once more, and is not counted;
                nor is one that its rounds' counters fail already.
            count: counts it. In processes of its own what is recorded, and what differs from the baseline
                before anything is said of it: another pipeline may have left something behind.
        """
        if not self._is_countable(rounds):
            return None, None
        options = self._record.options
        if not options.reads_baselines:
            return None, None
        reference = side.reference or self._elsewhere(side)
        then = None if reference is None else reference.work
        if not options.update_baselines and (then is None or self._decided_already(side, rounds)):
            return None, None
        try:
            if reference is None or then is None:
                return count(True, None), None
            work = count(False, None)
            then = reference.work_with(work.software) or then
            rows = rows_to_count_again(work, then)
            if rows is not None:
                work = count(False, rows)
            same = work.software == then.software and not compare_work(work, then)
            if same and not options.update_baselines:
                return work, None
            if options.update_baselines:
                # What is recorded stays, if it is all: it was shown by repetition, and names what is not
                # determined.
                return (then if same and not counts_more(work, then) else count(True, None)), None
            # With other software nothing of it gates: no need to make sure of it.
            if work.software == then.software:
                work = count(True, rows)
        except WorkUncountable as error:
            return None, str(error)
        return work, None

    def _elsewhere(self, side: Side) -> Reference | None:
        """What carries over of another environment's baseline."""
        here, others = self._record.provenance, self._record.store.elsewhere(side.slug, side.id)
        return self._accepting(
            most_carried(others, self._item.subject, here.software, here.environment.cores)
        )

    def _accepting(self, reference: Reference | None) -> Reference | None:
        """The same, to which what is measured is added if the run records."""
        accepting = self._record.options.update_baselines
        return reference and replace(reference, accepting=accepting)

    def asks_for_work(self, side: Side, rounds: Sequence[Round]) -> bool:
        """Whether the work can decide, against what was measured beside the rounds."""
        return self._is_countable(rounds) and not self._decided_already(side, rounds)

    @staticmethod
    def _is_countable(rounds: Sequence[Round]) -> bool:
        """What executes by itself has no start-up apart, and would execute once more."""
        return bool(rounds) and all(STARTUP.name in r.figures for r in rounds)

    def _decided_already(self, side: Side, rounds: Sequence[Round]) -> bool:
        """Whether the rounds' counters fail it, which have no noise either and speak first."""
        verdict = None if side.reference is None else judge_counters(rounds, side.reference)
        return verdict is not None and verdict.status != "improved"

    def add(self, benchmark: Benchmark) -> None:
        """Record a benchmark that was measured to its end."""
        self._on_rounds(benchmark.rounds)
        self._record.add(benchmark, self._item.subject)

    def add_unfinished(self, side: Side, rounds: Sequence[Round], error: BaseException) -> None:
        """Record what was measured before `error`."""
        self._record.add_unfinished(
            Benchmark(
                id=side.id,
                slug=side.slug,
                rounds=tuple(rounds),
                verdict=unfinished(rounds, error),
                antipattern=self._item.name if side.variant else None,
                variant=side.variant,
            )
        )

    def conclude(self, verdict: Verdict, rounds: Sequence[Round] = ()) -> None:
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

    def enforce(self, benchmarks: Iterable[Benchmark]) -> None:
        """Fail the test if a verdict has to.

        Raises:
            GateFailure: the verdicts, one line a metric; of several benchmarks, with the variant before it.
        """
        given = list(benchmarks)
        failures = []
        for benchmark in given:
            try:
                self._record.enforce(benchmark.verdict)
            except GateFailure as failure:
                failures.append(str(failure) if len(given) == 1 else f"{benchmark.variant}: {failure}")
        if failures:
            raise GateFailure("\n".join(failures))

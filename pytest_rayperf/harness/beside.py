"""The far side's rounds of one test, among the near side's, and as what they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from pytest_rayperf.against.far import FarPipeline, FarSide, FarSideError
from pytest_rayperf.errors import BaselineError
from pytest_rayperf.harness.conclusions import Count, Item, Side
from pytest_rayperf.interrupts import collect_garbage
from pytest_rayperf.judging.reference import Reference, ReferenceSession
from pytest_rayperf.measurement import AfterRound, Execution, Executor, Pipeline, Samples
from pytest_rayperf.results import Profile, Round, Variant
from pytest_rayperf.udfs.faults import Fault
from pytest_rayperf.work.comparison import compare_work, rows_to_count_again
from pytest_rayperf.work.counts import Work, WorkUncountable


class Beside:
    """What the far side has of one test.

    Args:
        far: the far side; None where there is none, and then all here does nothing.
        item: the test.
        names: what the near side calls its pipelines, by variant.
        alone: whether the test measures one pipeline (whatever variant it reports), and no duel.
    """

    def __init__(
        self, far: FarSide | None, item: Item, names: Mapping[Variant | None, str], *, alone: bool = False
    ) -> None:
        self._far = far
        self._alone = alone
        self._item = item
        self._names: dict[Variant | None, str] = {}
        self._rounds: dict[Variant | None, tuple[Round, ...]] = {}
        self._work: dict[Variant | None, Work | None] = {}
        self.problem: str | None = None
        """Why it has nothing to compare with."""
        if far is None:
            return
        if item.id in far.items:
            # The item's own name stands before it wherever a pipeline is named.
            said = {variant: "" if name == item.name else f"{name} " for variant, name in names.items()}
            self._names = {variant: f"{name}at {far.name}" for variant, name in said.items()}
        else:
            self.problem = f"{far.name} has no such test"

    @property
    def pipelines(self) -> dict[str, Pipeline]:
        """To be measured in turn with the near side's, by name.

        Raises:
            FarSideError: the test does not come to its pipelines there.
        """
        if self._far is None or not self._names:
            return {}
        there = self._far.open(self._item.id)
        found = {name: self._pipeline(self._far, variant) for variant, name in self._names.items()}
        if not {pipeline.variant for pipeline in found.values()} <= set(there):
            self.problem = f"{self._far.name} measures something else in this test"
            self._names = {}
            return {}
        return dict(found)

    def _pipeline(self, far: FarSide, variant: Variant | None) -> FarPipeline:
        return FarPipeline(far, self._item.id, None if self._alone else variant)

    def on_near_side(self, after_round: AfterRound | None) -> AfterRound:
        """What looks at a round's files once it is over, for rounds of this side alone."""
        far = set(self._names.values())
        return lambda name: None if after_round is None or name in far else after_round(name)

    def take(self, samples: Samples) -> None:
        """Take the far side's rounds from among the others, once all are measured."""
        for variant, name in self._names.items():
            self._rounds[variant] = tuple(samples.rounds.pop(name, ()))

    def side(self, side: Side, samples: Samples | None = None) -> Side:
        """The near side's benchmark, with the far side's rounds for its reference.

        Args:
            side: the benchmark.
            samples: where the rounds still are; None once they are taken.
        """
        if self._far is None:
            return side
        name = self._names.get(side.variant)
        if name is None:
            return replace(side, problem=self.problem)
        rounds = self._rounds.get(side.variant, ()) if samples is None else tuple(samples.rounds[name])
        if not rounds:
            return replace(side, problem=f"no round of {self._far.name} was measured")
        session = ReferenceSession(rounds, self._far.software, self._work.get(side.variant))
        return replace(side, reference=Reference(self._far.name, self._item.subject, (session,), beside=True))

    def with_work(self, side: Side, count: Count) -> tuple[Side, Work | None, str | None]:
        """Count the work of both sides: once each, and where they differ again, in processes of their own.

        Args:
            side: the near side's benchmark.
            count: counts the near side's work.

        Returns:
            The benchmark with the far side's work in its reference; the near side's, or why there is none.
        """
        if self._far is None or side.reference is None:
            return side, None, None
        pipeline = self._pipeline(self._far, side.variant)
        try:
            for anew in (False, True):
                then = pipeline.count_work(anew=anew)
                now = count(anew, None)
                rows = rows_to_count_again(now, then)
                if rows is not None:
                    now = count(anew, rows)
                if then.software != now.software or not compare_work(now, then):
                    break
        except (WorkUncountable, FarSideError, BaselineError) as reason:
            return side, None, str(reason)
        self._work[side.variant] = then
        return self.side(side), now, None


class BothSides:
    """Runs each pipeline where it is: the far side's there, all others here."""

    def __init__(self, near: Executor) -> None:
        self._near = near

    def run(self, pipeline: Pipeline, *, keep_outputs: bool, on_rows: Callable[[int], None]) -> Execution:
        """As the executor of that side does; the far side's outputs stay there."""
        if isinstance(pipeline, FarPipeline):
            collect_garbage()  # an actor pool of the last round may live in a cycle of references
            return pipeline.run(on_rows, keep_outputs=keep_outputs)
        return self._near.run(pipeline, keep_outputs=keep_outputs, on_rows=on_rows)

    def count_work(self, pipeline: Pipeline, *, anew: bool = False, rows: int | None = None) -> Work:
        """As the near side's does."""
        return self._near.count_work(pipeline, anew=anew, rows=rows)

    def profile(self, pipeline: Pipeline, folder: Path, slug: str) -> Profile:
        """As the near side's does."""
        return self._near.profile(pipeline, folder, slug)

    def slowed(self, pipeline: Pipeline, fault: Fault) -> Pipeline:
        """As the near side's does."""
        return self._near.slowed(pipeline, fault)

    def shipping(self, modules: Iterable[ModuleType]) -> AbstractContextManager[None]:
        """As the near side's does."""
        return self._near.shipping(modules)

"""A duel: an anti-pattern and its fix, measured once for both items of a test, and judged for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pytest_rayperf.harness.contest import Contest
from pytest_rayperf.harness.workbench import Workbench
from pytest_rayperf.judging.duels import duel_verdict
from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.measurement import AfterRound, Pipeline, Samples
from pytest_rayperf.results import Benchmark, Duel, DuelResult, Result, Round, Variant
from pytest_rayperf.work.counts import Work
from pytest_rayperf.wrong import below_floor, outputs_wrong, unknown_signal

__tracebackhide__ = True  # who reads the traceback of a pipeline looks for its own lines

VARIANTS: tuple[Variant, Variant] = ("antipattern", "fix")
SIDES = {"antipattern": "the anti-pattern", "fix": "the fix"}
"""What messages call them."""


class Dueling:
    """One item's part in a duel.

    Args:
        bench: of the item.
        antipattern: the pipeline that does it wrong.
        fix: the one that does it right.
        policy: of their benchmarks.
        shared: duels that another item of the same test has measured. This one is put there.
    """

    def __init__(
        self,
        bench: Workbench,
        antipattern: Pipeline,
        fix: Pipeline,
        policy: Policy,
        shared: dict[str, Contest],
    ) -> None:
        self._bench = bench
        self._pipelines: dict[str, Pipeline] = {"antipattern": antipattern, "fix": fix}
        self._policy = policy
        self._shared = shared
        self._sides = {variant: bench.conclusions.side(variant) for variant in VARIANTS}
        self._beside = bench.beside({variant: variant for variant in VARIANTS})
        self._reported = reported(bench.item.variant)
        self._is_first = False
        """Whether this item has measured it, and not the other one."""

    def measured(self, blank: Contest, after_round: AfterRound | None, warm_ups: int) -> Contest:
        """The duel, measured now unless the other item has.

        Args:
            blank: says how the outputs are compared; filled in where it is measured now.
            after_round, warm_ups: as `RayPerf.duel` has them.

        Raises:
            BaseException: whatever a pipeline raised, in this item or in the other, or stopped it.
        """
        item = self._bench.item
        contest = self._shared.get(item.duel_key) if item.variant else None
        if contest is None:
            contest = blank
            self._is_first = True
            contest.beside = self._beside
            self._measure(contest, after_round, warm_ups)
            self._beside.take(contest.samples)
            if item.variant:
                self._shared[item.duel_key] = contest
        self._beside = contest.beside or self._beside
        self._bench.conclusions.probe = contest.probe
        if contest.error is not None:
            self._add_unfinished(contest, contest.error, self._reported)
            raise contest.error
        return contest

    def _measure(self, contest: Contest, after_round: AfterRound | None, warm_ups: int) -> None:
        conclusions, beside, policy = self._bench.conclusions, self._beside, self._policy

        def is_settled(so_far: Samples) -> bool:
            pairs = ((beside.side(self._sides[v], so_far), so_far.rounds[v]) for v in VARIANTS)
            return all(conclusions.settled(side, rounds, policy) for side, rounds in pairs)

        try:
            pipelines = {**self._pipelines, **beside.pipelines}
            near = beside.on_near_side(after_round)
            self._bench.measure(contest, pipelines, policy, is_settled, near, warm_ups=warm_ups)
        except Exception as error:  # noqa: BLE001 - kept: raised again in both of the duel's items
            contest.error = error
        except BaseException as error:  # Ctrl-C: what was measured is printed
            self._add_unfinished(contest, error, VARIANTS)
            raise
        contest.compare_rows()

    def _add_unfinished(self, contest: Contest, error: BaseException, variants: tuple[Variant, ...]) -> None:
        for variant in variants:
            rounds = contest.samples.rounds.get(variant, [])
            self._bench.conclusions.add_unfinished(self._sides[variant], rounds, error)

    def judged(
        self, contest: Contest, metric: str, floors: Mapping[str, float], expected_rows: int | None
    ) -> DuelResult:
        """Both benchmarks and their ratios, recorded and enforced for this item.

        Args:
            contest: the duel as it was measured.
            metric, floors, expected_rows: as `RayPerf.duel` has them.

        Raises:
            GateFailure: a verdict fails this item.
        """
        bench, measured = self._bench, contest.samples.rounds
        pairs = list(zip(measured["antipattern"], measured["fix"], strict=False))
        demanded: dict[str, float | None] = {metric: None, **floors}
        duels = tuple(
            duel_verdict(bench.item.name, name, pairs, floor, contest.outputs_equal, self._policy)
            for name, floor in demanded.items()
        )
        if self._is_first:
            bench.record.duels.extend(duels)
        benchmarks = {
            variant: self._benchmark(contest, variant, duels, expected_rows) for variant in VARIANTS
        }
        for variant in self._reported:
            bench.conclusions.add(benchmarks[variant])
        bench.conclusions.enforce(benchmarks[variant] for variant in self._reported)
        bad, good = (Result(benchmarks[v].rounds, benchmarks[v].verdict) for v in VARIANTS)
        return DuelResult(bad, good, duels)

    def _benchmark(
        self, contest: Contest, variant: Variant, duels: tuple[Duel, ...], expected_rows: int | None
    ) -> Benchmark:
        rounds, pipeline = contest.samples.rounds[variant], self._pipelines[variant]
        is_reported = variant in self._reported
        wrong = outputs_wrong(contest.difference, rounds, expected_rows)
        signal = None
        if variant == "fix":
            both: dict[str, list[Round]] = {v: contest.samples.rounds[v] for v in VARIANTS}
            wrong = wrong or unknown_signal(duels[0].metric, both) or below_floor(duels)
            signal = duels[0]
        side = self._beside.side(self._sides[variant])
        work: tuple[Work | None, str | None] = (None, None)
        # The anti-pattern is there to be bad: nobody mends it, and it has no work to keep.
        if variant == "fix" and is_reported:
            side, work = self._bench.counted(side, self._beside, rounds, pipeline)
        profile = self._bench.profiled(side, pipeline) if is_reported else None
        repeated = contest.samples.repeated.get(variant, [])
        policy = replace(self._policy, over=contest.samples.time_is_up)
        return self._bench.conclusions.judge(side, rounds, policy, wrong, signal, repeated, work, profile)


def reported(variant: Variant | None) -> tuple[Variant, ...]:
    """The variants that an item reports: its own, or both."""
    return (variant,) if variant else VARIANTS


def untimed(policy: Policy) -> Policy:
    """For a signal without noise: one round, and where that is not enough the fewest more of a timed one."""
    looks = policy.looks
    return replace(policy, looks=tuple(sorted({1, min(1 + looks[0], looks[-1])})), timed=False)

"""What one run knows and collects: options, environment, baselines, verdicts. Without Ray or pytest."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from pytest_rayperf.baselines.format import Baseline, Session
from pytest_rayperf.baselines.store import BaselineStore
from pytest_rayperf.errors import GateFailure
from pytest_rayperf.judging.policy import Policy, look_schedule
from pytest_rayperf.machine import Environment, Lap
from pytest_rayperf.options import Options
from pytest_rayperf.probe import probe
from pytest_rayperf.results import Benchmark, Duel, Ladder, Status, Subject, Sweep, Verdict
from pytest_rayperf.run import Run
from pytest_rayperf.selftest import Selftest

_FAILING_UNDER_GATE: frozenset[Status] = frozenset({"no-baseline", "incomparable"})


@dataclass(frozen=True)
class Provenance:
    """Where a run's figures come from."""

    environment: Environment
    software: Mapping[str, str | None]
    commit: str | None


class RunRecord:
    """The state of one run.

    Args:
        options: what the user asked for.
        provenance: of the figures.
        shown_from: the folder that file names are shown relative to.
        clock: seconds, monotonic.
        probe: CPU seconds that this machine takes for a lap of each kind of fixed work.
    """

    def __init__(
        self,
        options: Options,
        provenance: Provenance,
        shown_from: Path,
        clock: Callable[[], float] = time.perf_counter,
        probe: Callable[[], Lap] = probe,
    ) -> None:
        self.options = options
        self.provenance = provenance
        self.store = BaselineStore(options.baselines, provenance.environment, shown_from)
        self.benchmarks: list[Benchmark] = []
        self.duels: list[Duel] = []
        self.ladders: list[Ladder] = []
        self.sweeps: list[Sweep] = []
        self.selftests: list[Selftest] = []
        self.accepted: list[str] = []
        self.notes: list[str] = []
        self.selected = 1
        """How many performance tests this run has: they share `--rayperf-alpha`."""
        self.probe = probe
        self._pending: list[tuple[Benchmark, Subject]] = []
        """What is a baseline if its test ends well."""
        self._settled = 0
        """How many of the benchmarks are of tests that have ended."""
        self.clock = clock
        self._start = clock()
        self._started_at = _now()

    def policy(self, limits: Mapping[str, float] | None = None, benchmarks: int = 1) -> Policy:
        """The policy of one test.

        Each benchmark that was found slower leaves its part of the error to those that follow (Holm's
        procedure in its sequential form: Bretz, Maurer, Brannath and Posch 2009, doi:10.1002/sim.3495).

        Args:
            limits: what its mark demands, by keyword.
            benchmarks: how many the test measures; they share its part of the error.
        """
        options = self.options
        policy = Policy(
            max_slowdown=options.max_slowdown,
            alpha=options.alpha,
            comparisons=max(1, self.selected * benchmarks - self._rejected()),
            looks=look_schedule(options.min_rounds, options.max_rounds),
        )
        given = limits or {}
        policy = replace(policy, max_slowdown=given.get("max_slowdown", policy.max_slowdown))
        if options.update_baselines:
            return policy  # what accepts what it measures has no target: the verdict says how it compares
        return replace(
            policy,
            min_throughput=given.get("min_throughput"),
            max_batch_latency_p95=given.get("max_batch_latency_p95"),
            max_error_rate=given.get("max_error_rate"),
        )

    def _rejected(self) -> int:
        return sum(1 for b in self.benchmarks if b.verdict.comparisons and b.verdict.status == "regressed")

    def warn(self, text: str) -> None:
        """Tell the user at the end, once, what makes figures doubtful."""
        if text not in self.notes:
            self.notes.append(text)

    def add(self, benchmark: Benchmark, subject: Subject) -> None:
        """Record a benchmark. Where that was asked for, its rounds are a baseline once `accept` is called."""
        self.benchmarks.append(benchmark)
        verdict = benchmark.verdict
        broken = verdict.status == "invalid" and not verdict.acceptable
        if self.options.update_baselines and benchmark.rounds and not broken:
            disturbed = next((r.disturbed for r in benchmark.rounds if r.disturbed), None)
            if disturbed is None:
                self._pending.append((benchmark, subject))
            else:
                self.warn(f"{benchmark.slug}: not a baseline, for its rounds were disturbed: {disturbed}")

    def add_unfinished(self, benchmark: Benchmark) -> None:
        """Record what was measured of a benchmark before it was interrupted or broke."""
        self.benchmarks.append(benchmark)

    def enforce_all(self) -> None:
        """The test that measured what was added last has passed.

        What it has kept to itself fails it all the same. But a pipeline that must break is a test, too
        (`pytest.raises`): without the gate it may.

        Raises:
            GateFailure: a verdict fails it.
        """
        for benchmark in self.benchmarks[self._settled :]:
            if self.options.gate or benchmark.verdict.status != "invalid":
                self.enforce(benchmark.verdict)

    def accept(self) -> None:
        """That test, and the teardown of its fixtures, have ended well.

        Raises:
            BaselineError: a baseline is broken, or cannot be written.
        """
        pending, self._pending, self._settled = self._pending, [], len(self.benchmarks)
        for benchmark, subject in pending:
            self._accept(benchmark, subject)

    def reject(self) -> None:
        """It has not, by a verdict or an assertion of its own, or was ended: nothing of it is a baseline."""
        pending, self._pending, self._settled = self._pending, [], len(self.benchmarks)
        for benchmark, _ in pending:
            self.warn(f"{benchmark.slug}: not a baseline, for its test did not pass")

    def _accept(self, benchmark: Benchmark, subject: Subject) -> None:
        session = Session(
            recorded_at=_now(),
            commit=self.provenance.commit,
            software=self.provenance.software,
            rounds=benchmark.rounds,
            work=benchmark.work,
            probe=benchmark.probe,
        )
        changed = benchmark.verdict.status in ("regressed", "improved", "invalid")
        path = self.store.accept(benchmark, subject, session, anew=changed)
        self.accepted.append(self.store.shown(path))

    def enforce(self, verdict: Verdict) -> None:
        """Fail the test if its verdict has to.

        Raises:
            GateFailure: the verdict, in one line a metric.
        """
        if self.options.update_baselines and (not verdict.wrong or verdict.acceptable):
            return
        options = self.options
        fails = (
            verdict.wrong
            or verdict.status in ("regressed", "invalid")
            or (options.gate and verdict.status in _FAILING_UNDER_GATE)
            or (options.strict and verdict.status == "inconclusive")
            or (options.gate and options.fail_on_improvement and verdict.status == "improved")
        )
        if fails:
            prefix = "" if verdict.reason.startswith(verdict.status) else f"{verdict.status}: "
            raise GateFailure(prefix + verdict.reason)

    def gone(self, collected: Collection[str], exists: Callable[[str], bool]) -> list[str]:
        """Baseline files of this environment whose test is gone.

        Args:
            collected: node ids of this run's tests.
            exists: whether a test file (as node ids name it) is still there.
        """
        files = {_file(id) for id in collected}
        return [
            self.store.shown(path)
            for path, baseline in self.store.all()
            if _is_gone(baseline, collected, files, exists)
        ]

    def run(
        self,
        data: Mapping[str, str | int | None],
        model: Mapping[str, str | int | None],
        against: str | None = None,
    ) -> Run:
        """Everything so far, for the reports."""
        options = self.options
        return Run(
            started_at=self._started_at,
            duration_s=self.clock() - self._start,
            environment=self.provenance.environment,
            software=self.provenance.software,
            profile=options.profile.name,
            data=data,
            model=model,
            policy={
                "max_slowdown": options.max_slowdown,
                "alpha": options.alpha,
                "min_rounds": options.min_rounds,
                "max_rounds": options.max_rounds,
                "max_time_s": options.max_time,
                "gate": options.gate,
                "strict": options.strict,
                "fail_on_improvement": options.fail_on_improvement,
            },
            benchmarks=tuple(self.benchmarks),
            duels=tuple(self.duels),
            ladders=tuple(self.ladders),
            sweeps=tuple(self.sweeps),
            selftests=tuple(self.selftests),
            warnings=tuple(self.notes),
            commit=self.provenance.commit,
            cost_per_hour=options.cost_per_hour,
            against=against,
        )


def _is_gone(
    baseline: Baseline, collected: Collection[str], files: Iterable[str], exists: Callable[[str], bool]
) -> bool:
    file = _file(baseline.id)
    return (file in files and baseline.id not in collected) or not exists(file)


def _file(node_id: str) -> str:
    return node_id.partition("::")[0]


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")

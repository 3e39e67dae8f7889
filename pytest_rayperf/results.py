"""What a run is made of, as frozen data. Imports the standard library only.

Measuring makes these, the verdict reads them, baselines and reports write them.
`None` always means "not measured"; a figure that was not measured is never 0.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_rayperf.machine import Probe
from pytest_rayperf.metrics import COUNTED, METRICS, Metric

if TYPE_CHECKING:
    from pytest_rayperf.work.counts import Work

Status = Literal[
    "improved", "unchanged", "regressed", "inconclusive", "no-baseline", "incomparable", "invalid"
]
DuelStatus = Literal["effect", "no effect", "reversed", "inconclusive", "below-floor", "invalid"]
Variant = Literal["antipattern", "fix"]
Kind = Literal["CPU", "waiting", "bytes"]

STATUSES: tuple[Status, ...] = (
    "regressed",
    "invalid",
    "incomparable",
    "inconclusive",
    "no-baseline",
    "improved",
    "unchanged",
)
"""Every verdict, worst first."""


@dataclass(frozen=True)
class Operator:
    """What one Ray Data operator did in one round; times in seconds, sizes in bytes.

    `wall_s` and `cpu_s` are sums over the operator's tasks, by the workers' clocks; `udf_s` is the part spent
    in the stage's functions. `rows`, `blocks` and `bytes` came out of it, `bytes_in` went into its tasks.
    `scheduling_s` is the time that its tasks waited to be started, summed over them; `backpressure_s` the
    time that the operator was kept from starting tasks or from giving its output. `actors` is the most that
    its pool had at once, `actor_utilization` the part of their time that they computed (0 to 1).
    `errored_blocks` are lost with their rows, where the context's `max_errored_blocks` allows that.
    """

    name: str
    wall_s: float | None = None
    cpu_s: float | None = None
    udf_s: float | None = None
    rows: int | None = None
    bytes: int | None = None
    tasks: int | None = None
    blocks: int | None = None
    bytes_in: int | None = None
    scheduling_s: float | None = None
    backpressure_s: float | None = None
    actors: int | None = None
    actor_utilization: float | None = None
    errored_blocks: int | None = None


@dataclass(frozen=True)
class Call:
    """One call of a UDF, in whichever process."""

    udf: str
    seconds: float
    rows: int | None = None
    """Of the batch that it was given; None where that was not known at once."""
    failed: bool = False


@dataclass(frozen=True)
class BatchLatency:
    """The calls of one UDF in one or more rounds.

    Seconds a call, of those that did not fail: one that breaks off early is not a fast one. None where there
    were too few calls (`pytest_rayperf.latency.percentile`).
    """

    udf: str
    count: int
    """All calls, failed ones too."""
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    errors: int

    @property
    def error_rate(self) -> float | None:
        """Share of the calls that raised an exception, 0 to 1; None where there was no call."""
        return self.errors / self.count if self.count else None


@dataclass(frozen=True)
class Utilization:
    """How far one round used this machine over time, at N points.

    All in percent, 0 to 100, a mean since the point before (of the first one, since the round began); None
    where it was not measured: of the CPUs, while an actor ended, for its last CPU time is nobody's.

    Attributes:
        seconds: N, since the round began; ascending, the last is the round's end.
        cpu: N, of the time of the CPUs that may be used, what the cluster and this process used.
        others: N, what processes that are not the cluster's used of it.
        gpus: by card (NVML's index and its name), N, of the time in which a kernel ran on it, by whomever. A
            card that did not tell is not here.
    """

    seconds: tuple[float, ...]
    cpu: tuple[float | None, ...]
    others: tuple[float | None, ...]
    gpus: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Round:
    """One execution of a pipeline, from its call to its last row."""

    rows: int
    wall_seconds: float
    operators: tuple[Operator, ...] = ()
    counters: Mapping[str, int] = field(default_factory=dict)
    peak_worker_memory: int | None = None
    """Most private memory that any one worker process held, in bytes."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What else was measured, by name of its metric: a name that is not here was not measured."""
    calls: tuple[Call, ...] = ()
    """Each call of each UDF of `map_batches`."""
    nodes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """What each node's sampler measured, by the node's id, where there are several."""
    disturbed: str = ""
    """What else had the machine meanwhile, in words: then its times are not the pipeline's own."""
    unseen: str = ""
    """Why it is not known whether something else had it, where that is known of other rounds here."""
    utilization: Utilization | None = None
    """How busy this machine was over time. Not in a baseline."""

    @property
    def throughput(self) -> float | None:
        """Rows a second over the whole round."""
        return self.rows / self.wall_seconds if self.rows and self.wall_seconds > 0 else None

    @property
    def cpu_seconds_per_row(self) -> float | None:
        """CPU seconds of all operators' tasks, by row of output; None where an operator has none."""
        times = [operator.cpu_s for operator in self.operators]
        if not times or not self.rows or any(time is None for time in times):
            return None
        return sum(time for time in times if time is not None) / self.rows

    @property
    def tasks(self) -> int | None:
        """Ray tasks of all operators; None where an operator's are not known."""
        counts = [operator.tasks for operator in self.operators]
        if not counts or any(count is None for count in counts):
            return None
        return sum(count for count in counts if count is not None)

    def metric(self, name: str) -> float | None:
        """The figure named `name` (a key of `METRICS`) in this round."""
        value: float | int | None = getattr(self, name, None)
        if value is None:
            value = self.figures.get(name)
        if value is None and name in COUNTED:
            value = self.counters.get(name)
        return None if value is None else float(value)

    def figure(self, name: str) -> float | None:
        """The metric, or else the counter, named `name` in this round."""
        return self.metric(name) if name in METRICS else self.all_counters().get(name)

    def all_counters(self) -> dict[str, int]:
        """The counters, the rows among them."""
        return {"rows": self.rows, **self.counters}


@dataclass(frozen=True)
class Subject:
    """What was measured. Figures of different subjects are incomparable."""

    profile: str
    data: str
    data_fingerprint: str
    images: int
    model: str
    weights: str


@dataclass(frozen=True)
class Interval:
    """A ratio with its confidence limits; `low` <= `ratio` <= `high`."""

    ratio: float
    low: float
    high: float

    @property
    def inverse(self) -> Interval:
        """The interval of 1 / ratio."""
        return Interval(1 / self.ratio, 1 / self.high, 1 / self.low)


@dataclass(frozen=True)
class Comparison:
    """One metric of a benchmark against its reference.

    `ratio` is current over reference in the metric's own direction; `slowdown` is the same as a factor
    that is above 1 where things got worse.
    """

    metric: Metric
    status: Status
    reference: float
    current: float
    slowdown: Interval
    threshold: float
    mde: float
    """Smallest slowdown that, given the noise met, would have given worse rounds than these with 90 % power:
    what is above it is ruled out."""
    finds: float | None
    """Smallest slowdown that would be called regressed by the last look (by now, where time is up) with 90 %
    power, given the noise met: beyond the threshold, for the whole interval must be. None where nothing is,
    however slow it was."""
    at_equal_work: bool = False
    """Whether `reference` is what it would have been at this session's CPU seconds a row."""
    since: str | None = None
    """What it was compared with, where that is not the recent sessions or the round beside it."""

    @property
    def ratio(self) -> Interval:
        """Current over reference."""
        return self.slowdown if self.metric.better == "lower" else self.slowdown.inverse


@dataclass(frozen=True)
class Change:
    """How one operator changed, in the respect in which it changed most.

    Attributes:
        operator: its name.
        kind: CPU time, waiting, or bytes of output; all by row of the pipeline's output.
        own: relative to what it was; None where that was nothing.
        share: relative to the sum over all operators.
    """

    operator: str
    kind: Kind
    own: float | None
    share: float


@dataclass(frozen=True)
class Attribution:
    """What became of each operator.

    Attributes:
        changes: one an operator, the one that grew most first.
        new: operators that were not there before: fused in another way, or added.
        waiting: how much longer all operators' tasks waited, relative to the wall time of all of them; None
            where it was not measured.
    """

    changes: tuple[Change, ...]
    new: tuple[str, ...]
    waiting: float | None

    @property
    def cause(self) -> Change | None:
        """The operator that grew most; None if none did."""
        return self.changes[0] if self.changes and self.changes[0].share > 0 else None


@dataclass(frozen=True)
class Verdict:
    """What is said of a benchmark, in which metric, and why."""

    status: Status
    reason: str
    metric: str | None = None
    ratio: float | None = None
    ci: tuple[float, float] | None = None
    threshold: float | None = None
    mde: float | None = None
    finds: float | None = None
    comparisons: tuple[Comparison, ...] = ()
    attribution: Attribution | None = None
    """What became of each operator since the baseline; None where that was not measured."""
    wrong: bool = False
    """The output was wrong (rows lost, variants unequal, error not raised): fails with or without a gate."""
    acceptable: bool = False
    """It is wrong by its baseline alone, which has other rows: a run that records accepts it."""


@dataclass(frozen=True)
class Benchmark:
    """One test item, or one variant of a duel measured in one item, and its rounds."""

    id: str
    slug: str
    rounds: tuple[Round, ...]
    verdict: Verdict
    antipattern: str | None = None
    variant: Variant | None = None
    baseline: str | None = None
    """The baseline file compared with, relative to where the run was started; None if there is none."""
    against: str | None = None
    """What was measured beside it, in turn, and compared with instead; None where nothing was."""
    then: tuple[Round, ...] = ()
    """The rounds of that."""
    work: Work | None = None
    """What its pipeline's work was counted to be, in a short pass that was not timed; None if it was not."""
    profile: Profile | None = None
    """What its UDFs did, where that was asked for."""
    probe: Probe | None = None
    """How fast this machine was at fixed work, around its rounds."""
    work_problem: str | None = None
    """Why it could not be counted; None where it was, or where nothing asked for it."""
    repeated: tuple[str, ...] = ()
    """Why rounds were measured again: one entry for each that does not count."""
    duel: Duel | None = None
    """Of a fix: how much better it is than its anti-pattern, in the signal metric."""
    subject: Subject | None = None
    """What its rounds measured; None where nothing is compared with a baseline."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """What the mark of its test demands, by keyword."""
    timed: bool = True
    """Whether the metrics with noise decide; else its signal has none, and it was executed once."""
    looks: tuple[int, ...] | None = None
    """The numbers of rounds after which it was looked at; None where nothing is compared with a baseline."""
    comparisons: int | None = None
    """How many benchmarks shared the run's error when its part was dealt; None where `looks` is."""
    baseline_software: Mapping[str, str | None] | None = None
    """The versions that its baseline's last session was measured with; None without a baseline."""


@dataclass(frozen=True)
class Profile:
    """Where the profile of one execution lies; `problems` says what is missing of it, and why."""

    flame_graphs: Mapping[str, Path]
    """By name of the UDF."""
    timeline: Path | None
    """In Chrome's trace format, of this execution only; chrome://tracing and ui.perfetto.dev show it."""
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Duel:
    """The two variants measured in one run, in one metric.

    `ratio` is how many times better the fix is, for the direction in which the metric is better.
    """

    antipattern: str
    metric: str
    ratio: Interval | None
    floor: float | None
    outputs_equal: bool | None
    status: DuelStatus
    reason: str = ""


@dataclass(frozen=True)
class Step:
    """One rung of a ladder, or one setting of a sweep."""

    name: str
    rounds: tuple[Round, ...]
    ratio: Interval | None
    """How many times better it is than the rung below; in a sweep, than the best setting. None for the first
    rung, and where the metric was not measured."""
    status: DuelStatus | Literal["first", "best", "plateau", "worse"]


@dataclass(frozen=True)
class Ladder:
    """Fixes applied one after another, each rung measured beside the one below it.

    `total` is how many times better the last rung is than the first.
    """

    name: str
    metric: str
    steps: tuple[Step, ...]
    total: Interval | None


@dataclass(frozen=True)
class Sweep:
    """One setting varied: its best value, and those that cannot be told apart from it.

    `ended` says why larger settings were not measured; empty where all of them were.
    """

    name: str
    metric: str
    steps: tuple[Step, ...]
    best: str
    plateau: tuple[str, ...]
    ended: str = ""


@dataclass(frozen=True)
class Result:
    """What a test gets back of one benchmark."""

    rounds: tuple[Round, ...]
    verdict: Verdict

    @property
    def counters(self) -> Mapping[str, int]:
        """The last round's counters, `rows` among them."""
        return self.rounds[-1].all_counters()

    def median(self, metric: str) -> float | None:
        """Median over the rounds of a metric (`throughput`, `cpu_seconds_per_row`, ...); None if missing."""
        figures = [round_.metric(metric) for round_ in self.rounds]
        known = [figure for figure in figures if figure is not None]
        return statistics.median(known) if known else None


@dataclass(frozen=True)
class DuelResult:
    """What a test gets back of a duel: both benchmarks, and their ratio in each metric asked for."""

    antipattern: Result
    fix: Result
    duels: tuple[Duel, ...]

"""How often the gate would be wrong here: its verdicts, played on pairs of rounds measured here. Pure.

A condition is a slowdown that was put in (or nothing), and rounds with it, each measured beside one of the
plain pipeline. A play is a run of the gate: pairs drawn with replacement from the measured ones, one after
the other, until the code that decides (`verdict.settled_pairs`, `verdict.judge_pairs`) says that it is
settled (the bootstrap: Efron 1979, doi:10.1214/aos/1176344552). Same against same is played with either
round of a pair as the reference, by chance: that makes its true ratio 1 and leaves the noise as it was.

What a play cannot know: the difference between sessions, which is in the comparison with a stored baseline
and not in a pair; and noise that did not come up in the rounds that were measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from scipy import stats

from pytest_rayperf.policy import NOISE, Policy
from pytest_rayperf.results import REUSED, THROUGHPUT, Interval, Metric, Operator, Round
from pytest_rayperf.statistics import paired_ratio
from pytest_rayperf.verdict import judge_pairs, settled_pairs

Pair = tuple[Round, Round]
"""A round of the plain pipeline, and the one beside it."""

PLAYS = 2000
"""A rate of 0 among so many is below 0.2 %, one of 90 % known to 1.4 points (95 %)."""

SEARCH_PLAYS = 200
"""For each slowdown that is tried in the search for the smallest that is found: 90 % known to 5 points."""

FEWEST_PAIRS = 6
"""Of a condition. Fewer say next to nothing of the noise."""

FOUND = 0.9
"""The rate at which a slowdown of the threshold squared must be found: `policy.POWER`, in practice."""

LARGEST = 10.0
"""No larger slowdown is tried."""

_SEED = 20261124
_STEPS = 6  # of the search, each halving the bracket: from 21 % to 0.3 %


@dataclass(frozen=True)
class Rate:
    """A share, 0 to 1, and its 95 % interval by Clopper and Pearson (1934, doi:10.1093/biomet/26.4.404)."""

    hits: int
    of: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """Hits of all."""
        return self.hits / self.of


def rate(hits: int, of: int) -> Rate:
    """`hits` among `of` independent tries, at least one."""
    low = 0.0 if hits == 0 else float(stats.beta.ppf(0.025, hits, of - hits + 1))
    high = 1.0 if hits == of else float(stats.beta.ppf(0.975, hits + 1, of - hits))
    return Rate(hits, of, low, high)


@dataclass(frozen=True)
class Played:
    """What came of the plays of one condition. `rounds`: median, 5 % and 95 % of the pairs until settled."""

    regressed: Rate
    passed: Rate
    """Called unchanged or improved."""
    rounds: tuple[float, float, float]


@dataclass(frozen=True)
class Condition:
    """What was put in, and what was measured.

    Attributes:
        name: a word or two; `same` where nothing was put in.
        amount: how much was put in, in words.
        metric: in which it shows first.
        wanted: the slowdown that it was to be, as a factor; None where it cannot be chosen.
        pairs: as they were measured.
    """

    name: str
    amount: str
    metric: Metric
    wanted: float | None
    pairs: tuple[Pair, ...]

    @property
    def is_same(self) -> bool:
        """Whether nothing was put in."""
        return self.name == SAME


SAME = "same"


@dataclass(frozen=True)
class Finding:
    """What the gate makes of one condition.

    Attributes:
        condition: which.
        slowdown: as it was measured in the condition's metric; None where that was not measured.
        played: None where there were too few pairs.
        findable: the smallest slowdown of this kind that would be found in 90 % of the plays; None for same
            against same, and where none up to tenfold would.
        judged: whether the gate is held to it: same against same, and what is as slow as it was to be.
        problem: why the gate is not fit; empty where it is, or is not held to it.
    """

    condition: Condition
    slowdown: Interval | None
    played: Played | None
    findable: float | None
    judged: bool
    problem: str = ""


def examine(condition: Condition, policy: Policy, plays: int = PLAYS) -> Finding:
    """Play the gate on a condition, and say whether it is fit.

    Args:
        condition: as measured.
        policy: the run's.
        plays: how many, at least 1.
    """
    slowdown = measured_slowdown(condition)
    if len(condition.pairs) < FEWEST_PAIRS or slowdown is None:
        return Finding(condition, slowdown, None, None, judged=False)
    pairs = [(_lean(then), _lean(now)) for then, now in condition.pairs]
    played = play(pairs, policy, plays, swap=condition.is_same)
    finding = Finding(condition, slowdown, played, None, judged=True)
    if condition.is_same:
        return replace(finding, problem=_alarms(played, policy))
    finding = replace(finding, findable=smallest_found(condition, pairs, policy, slowdown.ratio))
    wanted = policy.max_slowdown**2
    held = slowdown.high >= policy.max_slowdown if condition.wanted else slowdown.ratio >= wanted
    if not held or played.regressed.share >= FOUND:
        return replace(finding, judged=held)
    return replace(finding, problem=_misses(finding, played, policy))


def measured_slowdown(condition: Condition) -> Interval | None:
    """The slowdown in the condition's metric with a 95 % interval, above 1 where it got worse."""
    name = condition.metric.name
    figures = [(then.metric(name), now.metric(name)) for then, now in condition.pairs]
    known = [(then, now) for then, now in figures if then and now]
    if not known or len(known) < len(figures):
        return None
    then, now = zip(*known, strict=True)
    ratio = paired_ratio(now, then, NOISE[name]).interval(0.025, 0.025)
    return ratio if condition.metric.better == "lower" else ratio.inverse


def play(pairs: Sequence[Pair], policy: Policy, plays: int, *, swap: bool = False) -> Played:
    """Run the gate `plays` times on pairs drawn from these; the same draws for the same arguments.

    Args:
        pairs: at least one.
        policy: the run's.
        plays: at least 1.
        swap: whether either round of a pair may be the reference.
    """
    generator = np.random.default_rng([_SEED, swap])
    statuses, lasts = [], []
    most = policy.looks[-1]
    for _ in range(plays):
        drawn = [pairs[i] for i in generator.integers(0, len(pairs), most)]
        if swap:
            turned = generator.integers(0, 2, most)
            drawn = [pair[::-1] if turn else pair for pair, turn in zip(drawn, turned, strict=True)]
        then, now = zip(*drawn, strict=True)
        last = next((n for n in policy.looks if settled_pairs(then[:n], now[:n], policy)), most)
        statuses.append(judge_pairs(then[:last], now[:last], policy).status)
        lasts.append(last)
    passed = sum(status in ("unchanged", "improved") for status in statuses)
    median, low, high = (float(np.percentile(lasts, q)) for q in (50, 5, 95))
    return Played(rate(statuses.count("regressed"), plays), rate(passed, plays), (median, low, high))


def smallest_found(
    condition: Condition, pairs: Sequence[Pair], policy: Policy, slowdown: float
) -> float | None:
    """The smallest slowdown of this kind that is found in 90 % of the plays, to some 1 %.

    The measured one is made larger or smaller, as a power of each of its ratios; the noise stays.

    Args:
        condition: which kind it is.
        pairs: its rounds.
        policy: the run's.
        slowdown: as measured. None is given back for one that hardly shows, for it cannot be scaled.
    """
    if slowdown < 1.02:
        return None
    in_wall = measured_slowdown(replace(condition, metric=THROUGHPUT))

    def is_found(wanted: float) -> bool:
        power = math.log(wanted) / math.log(slowdown) - 1
        # CPU time is scaled where the slowdown is one of CPU time; else what it seems to change is noise.
        cpu = 1.0 if condition.metric == THROUGHPUT else slowdown**power
        factor = 1.0 if in_wall is None else max(1.0, in_wall.ratio) ** power
        scaled = [(then, _scaled(now, cpu, factor)) for then, now in pairs]
        return play(scaled, policy, SEARCH_PLAYS).regressed.share >= FOUND

    low = policy.max_slowdown
    for step in count(2):
        high = policy.max_slowdown**step
        if high > LARGEST:
            return None
        if is_found(high):
            break
        low = high
    for _ in range(_STEPS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if is_found(middle) else (middle, high)
    return high


def _alarms(played: Played, policy: Policy) -> str:
    """Why there are too many false alarms; empty where there are not.

    A benchmark's own share of alpha may be too small for the plays to show. So it is held to this: its rate
    is not shown to be above its share, and is shown to be below the alpha of a whole run.
    """
    found = played.regressed
    share = policy.alpha / max(1, policy.comparisons)
    if found.low <= share and found.high <= policy.alpha:
        return ""
    return (
        f"the same pipeline against itself was called regressed in {percent(found)} of runs; its share of "
        f"--rayperf-alpha {policy.alpha:g} is {share:.2g}"
    )


def _misses(finding: Finding, played: Played, policy: Policy) -> str:
    condition, slowdown = finding.condition, finding.slowdown
    shown = "" if slowdown is None else f" of {slowdown.ratio:.2f}x [{slowdown.low:.2f}, {slowdown.high:.2f}]"
    text = (
        f"{condition.name}: a slowdown{shown} in {condition.metric.name} was found in "
        f"{percent(played.regressed)} of runs, {FOUND:.0%} are needed; "
    )
    if finding.findable is None:
        return f"{text}none up to {LARGEST:g}x would be found here"
    return f"{text}found here is one of {finding.findable:.2f}x or more{_mend(finding.findable, policy)}"


def _mend(findable: float, policy: Policy) -> str:
    """Which options would do, by the margin above the threshold that is needed: as 1 / sqrt(rounds)."""
    margin, threshold = math.log(findable / policy.max_slowdown), math.log(policy.max_slowdown)
    if margin <= threshold:
        return ""
    higher = math.ceil(100 * math.exp(margin)) / 100
    rounds = math.ceil(policy.looks[-1] * (margin / threshold) ** 2)
    return f"; what would help, by estimate: --rayperf-max-slowdown {higher:.2f}, or --rayperf-max-rounds {rounds}"


def percent(found: Rate) -> str:
    """`97.1 % [96.3, 97.8]`."""
    return f"{100 * found.share:.3g} % [{100 * found.low:.3g}, {100 * found.high:.3g}]"


def _lean(round_: Round) -> Round:
    """What the gate reads of a round, and no more: plays are many."""
    cpu = round_.cpu_seconds_per_row
    reused = round_.figures.get(REUSED.name)
    return Round(
        rows=round_.rows,
        wall_seconds=round_.wall_seconds,
        operators=() if cpu is None else (Operator("pipeline", cpu_s=cpu * round_.rows),),
        peak_worker_memory=round_.peak_worker_memory,
        figures={} if reused is None else {REUSED.name: reused},
    )


def _scaled(round_: Round, cpu: float, wall: float) -> Round:
    """A round with so many times the CPU and wall time."""
    operators = tuple(replace(o, cpu_s=o.cpu_s and o.cpu_s * cpu) for o in round_.operators)
    return replace(round_, wall_seconds=round_.wall_seconds * wall, operators=operators)


@dataclass(frozen=True)
class Selftest:
    """The self-test of one pipeline.

    Attributes:
        id: of the test item.
        name: its title.
        policy: that the gate was played with.
        findings: one a condition, same against same first; fewer where it was interrupted.
        ended: why it was ended early; empty where it was not.
    """

    id: str
    name: str
    policy: Policy
    findings: tuple[Finding, ...]
    ended: str = ""

    @property
    def status(self) -> str:
        """`fit`, `not fit`, or `inconclusive`: too little was measured, or nothing could be put in."""
        if any(finding.problem for finding in self.findings):
            return "not fit"
        judged = [finding for finding in self.findings if finding.judged]
        same = any(finding.condition.is_same for finding in judged)
        return "fit" if same and len(judged) > 1 and not self.ended else "inconclusive"

    @property
    def reason(self) -> str:
        """What was found, a line each."""
        threshold = f"for a threshold of {self.policy.max_slowdown:g}"
        problems = [finding.problem for finding in self.findings if finding.problem]
        if problems:
            lines = [f"not fit {threshold}: {problem}" for problem in problems]
            return "\n".join(
                [*lines, "longer rounds, or a machine that does nothing else, would help as well"]
            )
        if self.status == "fit":
            return f"fit {threshold}"
        return f"inconclusive: {self.ended or 'nothing that was put in slowed the pipeline'}"

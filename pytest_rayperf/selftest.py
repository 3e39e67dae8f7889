"""Whether the gate is fit for its threshold here, by what it makes of pairs measured here. Pure.

A condition is a slowdown that was put in (or nothing), and rounds with it, each measured beside one of the
plain pipeline. The gate is played on them (`playing.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count

from pytest_rayperf.judging.noise import NOISE
from pytest_rayperf.judging.policy import Policy, look_schedule
from pytest_rayperf.metrics import THROUGHPUT, Metric
from pytest_rayperf.playing import Pair, Played, lean, percent, play, scaled
from pytest_rayperf.results import Interval
from pytest_rayperf.statistics import paired_ratio

PLAYS = 2000
"""A rate of 0 among so many is below 0.2 %, one of 90 % known to 1.4 points (95 %)."""

SEARCH_PLAYS = 300
"""For each slowdown that is tried in the search for the smallest that is found: 90 % known to 4 points."""

FEWEST_PAIRS = 6
"""Of a condition. Fewer say next to nothing of the noise."""

FOUND = 0.9
"""The share of the plays in which the gate must find a slowdown of the threshold squared, of each kind that
can be put in by measure: as far above the threshold as that is above 1. (A slowdown of just the threshold is
found as seldom as a false alarm is raised.) Of a kind that cannot, and is larger, it must find what was put
in."""

LARGEST = 10.0
"""No larger slowdown is tried."""

SAME = "same"

_STEPS = 5  # of the search, each halving the bracket: from 10 % to 0.3 % for a threshold of 1.10
_TOLERANCE = 1.01  # what the search's own noise may add
_HARDLY = 1.02  # a slowdown of less cannot be made larger: what is of it, and what of the noise?
_MORE_ROUNDS = (6, 10, 20, 40, 80)


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


@dataclass(frozen=True)
class Finding:
    """What the gate makes of one condition.

    Attributes:
        condition: which.
        slowdown: as it was measured in the condition's metric; None where that was not measured.
        played: None where there were too few pairs.
        findable: the smallest slowdown of this kind that would be found in 90 % of the plays; None for same
            against same, and where none up to tenfold would.
        judged: whether the gate is held to it: not to a slowdown that hid behind other work, nor to a model
            load that costs little here.
        problem: why the gate is not fit; empty where it is, or is not held to it.
    """

    condition: Condition
    slowdown: Interval | None
    played: Played | None
    findable: float | None
    judged: bool
    problem: str = ""


def examine(condition: Condition, policy: Policy, plays: int, *, search: bool = True) -> Finding:
    """Play the gate on a condition, and say whether it is fit.

    Args:
        condition: as measured.
        policy: the run's.
        plays: how many, at least 1.
        search: whether the smallest slowdown that is found is looked for; else only false alarms are judged.
    """
    slowdown = measured_slowdown(condition)
    if len(condition.pairs) < FEWEST_PAIRS or slowdown is None:
        return Finding(condition, slowdown, None, None, judged=False)
    condition = replace(condition, pairs=tuple((lean(then), lean(now)) for then, now in condition.pairs))
    played = play(condition.pairs, policy, plays, swap=condition.is_same)
    if condition.is_same:
        return Finding(condition, slowdown, played, None, judged=True, problem=_alarms(played, policy))
    if not search:
        return Finding(condition, slowdown, played, None, judged=False)
    squared = policy.max_slowdown**2
    # Neither what did not come through, nor a load that is not that slow.
    judged = slowdown.high >= policy.max_slowdown
    judged = judged and (condition.wanted is not None or slowdown.ratio >= squared)
    finds = _finder(condition, slowdown.ratio)
    findable = smallest_found(finds, policy)
    finding = Finding(condition, slowdown, played, findable, judged)
    must = squared if condition.wanted else slowdown.ratio
    if not judged or (findable is not None and findable <= must * _TOLERANCE):
        return finding
    return replace(finding, problem=_misses(finding, played, must, finds, policy))


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


Finder = Callable[[float, Policy], bool]
"""Whether a slowdown of a kind is found in 90 % of the plays with a policy."""


def _finder(condition: Condition, slowdown: float) -> Finder:
    """Of the condition's kind. The measured slowdown is made larger or smaller, as a power of each of its
    ratios; the noise stays. None is found of one that hardly shows, for it cannot be scaled."""
    in_wall = measured_slowdown(replace(condition, metric=THROUGHPUT))
    wall = 1.0 if in_wall is None else max(1.0, in_wall.ratio)
    # Of waiting the CPU time is left alone: what seems to have changed in it is noise.
    cpu = 1.0 if condition.metric == THROUGHPUT else slowdown

    def finds(wanted: float, policy: Policy) -> bool:
        if slowdown < _HARDLY:
            return False
        power = math.log(wanted) / math.log(slowdown) - 1
        pairs = [(then, scaled(now, cpu**power, wall**power)) for then, now in condition.pairs]
        return play(pairs, policy, SEARCH_PLAYS).regressed.share >= FOUND

    return finds


def smallest_found(finds: Finder, policy: Policy) -> float | None:
    """The smallest slowdown that `finds` finds, to some 1 %; None where there is none up to tenfold."""
    low = policy.max_slowdown
    for step in count(2):
        high = policy.max_slowdown**step
        if high > LARGEST:
            return None
        if finds(high, policy):
            break
        low = high
    for _ in range(_STEPS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if finds(middle, policy) else (middle, high)
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


def _misses(finding: Finding, played: Played, must: float, finds: Finder, policy: Policy) -> str:
    condition, slowdown = finding.condition, finding.slowdown
    shown = "" if slowdown is None else f" of {slowdown.ratio:.2f}x [{slowdown.low:.2f}, {slowdown.high:.2f}]"
    text = (
        f"{condition.name}: a slowdown{shown} in {condition.metric.name} was found in "
        f"{percent(played.regressed)} of runs; {FOUND:.0%} of those of {must:.2f}x must be, and "
    )
    if finding.findable is None:
        return f"{text}none up to {LARGEST:g}x is here"
    mends = _mends(finding.findable, must, finds, policy)
    would = f"; what would do, played on the same rounds: {' or '.join(mends)}" if mends else ""
    return f"{text}here they are from {finding.findable:.2f}x on{would}"


def _mends(findable: float, must: float, finds: Finder, policy: Policy) -> list[str]:
    """Options that would make it fit: each was tried."""
    mends = []
    most = policy.looks[-1]
    for rounds in (n for n in _MORE_ROUNDS if n > policy.looks[0]):
        if finds(must, replace(policy, looks=look_schedule(rounds, most))):
            beyond = f" --rayperf-max-rounds {rounds}" if rounds > most else ""
            mends.append(f"--rayperf-min-rounds {rounds}{beyond}")
            break
    # What is needed above the threshold must fit between it and its square.
    threshold = findable / policy.max_slowdown
    for higher in (math.ceil(100 * threshold * more) / 100 for more in (1.0, 1.05, 1.1, 1.2)):
        if finds(higher**2, replace(policy, max_slowdown=higher)):
            mends.append(f"--rayperf-max-slowdown {higher:.2f}")
            break
    return mends


@dataclass(frozen=True)
class Selftest:
    """The self-test of one pipeline.

    Attributes:
        id: of the test item.
        name: its title.
        policy: that the gate was played with.
        findings: one a condition, same against same first; fewer where it was interrupted.
        ended: why it was ended early; empty where it was not.
        udf: that the slowdowns were put into; empty where there was none.
        disturbed: why rounds were disturbed, one entry for each that was.
    """

    id: str
    name: str
    policy: Policy
    findings: tuple[Finding, ...]
    ended: str = ""
    udf: str = ""
    disturbed: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """`fit`, `not fit`, or `inconclusive`: too little was measured, or nothing could be put in."""
        if self.ended:
            return "inconclusive"
        if any(finding.problem for finding in self.findings):
            return "not fit"
        judged = [finding for finding in self.findings if finding.judged]
        same = any(finding.condition.is_same for finding in judged)
        return "fit" if same and len(judged) > 1 else "inconclusive"

    @property
    def reason(self) -> str:
        """What was found, a line each."""
        threshold = f"for a threshold of {self.policy.max_slowdown:g}"
        status = self.status
        if status == "inconclusive":
            return f"inconclusive: {self.ended or 'nothing that was put in slowed the pipeline'}"
        if status == "fit":
            return f"fit {threshold}"
        lines = [f"not fit {threshold}: {finding.problem}" for finding in self.findings if finding.problem]
        return "\n".join([*lines, "longer rounds, or a machine that does nothing else, would help as well"])

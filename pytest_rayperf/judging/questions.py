"""What is asked of a benchmark's rounds, which answer speaks for it, and whether to ask again later. Pure.

Is there more work (CPU seconds a row), more waiting (throughput), more memory? Any of the answers can be a
regression. Work, the surest one, speaks first. But more work and more waiting must both have been ruled out,
or nothing is called unchanged: work may be the same, and waiting be what grew. Memory objects, and clears
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_rayperf.judging.comparing import (
    Chances,
    chances_of_pairs,
    chances_of_sessions,
    compare_pairs,
    compare_sessions,
)
from pytest_rayperf.judging.policy import GATED, Policy
from pytest_rayperf.judging.reasons import OLDEST
from pytest_rayperf.judging.reference import Reference, ReferenceSession
from pytest_rayperf.judging.series import Series, series_of
from pytest_rayperf.machine import Probe
from pytest_rayperf.metrics import PEAK_MEMORY
from pytest_rayperf.results import Comparison, Round

ANCHOR_PART = 0.2
"""Of a benchmark's part of the error: what the comparison with the oldest kept sessions has, where there is
one. Creep is slow, and has many runs to be seen in."""

LIKELY = 0.05
"""Measuring goes on while a verdict with the rounds that are left is at least as likely as this: where it is
not, a single look at all 20 rounds seldom has one either. With 0.02 known
noise needs more than 1.5 times the rounds of Wald's test in places (benchmarks/gate/known_noise.py)."""

EVEN = 0.5
"""The chance of an alarm from which on an untimed benchmark has more rounds than its one."""


@dataclass(frozen=True)
class Question:
    """One series of figures against its reference.

    Attributes:
        series: the figures.
        policy: threshold, looks and error.
        paired: whether the reference was measured beside it.
        since: what it is compared with, where that is not the recent sessions or the round beside it.
    """

    series: Series
    policy: Policy
    paired: bool = False
    since: str | None = None

    @property
    def answer(self) -> Comparison:
        """What the figures say."""
        compare = compare_pairs if self.paired else compare_sessions
        said = compare(self.series, self.policy)
        return said if self.since is None else replace(said, since=self.since)

    @property
    def chances(self) -> Chances:
        """How likely the rounds that are left are to decide."""
        return (chances_of_pairs if self.paired else chances_of_sessions)(self.series, self.policy)


def of_sessions(
    rounds: Sequence[Round], reference: Reference, policy: Policy, probe: Probe | None
) -> tuple[Question, ...]:
    """Against the recent sessions, and then of the work against the oldest, where they are others."""
    if not reference.anchor:
        return tuple(Question(series, policy) for series in _asked(rounds, reference.recent, probe))
    old = replace(policy, alpha=policy.alpha * ANCHOR_PART)
    new = replace(policy, alpha=policy.alpha * (1 - ANCHOR_PART))
    crept = _asked(rounds, reference.anchor, probe)[:1]
    return (
        *(Question(series, new) for series in _asked(rounds, reference.recent, probe)),
        *(Question(series, old, since=OLDEST) for series in crept),
    )


def of_pairs(then: Sequence[Round], now: Sequence[Round], policy: Policy) -> tuple[Question, ...]:
    """Against rounds measured in the same session, in turn; as many on both sides."""
    beside = [ReferenceSession(tuple(then))]
    return tuple(Question(series, policy, paired=True) for series in _asked(now, beside, None))


def speaker(answers: Sequence[Comparison]) -> Comparison:
    """Which answer speaks for a benchmark that has not regressed; of one answer or more.

    It is the surest one's, unless that found no change: then of the others, of which one may have left the
    question open, or found an improvement. But what is as fast as lately, and by its estimate slower than
    the oldest sessions by more than the threshold, is not called unchanged.
    """
    clearing = _clearing(answers)
    found = next((c for c in clearing if c.status != "unchanged"), clearing[0])
    crept = next((c for c in answers if c.since is not None), None)
    if crept is None or found.status != "unchanged" or crept.slowdown.ratio <= crept.threshold:
        return found
    return crept  # inconclusive: it would have been heard as regressed


def suspect(questions: Sequence[Question]) -> bool:
    """Whether an untimed benchmark's one round is an alarm, or more like it would as likely as not be one."""
    return any(q.answer.status == "regressed" or q.chances.alarm >= EVEN for q in questions)


def worth_measuring_on(questions: Sequence[Question], answers: Sequence[Comparison]) -> bool:
    """Whether what is open now is likely enough to be decided by the last look; of one question or more."""
    said = speaker(answers)
    undecided = {
        id(answer): question.chances
        for question, answer in zip(questions, answers, strict=True)
        if answer.status == "inconclusive"
    }
    if any(chances.alarm >= LIKELY for chances in undecided.values()):
        return True
    if said.status != "inconclusive":
        return False
    clearing = [said] if said.since is not None else _clearing(answers)
    return all(undecided[id(c)].clear >= LIKELY for c in clearing if id(c) in undecided)


def _clearing(answers: Sequence[Comparison]) -> list[Comparison]:
    """Those that must have found no regression: of work and of waiting; or what there is."""
    recent = [c for c in answers if c.since is None] or list(answers)
    return [c for c in recent if c.metric != PEAK_MEMORY] or recent


def _asked(
    rounds: Sequence[Round], sessions: Sequence[ReferenceSession], probe: Probe | None
) -> list[Series]:
    """The series that have figures, surest first."""
    return [series for metric in GATED if (series := series_of(metric, rounds, sessions, probe))]

"""One metric with noise against its reference: the slowdown's interval, and what it says. Pure.

The question is whether the metric is worse than its reference by more than the threshold T. The slowdown's
interval has two limits with a chance of error each, over all looks at the data:

- `low` is missed with the metric's part of the run's alpha: a false alarm. `improved` has the same chance.
- `high` is missed with probability beta = 5 %: a slowdown beyond T that is called unchanged.

    low > T         regressed
    high < 1 / T    improved
    high <= T       unchanged
    otherwise       inconclusive

The smallest detectable slowdown (`mde`) is the limit that is missed with 10 %: below `high`, so that where it
is above T nothing is called unchanged.

What each look may spend of these chances is in `sequential.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import special

from pytest_rayperf.policy import BETA, NOISE, POWER, Policy
from pytest_rayperf.results import Comparison, Interval, Metric, Status
from pytest_rayperf.sequential import nominal_level
from pytest_rayperf.statistics import (
    LogEstimate,
    after_pairs,
    after_rounds,
    paired_ratio,
    session_ratio,
)

LIKELY = 0.1
"""Measuring goes on while a verdict with the rounds that are left is at least as likely as this."""


def compare_sessions(
    metric: Metric,
    sessions: Sequence[Sequence[float]],
    current: Sequence[float],
    policy: Policy,
) -> Comparison:
    """This session's rounds against those of earlier sessions.

    Args:
        metric: what the figures are of.
        sessions: for each session, its rounds' figures.
        current: the rounds' figures now.
        policy: threshold and errors.

    Raises:
        ValueError: no figures on a side, or one that is not a finite number above 0.
    """
    estimate = session_ratio(sessions, current, NOISE[metric.name])
    reference = _geometric_mean([_geometric_mean(session) for session in sessions])
    return _compare(metric, estimate, reference, current, policy)


def compare_pairs(
    metric: Metric, reference: Sequence[float], current: Sequence[float], policy: Policy
) -> Comparison:
    """Rounds against a reference measured in the same session, in turn: the i-th beside the i-th.

    Raises:
        ValueError: unequal counts, no pairs, or a figure that is not a finite number above 0.
    """
    estimate = paired_ratio(current, reference, NOISE[metric.name])
    return _compare(metric, estimate, _geometric_mean(reference), current, policy)


def sessions_may_decide(
    metric: Metric,
    sessions: Sequence[Sequence[float]],
    current: Sequence[float],
    policy: Policy,
) -> bool:
    """Whether `compare_sessions` is likely enough to decide with the rounds that are left."""
    noise, last = NOISE[metric.name], max(policy.looks[-1], len(current))
    now, then = session_ratio(sessions, current, noise), after_rounds(sessions, current, noise, last)
    return _chance(metric, now, then, policy) >= LIKELY


def pairs_may_decide(
    metric: Metric, reference: Sequence[float], current: Sequence[float], policy: Policy
) -> bool:
    """Whether `compare_pairs` is likely enough to decide with the rounds that are left."""
    now = paired_ratio(current, reference, NOISE[metric.name])
    return _chance(metric, now, after_pairs(now, len(current), policy.looks[-1]), policy) >= LIKELY


def _chance(metric: Metric, now: LogEstimate, then: LogEstimate, policy: Policy) -> float:
    """How likely the last look is to decide, by what is known now; 0 to 1.

    The truth is taken to be as uncertain as its estimate says ("predictive power": Spiegelhalter, Freedman
    and Blackburn 1986, doi:10.1016/0197-2456(86)90003-6). So the last estimate has the present one's value
    for a mean, and the difference of their variances for a variance.
    """
    limits = _limits(metric, _worse(metric, then), policy.looks[-1], policy)
    threshold = math.log(policy.max_slowdown)
    clear = threshold - math.log(limits.high)  # by how much the upper limit is below the threshold
    alarm = math.log(limits.low) - threshold
    spread = math.sqrt(max(0.0, now.standard_error**2 - then.standard_error**2))
    if spread == 0:
        return float(clear >= 0 or alarm > 0)
    return float(special.ndtr(clear / spread) + special.ndtr(alarm / spread))


def _compare(
    metric: Metric, estimate: LogEstimate, reference: float, current: Sequence[float], policy: Policy
) -> Comparison:
    limit = policy.max_slowdown
    worse = _worse(metric, estimate)
    slowdown = _limits(metric, worse, len(current), policy)
    alpha = _level(policy.alpha_for(metric.name), worse, len(current), policy)
    status: Status = "inconclusive"
    if slowdown.low > limit:
        status = "regressed"
    elif worse.interval(alpha, alpha).high < 1 / limit:
        status = "improved"
    elif slowdown.high <= limit:
        status = "unchanged"
    return Comparison(
        metric=metric,
        status=status,
        reference=reference,
        current=_geometric_mean(current),
        slowdown=slowdown,
        threshold=limit,
        mde=worse.detectable(POWER),
    )


def _worse(metric: Metric, estimate: LogEstimate) -> LogEstimate:
    """The estimate of the slowdown: above 0 where the metric got worse."""
    return estimate if metric.better == "lower" else estimate.inverse


def _limits(metric: Metric, worse: LogEstimate, rounds: int, policy: Policy) -> Interval:
    alpha = _level(policy.alpha_for(metric.name), worse, rounds, policy)
    return worse.interval(alpha, _level(BETA, worse, rounds, policy))


def _level(total: float, estimate: LogEstimate, rounds: int, policy: Policy) -> float:
    return nominal_level(total, policy.looks, rounds, estimate.fixed_share)


def _geometric_mean(figures: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, figures)) / len(figures))

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
from dataclasses import dataclass, replace

from scipy import special

from pytest_rayperf.policy import BETA, POWER, Policy
from pytest_rayperf.results import Comparison, Interval, Metric, Status
from pytest_rayperf.sequential import nominal_level
from pytest_rayperf.series import Series
from pytest_rayperf.statistics import (
    LogEstimate,
    after_pairs,
    after_rounds,
    paired_ratio,
    session_ratio,
)


@dataclass(frozen=True)
class Chances:
    """How likely the last look is to decide, by what is known now; 0 to 1.

    Attributes:
        clear: to call it unchanged or improved.
        alarm: to call it regressed.
    """

    clear: float
    alarm: float


def compare_sessions(series: Series, policy: Policy) -> Comparison:
    """This session's rounds against those of earlier sessions.

    Raises:
        ValueError: no figures on a side, or one that is not a finite number above 0.
    """
    return _compare(series, _by_sessions(series), policy)


def compare_pairs(series: Series, policy: Policy) -> Comparison:
    """Rounds against those of a reference, its one session, measured in turn: the i-th beside the i-th.

    Raises:
        ValueError: unequal counts, no pairs, or a figure that is not a finite number above 0.
    """
    return _compare(series, _by_pairs(series), policy)


def chances_of_sessions(series: Series, policy: Policy) -> Chances:
    """How likely `compare_sessions` is to decide with the rounds that are left."""
    last = max(policy.looks[-1], len(series.current))
    then = after_rounds(series.sessions, series.current, series.noise, last)
    return _chances(series, _by_sessions(series), _worse(series.metric, then), policy)


def chances_of_pairs(series: Series, policy: Policy) -> Chances:
    """How likely `compare_pairs` is to decide with the rounds that are left."""
    now = _by_pairs(series)
    then = after_pairs(now.slower, len(series.current), policy.looks[-1])
    return _chances(series, now, then, policy)


@dataclass(frozen=True)
class _Found:
    """Of the log of the slowdown, above 0 where things got worse.

    The rest is 0 but for waiting, whose figures are busy cores. Fewer of them are a loss only as far as CPU
    time a row has not become less, and more of them a gain only as far as it has not become more.

    Attributes:
        slower: by the metric's own figures.
        saved: how much less CPU time there is a row, 0 or below. The machine's part counts too: who does not
            compute is no faster on a faster machine.
        surely_saved: how much less there is with the chance beta of not even that, at equal speed of the
            machine.
        added: what there may be more, with the chance beta of more.
    """

    slower: LogEstimate
    saved: float = 0.0
    surely_saved: float = 0.0
    added: float = 0.0


def _by_sessions(series: Series) -> _Found:
    own = session_ratio(series.sessions, series.current, series.noise)
    work = series.work
    then = None if work is None else session_ratio(work.sessions, work.current, work.noise)
    return _found(series, own, then)


def _by_pairs(series: Series) -> _Found:
    own = paired_ratio(series.current, series.sessions[0], series.noise)
    work = series.work
    return _found(
        series, own, None if work is None else paired_ratio(work.current, work.sessions[0], work.noise)
    )


def _found(series: Series, own: LogEstimate, work: LogEstimate | None) -> _Found:
    slower = _worse(series.metric, own)
    if work is None or series.work is None:
        return _Found(slower)
    measured = work.value + series.work.machine
    most = math.log(work.interval(BETA, BETA).high)
    return _Found(slower, min(0.0, work.value, measured), min(0.0, most), max(most, measured))


def _chances(series: Series, now: _Found, then: LogEstimate, policy: Policy) -> Chances:
    """The truth is taken to be as uncertain as its estimate says.

    ("Predictive power": Spiegelhalter, Freedman and Blackburn 1986, doi:10.1016/0197-2456(86)90003-6.) So
    the last estimate has the present one's value for a mean, and the difference of the variances for its own.
    """
    limits = _limits(series, replace(now, slower=then), policy.looks[-1], policy)
    threshold = math.log(policy.max_slowdown)
    clear = threshold - math.log(limits.high)  # by how much the upper limit is below the threshold
    alarm = math.log(limits.low) - threshold
    spread = math.sqrt(max(0.0, now.slower.standard_error**2 - then.standard_error**2))
    if spread == 0:
        return Chances(float(clear >= 0), float(alarm > 0))
    return Chances(float(special.ndtr(clear / spread)), float(special.ndtr(alarm / spread)))


def _compare(series: Series, found: _Found, policy: Policy) -> Comparison:
    limit, rounds = policy.max_slowdown, len(series.current)
    slowdown = _limits(series, found, rounds, policy)
    alpha = _level(policy.alpha_for(series.metric.name), found.slower, rounds, policy)
    status: Status = "inconclusive"
    if slowdown.low > limit:
        status = "regressed"
    elif math.log(found.slower.interval(alpha, alpha).high) + found.added < -math.log(limit):
        status = "improved"
    elif slowdown.high <= limit:
        status = "unchanged"
    current, reference = _shown(series, slowdown)
    return Comparison(
        metric=series.metric,
        status=status,
        reference=reference,
        current=current,
        slowdown=slowdown,
        threshold=limit,
        mde=max(1.0, found.slower.detectable(POWER) * math.exp(found.surely_saved)),
        at_equal_work=series.work is not None,
    )


def _shown(series: Series, slowdown: Interval) -> tuple[float, float]:
    """The metric's figure now, and that of the reference; of busy cores the rows/s at this CPU time a row."""
    current = _geometric_mean(series.current)
    if series.work is None:
        return current, _geometric_mean([_geometric_mean(session) for session in series.sessions])
    speed = current / _geometric_mean(series.work.current)
    return speed, speed * slowdown.ratio


def _worse(metric: Metric, estimate: LogEstimate) -> LogEstimate:
    """The estimate of the slowdown: above 0 where the metric got worse."""
    return estimate if metric.better == "lower" else estimate.inverse


def _limits(series: Series, found: _Found, rounds: int, policy: Policy) -> Interval:
    worse = found.slower
    alpha = _level(policy.alpha_for(series.metric.name), worse, rounds, policy)
    own = worse.interval(alpha, _level(BETA, worse, rounds, policy))
    saved, surely = math.exp(found.saved), math.exp(found.surely_saved)
    return Interval(own.ratio * saved, own.low * saved, max(own.ratio * saved, own.high * surely))


def _level(total: float, estimate: LogEstimate, rounds: int, policy: Policy) -> float:
    return nominal_level(total, policy.looks, rounds, estimate.fixed_share)


def _geometric_mean(figures: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, figures)) / len(figures))

"""One metric with noise against its reference: the slowdown's interval, and what it says. Pure.

The question is whether the metric is worse than its reference by more than the threshold T. The slowdown's
interval has two limits with a chance of error each, over all looks at the data:

- `low` is missed with the metric's part of the run's alpha: a false alarm. `improved` has the same chance.
- `high` is missed with probability beta = 5 %: a slowdown beyond T that is called unchanged.

    low > T         regressed
    high < 1 / T    improved
    high <= T       unchanged
    otherwise       inconclusive

Two figures say how small a change could have been seen. `mde` is the limit that is missed with 10 %, over all
looks too: below `high`, so that where it is above T nothing is called unchanged, and near to it, so that what
is inconclusive is not said to have seen much less than T. `finds` is how slow the pipeline would have to be,
with this noise, for `low` to be above T by the last look (or by now, if time is up) with 90 % power: always
beyond T.

What each look may spend of these chances is in `sequential.py`: more at later looks. What is said after few
rounds rests on what is believed of the noise, and the last look shall say nearly what it would say alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from scipy import special

from pytest_rayperf.judging.policy import BETA, POWER, Policy
from pytest_rayperf.judging.sequential import nominal_level
from pytest_rayperf.judging.series import Series
from pytest_rayperf.results import Comparison, Interval, Status
from pytest_rayperf.statistics import (
    LogEstimate,
    after_pairs,
    after_rounds,
    paired_product,
    paired_ratio,
    together,
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
    return _compare(series, _by_sessions(series), _by_sessions(series, _end(series, policy)), policy)


def compare_pairs(series: Series, policy: Policy) -> Comparison:
    """Rounds against those of a reference, its one session, measured in turn: the i-th beside the i-th.

    Raises:
        ValueError: unequal counts, no pairs, or a figure that is not a finite number above 0.
    """
    found = _by_pairs(series)
    return _compare(series, found, _going_on(series, found, _end(series, policy)), policy)


def chances_of_sessions(series: Series, policy: Policy) -> Chances:
    """How likely `compare_sessions` is to decide with the rounds that are left."""
    return _chances(series, _by_sessions(series), _by_sessions(series, _last(series, policy)), policy)


def chances_of_pairs(series: Series, policy: Policy) -> Chances:
    """How likely `compare_pairs` is to decide with the rounds that are left."""
    found = _by_pairs(series)
    return _chances(series, found, _going_on(series, found, _last(series, policy)), policy)


@dataclass(frozen=True)
class _Found:
    """Of the log of the slowdown, above 0 where things got worse.

    A metric of its own has one estimate. Of waiting the figures are busy cores, and the slowdown is that of
    work and waiting together: that is what must be ruled out. Found it is by the waiting alone, of which more
    is known; but fewer busy cores are a loss only as far as CPU time a row has not become less.

    Attributes:
        own: by the metric's own figures.
        whole: of work and waiting together, at equal speed of the machine.
        work: of the CPU time a row, where the figures are busy cores.
        saved: how much less CPU time there is a row, 0 or below. The machine's part counts too: who does not
            compute is no faster on a faster machine.
        machine: how much slower the machine is now, 0 or above: an improvement that is none for who does
            not compute.
    """

    own: LogEstimate
    whole: LogEstimate
    work: LogEstimate | None = None
    saved: float = 0.0
    machine: float = 0.0


@lru_cache(maxsize=8)  # for the answer, and then for its chances
def _by_sessions(series: Series, later: int | None = None) -> _Found:
    """As of now, or as it would be after so many rounds like these."""
    rounds = later or len(series.current)

    def estimate(one: Series) -> LogEstimate:
        return after_rounds(one.sessions, one.current, one.noise, rounds)

    own = _worsening(series, estimate(series))
    if series.work is None:
        return _Found(own, own)
    # Added up, for wall time itself differs by more from session to session: no probe mends it.
    work = estimate(series.work)
    return _with_work(own, together(own, work, rounds), work, series.work.machine)


@lru_cache(maxsize=8)
def _by_pairs(series: Series) -> _Found:
    own = _worsening(series, paired_ratio(series.current, series.sessions[0], series.noise))
    if series.work is None:
        return _Found(own, own)
    work = series.work
    # Seconds a row, which each pair has measured: no need to add up what work and waiting scatter by.
    factors = [(series.sessions[0], series.current), (work.current, work.sessions[0])]
    estimate = paired_ratio(work.current, work.sessions[0], work.noise)
    return _with_work(own, paired_product(factors, series.whole), estimate, work.machine)


def _worsening(series: Series, estimate: LogEstimate) -> LogEstimate:
    """Above 0 where the metric got worse."""
    return estimate.inverse if series.metric.better == "higher" else estimate


def _with_work(own: LogEstimate, whole: LogEstimate, work: LogEstimate, machine: float) -> _Found:
    saved = min(0.0, work.value, work.value + machine)
    return _Found(own, whole, work, saved, max(0.0, machine))


def _last(series: Series, policy: Policy) -> int:
    """How many rounds there are at the last look."""
    return max(policy.looks[-1], len(series.current))


def _end(series: Series, policy: Policy) -> int:
    """How many there will be at the most."""
    return len(series.current) if policy.over else _last(series, policy)


def _going_on(series: Series, found: _Found, later: int) -> _Found:
    """What is found of pairs, as it would be after so many if they went on alike."""
    now = len(series.current)
    return replace(
        found,
        own=after_pairs(found.own, now, later),
        whole=after_pairs(found.whole, now, later),
        work=None if found.work is None else after_pairs(found.work, now, later),
    )


def _chances(series: Series, now: _Found, then: _Found, policy: Policy) -> Chances:
    """The truth is taken to be as uncertain as its estimate says.

    ("Predictive power": Spiegelhalter, Freedman and Blackburn 1986, doi:10.1016/0197-2456(86)90003-6.) So
    the last estimate has the present one's value for a mean, and the difference of the variances for its own.
    """
    limits = _limits(series, then, _last(series, policy), policy)
    threshold = math.log(policy.max_slowdown)
    clear = threshold - math.log(limits.high)  # by how much the upper limit is below the threshold
    alarm = math.log(limits.low) - threshold
    return Chances(
        clear=_likely(clear, now.whole, then.whole, certain=clear >= 0),
        alarm=_likely(alarm, now.own, then.own, certain=alarm > 0),
    )


def _likely(reach: float, now: LogEstimate, then: LogEstimate, *, certain: bool) -> float:
    spread = math.sqrt(max(0.0, now.standard_error**2 - then.standard_error**2))
    return float(special.ndtr(reach / spread)) if spread else float(certain)


def _compare(series: Series, found: _Found, end: _Found, policy: Policy) -> Comparison:
    limit, rounds = policy.max_slowdown, len(series.current)
    slowdown = _limits(series, found, rounds, policy)
    # Not more than beta, either: what is shown shall be beyond the threshold.
    sure = min(_alpha(series, found.whole, rounds, policy), _beta(found.whole, rounds, policy))
    missed = nominal_level(1 - POWER, policy.looks, rounds, found.whole.fixed_share)
    status: Status = "inconclusive"
    if slowdown.low > limit:
        status = "regressed"
    elif math.log(found.whole.high(sure)) + found.machine < -math.log(limit):
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
        mde=found.whole.detectable(1 - missed),
        finds=_finds(series, end, policy),
        at_equal_work=series.work is not None,
    )


def _shown(series: Series, slowdown: Interval) -> tuple[float, float]:
    """The metric's figure now, and that of the reference; of busy cores the rows/s at this CPU time a row."""
    current = _geometric_mean(series.current)
    if series.work is None:
        return current, _geometric_mean([_geometric_mean(session) for session in series.sessions])
    speed = current / _geometric_mean(series.work.current)
    return speed, speed * slowdown.ratio


def _finds(series: Series, end: _Found, policy: Policy) -> float:
    """The slowdown of which, with this noise, 90 % of runs would find the lower limit above the threshold.

    Of waiting CPU time that seems to have been saved is taken off, so that its error is in what is found.
    """
    alpha = _alpha(series, end.own, _end(series, policy), policy)
    error = end.own.standard_error
    if end.work is not None:
        error = math.hypot(error, end.work.standard_error)
    return end.own.needed(policy.max_slowdown, alpha, POWER, error)


def _limits(series: Series, found: _Found, rounds: int, policy: Policy) -> Interval:
    alpha = _alpha(series, found.own, rounds, policy)
    beta = _beta(found.whole, rounds, policy)
    own = replace(found.own, value=found.own.value + found.saved)
    return Interval(own.ratio, own.low(alpha), found.whole.high(beta))


def _alpha(series: Series, estimate: LogEstimate, rounds: int, policy: Policy) -> float:
    total = policy.alpha_for(series.metric.name)
    return nominal_level(total, policy.looks, rounds, estimate.fixed_share)


def _beta(estimate: LogEstimate, rounds: int, policy: Policy) -> float:
    return nominal_level(BETA, policy.looks, rounds, estimate.fixed_share)


def _geometric_mean(figures: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, figures)) / len(figures))

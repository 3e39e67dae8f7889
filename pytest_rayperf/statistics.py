"""Ratios of noisy figures, with their intervals. NumPy and SciPy only.

Times and rates are compared on the log scale: machine noise multiplies (a busy neighbour slows everything
by a factor), and the interval of a log ratio is the interval of a ratio.

The model of a figure y of round r in session s, a one-way random-effects model (Searle, Casella and
McCulloch, "Variance Components", 1992, ch. 3):

    log y[s, r] = mu + session[s] + round[s, r]

Rounds of one session share a machine state, so more rounds shrink the second part and never the first.
Both standard deviations are estimated with a stated prior, weighted by its degrees of freedom (the
"moderated" variance of Smyth, 2004, doi:10.2202/1544-6115.1027): three equal rounds do not prove that there
is no noise, and one baseline session says nothing of the difference between sessions. A prior that the
figures contradict is left out.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import special

from pytest_rayperf.results import Interval

_LOG_MAX = 230.0  # a ratio of e**230 means "no limit"; what a report may hold ends at 1e100 (e**230.26)


@dataclass(frozen=True)
class Noise:
    """What is believed of a metric's noise before measuring it.

    Args:
        session_sd: standard deviation of the log between sessions.
        round_sd: standard deviation of the log between rounds of a session.
        session_weight: degrees of freedom that the first belief counts for; infinity where it is knowledge.
        round_weight: those of the second.
    """

    session_sd: float
    round_sd: float
    session_weight: float = 12.0
    round_weight: float = 5.0


@dataclass(frozen=True)
class LogEstimate:
    """An estimated log ratio, its standard error, and the degrees of freedom of that error.

    `fixed_share`: of the variance that it would have after a single round, the part that more rounds do not
    shrink, 0 to 1.
    """

    value: float
    standard_error: float
    df: float
    fixed_share: float = 1.0

    def interval(self, alpha_low: float, alpha_high: float) -> Interval:
        """Limits of the ratio, each missed with its own probability.

        Args:
            alpha_low: chance that the true ratio is below `low`.
            alpha_high: chance that it is above `high`.
        """
        return Interval(self.ratio, self.low(alpha_low), self.high(alpha_high))

    def low(self, alpha: float) -> float:
        """What the ratio is below with the chance `alpha`."""
        return _exp(self.value - self._quantile(alpha) * self.standard_error)

    def high(self, alpha: float) -> float:
        """What it is above with that chance."""
        return _exp(self.value + self._quantile(alpha) * self.standard_error)

    @property
    def ratio(self) -> float:
        """As it is estimated."""
        return _exp(self.value)

    @property
    def inverse(self) -> LogEstimate:
        """The estimate of 1 / ratio."""
        return replace(self, value=-self.value)

    def detectable(self, power: float) -> float:
        """Smallest slowdown, 1 or more, that these figures would have shown with probability `power`.

        Were the ratio that large, an estimate above the one that was seen would have come of it with that
        probability: exp(value + q(1 - power) * standard error). (The severity of Mayo and Spanos 2006,
        doi:10.1093/bjps/axl003. A power that leaves out what was seen says of a ratio below 1 that a slowdown
        might have been missed, which the same figures rule out: Hoenig and Heisey 2001,
        doi:10.1198/000313001300339897.)
        """
        return max(1.0, self.high(1 - power))

    def needed(self, limit: float, alpha: float, power: float, error: float) -> float:
        """Which ratio it takes for `low(alpha)` to be above `limit` with probability `power`.

        limit * exp(q(alpha) * standard error + q(1 - power) * error): the sample-size formula, solved for the
        effect (Chow, Shao, Wang and Lokhnygina, "Sample Size Calculations in Clinical Research", 2017, ch. 3,
        superiority by a margin). What was estimated has no part in it.

        Args:
            limit: above 0.
            alpha: chance that the true ratio is below `low`.
            power: 0.5 or more.
            error: the standard error of what is compared with the limit: this estimate's own, and more where
                something else is added to it.
        """
        reach = self._quantile(alpha) * self.standard_error + self._quantile(1 - power) * error
        return _exp(math.log(limit) + reach)

    def _quantile(self, tail: float) -> float:
        return _t_quantile(self.df, tail)


def session_ratio(
    reference: Sequence[Sequence[float]], current: Sequence[float], noise: Noise
) -> LogEstimate:
    """Log of current over reference, where the reference is one or more sessions of rounds.

    Every session counts the same, however many rounds it has. The variance is

        session_var * (1 + 1/k) + round_var * (1/n + mean(1/n_s) / k)

    for k reference sessions of n_s rounds and n current ones; its degrees of freedom are Satterthwaite's
    (1946, doi:10.2307/3002019).

    Args:
        reference: for each session, its rounds' figures (finite, above 0; at least one session and round).
        current: the rounds' figures of this session.
        noise: the prior.

    Raises:
        ValueError: no figures on a side, or one that is not a finite number above 0.
    """
    groups = [_logs(session) for session in reference]
    now = _logs(current)
    if not groups:
        raise ValueError("no reference session")
    k = len(groups)
    means = [_mean(group) for group in groups]
    current_mean = _mean(now)
    inverse_size = sum(1 / len(group) for group in groups) / k

    squares = math.fsum(
        (x - mean) ** 2
        for group, mean in zip([*groups, now], [*means, current_mean], strict=True)
        for x in group
    )
    seen = sum(len(group) - 1 for group in [*groups, now])
    round_var, round_df = _moderated(squares, seen, noise.round_sd**2, noise.round_weight, 0.95)

    between = 0.0
    if k > 1:
        centre = _mean(means)
        spread = math.fsum((mean - centre) ** 2 for mean in means) / (k - 1)
        between = max(0.0, spread - round_var * inverse_size) * (k - 1)
    # No round of this run mends what is left without a belief here: so it takes more to leave it out.
    session_var, session_df = _moderated(between, k - 1, noise.session_sd**2, noise.session_weight, 0.99)

    session_part = session_var * (1 + 1 / k)
    reference_part = round_var * inverse_size / k
    round_part = round_var / len(now) + reference_part
    once = session_part + reference_part + round_var
    return LogEstimate(
        value=current_mean - _mean(means),
        standard_error=math.sqrt(session_part + round_part),
        df=_satterthwaite((session_part, session_df), (round_part, round_df)),
        fixed_share=1 - round_var / once,
    )


def after_rounds(
    reference: Sequence[Sequence[float]], current: Sequence[float], noise: Noise, rounds: int
) -> LogEstimate:
    """What `session_ratio` would say if `current` went on alike until it had `rounds` rounds.

    For giving up early: where even this estimate is too wide, measuring on is a waste.
    """
    estimate = session_ratio(reference, current, noise)
    if rounds == len(current):
        return estimate
    repeats = math.ceil(rounds / len(current))
    extended = session_ratio(reference, (list(current) * repeats)[:rounds], noise)
    return replace(extended, value=estimate.value)


def paired_ratio(numerator: Sequence[float], denominator: Sequence[float], noise: Noise) -> LogEstimate:
    """Log of numerator over denominator from rounds measured in turn, the i-th of one beside the i-th of
    the other. What the machine did to both cancels, so there is no session part.

    Raises:
        ValueError: unequal counts, no pairs, or a figure that is not a finite number above 0.
    """
    return paired_product([(numerator, denominator)], noise)


def paired_product(ratios: Sequence[tuple[Sequence[float], Sequence[float]]], noise: Noise) -> LogEstimate:
    """Log of the product of ratios, each of a numerator and a denominator, measured in the same pairs.

    How the ratios go together is in the products' own scatter, so that nothing need be known of it.

    Args:
        ratios: one or more.
        noise: what is believed of the product.

    Raises:
        ValueError: as of `paired_ratio`.
    """
    factors = []
    for numerator, denominator in ratios:
        if len(numerator) != len(denominator):
            raise ValueError(f"{len(numerator)} figures against {len(denominator)}: pairs have one of each")
        factors.append([a - b for a, b in zip(_logs(numerator), _logs(denominator), strict=True)])
    differences = [math.fsum(logs) for logs in zip(*factors, strict=True)]
    mean, count = _mean(differences), len(differences)
    squares = math.fsum((x - mean) ** 2 for x in differences)
    # Two independent rounds make up a pair's difference, hence twice the variance of a round.
    variance, df = _moderated(squares, count - 1, 2 * noise.round_sd**2, noise.round_weight, 0.95)
    return LogEstimate(mean, math.sqrt(variance / count), df, fixed_share=0.0)


def after_pairs(estimate: LogEstimate, pairs: int, later: int) -> LogEstimate:
    """What `paired_ratio` would say if its `pairs` pairs went on alike until there were `later`."""
    if later <= pairs:
        return estimate
    return replace(
        estimate,
        standard_error=estimate.standard_error * math.sqrt(pairs / later),
        df=estimate.df + later - pairs,
    )


def together(one: LogEstimate, other: LogEstimate, rounds: int) -> LogEstimate:
    """The sum of two independent log ratios, each estimated from `rounds` current rounds."""
    parts = [(e.standard_error**2, e.df, e.fixed_share) for e in (one, other)]
    variance = sum(v for v, _, _ in parts)
    # Of F + R / n the part F + R that a single round would have had, and of that F.
    once = [v / (share + (1 - share) / rounds) for v, _, share in parts]
    fixed = sum(v * share for v, (_, _, share) in zip(once, parts, strict=True))
    return LogEstimate(
        value=one.value + other.value,
        standard_error=math.sqrt(variance),
        df=_satterthwaite(*((v, df) for v, df, _ in parts)),
        fixed_share=fixed / sum(once),
    )


def median_interval(figures: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Limits of the median of this session's rounds, on the log scale; None for fewer than three.

    The standard error of a median of normal samples is sqrt(pi / 2) times the mean's (Kendall and Stuart,
    "The Advanced Theory of Statistics", vol. 1, 10.11). It covers this session's noise only.
    """
    if len(figures) < 3:
        return None
    logs = np.array(_logs(figures))
    error = math.sqrt(math.pi / 2) * float(logs.std(ddof=1)) / math.sqrt(logs.size)
    reach = _t_quantile(logs.size - 1, (1 - confidence) / 2) * error
    centre = float(np.median(logs))
    return _exp(centre - reach), _exp(centre + reach)


def _moderated(squares: float, df: int, prior: float, weight: float, point: float) -> tuple[float, float]:
    """A variance and its degrees of freedom, of `squares` with `df` and a `prior` variance with `weight`.

    What scatters more than the prior allows (beyond this point of F: "prior-data conflict", Evans and
    Moshonov 2006, doi:10.1214/06-BA129) speaks for itself: the belief would hide noise.
    """
    if math.isinf(weight):
        return prior, weight
    if df > 0 and squares > df * prior * _f_point(df, weight, point):
        return squares / df, df
    return (squares + weight * prior) / (df + weight), df + weight


@lru_cache(maxsize=4096)
def _t_quantile(df: float, tail: float) -> float:
    """Beyond which Student's t is with that chance; with infinite `df` it is the normal's."""
    found = -float(special.ndtri(tail) if math.isinf(df) else special.stdtrit(df, tail))
    # stdtrit gives the wrong infinity for chances near the smallest number (df 3: below 1e-238).
    return sys.float_info.max if math.isinf(found) else found


@lru_cache(maxsize=4096)
def _f_point(df: int, weight: float, point: float) -> float:
    return float(special.fdtri(df, weight, point))


def _satterthwaite(*parts: tuple[float, float]) -> float:
    total = sum(variance for variance, _ in parts)
    unsure = sum(variance**2 / df for variance, df in parts)
    return total**2 / unsure if unsure else math.inf


def _logs(figures: Sequence[float]) -> tuple[float, ...]:
    return _logs_of(tuple(figures))


@lru_cache(maxsize=256)  # the same rounds are asked after look after look
def _logs_of(figures: tuple[float, ...]) -> tuple[float, ...]:
    if not figures or not all(0 < figure < math.inf for figure in figures):  # NaN is neither
        raise ValueError(f"figures must be finite and above 0, got {list(figures)!r}")
    return tuple(map(math.log, figures))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _exp(value: float) -> float:
    return math.exp(min(max(value, -_LOG_MAX), _LOG_MAX))

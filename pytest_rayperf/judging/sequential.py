"""Looking after every round without raising the error: nominal levels of a group-sequential test. Pure.

An estimate after n rounds has the variance F + R / n: F is what more rounds do not shrink (the difference
between sessions, the reference's own rounds), R the variance of a round. Its information is 1 / (F + R / n),
and estimates after n = 1, 2, ... have the covariances of Brownian motion looked at in time proportional to
information (Jennison and Turnbull, "Group Sequential Methods", 2000, ch. 3.1; the common part F does not
break that: cov(estimate_m, estimate_n) = F + R / max(m, n), the variance of the later one).

The error is spent by a function of Lan and DeMets (1983, doi:10.1093/biomet/70.3.659), a power of the time t
(Kim and DeMets 1987, doi:10.1093/biomet/74.1.149): up to the look at t, the part t**power of the error. The
time is the mean of two, the share of the information and that of the rounds. (Which time is a matter of
choice: Lan and DeMets 1989, doi:10.1002/sim.4780081003.) Where each round counts they are the same. Where
rounds say little more than the first look did (F is large) information alone would spend nearly all at once,
and the last look would say less than one that comes alone; rounds alone would leave next to nothing to a run
that has time for three. (All looks are much like one then, and share most of their errors.) With a power
above 1 the first looks, of few rounds, whose scatter is least known, must show more.

The levels are for known variances. They are used as quantiles of Student's t where variances are estimated,
the "significance level approach" of Jennison and Turnbull, ch. 4.4.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

LATE = 2.0
"""The power. What it does to errors and rounds: benchmarks/gate/README.md."""

_STEPS = 40
"""Shares of F in F + R are rounded down to this grid, so that levels can be kept: looks are then taken to be
a little less alike than they are, which errs on the safe side."""

_CLOSEST = 4e-4
"""Information fractions that are closer are taken to be so far apart: looks that are less alike than these,
which errs on the safe side, and a step of 0.02 standard deviations, two cells of the grid."""

_CELL = 0.01
"""Of the grid on which the density is kept, in standard deviations of the last look."""

_LOWEST = -7.0
"""Standard deviations below which the density (1e-12 of its mass) is left out."""


def nominal_level(
    total: float, looks: tuple[int, ...], rounds: int, fixed_share: float, power: float = LATE
) -> float:
    """The level at which one limit is tested after `rounds` rounds, so that all looks have `total`.

    Args:
        total: chance of an error of this limit over all looks, above 0 and below 0.5.
        looks: the numbers of rounds after which the data are looked at, ascending.
        rounds: how many there are now. Between two looks (the time was up) it is the next one brought
            forward; beyond the last it is the last one.
        fixed_share: F / (F + R), from 0 to 1.
        power: how late it is spent, 1 or more.
    """
    index = min(bisect_left(looks, rounds), len(looks) - 1)
    return _levels(total, looks, int(fixed_share * _STEPS), power)[index]


def spent(total: float, times: Sequence[float], power: float = LATE) -> list[float]:
    """How much of `total` each look spends, by its time (ascending, the last one 1)."""
    parts = [time**power for time in times]
    return [total * (now - before) for before, now in zip((0.0, *parts), parts, strict=False)]


@lru_cache(maxsize=4096)
def _levels(total: float, looks: tuple[int, ...], step: int, power: float) -> tuple[float, ...]:
    share = step / _STEPS
    variances = [share + (1 - share) / look for look in looks]
    fractions = [variances[-1] / variance for variance in variances]
    times = [(fraction + look / looks[-1]) / 2 for fraction, look in zip(fractions, looks, strict=True)]
    return tuple(levels_at(fractions, spent(total, times, power)))


def levels_at(fractions: Sequence[float], spending: Sequence[float]) -> list[float]:
    """Nominal one-sided level of each look, for what it may spend.

    The density of the paths that have crossed no boundary yet is carried from look to look by numerical
    integration (Armitage, McPherson and Rowe 1969, doi:10.2307/2343787), on an even grid.

    Args:
        fractions: information fractions, ascending, above 0, the last one 1.
        spending: the chance that a path without drift crosses first at this look, 0 or above.
    """
    highest = max(-float(special.ndtri(max(min(spending), 1e-300))), 0.0) + 1
    points = np.arange(_LOWEST, highest, _CELL)
    levels: list[float] = []
    weights = np.empty(0)  # the mass at each point of B(t), of the paths below all boundaries
    before = 0.0
    for fraction, chance in zip(_apart(fractions), spending, strict=True):
        sd = math.sqrt(fraction - before)
        if weights.size:
            boundary = _boundary(points, weights, sd, chance)
            weights = _stepped(weights, sd)
        else:
            boundary = -float(special.ndtri(chance)) * sd
            weights = np.exp(-0.5 * (points / sd) ** 2) * _CELL / (sd * math.sqrt(2 * math.pi))
        levels.append(float(special.ndtr(-boundary / math.sqrt(fraction))))
        # Of the cell that the boundary is in, the part below it.
        weights = weights * np.clip((boundary - points) / _CELL + 0.5, 0, 1)
        before = fraction
    return levels


def _apart(fractions: Sequence[float]) -> list[float]:
    gap = min(_CLOSEST, 0.5 / len(fractions))
    apart = list(fractions)
    for index in range(len(apart) - 2, -1, -1):
        apart[index] = min(apart[index], apart[index + 1] - gap)
    return apart


def _stepped(weights: NDArray[np.float64], sd: float) -> NDArray[np.float64]:
    """The masses after a normal step with this standard deviation, from cell to cell."""
    reach = math.ceil(9 * sd / _CELL)
    edges = (np.arange(-reach, reach + 2) - 0.5) * _CELL / sd
    return np.convolve(weights, np.diff(special.ndtr(edges)))[reach : reach + weights.size]


def _boundary(points: NDArray[np.float64], weights: NDArray[np.float64], sd: float, chance: float) -> float:
    """Where the paths from `points` cross with the probability `chance`, one step of `sd` later."""

    def too_many(where: float) -> float:
        return float(weights @ special.ndtr((points - where) / sd)) - chance

    return float(optimize.brentq(too_many, points[0] - 9 * sd, points[-1] + 9 * sd))

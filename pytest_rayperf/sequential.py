"""Looking after every round without raising the error: nominal levels of a group-sequential test. Pure.

An estimate after n rounds has the variance F + R / n: F is what more rounds do not shrink (the difference
between sessions, the reference's own rounds), R the variance of a round. Its information is 1 / (F + R / n),
and estimates after n = 1, 2, ... have the covariances of Brownian motion looked at in time proportional to
information (Jennison and Turnbull, "Group Sequential Methods", 2000, ch. 3.1; the common part F does not
break that: cov(estimate_m, estimate_n) = F + R / max(m, n), the variance of the later one).

The error is spent by a function of Lan and DeMets (1983, doi:10.1093/biomet/70.3.659), a power of the
information fraction t (Kim and DeMets 1987, doi:10.1093/biomet/74.1.149): up to the look at t, the part
t**power of the error. So where rounds say little more than the first look did (F is large), nearly all is
spent there, and where each round counts it is dealt to all of them: evenly with power 1, more of it to the
later ones with a higher power. The last look is then the more like one that comes alone, and the first ones,
of few rounds, whose scatter is least known, must show more.

The levels are for known variances. They are used as quantiles of Student's t where variances are estimated,
the "significance level approach" of Jennison and Turnbull, ch. 4.4.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

LATE = 2.0
"""The power. What it does to errors and rounds: benchmarks/gate/README.md."""

_STEPS = 40
"""Shares of F in F + R are rounded to this grid, so that levels can be kept. Between two neighbours a level
differs by 3 % at the most, and the sum over looks stays what it was."""

_NODES = 96
"""Of the Gauss-Legendre rule below each boundary."""

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
    return _levels(total, looks, round(fixed_share * _STEPS), power)[index]


def spent(total: float, fractions: Sequence[float], power: float = LATE) -> list[float]:
    """How much of `total` each look spends, by its information fraction (ascending, the last one 1)."""
    parts = [fraction**power for fraction in fractions]
    return [total * (now - before) for before, now in zip((0.0, *parts), parts, strict=False)]


@lru_cache(maxsize=4096)
def _levels(total: float, looks: tuple[int, ...], step: int, power: float) -> tuple[float, ...]:
    share = step / _STEPS
    variances = [share + (1 - share) / look for look in looks]
    fractions = [variances[-1] / variance for variance in variances]
    return tuple(levels_at(fractions, spent(total, fractions, power)))


def levels_at(fractions: Sequence[float], spending: Sequence[float]) -> list[float]:
    """Nominal one-sided level of each look, for what it may spend.

    The density of the paths that have crossed no boundary yet is carried from look to look by numerical
    integration (Armitage, McPherson and Rowe 1969, doi:10.2307/2343787).

    Args:
        fractions: information fractions, ascending, above 0 and at most 1. Equal ones are one look.
        spending: the chance that a path without drift crosses first at this look.
    """
    levels: list[float] = []
    points = weights = np.empty(0)  # B(t) below all boundaries: where, and the mass there
    before = 0.0
    for fraction, chance in zip(fractions, spending, strict=True):
        step = fraction - before
        if step <= 1e-9:  # no new information: nothing to cross, and the last level goes on
            levels.append(levels[-1] if levels else chance)
            continue
        if before == 0.0:
            boundary = float(-special.ndtri(chance)) * np.sqrt(fraction)
        else:
            boundary = _boundary(points, weights, np.sqrt(step), chance)
        levels.append(float(special.ndtr(-boundary / np.sqrt(fraction))))
        points, weights = _below(boundary, points, weights, fraction, step)
        before = fraction
    return levels


def _boundary(points: NDArray[np.float64], weights: NDArray[np.float64], sd: float, chance: float) -> float:
    """Where the paths from `points` cross with the probability `chance`, one step of `sd` later."""
    low, high = float(points[0]) - 9 * sd, float(points[-1]) + 9 * sd
    for _ in range(60):
        middle = (low + high) / 2
        if float(weights @ special.ndtr((points - middle) / sd)) > chance:
            low = middle
        else:
            high = middle
    return high


def _below(
    boundary: float, points: NDArray[np.float64], weights: NDArray[np.float64], fraction: float, step: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The paths below `boundary` after a step: nodes of a quadrature, and their masses."""
    nodes, rule = _legendre()
    low = _LOWEST * np.sqrt(fraction)
    half = (boundary - low) / 2
    where = low + half * (nodes + 1)
    if points.size:
        kernel = np.exp(-0.5 * ((where[:, None] - points[None, :]) / np.sqrt(step)) ** 2)
        density = kernel @ weights / np.sqrt(2 * np.pi * step)
    else:
        density = np.exp(-0.5 * where**2 / fraction) / np.sqrt(2 * np.pi * fraction)
    return where, density * rule * half


@lru_cache(maxsize=1)
def _legendre() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, rule = np.polynomial.legendre.leggauss(_NODES)
    return nodes, rule

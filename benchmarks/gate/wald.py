"""Wald's sequential test of a slowdown against the threshold (1945, doi:10.1214/aoms/1177731118).

It is told what no gate knows: the standard deviation of a pair's log ratio, and the slowdown. The chance of a
false alarm is `alpha`, that of a false pass BETA.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pytest_rayperf.judging.policy import BETA


def rounds_on(
    logs: NDArray[np.float64], sd: float, true: float, threshold: float, alpha: float, first: int = 1
) -> int | None:
    """Pairs after which it ends, `first` or more, on these log ratios (above 0 for worse).

    None where there are too few, or the slowdown is the threshold and there is nothing to ask.
    """
    if true == threshold:
        return None
    null, other = sorted(map(math.log, (true, threshold)))
    steps = (other - null) * (logs - (null + other) / 2) / sd**2
    sums = np.cumsum(steps)
    ended = (sums >= math.log((1 - BETA) / alpha)) | (sums <= math.log(BETA / (1 - alpha)))
    ended[: first - 1] = False
    return int(np.argmax(ended)) + 1 if ended.any() else None


def expected_rounds(sd: float, true: float, threshold: float, alpha: float) -> float:
    """Pairs that it takes in the mean, at least 1.

    ((4:8), for a normal mean: the expected log likelihood ratio at the end over that of one step. It leaves
    out that a test ends after whole rounds.)
    """
    if true == threshold:
        return math.inf
    low, high = math.log(BETA / (1 - alpha)), math.log((1 - BETA) / alpha)
    at_end = (1 - BETA) * high + BETA * low if true > threshold else -((1 - alpha) * low + alpha * high)
    return max(1.0, at_end * 2 * (sd / math.log(threshold / true)) ** 2)

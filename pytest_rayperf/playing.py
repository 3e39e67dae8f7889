"""The gate run again and again on pairs of rounds that were measured once: how often it says what. Pure.

A play is a run of the gate: pairs drawn with replacement from the measured ones, one after the other, until
the code that decides (`verdict.settled_pairs`, `verdict.judge_pairs`) says that it is settled (the bootstrap:
Efron 1979, doi:10.1214/aos/1176344552). Same against same is played with either round of a pair as the
reference, by chance: that makes its true ratio 1 and leaves the noise as it was.

What a play cannot know: the difference between sessions, which is in the comparison with a stored baseline
and not in a pair; and noise that did not come up in the rounds that were measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.metrics import CPU_PER_ROW, REUSED
from pytest_rayperf.results import Round
from pytest_rayperf.verdict import judge_pairs, settled_pairs

Pair = tuple[Round, Round]
"""A round of the plain pipeline, and the one beside it."""

_SEED = 20261124


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
    # Quantiles of the beta distribution.
    low = 0.0 if hits == 0 else float(special.betaincinv(hits, of - hits + 1, 0.025))
    high = 1.0 if hits == of else float(special.betaincinv(hits + 1, of - hits, 0.975))
    return Rate(hits, of, low, high)


def percent(found: Rate) -> str:
    """`97.1 % [96.3, 97.8]`."""
    return f"{100 * found.share:.3g} % [{100 * found.low:.3g}, {100 * found.high:.3g}]"


@dataclass(frozen=True)
class Played:
    """What came of the plays. `rounds`: median, 5 % and 95 % of the pairs until the gate was settled."""

    regressed: Rate
    passed: Rate
    """Called unchanged or improved."""
    rounds: tuple[float, float, float]


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


def lean(round_: Round) -> Round:
    """What the gate reads of a round, and no more: plays are many.

    CPU seconds are a figure of its own here, and no operator's: nobody asks a play where it comes from.
    """
    cpu = round_.cpu_seconds_per_row
    figures = {} if cpu is None else {CPU_PER_ROW.name: cpu}
    if REUSED.name in round_.figures:
        figures[REUSED.name] = round_.figures[REUSED.name]
    return Round(
        rows=round_.rows,
        wall_seconds=round_.wall_seconds,
        peak_worker_memory=round_.peak_worker_memory,
        figures=figures,
    )


def scaled(round_: Round, cpu: float, wall: float) -> Round:
    """A lean round with so many times the CPU and wall time."""
    figures = {
        name: value * (cpu if name == CPU_PER_ROW.name else 1.0) for name, value in round_.figures.items()
    }
    return replace(round_, wall_seconds=round_.wall_seconds * wall, figures=figures)

"""The ratio of a duel's two variants, and whether it holds its floor; ladders and sweeps of several. Pure.

Two intervals with two purposes. What the report shows, and calls an effect or none, is the usual 95 %
interval: nothing fails by it. A floor fails the run, so it is missed only where the interval that keeps the
whole run's error below `--rayperf-alpha` lies below it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from pytest_rayperf.policy import NOISE, Policy
from pytest_rayperf.reasons import show
from pytest_rayperf.results import (
    METRICS,
    THROUGHPUT,
    Duel,
    DuelStatus,
    Interval,
    Ladder,
    Round,
    Step,
    Sweep,
)
from pytest_rayperf.statistics import paired_ratio

NO_EFFECT = 1.2
"""A fix whose whole interval lies within this factor of 1 is said to have no effect: a statement about the
anti-patterns, which are blamed for factors from 1.5 up, and not the threshold of a regression."""

SHOWN_ALPHA = 0.05

Pairs = Sequence[tuple[Round, Round]]


def duel_verdict(
    antipattern: str,
    metric: str,
    pairs: Pairs,
    floor: float | None,
    outputs_equal: bool | None,
    policy: Policy,
) -> Duel:
    """How many times better the fix is in `metric`, from (antipattern, fix) rounds measured in turn.

    A counter gives an exact ratio.
    """
    status: DuelStatus
    ratio = _ratio(metric, pairs, SHOWN_ALPHA / 2)
    if ratio is None and _only_in_antipattern(metric, pairs, floor or 1.0):
        status, reason = "effect", _amounts(metric, pairs)
    else:
        status, reason = _status(metric, ratio, floor, _strict(metric, pairs, policy))
    if outputs_equal is False:
        status, reason = "invalid", "the two variants' outputs differ"
    return Duel(antipattern, metric, ratio, floor, outputs_equal, status, reason)


def ladder_of(name: str, metric: str, rounds: Mapping[str, Sequence[Round]], policy: Policy) -> Ladder:
    """Each rung against the one before it, and the last against the first; `rounds` in the ladder's order."""
    names = list(rounds)
    steps = [Step(names[0], tuple(rounds[names[0]]), None, "first")]
    for before, after in zip(names, names[1:], strict=False):
        duel = duel_verdict(name, metric, _pairs(rounds[before], rounds[after]), None, True, policy)
        steps.append(Step(after, tuple(rounds[after]), duel.ratio, duel.status))
    total = _ratio(metric, _pairs(rounds[names[0]], rounds[names[-1]]), SHOWN_ALPHA / 2)
    return Ladder(name, metric, tuple(steps), total)


def sweep_of(name: str, metric: str, rounds: Mapping[str, Sequence[Round]], ended: str = "") -> Sweep:
    """The best setting by its median, and the settings that its rounds cannot be told apart from."""
    sign = 1 if METRICS[metric].better == "higher" else -1
    best = max(rounds, key=lambda setting: sign * _median(metric, rounds[setting]))
    steps = []
    for setting, own in rounds.items():
        ratio = None if setting == best else _ratio(metric, _pairs(rounds[best], own), SHOWN_ALPHA / 2)
        worse = ratio is not None and ratio.high < 1
        status = "best" if setting == best else "worse" if worse else "plateau"
        steps.append(Step(setting, tuple(own), ratio, status))  # type: ignore[arg-type]
    plateau = tuple(step.name for step in steps if step.status == "plateau")
    return Sweep(name, metric, tuple(steps), best, plateau, ended)


def _median(metric: str, rounds: Sequence[Round]) -> float:
    figures = [figure for r in rounds if (figure := r.metric(metric)) is not None]
    return statistics.median(figures) if figures else float("-inf")


def _pairs(one: Sequence[Round], other: Sequence[Round]) -> Pairs:
    return list(zip(one, other, strict=False))


def _figures(metric: str, pairs: Pairs) -> list[tuple[float, float]]:
    """Both variants' figures, pair by pair: of a metric those pairs that have both, of a counter all or none."""
    if metric in METRICS:
        both = [(bad.metric(metric), good.metric(metric)) for bad, good in pairs]
    else:
        both = [(bad.all_counters().get(metric), good.all_counters().get(metric)) for bad, good in pairs]
    known = [(a, b) for a, b in both if a is not None and b is not None]
    return known if metric in METRICS or len(known) == len(both) else []


def _only_in_antipattern(metric: str, pairs: Pairs, floor: float) -> bool:
    """Something (spilling, a counted call) that the fix does not do, or hardly: no ratio can say how much
    better none is."""
    if metric not in METRICS:
        counts = [
            (bad.all_counters().get(metric, 0), good.all_counters().get(metric, 0)) for bad, good in pairs
        ]
        return bool(counts) and all(a > 0 and b == 0 for a, b in counts)
    figures = _figures(metric, pairs)
    if not figures or METRICS[metric].better == "higher":
        return False
    return min(a for a, _ in figures) > floor * max(b for _, b in figures)


def _amounts(metric: str, pairs: Pairs) -> str:
    figures = _figures(metric, pairs)
    most = max((b for _, b in figures), default=0)
    if most == 0:
        return f"{metric} does not happen in the fix at all"
    least = min(a for a, _ in figures)
    return f"{metric} {least:.4g} or more in the anti-pattern, {most:.4g} at most in the fix"


def _ratio(metric: str, pairs: Pairs, alpha: float) -> Interval | None:
    figures = _figures(metric, pairs)
    if metric not in METRICS:
        ratios = [a / b for a, b in figures if b > 0]
        if not ratios or len(ratios) < len(figures):
            return None
        return Interval(sorted(ratios)[len(ratios) // 2], min(ratios), max(ratios))
    if not figures or any(a <= 0 or b <= 0 for a, b in figures):
        return None
    first, second = zip(*figures, strict=True)
    worse, better = (first, second) if METRICS[metric].better == "lower" else (second, first)
    noise = NOISE.get(metric, NOISE[THROUGHPUT.name])
    return paired_ratio(worse, better, noise).interval(alpha, alpha)


def _strict(metric: str, pairs: Pairs, policy: Policy) -> Interval | None:
    return _ratio(metric, pairs, policy.alpha / max(1, policy.comparisons) * policy.share(len(pairs)))


def _status(
    metric: str, ratio: Interval | None, floor: float | None, strict: Interval | None
) -> tuple[DuelStatus, str]:
    if ratio is None or strict is None:
        reason = f"{metric} was not measured in both variants"
        return ("below-floor", f"{reason}, so its floor cannot be held") if floor else ("invalid", reason)
    if floor is not None and strict.high < floor:
        return "below-floor", f"the fix is {show(strict)} better in {metric}, its floor is {floor:g}x"
    zone = NO_EFFECT if metric in METRICS else 1.0
    if 1 / zone <= ratio.low and ratio.high <= zone:
        return "no effect", f"no effect in {metric} here: {show(ratio)}"
    if ratio.low > 1:
        return "effect", ""
    if ratio.high < 1:
        return "reversed", f"the fix is worse in {metric} here: {show(ratio)}"
    return "inconclusive", f"too noisy to tell in {metric}: {show(ratio)}"

"""The ratio of a duel's two variants, and whether it holds its floor. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_rayperf.policy import NOISE, Policy
from pytest_rayperf.reasons import show
from pytest_rayperf.results import METRICS, THROUGHPUT, Duel, DuelStatus, Interval, Round
from pytest_rayperf.statistics import paired_ratio


def duel_verdict(
    antipattern: str,
    metric: str,
    pairs: Sequence[tuple[Round, Round]],
    floor: float | None,
    outputs_equal: bool | None,
    policy: Policy,
) -> Duel:
    """How many times better the fix is in `metric`, from (antipattern, fix) rounds measured in turn.

    A counter gives an exact ratio. A floor is missed when the whole interval is below it.
    """
    status: DuelStatus
    ratio = _duel_ratio(metric, pairs, policy)
    if metric not in METRICS and pairs and _never_in_fix(metric, pairs):
        status, reason = "effect", f"{metric} does not happen in the fix at all"
    else:
        status, reason = _duel_status(metric, ratio, floor, policy)
    if outputs_equal is False:
        status, reason = "invalid", "the two variants' outputs differ"
    return Duel(antipattern, metric, ratio, floor, outputs_equal, status, reason)


def _never_in_fix(metric: str, pairs: Sequence[tuple[Round, Round]]) -> bool:
    """A counter that only the anti-pattern has: no ratio can say how much better none is."""
    counts = [(bad.all_counters().get(metric, 0), good.all_counters().get(metric, 0)) for bad, good in pairs]
    return all(bad > 0 and good == 0 for bad, good in counts)


def _duel_ratio(metric: str, pairs: Sequence[tuple[Round, Round]], policy: Policy) -> Interval | None:
    if metric not in METRICS:
        bad = [pair[0].all_counters().get(metric) for pair in pairs]
        good = [pair[1].all_counters().get(metric) for pair in pairs]
        ratios = [a / b for a, b in zip(bad, good, strict=True) if a is not None and b]
        if len(ratios) < len(pairs) or not ratios:
            return None
        return Interval(sorted(ratios)[len(ratios) // 2], min(ratios), max(ratios))
    kept = [(pair[0].metric(metric), pair[1].metric(metric)) for pair in pairs]
    figures = [(a, b) for a, b in kept if a and b]
    if not figures:
        return None
    first, second = zip(*figures, strict=True)
    worse, better = (first, second) if METRICS[metric].better == "lower" else (second, first)
    noise = NOISE.get(metric, NOISE[THROUGHPUT.name])
    alpha = policy.alpha / max(1, policy.comparisons) * policy.share(len(figures))
    return paired_ratio(worse, better, noise).interval(alpha, alpha)


def _duel_status(
    metric: str, ratio: Interval | None, floor: float | None, policy: Policy
) -> tuple[DuelStatus, str]:
    if ratio is None:
        reason = f"{metric} was not measured in both variants"
        return ("below-floor", f"{reason}, so its floor cannot be held") if floor else ("invalid", reason)
    if floor is not None and ratio.high < floor:
        return "below-floor", f"the fix is {show(ratio)} better in {metric}, its floor is {floor:g}x"
    if ratio.low > 1:
        return "effect", ""
    if ratio.high < 1:
        return "reversed", f"the fix is worse in {metric} here: {show(ratio)}"
    if policy.max_slowdown >= ratio.high and ratio.low >= 1 / policy.max_slowdown:
        return "no effect", f"no effect in {metric} here: {show(ratio)}"
    return "inconclusive", f"too noisy to tell in {metric}: {show(ratio)}"

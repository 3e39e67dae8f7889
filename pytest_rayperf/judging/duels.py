"""The ratio of a duel's two variants, and whether it holds its floor; ladders and sweeps of several. Pure.

Two intervals with two purposes. What the report shows, and calls an effect or none, is the usual 95 %
interval: nothing fails by it. A floor fails the run, so it is missed only where the interval that keeps the
whole run's error below `--rayperf-alpha` lies below it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise

from pytest_rayperf.judging.noise import NOISE
from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.judging.reasons import show
from pytest_rayperf.judging.sequential import nominal_level
from pytest_rayperf.metrics import METRICS, THROUGHPUT, TIMES
from pytest_rayperf.results import Duel, DuelStatus, Interval, Ladder, Round, Step, Sweep
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
    disturbed = next((r.disturbed for pair in pairs for r in pair if r.disturbed), None)
    ratio, strict = _ratio(metric, pairs, SHOWN_ALPHA / 2), _strict(metric, pairs, policy)
    if ratio is None or strict is None:
        status, reason = _without_ratio(metric, pairs, floor)
    else:
        status, reason = _status(metric, ratio, floor, strict)
    if disturbed is not None and metric in TIMES:
        status, reason = "inconclusive", f"rounds were disturbed: {disturbed}"
    if outputs_equal is False:
        status, reason = "invalid", "the two variants' outputs differ"
    return Duel(antipattern, metric, ratio, floor, outputs_equal, status, reason)


def ladder_of(name: str, metric: str, rounds: Mapping[str, Sequence[Round]], policy: Policy) -> Ladder:
    """Each rung against the one before it, and the last against the first; `rounds` in the ladder's order."""
    names = list(rounds)
    steps = [Step(names[0], tuple(rounds[names[0]]), None, "first")]
    for before, after in pairwise(names):
        duel = duel_verdict(name, metric, _pairs(rounds[before], rounds[after]), None, True, policy)
        steps.append(Step(after, tuple(rounds[after]), duel.ratio, duel.status))
    total = better_by(metric, rounds[names[0]], rounds[names[-1]])
    return Ladder(name, metric, tuple(steps), total)


def better_by(metric: str, before: Sequence[Round], after: Sequence[Round]) -> Interval | None:
    """How many times better `after` is in `metric`, of rounds measured in turn, with its 95 % interval.

    None where a figure is missing, or 0.
    """
    return _ratio(metric, _pairs(before, after), SHOWN_ALPHA / 2)


def sweep_of(name: str, metric: str, rounds: Mapping[str, Sequence[Round]], ended: str = "") -> Sweep:
    """The best setting by its median, and the settings that its rounds cannot be told apart from."""
    best = max(rounds, key=lambda setting: _merit(metric, rounds[setting]))
    steps = []
    for setting, own in rounds.items():
        if setting == best:
            steps.append(Step(setting, tuple(own), None, "best"))
            continue
        pairs = _pairs(rounds[best], own)
        ratio = _ratio(metric, pairs, SHOWN_ALPHA / 2)
        found = _without_ratio(metric, pairs, None)[0] if ratio is None else None
        worse = found == "reversed" or (ratio is not None and ratio.high < 1)
        missing = found == "invalid"
        steps.append(
            Step(setting, tuple(own), ratio, "worse" if worse else "invalid" if missing else "plateau")
        )
    plateau = tuple(step.name for step in steps if step.status == "plateau")
    return Sweep(name, metric, tuple(steps), best, plateau, ended)


def _is_better_lower(metric: str) -> bool:
    return metric not in METRICS or METRICS[metric].better == "lower"


def _merit(metric: str, rounds: Sequence[Round]) -> float:
    """The median, more being better; where nothing was measured, less than of any other."""
    figures = [figure for r in rounds if (figure := r.figure(metric)) is not None]
    sign = -1 if _is_better_lower(metric) else 1
    return sign * statistics.median(figures) if figures else float("-inf")


def _pairs(one: Sequence[Round], other: Sequence[Round]) -> Pairs:
    return list(zip(one, other, strict=False))


def _figures(metric: str, pairs: Pairs) -> list[tuple[float, float]]:
    """Both variants' figures by pairs: of a metric those pairs that have both, of a counter all or none."""
    both = [(bad.figure(metric), good.figure(metric)) for bad, good in pairs]
    known = [(a, b) for a, b in both if a is not None and b is not None]
    return known if metric in METRICS or len(known) == len(both) else []


def _without_ratio(metric: str, pairs: Pairs, floor: float | None) -> tuple[DuelStatus, str]:
    """Where a figure is 0 (nothing spilled, nothing counted) no ratio can say how much better that is."""
    figures = _figures(metric, pairs)
    if metric not in METRICS and pairs and _only_in_antipattern(metric, pairs):
        figures = [(bad.figure(metric) or 0.0, 0.0) for bad, _ in pairs]
    if not figures:
        reason = f"{metric} was not measured in both variants"
        return ("below-floor", f"{reason}, so its floor cannot be held") if floor else ("invalid", reason)
    first, second = zip(*figures, strict=True)
    worse, better = (first, second) if _is_better_lower(metric) else (second, first)
    amounts = f"{metric} {_span(first)} in the anti-pattern, {_span(second)} in the fix"
    if min(worse) > max(better) * (floor or 1.0):
        return "effect", amounts if any(second) else f"{metric} does not happen in the fix at all"
    if floor is not None and max(worse) <= min(better) * floor:
        return "below-floor", f"{amounts}: its floor of {floor:g}x is not held"
    if not any(first) and not any(second):
        return "no effect", f"no effect in {metric} here: it is 0 in both variants"
    if max(worse) < min(better):
        return "reversed", f"the fix is worse in {metric} here: {amounts}"
    return "inconclusive", f"too noisy to tell in {metric}: {amounts}"


def _only_in_antipattern(counter: str, pairs: Pairs) -> bool:
    """What a pipeline never counted is not among its counters: it is 0 where the other one always counts."""
    return all((bad.figure(counter) or 0) > 0 and not good.figure(counter) for bad, good in pairs)


def _span(figures: Sequence[float]) -> str:
    low, high = f"{min(figures):.4g}", f"{max(figures):.4g}"
    return low if low == high else f"{low} to {high}"


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
    worse, better = (first, second) if _is_better_lower(metric) else (second, first)
    noise = NOISE.get(metric, NOISE[THROUGHPUT.name])
    return paired_ratio(worse, better, noise).interval(alpha, alpha)


def _strict(metric: str, pairs: Pairs, policy: Policy) -> Interval | None:
    total = policy.alpha / max(1, policy.comparisons)
    # Evenly: a floor is judged once, after as many pairs as the baseline's verdict took, or a test asked for.
    return _ratio(metric, pairs, nominal_level(total, policy.looks, len(pairs), fixed_share=0.0, power=1.0))


def _status(metric: str, ratio: Interval, floor: float | None, strict: Interval) -> tuple[DuelStatus, str]:
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

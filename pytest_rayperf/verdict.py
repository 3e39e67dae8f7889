"""The one place that decides: rounds, a baseline and a policy in, a verdict out. Pure.

The question for each gated metric is whether it is worse than its reference by more than the threshold T.
The slowdown's interval has two limits with a chance of error each:

- `low` is missed with probability alpha / (comparisons of the whole run): the run's false alarms. The
  union bound over all comparisons and looks (Bonferroni) keeps the whole run below `--rayperf-alpha`.
- `high` is missed with probability beta = 5 %: a slowdown beyond T that is called unchanged.

    low > T         regressed
    high < 1 / T    improved
    high <= T       unchanged
    otherwise       inconclusive

Looking at the data several times spends both: look i of n gets the share 1/2, 1/4, ... of it, the last look
what is left (a group-sequential design; Lan and DeMets 1983, doi:10.1093/biomet/70.3.659, with a union
bound in place of the looks' correlation, which can only make it more careful).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pytest_rayperf.attribution import attribute
from pytest_rayperf.policy import BETA, GATED, NOISE, Policy
from pytest_rayperf.reasons import describe, explain
from pytest_rayperf.results import (
    PEAK_MEMORY,
    REUSED,
    Attribution,
    Comparison,
    Interval,
    Metric,
    Round,
    Status,
    Subject,
    Verdict,
)
from pytest_rayperf.statistics import LogEstimate, Noise, after_rounds, session_ratio
from pytest_rayperf.targets import missed_target
from pytest_rayperf.work.comparison import compare_work
from pytest_rayperf.work.counts import Work


@dataclass(frozen=True)
class ReferenceSession:
    """One accepted session of a baseline, as far as deciding needs it."""

    rounds: tuple[Round, ...]
    software: Mapping[str, str | None] = field(default_factory=dict)
    work: Work | None = None


@dataclass(frozen=True)
class Reference:
    """A baseline, as far as deciding needs it. `name` is the file, for the messages."""

    name: str
    subject: Subject
    sessions: tuple[ReferenceSession, ...]

    @property
    def work(self) -> Work | None:
        """The work that was counted last; None if it never was."""
        return next((s.work for s in reversed(self.sessions) if s.work is not None), None)


def judge(
    rounds: Sequence[Round],
    subject: Subject,
    reference: Reference | None,
    policy: Policy,
    elsewhere: Reference | None = None,
    software: Mapping[str, str | None] | None = None,
    work: Work | None = None,
) -> Verdict:
    """The verdict on one benchmark.

    Args:
        rounds: this session's rounds, at least one.
        subject: what they measured.
        reference: the baseline of this environment.
        policy: threshold and errors.
        elsewhere: where there is no `reference`, the baseline of another environment: its counters carry
            over if it measured the same with the same software.
        software: this run's versions, for `elsewhere`.
        work: what the pipeline's work was counted to be, which has no noise and holds on any machine.
    """
    wrong = _rows_differ(rounds)
    if wrong:
        return Verdict("invalid", wrong, metric="rows", wrong=True)
    missed = missed_target(rounds, policy)
    if reference is None:
        return missed or _without_baseline(rounds, subject, elsewhere, software or {}, work)
    if reference.subject != subject:
        return missed or Verdict("incomparable", _subject_change(reference, subject))
    counted = judge_counters(rounds, reference)
    if counted is not None and counted.status != "improved":
        return counted
    worked = _judge_work(work, reference)
    if worked is not None and worked.status != "improved":
        return worked
    warm = _warm(rounds, policy)
    disturbed = next((r.disturbed for r in warm if r.disturbed), None)
    if disturbed is not None and policy.timed:
        return Verdict("inconclusive", _doubtful(rounds, disturbed))
    comparisons = () if disturbed else _compare_metrics(warm, reference, policy)
    if missed is not None:
        return missed
    found = attribute(warm, [r for s in reference.sessions for r in s.rounds])
    regressed = [c for c in comparisons if c.status == "regressed"]
    if regressed:
        reason = "\n".join(describe(c, found, reference.name) for c in regressed)
        return _from(regressed[0], comparisons, reason, found)
    less = counted or worked
    if less is not None:
        return less
    if not policy.timed:
        times = "once" if len(rounds) == 1 else f"{len(rounds)} times"
        same = f"counters as in {reference.name}; executed {times}: only a large slowdown shows"
        return Verdict("unchanged", same)
    if not comparisons:
        return Verdict("inconclusive", f"no metric of {reference.name} was measured in this run")
    # The surest metric speaks for the benchmark; the others were heard above and did not object.
    surest = comparisons[0]
    return _from(surest, comparisons, explain(surest, comparisons, len(reference.sessions)), found)


def settled(
    rounds: Sequence[Round],
    subject: Subject,
    reference: Reference | None,
    policy: Policy,
    max_rounds: int,
) -> bool:
    """Whether measuring on is pointless: the verdict is certain, or out of reach within `max_rounds`."""
    verdict = judge(rounds, subject, reference, policy)
    if not policy.timed:
        # Its one round had no warm-up: a slow one is a reason to measure on, not yet a regression.
        return verdict.status != "regressed" or not verdict.comparisons
    if reference is None or verdict.status != "inconclusive" or not verdict.comparisons:
        return True
    surest = verdict.comparisons[0]
    estimate = after_rounds(*_series(surest.metric, rounds, reference), max_rounds)
    best = _interval(surest.metric, estimate, policy, max_rounds)
    return best.low <= policy.max_slowdown < best.high


def _rows_differ(rounds: Sequence[Round]) -> str | None:
    rows = sorted({round_.rows for round_ in rounds})
    if rows[0] == 0:
        return "invalid: a round gave no rows; the pipeline loses its data"
    if len(rows) > 1:
        listed = ", ".join(map(str, rows))
        return f"invalid: rounds of the same pipeline gave different numbers of rows: {listed}"
    return None


def _doubtful(rounds: Sequence[Round], reason: str) -> str:
    count = sum(1 for r in rounds if r.disturbed)
    return (
        f"inconclusive: {count} of {len(rounds)} rounds were disturbed, though measured again: {reason}; "
        "what would help: a machine that does nothing else"
    )


def _warm(rounds: Sequence[Round], policy: Policy) -> Sequence[Round]:
    """The rounds whose times are compared.

    Where nothing was to be timed the first one had no warm-up. If there are more, it was the warm-up that a
    timed benchmark has before, however long it took.
    """
    return rounds if policy.timed or len(rounds) == 1 else rounds[1:]


def _without_baseline(
    rounds: Sequence[Round],
    subject: Subject,
    elsewhere: Reference | None,
    software: Mapping[str, str | None],
    work: Work | None,
) -> Verdict:
    remedy = "record one with --rayperf-update-baselines"
    if elsewhere is None or elsewhere.subject != subject:
        return Verdict("no-baseline", f"no baseline for this environment; {remedy}")
    same = [s for s in elsewhere.sessions if _same_software(s.software, software)]
    if not same:
        return Verdict("no-baseline", f"no baseline for this environment; {remedy}")
    counted = judge_counters(rounds, Reference(elsewhere.name, subject, tuple(same)))
    if counted is not None and counted.status in ("regressed", "invalid"):
        return counted
    worked = _judge_work(work, elsewhere)
    if worked is not None and worked.status == "regressed":
        return worked
    counters = "equal" if counted is None else "better than"
    reason = f"no baseline for this environment, counters {counters} {elsewhere.name}; {remedy}"
    return Verdict("no-baseline", reason)


_SAME = ("python", "ray", "torch", "torchvision", "numpy", "pillow", "pyarrow")


def _same_software(one: Mapping[str, str | None], other: Mapping[str, str | None]) -> bool:
    return all(one.get(name) == other.get(name) for name in _SAME)


def _subject_change(reference: Reference, subject: Subject) -> str:
    changes = [
        f"{name} {old!r} -> {new!r}"
        for name in Subject.__dataclass_fields__
        if (old := getattr(reference.subject, name)) != (new := getattr(subject, name))
    ]
    return (
        f"incomparable: {reference.name} measured something else ({', '.join(changes)}); "
        "record this one with --rayperf-update-baselines"
    )


def judge_counters(rounds: Sequence[Round], reference: Reference) -> Verdict | None:
    """The verdict, if any counter changed: exactly compared.

    A counter that varies from round to round on a side has noise: it does not gate.
    """
    changed = _changed_counters(rounds, reference)
    accept = "accept with --rayperf-update-baselines"
    for name, old, new in changed:
        if name == "rows":
            text = _counter_change(name, old, new, reference)
            reason = f"invalid: {text}; rows are missing or doubled; {accept}"
            return Verdict("invalid", reason, metric=name, wrong=True)
    worse = [change for change in changed if change[2] > change[1]]
    status: Status = "regressed" if worse else "improved"
    told = worse or changed
    if not told:
        return None
    name, old, new = told[0]
    lines = [f"{status}: {_counter_change(*change, reference)}" for change in told]
    reason = "\n".join(f"{line}; {accept}" if worse else line for line in lines)
    ratio = new / old if old else None
    return Verdict(status, reason, metric=name, ratio=ratio, threshold=1.0)


def _judge_work(work: Work | None, reference: Reference) -> Verdict | None:
    """Exact comparison of the counted work; None where nothing changed, or where it cannot be told."""
    if work is None or reference.work is None:
        return None
    changes = [change for change in compare_work(work, reference.work) if change.gates]
    worse = [change for change in changes if change.regression]
    told = worse or changes
    if not told:
        return None
    status: Status = "regressed" if worse else "improved"
    accept = "; accept with --rayperf-update-baselines" if worse else ""
    lines = [f"{status}: {change.explanation} (exact), baseline {reference.name}{accept}" for change in told]
    first = told[0]
    return Verdict(status, "\n".join(lines), metric=first.counter, ratio=first.ratio, threshold=1.0)


def _counter_change(name: str, old: int, new: int, reference: Reference) -> str:
    return f"{name} {old} -> {new} a round (exact), baseline {reference.name}"


def _changed_counters(rounds: Sequence[Round], reference: Reference) -> list[tuple[str, int, int]]:
    """Counters that are constant on both sides and differ. A new name was not counted before: no change."""
    changes = []
    old_rounds = [r.all_counters() for s in reference.sessions for r in s.rounds]
    new_rounds = [r.all_counters() for r in rounds]
    for name in sorted({name for r in old_rounds for name in r}, key=_rows_first):
        old = {r.get(name, 0) for r in old_rounds}
        new = {r.get(name, 0) for r in new_rounds}
        if len(old) == 1 and len(new) == 1 and old != new:
            changes.append((name, old.pop(), new.pop()))
    return changes


def _rows_first(name: str) -> tuple[bool, str]:
    return name != "rows", name


def _series(
    metric: Metric, rounds: Sequence[Round], reference: Reference
) -> tuple[list[list[float]], list[float], Noise]:
    sessions = [_figures(metric, s.rounds) for s in reference.sessions]
    return [s for s in sessions if s], _figures(metric, rounds), NOISE[metric.name]


def _figures(metric: Metric, rounds: Sequence[Round]) -> list[float]:
    """The metric in those rounds; none at all if any round lacks it, for the rest would be a selection."""
    if metric == PEAK_MEMORY and any(r.metric(REUSED.name) for r in rounds):
        return []  # what earlier tests had those workers import is in it
    figures = [r.metric(metric.name) for r in rounds]
    usable = [f for f in figures if f is not None and math.isfinite(f) and f > 0]
    return usable if len(usable) == len(figures) else []


def _compare_metrics(rounds: Sequence[Round], reference: Reference, policy: Policy) -> tuple[Comparison, ...]:
    compared = []
    for metric in GATED:
        sessions, current, noise = _series(metric, rounds, reference)
        if sessions and current:
            estimate = session_ratio(sessions, current, noise)
            compared.append(_compare(metric, estimate, sessions, current, policy))
    return tuple(compared)


def _compare(
    metric: Metric,
    estimate: LogEstimate,
    sessions: list[list[float]],
    current: list[float],
    policy: Policy,
) -> Comparison:
    limit = policy.max_slowdown
    slowdown = _interval(metric, estimate, policy, len(current))
    status: Status = "inconclusive"
    if slowdown.low > limit:
        status = "regressed"
    elif slowdown.high < 1 / limit:
        status = "improved"
    elif slowdown.high <= limit:
        status = "unchanged"
    worse = LogEstimate(0.0, estimate.standard_error, estimate.df)
    return Comparison(
        metric=metric,
        status=status,
        reference=_geometric_mean([_geometric_mean(session) for session in sessions]),
        current=_geometric_mean(current),
        slowdown=slowdown,
        threshold=limit,
        mde=worse.detectable(limit, policy.alpha_for(metric.name) * policy.share(len(current))),
    )


def _interval(metric: Metric, estimate: LogEstimate, policy: Policy, rounds: int) -> Interval:
    sign = 1 if metric.better == "lower" else -1
    worse = LogEstimate(sign * estimate.value, estimate.standard_error, estimate.df)
    share = policy.share(rounds)
    return worse.interval(policy.alpha_for(metric.name) * share, BETA * share)


def _geometric_mean(figures: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, figures)) / len(figures))


def _from(
    c: Comparison, comparisons: tuple[Comparison, ...], reason: str, found: Attribution | None
) -> Verdict:
    ratio = c.ratio
    return Verdict(
        status=c.status,
        reason=reason,
        metric=c.metric.name,
        ratio=ratio.ratio,
        ci=(ratio.low, ratio.high),
        threshold=c.threshold,
        mde=c.mde,
        comparisons=comparisons,
        attribution=found,
    )

"""A metric's figures, session by session, as far as they can be compared. Pure.

The same machine is faster in one hour than in another. What can be shown to take that out is taken out:

- CPU times, where every session has a probe, are brought to this session's speed: a session whose probe took
  1.2x the CPU seconds that it takes now would have taken 1 / 1.2 of its CPU time now.
- Throughput is there to find waiting; work shows in CPU time, and surer. So where CPU seconds a row are known
  on both sides, and there are more of them now, each session's throughput is lowered by as much first: a
  pipeline that computes takes longer by that on a slower machine, and the ratio of wall to CPU time stays. It
  is never raised: who saves CPU time and is no faster for it has lost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_rayperf.policy import PROBE_LIMIT
from pytest_rayperf.reference import Reference, ReferenceSession
from pytest_rayperf.results import CPU_PER_ROW, PEAK_MEMORY, REUSED, THROUGHPUT, Metric, Probe, Round

Figures = tuple[float, ...]


@dataclass(frozen=True)
class Series:
    """The figures of one metric.

    Attributes:
        sessions: of each session of the reference, its rounds', brought to what they would be now.
        current: this session's rounds'.
    """

    sessions: tuple[Figures, ...]
    current: Figures

    def __bool__(self) -> bool:
        """Whether there are figures on both sides."""
        return bool(self.sessions and self.current)


def series_of(
    metric: Metric, rounds: Sequence[Round], reference: Sequence[ReferenceSession], probe: Probe | None
) -> Series:
    """The figures of `metric` in these rounds and in those sessions that have it.

    Args:
        metric: which one.
        rounds: this session's.
        reference: what they are compared with.
        probe: around this session's rounds.
    """
    sessions = [session for session in reference if figures_of(metric, session.rounds)]
    if metric in (CPU_PER_ROW, THROUGHPUT):
        # What was recorded on a machine of quite another speed says nothing of times on this one.
        sessions = [session for session in sessions if not _apart(session.probe, probe)]
    factors = _factors(metric, rounds, sessions, probe)
    brought = [
        tuple(figure * factor for figure in figures_of(metric, session.rounds))
        for session, factor in zip(sessions, factors, strict=True)
    ]
    # A factor that no machine has (1e-300 CPU seconds a row, and 1e300) leaves nothing that is a number.
    usable = tuple(figures for figures in brought if all(0 < figure < math.inf for figure in figures))
    return Series(usable, figures_of(metric, rounds))


def _factors(
    metric: Metric, rounds: Sequence[Round], sessions: Sequence[ReferenceSession], probe: Probe | None
) -> list[float]:
    """By session, what makes of its figures what they would be now."""
    if metric == CPU_PER_ROW:
        speeds = [session.probe.seconds if session.probe else None for session in sessions]
        now = probe.seconds if probe else None
        known = [seconds for seconds in speeds if seconds is not None]
        if now is not None and len(known) == len(speeds):
            return [now / seconds for seconds in known]
    if metric == THROUGHPUT:
        current = figures_of(CPU_PER_ROW, rounds)
        times = [figures_of(CPU_PER_ROW, session.rounds) for session in sessions]
        if current and all(times):
            return [min(1.0, _mean(one) / _mean(current)) for one in times]
    return [1.0] * len(sessions)


def _apart(then: Probe | None, now: Probe | None) -> bool:
    if then is None or now is None or then.seconds is None or now.seconds is None:
        return False
    return abs(math.log(now.seconds) - math.log(then.seconds)) > math.log(PROBE_LIMIT)


def _mean(figures: Figures) -> float:
    return math.exp(math.fsum(map(math.log, figures)) / len(figures))


def figures_of(metric: Metric, rounds: Sequence[Round]) -> Figures:
    """The metric in those rounds; none at all if any round lacks it, for the rest would be a selection."""
    if metric == PEAK_MEMORY and any(r.metric(REUSED.name) for r in rounds):
        return ()  # what earlier tests had those workers import is in it
    figures = [r.metric(metric.name) for r in rounds]
    usable = tuple(f for f in figures if f is not None and math.isfinite(f) and f > 0)
    return usable if len(usable) == len(figures) else ()


def other_machine(probe: Probe | None, reference: Reference) -> str | None:
    """Why times cannot be compared, where this machine does fixed work so much faster or slower."""
    then = [math.log(seconds) for s in reference.recent if s.probe and (seconds := s.probe.seconds)]
    now = probe.seconds if probe else None
    if now is None or not then:
        return None
    apart = math.log(now) - math.fsum(then) / len(then)
    if abs(apart) <= math.log(PROBE_LIMIT):
        return None
    factor = math.exp(min(apart, 700.0))
    return (
        f"incomparable: for fixed work this machine takes {factor:.2f}x the CPU time that it took when "
        f"{reference.name} was recorded (limit {PROBE_LIMIT:g}x either way): its times are another "
        "machine's; the counters are equal; record it here with --rayperf-update-baselines"
    )

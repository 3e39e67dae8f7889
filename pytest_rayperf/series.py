"""A metric's figures, session by session, as far as they can be compared. Pure.

Where every session has a probe, CPU times are brought to this session's speed first: a session whose probe
took 1.2x the CPU seconds that it takes now would have taken 1 / 1.2 of its CPU time now.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_rayperf.policy import PROBE_LIMIT, PROBED_NOISE
from pytest_rayperf.reference import Reference, ReferenceSession
from pytest_rayperf.results import PEAK_MEMORY, REUSED, Metric, Probe, Round


@dataclass(frozen=True)
class Series:
    """The figures of one metric.

    Attributes:
        sessions: of each session of the reference, its rounds'.
        current: this session's rounds'.
        probed: whether the former were brought to this session's speed.
    """

    sessions: tuple[tuple[float, ...], ...]
    current: tuple[float, ...]
    probed: bool = False

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
    known = [(session, figures_of(metric, session.rounds)) for session in reference]
    known = [(session, figures) for session, figures in known if figures]
    current = figures_of(metric, rounds)
    speeds = [session.probe.seconds if session.probe else None for session, _ in known]
    now = probe.seconds if probe else None
    if metric.name not in PROBED_NOISE or now is None or None in speeds:
        return Series(tuple(figures for _, figures in known), current)
    then = [seconds for seconds in speeds if seconds is not None]
    return Series(
        tuple(
            tuple(figure * now / seconds for figure in figures)
            for (_, figures), seconds in zip(known, then, strict=True)
        ),
        current,
        probed=True,
    )


def figures_of(metric: Metric, rounds: Sequence[Round]) -> tuple[float, ...]:
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

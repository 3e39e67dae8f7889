"""A metric's figures, session by session, as far as they can be compared. Pure.

The same machine is faster in one hour than in another. What can be shown to take that out is taken out:

- CPU times, where every session has a probe, are brought to this session's speed: a session whose probe took
  1.2x the CPU seconds that it takes now would have taken 1 / 1.2 of its CPU time now.
- Of throughput the waiting is left: rows/s times CPU seconds a row, which is the number of busy cores. The
  machine's speed is in both factors, one over the other, so that the product varies by a third of what either
  does. What work there is, is asked of CPU time; `comparing.py` puts both together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pytest_rayperf.judging.noise import (
    DISTURBED,
    NOISE,
    UNPROBED_SD,
    UNPROBED_WEIGHT,
    WAITING,
    WAITING_DISTURBED,
)
from pytest_rayperf.judging.policy import PROBE_LIMIT
from pytest_rayperf.judging.reference import Reference, ReferenceSession
from pytest_rayperf.machine import Probe
from pytest_rayperf.metrics import CPU_PER_ROW, PEAK_MEMORY, REUSED, THROUGHPUT, Metric
from pytest_rayperf.results import Round
from pytest_rayperf.statistics import Noise

Figures = tuple[float, ...]

_TIMES = (CPU_PER_ROW, THROUGHPUT)


@dataclass(frozen=True)
class Series:
    """The figures of one metric.

    Attributes:
        metric: which one.
        sessions: of each session of the reference, its rounds', brought to what they would be now.
        current: this session's rounds'.
        noise: what is believed of them beforehand.
        work: of throughput, where the figures are busy cores: the CPU seconds a row of the same rounds.
        whole: with `work`, what is believed of both together, which is throughput itself.
        machine: of CPU times, the mean log of how many times slower the machine is now at fixed work: what
            they were multiplied by.
    """

    metric: Metric
    sessions: tuple[Figures, ...]
    current: Figures
    noise: Noise
    work: Series | None = None
    whole: Noise = NOISE[THROUGHPUT.name]
    machine: float = 0.0

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
    if metric in _TIMES:
        # What was recorded on a machine of quite another speed says nothing of times on this one.
        sessions = [session for session in sessions if not _apart(session.probe, probe)]
    if metric == CPU_PER_ROW:
        return _of_work(rounds, sessions, probe)
    if metric == THROUGHPUT:
        return _of_waiting(rounds, sessions, probe) or _of_times(metric, rounds, sessions)
    return Series(metric, _figures(metric, sessions), figures_of(metric, rounds), NOISE[metric.name])


def _of_work(rounds: Sequence[Round], sessions: Sequence[ReferenceSession], probe: Probe | None) -> Series:
    """CPU seconds a row, at this session's speed where all sessions have a probe."""
    slower = _slower_now(sessions, probe)
    if not slower:
        return _of_times(CPU_PER_ROW, rounds, sessions)
    brought = [
        _numbers(figure * factor for figure in figures_of(CPU_PER_ROW, session.rounds))
        for session, factor in zip(sessions, slower, strict=True)
    ]
    return Series(
        CPU_PER_ROW,
        tuple(filter(None, brought)),
        figures_of(CPU_PER_ROW, rounds),
        _believed(CPU_PER_ROW, rounds, sessions),
        machine=math.fsum(map(math.log, slower)) / len(slower),
    )


def _of_waiting(
    rounds: Sequence[Round], sessions: Sequence[ReferenceSession], probe: Probe | None
) -> Series | None:
    """Busy cores, where every session and this one have CPU times; those that have none are few, and old."""
    known = [session for session in sessions if figures_of(CPU_PER_ROW, session.rounds)]
    brought = [_busy_cores(session.rounds) for session in known]
    current = _busy_cores(rounds)
    work = _of_work(rounds, known, probe)
    if not (current and work and all(brought)):
        return None
    noise = WAITING_DISTURBED if _disturbed(rounds, known) else WAITING
    return Series(THROUGHPUT, tuple(brought), current, noise, work, _believed(THROUGHPUT, rounds, known))


def _busy_cores(rounds: Sequence[Round]) -> Figures:
    speeds, times = figures_of(THROUGHPUT, rounds), figures_of(CPU_PER_ROW, rounds)
    return _numbers(a * b for a, b in zip(speeds, times, strict=True)) if speeds and times else ()


def _of_times(metric: Metric, rounds: Sequence[Round], sessions: Sequence[ReferenceSession]) -> Series:
    """As they were measured."""
    believed = _believed(metric, rounds, sessions)
    noise = replace(believed, session_sd=UNPROBED_SD, session_weight=UNPROBED_WEIGHT)
    return Series(metric, _figures(metric, sessions), figures_of(metric, rounds), noise)


def _believed(metric: Metric, rounds: Sequence[Round], sessions: Sequence[ReferenceSession]) -> Noise:
    return (DISTURBED if _disturbed(rounds, sessions) else NOISE)[metric.name]


def _disturbed(rounds: Sequence[Round], sessions: Sequence[ReferenceSession]) -> bool:
    """Half of them or more: one among many hardly says what the others scatter by."""
    marks = [bool(r.disturbed) for one in (rounds, *(session.rounds for session in sessions)) for r in one]
    return any(marks) and 2 * sum(marks) >= len(marks)


def _figures(metric: Metric, sessions: Sequence[ReferenceSession]) -> tuple[Figures, ...]:
    return tuple(figures_of(metric, session.rounds) for session in sessions)


def _slower_now(sessions: Sequence[ReferenceSession], probe: Probe | None) -> list[float] | None:
    """By session, how many times the CPU seconds fixed work takes now; None where one is without a probe."""
    slower = [known for session in sessions if (known := _log_slower(probe, session.probe)) is not None]
    return None if len(slower) < len(sessions) else [math.exp(log) for log in slower]


def _apart(then: Probe | None, now: Probe | None) -> bool:
    slower = _log_slower(now, then)
    return slower is not None and abs(slower) > math.log(PROBE_LIMIT)


def _log_slower(now: Probe | None, then: Probe | None) -> float | None:
    return None if now is None or then is None else now.log_slower(then)


def _numbers(figures: Iterable[float]) -> Figures:
    """The figures; none where factors that no machine has (1e300 s a row) left one that is no number."""
    listed = tuple(figures)
    return listed if all(0 < figure < math.inf for figure in listed) else ()


def figures_of(metric: Metric, rounds: Sequence[Round]) -> Figures:
    """The metric in those rounds; none at all if any round lacks it, for the rest would be a selection."""
    if metric == PEAK_MEMORY and any(r.figures.get(REUSED.name) for r in rounds):
        return ()  # what earlier tests had those workers import is in it
    name = metric.name
    figures = []
    for round_ in rounds:
        figure = round_.metric(name)
        if figure is None or not 0 < figure < math.inf:
            return ()
        figures.append(figure)
    return tuple(figures)


def other_machine(probe: Probe | None, reference: Reference) -> str | None:
    """Why times cannot be compared, where this machine does fixed work so much faster or slower."""
    slower = [known for s in reference.recent if (known := _log_slower(probe, s.probe)) is not None]
    if not slower:
        return None
    apart = math.fsum(slower) / len(slower)
    if abs(apart) <= math.log(PROBE_LIMIT):
        return None
    factor = math.exp(min(apart, 700.0))
    return (
        f"incomparable: for fixed work this machine takes {factor:.2f}x the CPU time that it took when "
        f"{reference.name} was recorded (limit {PROBE_LIMIT:g}x either way): its times are another "
        "machine's; the counters are equal"
    ) + reference.to_do("record it here with --rayperf-update-baselines")

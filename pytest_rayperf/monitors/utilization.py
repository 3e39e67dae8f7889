"""A round's use of CPUs and GPUs over time, put together of what the samplers saw. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pytest_rayperf.results import Utilization

MOST_POINTS = 120
"""As many as a picture shows: a point is some 5 pixels of its width."""

NARROWEST_S = 0.3
"""What a point stands for at the least; a shorter rest is part of its neighbour.

/proc counts a CPU's time in 10 ms: over 0.3 s a figure is right to some 3 %, over the few milliseconds
between a round's last sample on the clock and its end it would be anything. The samplers' own intervals are
longer.
"""


@dataclass(frozen=True)
class Span:
    """A mean figure, in percent, from `begin` to `end`, in seconds by the executor's clock.

    None where it was not measured. It may be a little below 0 or above 100 by what the rounding of CPU times
    makes of it; the neighbours have the rest.
    """

    begin: float
    end: float
    percent: float | None


Spans = Sequence[Span]
"""Ascending in time; they do not overlap."""


@dataclass(frozen=True)
class CpuSpans:
    """Percent of the usable CPUs' time, by whom it was used; both of the same intervals."""

    ours: Spans = ()
    others: Spans = ()


def utilization_of(
    cpu: CpuSpans, gpus: Mapping[str, Spans], began: float, seconds: float
) -> Utilization | None:
    """What was seen of a round that began at `began` (by the spans' clock) and took `seconds`.

    Its points are the ends of the CPUs' intervals (where those are not known, of the cards'), and of them at
    most `MOST_POINTS`. CPUs and cards are sampled by different clocks, so each figure is averaged over the
    points' intervals (`averaged`). None if nothing was measured, or the round was shorter than `NARROWEST_S`.
    """
    cards = {card: spans for card, spans in gpus.items() if _is_known(spans)}
    own = [spans for spans in (cpu.ours, cpu.others) if _is_known(spans)]
    axis = cpu.ours if own else max(cards.values(), key=len, default=())
    edges = thinned(_edges(axis, began, began + seconds))
    if not axis or len(edges) < 2:
        return None
    return Utilization(
        seconds=tuple(edge - began for edge in edges[1:]),
        cpu=averaged(cpu.ours, edges),
        others=averaged(cpu.others, edges),
        gpus={card: averaged(spans, edges) for card, spans in cards.items()},
    )


def thinned(edges: Sequence[float], most: int = MOST_POINTS) -> list[float]:
    """The edges of at most `most` intervals: equally many neighbours are made one, at the end maybe fewer.

    What was measured in them is then averaged over the wider ones, so that no peak is dropped, or kept whole,
    for where it happens to lie.
    """
    if not edges:
        return []
    together = max(1, math.ceil((len(edges) - 1) / most))
    kept = list(edges[::together])
    return kept if kept[-1] == edges[-1] else [*kept, edges[-1]]


def averaged(spans: Spans, edges: Sequence[float]) -> tuple[float | None, ...]:
    """The mean of `spans` by time between each two neighbouring edges, over the part of it that was measured.

    Percent, 0 to 100; None where nothing was measured in between.
    """
    means: list[float | None] = []
    first = 0
    for begin, end in pairwise(edges):
        while first < len(spans) and spans[first].end <= begin:
            first += 1
        total = known = 0.0
        at = first
        while at < len(spans) and spans[at].begin < end:
            span = spans[at]
            if span.percent is not None:
                shared = min(span.end, end) - max(span.begin, begin)
                total += shared * span.percent
                known += shared
            at += 1
        means.append(min(max(total / known, 0.0), 100.0) if known > 0 else None)
    return tuple(means)


def _edges(axis: Spans, began: float, ended: float) -> list[float]:
    edges = [began]
    for span in axis:
        if span.end - edges[-1] >= NARROWEST_S and span.end < ended:
            edges.append(span.end)
    while len(edges) > 1 and ended - edges[-1] < NARROWEST_S:
        edges.pop()
    return [*edges, ended] if ended - began >= NARROWEST_S else []


def _is_known(spans: Spans) -> bool:
    return any(span.percent is not None for span in spans)

"""Each benchmark's change since the baseline, on one scale for all, drawn within the overview's table.

To the right is worse, whatever the metric. The scale is that of ratios: half as fast is as far from the
middle as twice as fast. Hidden from screen readers, for the cells beside it say the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from pytest_rayperf.metrics import METRICS
from pytest_rayperf.reports.rows import Ratio, Row

_WIDTH, _HEIGHT, _EDGE = 150.0, 16.0, 6.0
_SMALLEST, _LARGEST = 1.25, 4.0


_SHOWN_WHOLE = 0.8
"""The share of the intervals that fit: one that says nothing must not press all others together."""


def reach(rows: Iterable[Row]) -> float:
    """The factor at both ends of the scale, on which most intervals and every threshold have room."""
    compared = [row for row in rows if row.against is not None]
    farthest = sorted(_farthest(row.against) for row in compared if row.against is not None)
    most = farthest[math.ceil(_SHOWN_WHOLE * len(farthest)) - 1] if farthest else _SMALLEST
    thresholds = [row.benchmark["verdict"].get("threshold") or 1.0 for row in compared]
    return min(max([_SMALLEST, most, *thresholds]), _LARGEST)


def _farthest(against: Ratio) -> float:
    return max(max(factor, _inverse(factor)) for factor in _worse(against))


def verdict_drawing(row: Row, end: float) -> str:
    """An interval with its threshold; "" for a row that was not compared, or whose ratio has no place on it.

    Args:
        row: whose.
        end: the factor at both ends, from `reach`; what is beyond them ends in an arrow.
    """
    if row.against is None:
        return ""
    low, middle, high = _worse(row.against)
    if not 0 < middle < math.inf:
        return ""
    threshold = row.benchmark["verdict"].get("threshold") or 1.0
    y = _HEIGHT / 2
    shapes = [f'<path d="M{_at(1.0, end):.1f} 0V{_HEIGHT:g}" class="one"/>']
    if threshold > 1:
        shapes.append(f'<path d="M{_at(threshold, end):.1f} 0V{_HEIGHT:g}" class="threshold"/>')
    if high > low:
        shapes.append(f'<path d="M{_at(low, end):.1f} {y:g}H{_at(high, end):.1f}" class="ci"/>')
    for beyond, x, step in ((high > end, _WIDTH - 1, -4), (low < 1 / end, 1, 4)):
        if beyond:
            shapes.append(f'<path d="M{x + step:g} {y - 4:g}L{x:g} {y:g}l{step} 4" class="ci"/>')
    if 1 / end <= middle <= end:
        shapes.append(f'<path d="M{_at(middle, end):.1f} {y:g}h0" class="dots median"/>')
    return (
        f'<svg aria-hidden="true" class="spark" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}">{"".join(shapes)}</svg>'
    )


def _worse(against: Ratio) -> tuple[float, float, float]:
    """Low, middle and high as factors that are above 1 where it got worse; an exact one is all three."""
    figure = against.figure
    low = figure.value if figure.low is None else figure.low
    high = figure.value if figure.high is None else figure.high
    higher = against.metric in METRICS and METRICS[against.metric].better == "higher"
    return (_inverse(high), _inverse(figure.value), _inverse(low)) if higher else (low, figure.value, high)


def _inverse(factor: float) -> float:
    return 1 / factor if factor > 0 else math.inf


def _at(factor: float, end: float) -> float:
    # A limit may be 0, or beyond every number; both ends are as far as it is drawn.
    share = math.log(min(max(factor, 1 / end), end)) / math.log(end)
    return _WIDTH / 2 + share * (_WIDTH / 2 - _EDGE)

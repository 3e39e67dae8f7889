"""Shapes of inline SVG as text. Colours and widths come from the page's style; texts are made harmless here.

One unit of a drawing is a pixel at its natural width, `WIDTH`. Names of shapes' kinds are classes of
`report.css`.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from pytest_rayperf.reports.rows import number
from pytest_rayperf.reports.safe import isolated, shortened, visible
from pytest_rayperf.reports.tables import Table

WIDTH = 440.0
"""Narrow enough for its letters to stay legible on a telephone."""

_LETTER, _DIGIT = 7.2, 6.5
"""About as wide as a letter of a name is, and a character of a line's figures."""


@dataclass(frozen=True)
class Picture:
    """A drawing, and what stands for it.

    Attributes:
        heading: a few words.
        svg: the drawing, as safe markup.
        legend: what its shapes mean: pairs of a shape's kind and its meaning.
        tables: the figures that it is drawn from.
    """

    heading: str
    svg: str
    legend: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Scale:
    """Values from `start` to `end` along a line from `left` to `right`."""

    start: float
    end: float
    left: float
    right: float

    def at(self, value: float) -> float:
        """Where a value is drawn; all at `left` where the scale has no length."""
        span = self.end - self.start
        share = (value - self.start) / span if span else 0.0
        return self.left + share * (self.right - self.left)

    def ticks(self, at_most: int = 5) -> list[float]:
        """Round values of the scale, ascending; none where it has no length."""
        span = self.end - self.start
        if not span > 0 or not math.isfinite(span):
            return []
        rough = span / at_most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))
        first = math.ceil(self.start / step - 1e-9)
        last = math.floor(self.end / step + 1e-9)
        return [n * step for n in range(first, last + 1)]


def from_zero(values: Iterable[float], left: float = 1.0, right: float = WIDTH - 9.0) -> Scale:
    """From 0 to a little beyond the largest: bars' lengths are in the proportion of their values."""
    return Scale(0.0, max(values, default=0.0) * 1.02, left, right)


class Drawing:
    """Collects shapes from the top down."""

    def __init__(self) -> None:
        self._shapes: list[str] = []

    def text(self, x: float, y: float, text: str, kind: str = "", letters: int | None = None) -> None:
        """A text that begins at (x, y), or ends there if it is of the kind `end`.

        Shortened to `letters`; then it shows the whole when it is pointed at.
        """
        shown = visible(text)
        short = shown if letters is None else shortened(shown, letters)
        tip = "" if short == shown else f"<title>{escape(shown)}</title>"
        self._shapes.append(
            f'<text x="{round(x)}" y="{round(y)}"{_kind(kind)}>{tip}{escape(isolated(short))}</text>'
        )

    def line(self, y: float, name: str, figures: str, *, inset: float = 0.0) -> None:
        """A name, shortened to the room that the figures at the line's other end leave it."""
        shown = visible(name)
        widths = [2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in shown]
        mean = _LETTER * sum(widths) / len(widths) if widths else _LETTER
        room = WIDTH - 2 * inset - _DIGIT * len(figures) - 14
        self.text(inset, y, name, letters=int(max(80.0, room) / mean))
        self.text(WIDTH - inset, y, figures, "figure end")

    def texts(self, given: Sequence[tuple[float, float, str]], kind: str) -> None:
        """Several of one kind, as an axis has them: x, y and the text of each."""
        if given:
            self._shapes.append(f"<g{_kind(kind)}>")
            for x, y, text in given:
                self.text(x, y, text)
            self._shapes.append("</g>")

    def rect(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        """A bar."""
        place = f'x="{_length(x)}" y="{_length(y)}"'
        size = f'width="{_length(max(0.0, width))}" height="{_length(height)}"'
        self._shapes.append(f"<rect {place} {size}{_kind(kind)}/>")

    def path(self, d: str, kind: str) -> None:
        """A line by SVG's own words."""
        self._shapes.append(f'<path d="{d}"{_kind(kind)}/>')

    def down(self, x: float, top: float, bottom: float, kind: str) -> None:
        """A vertical line."""
        self.path(f"M{_length(x)} {_length(top)}V{_length(bottom)}", kind)

    def across(self, left: float, right: float, y: float, kind: str) -> None:
        """A horizontal line."""
        self.path(f"M{_length(left)} {_length(y)}H{_length(right)}", kind)

    def across_all(self, left: float, right: float, ys: Iterable[float]) -> None:
        """The lines of a grid."""
        d = "".join(f"M{_length(left)} {_length(y)}H{_length(right)}" for y in ys)
        if d:
            self.path(d, "grid")

    def dots(self, points: Iterable[tuple[float, float]], kind: str) -> None:
        """Points; nothing where there are none."""
        d = "".join(f"M{_length(x)} {_length(y)}h0" for x, y in points)
        if d:
            self.path(d, f"dots {kind}".rstrip())

    def interval(self, low: float, high: float, y: float, kind: str = "ci") -> None:
        """A horizontal interval with a limit at each end."""
        a, b = _length(low), _length(high)
        self.path(f"M{a} {_length(y - 4)}v8M{a} {_length(y)}H{b}M{b} {_length(y - 4)}v8", kind)

    def axis(self, scale: Scale, y: float, top: float, unit: str) -> float:
        """A horizontal axis at `y` with lines up to `top`; the y below its figures."""
        places = [(scale.at(tick), number(tick)) for tick in scale.ticks()]
        if places:
            d = "".join(f"M{_length(x)} {_length(top)}V{_length(y)}" for x, _ in places)
            # Behind everything that was drawn before it.
            self._shapes.insert(0, f'<path d="{d}" class="grid"/>')
        # A figure in the middle of the left edge would lose its first half.
        self.texts([(x, y + 13, text) for x, text in places if x < 12], "tick")
        self.texts([(x, y + 13, text) for x, text in places if x >= 12], "tick middle")
        self.text(WIDTH, y + 27, unit, "tick end", letters=60)
        return y + 32

    def svg(self, title: str, description: str, height: float) -> str:
        """All of it as an image with a name and a description."""
        return (
            f'<svg role="img" viewBox="0 0 {WIDTH:g} {_length(height)}">'
            f"<title>{escape(isolated(visible(title)))}</title><desc>{escape(visible(description))}</desc>"
            f"{''.join(self._shapes)}</svg>"
        )


def spread(count: int) -> list[float]:
    """By how much each of `count` dots is moved across its line, so that equal ones are seen apart."""
    return [(-4.0, 2.0, -1.0, 4.0, 0.0, -3.0, 3.0)[i % 7] for i in range(count)]


def line_path(xs: Sequence[float], ys: Sequence[float | None]) -> str:
    """A line through the points, broken where one is missing. A point alone is drawn as one.

    In whole units, relative to the point before, for a report has many of these.
    """
    d, x, y, joined = [], 0, 0, False
    for index, (exact_x, exact_y) in enumerate(zip(xs, ys, strict=True)):
        if exact_y is None:
            joined = False
            continue
        new_x, new_y = round(exact_x), round(exact_y)
        if joined:
            d.append(f"l{new_x - x} {new_y - y}")
        else:
            alone = index + 1 == len(ys) or ys[index + 1] is None
            d.append(f"M{new_x} {new_y}" + ("h0" if alone else ""))
        x, y, joined = new_x, new_y, True
    return "".join(d).replace(" -", "-")


def _length(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0").replace("-0.0", "0")


def _kind(names: str) -> str:
    return f' class="{names}"' if names else ""

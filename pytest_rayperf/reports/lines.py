"""Lines for a terminal, and how texts of any script are made to fit one.

Widths are columns, not characters: Chinese and emoji take two, combining marks none. What others named must
have been made harmless before (`shortened` does that, `safe.visible` for longer texts).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from wcwidth import wcswidth

from pytest_rayperf.reports import safe

COLUMNS = 100
"""The most that a line takes. Only a line with a path may take more, for who would copy half a path?"""

Style = Literal["", "bad", "doubtful", "good", "faint", "heading"]


@dataclass(frozen=True)
class Line:
    """A line, and what is to be seen of it at a glance."""

    text: str
    style: Style = ""


def width(text: str) -> int:
    """How many columns `text` takes."""
    return len(text) if text.isascii() else int(wcswidth(text))


def shortened(text: str, columns: int) -> str:
    """A name, made harmless, in at most `columns`: of a long one its beginning and its end."""
    shown = safe.visible(text)
    if width(shown) <= columns:
        return safe.isolated(shown)
    tail = (columns - 1) // 3
    return safe.isolated(f"{_head(shown, columns - 1 - tail)}…{_tail(shown, tail)}" if columns > 0 else "")


def cut(text: str, columns: int) -> str:
    """`text` in at most `columns`: of a long one its beginning."""
    if width(text) <= columns:
        return text
    return f"{_head(text, columns - 1)}…" if columns > 0 else ""


def wrapped(text: str, indent: str = "", then: str | None = None) -> Iterator[str]:
    """`text` in lines within `COLUMNS`; those after the first begin with `then`, or two spaces more."""
    following = f"{indent}  " if then is None else then
    line = indent
    empty = True
    for word in text.split(" "):
        for part in _within(word, COLUMNS - width(following)):
            if not empty and width(line) + 1 + width(part) > COLUMNS:
                yield line
                line, empty = following, True
            line += part if empty else f" {part}"
            empty = False
    yield line


def _within(word: str, columns: int) -> Iterator[str]:
    while width(word) > columns:
        head = _head(word, columns) or word[0]
        yield head
        word = word[len(head) :]
    yield word


def _head(text: str, columns: int) -> str:
    """As much of the beginning as fits."""
    found = text[: _most(len(text), lambda length: width(text[:length]) <= columns)]
    return found.rstrip("\u200d")  # a joiner would take the next character into the emoji before it


def _tail(text: str, columns: int) -> str:
    """As much of the end as fits, without the marks of a letter that did not."""
    found = text[len(text) - _most(len(text), lambda length: width(text[len(text) - length :]) <= columns) :]
    while found and width(found[0]) == 0:
        found = found[1:]
    return found


def _most(length: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `length` that fits, where fewer fit too."""
    low, high = 0, length
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low

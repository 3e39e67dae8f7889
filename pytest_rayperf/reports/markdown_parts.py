"""What Markdown is put together of: harmless texts, tables, folded details. As GitHub reads it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pytest_rayperf.reports import safe
from pytest_rayperf.reports.rows import MISSING, number

_NAME = 120
_PROSE = 1000
_BLOCK = re.compile(r"^(\d*)([-+=.)])")
"""What would make a list, or a title of the line before it, of the line that it begins."""


def size(text: str) -> int:
    """As GitHub counts: an emoji is two."""
    return len(text) + sum(character > "\uffff" for character in text)


def name(text: str) -> str:
    """A name of someone else's, as a text within a line or a table's cell."""
    return safe.markdown(safe.shortened(text, _NAME))


def prose(text: str) -> str:
    """Someone else's sentence, which may begin a line; of a very long one the beginning."""
    shown = safe.markdown(text.strip() if len(text) <= _PROSE else f"{text.strip()[: _PROSE - 1]}…")
    return _BLOCK.sub(r"\1\\\2", shown)


def figure(value: float | None, unit: str = "") -> str:
    """A number with its unit; `-` for what was not measured."""
    return MISSING if value is None else f"{number(value)} {unit}".rstrip()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    return "\n".join([row(head), row(["---"] * len(head)), *map(row, rows)])


def row(cells: Sequence[str]) -> str:
    """One row of a table."""
    return f"| {' | '.join(cells)} |"


def bullets(lines: Iterable[str]) -> str:
    """A list; each line begins with words of ours, or is `prose`."""
    return "\n".join(f"- {line}" for line in lines)


def details(title: str, *parts: str) -> str:
    """Parts that are folded away below a title, which is plain text."""
    summary = safe.summary(safe.shortened(title, _NAME))
    body = "\n\n".join(part for part in parts if part)
    return f"<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>"


def within(room: int, lines: Sequence[str]) -> tuple[list[str], str]:
    """As many of the lines as fit into `room`, and what says how many do not, if any."""
    kept: list[str] = []
    for line in lines:
        room -= size(line) + 1
        if room < 0:
            return kept, f"and {len(lines) - len(kept)} more"
        kept.append(line)
    return kept, ""


def short_table(room: int, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose rows take no more than `room`; "" where there is no row."""
    kept, others = within(room, [row(cells) for cells in rows])
    text = "\n".join([table(head, []), *kept])
    return "" if not kept and not others else f"{text}\n\n{others}".rstrip()


def short_bullets(room: int, lines: Iterable[str]) -> str:
    """A list within `room`."""
    kept, others = within(room, [f"- {line}" for line in lines])
    return "\n".join([*kept, *([f"- {others}"] if others else [])])

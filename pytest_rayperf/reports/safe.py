"""Texts that others chose (test ids, paths, messages), made harmless and visible for each kind of report.

A name may hold control characters (they would move a terminal's cursor, or hide what follows), line ends
(they would end a table's row), right-to-left marks that swap what stands around them (CVE-2021-42574, "Trojan
Source"), Markdown and HTML.
"""

from __future__ import annotations

import html
import unicodedata

_ISOLATE, _END = "\u2068", "\u2069"
"""First strong isolate, and its end (Unicode Annex 9): what is between them swaps nothing around it."""

_MARKDOWN = "\\*_[]#~$"
"""What means something within a line; no text here begins one."""


def visible(text: str) -> str:
    """One line, in which nothing is invisible or moves what is around it: `\\n` for a line end, and so on.

    Letters of every script and emoji stay as they are.
    """
    return "".join(_shown(character) for character in text)


def shortened(text: str, width: int) -> str:
    """At most `width` characters: of a long text its beginning and its end, which differ between tests."""
    if len(text) <= width:
        return text
    if width < 2:
        return "…"[:width]
    head = (width - 1) * 2 // 3
    tail = width - 1 - head
    return f"{text[:head]}…{text[len(text) - tail :]}" if tail else f"{text[:head]}…"


def isolated(text: str) -> str:
    """Right-to-left letters in it leave the order of what is around them alone; others need nothing."""
    right_to_left = any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in text)
    return f"{_ISOLATE}{text}{_END}" if right_to_left else text


def markdown(text: str) -> str:
    """As Markdown shows it to the letter, in a table's cell too; no link, no mention, no HTML comes of it."""
    safe = isolated(visible(text))
    return "".join(_escaped(character) for character in safe)


def _escaped(character: str) -> str:
    if character in "<>&|`@:":
        # As entities: a backslash does not keep GitHub from making a mention, or a link, of what follows.
        return f"&#{ord(character)};"
    return f"\\{character}" if character in _MARKDOWN else character


def _shown(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Cc", "Zl", "Zp", "Cs") or character in "\u061c\u200e\u200f\ufeff":
        return repr(character)[1:-1] if character != "\t" else " "
    if unicodedata.bidirectional(character) in (
        "LRE",
        "RLE",
        "LRO",
        "RLO",
        "PDF",
        "LRI",
        "RLI",
        "FSI",
        "PDI",
    ):
        return repr(character)[1:-1]
    return character


def attribute(text: str) -> str:
    """As the value of an HTML or SVG attribute, in double quotes."""
    return html.escape(visible(text), quote=True)

"""Texts that others chose (test ids, paths, messages), made harmless and visible for each kind of report.

A name may hold control characters (they would move a terminal's cursor, or hide what follows), line ends
(they would end a table's row), right-to-left marks that swap what stands around them (CVE-2021-42574, "Trojan
Source"), Markdown and HTML.
"""

from __future__ import annotations

import html
import re
import unicodedata

_ISOLATE, _END = "\u2068", "\u2069"
"""First strong isolate, and its end (Unicode Annex 9): what is between them swaps nothing around it."""

_APART = "\u200b"
"""Zero-width space."""

_LINKED = re.compile(r"@|#(?=\d)|\bgh-(?=\d)|www(?=\.)|:(?=//)", re.IGNORECASE)
"""After which what follows makes a mention, a reference to an issue or a link of it."""

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
    """As Markdown shows it to the letter, in a table's cell too; no link, no mention, no HTML comes of it.

    GitHub looks for mentions, references and links when backslashes and entities are gone already, so that
    neither keeps it from finding them. Hence a zero-width space stands within each; else the text is intact.
    """
    return "".join(_escaped(character) for character in _unlinked(isolated(visible(text))))


def summary(text: str) -> str:
    """The same as the text of an HTML element in Markdown, where Markdown's own marks mean nothing."""
    escaped = html.escape(_unlinked(isolated(visible(text))), quote=False)
    return "".join(_escaped(character) if character == _APART else character for character in escaped)


def _unlinked(text: str) -> str:
    return _LINKED.sub(rf"\g<0>{_APART}", text)


def _escaped(character: str) -> str:
    if character in f"<>&|`:{_APART}":
        # As entities: Markdown knows no backslash before some, and no editor shows that space.
        return f"&#{ord(character)};"
    return f"\\{character}" if character in _MARKDOWN else character


def _shown(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Cc", "Zl", "Zp", "Cs") or character in "\u061c\u200e\u200f\ufeff\ufffe\uffff":
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

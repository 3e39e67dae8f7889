"""A report, or a table, in the format that was asked for."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pytest_rayperf.reports import safe

Format = Literal["table", "markdown", "json"]
FORMATS: tuple[Format, ...] = ("table", "markdown", "json")

_COLOURS = {"bad": "31", "doubtful": "33", "good": "32", "faint": "2", "heading": "1"}
"""Of a line's style: ANSI's SGR codes for red, yellow, green, faint, bold."""


def as_text(report: Mapping[str, Any], form: Format) -> str:
    """A run's report."""
    # Here, for it imports SciPy, and `rayperf --help` shall not wait for that.
    from pytest_rayperf import publishing

    if form == "json":
        return publishing.as_json(report)
    if form == "markdown":
        return publishing.as_markdown(report)
    from pytest_rayperf.reports.terminal import lines_of

    coloured = _has_colours()
    lines = [_coloured(line.text, line.style) if coloured else line.text for line in lines_of(report)]
    # pytest has its own place for warnings; here they come last, where they are read.
    lines += [
        safe.visible(text if text.startswith("gone: ") else f"note: {text}") for text in report["warnings"]
    ]
    return "\n".join(lines) + "\n"


def _has_colours() -> bool:
    """As https://no-color.org has it."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _coloured(text: str, style: str) -> str:
    code = _COLOURS.get(style)
    return text if code is None or not text else f"\x1b[{code}m{text}\x1b[0m"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], form: Format) -> str:
    """A table of texts, made harmless; for the terminal or as Markdown."""
    import tabulate

    make_safe = safe.markdown if form == "markdown" else safe.visible
    return str(
        tabulate.tabulate(
            [[make_safe(cell) for cell in row] for row in rows],
            headers=list(headers),
            tablefmt="github" if form == "markdown" else "simple",
            disable_numparse=True,  # texts: "12.30" must keep its zero
        )
    )


def as_json(data: object) -> str:
    """Whatever else is printed as JSON."""
    return json.dumps(data, indent=2, allow_nan=False) + "\n"

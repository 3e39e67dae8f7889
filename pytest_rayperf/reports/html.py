"""The report as one HTML page that needs nothing else: no network, no script, no file beside it.

`report.html.j2` lays out the page and `section.html.j2` a benchmark's part of it, `report.css` says how both
look. Whatever an expression of theirs gives is made visible and escaped by `_shown` and jinja2's autoescape,
so that no name can run anything; the page's Content-Security-Policy forbids the rest.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_rayperf.reports.overview import overview_of
from pytest_rayperf.reports.pictures.drawing import Picture
from pytest_rayperf.reports.pictures.ladders import ladder_picture, sweep_picture
from pytest_rayperf.reports.rows import MISSING, number, rows_of, short
from pytest_rayperf.reports.safe import shortened, visible
from pytest_rayperf.reports.sections import CALLED, Group, anchor_of, groups_of, section_of
from pytest_rayperf.reports.selftest_table import selftest_table
from pytest_rayperf.reports.tables import Column
from pytest_rayperf.reports.units import factor

if TYPE_CHECKING:
    import jinja2

MOST = 990_000
"""Bytes of a page, as far as it can be kept below that by leaving out pictures of what changed least."""

FEWEST = 300_000
"""Bytes of sections that have their pictures however many benchmarks there are."""

_BARE = 8_000
"""Bytes that a section without pictures is expected to take."""

_SECTIONS = "<!-- sections -->"
"""Where the page has the sections; no name can be that, for its `<` is escaped."""

LONGEST_NAME = 60
"""Letters of a test's name in the overview; its section has the whole one."""

LONGEST_METRIC = 24
"""Of a metric's there: a counter may have any name."""


def render(report: Mapping[str, Any], folder: Path | None = None) -> str:
    """The page.

    Args:
        report: of `report_on`, or read from a JSON file.
        folder: where the page will lie, for its links to flame graphs; None leaves them as they are.
    """
    environment = _environment()
    rows = rows_of(report)
    groups = groups_of(report, rows)
    css = files("pytest_rayperf.reports").joinpath("report.css").read_text("utf-8")
    frame = environment.get_template("report.html.j2").render(
        report=report,
        overview=overview_of(report, rows),
        anchors={row.index: anchor_of(group) for group in groups for row in group.rows},
        ladders=_drawn(report.get("ladders") or (), ladder_picture),
        sweeps=_drawn(report.get("sweeps") or (), sweep_picture),
        selftests=[(one, selftest_table(one)) for one in report.get("selftest") or ()],
        css=_markup(css),
        style_hash=base64.b64encode(hashlib.sha256(css.encode()).digest()).decode(),
    )
    # The sections come last, for how many have pictures depends on the room that the rest leaves.
    before, _, after = frame.partition(_SECTIONS)
    room = max(FEWEST, MOST - len(frame.encode()))
    return before + _sections(report, groups, folder, environment, room) + after


_Drawn = list[tuple[Mapping[str, Any], Picture | None]]


def _drawn(found: Sequence[Mapping[str, Any]], draw: Callable[[Mapping[str, Any]], Picture | None]) -> _Drawn:
    return [(one, draw(one)) for one in found]


def _sections(
    report: Mapping[str, Any],
    groups: Sequence[Group],
    folder: Path | None,
    environment: jinja2.Environment,
    room: int,
) -> str:
    """Each group's section, as markup; with pictures while those that follow have room without them."""
    template = environment.get_template("section.html.j2")
    written: list[str] = []
    used, full = 0, True
    for left, group in zip(reversed(range(len(groups))), groups, strict=True):
        text = template.render(section=section_of(report, group, folder, pictures=full))
        if full and used > min(FEWEST, room) and used + len(text.encode()) + left * _BARE > room:
            full = False
            text = template.render(section=section_of(report, group, folder, pictures=False))
        used += len(text.encode())
        written.append(text)
    return "\n".join(written)


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    def load(name: str) -> str:
        return files("pytest_rayperf.reports").joinpath(name).read_text("utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        svg=_markup,
        bdi=_bdi,
        aligned=_aligned,
        number=number,
        factor=factor,
        metric=lambda name: shortened(visible(short(name)), LONGEST_METRIC),
        called=lambda variant: CALLED.get(variant, variant),
        short=lambda name: shortened(visible(name), LONGEST_NAME),
    )
    return environment


def _shown(value: object) -> object:
    """What an expression of a template gives, before it is escaped; markup that was made here stays."""
    if value is None:
        return MISSING
    return value if hasattr(value, "__html__") else visible(str(value))


def _aligned(columns: Sequence[Column]) -> str:
    """A table's class: `t2 l3` where the second column has texts, and the third limits of the number before.

    On the table, for a report has tens of thousands of cells. Numbers need none.
    """
    letters = {"name": "t", "text": "t", "series": "s", "limits": "l", "number": ""}
    kinds = ((letters[column.kind], place) for place, column in enumerate(columns, start=1))
    names = " ".join(f"{letter}{place}" for letter, place in kinds if letter)
    return _markup(f' class="{names}"') if names else ""


def _bdi(text: object) -> str:
    """Another's text, escaped; isolated where its letters could turn the order of others round."""
    from markupsafe import escape

    shown = visible(str(text))
    return escape(shown) if shown.isascii() else _markup("<bdi>") + escape(shown) + _markup("</bdi>")


def _markup(text: str) -> str:
    from markupsafe import Markup

    return Markup(text)

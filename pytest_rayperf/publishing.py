"""Writes a run's reports to the files that were asked for, each whole or not at all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_rayperf.options import Options
from pytest_rayperf.reports.json import Report, report_on
from pytest_rayperf.run import Run
from pytest_rayperf.wholefile import write_whole

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable in which GitHub's runners name the file that a step's summary is appended to, as Markdown."""

_INTERIM_S = 10.0
_INTERIM_SHARE = 50
"""Of the time that it took: at most a fiftieth of a run goes there."""


@dataclass(frozen=True)
class Problem:
    """What went wrong with a report, in a line; `asked`: whether an option has asked for it."""

    text: str
    asked: bool


def publish(options: Options, report: Report, environ: Mapping[str, str]) -> list[Problem]:
    """Write the reports; return what went wrong.

    A report that cannot be made or written does not keep the others from being written.

    Args:
        options: which reports, and where.
        report: the object that all of them are made of.
        environ: the process's environment variables.
    """
    problems: list[Problem] = []
    for asked_by, path, write in _writers(options, environ):
        found: list[str] = []
        with _alone(f"{asked_by} {path}", found):
            write(report)
        problems += [Problem(text, asked=asked_by != f"${STEP_SUMMARY}") for text in found]
    return problems


class Interim:
    """The JSON report while a run goes on, for Ray's core ends a process whose cluster has died.

    Into files alone, of which the last text is what stays; every ten seconds at the most, and less often
    where that takes long.

    Args:
        path: of the report.
        clock: seconds, monotonic.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._next = -math.inf

    def write(self, run: Callable[[], Run]) -> None:
        """Write it, if it is time."""
        start = self._clock()
        if start < self._next or (self._path.exists() and not self._path.is_file()):
            return
        with suppress(Exception):  # whatever it is, the report at the end meets it again, and says so
            write_whole(self._path, as_json(report_on(run())))
        now = self._clock()
        self._next = now + max(_INTERIM_S, _INTERIM_SHARE * (now - start))


@contextmanager
def _alone(what: str, problems: list[str]) -> Iterator[None]:
    """Makes a line of `problems` of what goes wrong within."""
    try:
        yield
    except OSError as error:
        problems.append(f"{what}: cannot be written ({error.strerror or error})")
    except Exception as error:  # noqa: BLE001 - an hour of measuring is not lost for one figure or one fault
        text = " ".join(str(error).split())
        problems.append(f"{what}: could not be made ({type(error).__name__}: {text:.200})")


def _writers(
    options: Options, environ: Mapping[str, str]
) -> Iterator[tuple[str, Path, Callable[[Report], None]]]:
    """By whom it was asked for, where it goes, and what writes it."""
    if (json := options.json) is not None:
        yield "--rayperf-json", json, lambda report: write_whole(json, as_json(report))
    if (markdown := options.markdown) is not None:
        yield "--rayperf-markdown", markdown, lambda report: write_whole(markdown, as_markdown(report))
    if (html := options.html) is not None:
        yield "--rayperf-html", html, lambda report: write_whole(html, as_html(report, html.parent))
    if named := environ.get(STEP_SUMMARY):
        summary = Path(named)
        yield f"${STEP_SUMMARY}", summary, lambda report: append(summary, as_markdown(report))


def as_json(report: Report) -> str:
    """The report as JSON."""
    from pytest_rayperf.reports import json

    return json.render(report)


def as_markdown(report: Report) -> str:
    """The report as Markdown."""
    from pytest_rayperf.reports import markdown

    return markdown.render(report)


def as_html(report: Report, folder: Path) -> str:
    """The report as HTML, with links relative to `folder`."""
    from pytest_rayperf.reports import html

    return html.render(report, folder)


def append(path: Path, text: str) -> None:
    """Add `text` to the end of the file, which other steps write to as well.

    After an empty line: what stands there may end in HTML, which would make HTML of a heading of ours.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(f"\n\n{text}" if path.stat().st_size else text)

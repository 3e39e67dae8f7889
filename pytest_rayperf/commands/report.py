"""`rayperf report`: a run that is over, shown again, or written as Markdown or HTML."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_rayperf.commands.outcome import USAGE_ERROR, Outcome
from pytest_rayperf.commands.showing import FORMATS, as_text
from pytest_rayperf.errors import ConfigurationError
from pytest_rayperf.offline.runfile import read_run
from pytest_rayperf.wholefile import write_whole

_ABOUT = """\
Show the report RUN.json (pytest --rayperf --rayperf-json RUN.json) again: as a table, or
in the files named by --html and --markdown. It says what the run said; nothing is judged
anew (see: rayperf compare).
"""

_EXAMPLES = """\
examples:
  rayperf report run.json                      the table
  rayperf report run.json --html run.html      one page with pictures, which opens offline
  rayperf report run.json --markdown run.md    for a pull request's comment
  rayperf report run.json --format markdown    the same, printed

Files are written whole or not at all. The exit status is 0, whatever the verdicts; 2 if
RUN.json cannot be used or a file cannot be written.
"""


def add(commands: Any) -> None:
    """Declare it."""
    parser = commands.add_parser(
        "report",
        help="show a run that is over, as a table, Markdown, HTML or JSON",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN.json", type=Path, help="a JSON report")
    parser.add_argument("--html", metavar="OUT", type=Path, help="write it there, as an HTML page")
    parser.add_argument("--markdown", metavar="OUT", type=Path, help="write it there, as Markdown")
    parser.add_argument(
        "--format", choices=FORMATS, help="print it so; default: table, and nothing where it is written"
    )
    parser.set_defaults(run_command=run)


def run(arguments: argparse.Namespace) -> Outcome:
    """Print and write.

    Raises:
        ConfigurationError: the report cannot be used, or a file is no place to write to.
    """
    # Here, for it imports SciPy, and `rayperf --help` shall not wait for that.
    from pytest_rayperf import publishing

    writers: dict[str, tuple[Path | None, Callable[[Mapping[str, Any], Path], str]]] = {
        "--html": (arguments.html, lambda report, path: publishing.as_html(report, path.parent)),
        "--markdown": (arguments.markdown, lambda report, path: publishing.as_markdown(report)),
    }
    report = read_run(arguments.run)
    taken: dict[object, str] = {_same(arguments.run): "RUN.json"}
    for option, (path, _) in writers.items():
        if path is not None:
            _check(option, path, taken)
    lines, problems = [], []
    for option, (path, made) in writers.items():
        if path is None:
            continue
        text = made(report, path)
        try:
            write_whole(path, text)
            lines.append(f"{path}: written\n")
        except OSError as error:
            why = error.strerror or error
            problems.append(f"rayperf: error: {option} {path}: cannot be written ({why})")
    nowhere = arguments.html is None and arguments.markdown is None
    if arguments.format is not None or nowhere:
        lines.append(as_text(report, arguments.format or "table"))
    return Outcome("".join(lines), USAGE_ERROR if problems else 0, tuple(problems))


def _check(option: str, path: Path, taken: dict[object, str]) -> None:
    """Before anything is written."""
    try:
        if path.is_dir():
            raise ConfigurationError(f"{option} {path}: is a folder; name a file in it")
        if not path.parent.is_dir():
            raise ConfigurationError(f"{option} {path}: the folder {path.parent} does not exist; make it")
        other = taken.setdefault(_same(path), option)
    except (OSError, ValueError) as error:  # a name that no file can have
        raise ConfigurationError(f"{option} {path}: cannot be written ({error})") from None
    if other != option:
        raise ConfigurationError(f"{option} {path}: is {other} too, which would be lost; name another file")


def _same(path: Path) -> object:
    """Equal for two names of one file, through links too."""
    try:
        found = path.stat()
        return found.st_dev, found.st_ino
    except FileNotFoundError:
        return path.resolve()

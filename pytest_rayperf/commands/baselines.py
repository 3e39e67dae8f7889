"""`rayperf baselines`: what is in the folder of baselines, and what can go."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pytest_rayperf.baselines.stored import Stored, files_in, find, read_all
from pytest_rayperf.commands.outcome import USAGE_ERROR, Outcome
from pytest_rayperf.commands.showing import FORMATS, as_json, table
from pytest_rayperf.errors import ConfigurationError
from pytest_rayperf.reports import safe

_ABOUT = """\
Look at the accepted baselines, which pytest --rayperf --rayperf-update-baselines writes,
and tidy them.
"""

_EXAMPLES = """\
examples:
  rayperf baselines list                              every one: sessions, rounds, when
  rayperf baselines show model_loading-fix            its sessions, and what software changed
  rayperf baselines history model_loading-fix         its speed over git's history
  rayperf baselines prune                             what would go: whose test file is gone
  rayperf baselines prune --keep-sessions 20 --yes    drop old sessions too, and do it
"""

_PRUNE = """\
Remove the baselines whose test file is gone; with --keep-sessions N, also drop the
sessions of the others that are neither among the newest N nor among the 3 oldest, by
which creep is found. Without --yes it only says what it would do. Files are rewritten
whole, under the lock that recording takes; git keeps what goes.
"""


def add(commands: Any) -> None:
    """Declare it and its own subcommands."""
    parser = commands.add_parser(
        "baselines",
        help="list, show, prune, or the history of the baselines",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    _action(actions, "list", _list, "every baseline: test, sessions, rounds, when and on which commit")
    one = _action(actions, "show", _show, "the sessions of one baseline, with medians and software")
    _named(one)
    one = _action(
        actions, "history", _history, "one baseline's speed by accepted session, over git's history"
    )
    _named(one)
    one = _action(actions, "prune", _prune, "remove baselines whose test is gone, and old sessions", _PRUNE)
    one.add_argument(
        "--root",
        metavar="DIR",
        type=Path,
        default=Path(),
        help="the folder that test ids begin in (pytest's rootdir); default: the current one",
    )
    one.add_argument(
        "--keep-sessions", metavar="N", type=int, help="drop what is older than the newest N; 8 or more"
    )
    one.add_argument("--yes", action="store_true", help="do it; without, it says what it would do")


def _action(actions: Any, name: str, run: Any, help_: str, about: str | None = None) -> Any:
    parser = actions.add_parser(
        name,
        help=help_,
        description=about or f"{help_[0].upper()}{help_[1:]}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--baselines", metavar="DIR", type=Path, default=Path("baselines"), help="default: %(default)s"
    )
    parser.add_argument("--environment", metavar="ID", help="only those of this one; default: of all")
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: %(default)s")
    parser.set_defaults(run_command=run)
    return parser


def _named(parser: Any) -> None:
    parser.add_argument("name", metavar="NAME", help="as `rayperf baselines list` names it, or a test's id")


def _read(arguments: argparse.Namespace) -> tuple[list[Stored], tuple[str, ...]]:
    """The baselines, and what is wrong with those that cannot be read."""
    stored, broken = read_all(files_in(arguments.baselines, arguments.environment))
    return stored, tuple(f"rayperf: error: {text}" for text in broken)


def _found(arguments: argparse.Namespace) -> Stored:
    """The one that is named."""
    stored, broken = _read(arguments)
    try:
        return find(stored, arguments.name, arguments.baselines)
    except ConfigurationError:
        mine = next((text for text in broken if f"/{arguments.name}.json" in text), None)
        if mine is not None:
            raise ConfigurationError(mine.removeprefix("rayperf: error: ")) from None
        raise


def _list(arguments: argparse.Namespace) -> Outcome:
    from pytest_rayperf.reports.stored import FILE_HEADERS, file_cells, file_of

    stored, broken = _read(arguments)
    files = [file_of(one, stored) for one in stored]
    status = USAGE_ERROR if broken else 0
    if arguments.format == "json":
        return Outcome(as_json(files), status, broken)
    parts = []
    for environment in sorted({one.environment for one in stored}):
        own = [f for f in files if f["environment"] == environment]
        columns = len(FILE_HEADERS)
        if arguments.format == "table":
            shared = any(len(f["environments"]) > 1 for f in own)
            columns = FILE_HEADERS.index("test" if shared else "also in")
        cells = [row[:columns] for row in file_cells(own)]
        heading = f"{safe.visible(environment)}: {len(own)} baselines"
        parts.append(f"{heading}\n\n{table(FILE_HEADERS[:columns], cells, arguments.format)}\n")
    return Outcome("\n".join(parts) or f"no baselines in {arguments.baselines}\n", status, broken)


def _show(arguments: argparse.Namespace) -> Outcome:
    from pytest_rayperf.reports.stored import SESSION_HEADERS, identity, session_cells, sessions_of

    one = _found(arguments)
    sessions = sessions_of(one)
    subject = one.baseline.subject
    if arguments.format == "json":
        return Outcome(as_json({**identity(one), "subject": vars(subject), "sessions": sessions}))
    last = sessions[-1]
    counters = ", ".join(f"{name} {count}" for name, count in sorted(last["counters"].items()))
    software = ", ".join(f"{name} {version or 'none'}" for name, version in sorted(last["software"].items()))
    measured = (
        ", ".join(str(value) for value in vars(subject).values() if value not in ("", 0)) or "no images"
    )
    facts = {
        "test": one.baseline.id + (f" ({one.baseline.variant})" if one.baseline.variant else ""),
        "file": one.shown,
        "measured": measured,
        "counters of the last session": counters,
        "software of the last session": software or "not recorded",
    }
    lines = table(("", ""), [[name, value] for name, value in facts.items()], arguments.format)
    if arguments.format == "table":
        lines = "\n".join(f"{name}: {safe.visible(value)}" for name, value in facts.items())
    return Outcome(f"{lines}\n\n{table(SESSION_HEADERS, session_cells(sessions), arguments.format)}\n")


def _history(arguments: argparse.Namespace) -> Outcome:
    from pytest_rayperf.baselines.history import read_history
    from pytest_rayperf.reports.stored import HISTORY_HEADERS, history_cells, history_to_json

    one = _found(arguments)
    history = read_history(one.path.resolve().parent.parent, one.path.resolve().parent.name, [one.slug])
    sessions = history.sessions.get(one.slug, ())
    if arguments.format == "json":
        return Outcome(as_json(history_to_json(one, sessions, history)))
    told = "".join(f"\nnote: {note}\n" for note in history.notes())
    return Outcome(f"{table(HISTORY_HEADERS, history_cells(sessions), arguments.format)}\n{told}")


def _prune(arguments: argparse.Namespace) -> Outcome:
    from pytest_rayperf.baselines.pruning import gone_tests, long_ones, prune
    from pytest_rayperf.reports.stored import pruning_of

    stored, broken = _read(arguments)
    if broken:
        raise ConfigurationError(broken[0].removeprefix("rayperf: error: "))
    found = gone_tests(stored, arguments.root)
    if arguments.keep_sessions is not None:
        gone = {one.stored.path for one in found}
        found += long_ones([one for one in stored if one.path not in gone], arguments.keep_sessions)
    if arguments.yes:
        prune(found)
    if arguments.format == "json":
        return Outcome(as_json({"done": arguments.yes, "prune": [pruning_of(one) for one in found]}))
    if not found:
        return Outcome(f"nothing to prune in {arguments.baselines}\n")
    verb = ("removed", "shortened") if arguments.yes else ("would be removed", "would be shortened")
    cells = [[one.stored.shown, verb[one.keep is not None], one.why] for one in found]
    ending = "" if arguments.yes else "\nnothing was changed; do it with --yes\n"
    return Outcome(f"{table(('baseline', 'is', 'why'), cells, arguments.format)}\n{ending}")

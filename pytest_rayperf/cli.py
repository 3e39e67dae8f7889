"""The program `rayperf`: one subcommand for each thing that is done without a test run.

A subcommand is a module of `commands/`: `add` declares it, `run` takes its arguments and gives an `Outcome`.
Errors that a user can mend go to stderr, with exit status 2, as argparse's own do.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace

from pytest_rayperf._version import __version__
from pytest_rayperf.commands import advise, baselines, check, compare, report
from pytest_rayperf.commands.outcome import INTERRUPTED, USAGE_ERROR, Outcome
from pytest_rayperf.errors import ConfigurationError

_OWN = ("address", "data", "images", "model", "weights", "baselines")
"""Options that this program has too, without the plugin's prefix."""


def main(argv: Sequence[str] | None = None, survey: advise.Survey | None = None) -> int:
    """Run the program; returns its exit status.

    Args:
        argv: the arguments; None takes the process's.
        survey: looks at the cluster, the data and the model for `advise`; None does it for real, and starts
            Ray.
    """
    arguments = _parser().parse_args(argv)
    arguments.survey = survey
    try:
        outcome: Outcome = arguments.run_command(arguments)
    except ConfigurationError as error:
        # The core names the plugin's options.
        text = re.sub(rf"--rayperf-(?=({'|'.join(_OWN)})\b)", "--", str(error))
        outcome = Outcome("", USAGE_ERROR, (f"rayperf: error: {text}",))
    except KeyboardInterrupt:
        outcome = Outcome("", INTERRUPTED, ("rayperf: interrupted",))
    return _print(outcome)


def _print(outcome: Outcome) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows no `…` shall not cost the report
            stream.reconfigure(errors="backslashreplace")
    try:
        sys.stdout.write(outcome.text)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough
        _discard_output()
    except OSError as error:  # a full disk
        _discard_output()
        problem = f"rayperf: error: cannot write: {error.strerror or error}"
        outcome = replace(outcome, status=USAGE_ERROR, problems=(*outcome.problems, problem))
    sys.stderr.write("".join(f"{line}\n" for line in outcome.problems))
    return outcome.status


def _discard_output() -> None:
    """What is not written yet, too: Python would try again when it ends, and fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rayperf",
        description="Tools beside `pytest --rayperf`, which measures Ray Data pipelines.",
        epilog="rayperf COMMAND --help shows examples.",
    )
    parser.add_argument("--version", action="version", version=f"rayperf {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (compare, report, baselines, advise, check):
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())

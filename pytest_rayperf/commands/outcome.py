"""What a subcommand gives back."""

from __future__ import annotations

from dataclasses import dataclass

REGRESSED = 1
UNFIT = 1
"""Exit status of `rayperf check` where the environment is not fit to measure on."""
USAGE_ERROR = 2
"""Exit status of what cannot be used, as argparse's own."""
INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""


@dataclass(frozen=True)
class Outcome:
    """What is printed, and the exit status.

    Attributes:
        text: for standard output.
        status: of the program.
        problems: for standard error, a line each.
    """

    text: str
    status: int = 0
    problems: tuple[str, ...] = ()

"""Hears what is said while a pipeline is defined and runs: Python warnings, and log records of Ray's.

Ray says some of its deprecations with `warnings`, and some with `logging`: to the logger `ray.data`, which
passes nothing on to its parents, and which the plugin keeps at ERROR, for the terminal is pytest's.

Only this process is heard: what a worker says stays in its log file.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from textwrap import shorten

_SHOWN = 160
"""How many characters of a text are shown."""

# What Ray Data says, while it runs, of its workers, the store, its queues and its progress bars. It depends
# on the machine, and on what the plugin itself has turned off; not on the call.
_OF_THE_RUN = (
    "ray.data._internal.progress",
    "ray.data._internal.execution",
    "ray.data._internal.issue_detection",
    "ray.data._internal.cluster_autoscaler",
    "ray.data._internal.actor_autoscaler",
)
# The same, by a logger that speaks of calls too: whatever ran before had not given its CPUs back yet.
_NO_CPUS = "does not have any available CPUs"


@dataclass(frozen=True)
class Said:
    """One warning, or one log record.

    Attributes:
        text: what it says.
        category: of a Python warning; None for a log record.
        logger: the name of a log record's logger; None for a Python warning.
        level: the name of a log record's level.
    """

    text: str
    category: type[Warning] | None = None
    logger: str | None = None
    level: str = ""

    def __str__(self) -> str:
        speaker = self.category.__name__ if self.category else f"{self.level} of {self.logger}"
        return f"{speaker}: {shorten(self.text, _SHOWN, placeholder=' ...')}"

    @property
    def of_the_run(self) -> bool:
        """Whether it is about the machine and its load, and not about what was called."""
        if self.logger is None:
            return False
        return any(_is_in(self.logger, tree) for tree in _OF_THE_RUN) or _NO_CPUS in self.text


@contextmanager
def listening(tree: str = "ray") -> Iterator[list[Said]]:
    """Collect all Python warnings, and the log records from WARNING on in a tree of loggers.

    None of them is shown, raised as an error, or passed over because it was said before. The list is filled
    when the block ends, also by an error.

    Args:
        tree: the logger that is heard, with all below it.
    """
    _forget_what_was_said_once()
    said: list[Said] = []
    collector = _Collector()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # They come when garbage is collected: from whatever ran before, not from what runs now.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            with _attached(collector, tree):
                yield said
        finally:
            said += [Said(str(warning.message), warning.category) for warning in caught]
            said += collector.said


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[Said] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(Said(record.getMessage(), logger=record.name, level=record.levelname))


@contextmanager
def _attached(handler: logging.Handler, tree: str) -> Iterator[None]:
    """Let `handler` have the tree's records from WARNING on, each once; the others have what they had."""
    top = logging.getLogger(tree)
    loggers = [top, *_below(tree)]
    deaf = [logger for logger in loggers if logger.level > logging.WARNING]
    if not top.isEnabledFor(logging.WARNING) and top not in deaf:
        deaf.append(top)  # it has no level of its own, and the root's is above WARNING
    before = {logger.name: logger.getEffectiveLevel() for logger in deaf}
    only = _as_before(tree, before)
    # A record climbs to the first logger that does not propagate, and so meets exactly one of these.
    ends = [top, *(logger for logger in loggers if logger is not top and not logger.propagate)]
    with ExitStack() as undo:
        for logger in loggers:
            for other in list(logger.handlers):
                undo.callback(other.removeFilter, only)
                other.addFilter(only)
        for logger in ends:
            undo.callback(logger.removeHandler, handler)
            logger.addHandler(handler)
        for logger in deaf:
            undo.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.WARNING)
        yield


def _below(tree: str) -> list[logging.Logger]:
    known = list(logging.root.manager.loggerDict.items())
    return [
        logger
        for name, logger in known
        if name != tree and _is_in(name, tree) and isinstance(logger, logging.Logger)  # not a place-holder
    ]


def _as_before(tree: str, levels: Mapping[str, int]) -> Callable[[logging.LogRecord], bool]:
    """A filter that passes what passed at these levels, before they were lowered."""

    def passes(record: logging.LogRecord) -> bool:
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None and _is_in(logger.name, tree):
            level = levels.get(logger.name, logger.level)
            if level:
                return record.levelno >= level
            logger = logger.parent
        return True

    return passes


def _is_in(name: str, tree: str) -> bool:
    return name == tree or name.startswith(f"{tree}.")


def _forget_what_was_said_once() -> None:
    """Ray says some things once a process: what is heard must not depend on which test was first."""
    debug = sys.modules.get("ray.util.debug")
    if debug is not None:
        debug.reset_log_once()

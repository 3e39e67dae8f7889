"""What the person at the terminal sees while a benchmark is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from pytest_rayperf.measurement import Progress, Schedule

_REDRAW_S = 1.0
_PLAIN_S = 30.0


class Screen(Protocol):
    """Where the lines go."""

    live: bool
    """A line can be overwritten (a terminal, not a log)."""

    def show(self, text: str) -> None:
        """Replace the live line, or print a plain one."""

    def clear(self) -> None:
        """Take the live line away."""


class ProgressLine:
    """Turns progress into lines: a live one a second, or in a log one a round and one each half minute.

    Args:
        screen: where to; None shows nothing (`-q`).
        clock: seconds, monotonic.
    """

    def __init__(self, screen: Screen | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._screen = screen
        self._clock = clock
        self._last = float("-inf")

    def update(self, name: str, progress: Progress, schedule: Schedule) -> None:
        """A round begins (`rows` is 0) or goes on."""
        if self._screen is None:
            return
        now = self._clock()
        begins = progress.rows == 0
        if not begins and now - self._last < (_REDRAW_S if self._screen.live else _PLAIN_S):
            return
        self._last = now
        self._screen.show(describe_progress(name, progress, schedule))

    def note(self, text: str) -> None:
        """Say something that takes a while (making images, starting Ray)."""
        if self._screen is not None:
            self._screen.show(f"rayperf: {text}")

    def done(self) -> None:
        """The benchmark is over."""
        if self._screen is not None:
            self._screen.clear()


def describe_progress(name: str, progress: Progress, schedule: Schedule) -> str:
    """`rayperf: model_loading fix, round 2 of 3 to 20: 61.2 images/s so far`."""
    variant = "" if progress.variant == name else f" {progress.variant}"
    least, most = schedule.looks[0], schedule.looks[-1]
    which = f"round {progress.number} of {least} to {most}" if progress.number else progress.apart
    again = f" ({progress.repeated} measured again)" if progress.repeated else ""
    text = f"rayperf: {name}{variant}, {which}{again}"
    if progress.rows and progress.seconds > 0:
        return f"{text}: {progress.rows / progress.seconds:.1f} rows/s so far in this round"
    rates = [r.throughput for r in progress.rounds if r.throughput is not None]
    return f"{text}: {sum(rates) / len(rates):.1f} rows/s so far" if rates else text

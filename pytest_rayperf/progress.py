"""What the person at the terminal sees while a benchmark is measured."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Protocol

from pytest_rayperf.measurement import Progress, Schedule

_REDRAW_S = 1.0
_PLAIN_S = 30.0


class Screen(Protocol):
    """Where the lines go."""

    live: bool
    """A line can be overwritten (a terminal, not a log)."""

    @property
    def width(self) -> int | None:
        """How many characters a line holds; None for as many as there are."""

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
        self._groups: Mapping[str, str] = {}
        self._ended: dict[str, float | None] = {}
        self._running: tuple[str, float] | None = None

    def plan(self, groups: Mapping[str, str]) -> None:
        """The run's items in their order, by id: items of one group are measured together."""
        self._groups = groups

    def begins(self, item: str) -> None:
        """The item with this id begins."""
        if self._screen is not None:
            self._running = (item, self._clock())

    def ends(self, item: str, seconds: float | None) -> None:
        """It has ended and took `seconds`; None if it measured nothing (skipped, or it could not begin)."""
        self._ended[item] = seconds
        self._running = None

    def update(self, name: str, progress: Progress, schedule: Schedule) -> None:
        """A round begins (`rows` is 0) or goes on."""
        if self._screen is None:
            return
        now = self._clock()
        begins = progress.rows == 0
        if not begins and now - self._last < (_REDRAW_S if self._screen.live else _PLAIN_S):
            return
        self._last = now
        text = describe_progress(
            name,
            progress,
            schedule,
            place=self._place(),
            left_in_all=left_of_run(self._groups, self._ended, self._running, now),
            width=self._screen.width,
        )
        self._screen.show(text)

    def note(self, text: str) -> None:
        """Say something that takes a while (making images, starting Ray)."""
        if self._screen is not None:
            self._screen.show(f"rayperf: {text}")

    def done(self) -> None:
        """The benchmark is over."""
        if self._screen is not None:
            self._screen.clear()

    def _place(self) -> str:
        if self._running is None or self._running[0] not in self._groups:
            return ""
        return f"[{list(self._groups).index(self._running[0]) + 1}/{len(self._groups)}]"


def describe_progress(
    name: str,
    progress: Progress,
    schedule: Schedule,
    *,
    place: str = "",
    left_in_all: float | None = None,
    width: int | None = None,
) -> str:
    """`rayperf: [12/71] model_loading fix, round 2 of 3 to 20: 61.2 rows/s so far; at most 85 s more; ...`.

    Args:
        name: of the benchmark.
        progress, schedule: where its measurement is.
        place: which item of how many it is; empty if that is not known.
        left_in_all: seconds that the whole run still takes; None if there is nothing to tell them from.
        width: how many characters there is room for; None for as many as it takes. Within a width all is said
            in short, and what does not fit is left out from the end: the times first.
    """
    variant = "" if progress.variant == name else f" {progress.variant}"
    what = " ".join("".join(c if c.isprintable() else " " for c in f"{place} {name}{variant}").split())
    least, most = schedule.looks[0], schedule.looks[-1]
    which = short = f", {progress.apart}"
    if progress.number:
        which, short = (
            f", round {progress.number} of {least} to {most}",
            f", round {progress.number} of {most}",
        )
    again = f" ({progress.repeated} measured again)" if progress.repeated else ""
    parts = [(f"rayperf: {what}", what), (which + again, short)]
    rates = [r.throughput for r in progress.rounds if r.throughput is not None]
    if progress.rows and progress.seconds > 0:
        rate = f": {progress.rows / progress.seconds:.1f} rows/s"
        parts.append((f"{rate} so far in this round", rate))
    elif rates:
        rate = f": {fmean(rates):.1f} rows/s"
        parts.append((f"{rate} so far", rate))
    left = left_of_benchmark(progress, schedule)
    if left is not None:
        text = f"; at most {_in_words(left, math.ceil)} more"
        parts.append((text, text))
    if left_in_all is not None and left_in_all >= 1:
        text = f"; about {_in_words(left_in_all, round)} left in all"
        parts.append((text, text.replace(" left", "")))
    return _fitted(parts, width)


def left_of_benchmark(progress: Progress, schedule: Schedule) -> float | None:
    """Seconds that the rounds of a benchmark take at the most, if each takes the mean of those so far.

    As many turns as the schedule allows, or as begin before the time is up if those are fewer; at least the
    fewest. A verdict that is certain ends it earlier. Not foreseen are rounds that will have to be measured
    again, and what comes after the rounds (counting work).

    Before the first round has ended it is what is left of the time. None where no rounds are measured, or
    where what is there took longer than was expected, so that nothing is known of the rest.
    """
    course = progress.course
    if course is None:
        return None
    rest = course.budget - course.elapsed
    known = [r.wall_seconds for rounds in course.rounds.values() for r in rounds]
    if not known:
        return rest if rest > 0 else None
    means = {name: fmean([r.wall_seconds for r in rounds] or known) for name, rounds in course.rounds.items()}
    turn = sum(means.values())
    to_come = [
        name
        for name, rounds in course.rounds.items()
        if name != progress.variant and len(rounds) < progress.number
    ]
    this_turn = max(0.0, means[progress.variant] - progress.seconds) + sum(means[name] for name in to_come)
    in_time = math.ceil(max(0.0, rest - this_turn) / turn) if turn > 0 else 0
    fewest, most = (max(0, look - progress.number) for look in (schedule.looks[0], schedule.looks[-1]))
    left = this_turn + min(most, max(fewest, in_time)) * turn
    return left if left > 0 else None


def left_of_run(
    groups: Mapping[str, str],
    ended: Mapping[str, float | None],
    running: tuple[str, float] | None,
    now: float,
) -> float | None:
    """Seconds that the run still takes, if all that is left takes as long as what was measured so far.

    The two items of a duel are measured in whichever comes first, and the other takes next to no time: a mean
    over items would be twice too long after the first of them and too short after every other one. So they
    are one group, and the mean is over groups that have ended whole; while there is none, over what there is
    of them. Of a group that has begun, what it has taken already is not to come.

    Args:
        groups: by item, in the run's order, the group that it is measured in.
        ended: by item, the seconds that it took; None if it measured nothing: it tells nothing of others.
        running: the item that is measured now, and when it began.
        now: seconds, by the same clock.

    Returns:
        None before an item that measured something has ended.
    """
    spent: dict[str, float] = {}
    for item, seconds in ended.items():
        if seconds is not None and item in groups:
            spent[groups[item]] = spent.get(groups[item], 0.0) + seconds
    if not spent:
        return None
    left = {group for item, group in groups.items() if item not in ended}
    mean = fmean([seconds for group, seconds in spent.items() if group not in left] or spent.values())
    if running is not None and running[0] in groups:
        group = groups[running[0]]
        spent[group] = spent.get(group, 0.0) + now - running[1]
    return sum(max(0.0, mean - spent.get(group, 0.0)) for group in left)


def _in_words(seconds: float, whole: Callable[[float], int]) -> str:
    if seconds <= 120:
        return f"{whole(seconds)} s"
    return f"{whole(seconds / 60)} min" if seconds <= 7200 else f"{whole(seconds / 360) / 10:.1f} h"


def _fitted(parts: Sequence[tuple[str, str]], width: int | None) -> str:
    """The parts, long; within a width in short, as many as fit, the first one cut if it must.

    In short even where there is room: a line that is overwritten each second shall not change its form too.
    """
    if width is None:
        return "".join(long for long, _ in parts)
    text = parts[0][1][:width]
    for _, short in parts[1:]:
        if len(text) + len(short) > width:
            break
        text += short
    return text

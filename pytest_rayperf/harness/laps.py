"""How fast the machine is while rounds are measured: laps of fixed work between them."""

from __future__ import annotations

from collections.abc import Callable

from pytest_rayperf.machine import Lap, Probe

_FIRST = 4
"""So many are taken without a rest: two say next to nothing of a machine whose neighbours come and go."""

_REST, _SHORTEST_REST_S = 4, 1.0
"""Times as long as a lap took, and a second at least: so long it waits for the next one after these. Of short
rounds laps would take more time than the rounds."""


class Laps:
    """Takes laps when it is told that there is time for one.

    Args:
        take: does a lap of fixed work.
        clock: seconds.
        between: whether there are any but the first and the last one.
    """

    def __init__(self, take: Callable[[], Lap], clock: Callable[[], float], *, between: bool) -> None:
        self._take = take
        self._clock = clock
        self._between = between
        self._laps: list[Lap] = []
        self._next = 0.0
        self._owed = False
        """Whether a round has ended since the last lap."""

    def aside(self) -> None:
        """Before the first round, and after each: a lap, if it is one of the first, or is due."""
        taken = len(self._laps)
        if taken == 0 or (self._between and (taken < _FIRST or self._clock() >= self._next)):
            self._add()
        else:
            self._owed = True

    def finish(self) -> None:
        """After the last round: a lap, if there was none after it. Where no round began there is none."""
        if self._owed:
            self._add()

    @property
    def probe(self) -> Probe | None:
        """Of the laps so far; None where there are none, or a clock ticked too rarely to time one."""
        if not self._laps:
            return None
        probe = Probe.around(*self._laps)
        return None if probe.seconds is None else probe

    def _add(self) -> None:
        began = self._clock()
        self._laps.append(self._take())
        ended = self._clock()
        self._next = ended + max(_REST * (ended - began), _SHORTEST_REST_S)
        self._owed = False

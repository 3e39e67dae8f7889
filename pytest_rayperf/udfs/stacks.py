"""Where one call of a UDF spends its time, seen from inside its worker.

pyinstrument sees Python's frames, and which C function they were in; not the threads that such a function
may have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path

from pytest_rayperf.counters import record

Frame = tuple[str, str, int]
"""A function's name, its file, and the line at which it begins."""

Stacks = Mapping[tuple[Frame, ...], float]
"""A stack, its outermost frame first, and the seconds in which it was seen."""

INTERVAL_S = 0.001
"""Between two looks."""

STACKS = "stacks"
"""The kind of a record: a UDF's name, and pairs of a stack (its frames, outermost first) and its seconds."""

_RAYS_SUBCLASSES = ("_SingleThreadedWrapper", "_Wrapper")
"""What Ray 2.60 and 2.51 make of a user's class in an actor. The class that a profiler sees is this one."""

_WRAPPER = str(Path(__file__).with_name("instrumenting.py"))
"""Whose functions call the UDF."""

_profiling: ContextVar[bool] = ContextVar("rayperf_profiling", default=False)


class StackWatch:
    """Looks at the stack of one call. Runs in a worker, around what `instrument` wraps.

    A call within another one that is looked at is part of that one's stacks, and has none of its own.
    """

    def __init__(self, name: str, interval_s: float = INTERVAL_S) -> None:
        from pyinstrument import Profiler

        self._name = name
        self._profiler = Profiler(interval=interval_s)
        self._nested = _profiling.get()

    def resume(self) -> None:
        """Begin to look."""
        if not self._nested:
            _profiling.set(True)
            self._profiler.start(target_description=self._name)

    def pause(self) -> None:
        """Stop looking."""
        if not self._nested:
            self._profiler.stop()
            _profiling.set(False)

    def finish(self, *, failed: bool) -> None:
        """Hand what was seen to the driver; of a call that failed as well."""
        if self._nested:
            return
        session = self._profiler.last_session
        totals: dict[tuple[Frame, ...], float] = defaultdict(float)
        for infos, seconds in session.frame_records if session is not None else ():
            stack = _own_part(infos, self._name)
            if stack:
                totals[stack] += seconds
        record(STACKS, self._name, list(totals.items()))


def _own_part(infos: Sequence[str], udf: str) -> tuple[Frame, ...]:
    """The frames from the user's function on; none if it was not in them.

    Args:
        infos: as pyinstrument has them, outermost first: function, file and line, then attributes.
        udf: the function's name.
    """
    frames = [_frame(info, udf) for info in infos]
    ours = [file in (_WRAPPER, __file__) for _, file, _ in frames]
    if True not in ours:
        return ()
    first = ours.index(True)
    if False not in ours[first:]:
        return ()
    theirs = ours.index(False, first)
    if frames[theirs - 1][1] == __file__:
        return ()  # what comes after this module is the profiler, which sees itself too
    return tuple(frames[theirs:])


def _frame(info: str, udf: str) -> Frame:
    identifier, *attributes = info.split("\x01")
    function, _, place = identifier.partition("\x00")
    file, _, line = place.partition("\x00")
    owner = next((attribute[1:] for attribute in attributes if attribute.startswith("c")), None)
    if owner in _RAYS_SUBCLASSES:
        owner = udf
    # The profiler's own marks, such as that of waiting, have neither file nor line.
    return f"{owner}.{function}" if owner else function, file or "<profiler>", int(line or 0)

"""How long a block asks `time.sleep` to sleep: what was asked for is exact, how long it took is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

_REAL = time.sleep


@dataclass
class Sleeps:
    """microseconds: asked for by `thread`, each sleep's rounded to whole ones.

    original: what `time.sleep` was before.
    problem: why not all of it is known. What C code calls that has kept the original (a `functools.partial`
        made before) is seen by nobody.
    """

    microseconds: int = 0
    original: Callable[..., Any] = _REAL
    thread: int = 0
    problem: str | None = None
    _met: dict[int, dict[str, Any]] = field(default_factory=dict)

    def meet(self, frame: FrameType) -> None:
        """A function is entered: what its module has by `from time import sleep` counts as well."""
        names = frame.f_globals
        if id(names) not in self._met and names is not globals():
            self._met[id(names)] = names
            _replace(names, self.original, _sleep)

    def hear(self, frame: FrameType) -> None:
        """The original is called in `frame`: by a name that was not seen, unless it is called here."""
        if frame.f_globals is not globals():
            self.problem = "time.sleep is called by another name, such as a closure's or an attribute"

    def add(self, seconds: object) -> None:
        """So long has this thread slept."""
        try:
            self.microseconds += round(float(seconds) * 1e6)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):  # another sleep than time's takes it
            self.problem = f"time.sleep was replaced by what takes {type(seconds).__name__}"

    def leave(self) -> None:
        """The names of modules are what they were, but for those that have changed since."""
        for names in self._met.values():
            _replace(names, _sleep, self.original)


class _Sleep:
    """In the place of `time.sleep`; one for all blocks, so that what was kept in one counts in the next.

    As the builtin, and unlike a function, it is no method of a class whose attribute it is.
    """

    def __init__(self) -> None:
        # What it stands for: pickled, it goes by reference, and the process that gets it has the real one.
        self.__module__ = "time"
        self.__name__ = self.__qualname__ = "sleep"

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        sleeps = _open
        if sleeps is None or getattr(_within, "sleep", False):
            return _REAL(*arguments, **keywords)  # also where the original calls this one
        _within.sleep = True
        try:
            result = sleeps.original(*arguments, **keywords)
        finally:
            _within.sleep = False
        if threading.get_ident() == sleeps.thread:
            sleeps.add(next(iter((*arguments, *keywords.values())), 0))
        return result

    def __reduce__(self) -> str:
        return "sleep"


_open: Sleeps | None = None
_within = threading.local()
_sleep = _Sleep()


def stand_in() -> None:
    """From now on, in a process that is there to count: who gets it before a block counts as well."""
    time.sleep = _sleep


@contextmanager
def counted_sleeps() -> Iterator[Sleeps]:
    """Count until the end of the block. Every thread sleeps as before; this one's sleeps are counted."""
    global _open
    before, outer = time.sleep, _open
    _open = sleeps = Sleeps(original=_REAL if before is _sleep else before, thread=threading.get_ident())
    time.sleep = _sleep
    try:
        yield sleeps
    finally:
        _open = outer
        if time.sleep is _sleep:  # else the block's own stays
            time.sleep = before
        sleeps.leave()


def _replace(names: dict[str, Any], old: object, new: object) -> None:
    for name in [name for name, value in list(names.items()) if value is old]:
        names[name] = new

"""How long a block asks `time.sleep` to sleep: what was asked for is exact, how long it took is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any


@dataclass
class Sleeps:
    """microseconds: asked for by this thread, each sleep's rounded to whole ones.

    original: what `time.sleep` was before.
    problem: why not all of it is known.
    """

    microseconds: int = 0
    original: Callable[[Any], None] = time.sleep
    problem: str | None = None
    _counting: Callable[[Any], None] | None = None
    _changed: list[tuple[dict[str, Any], str]] = field(default_factory=list)

    def meet(self, frame: FrameType) -> None:
        """A function is entered that was not before: what its module imported from `time` counts too."""
        for name in frame.f_code.co_names:
            if frame.f_globals.get(name) is self.original:
                frame.f_globals[name] = self._counting
                self._changed.append((frame.f_globals, name))

    def hear(self, frame: FrameType) -> None:
        """The original is called in `frame`: by a name that was not seen, unless it is called here."""
        if frame.f_globals is not globals():
            self.problem = "time.sleep is called by another name, such as a closure's or an attribute"


@contextmanager
def counted_sleeps() -> Iterator[Sleeps]:
    """Count until the end of the block. Every thread sleeps as before; this one's sleeps are counted."""
    original, thread = time.sleep, threading.get_ident()
    sleeps = Sleeps(original=original)

    def sleep(seconds: Any, /) -> None:
        original(seconds)  # which says what is wrong with them
        if threading.get_ident() == thread:
            sleeps.microseconds += round(float(seconds) * 1e6)

    sleeps._counting = sleep
    time.sleep = sleep
    try:
        yield sleeps
    finally:
        if time.sleep is sleep:  # a test's own stays
            time.sleep = original
        for names, name in sleeps._changed:
            if names.get(name) is sleep:
                names[name] = original

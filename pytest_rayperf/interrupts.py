"""What a Ctrl-C, or the end that CI asks for, may come between, and what not."""

from __future__ import annotations

import gc
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__tracebackhide__ = True  # pytest names the place that was interrupted

UNWINDING_S = 2.0
"""How long what was interrupted has to leave what it was in: threads that sample, files, a round's record."""

PATIENCE_S = 60.0
"""How long clearing up has: the far side's end, Ray's shutdown and the reports take some seconds each."""

_ENDS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C; `timeout`, and a CI job that is cancelled; a terminal that was closed."""

_RAYS_EXITS = (1, int(signal.SIGTERM))
"""What Ray's own handlers of SIGTERM exit with: its node's, and after that its driver's."""


class Interrupts:
    """While it is installed, SIGTERM and SIGHUP end a run as Ctrl-C does, and all three end it whole.

    Each raises KeyboardInterrupt, but not while the last one's is on its way out (`UNWINDING_S`), nor while
    what it ended is cleared up (`PATIENCE_S`): it would stop Ray's shutdown, and the reports. What has a
    handler that is neither Python's nor the system's keeps it. In a forked child all is as if nothing had
    been installed.

    Args:
        clock: seconds; tests replace it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._raised = self._closing = -math.inf
        self._before: dict[int, Any] = {}
        self._process = 0

    def install(self) -> None:
        """From now on; in the main thread, or it is of no use and does nothing."""
        if not _is_main():
            return
        self._process = os.getpid()
        for number in _ENDS:
            before = signal.getsignal(number)
            if before in (signal.default_int_handler, signal.SIG_DFL):
                self._before[number] = before
                signal.signal(number, self._heard)

    def restore(self) -> None:
        """As it was before."""
        while self._before:
            number, before = self._before.popitem()
            if signal.getsignal(number) == self._heard:
                signal.signal(number, before)

    def close(self) -> None:
        """Clearing up begins; again, if it had begun."""
        self._closing = self._clock()

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            signal.signal(number, self._before[number])
            signal.raise_signal(number)
            return
        now = self._clock()
        if now - self._closing < PATIENCE_S or now - self._raised < UNWINDING_S:
            return
        self._raised = now
        raise KeyboardInterrupt(signal.Signals(number).name)


@contextmanager
def undisturbed(clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[], None]]:
    """None of them comes in between: what is heard within the block comes afterwards.

    It gives what holds them back again, if something in the block has put another handler there.

    But a block that hangs can be ended: what is heard after `PATIENCE_S` raises KeyboardInterrupt in it.
    """
    if not _is_main():
        yield lambda: None  # Python runs its handlers in the main thread alone
        return
    came: list[int] = []
    start = clock()

    def heard(number: int, frame: FrameType | None) -> None:
        if clock() - start >= PATIENCE_S:
            came.clear()  # this one is told now
            raise KeyboardInterrupt(signal.Signals(number).name)
        came.append(number)

    def hold() -> None:
        for number in _ENDS:
            signal.signal(number, heard)

    before = {number: signal.getsignal(number) for number in _ENDS}
    try:
        hold()
        yield hold
    finally:
        for number, own in before.items():
            signal.signal(number, signal.SIG_DFL if own is None else own)  # None: it is not Python's
        for number in dict.fromkeys(came):
            signal.raise_signal(number)


@contextmanager
def keeping_handlers() -> Iterator[None]:
    """What the block puts in the place of a Python handler is taken out again: Ray's for SIGTERM.

    That exits; where it is heard before it is taken out, the block is interrupted.
    """
    before = {number: signal.getsignal(number) for number in _ENDS}
    try:
        yield
    except SystemExit as error:
        if error.code not in _RAYS_EXITS or not callable(before[signal.SIGTERM]):
            raise
        raise KeyboardInterrupt("SIGTERM") from error
    finally:
        for number, handler in before.items():
            if callable(handler) and _is_main():
                signal.signal(number, handler)


def collect_garbage() -> None:
    """`gc.collect`; a Ctrl-C during it comes afterwards.

    It would be raised in whatever callback of a weak reference runs just then, where Python drops it.
    """
    with undisturbed():
        gc.collect()


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()

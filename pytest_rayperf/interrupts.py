"""What a Ctrl-C, or the end that CI asks for, may come between, and what not."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__tracebackhide__ = True  # pytest names the place that was interrupted

PATIENCE_S = 20.0
"""How long clearing up has: Ray's shutdown and the reports take some seconds."""

_ENDS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C; `timeout`, and a CI job that is cancelled; a terminal that was closed."""


class Interrupts:
    """While it is installed, SIGTERM and SIGHUP end a run as Ctrl-C does, and all three end it whole.

    The first one raises KeyboardInterrupt. Those after it, within `PATIENCE_S`, do nothing: they would stop
    Ray's shutdown, and the reports. What has a handler that is neither Python's nor the system's keeps it.

    Args:
        clock: seconds; tests replace it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: float | None = None
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """From now on; in the main thread, or it is of no use and does nothing."""
        if not _is_main():
            return
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

    def go_on(self) -> None:
        """The run goes on: the next one ends it again."""
        self._first = None

    def _heard(self, number: int, frame: FrameType | None) -> None:
        now = self._clock()
        if self._first is not None and now - self._first < PATIENCE_S:
            return
        self._first = now
        raise KeyboardInterrupt(signal.Signals(number).name)


@contextmanager
def undisturbed() -> Iterator[None]:
    """None of them comes in between: clearing up is not stopped by the second one."""
    if not _is_main():
        yield  # Python runs its handlers in the main thread alone
        return
    with _handled_by(signal.SIG_IGN):
        yield


@contextmanager
def keeping_handlers() -> Iterator[None]:
    """What the block puts in the place of a Python handler is taken out again: Ray's for SIGTERM.

    That exits; where it is heard before it is taken out, the block is interrupted.
    """
    before = {number: signal.getsignal(number) for number in _ENDS}
    try:
        yield
    except SystemExit as error:
        if not callable(before[signal.SIGTERM]):
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
    if not _is_main():
        gc.collect()
        return
    came: list[int] = []
    with _handled_by(lambda number, frame: came.append(number)):
        gc.collect()
    for number in came[:1]:
        signal.raise_signal(number)


@contextmanager
def _handled_by(handler: Any) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in _ENDS}
    try:
        yield
    finally:
        for number, own in before.items():
            signal.signal(number, signal.SIG_DFL if own is None else own)  # None: it is not Python's


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()

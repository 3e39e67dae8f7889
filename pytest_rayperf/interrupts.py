"""Where a Ctrl-C must not come in between."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def undisturbed() -> Iterator[None]:
    """A second Ctrl-C does not stop the clearing up after the first."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python raises KeyboardInterrupt in the main thread alone
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def collect_garbage() -> None:
    """`gc.collect`; a Ctrl-C during it comes afterwards.

    It would be raised in whatever callback of a weak reference runs just then, where Python drops it.
    """
    if threading.current_thread() is not threading.main_thread():
        gc.collect()
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        gc.collect()
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)

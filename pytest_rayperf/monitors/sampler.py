"""A background thread that calls a function at the start, on a clock, and at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

DEFAULT_INTERVAL_S = 0.5

SHARE = 0.0025
"""The most of a core that one sampler takes. A round has four, one of which needs next to nothing, and one
more for GPUs: under 1 % together. Reading 10 workers takes 2 ms, which every 0.2 s would be 1 %."""


class Sampler:
    """Calls `sample` when started, every `interval_s` seconds in a thread, and when stopped.

    Where a call takes long it is made less often, so that the calls take no more than `SHARE` of a core.

    The first and the last call are made in the caller's thread, so that even the shortest block is seen
    at both its ends. One of `errors` raised by `sample` ends the sampling and is kept in `problem`. Any
    other error is a mistake in `sample`: it is not caught, and `problem` says that sampling broke off.

    `wait(seconds)` pauses between two calls and is true when it is time to stop; `cpu_clock()` gives the
    CPU seconds of the calling thread. Both are replaced in tests. Usable again after each `stop()`.

    Raises ValueError if `interval_s` is not above 0.
    """

    def __init__(
        self,
        sample: Callable[[], None],
        interval_s: float = DEFAULT_INTERVAL_S,
        errors: tuple[type[Exception], ...] = (OSError,),
        *,
        wait: Callable[[float], bool] | None = None,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        if not interval_s > 0:
            raise ValueError(f"interval_s must be above 0 seconds, not {interval_s!r}")
        self._sample = sample
        self._interval_s = interval_s
        self._errors = errors
        self._stop = threading.Event()
        self._wait = wait if wait is not None else self._stop.wait
        self._cpu_clock = cpu_clock
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self.samples = 0
        """Calls of `sample` that succeeded since the last start."""
        self.cpu_seconds = 0.0
        """CPU seconds that those calls, and the one that failed, took in their threads."""
        self.problem: str | None = None
        """Why sampling broke off; None if it did not."""

    @property
    def running(self) -> bool:
        """Whether it was started and not yet stopped, be its thread alive or dead."""
        return self._thread is not None

    def start(self) -> None:
        """Take the first sample and start the clock. Raises RuntimeError if it runs already."""
        # Daemon: a block that is never left must not keep the interpreter from ending.
        thread = threading.Thread(target=self._loop, name="rayperf-sampler", daemon=True)
        with self._starting:  # two threads may share a monitor
            if self._thread is not None:
                raise RuntimeError("the sampler runs already; stop it before starting it again")
            self._thread = thread
        try:
            self.samples = 0
            self.cpu_seconds = 0.0
            self.problem = None
            self._stop.clear()
            self._once()
            thread.start()
        except BaseException:
            self._stop.set()  # it may run already
            self._thread = None
            raise

    def stop(self) -> None:
        """End the thread, wait for it, and take the last sample. Does nothing if it does not run."""
        if self._thread is None or self._thread.ident is None:  # another thread is starting it
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        if self.problem is None:
            self._once()

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _loop(self) -> None:
        ended_well = False
        try:
            while self.problem is None and not self._wait(self._pause()):
                self._once()
            ended_well = True
        finally:
            # The error itself goes on to threading.excepthook; here it is only said that figures are partial.
            if not ended_well:
                self.problem = "sampling broke off with an unexpected error; see the thread's traceback"

    def _pause(self) -> float:
        # Of all calls so far: one that was slow by chance does not stop the clock for long.
        return max(self._interval_s, self.cpu_seconds / max(1, self.samples) / SHARE)

    def _once(self) -> None:
        before = self._cpu_clock()
        try:
            self._sample()
        except self._errors as error:
            self.problem = f"{type(error).__name__}: {error}"
        else:
            self.samples += 1
        finally:
            self.cpu_seconds += self._cpu_clock() - before

"""Ends a round that will not come to its end by itself.

Ray Data tries a task whose worker died again for ever, and ends a pipeline in which nothing moves after half
an hour, or never (`no_progress_guard.py` in 2.60). A driver whose cluster is gone is ended by Ray's core
within a minute, with whatever it had measured; sometimes at once, and then nothing here can help.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from pytest_rayperf.errors import RoundStuckError

_INTERVAL_S = 0.25
_AGAIN_S = 5.0
"""After which the main thread is interrupted once more: what it was in may have swallowed the first."""

_GAP_S = 5.0
"""Between two looks: the machine, or this process, was stopped meanwhile."""

LEAST_PATIENCE_S = 60.0
IDLE = 0.25
"""Of a core: less is nobody at work. A driver that waited and looked at its workers, and they, asleep in a
UDF, used 0.07 (tasks) to 0.14 (actors) together, in three rounds on 2 shared cores."""

MOST_LOSSES = 10
"""Workers that died while nothing moved, or two a CPU if that is more: the next ones will, too."""

_LOOK_AT_LOSSES_S = 5.0

_STARVED = ", and an actor keeps its own while it waits: a smaller pool leaves some to the tasks that feed it"
"""Ray Data does not see that pools as large as the cluster leave no CPU to read with, and waits."""


def patience_for(max_time: float) -> float:
    """Seconds for which nothing may move in a round of a benchmark that is given `max_time` seconds."""
    return max(LEAST_PATIENCE_S, 2 * max_time)


class Vigil:
    """What is known of a round that is going on: `symptom()` says why it is to be ended, if it is.

    Args:
        what_died: of the cluster's own processes; None while none has.
        progress: anything that changes whenever a task ends or gives a block.
        cpu_seconds: that workers and driver have used since they began; None where that is not known.
        losses: how many workers have died that were not meant to.
        taken: `all 2 CPUs are taken`, where no task can have one; None where one is free.
        patience_s: how long nothing may move while workers and driver are idle.
        most_losses: how many may die while nothing moves.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        what_died: Callable[[], str | None],
        progress: Callable[[], object],
        cpu_seconds: Callable[[], float | None],
        losses: Callable[[], int],
        taken: Callable[[], str | None],
        patience_s: float,
        most_losses: int = MOST_LOSSES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what_died = what_died
        self._progress = progress
        self._cpu_seconds = cpu_seconds
        self._losses = losses
        self._taken = taken
        self._patience = patience_s
        self._most_losses = most_losses
        self._clock = clock
        self._seen: object = None
        self._at = self._since = self._looked = clock()
        self._lost: int | None = None
        """How many had died when nothing had moved for a while."""
        self._half: tuple[float, float | None] | None = None
        """When half of the patience was over, and what the workers had used by then."""

    def symptom(self) -> str | None:
        """Why the round is to be ended; None where it is not."""
        if (died := self._what_died()) is not None:
            return f"{died} in the middle of a round"
        now, seen = self._clock(), self._progress()
        gap, self._at = now - self._at, now
        if gap > _GAP_S:
            self._since, self._half = self._since + gap, None
        if seen != self._seen:
            self._seen, self._since, self._half = seen, now, None
            self._looked, self._lost = now, None
            return None
        if now - self._looked >= _LOOK_AT_LOSSES_S:  # the control store is asked, so only while nothing moves
            self._looked, all_lost = now, self._losses()
            self._lost = all_lost if self._lost is None else self._lost
            lost = all_lost - self._lost
            if lost >= self._most_losses:
                return f"{lost} workers died one after another, and no task came to its end meanwhile"
        return self._standstill(now)

    def _standstill(self, now: float) -> str | None:
        waited = now - self._since
        if self._half is None:
            if waited >= self._patience / 2:
                self._half = now, self._cpu_seconds()
            return None
        if waited < self._patience or now - self._half[0] < self._patience / 2:
            return None
        (half, before), used = self._half, self._cpu_seconds()
        if before is None or used is None:
            return None
        if used - before >= IDLE * (now - half):
            self._since, self._half = now, None  # they compute: it is only slow
            return None
        taken = self._taken()
        why = "" if taken is None else f"; {taken}{_STARVED}"
        return (
            f"nothing has moved for {waited:.0f} s: no task ended, and workers and driver were idle{why}; a "
            "pipeline that may wait for longer needs a larger --rayperf-max-time"
        )


class Watchdog:
    """Looks on at a block of the main thread: `with Watchdog(vigil.symptom): ...`.

    Args:
        symptom: why it is to be ended, asked four times a second in a thread of its own.

    Raises:
        RoundStuckError: there was a symptom; from what the block itself raised then, if anything.
    """

    def __init__(self, symptom: Callable[[], str | None], interval_s: float = _INTERVAL_S) -> None:
        self._symptom = symptom
        self._interval = interval_s
        self._reason: str | None = None
        self._inside = False
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._handler: Any = None

    def __enter__(self) -> Watchdog:
        """Begin to look on; in another thread than the main one nothing can be interrupted."""
        if threading.current_thread() is threading.main_thread():
            self._thread = threading.Thread(target=self._watch, name="rayperf-watchdog", daemon=True)
            # Whatever SIGINT does here (nothing, in a shell's background), it is heard.
            self._handler = signal.signal(signal.SIGINT, self._interrupted)
            self._thread.start()
        self._inside = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inside = False  # from here on what is sent is for nobody
        self._over.set()
        if self._thread is not None:
            self._thread.join(_AGAIN_S)
            signal.signal(signal.SIGINT, signal.SIG_DFL if self._handler is None else self._handler)
        reason = self._reason
        if reason is None and isinstance(error, Exception):
            reason = self._symptom()  # Ray may see before us that its cluster is gone
        # Ours has no text; what ends the run (`interrupts.py`) names its signal, and goes on.
        ours = isinstance(error, KeyboardInterrupt) and not error.args
        if reason is not None and (error is None or isinstance(error, Exception) or ours):
            raise RoundStuckError(reason) from (error if isinstance(error, Exception) else None)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if self._reason is not None:
            if self._inside:
                raise KeyboardInterrupt  # the one that Ray, and Python's own waiting, can be left by
            return
        if callable(self._handler):
            self._handler(number, frame)
        elif self._handler != signal.SIG_IGN:
            raise KeyboardInterrupt

    def _watch(self) -> None:
        while not self._over.wait(self._interval if self._reason is None else _AGAIN_S):
            try:
                self._reason = self._reason or self._symptom()
            except Exception:  # noqa: BLE001 - Ray is asked while it works, or breaks: then nothing is known
                continue
            if self._reason is not None and self._inside:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

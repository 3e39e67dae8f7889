"""Processes that burn CPUs beside a measurement: what a benchmark of a benchmark needs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

BUSY_LOOP = """
import os, select, sys, time
# Its parent ends at once: a child of the measuring process would be taken for the pipeline's own.
if os.fork():
    os._exit(0)
period, share = float(sys.argv[1]), float(sys.argv[2])
at_work = False
while True:
    if select.select([0], [], [], 0 if at_work else None)[0]:
        command = os.read(0, 1)
        if not command:
            break
        at_work = command == b"1"
    if at_work:
        end = time.perf_counter() + period * share
        while time.perf_counter() < end:
            pass
        time.sleep(period * (1 - share))
"""


class Disturber:
    """Busy loops, each working for `share` of every `period_s`; they end with this process."""

    def __init__(self, count: int, period_s: float, share: float = 0.5) -> None:
        self._pipes = []
        for _ in range(count):
            loop = subprocess.Popen(
                [sys.executable, "-c", BUSY_LOOP, str(period_s), str(share)],
                stdin=subprocess.PIPE,
                bufsize=0,
            )
            loop.wait()  # it detached itself, and keeps the pipe's other end
            assert loop.stdin is not None
            self._pipes.append(loop.stdin)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """The busy loops work while this is open."""
        self._send(b"1")
        try:
            yield
        finally:
            self._send(b"0")

    def close(self) -> None:
        """End them."""
        for pipe in self._pipes:
            pipe.close()

    def _send(self, command: bytes) -> None:
        for pipe in self._pipes:
            pipe.write(command)

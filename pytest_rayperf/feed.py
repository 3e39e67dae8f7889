"""Hands measured rounds to pytest-benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_rayperf.results import Round


class ReplayTimer:
    """A clock for pytest-benchmark that tells the durations of rounds that are over.

    pytest-benchmark reads its timer before and after a round; the two readings differ by what was measured.
    """

    __name__ = "perf_counter"  # the clock that the durations were read from; it goes into the JSON

    def __init__(self) -> None:
        self._now = 0.0
        self._durations: list[float] = []
        self._inside = False

    def load(self, durations: Sequence[float]) -> None:
        """Set what is told next."""
        self._durations = list(durations)

    def __call__(self) -> float:
        """Seconds; each second reading is a round's duration later than the one before."""
        if self._inside:
            self._now += self._durations.pop(0)
        self._inside = not self._inside
        return self._now


class Feed:
    """Gives one test's rounds to its `benchmark` fixture, so that --benchmark-json and the like work.

    Args:
        benchmark: pytest-benchmark's fixture.
        timer: the timer that it was made with.
    """

    def __init__(self, benchmark: Any, timer: ReplayTimer) -> None:
        self._benchmark = benchmark
        self._timer = timer
        self._used = False

    def __call__(self, rounds: Sequence[Round]) -> None:
        """Take the rounds. Those of a second benchmark of the test (the fix of a duel) replace nothing:
        pytest-benchmark knows one a test."""
        if self._used or not rounds:
            return
        self._used = True
        self._timer.load([round_.wall_seconds for round_ in rounds])
        last = rounds[-1]
        self._benchmark.extra_info.update(
            {"throughput_rows_per_s": [r.throughput for r in rounds], "rows": last.rows}
        )
        self._benchmark.pedantic(lambda: None, rounds=len(rounds))

    def close(self) -> None:
        """Where nothing was measured, say so to pytest-benchmark, which would warn of an unused fixture."""
        if not self._used:
            self._benchmark.disabled = True
            self._benchmark.pedantic(lambda: None)

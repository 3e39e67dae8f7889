from __future__ import annotations

import pytest

from pytest_rayperf.feed import ReplayTimer


def read(timer, n):
    """What a benchmark fixture sees: the difference of two readings a round."""
    seen = []
    for _ in range(n):
        start = timer()
        seen.append(timer() - start)
    return seen


@pytest.mark.parametrize("durations", [[1.0], [1.0, 2.0, 0.5], [1e-6, 1e6], [0.0, 0.0]])
def test_tells_the_durations_in_order(durations):
    timer = ReplayTimer()
    timer.load(durations)
    assert read(timer, len(durations)) == pytest.approx(durations)


def test_no_time_passes_between_rounds():
    timer = ReplayTimer()
    timer.load([2.0, 3.0])
    readings = [timer() for _ in range(4)]
    assert readings == [0.0, 2.0, 2.0, 5.0]


def test_never_goes_back():
    timer = ReplayTimer()
    timer.load([2.0])
    first = read(timer, 1)
    timer.load([3.0, 1.0])
    assert first + read(timer, 2) == pytest.approx([2.0, 3.0, 1.0])
    assert timer() == 6.0


def test_what_is_loaded_stays_the_callers():
    durations = [1.0, 2.0]
    timer = ReplayTimer()
    timer.load(durations)
    read(timer, 2)
    assert durations == [1.0, 2.0]


def test_more_rounds_than_were_measured():
    timer = ReplayTimer()
    timer.load([1.0])
    read(timer, 1)
    timer()
    with pytest.raises(IndexError):
        timer()


def test_is_named_as_the_clock_of_the_durations():
    assert ReplayTimer().__name__ == "perf_counter"

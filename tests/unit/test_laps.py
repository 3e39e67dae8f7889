"""Laps of fixed work between the rounds: how many, and when."""

import pytest

from pytest_rayperf.harness.laps import Laps
from pytest_rayperf.machine import Lap, Probe


class Machine:
    """Takes `lap` seconds for a lap, and is told how long a round takes."""

    def __init__(self, lap=0.5, *, between=True, seconds=None):
        self.now = 100.0
        self.lap = lap
        self.taken = 0
        self.seconds = seconds
        self.laps = Laps(self.take, lambda: self.now, between=between)

    def take(self):
        self.now += self.lap
        self.taken += 1
        return Lap(float(self.taken) if self.seconds is None else self.seconds)

    def rounds(self, *seconds):
        if not self.taken:
            self.laps.aside()
        for one in seconds:
            self.now += one
            self.laps.aside()
        return self


def test_before_the_first_round_and_after_each():
    machine = Machine().rounds(5, 5, 5)
    probe = machine.laps.probe
    machine.laps.finish()
    assert machine.laps.probe == probe == Probe(1.0, 4.0, between=(Lap(2.0), Lap(3.0)))


def test_while_rounds_are_measured_it_is_of_the_laps_so_far():
    machine = Machine()
    assert machine.laps.probe is None
    machine.laps.aside()
    assert machine.laps.probe == Probe(1.0, 1.0)
    assert machine.rounds(5).laps.probe == Probe(1.0, 2.0)


def test_where_no_round_began_there_is_none():
    machine = Machine()
    machine.laps.finish()
    assert (machine.laps.probe, machine.taken) == (None, 0)


def test_only_around_the_rounds_where_none_are_wanted_between():
    machine = Machine(between=False).rounds(5, 5, 5)
    assert machine.laps.probe == Probe(1.0, 1.0)
    machine.laps.finish()
    assert machine.laps.probe == Probe(1.0, 2.0)
    machine.laps.finish()
    assert machine.taken == 2


def test_the_first_ones_are_taken_however_short_the_rounds_are():
    """Three rounds of nothing have four laps around them."""
    machine = Machine().rounds(0.0, 0.0, 0.0)
    machine.laps.finish()
    assert machine.laps.probe == Probe(1.0, 4.0, between=(Lap(2.0), Lap(3.0)))


@pytest.mark.parametrize(
    ("lap", "round_s", "rounds", "taken"),
    [(0.5, 2.0, 10, 11), (0.5, 1.9, 10, 7), (0.5, 0.1, 64, 6), (0.01, 1.0, 10, 11), (0.01, 0.9, 10, 7)],
    ids=["long enough", "too short by a little", "short", "a quick machine", "and too short"],
)
def test_then_they_take_no_more_than_a_fifth_of_the_time(lap, round_s, rounds, taken):
    machine = Machine(lap).rounds(*[round_s] * rounds)
    assert machine.taken == taken
    assert (taken - 4) * lap <= (machine.now - 100.0) / 5 * 1.0001


def test_a_clock_that_ticks_too_rarely_to_time_a_lap_gives_none():
    machine = Machine(seconds=0.0).rounds(5, 5)
    machine.laps.finish()
    assert machine.laps.probe is None

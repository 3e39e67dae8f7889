"""What is believed of the noise beforehand."""

from __future__ import annotations

import pytest

from pytest_rayperf.judging.noise import (
    DISTURBED,
    NOISE,
    UNPROBED_SD,
    UNPROBED_WEIGHT,
    WAITING,
    WAITING_DISTURBED,
)
from pytest_rayperf.judging.policy import GATED
from pytest_rayperf.metrics import CPU_PER_ROW, METRICS, PEAK_MEMORY, THROUGHPUT


def test_every_gated_metric_has_its_noise():
    assert set(NOISE) >= {metric.name for metric in GATED}


def test_noise_is_of_metrics_that_there_are():
    assert set(NOISE) <= set(METRICS)


@pytest.mark.parametrize("noise", [*NOISE.values(), *DISTURBED.values(), WAITING, WAITING_DISTURBED])
def test_a_belief_is_never_that_there_is_no_noise_nor_a_certainty(noise):
    assert 0 < noise.session_sd < 1
    assert 0 < noise.round_sd < 1
    assert 0 < noise.session_weight < 100
    assert 0 < noise.round_weight < 100


@pytest.mark.parametrize("metric", [CPU_PER_ROW, THROUGHPUT], ids=lambda m: m.name)
def test_without_a_probe_sessions_are_believed_to_differ_by_more_and_less_surely(metric):
    assert NOISE[metric.name].session_sd < UNPROBED_SD
    assert 0 < UNPROBED_WEIGHT < NOISE[metric.name].session_weight


def test_busy_cores_are_believed_to_vary_less_than_either_of_their_factors():
    """Else nothing would be gained by multiplying them."""
    for factor in (NOISE[CPU_PER_ROW.name], NOISE[THROUGHPUT.name]):
        assert WAITING.session_sd < factor.session_sd
        assert WAITING.round_sd < factor.round_sd


def test_of_memory_the_figures_soon_say_more_than_the_belief():
    """It differs from one pipeline to the next by far more than from one session to the next."""
    assert NOISE[PEAK_MEMORY.name].session_weight < 3
    assert NOISE[PEAK_MEMORY.name].round_weight < 3


def test_three_rounds_do_not_prove_much():
    """The belief in a round's noise is worth fewer figures than a first look with a reference has."""
    for metric in (CPU_PER_ROW, THROUGHPUT):
        assert NOISE[metric.name].round_weight <= 6
    assert WAITING.round_weight <= 6


def test_beside_something_else_more_is_believed_and_less_surely():
    pairs = [(NOISE[name], other) for name, other in DISTURBED.items()]
    for usual, other in [*pairs, (WAITING, WAITING_DISTURBED)]:
        assert other.round_sd > usual.round_sd
        assert other.round_weight <= usual.round_weight
        assert (other.session_sd, other.session_weight) == (usual.session_sd, usual.session_weight)

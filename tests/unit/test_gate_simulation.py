"""A short play of `benchmarks/gate/simulate.py`, from the recorded rounds, through the code that decides."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from pytest_rayperf.machine import Lap, Probe

GATE = Path(__file__).resolve().parents[2] / "benchmarks" / "gate"


@pytest.fixture
def gate(monkeypatch):
    monkeypatch.syspath_prepend(str(GATE))
    import simulate
    import traces

    yield simulate, traces
    for name in ("simulate", "traces", "wald"):
        sys.modules.pop(name, None)


@pytest.fixture
def known(gate):
    import known_noise

    yield known_noise
    sys.modules.pop("known_noise", None)


@pytest.fixture
def finds(gate):
    import finds

    yield finds
    sys.modules.pop("finds", None)


def play(gate, noise, reference, slowdown, kind="work", threshold=1.10, suites=10):
    simulate, _ = gate
    cell = simulate.Cell(noise, reference, kind, slowdown, threshold)
    return simulate.play_many((cell, suites, 1, None))[1]


class TestTraces:
    def test_a_probe_of_each_schema(self, gate):
        _, traces = gate
        assert traces.probe_of({"probe_before_s": 0.002, "probe_after_s": 0.003}) == Probe(0.002, 0.003)
        whole = {"before_s": 0.002, "after_s": 0.003, "memory_before_s": 0.001, "memory_after_s": None}
        assert traces.probe_of({"probe": whole}) == Probe(0.002, 0.003, 0.001)
        lapped = {**whole, "between": [{"compute_s": 0.004, "memory_s": 0.005}]}
        between = (Lap(0.004, 0.005),)
        assert traces.probe_of({"probe": lapped}) == Probe(0.002, 0.003, 0.001, between=between)

    def test_sessions_with_laps_between_their_rounds_and_the_same_without(self, gate):
        _, traces = gate
        found = traces.load(traces.LAPPED)
        assert len(found.sessions("nothing")) == 6
        assert all(len(b.probe.between) == len(b.rounds) - 1 > 0 for b in found.blocks)
        ends = traces.by_the_ends(found)
        assert [b.probe.before_s for b in ends.blocks] == [b.probe.before_s for b in found.blocks]
        assert not any(b.probe.between for b in ends.blocks)

    @pytest.mark.parametrize(("lapped", "laps"), [("all", 7), ("ends", 2)])
    def test_they_are_played_too(self, gate, lapped, laps):
        simulate, _ = gate
        found = simulate.recorded(lapped)
        assert {2 + len(b.probe.between) for b in found.blocks} == {laps}
        assert {b.session for b in found.blocks} == {f"quiet-{n}" for n in range(1, 7)}
        cell = simulate.Cell("nothing", "3 sessions", "work", 3.0, 1.10)
        assert simulate.play_many((cell, 1, 1, lapped))[1].statuses["regressed"] > 11

    def test_there_are_300_rounds_of_four_pipelines_in_several_sessions(self, gate):
        _, traces = gate
        found = traces.load()
        assert sum(len(block.rounds) for block in found.blocks) >= 300
        assert len(found.pipelines) >= 4
        assert {block.beside for block in found.blocks} == {"nothing", "light", "busy"}
        assert [len(found.sessions(kind)) for kind in ("nothing", "light", "busy")] == [12, 9, 8]
        assert len(found.machines) == 2

    @pytest.mark.parametrize("noise", ["nothing", "light", "busy"])
    @pytest.mark.parametrize("count", [0, 1, 5])
    def test_the_sessions_of_a_suite_run_are_of_one_machine_and_none_is_drawn_twice(self, gate, noise, count):
        _, traces = gate
        found = traces.load()
        machine = {block.session: block.machine for block in found.blocks}
        generator = np.random.default_rng(1)
        runs = [found.drawn_sessions(noise, count, generator) for _ in range(50)]
        for own, others in runs:
            names = [own, *others]
            assert len(set(names)) == len(names) == count + 1
            assert len({machine[name] for name in names}) == 1
            assert set(names) <= set(found.sessions(noise))
        able = {own for own in found.sessions(noise) if len(found.peers(own)) >= count}
        assert {own for own, _ in runs} == able

    def test_more_sessions_than_a_machine_has_are_not_played(self, gate):
        _, traces = gate
        with pytest.raises(ValueError, match="no machine has 7 sessions recorded beside busy"):
            traces.load().drawn_sessions("busy", 6, np.random.default_rng(1))

    def test_a_slower_round_is_slower_by_that_factor(self, gate):
        _, traces = gate
        one = traces.load().blocks[0].rounds[0]
        other = traces.slower(one, 1.2)
        assert other.metric("cpu_seconds_per_row") == pytest.approx(1.2 * one.metric("cpu_seconds_per_row"))
        assert other.wall_seconds == pytest.approx(1.2 * one.wall_seconds)
        assert traces.slower(one, 1) is one

    def test_one_that_waits_has_no_more_to_do(self, gate):
        _, traces = gate
        one = traces.load().blocks[0].rounds[0]
        other = traces.slower(one, 1.2, "waiting")
        assert other.metric("cpu_seconds_per_row") == one.metric("cpu_seconds_per_row")
        assert other.wall_seconds == pytest.approx(1.2 * one.wall_seconds)


class TestSuites:
    """Seeded: the same draws each time, so that these are facts of the code and the recorded rounds."""

    @pytest.mark.parametrize("reference", ["1 session", "3 sessions", "pairs"])
    @pytest.mark.parametrize("noise", ["nothing", "light"])
    def test_no_change_alarms_no_suite(self, gate, noise, reference):
        count = play(gate, noise, reference, 1.0)
        assert count.suites == 10
        assert count.alarmed == 0

    @pytest.mark.parametrize("kind", ["work", "waiting"])
    @pytest.mark.parametrize("reference", ["3 sessions", "pairs"])
    def test_a_large_slowdown_does_not_pass(self, gate, reference, kind):
        count = play(gate, "nothing", reference, 1.3, kind)
        assert count.statuses["unchanged"] + count.statuses["improved"] <= 0.05 * count.benchmarks

    @pytest.mark.parametrize("kind", ["work", "waiting"])
    def test_pairs_find_it(self, gate, kind):
        count = play(gate, "nothing", "pairs", 1.3, kind)
        assert count.statuses["regressed"] > 0.9 * count.benchmarks

    def test_what_something_else_disturbed_is_never_called_slower(self, gate):
        count = play(gate, "busy", "3 sessions", 1.0)
        assert count.alarmed == 0
        assert count.statuses["inconclusive"] > 0

    @pytest.mark.parametrize("kind", ["work", "waiting"])
    def test_nor_are_disturbed_pairs(self, gate, kind):
        """One recorded pair of 32 is 2.4 times as slow as the other: drawn three times it is no proof."""
        count = play(gate, "busy", "pairs", 1.03, kind, suites=30)
        assert count.alarmed == 0
        assert count.statuses["unchanged"] > 0

    def test_the_verdict_of_twenty_rounds_is_never_the_opposite(self, gate):
        for slowdown in (1.0, 1.2):
            count = play(gate, "light", "pairs", slowdown)
            assert count.fixed == 22
            assert count.opposite == 0
            assert count.same_as_fixed > 0.7 * count.fixed

    @pytest.mark.parametrize(
        ("one", "other", "opposite"),
        [
            ("regressed", "unchanged", True),
            ("improved", "regressed", True),
            ("regressed", "inconclusive", False),
            ("regressed", "regressed", False),
            ("improved", "unchanged", False),
        ],
    )
    def test_opposite_is_a_regression_that_the_other_rules_out(self, gate, one, other, opposite):
        simulate, _ = gate
        assert simulate.is_opposite(one, other) == opposite

    def test_the_same_seed_plays_the_same_suites(self, gate):
        one, other = (play(gate, "nothing", "3 sessions", 1.05, suites=3) for _ in range(2))
        assert (one.statuses, one.rounds) == (other.statuses, other.rounds)


class TestLimits:
    def test_clopper_and_pearson(self, gate):
        simulate, _ = gate
        assert simulate.upper_limit(0, 2000) == pytest.approx(1 - 0.05 ** (1 / 2000))
        assert simulate.upper_limit(5, 5) == 1.0


class TestWald:
    """What his test needs, by the formula and on log ratios that are given."""

    @pytest.fixture
    def wald(self, gate):
        import wald

        return wald

    def test_more_noise_needs_more_rounds(self, wald):
        few, many = (wald.expected_rounds(sd, 1.0, 1.1, 0.001) for sd in (0.05, 0.2))
        assert many == pytest.approx(16 * few, rel=0.01)
        assert wald.expected_rounds(0.001, 1.0, 1.1, 0.001) == 1.0
        assert wald.expected_rounds(0.05, 1.1, 1.1, 0.001) == math.inf

    def test_by_hand(self, wald):
        """Log ratio 0.1 with sd 0.1: a step has the information 1 / 2, and log(0.95 / 0.001) ends it."""
        found = wald.expected_rounds(0.1, 1.1 * math.exp(0.1), 1.1, 0.001)
        assert found == pytest.approx(2 * (0.95 * math.log(950) + 0.05 * math.log(0.05 / 0.999)))

    def test_on_pairs_by_hand(self, wald):
        """Of no change against 1.10x: half of log 1.10 above and below, by its square over the variance."""
        sd = 0.05 * math.sqrt(2)
        step = math.log(1.1) * (0.2 - math.log(1.1) / 2) / sd**2
        wanted = math.ceil(math.log(0.95 / 0.001) / step)
        assert wald.rounds_on(np.full(99, 0.2), sd, 1.0, 1.1, 0.001) == wanted
        assert wald.rounds_on(np.full(wanted - 1, 0.2), sd, 1.0, 1.1, 0.001) is None
        lost = math.log(1.1) ** 2 / 2 / sd**2
        assert wald.rounds_on(np.zeros(99), sd, 1.0, 1.1, 0.001) == math.ceil(-math.log(0.05 / 0.999) / lost)

    def test_no_sooner_than_it_may(self, wald):
        logs = np.full(9, math.log(2.0))
        assert [wald.rounds_on(logs, 0.01, 1.3, 1.1, 0.001, first) for first in (1, 3, 9)] == [1, 3, 9]

    def test_of_too_few_pairs_or_nothing_to_ask_there_is_none(self, wald):
        assert wald.rounds_on(np.zeros(2), 1.0, 1.3, 1.1, 0.001) is None
        assert wald.rounds_on(np.zeros(99), 0.01, 1.1, 1.1, 0.001) is None


class TestKnownNoise:
    """A short play of `benchmarks/gate/known_noise.py`."""

    @pytest.mark.parametrize(
        ("kind", "slowdown", "right"),
        [("work", 1.0, "passed"), ("work", 1.3, "found"), ("waiting", 1.2, "found")],
    )
    def test_the_rounds_are_within_half_as_many_again_as_walds(self, known, kind, slowdown, right):
        row, held = known.play(known.Cell(0.045, 0.03, kind, slowdown, 20), 60, 1)
        assert held
        assert float(row[right].rstrip("%")) > 90
        assert row["opposite"] == "0.00%"

    def test_at_the_threshold_there_is_nothing_to_compare_with(self, known):
        row, held = known.play(known.Cell(0.045, 0.03, "work", 1.1, 20), 20, 1)
        assert (held, row["Wald"], row["times"], row["as sure"]) == (True, "inf", "", "")

    def test_it_is_told_the_noise_of_what_has_to_decide(self, known):
        sds = [known.Cell(0.03, 0.04, *of, 20).deciding_sd for of in (("work", 1.2), ("waiting", 1.2))]
        assert sds == pytest.approx([0.03 * math.sqrt(2), 0.04 * math.sqrt(2)])
        assert known.Cell(0.03, 0.04, "work", 1.0, 20).deciding_sd == pytest.approx(0.05 * math.sqrt(2))


class TestFinds:
    @pytest.mark.parametrize("reference", ["pairs", "3 sessions"])
    @pytest.mark.parametrize("kind", ["work", "waiting"])
    def test_what_is_shown_is_found(self, gate, finds, kind, reference):
        """Of recorded rounds: with what it is promised, or nearly, for sessions are not quite as believed."""
        simulate, _ = gate
        cell = simulate.Cell("light", reference, kind, 1.0, 1.10)
        played = finds.play_many((cell, 5, 1))
        assert all(shown > cell.threshold for shown, _, _ in played)
        row = finds.line(cell, played)
        assert row["benchmarks"] == len(played) > 80
        assert float(row["found"].partition("%")[0]) > 75
        assert float(row["half of it"].rstrip("%")) < 15

    def test_what_was_disturbed_has_nothing_shown(self, gate, finds):
        simulate, _ = gate
        assert finds.play_many((simulate.Cell("busy", "3 sessions", "work", 1.0, 1.10), 2, 1)) == []

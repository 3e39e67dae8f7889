"""The gate's rates, played on rounds of known noise; nothing here looks at a clock."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from builders import LIGHT, make_round
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_rayperf import selftest
from pytest_rayperf.judging.policy import Policy, look_schedule
from pytest_rayperf.metrics import CPU_PER_ROW, REUSED, THROUGHPUT
from pytest_rayperf.playing import Played, percent, play, rate
from pytest_rayperf.results import Call
from pytest_rayperf.selftest import (
    FEWEST_PAIRS,
    Condition,
    Finding,
    Selftest,
    examine,
    measured_slowdown,
)

POLICY = Policy()
PLAYS = 120


def pairs_of(slowdown=1.0, noise=0.0, n=12, *, in_cpu=True, seed=0, **more):
    """Rounds beside each other: `slowdown` in wall time and, `in_cpu`, in CPU time; noise of the log."""
    generator = np.random.default_rng(seed)

    def draw(factor):
        wall, cpu = (factor * math.exp(x) for x in generator.normal(0, noise, 2)) if noise else (factor,) * 2
        return make_round(40 / wall, 0.02 * (cpu if in_cpu else cpu / factor), **more)

    return tuple((draw(1.0), draw(slowdown)) for _ in range(n))


def condition(*args, name="CPU", metric=CPU_PER_ROW, wanted=1.21, **more):
    return Condition(name, "", metric, wanted, pairs_of(*args, **more))


def same(*args, **more):
    return condition(1.0, *args, name=selftest.SAME, wanted=1.0, **more)


class TestRate:
    @LIGHT
    @given(st.integers(1, 3000), st.data())
    def test_the_limits_are_those_of_the_binomial(self, of, data):
        hits = data.draw(st.integers(0, of))
        found = rate(hits, of)
        assert 0 <= found.low <= found.share <= found.high <= 1
        if hits:
            assert stats.binom.sf(hits - 1, of, found.low) == pytest.approx(0.025, rel=1e-6)
        else:
            assert found.low == 0
        if hits < of:
            assert stats.binom.cdf(hits, of, found.high) == pytest.approx(0.025, rel=1e-6)
        else:
            assert found.high == 1

    def test_in_words(self):
        assert percent(rate(0, 2000)) == "0 % [0, 0.184]"
        assert percent(rate(2000, 2000)) == "100 % [99.8, 100]"
        assert percent(rate(1942, 2000)) == "97.1 % [96.3, 97.8]"


class TestPlay:
    def test_the_same_again(self):
        pairs = pairs_of(1.15, 0.1)
        assert play(pairs, POLICY, PLAYS) == play(pairs, POLICY, PLAYS)
        assert play(pairs, POLICY, PLAYS, swap=True) == play(pairs, POLICY, PLAYS, swap=True)

    @pytest.mark.parametrize("n", [1, 2, 12])
    def test_identical_rounds_are_never_called_slower(self, n):
        played = play(pairs_of(1.0, n=n), POLICY, PLAYS)
        assert (played.regressed.hits, played.passed.hits) == (0, PLAYS)
        assert played.rounds[0] >= POLICY.looks[0]

    def test_what_is_twice_as_slow_is_found_at_the_first_look(self):
        played = play(pairs_of(2.0), POLICY, PLAYS)
        assert (played.regressed.hits, played.passed.hits) == (PLAYS, 0)
        assert played.rounds == (3, 3, 3)

    def test_noise_as_it_is_believed_to_be_raises_no_alarm(self):
        assert play(pairs_of(1.0, 0.06), POLICY, PLAYS, swap=True).regressed.hits == 0

    @pytest.mark.parametrize("noise", [0.5, 1.0])
    def test_noise_far_beyond_what_is_believed_raises_few_alarms_more(self, noise):
        """Three rounds that scatter as they cannot by the belief are not outweighed by it: it is dropped.

        Three that happen to agree are, which are the few.
        """
        played = play(pairs_of(1.0, noise), POLICY, 400, swap=True)
        assert played.regressed.share <= 0.035
        assert played.passed.share < 0.3

    def test_swapping_makes_the_true_ratio_1(self):
        """The pairs are 1.2 apart by chance; as they are, that would be found."""
        pairs = pairs_of(1.2)
        assert play(pairs, POLICY, PLAYS).regressed.share == 1
        assert play(pairs, POLICY, PLAYS, swap=True).regressed.share < 0.02

    def test_more_slowdown_is_found_more_often(self):
        found = [play(pairs_of(s, 0.08), POLICY, PLAYS).regressed.share for s in (1.0, 1.1, 1.2, 1.4)]
        assert found == sorted(found)
        assert found[0] == 0
        assert found[-1] == 1

    def test_stops_at_the_last_look(self):
        policy = replace(POLICY, looks=(3, 4))
        played = play(pairs_of(1.1, 0.3), policy, PLAYS)
        assert played.rounds[2] <= 4
        assert played.regressed.of == PLAYS


class TestMeasuredSlowdown:
    def test_above_1_where_it_got_worse(self):
        cpu = measured_slowdown(condition(1.3))
        wall = measured_slowdown(condition(1.3, metric=THROUGHPUT))
        assert cpu.ratio == pytest.approx(1.3)
        assert wall.ratio == pytest.approx(1.3)
        assert wall.low < 1.3 < wall.high

    def test_waiting_is_not_in_the_cpu_time(self):
        waiting = condition(1.3, in_cpu=False)
        assert measured_slowdown(waiting).ratio == pytest.approx(1.0)

    def test_what_a_round_lacks_is_not_measured(self):
        whole = condition(1.3)
        lacking = replace(whole, pairs=(*whole.pairs, (make_round(), make_round(cpu=None))))
        assert measured_slowdown(lacking) is None
        assert measured_slowdown(replace(whole, pairs=())) is None


class TestExamine:
    @pytest.fixture(autouse=True)
    def _quicker(self, monkeypatch):
        monkeypatch.setattr(selftest, "SEARCH_PLAYS", 50)

    def test_a_quiet_machine_is_fit(self):
        for one in (same(0.02), condition(1.21, 0.02)):
            finding = examine(one, POLICY, plays=500)
            assert (finding.judged, finding.problem) == (True, "")
        assert 1.1 < finding.findable < 1.21
        assert finding.played.regressed.share >= 0.9

    def test_alarms_of_a_very_noisy_machine_make_it_unfit(self):
        finding = examine(same(1.0), POLICY, plays=500)
        assert finding.judged
        assert finding.problem.startswith("the same pipeline against itself was called regressed in ")

    def test_a_noisy_machine_is_not(self):
        finding = examine(condition(1.21, 0.2), POLICY, PLAYS)
        assert finding.judged
        assert finding.findable > 1.25
        assert finding.problem.startswith("CPU: a slowdown of ")
        assert "90% of those of 1.21x must be" in finding.problem
        assert f"from {finding.findable:.2f}x on" in finding.problem
        assert "--rayperf-max-slowdown" in finding.problem
        assert "--rayperf-min-rounds" in finding.problem

    def test_the_slowdown_that_is_called_findable_is_found(self, monkeypatch):
        monkeypatch.setattr(selftest, "SEARCH_PLAYS", 150)
        noisy = examine(condition(1.21, 0.1), POLICY, PLAYS)
        exact = noisy.slowdown.ratio
        pairs = pairs_of(1.21 * noisy.findable / exact, 0.1)
        assert play(pairs, POLICY, 500).regressed.share == pytest.approx(0.9, abs=0.05)

    def test_it_hangs_on_the_noise_and_not_on_what_the_pairs_happened_to_show(self):
        low, high = (examine(condition(s, 0.05), POLICY, PLAYS) for s in (1.16, 1.27))
        assert low.findable == pytest.approx(high.findable, rel=0.01)
        assert low.problem == high.problem == ""

    def test_what_is_suggested_would_do(self):
        noisy = examine(condition(1.21, 0.12), POLICY, PLAYS)
        higher = float(noisy.problem.partition("--rayperf-max-slowdown ")[2])
        more = replace(POLICY, max_slowdown=higher)
        assert examine(condition(higher**2, 0.12, wanted=higher**2), more, PLAYS).problem == ""
        rounds = int(noisy.problem.partition("--rayperf-min-rounds ")[2].split()[0])
        later = replace(POLICY, looks=look_schedule(rounds, max(rounds, 20)))
        assert examine(condition(1.21, 0.12), later, PLAYS).problem == ""

    def test_waiting_is_found_however_soon_the_work_is_settled(self):
        """CPU time is unchanged after a few rounds; throughput has a say in whether that is the end."""
        waiting = condition(1.21, 0.02, name="waiting", metric=THROUGHPUT, in_cpu=False)
        among = replace(POLICY, comparisons=50)
        finding = examine(waiting, among, PLAYS)
        assert finding.played.passed.hits == 0
        assert finding.played.regressed.share > 0.95
        assert (finding.judged, finding.problem) == (True, "")
        assert finding.findable < 1.21
        work = [(then, replace(now, wall_seconds=then.wall_seconds)) for then, now in waiting.pairs]
        settled_work = play(work, among, PLAYS)
        assert settled_work.passed.share > 0.9
        assert settled_work.rounds[0] < finding.played.rounds[0]

    @pytest.mark.parametrize("noise", [0.02, 0.06])
    @pytest.mark.parametrize("comparisons", [1, 50])
    def test_waiting_never_ends_as_unchanged(self, noise, comparisons):
        """As long as it is well beyond the threshold, whatever the CPU times are."""
        waiting = condition(1.21, noise, name="waiting", metric=THROUGHPUT, in_cpu=False)
        played = play(waiting.pairs, replace(POLICY, comparisons=comparisons), PLAYS)
        assert played.passed.share <= 0.05

    def test_a_smaller_share_of_alpha_makes_it_harder(self):
        alone, among = (
            examine(condition(1.21, 0.1), replace(POLICY, comparisons=n), PLAYS).findable for n in (1, 50)
        )
        assert alone < among

    def test_waiting_is_scaled_in_wall_time_only(self):
        waiting = condition(1.3, 0.03, name="waiting", metric=THROUGHPUT, in_cpu=False)
        finding = examine(waiting, POLICY, PLAYS)
        assert finding.slowdown.ratio == pytest.approx(1.3, abs=0.05)
        assert finding.findable > 1.1

    @pytest.mark.parametrize("n", range(FEWEST_PAIRS))
    def test_too_few_pairs_are_not_played(self, n):
        finding = examine(condition(1.21, n=n), POLICY, PLAYS)
        assert (finding.played, finding.judged, finding.problem) == (None, False, "")

    def test_without_a_search_there_are_rates_and_no_judgement(self):
        finding = examine(condition(1.3, 0.02), POLICY, 10, search=False)
        assert finding.played.regressed.of == 10
        assert (finding.findable, finding.judged, finding.problem) == (None, False, "")

    def test_what_hid_is_not_judged(self):
        hid = examine(condition(1.0, 0.02), POLICY, PLAYS)
        assert (hid.judged, hid.problem) == (False, "")

    def test_a_load_that_costs_little_is_not_judged_and_one_that_costs_much_is(self):
        load = {"name": "model load", "wanted": None}
        assert not examine(condition(1.1, 0.02, **load), POLICY, PLAYS).judged
        finding = examine(condition(3.0, 0.02, **load), POLICY, PLAYS)
        assert finding.judged
        assert finding.findable < 1.3
        assert finding.problem == ""

    def test_what_hardly_shows_cannot_be_scaled(self):
        finding = examine(condition(1.01), replace(POLICY, max_slowdown=1.005), PLAYS)
        assert finding.findable is None
        assert "none up to 10x is here" in finding.problem

    def test_only_what_the_gate_reads_is_played(self):
        """Reused workers keep the peak memory out, as they do in the gate; calls and outputs are dropped."""
        figures = {"figures": {REUSED.name: 1.0}, "calls": [Call("f", 1.0)]}
        fat = [
            (make_round(memory=100, **figures), make_round(memory=1000, **figures))
            for _ in range(FEWEST_PAIRS)
        ]
        finding = examine(Condition("CPU", "", CPU_PER_ROW, 1.21, tuple(fat)), POLICY, PLAYS)
        assert finding.played.regressed.hits == 0
        lean = [(make_round(memory=100), make_round(memory=1000)) for _ in range(FEWEST_PAIRS)]
        finding = examine(Condition("CPU", "", CPU_PER_ROW, 1.21, tuple(lean)), POLICY, PLAYS)
        assert finding.played.regressed.share == 1

    def test_rounds_without_cpu_time_are_played_on_throughput(self):
        pairs = tuple((make_round(40, None), make_round(20, None)) for _ in range(FEWEST_PAIRS))
        finding = examine(Condition("waiting", "", THROUGHPUT, 1.21, pairs), POLICY, PLAYS)
        assert finding.played.regressed.share == 1


class TestFalseAlarms:
    @pytest.mark.parametrize(
        ("hits", "of", "comparisons", "fits"),
        [
            (0, 2000, 1, True),
            (0, 2000, 50, True),  # its share, 0.0002, is more than 2,000 plays can show
            (0, 200, 1, False),  # up to 1.8 %: not shown to be below alpha
            (8, 2000, 1, True),
            (15, 2000, 1, False),  # up to 1.2 %
            (8, 2000, 50, False),  # from 0.17 % on: more than its share
        ],
    )
    def test_more_than_its_share_or_than_alpha(self, monkeypatch, hits, of, comparisons, fits):
        played = Played(rate(hits, of), rate(of - hits, of), (3, 3, 3))
        monkeypatch.setattr(selftest, "play", lambda *args, **more: played)
        finding = examine(same(), replace(POLICY, comparisons=comparisons), of)
        assert finding.judged
        assert (finding.problem == "") is fits
        if not fits:
            assert finding.problem.startswith("the same pipeline against itself was called regressed in ")
            assert "--rayperf-alpha 0.01" in finding.problem


def of(*findings, ended=""):
    return Selftest("test_it.py::test_pipe", "pipe", POLICY, findings, ended)


class TestStatus:
    good = Finding(same(), None, None, None, judged=True)
    bad = Finding(condition(1.21), None, None, None, judged=True, problem="CPU: it is")
    hid = Finding(condition(1.0), None, None, None, judged=False)
    found = Finding(condition(1.21), None, None, 1.15, judged=True)

    def test_fit(self):
        assert of(self.good, self.found).status == "fit"
        assert of(self.good, self.found, self.hid).status == "fit"
        assert of(self.good, self.found).reason == "fit for a threshold of 1.1"

    def test_not_fit(self):
        one = of(self.good, self.bad, self.found)
        assert one.status == "not fit"
        first, last = one.reason.splitlines()
        assert first == "not fit for a threshold of 1.1: CPU: it is"
        assert "quiet" in last or "nothing else" in last

    def test_inconclusive(self):
        assert of().status == "inconclusive"
        assert of(self.found).status == "inconclusive"  # nothing of false alarms
        assert of(self.good, self.hid).reason.endswith("nothing that was put in slowed the pipeline")
        for findings in ((self.good, self.found), (self.good, self.bad)):
            assert of(*findings, ended="interrupted").reason == "inconclusive: interrupted"

"""Rounds beside a reference that was measured in the same session, in turn."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from builders import make_round, make_rounds
from scipy import stats

from pytest_rayperf.judging.noise import NOISE, WAITING
from pytest_rayperf.judging.policy import GATED, Policy, look_schedule
from pytest_rayperf.metrics import CPU_PER_ROW, THROUGHPUT
from pytest_rayperf.results import Operator
from pytest_rayperf.verdict import judge_pairs, settled_pairs

POLICY = Policy()
THEN = make_rounds(n=20)
BESIDE = "against the reference measured beside it in this run"


class TestStatuses:
    @pytest.mark.parametrize(
        ("cpu", "n", "status"),
        [
            (0.02 * 1.3, 20, "regressed"),
            (0.02 * 1.6, 3, "regressed"),
            (0.02, 20, "unchanged"),
            (0.02, 3, "inconclusive"),
            (0.02 * 1.10, 20, "inconclusive"),
            (0.02 / 1.3, 20, "improved"),
        ],
    )
    def test_by_cpu(self, cpu, n, status):
        verdict = judge_pairs(THEN[:n], make_rounds(cpu=cpu, n=n), POLICY)
        assert (verdict.status, verdict.metric) == (status, "cpu_seconds_per_row")
        assert verdict.ratio == pytest.approx(cpu / 0.02)
        assert verdict.ci[0] < verdict.ratio < verdict.ci[1]
        assert verdict.threshold == 1.10
        assert 1 <= verdict.mde <= max(1, verdict.ci[1])
        assert verdict.reason.startswith(f"{status}: cpu_seconds_per_row ")
        assert not verdict.wrong

    def test_throughput_is_heard_beside_cpu(self):
        verdict = judge_pairs(THEN, make_rounds(20, n=20), POLICY)
        assert (verdict.status, verdict.metric) == ("regressed", "throughput")
        assert verdict.ratio == pytest.approx(0.5)
        assert [c.status for c in verdict.comparisons] == ["unchanged", "regressed"]

    def test_each_regressed_metric_is_a_line_that_says_what_it_was_compared_with(self):
        verdict = judge_pairs(THEN, make_rounds(10, 0.04, n=20), POLICY)
        first, second = verdict.reason.splitlines()
        assert first.startswith("regressed: cpu_seconds_per_row 0.02 -> 0.04 s, 2.00x [")
        assert second.startswith("regressed: throughput 20 -> 10 rows/s, 0.50x [")
        assert first.endswith(BESIDE)
        assert second.endswith(BESIDE)
        assert "operator MapBatches(Classifier) +100% CPU" in first
        assert "; both at this run's CPU time a row; " in second
        assert "at this run's CPU time" not in first
        assert "baseline" not in verdict.reason
        assert verdict.attribution is not None

    def test_improved_asks_for_no_update_of_a_baseline(self):
        """There is none: the reference is another revision."""
        verdict = judge_pairs(THEN, make_rounds(cpu=0.01, n=20), POLICY)
        assert verdict.status == "improved"
        assert "baseline" not in verdict.reason

    def test_what_the_machine_did_to_both_cancels(self):
        generator = np.random.default_rng(3)
        states = np.exp(generator.normal(0, 0.5, 20))
        then, now = ([make_round(40 / s, 0.02 * s * f) for s in states] for f in (1.0, 1.3))
        assert judge_pairs(then, now, POLICY).status == "regressed"
        assert judge_pairs(then, [*now[1:], now[0]], POLICY).status == "inconclusive"  # others' partners

    def test_no_session_is_asked_for(self):
        verdict = judge_pairs(THEN[:3], THEN[:3], POLICY)
        assert verdict.reason.endswith("what would help: more rounds, or a quieter machine")

    def test_a_third_metric_is_heard(self):
        then, now = make_rounds(memory=10**9, n=20), make_rounds(memory=2 * 10**9, n=20)
        verdict = judge_pairs(then, now, POLICY)
        assert (verdict.status, verdict.metric) == ("regressed", "peak_worker_memory")
        assert [c.metric for c in verdict.comparisons] == list(GATED)

    def test_swapping_sides_swaps_the_verdict(self):
        now = make_rounds(cpu=0.03, n=20)
        there, back = judge_pairs(THEN, now, POLICY), judge_pairs(now, THEN, POLICY)
        assert (there.status, back.status) == ("regressed", "improved")
        assert back.ratio == pytest.approx(1 / there.ratio)


class TestWaiting:
    """Of work and waiting each must be found not to have grown."""

    def judge(self, wall, cpu=1.0, n=20, policy=POLICY):
        return judge_pairs(THEN[:n], make_rounds(40 / wall, 0.02 * cpu, n), policy)

    @pytest.mark.parametrize("threshold", [1.05, 1.10, 1.15, 1.2])
    @pytest.mark.parametrize("n", range(1, 21))
    def test_that_grew_is_never_unchanged_whatever_the_cpu_time_says(self, n, threshold):
        verdict = self.judge(1.22, n=n, policy=replace(POLICY, max_slowdown=threshold))
        assert verdict.status in ("regressed", "inconclusive")

    def test_that_grew_is_regressed_with_enough_rounds(self):
        verdict = self.judge(1.22)
        assert (verdict.status, verdict.metric) == ("regressed", "throughput")
        assert verdict.comparisons[0].status == "unchanged"
        assert verdict.ratio == pytest.approx(1 / 1.22)

    def test_that_grew_is_measured_on_for(self):
        """Work is settled long before: it must not end the measuring."""
        least = next(n for n in range(3, 21) if self.judge(1.22, n=n).status == "regressed")
        now = make_rounds(40 / 1.22, 0.02, 20)
        early = [n for n in range(3, least) if settled_pairs(THEN[:n], now[:n], POLICY)]
        assert least < 20
        assert early == []
        assert settled_pairs(THEN[:least], now[:least], POLICY)

    @pytest.mark.parametrize("n", [1, 3, 6, 20])
    @pytest.mark.parametrize("saved", [0.95, 0.85, 0.7, 0.5])
    def test_cpu_time_that_is_saved_at_equal_wall_time_is_no_regression(self, saved, n):
        verdict = self.judge(1.0, saved, n)
        assert "regressed" not in {c.status for c in verdict.comparisons}
        assert verdict.comparisons[1].slowdown.ratio == pytest.approx(1.0)

    @pytest.mark.parametrize("n", [1, 3, 6, 20])
    @pytest.mark.parametrize("grown", [1.1, 1.3, 1.6, 3.0])
    def test_cpu_time_that_grew_at_equal_wall_time_is_no_throughput_won(self, grown, n):
        verdict = self.judge(1.0, grown, n)
        assert verdict.comparisons[1].status != "improved"
        assert verdict.status != "improved"

    @pytest.mark.parametrize("slowdown", [1.3, 1.6, 3.0])
    def test_work_that_takes_the_wall_time_that_it_adds_is_told_once(self, slowdown):
        verdict = self.judge(slowdown, slowdown)
        assert (verdict.status, verdict.metric) == ("regressed", "cpu_seconds_per_row")
        assert verdict.comparisons[1].status == "inconclusive"  # it is slower, and not for waiting

    def test_that_is_open_speaks_where_work_is_unchanged(self):
        """It is equal for certain; what the rounds differ by is waiting."""
        scatter = [0.7, 1.4, 0.8, 1.25, 1.0] * 4
        then, now = ([make_round(40 * x) for x in one] for one in (scatter, scatter[::-1]))
        verdict = judge_pairs(then, now, POLICY)
        assert (verdict.status, verdict.metric) == ("inconclusive", "throughput")
        assert verdict.comparisons[0].status == "unchanged"

    def test_less_waiting_is_improved(self):
        verdict = self.judge(1 / 1.5)
        assert (verdict.status, verdict.metric) == ("improved", "throughput")


class TestWhatIsWrong:
    @pytest.mark.parametrize("side", [0, 1])
    @pytest.mark.parametrize(("rows", "told"), [(63, "63, 64"), (0, "no rows")])
    def test_rows_of_either_side(self, side, rows, told):
        sides = [list(THEN[:3]), list(THEN[:3])]
        sides[side][1] = make_round(rows=rows, throughput=None if rows == 0 else 40)
        verdict = judge_pairs(*sides, POLICY)
        assert (verdict.status, verdict.metric, verdict.wrong) == ("invalid", "rows", True)
        assert told in verdict.reason
        assert settled_pairs(*sides, POLICY)

    def test_a_metric_that_a_side_lacks_is_not_compared(self):
        for then, now in ((THEN, make_rounds(cpu=None, n=20)), (make_rounds(cpu=None, n=20), THEN)):
            verdict = judge_pairs(then, now, POLICY)
            assert [c.metric for c in verdict.comparisons] == [THROUGHPUT]

    def test_nothing_in_common(self):
        now = [replace(r, wall_seconds=0.0) for r in make_rounds(cpu=None)]
        verdict = judge_pairs(THEN[:3], now, POLICY)
        assert (verdict.status, verdict.comparisons) == ("inconclusive", ())
        assert verdict.reason == "no metric was measured on both sides"
        assert settled_pairs(THEN[:3], now, POLICY)

    @pytest.mark.parametrize("counts", [(4, 3), (3, 4)])
    def test_a_round_without_its_partner_is_left_out(self, counts):
        """The time was up, or Ctrl-C came, between the two."""
        then, now = (make_rounds(cpu=cpu, n=n) for cpu, n in zip((0.02, 0.03), counts, strict=True))
        assert judge_pairs(then, now, POLICY) == judge_pairs(then[:3], now[:3], POLICY)
        assert settled_pairs(then, now, POLICY) == settled_pairs(then[:3], now[:3], POLICY)

    def test_no_pair_at_all(self):
        verdict = judge_pairs(THEN[:1], [], POLICY)
        assert (verdict.status, verdict.comparisons) == ("inconclusive", ())
        assert settled_pairs([], [], POLICY)


class TestDisturbed:
    """Both sides had the same hours, so that it is told and decides nothing."""

    BUSY = "38 % of the CPU was used by others"

    @pytest.mark.parametrize("side", [0, 1])
    def test_it_is_told(self, side):
        sides = [list(THEN), list(THEN)]
        sides[side][5] = make_round(disturbed=self.BUSY)
        verdict = judge_pairs(*sides, POLICY)
        assert verdict.status == "unchanged"
        assert verdict.reason.endswith(f"; rounds were disturbed, those of both sides: {self.BUSY}")

    def test_a_slowdown_is_one_all_the_same(self):
        now = make_rounds(cpu=0.04, n=20, disturbed=self.BUSY)
        assert judge_pairs(THEN, now, POLICY).status == "regressed"

    def test_undisturbed_is_not_told(self):
        assert "disturbed" not in judge_pairs(THEN, THEN, POLICY).reason


class TestSettled:
    @staticmethod
    def scattered(slowdown=1.0):
        return [make_round(40 / slowdown, 0.02 * slowdown * math.exp(x)) for x in (-0.1, 0.0, 0.1)]

    @pytest.mark.parametrize("slowdown", [0.1, 10.0])
    def test_decided(self, slowdown):
        assert settled_pairs(THEN[:3], make_rounds(40 / slowdown, 0.02 * slowdown), POLICY)

    def test_decided_by_another_metric(self):
        then = 2 * self.scattered()
        now = [replace(r, wall_seconds=300.0) for r in reversed(then)]
        verdict = judge_pairs(then, now, POLICY)
        assert (verdict.status, verdict.metric) == ("regressed", "throughput")
        assert verdict.comparisons[0].status == "inconclusive"
        assert settled_pairs(then, now, POLICY)

    @pytest.mark.parametrize("slowdown", [0.98, 1.0, 1.25])
    def test_undecided_but_within_reach(self, slowdown):
        then, now = self.scattered(), self.scattered(slowdown)[::-1]
        assert judge_pairs(then, now, POLICY).status == "inconclusive"
        assert not settled_pairs(then, now, POLICY)

    def test_hopeless(self):
        then, now = make_rounds(n=18), make_rounds(cpu=0.02 * POLICY.max_slowdown, n=18)
        assert settled_pairs(then, now, POLICY)

    def test_after_the_last_look(self):
        policy = Policy(looks=(2, 3))
        then, now = self.scattered(), self.scattered()[::-1]
        assert judge_pairs(then, now, policy).status == "inconclusive"
        assert settled_pairs(then, now, policy)

    @pytest.mark.parametrize("slowdown", [0.7, 1.0, 1.05, 1.2, 1.5])
    def test_wherever_the_verdict_is_certain(self, slowdown):
        for n in range(1, 21):
            now = make_rounds(40 / slowdown, 0.02 * slowdown, n=n)
            if judge_pairs(THEN[:n], now, POLICY).status != "inconclusive":
                assert settled_pairs(THEN[:n], now, POLICY)


def draw_pairs(generator, n, slowdown=1.0, waiting=1.0):
    """A state of the machine for each pair, and the rounds' own noise as the policy believes that it is."""
    cpu, busy = NOISE[CPU_PER_ROW.name].round_sd, WAITING.round_sd
    then, now = [], []
    for state in generator.normal(0, 0.2, n):
        for rounds, work_factor, wait_factor in ((then, 1.0, 1.0), (now, slowdown, waiting)):
            work = 0.02 * work_factor * math.exp(state + generator.normal(0, cpu))
            cores = 0.8 / wait_factor * math.exp(generator.normal(0, busy))
            rounds.append(make_round(cores / work, work))
    return then, now


class TestSimulated:
    def test_unchanged_ones_are_not_called_regressed_at_any_look(self):
        generator = np.random.default_rng(42)
        alpha, runs, alarms = 0.05, 120, 0
        policy = Policy(alpha=alpha, looks=look_schedule(3, 8))
        for _ in range(runs):
            then, now = draw_pairs(generator, 8)
            alarms += any(judge_pairs(then[:n], now[:n], policy).status == "regressed" for n in policy.looks)
        assert alarms <= stats.binom.isf(1e-3, runs, alpha)

    @pytest.mark.parametrize("kind", ["slowdown", "waiting"])
    def test_a_slowdown_beyond_the_threshold_is_not_called_unchanged(self, kind):
        generator = np.random.default_rng(6)
        missed, runs = 0, 100
        policy = Policy(looks=look_schedule(3, 8))
        for _ in range(runs):
            then, now = draw_pairs(generator, 8, **{kind: 1.12})
            missed += any(judge_pairs(then[:n], now[:n], policy).status == "unchanged" for n in policy.looks)
        assert missed <= stats.binom.isf(1e-3, runs, 0.05)

    @pytest.mark.parametrize("kind", ["slowdown", "waiting"])
    def test_a_slowdown_of_a_third_is_found(self, kind):
        generator = np.random.default_rng(5)
        found = sum(
            judge_pairs(*draw_pairs(generator, 20, **{kind: 1.33}), POLICY).status == "regressed"
            for _ in range(50)
        )
        assert found >= 47


class TestAttribution:
    def test_names_the_operator_that_grew(self):
        def rounds(cpu):
            operators = (Operator("ReadImages", cpu_s=0.1), Operator("MapBatches(Classifier)", cpu_s=cpu))
            return make_rounds(n=20, operators=operators)

        verdict = judge_pairs(rounds(1.0), rounds(2.5), POLICY)
        assert verdict.attribution.cause.operator == "MapBatches(Classifier)"
        assert judge_pairs(rounds(1.0), rounds(1.01), POLICY).attribution.cause is not None
        assert "operator MapBatches(Classifier) +150% CPU" in verdict.reason

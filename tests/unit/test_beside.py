"""What is made of rounds that were measured beside those of a far side, in turn."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import SUBJECT, make_reference, make_round, make_rounds

from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.results import Operator
from pytest_rayperf.verdict import judge, judge_pairs, settled, settled_pairs

FAR = "main (1a2b3c4d5e6f)"
POLICY = Policy()
UNTIMED = Policy(looks=(1, 4), timed=False)


def beside(rounds, **more):
    return replace(make_reference(rounds, name=FAR, **more), beside=True)


@pytest.mark.parametrize(("cpu", "status"), [(0.04, "regressed"), (0.02, "unchanged"), (0.01, "improved")])
def test_is_that_of_pairs(cpu, status):
    then, now = make_rounds(n=20), make_rounds(40 * 0.02 / cpu, cpu, 20)
    verdict = judge(now, SUBJECT, beside(then), POLICY)
    pairs = judge_pairs(then, now, POLICY)
    assert verdict.status == pairs.status == status
    assert verdict.ci == pairs.ci
    assert settled(now, SUBJECT, beside(then), POLICY) == settled_pairs(then, now, POLICY) is True


def test_names_the_far_side_and_asks_for_no_update():
    verdict = judge(make_rounds(20, 0.04, 20), SUBJECT, beside(make_rounds(n=20)), POLICY)
    assert verdict.reason.endswith(f"; {FAR}, measured beside it")
    for reference in (beside(make_rounds(counters={"loads": n}, n=3)) for n in (1, 3)):
        verdict = judge(make_rounds(counters={"loads": 2}, n=3), SUBJECT, reference, POLICY)
        assert FAR in verdict.reason
        assert "baseline" not in verdict.reason


def test_is_open_after_few_rounds_near_the_threshold():
    then, now = make_rounds(n=3), make_rounds(40 / 1.1, 0.022, 3)
    assert judge(now, SUBJECT, beside(then), POLICY).status == "inconclusive"
    assert not settled(now, SUBJECT, beside(then), POLICY)


def test_of_a_round_without_a_partner_says_nothing():
    then, now = make_rounds(n=20), make_rounds(n=20)
    late = (*now, make_round(4, 0.2))
    assert judge(late, SUBJECT, beside(then), POLICY).ci == judge(now, SUBJECT, beside(then), POLICY).ci


def test_counters_speak_before_times():
    then, now = make_rounds(counters={"loads": 1}, n=20), make_rounds(80, 0.01, 20, counters={"loads": 2})
    verdict = judge(now, SUBJECT, beside(then), POLICY)
    assert (verdict.status, verdict.metric) == ("regressed", "loads")
    assert settled(now[:1], SUBJECT, beside(then[:1]), POLICY)


def test_fewer_counts_are_an_improvement_unless_it_is_slower():
    then = make_rounds(counters={"loads": 2}, n=20)
    for cpu, status, metric in ((0.02, "improved", "loads"), (0.04, "regressed", "cpu_seconds_per_row")):
        now = make_rounds(40 * 0.02 / cpu, cpu, 20, counters={"loads": 1})
        verdict = judge(now, SUBJECT, beside(then), POLICY)
        assert (verdict.status, verdict.metric) == (status, metric)


def test_of_what_was_executed_once():
    then = make_rounds(n=1, counters={"loads": 1})
    same = make_rounds(n=1, counters={"loads": 1})
    verdict = judge(same, SUBJECT, beside(then), UNTIMED)
    assert (verdict.status, verdict.metric) == ("unchanged", None)
    assert verdict.reason == f"counters as in {FAR}; executed once: only a large slowdown shows"
    assert settled(same, SUBJECT, beside(then), UNTIMED)


def test_of_what_was_executed_once_and_looks_slow():
    then, slow = make_rounds(n=1), make_rounds(2, 0.4, 1)
    assert not settled(slow, SUBJECT, beside(then), UNTIMED)
    verdict = judge(slow * 4, SUBJECT, beside(then * 4), UNTIMED)
    assert (verdict.status, verdict.metric) == ("regressed", "cpu_seconds_per_row")
    assert verdict.reason.endswith(f"; {FAR}, measured beside it")


def test_the_first_of_several_untimed_rounds_was_the_warm_up():
    then, now = make_rounds(n=4), (make_round(1, 1.0), *make_rounds(n=3))
    assert judge(now, SUBJECT, beside(then), UNTIMED).status == "unchanged"


def test_disturbed_rounds_are_judged_in_pairs_and_said():
    busy = make_rounds(n=20, disturbed="38 % of the CPU was used by others")
    verdict = judge(make_rounds(20, 0.04, 20), SUBJECT, beside(busy), POLICY)
    assert verdict.status == "regressed"
    assert "38 % of the CPU" in judge(make_rounds(n=20), SUBJECT, beside(busy), POLICY).reason


def test_a_target_is_missed_whatever_stands_beside():
    verdict = judge(make_rounds(n=3), SUBJECT, beside(make_rounds(n=3)), Policy(min_throughput=1e6))
    assert verdict.status == "regressed"


def test_the_operator_is_named():
    def rounds(cpu):
        operators = [Operator("A", cpu_s=cpu * 64, rows=64), Operator("B", cpu_s=0.64, rows=64)]
        return make_rounds(20, n=20, operators=operators)

    verdict = judge(rounds(0.05), SUBJECT, beside(rounds(0.01)), POLICY)
    assert "operator A +400% CPU" in verdict.reason

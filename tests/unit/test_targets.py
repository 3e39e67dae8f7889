"""What a mark demands, on given rounds."""

from __future__ import annotations

import pytest
from builders import LIGHT, SUBJECT, make_reference, make_round
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.judging.targets import missed_target, unjudged_targets
from pytest_rayperf.results import Call
from pytest_rayperf.verdict import judge


def rounds(*seconds, udf="Classifier", failed=0, **more):
    calls = [Call(udf, one) for one in seconds] + [Call(udf, 0.01, failed=True)] * failed
    return [make_round(calls=calls, **more)]


class TestLatency:
    @pytest.mark.parametrize(
        ("fast", "slow", "missed"),
        [
            (0, 3, True),  # 0.05 ** 3 is below 0.01
            (0, 1, False),  # one call may be the one of twenty
            (97, 3, False),
            (94, 6, False),  # the sample's p95 is above; so few calls don't show that the p95 is
            (80, 20, True),
            (20, 0, False),
        ],
    )
    def test_the_calls_above_it_are_counted(self, fast, slow, missed):
        verdict = missed_target(rounds(*[0.1] * fast, *[0.9] * slow), Policy(max_batch_latency_p95=0.5))
        assert (verdict is not None) == missed

    def test_the_message(self):
        verdict = missed_target(rounds(*[0.1] * 4, *[0.9] * 20), Policy(max_batch_latency_p95=0.5))
        assert (verdict.status, verdict.metric, verdict.threshold) == ("regressed", "batch_latency_p95", 0.5)
        assert verdict.reason == (
            "regressed: batch latency of Classifier: 20 of 24 calls took longer than 0.5 s, at most 0.9 s; "
            "target max_batch_latency_p95=0.5"
        )

    def test_each_udf_is_held_by_itself(self):
        mixed = [make_round(calls=[Call("Fast", 0.01)] * 400 + [Call("Slow", 0.9)] * 10)]
        assert "of Slow: 10 of 10" in missed_target(mixed, Policy(max_batch_latency_p95=0.5)).reason

    def test_all_rounds_together(self):
        policy = Policy(max_batch_latency_p95=0.5)
        assert missed_target(rounds(0.9), policy) is None
        assert missed_target(rounds(0.9) * 3, policy) is not None

    def test_many_benchmarks_share_the_error(self):
        policy = Policy(max_batch_latency_p95=0.5, comparisons=100)
        assert missed_target(rounds(0.9, 0.9, 0.9), policy) is None
        assert missed_target(rounds(0.9, 0.9, 0.9, 0.9), policy) is not None

    def test_calls_that_failed_have_no_latency(self):
        assert missed_target(rounds(*[0.01] * 20, failed=5), Policy(max_batch_latency_p95=0.005)) is not None
        assert missed_target(rounds(*[0.01] * 20, failed=5), Policy(max_batch_latency_p95=0.05)) is None

    @given(st.lists(st.floats(0.001, 10), min_size=1, max_size=60), st.floats(0.001, 10))
    @LIGHT
    def test_what_is_all_within_is_never_missed(self, seconds, more):
        assert missed_target(rounds(*seconds), Policy(max_batch_latency_p95=max(seconds) + more)) is None


class TestErrors:
    @pytest.mark.parametrize(
        ("failed", "limit", "missed"), [(0, 0.0, False), (1, 0.0, True), (1, 0.1, False), (2, 0.1, True)]
    )
    def test_are_exact(self, failed, limit, missed):
        found = missed_target(rounds(*[0.1] * (10 - failed), failed=failed), Policy(max_error_rate=limit))
        assert (found is not None) == missed

    def test_the_message(self):
        verdict = missed_target(rounds(*[0.1] * 39, failed=1), Policy(max_error_rate=0.0))
        assert (verdict.status, verdict.metric) == ("regressed", "error_rate")
        assert verdict.reason == (
            "regressed: 1 of 40 calls of Classifier raised an error, 2.50%; target max_error_rate=0"
        )


class TestNotMeasured:
    @pytest.mark.parametrize("name", ["max_batch_latency_p95", "max_error_rate"])
    def test_what_cannot_be_held_is_no_pass(self, name):
        verdict = missed_target([make_round()], Policy(**{name: 0.5}))
        assert verdict.status == "invalid"
        assert name in verdict.reason

    def test_nothing_demanded(self):
        assert missed_target([make_round()], Policy()) is None


class TestDisturbed:
    def test_times_say_nothing(self):
        disturbed = rounds(*[0.9] * 20, disturbed="others used 38 %")
        assert missed_target(disturbed, Policy(max_batch_latency_p95=0.5, min_throughput=1e6)) is None

    def test_errors_do(self):
        disturbed = rounds(0.1, failed=1, disturbed="others used 38 %")
        assert missed_target(disturbed, Policy(max_error_rate=0.0)).metric == "error_rate"


def test_a_target_holds_with_and_without_a_baseline():
    slow = rounds(*[0.9] * 20)
    policy = Policy(max_batch_latency_p95=0.5)
    for reference in (None, make_reference([make_round()] * 3)):
        assert judge(slow, SUBJECT, reference, policy).metric == "batch_latency_p95"


class TestNotJudged:
    POLICY = Policy(max_batch_latency_p95=0.5, min_throughput=1e6)

    def test_what_was_disturbed_is_said(self):
        disturbed = rounds(0.1) + rounds(0.9, disturbed="others used 38 %")
        assert unjudged_targets(disturbed, self.POLICY) == (
            "min_throughput and max_batch_latency_p95 were not judged, for rounds were disturbed: "
            "others used 38 %"
        )

    def test_what_was_judged_is_not(self):
        assert unjudged_targets(rounds(0.9), self.POLICY) is None
        assert unjudged_targets(rounds(0.9, disturbed="others used 38 %"), Policy(max_error_rate=0.1)) is None

    @pytest.mark.parametrize("reference", [None, make_reference()])
    def test_the_verdict_says_so(self, reference):
        disturbed = rounds(0.9, disturbed="others used 38 %")
        verdict = judge(disturbed, SUBJECT, reference, Policy(min_throughput=1e6))
        assert verdict.status == ("no-baseline" if reference is None else "inconclusive")
        assert verdict.reason.endswith(
            "; min_throughput was not judged, for rounds were disturbed: others used 38 %"
        )

    def test_not_where_it_fails_anyway(self):
        broken = rounds(0.1, failed=1, disturbed="others used 38 %")
        verdict = judge(broken, SUBJECT, None, Policy(min_throughput=1e6, max_error_rate=0.0))
        assert "not judged" not in verdict.reason

    def test_nor_where_rows_are_missing(self):
        broken = [make_round(rows=rows, disturbed="others used 38 %") for rows in (64, 63)]
        verdict = judge(broken, SUBJECT, None, Policy(min_throughput=1e6))
        assert verdict.status == "invalid"
        assert "not judged" not in verdict.reason

"""What must hold of the verdict whatever a machine gives."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from builders import LIGHT, PROBE, SUBJECT, make_reference, make_round, make_rounds
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.judging.reference import RECENT, Reference, ReferenceSession
from pytest_rayperf.machine import Probe
from pytest_rayperf.results import STATUSES, Call, Operator, Round
from pytest_rayperf.verdict import judge, judge_pairs, settled, settled_pairs

POLICY = Policy()

factors = st.floats(0.3, 3)
sides = st.lists(st.tuples(factors, factors), min_size=1, max_size=5)  # of throughput and of CPU seconds


def rounds_of(figures, scale=1.0):
    return [make_round(40 * speed / scale, 0.02 * cpu * scale) for speed, cpu in figures]


class TestScale:
    """A machine that is twice as fast, on both sides, is the same verdict."""

    @given(
        sides,
        st.lists(sides, min_size=1, max_size=12),
        st.floats(0.01, 100),
        st.sampled_from([PROBE, None]),
    )
    @LIGHT
    def test_changes_no_verdict(self, now, sessions, scale, probe):
        plain, scaled = (
            judge(
                rounds_of(now, s),
                SUBJECT,
                make_reference(*(rounds_of(one, s) for one in sessions), probe=probe),
                POLICY,
                probe=probe,
            )
            for s in (1.0, scale)
        )
        assert (scaled.status, scaled.metric) == (plain.status, plain.metric)
        assert scaled.ratio == pytest.approx(plain.ratio)

    @given(sides, sides, st.floats(0.01, 100))
    @LIGHT
    def test_changes_no_verdict_of_pairs(self, then, now, scale):
        plain, scaled = (judge_pairs(rounds_of(then, s), rounds_of(now, s), POLICY) for s in (1.0, scale))
        assert (scaled.status, scaled.metric) == (plain.status, plain.metric)
        assert scaled.ratio == pytest.approx(plain.ratio)


class TestSwap:
    @given(st.lists(st.tuples(factors, factors), min_size=1, max_size=6))
    @LIGHT
    def test_inverts_the_ratio_and_the_verdict_of_pairs(self, both):
        """Of work alone: what work was saved counts of waiting on one side only."""
        then = [replace(make_round(None, 0.02 * a), wall_seconds=0.0) for a, _ in both]
        now = [replace(make_round(None, 0.02 * b), wall_seconds=0.0) for _, b in both]
        there, back = judge_pairs(then, now, POLICY), judge_pairs(now, then, POLICY)
        assert back.ratio == pytest.approx(1 / there.ratio)
        swapped = {"regressed": "improved", "improved": "regressed"}
        assert back.status == swapped.get(there.status, back.status)
        assert there.status == swapped.get(back.status, there.status)

    @given(sides, st.integers(1, 20))
    @LIGHT
    def test_what_is_better_is_not_better_the_other_way_round(self, sides, repeats):
        then, now = make_rounds(n=len(sides) * repeats), rounds_of(sides * repeats)
        there, back = judge_pairs(then, now, POLICY), judge_pairs(now, then, POLICY)
        assert {there.status, back.status} != {"improved"}
        for one, other in zip(there.comparisons, back.comparisons, strict=True):
            assert {one.status, other.status} not in ({"improved"}, {"regressed"})


class TestGrown:
    """What grew by its own figures by more than the threshold is not called unchanged, whatever else did."""

    @staticmethod
    def hold(verdict, speed, cpu):
        works, waits = cpu > POLICY.max_slowdown, 1 / speed / max(1.0, cpu) > POLICY.max_slowdown
        if works or waits:
            assert verdict.status != "unchanged"
        if works:
            assert verdict.status != "improved"
        if waits:
            assert verdict.status != "improved" or verdict.metric == "cpu_seconds_per_row"

    @given(factors, factors, st.integers(1, 20))
    @LIGHT
    def test_of_pairs(self, speed, cpu, n):
        self.hold(judge_pairs(make_rounds(n=n), rounds_of([(speed, cpu)] * n), POLICY), speed, cpu)

    @given(factors, factors, st.integers(1, 20), st.integers(1, 12), st.sampled_from([PROBE, None]))
    @LIGHT
    def test_of_sessions(self, speed, cpu, n, k, probe):
        reference = make_reference(*[make_rounds()] * k, probe=probe)
        self.hold(judge(rounds_of([(speed, cpu)] * n), SUBJECT, reference, POLICY, probe=probe), speed, cpu)


class TestMoreEqualRounds:
    @given(
        st.lists(sides, min_size=1, max_size=12),
        factors,
        factors,
        st.integers(1, 20),
        st.integers(1, 20),
        st.sampled_from([PROBE, None]),
    )
    @LIGHT
    def test_never_turn_unchanged_into_regressed(self, sessions, speed, cpu, few, more, probe):
        reference = make_reference(*map(rounds_of, sessions), probe=probe)
        before, after = (
            judge(rounds_of([(speed, cpu)] * n), SUBJECT, reference, POLICY, probe=probe)
            for n in (few, few + more)
        )
        # Another metric, which could not tell before, may tell then.
        then = {c.metric.name: c.status for c in before.comparisons if c.since is None}
        for c in after.comparisons:
            if c.since is None:
                assert {then[c.metric.name], c.status} != {"unchanged", "regressed"}
                assert {then[c.metric.name], c.status} != {"improved", "regressed"}


class TestOddRounds:
    """Each has a defined answer."""

    REFERENCE = make_reference(*[make_rounds(n=5)] * 5)

    @pytest.mark.parametrize("bad", [None, math.nan, math.inf, -math.inf, 0.0, -1.0])
    @pytest.mark.parametrize("where", ["now", "then"])
    def test_a_figure_that_is_none_leaves_its_metric_out(self, bad, where):
        odd = [*make_rounds(n=2), make_round(operators=(Operator("A", cpu_s=bad),))]
        good = make_rounds()
        now, then = (odd, good) if where == "now" else (good, odd)
        verdict = judge(now, SUBJECT, make_reference(*[then] * 3), POLICY)
        assert [c.metric.name for c in verdict.comparisons] == ["throughput"]
        verdict = judge_pairs(then, now, POLICY)
        assert [c.metric.name for c in verdict.comparisons] == ["throughput"]

    @pytest.mark.parametrize(
        ("slowdown", "statuses"),
        [(1.0, {"unchanged", "inconclusive"}), (1.15, {"inconclusive"}), (10.0, {"regressed"})],
    )
    def test_one_round_decides_only_what_is_large(self, slowdown, statuses):
        verdict = judge([make_round(40, 0.02 * slowdown)], SUBJECT, self.REFERENCE, POLICY)
        assert verdict.status in statuses
        assert judge_pairs([make_round()], [make_round(40, 0.02 * slowdown)], POLICY).status in statuses

    @pytest.mark.parametrize(("outlier", "never"), [(1e-3, "improved"), (1e3, "regressed")])
    def test_a_huge_outlier_is_neither_a_slowdown_nor_a_win(self, outlier, never):
        rounds = [*make_rounds(n=4), make_round(40 / outlier, 0.02 * outlier)]
        assert judge(rounds, SUBJECT, self.REFERENCE, POLICY).status != never
        assert judge_pairs(make_rounds(n=5), rounds, POLICY).status != never

    def test_a_huge_outlier_among_the_sessions_decides_nothing(self):
        for outlier in (1e-3, 1e3):
            odd = [*make_rounds(n=4), make_round(40 / outlier, 0.02 * outlier)]
            reference = make_reference(*[make_rounds(n=5)] * 4, odd)
            assert judge(make_rounds(n=5), SUBJECT, reference, POLICY).status == "inconclusive"

    def test_identical_rounds_are_judged(self):
        reference = make_reference(*[make_rounds(n=20)] * RECENT)
        policy = Policy(max_slowdown=1.15)
        assert judge(make_rounds(n=20), SUBJECT, reference, policy, probe=PROBE).status == "unchanged"

    def test_counts_may_differ(self):
        reference = make_reference(make_rounds(n=1), make_rounds(n=30), make_rounds(n=4))
        assert judge(make_rounds(cpu=0.06, n=2), SUBJECT, reference, POLICY).status == "regressed"


numbers = st.one_of(
    st.none(),
    st.sampled_from([0.0, -0.0, -1.0, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308]),
    st.floats(1e-9, 1e9),
)
counts = st.one_of(st.none(), st.integers(0, 2**63))
operators = st.builds(
    Operator,
    st.sampled_from(["Read", "Map"]),
    wall_s=numbers,
    cpu_s=st.floats(0.1, 10) | numbers,
    udf_s=numbers,
    rows=counts,
    bytes=counts,
    tasks=counts,
)
wild_rounds = st.builds(
    Round,
    rows=st.sampled_from([64] * 38 + [0, 63]),
    wall_seconds=st.floats(0.1, 10) | numbers.map(lambda x: 1.0 if x is None else x),
    operators=st.lists(operators, max_size=3).map(tuple),
    counters=st.sampled_from([{}] * 18 + [{"a": 1}, {"a": 2, "b": 0}]),
    peak_worker_memory=counts,
    figures=st.dictionaries(
        st.sampled_from(["reused_workers", "total_worker_memory"]),
        numbers.map(lambda x: x or 0.0),
        max_size=2,
    ),
    calls=st.lists(
        st.builds(Call, st.just("Map"), numbers.map(lambda x: x or 0.0), failed=st.booleans()), max_size=2
    ).map(tuple),
    disturbed=st.sampled_from([""] * 9 + ["busy"]),
)
wild = st.lists(wild_rounds, min_size=1, max_size=4)
probes = st.none() | st.builds(
    Probe, numbers.map(lambda x: 0.0 if x is None else x), numbers.map(lambda x: 0.0 if x is None else x)
)
references = st.lists(
    st.builds(ReferenceSession, rounds=wild.map(tuple), probe=probes), min_size=1, max_size=RECENT + 3
).map(lambda sessions: Reference("f.json", SUBJECT, tuple(sessions)))
policies = st.builds(
    Policy,
    max_slowdown=st.floats(1.0001, 100),
    alpha=st.floats(1e-9, 0.5),
    comparisons=st.integers(0, 500),
    looks=st.sampled_from([(1,), (1, 4), (3,), (3, 4, 5), tuple(range(3, 21))]),
    min_throughput=st.sampled_from([None] * 6 + [1e-3, 40.0, 1e9]),
    max_batch_latency_p95=st.sampled_from([None] * 6 + [1e-3, 1e3]),
    max_error_rate=st.sampled_from([None] * 6 + [0.0, 0.3]),
    timed=st.sampled_from([True, True, True, False]),
)


MANY = settings(LIGHT, max_examples=200)


class TestNothingRaises:
    @given(wild, references | references | references | st.none(), policies, probes)
    @MANY
    def test_on_rounds_of_a_machine_at_its_worst(self, rounds, reference, policy, probe):
        verdict = judge(rounds, SUBJECT, reference, policy, probe=probe)
        assert verdict.status in STATUSES
        assert verdict.reason
        if verdict.ci is not None:
            assert 0 < verdict.ci[0] <= verdict.ratio <= verdict.ci[1] < math.inf
        assert settled(rounds, SUBJECT, reference, policy, probe) in (True, False)

    @given(wild, wild, policies)
    @MANY
    def test_on_pairs_of_them(self, then, now, policy):
        verdict = judge_pairs(then, now, policy)
        assert verdict.status in STATUSES
        assert verdict.reason
        assert settled_pairs(then, now, policy) in (True, False)

    @given(wild, references, policies, probes)
    @LIGHT
    def test_what_is_settled_is_settled_by_the_verdict(self, rounds, reference, policy, probe):
        """A certain verdict is no reason to measure on, unless the one round had no warm-up.

        Or unless another metric is open: it may be an alarm yet.
        """
        policy = replace(policy, timed=True)
        verdict = judge(rounds, SUBJECT, reference, policy, probe=probe)
        if "inconclusive" not in {verdict.status, *(c.status for c in verdict.comparisons)}:
            assert settled(rounds, SUBJECT, reference, policy, probe)

    @given(wild, wild, policies)
    @LIGHT
    def test_nor_are_pairs(self, then, now, policy):
        verdict = judge_pairs(then, now, policy)
        if "inconclusive" not in {verdict.status, *(c.status for c in verdict.comparisons)}:
            assert settled_pairs(then, now, policy)

"""Small steps that are each within the threshold, and together are not."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from builders import FILE, PROBE, SUBJECT, make_reference, make_round, make_rounds

from pytest_rayperf.judging.comparing import Chances
from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.judging.questions import ANCHOR_PART, Question
from pytest_rayperf.judging.reference import ANCHORS, RECENT
from pytest_rayperf.metrics import CPU_PER_ROW
from pytest_rayperf.verdict import judge as judge_with_probe
from pytest_rayperf.verdict import settled as settled_with_probe

judge, settled = partial(judge_with_probe, probe=PROBE), partial(settled_with_probe, probe=PROBE)
POLICY = Policy(max_slowdown=1.15)
CREEPING = "inconclusive: as fast as in the last sessions, and cpu_seconds_per_row "
OLDEST = "the oldest kept sessions"


def session(slowdown=1.0, n=20, **more):
    return make_rounds(40 / slowdown, 0.02 * slowdown, n, **more)


def steps(count, step=1.02, after=0):
    """A session, `count` more that are each slower than the one before, and `after` as slow as the last."""
    return [session(step**i) for i in range(count + 1)] + [session(step**count)] * after


class TestReference:
    @pytest.mark.parametrize(
        ("sessions", "anchors"),
        [(1, 0), (RECENT, 0), (RECENT + 1, 1), (RECENT + 2, 2), (RECENT + ANCHORS, ANCHORS), (30, ANCHORS)],
    )
    def test_the_oldest_are_the_anchor_where_they_are_not_recent(self, sessions, anchors):
        reference = make_reference(*[session(1 + i / 100) for i in range(sessions)])
        assert reference.anchor == reference.sessions[:anchors]
        assert reference.recent == reference.sessions[-RECENT:]
        assert not set(map(id, reference.anchor)) & set(map(id, reference.recent))


class TestTenStepsOfTwoPercent:
    def test_are_never_called_unchanged(self):
        for later in range(1, 20):
            verdict = judge(session(1.02**10), SUBJECT, make_reference(*steps(10, after=later)), POLICY)
            assert verdict.status in ("regressed", "inconclusive")

    def test_are_seen_against_the_oldest_once_the_last_sessions_are_alike(self):
        verdict = judge(session(1.02**10), SUBJECT, make_reference(*steps(10, after=RECENT)), POLICY)
        assert verdict.status == "inconclusive"
        assert verdict.reason.startswith(CREEPING)
        assert f" against {OLDEST}: " in verdict.reason
        assert "--rayperf-update-baselines" in verdict.reason
        assert verdict.ratio == pytest.approx(1.02**9, rel=1e-3)  # the middle of the first three
        assert verdict.comparisons[0].status == "unchanged"
        assert verdict.comparisons[-1].since == OLDEST
        assert verdict.attribution is not None

    def test_are_regressed_where_the_policy_wants_no_more_certainty_than_there_is(self):
        policy = Policy(max_slowdown=1.03, alpha=0.4)
        reference = make_reference(*steps(10, after=RECENT))
        verdict = judge(session(1.02**10), SUBJECT, reference, policy)
        assert (verdict.status, verdict.metric) == ("regressed", "cpu_seconds_per_row")
        (line,) = verdict.reason.splitlines()
        assert f"; against {OLDEST}; baseline {FILE}; accept with --rayperf-update-baselines" in line
        assert settled(session(1.02**10), SUBJECT, reference, policy)

    def test_steps_that_went_on_are_regressed(self):
        verdict = judge(session(1.02**30), SUBJECT, make_reference(*steps(30)), POLICY)
        assert verdict.status == "regressed"
        assert all(OLDEST in line for line in verdict.reason.splitlines())

    def test_are_within_a_threshold_that_is_larger(self):
        reference = make_reference(*steps(10, after=RECENT))
        verdict = judge(session(1.02**10), SUBJECT, reference, Policy(max_slowdown=1.4))
        assert verdict.status == "unchanged"
        assert OLDEST not in verdict.reason

    def test_the_threshold_itself_is_not_beyond_it(self):
        reference = make_reference(*steps(10, after=RECENT))
        ratio = judge(session(1.02**10), SUBJECT, reference, POLICY).ratio
        for limit, status in ((ratio, "unchanged"), (ratio * (1 - 1e-9), "inconclusive")):
            verdict = judge(session(1.02**10), SUBJECT, reference, Policy(max_slowdown=limit))
            assert verdict.status == status

    def test_faster_by_steps_is_no_creep(self):
        reference = make_reference(*steps(10, 1 / 1.02, after=RECENT))
        verdict = judge(session(1.02**-10), SUBJECT, reference, POLICY)
        assert verdict.status == "unchanged"
        assert OLDEST not in verdict.reason


class TestNoFalseAlarm:
    @pytest.mark.parametrize("old", [0.8, 0.9, 0.95, 1.05, 1.2])
    def test_a_single_old_session_that_was_off_fails_nobody(self, old):
        reference = make_reference(session(old), *[session()] * RECENT)
        verdict = judge(session(), SUBJECT, reference, POLICY)
        assert verdict.status in ("unchanged", "inconclusive")

    @pytest.mark.parametrize("old", [0.8, 0.95, 1.2])
    def test_one_among_the_oldest_that_was_off_leaves_it_unchanged(self, old):
        reference = make_reference(session(old), *[session()] * (RECENT + ANCHORS))
        assert judge(session(), SUBJECT, reference, POLICY).status == "unchanged"

    def test_a_single_old_session_full_of_noise_alarms_nobody(self):
        noisy = [make_round(40 / s, 0.02 * s) for s in (0.5, 1.0, 2.0, 0.6, 1.7)]
        verdict = judge(session(), SUBJECT, make_reference(noisy, *[session()] * RECENT), POLICY)
        assert verdict.status == "unchanged"

    def test_equal_sessions_are_unchanged_however_many(self):
        for count in (RECENT, RECENT + 1, 30):
            assert judge(session(), SUBJECT, make_reference(*[session()] * count), POLICY).status == (
                "unchanged"
            )


class TestShares:
    """Both comparisons have the benchmark's part of the error, and no more."""

    def comparisons(self, policy, count):
        return judge(session(), SUBJECT, make_reference(*[session()] * count), policy).comparisons

    def test_of_the_recent_sessions(self):
        recent = self.comparisons(POLICY, RECENT + ANCHORS)[0]
        alone = self.comparisons(replace(POLICY, alpha=POLICY.alpha * (1 - ANCHOR_PART)), RECENT)[0]
        assert recent == alone
        assert recent.slowdown.low < self.comparisons(POLICY, RECENT)[0].slowdown.low

    def test_of_the_oldest(self):
        oldest = self.comparisons(POLICY, RECENT + ANCHORS)[-1]
        alone = self.comparisons(replace(POLICY, alpha=POLICY.alpha * ANCHOR_PART), ANCHORS)[0]
        assert (oldest.slowdown, oldest.mde) == (alone.slowdown, alone.mde)

    def test_only_the_surest_metric_is_compared_with_the_oldest(self):
        comparisons = self.comparisons(POLICY, RECENT + ANCHORS)
        assert [(c.metric.name, c.since) for c in comparisons] == [
            ("cpu_seconds_per_row", None),
            ("throughput", None),
            ("cpu_seconds_per_row", OLDEST),
        ]

    def test_the_oldest_have_a_part_and_not_all(self):
        assert 0 < ANCHOR_PART < 0.5


class TestMissing:
    def test_the_oldest_did_not_measure_the_surest_metric(self):
        old = [session(n=20, operators=())] * ANCHORS
        verdict = judge(session(), SUBJECT, make_reference(*old, *[session()] * RECENT), POLICY)
        assert verdict.status == "unchanged"
        assert (verdict.comparisons[-1].metric.name, verdict.comparisons[-1].since) == ("throughput", OLDEST)

    def test_the_oldest_measured_nothing(self):
        old = [[make_round(None, None, rows=0)]] * ANCHORS
        verdict = judge(session(), SUBJECT, make_reference(*old, *[session()] * RECENT), POLICY)
        assert verdict.status == "unchanged"
        assert {c.since for c in verdict.comparisons} == {None}

    @pytest.mark.parametrize("slowdown", [0.3, 1.0, 1.10, 1.3, 9.0])
    def test_the_last_sessions_measured_nothing(self, slowdown):
        """Then the oldest speak alone, in whatever words."""
        recent = [[make_round(None, None, rows=0)]] * RECENT
        reference = make_reference(*[session()] * ANCHORS, *recent)
        rounds = session(slowdown)
        verdict = judge(rounds, SUBJECT, reference, POLICY)
        assert {c.since for c in verdict.comparisons} == {OLDEST}
        assert verdict.status == verdict.comparisons[0].status
        for n in (1, 3, 20):
            assert settled(rounds[:n], SUBJECT, reference, POLICY) in (True, False)


class TestSettled:
    @pytest.mark.parametrize(
        ("sessions", "compared_with", "share"),
        [
            (steps(10, after=RECENT), slice(0, ANCHORS), ANCHOR_PART),
            ([session()] * (RECENT + 2), slice(-RECENT, None), 1 - ANCHOR_PART),
            ([session()] * RECENT, slice(-RECENT, None), 1.0),
        ],
        ids=["what crept", "the last sessions", "no oldest sessions"],
    )
    @pytest.mark.parametrize("goes_on", [True, False])
    def test_asks_for_the_comparison_that_is_undecided(
        self, monkeypatch, sessions, compared_with, share, goes_on
    ):
        """Whether rounds will decide that one; of the others it does not matter."""
        rounds = session(1.02**10 if share == ANCHOR_PART else 1.08)
        asked = []

        def chances(question):
            # Of throughput it is the work's part that is asked.
            series = question.series.work or question.series
            its_own = (
                series.metric is CPU_PER_ROW
                and [list(figures) for figures in series.sessions]
                == [
                    [pytest.approx(r.metric(CPU_PER_ROW.name)) for r in rounds]
                    for rounds in sessions[compared_with]
                ]
                and list(series.current) == [r.metric(CPU_PER_ROW.name) for r in rounds]
                and question.policy == replace(POLICY, alpha=pytest.approx(POLICY.alpha * share))
            )
            asked.append(its_own)
            return Chances(float(its_own is goes_on), 0.0)

        monkeypatch.setattr(Question, "chances", property(chances))
        assert settled(rounds, SUBJECT, make_reference(*sessions), POLICY) is not goes_on
        assert True in asked

    def test_what_crept_is_not_measured_on_where_rounds_will_not_tell(self):
        """It is as fast as lately for certain; what the oldest sessions differ by, no round says."""
        reference = make_reference(*steps(10, after=RECENT))
        rounds = session(1.02**10, n=20)
        least = next(n for n in range(3, 21) if settled(rounds[:n], SUBJECT, reference, POLICY))
        assert judge(rounds[:least], SUBJECT, reference, POLICY).reason.startswith(CREEPING)
        assert least < 20

    def test_unchanged_is(self):
        assert settled(session(), SUBJECT, make_reference(*[session()] * (RECENT + ANCHORS)), POLICY)

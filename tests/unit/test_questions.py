"""What is asked of rounds, which answer speaks for them, and whether to go on asking."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest
from builders import LIGHT, PROBE, make_reference, make_round, make_rounds
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.judging.comparing import (
    Chances,
    chances_of_pairs,
    chances_of_sessions,
    compare_pairs,
    compare_sessions,
)
from pytest_rayperf.judging.policy import GATED, Policy
from pytest_rayperf.judging.questions import (
    ANCHOR_PART,
    EVEN,
    LIKELY,
    Question,
    of_pairs,
    of_sessions,
    speaker,
    suspect,
    worth_measuring_on,
)
from pytest_rayperf.judging.reasons import OLDEST
from pytest_rayperf.judging.reference import ANCHORS, RECENT, ReferenceSession
from pytest_rayperf.judging.series import series_of
from pytest_rayperf.metrics import CPU_PER_ROW, PEAK_MEMORY, THROUGHPUT
from pytest_rayperf.results import Comparison, Interval

POLICY = Policy()
THEN = make_rounds(n=5, memory=10**9)
WORK, WAITING, MEMORY = CPU_PER_ROW, THROUGHPUT, PEAK_MEMORY
OPEN = ("unchanged", "inconclusive", "improved")  # of what has not regressed
BOTH = list(product(OPEN, repeat=2))


def answer(metric=WORK, status="unchanged", ratio=1.0, since=None):
    return Comparison(metric, status, 1.0, 1.0, Interval(ratio, ratio, ratio), 1.10, 1.05, 1.25, since=since)


def asked(questions):
    return [(question.series.metric, question.since) for question in questions]


class TestOfSessions:
    def test_each_gated_metric_is_asked_surest_first(self):
        questions = of_sessions(THEN, make_reference(*[THEN] * 3), POLICY, PROBE)
        assert asked(questions) == [(WORK, None), (WAITING, None), (MEMORY, None)]
        assert not any(question.paired for question in questions)
        assert all(question.policy is POLICY for question in questions)

    @pytest.mark.parametrize("probe", [PROBE, None])
    def test_of_the_figures_that_are_comparable(self, probe):
        reference = make_reference(*[THEN] * 3)
        for question in of_sessions(THEN, reference, POLICY, probe):
            series = series_of(question.series.metric, THEN, reference.sessions, probe)
            assert question.series == series

    def test_what_was_not_measured_is_not_asked(self):
        reference = make_reference(*[make_rounds()] * 3)
        assert asked(of_sessions(THEN, reference, POLICY, PROBE)) == [(WORK, None), (WAITING, None)]
        assert asked(of_sessions(make_rounds(cpu=None), reference, POLICY, PROBE)) == [(WAITING, None)]
        silent = [replace(r, wall_seconds=0.0) for r in make_rounds(cpu=None)]
        assert of_sessions(silent, reference, POLICY, PROBE) == ()

    def test_only_recent_sessions_where_the_oldest_are_among_them(self):
        questions = of_sessions(THEN, make_reference(*[THEN] * RECENT), POLICY, PROBE)
        assert {question.since for question in questions} == {None}
        assert {len(question.series.sessions) for question in questions} == {RECENT}

    def test_then_the_surest_against_the_oldest(self):
        old, new = make_rounds(50, 0.016), make_rounds()
        reference = make_reference(*[old] * ANCHORS, *[new] * RECENT)
        *recent, crept = of_sessions(THEN, reference, POLICY, PROBE)
        assert asked([*recent, crept]) == [(WORK, None), (WAITING, None), (WORK, OLDEST)]
        assert recent[0].series.sessions == ((pytest.approx(0.02),) * 3,) * RECENT
        assert crept.series.sessions == ((pytest.approx(0.016),) * 3,) * ANCHORS
        assert crept.answer.since == OLDEST
        assert crept.answer.slowdown.ratio == pytest.approx(1.25)

    def test_the_error_is_dealt_to_both(self):
        reference = make_reference(*[THEN] * (RECENT + 1))
        policy = Policy(max_slowdown=1.3, alpha=0.02, comparisons=3, looks=(2, 5))
        *recent, crept = of_sessions(THEN, reference, policy, PROBE)
        assert {question.policy for question in recent} == {replace(policy, alpha=0.02 * (1 - ANCHOR_PART))}
        assert crept.policy == replace(policy, alpha=0.02 * ANCHOR_PART)

    def test_where_the_oldest_have_no_cpu_time_their_throughput_is_asked(self):
        old = [make_rounds(cpu=None)] * ANCHORS
        questions = of_sessions(THEN, make_reference(*old, *[THEN] * RECENT), POLICY, PROBE)
        assert asked(questions)[-1] == (WAITING, OLDEST)

    def test_where_only_the_oldest_have_figures_they_are_asked_alone(self):
        silent = [make_round(None, None, rows=0)]
        reference = make_reference(*[make_rounds()] * ANCHORS, *[silent] * RECENT)
        assert asked(of_sessions(THEN, reference, POLICY, PROBE)) == [(WORK, OLDEST)]

    def test_where_they_have_none_they_are_not(self):
        silent = [make_round(None, None, rows=0)]
        reference = make_reference(*[silent] * ANCHORS, *[make_rounds()] * RECENT)
        assert asked(of_sessions(THEN, reference, POLICY, PROBE)) == [(WORK, None), (WAITING, None)]


class TestOfPairs:
    def test_each_gated_metric_is_asked_surest_first(self):
        now = make_rounds(n=5, cpu=0.03, memory=10**9)
        questions = of_pairs(THEN, now, POLICY)
        assert asked(questions) == [(WORK, None), (WAITING, None), (MEMORY, None)]
        assert all(question.paired and question.policy is POLICY for question in questions)
        for question in questions:
            series = series_of(question.series.metric, now, [ReferenceSession(THEN)], None)
            assert question.series == series
            assert len(question.series.sessions) == 1

    def test_what_a_side_lacks_is_not_asked(self):
        assert asked(of_pairs(THEN, make_rounds(n=5), POLICY)) == [(WORK, None), (WAITING, None)]
        assert of_pairs([], [], POLICY) == ()


class TestQuestion:
    SERIES = series_of(WAITING, make_rounds(30), make_reference(make_rounds()).sessions, PROBE)

    def test_of_sessions_is_answered_by_sessions(self):
        question = Question(self.SERIES, POLICY)
        assert question.answer == compare_sessions(self.SERIES, POLICY)
        assert question.chances == chances_of_sessions(self.SERIES, POLICY)

    def test_of_pairs_by_pairs(self):
        question = Question(self.SERIES, POLICY, paired=True)
        assert question.answer == compare_pairs(self.SERIES, POLICY)
        assert question.chances == chances_of_pairs(self.SERIES, POLICY)
        assert question.answer != Question(self.SERIES, POLICY).answer

    def test_the_answer_says_what_was_compared_with(self):
        assert Question(self.SERIES, POLICY, since=OLDEST).answer == replace(
            compare_sessions(self.SERIES, POLICY), since=OLDEST
        )


class TestSpeaker:
    @pytest.mark.parametrize(
        ("work", "waiting", "speaks"),
        [
            ("unchanged", "unchanged", WORK),
            ("unchanged", "inconclusive", WAITING),
            ("unchanged", "improved", WAITING),
            ("inconclusive", "unchanged", WORK),
            ("inconclusive", "inconclusive", WORK),
            ("inconclusive", "improved", WORK),
            ("improved", "unchanged", WORK),
            ("improved", "inconclusive", WORK),
            ("improved", "improved", WORK),
        ],
    )
    @pytest.mark.parametrize("memory", [*OPEN, None])
    def test_is_work_unless_that_is_unchanged_and_the_wait_is_not(self, work, waiting, memory, speaks):
        """Memory clears nothing, and leaves nothing open."""
        answers = [answer(WORK, work), answer(WAITING, waiting)]
        answers += [answer(MEMORY, memory)] if memory else []
        assert speaker(answers).metric is speaks

    @pytest.mark.parametrize(("work", "waiting"), BOTH)
    def test_unchanged_is_only_what_both_are(self, work, waiting):
        said = speaker([answer(WORK, work), answer(WAITING, waiting)])
        assert (said.status == "unchanged") == (work == waiting == "unchanged")

    @pytest.mark.parametrize("status", OPEN)
    @pytest.mark.parametrize("metric", GATED, ids=lambda m: m.name)
    def test_a_single_answer_speaks(self, metric, status):
        only = answer(metric, status)
        assert speaker([only]) is only

    @pytest.mark.parametrize("status", OPEN)
    def test_memory_speaks_for_no_other(self, status):
        waiting = answer(WAITING, "unchanged")
        assert speaker([waiting, answer(MEMORY, status)]) is waiting

    def test_of_several_that_are_open_the_surest_does(self):
        first, second = answer(WAITING, "inconclusive"), answer(WAITING, "inconclusive")
        assert speaker([answer(WORK), first, second]) is first

    @pytest.mark.parametrize(
        ("ratio", "crept"),
        [(1.10, False), (math.nextafter(1.10, 2), True), (1.3, True), (1.0, False), (0.5, False)],
    )
    def test_what_crept_speaks_where_it_is_beyond_the_threshold(self, ratio, crept):
        answers = [answer(WORK), answer(WAITING), answer(WORK, "inconclusive", ratio, since=OLDEST)]
        assert speaker(answers) is answers[2 if crept else 0]

    @pytest.mark.parametrize(("work", "waiting"), BOTH[1:])
    def test_and_only_where_all_is_as_fast_as_lately(self, work, waiting):
        answers = [answer(WORK, work), answer(WAITING, waiting)]
        oldest = answer(WORK, "inconclusive", 1.3, since=OLDEST)
        assert speaker([*answers, oldest]) is speaker(answers)

    @pytest.mark.parametrize("status", OPEN)
    def test_where_there_are_only_the_oldest_they_speak(self, status):
        oldest = answer(WORK, status, since=OLDEST)
        assert speaker([oldest]) is oldest

    def test_the_oldest_leave_nothing_open_by_themselves(self):
        answers = [answer(WORK), answer(WAITING), answer(WORK, "inconclusive", since=OLDEST)]
        assert speaker(answers) is answers[0]


class Fixed:
    """A question whose chances are given, and which must be asked for them only where it is open."""

    def __init__(self, status, clear=0.0, alarm=0.0):
        self.status = status
        self.answer = answer(status=status)
        self._chances = Chances(clear, alarm)

    @property
    def chances(self):
        assert self.status == "inconclusive", "the chances of what is decided are a waste of time"
        return self._chances


def worth(work, waiting=None, memory=None, oldest=None, ratio=1.3):
    """Whether to measure on; of each metric the status, and its chances to be cleared and to alarm."""
    given = [(WORK, work, None), (WAITING, waiting, None), (MEMORY, memory, None), (WORK, oldest, OLDEST)]
    there = [(metric, one, since) for metric, one, since in given if one]
    questions = [Fixed(*one) for _, one, _ in there]
    answers = [answer(metric, one[0], ratio if since else 1.0, since) for metric, one, since in there]
    return worth_measuring_on(questions, answers)


UNCHANGED, IMPROVED = ("unchanged",), ("improved",)
JUST, LESS = LIKELY, math.nextafter(LIKELY, 0)


class TestWorthMeasuringOn:
    @pytest.mark.parametrize(("chance", "goes_on"), [(0.1, True), (0.051, True), (0.049, False)])
    def test_while_there_is_a_chance_in_twenty(self, chance, goes_on):
        assert worth(("inconclusive", chance, 0.0)) is worth(("inconclusive", 0.0, chance)) is goes_on

    @pytest.mark.parametrize("waiting", [UNCHANGED, IMPROVED])
    def test_not_where_all_is_decided(self, waiting):
        assert not worth(UNCHANGED, waiting)
        assert not worth(UNCHANGED, waiting, UNCHANGED, ("unchanged",))

    def test_not_where_the_one_that_speaks_has_decided(self):
        """However likely the others, which would not be heard, are to be cleared."""
        assert not worth(UNCHANGED, UNCHANGED, ("inconclusive", 1.0, LESS))
        assert not worth(IMPROVED, ("inconclusive", 1.0, LESS))

    @pytest.mark.parametrize(("chance", "goes_on"), [(1.0, True), (JUST, True), (LESS, False)])
    def test_though_it_has_while_another_may_alarm(self, chance, goes_on):
        assert worth(UNCHANGED, UNCHANGED, ("inconclusive", 0.0, chance)) is goes_on
        assert worth(IMPROVED, ("inconclusive", 0.0, chance)) is goes_on

    @pytest.mark.parametrize(("chance", "goes_on"), [(1.0, True), (JUST, True), (LESS, False), (0.0, False)])
    def test_while_an_alarm_is_likely(self, chance, goes_on):
        assert worth(("inconclusive", 0.0, chance), UNCHANGED) is goes_on
        assert worth(UNCHANGED, ("inconclusive", 0.0, chance)) is goes_on
        assert worth(("inconclusive", 0.0, 0.0), UNCHANGED, ("inconclusive", 0.0, chance)) is goes_on
        assert worth(("inconclusive", 0.0, 0.0), ("inconclusive", 0.0, chance)) is goes_on

    @pytest.mark.parametrize(("chance", "goes_on"), [(1.0, True), (JUST, True), (LESS, False), (0.0, False)])
    def test_while_what_is_open_is_likely_to_be_cleared(self, chance, goes_on):
        assert worth(("inconclusive", chance, 0.0), UNCHANGED) is goes_on
        assert worth(UNCHANGED, ("inconclusive", chance, 0.0)) is goes_on
        assert worth(("inconclusive", chance, 0.0)) is goes_on

    @pytest.mark.parametrize(
        ("work", "waiting", "goes_on"), [(JUST, JUST, True), (JUST, LESS, False), (LESS, JUST, False)]
    )
    def test_both_must_be_for_it_to_be_called_unchanged(self, work, waiting, goes_on):
        """One that will stay open leaves it inconclusive, however sure the other becomes."""
        assert worth(("inconclusive", work, 0.0), ("inconclusive", waiting, 0.0)) is goes_on

    def test_not_for_two_chances_that_are_small_each(self):
        assert not worth(("inconclusive", LESS, LESS), ("inconclusive", LESS, LESS))

    @pytest.mark.parametrize("clear", [0.0, 1.0])
    def test_memory_need_not_be_cleared(self, clear):
        assert worth(("inconclusive", 1.0, 0.0), UNCHANGED, ("inconclusive", clear, 0.0))
        assert not worth(("inconclusive", 0.0, 0.0), UNCHANGED, ("inconclusive", clear, 0.0))

    @pytest.mark.parametrize("clear", [0.0, 1.0])
    def test_nor_the_oldest_where_they_do_not_speak(self, clear):
        oldest = ("inconclusive", clear, 0.0)
        assert worth(("inconclusive", 1.0, 0.0), UNCHANGED, oldest=oldest)
        assert not worth(("inconclusive", 0.0, 0.0), UNCHANGED, oldest=oldest)

    @pytest.mark.parametrize(("chance", "goes_on"), [(JUST, True), (LESS, False)])
    def test_where_they_do_only_they_must(self, chance, goes_on):
        assert worth(UNCHANGED, UNCHANGED, oldest=("inconclusive", chance, 0.0)) is goes_on
        assert worth(UNCHANGED, UNCHANGED, oldest=("inconclusive", 0.0, chance)) is goes_on

    def test_answers_that_are_equal_are_two(self):
        """As those of questions alike are; each has its own chances."""
        same = answer(WAITING, "inconclusive")
        questions = [Fixed("unchanged"), Fixed("inconclusive", 1.0), Fixed("inconclusive", 0.0)]
        answers = [answer(WORK), same, replace(same)]
        assert not worth_measuring_on(questions, answers)

    def test_as_many_answers_as_questions(self):
        with pytest.raises(ValueError, match="argument 2 is longer"):
            worth_measuring_on([Fixed("inconclusive", 1.0)], [answer(WORK, "inconclusive")] * 2)


class TestSuspect:
    def test_an_alarm_as_likely_as_not_of_any_of_them(self):
        little, enough = EVEN - 0.01, EVEN
        assert not suspect([])
        assert not suspect([Fixed("inconclusive", clear=1.0, alarm=little)] * 2)
        assert suspect([Fixed("inconclusive", alarm=little), Fixed("inconclusive", alarm=enough)])

    def test_an_alarm_is_one_whatever_more_rounds_would_say(self):
        assert suspect([Fixed("inconclusive"), Fixed("regressed")])


factors = st.floats(0.3, 3)


class TestThroughThem:
    """The whole way, of figures."""

    @staticmethod
    def ask(wall, cpu, n, paired, policy):
        then, now = make_rounds(n=n), make_rounds(40 / wall, 0.02 * cpu, n)
        if paired:
            return of_pairs(then, now, policy)
        return of_sessions(now, make_reference(*[then] * 8), policy, PROBE)

    @pytest.mark.parametrize("paired", [True, False])
    @given(factors, factors, st.integers(1, 20), st.floats(1.01, 1.5))
    @LIGHT
    def test_nothing_is_unchanged_that_grew_beyond_the_threshold(self, paired, wall, cpu, n, limit):
        answers = [q.answer for q in self.ask(wall, cpu, n, paired, Policy(max_slowdown=limit))]
        if any(c.status == "regressed" for c in answers):
            return
        grown = cpu > limit or wall > limit
        assert not grown or speaker(answers).status != "unchanged"

    @pytest.mark.parametrize("paired", [True, False])
    @given(factors, factors, st.integers(1, 20), st.floats(1.01, 1.5))
    @LIGHT
    def test_after_the_last_look_nothing_is_worth_measuring(self, paired, wall, cpu, n, limit):
        policy = Policy(max_slowdown=limit, looks=tuple(range(1, n + 1)))
        questions = self.ask(wall, cpu, n, paired, policy)
        answers = [q.answer for q in questions]
        if not any(c.status == "regressed" for c in answers):
            assert not worth_measuring_on(questions, answers)

    @pytest.mark.parametrize("paired", [True, False])
    def test_a_wait_that_grew_speaks_once_the_work_is_unchanged(self, paired):
        """1.22x of the wall time, against 1.2x: too near for any number of these rounds to tell."""
        for n in range(1, 21):
            answers = [q.answer for q in self.ask(1.22, 1.0, n, paired, Policy(max_slowdown=1.2))]
            assert answers[1].status == "inconclusive"
            assert speaker(answers) is answers[answers[0].status == "unchanged"]
        assert answers[0].status == "unchanged"

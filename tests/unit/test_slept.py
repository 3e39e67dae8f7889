"""How much slower more sleeping is: counted sleeps, and the rounds that they are a part of."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import pytest
from builders import SUBJECT, make_reference
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.judging.exact import judge_work
from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.judging.slept import borne_out, times_as_long
from pytest_rayperf.results import Call, Operator, Round
from pytest_rayperf.verdict import judge
from pytest_rayperf.work.comparison import WorkChange, compare_work
from pytest_rayperf.work.counts import OperatorWork, Work

CLASSIFY = "MapBatches(Classify)"


def work(*operators: tuple[str, int] | str, slept=0, rows=32, ray="2.60") -> Work:
    """Of these, or of one: the first sleeps so many microseconds in all of a pass."""
    names = operators or (CLASSIFY,)
    counts = [{"slept_microseconds": slept if index == 0 else 0} for index in range(len(names))]
    made = (OperatorWork(name, rows, {}, count, {}) for name, count in zip(names, counts, strict=True))
    return Work(tuple(made), {"ray": ray})


def change(now=1781.25, then=1000.0, operator=CLASSIFY, unit="a row") -> WorkChange:
    return WorkChange(operator, "slept_microseconds", unit, now, then, True, "it slept")


def operator(name=CLASSIFY, wall_s: float | None = 1.0, rows: int | None = 128) -> Operator:
    return Operator(name, wall_s=wall_s, rows=rows)


def a_round(*operators: Operator, batch=16, udf="Classify", wall_seconds=1.0, rows=128, **more) -> Round:
    """128 rows, in calls of `batch` rows each but for the last."""
    sizes = [batch] * (rows // batch) + [rows % batch] * bool(rows % batch)
    calls = tuple(Call(udf, 0.01, size) for size in sizes)
    return Round(rows, wall_seconds, operators, **{"calls": calls, **more})


in_turn = functools.partial(times_as_long, at_once=1)
"""Of tasks one after another: what that makes too much of is corrected by what was measured."""


class TestTimesAsLong:
    def test_is_the_time_of_the_tasks_over_what_it_would_be_without_what_was_added(self):
        # 128 rows sleep 0.78125 ms more each: 0.1 of the 1.1 s.
        found = in_turn(change(), work(), [a_round(operator(wall_s=1.1))])
        assert found == pytest.approx(1.1)

    def test_where_less_is_slept_it_is_below_1(self):
        found = in_turn(change(1000, 1781.25), work(), [a_round(operator(wall_s=0.9), wall_seconds=0.5)])
        assert found == pytest.approx(0.9)

    def test_what_slept_no_more_slept_0(self):
        found = in_turn(change(0, 781.25), work(), [a_round(operator(wall_s=0.9), wall_seconds=0.5)])
        assert found == pytest.approx(0.9)

    def test_of_several_rounds_the_median_counts(self):
        rounds = [a_round(operator(wall_s=wall)) for wall in (1.1, 0.2, 100.0)]
        assert in_turn(change(), work(), rounds) == pytest.approx(1.1)

    @pytest.mark.parametrize(
        ("wall_seconds", "found"),
        [(0.05, 1.1), (0.1, 1.1), (0.6, 1.1), (2.0, 2.0 / 1.9), (1000.0, 1000 / 999.9)],
    )
    def test_an_operator_that_has_little_of_the_round_makes_little_slow(self, wall_seconds, found):
        one = a_round(operator(wall_s=1.1), wall_seconds=wall_seconds)
        assert in_turn(change(), work(), [one]) == pytest.approx(found)

    def test_nor_does_it_make_much_faster(self):
        one = a_round(operator(wall_s=0.9), wall_seconds=1000.0)
        assert in_turn(change(1000, 1781.25), work(), [one]) == pytest.approx(1000 / 1000.1)

    @pytest.mark.parametrize("batch", [1, 16, 20, 31, 32, 33, 64, 100, 256, 1000])
    @pytest.mark.parametrize("rows", [1, 16, 32])
    def test_a_sleep_a_batch_is_one_a_batch_in_the_round_however_the_pass_was_cut(self, batch, rows):
        """The pass has few rows: of larger batches than it has, the sleep a row is not the round's."""
        calls_of_the_pass, calls = math.ceil(rows / batch), 3
        slept = 50_000 * calls_of_the_pass
        one = a_round(operator(wall_s=1.0), batch=batch, rows=calls * batch, wall_seconds=0.2)
        found = in_turn(change(slept / rows, 0), work(rows=rows), [one])
        assert found == pytest.approx(1.0 / 0.85)

    @pytest.mark.parametrize("batch", [1, 7, 20, 32, 50, 128])
    def test_a_sleep_a_row_is_not_overestimated(self, batch):
        found = in_turn(change(), work(), [a_round(operator(wall_s=1.1), batch=batch)])
        assert 1 < found <= 1.1 + 1e-9

    def test_of_a_report_which_has_no_calls_their_number_does_where_there_is_one_udf(self):
        one = a_round(operator("ReadRange"), operator(wall_s=1.1), calls=(), counters={"udf_calls": 2})
        # 64 rows a call, of which the pass had 32.
        assert in_turn(change(), work(), [one]) == pytest.approx(1.1 / 1.05)
        assert in_turn(change(), work(CLASSIFY, "MapBatches(f)"), [one]) is None
        assert in_turn(change(), work(), [replace(one, counters={})]) is None

    @pytest.mark.parametrize("unknown", [1, 8])
    def test_rows_that_calls_do_not_tell_the_operators_do(self, unknown):
        calls = (Call("Classify", 0.01, None),) * unknown + (Call("Classify", 0.01, 16),) * (8 - unknown)
        through = a_round(operator("ReadRange", rows=128), operator(wall_s=1.1, rows=7), calls=calls)
        assert in_turn(change(), work(), [through]) == pytest.approx(1.1)
        first = a_round(operator(wall_s=1.1), calls=calls)
        assert in_turn(change(), work(), [first]) is None  # it may have made rows of rows

    @pytest.mark.parametrize("name", ["Map(f)", "Filter(f)", "FlatMap(f)"])
    def test_what_is_called_a_row_sleeps_once_for_each_that_goes_in(self, name):
        through = a_round(operator("ReadRange", rows=128), operator(name, wall_s=1.1, rows=7), calls=())
        assert in_turn(change(operator=name), work(name), [through]) == pytest.approx(1.1)

    @pytest.mark.parametrize(
        ("fused", "rows", "known"),
        [
            ("ReadRange->Map(f)", 128, True),
            ("ReadRange->Map(f)->Map(g)->Write", 128, True),
            ("Filter(g)->Map(f)", 128, True),
            ("ReadRange->Map(f)", None, False),
            ("ReadRange->Map(f)->FlatMap(g)", 128, False),
            ("ReadRange->Map(f)->MapBatches(g)", 128, False),
            ("Map(f)->Filter(g)", 128, False),
        ],
    )
    def test_within_a_fused_operator_rows_are_known_that_all_came_out(self, fused, rows, known):
        one = a_round(operator(fused, wall_s=1.1, rows=rows), calls=())
        found = in_turn(change(operator="Map(f)"), work("Map(f)"), [one])
        assert found == (pytest.approx(1.1) if known else None)

    @pytest.mark.parametrize("made", ["ReadRange->FlatMap(f)", "FlatMap(f)", "ReadRange->Filter(f)"])
    def test_rows_that_it_makes_did_not_sleep(self, made):
        name = made.removeprefix("ReadRange->")
        one = a_round(operator(made, wall_s=1.1), calls=())
        assert in_turn(change(operator=name), work(name), [one]) is None

    @pytest.mark.parametrize("number", [1, 2])
    def test_the_second_of_one_name_is_the_second(self, number):
        name = CLASSIFY if number == 1 else f"{CLASSIFY} #2"
        counted = work(CLASSIFY, f"{CLASSIFY} #2")
        udf = "Classify" if number == 1 else "Classify#2"
        walls = [9.0, 9.0]
        walls[number - 1] = 1.1
        apart = a_round(*(operator(wall_s=wall) for wall in walls), udf=udf)
        assert in_turn(change(operator=name), counted, [apart]) == pytest.approx(1.1)
        fused = a_round(operator(f"{CLASSIFY}->{CLASSIFY}", wall_s=1.1), udf=udf)
        assert in_turn(change(operator=name), counted, [fused]) == pytest.approx(1.1)

    @pytest.mark.parametrize("name", ["Map(a #b)", "Map(#2)", "Map(a #1) #2", "7"])
    def test_names_with_numbers_of_their_own(self, name):
        own = name.removesuffix(" #2")
        counted = work(*([name] if own == name else [own, name]))
        through = a_round(*(operator(own, wall_s=1.1) for _ in counted.operators), calls=())
        found = in_turn(change(operator=name), counted, [through])
        assert found == (None if name == "7" else pytest.approx(1.1))

    def test_where_another_execution_had_one_of_that_name_it_is_not_known_which(self):
        twice = a_round(operator(wall_s=1.1), operator(wall_s=1.1))
        assert in_turn(change(), work(), [twice]) is None

    def test_of_a_construction_it_is_not_known(self):
        one = a_round(operator(wall_s=1.1))
        assert in_turn(change(unit="a construction"), work(), [one]) is None

    @pytest.mark.parametrize(
        "one",
        [
            a_round(),
            a_round(operator("MapBatches(Other)")),
            a_round(operator("Other->Classify")),
            a_round(operator(wall_s=None)),
            a_round(operator(wall_s=0.0)),
            a_round(operator(wall_s=math.nan)),
            a_round(operator(), wall_seconds=math.nan),
            a_round(operator(), wall_seconds=0.0),
            a_round(operator(), udf="Other"),
            a_round(operator(), calls=()),
        ],
    )
    def test_what_was_not_measured_is_not_known(self, one):
        assert in_turn(change(), work(), [one]) is None
        assert in_turn(change(1000, 1781.25), work(), [one]) is None
        known = a_round(operator(wall_s=1.1))
        assert in_turn(change(), work(), [one, known]) == pytest.approx(1.1)

    def test_nor_is_what_a_read_sleeps(self):
        read = "ReadRange"
        one = a_round(operator("Input"), operator(read, wall_s=1.1))
        assert in_turn(change(operator=read), work(read), [one]) is None

    def test_nor_what_was_not_counted(self):
        assert in_turn(change(operator="Map(f)"), work(), [a_round(operator("Map(f)"))]) is None
        assert in_turn(change(), work(), []) is None

    @pytest.mark.parametrize("wall", [0.05, 0.1])
    def test_tasks_that_took_less_did_not_sleep_so(self, wall):
        assert in_turn(change(), work(), [a_round(operator(wall_s=wall))]) is None

    @given(
        *(st.floats(0, 1e12),) * 2,
        st.floats(0, 1e6) | st.none(),
        st.integers(0, 10**9) | st.none(),
        st.floats(0, 1e6) | st.just(math.nan),
        st.integers(0, 10**6),
    )
    def test_is_above_1_for_more_and_not_for_less(self, now, then, wall, rows, seconds, calls):
        one = Round(1, seconds, (operator(wall_s=wall, rows=rows),), counters={"udf_calls": calls})
        found = in_turn(change(now, then), work(), [one])
        if found is not None:
            assert 0 <= found < math.inf
            assert found >= 1 if now >= then else found <= 1


class TestAtOnce:
    """0.8 s of sleep in 1.6 s of tasks: alone they are the round, at once a part of it."""

    CHANGE = change(now=1000 + 0.8e6 / 128)

    def times(self, at_once, wall_seconds=4.0, **operator_):
        tasks = replace(operator(wall_s=1.6), **operator_)
        one = a_round(tasks, wall_seconds=wall_seconds)
        return times_as_long(self.CHANGE, work(), [one], at_once)

    @pytest.mark.parametrize(
        ("at_once", "found"), [(1, 4.0 / 3.2), (2, 4.0 / 3.6), (8, 4.0 / 3.9), (100, 4.0 / 3.9)]
    )
    def test_what_slept_at_once_is_a_part_of_the_rounds_time(self, at_once, found):
        assert self.times(at_once, tasks=8) == pytest.approx(found)

    def test_but_never_more_than_of_their_own(self):
        assert self.times(8, wall_seconds=0.2, tasks=8) == pytest.approx(2.0)

    def test_without_a_bound_it_is_how_many_there_were(self):
        assert self.times(None, tasks=8) == pytest.approx(4.0 / 3.9)
        assert self.times(None) is None
        assert self.times(2) == pytest.approx(4.0 / 3.6)

    def test_of_actors_it_is_the_pool(self):
        assert self.times(2, tasks=8, actors=4) == pytest.approx(4.0 / 3.8)
        assert self.times(None, actors=4) == pytest.approx(4.0 / 3.8)
        assert self.times(1, tasks=8, actors=4) == pytest.approx(4.0 / 3.2)

    def test_of_none_it_is_one(self):
        assert self.times(None, tasks=0) == pytest.approx(4.0 / 3.2)


class TestBorneOut:
    @pytest.mark.parametrize(
        ("factor", "speed", "is_so"),
        [
            (1.44, 1 / 1.44, True),
            (1.44, 1 / 1.21, True),
            (1.44, 1 / 1.19, False),
            (1.44, 1.0, False),
            (1.44, 2.0, False),
            (1 / 1.44, 1.44, True),
            (1 / 1.44, 1.21, True),
            (1 / 1.44, 1.19, False),
            (1 / 1.44, 0.5, False),
            (1.0, 0.9, False),
            (4.0, 0.5, False),  # as near to the one as to the other
            (0.25, 2.0, False),
        ],
    )
    def test_by_which_of_both_the_rounds_are_nearer_to(self, factor, speed, is_so):
        assert borne_out(factor, speed) is is_so


class TestWhatCounts:
    """Of a pass of two batches: a call of the UDF sleeps 62.5 ms more, the eight of a round half a second."""

    NOW, THEN = 2 * 75_000, 2 * 12_500

    def rounds(self, wall, tasks=1, **more):
        return [a_round(replace(operator(wall_s=wall), tasks=tasks), wall_seconds=wall, **more)] * 3

    def reference(self, slept, wall, **more):
        plain = replace(make_reference(self.rounds(wall)), **more)
        return replace(plain, sessions=tuple(replace(s, work=work(slept=slept)) for s in plain.sessions))

    def judge(self, now, then, wall, max_slowdown=1.10, before=None, tasks=1, **software):
        """Rounds took as much less as they slept less, if nothing else is said."""
        if before is None:
            before = wall - (now - then) / 2 * 8 / 1e6
        reference = self.reference(then, before)
        return judge_work(work(slept=now, **software), reference, self.rounds(wall, tasks), max_slowdown)

    def test_more_than_the_threshold_of_the_time_regressed(self):
        verdict = self.judge(self.NOW, self.THEN, wall=2.5)
        assert (verdict.status, verdict.metric) == ("regressed", "slept_microseconds")
        assert (verdict.ratio, verdict.threshold) == (6.0, 1.0)
        assert verdict.reason.startswith(
            f"regressed: {CLASSIFY}: microseconds slept a row 6.00x (781.2 -> 4,688) (exact), "
            "1.25x the time, threshold 1.10, 0.80x the rows/s; baseline "
        )

    def test_whether_tasks_ran_at_once_the_rounds_tell(self):
        assert self.judge(self.NOW, self.THEN, wall=2.5, max_slowdown=1.2, tasks=8).status == "regressed"

    def test_where_nothing_slept_before(self):
        verdict = self.judge(self.NOW - self.THEN, 0, wall=2.5)
        assert (verdict.status, verdict.ratio) == ("regressed", None)

    def test_less_than_that_is_for_the_times_to_say(self):
        assert self.judge(self.NOW, self.THEN, wall=6.0) is None
        assert self.judge(self.NOW, self.THEN, wall=6.0, max_slowdown=1.05).status == "regressed"

    def test_the_threshold_itself_is_not_beyond_it(self):
        assert self.judge(self.NOW, self.THEN, wall=2.5, max_slowdown=1.25) is None
        assert self.judge(self.THEN, self.NOW, wall=2.0, max_slowdown=1.25) is None

    def test_less_sleep_improved(self):
        assert self.judge(self.THEN, self.NOW, wall=2.0).status == "improved"
        assert self.judge(self.THEN, self.NOW, wall=6.0) is None

    def test_with_other_software_it_does_not_count(self):
        assert self.judge(self.NOW, self.THEN, wall=2.5, ray="2.61") is None

    def test_where_its_time_is_not_known_nothing_does(self):
        assert self.judge(self.NOW, self.THEN, wall=math.nan, before=2.0) is None
        changed = compare_work(work(slept=self.NOW), work(slept=self.THEN))
        assert [one.gates for one in changed] == [True]

    @pytest.mark.parametrize(
        ("before", "status"), [(2.0, "regressed"), (2.2, "regressed"), (2.3, None), (9.0, None)]
    )
    def test_what_the_rounds_do_not_bear_out_is_theirs_to_say(self, before, status):
        """It may hide behind another operator, or stand where something else was waited for."""
        found = self.judge(self.NOW, self.THEN, wall=2.5, before=before)
        assert (None if found is None else found.status) == status

    def whole(self, wall, reference, elsewhere=None, max_slowdown=1.10, **more):
        return judge(
            self.rounds(wall, **more),
            SUBJECT,
            reference,
            Policy(max_slowdown=max_slowdown),
            elsewhere,
            work(slept=self.NOW),
        )

    @pytest.mark.parametrize(
        ("tasks", "cores", "found"), [(1, None, True), (8, 1, True), (8, 8, False), (8, None, False)]
    )
    def test_where_rounds_were_disturbed_it_is_told_if_it_cannot_have_been_at_once(self, tasks, cores, found):
        then = self.reference(self.THEN, 2.5, cores=cores)
        verdict = self.whole(2.5, then, disturbed="others had the CPU", tasks=tasks)
        told = ("regressed", "slept_microseconds") if found else ("inconclusive", None)
        assert (verdict.status, verdict.metric) == told

    def test_by_the_threshold_of_the_test(self):
        verdicts = [self.whole(6.0, self.reference(self.THEN, 5.5), max_slowdown=t) for t in (1.05, 1.5)]
        assert [verdict.metric == "slept_microseconds" for verdict in verdicts] == [True, False]

    @pytest.mark.parametrize(
        ("wall", "tasks", "status"), [(2.5, 1, "regressed"), (2.5, 8, None), (60.0, 1, None)]
    )
    def test_another_machines_count_holds_and_its_times_do_not_matter(self, wall, tasks, status):
        there = self.reference(self.THEN, 100.0, elsewhere=True, cores=1)
        assert self.whole(wall, None, there, tasks=tasks).status == (status or "no-baseline")

"""How much slower more sleeping is: counted sleeps, and the rounds that they are a part of."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from builders import make_reference
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.judging.exact import judge_work
from pytest_rayperf.judging.slept import times_as_long
from pytest_rayperf.results import Operator, Round
from pytest_rayperf.work.comparison import WorkChange
from pytest_rayperf.work.counts import OperatorWork, Work

CLASSIFY = "MapBatches(Classify)"


def change(now=2000.0, then=1000.0, operator=CLASSIFY, unit="a row") -> WorkChange:
    return WorkChange(operator, "slept_microseconds", unit, now, then, True, "it slept")


def rounds(*operators: Operator, wall_seconds=10.0, n=1) -> list[Round]:
    return [Round(100, wall_seconds, operators)] * n


def operator(name=CLASSIFY, wall_s: float | None = 1.0, rows: int | None = 100) -> Operator:
    return Operator(name, wall_s=wall_s, rows=rows)


class TestTimesAsLong:
    def test_is_the_time_of_the_tasks_over_what_it_would_be_without_what_was_added(self):
        # 100 rows sleep a millisecond more each: 0.1 of the 1.1 s.
        assert times_as_long(change(), rounds(operator(wall_s=1.1))) == pytest.approx(1.1)

    def test_where_less_is_slept_it_is_below_1(self):
        assert times_as_long(change(1000, 2000), rounds(operator(wall_s=0.9))) == pytest.approx(0.9)

    def test_of_several_rounds_the_median_counts(self):
        one, two, three = (operator(wall_s=wall) for wall in (1.1, 0.2, 100.0))
        assert times_as_long(change(), rounds(one) + rounds(two) + rounds(three)) == pytest.approx(1.1)

    def test_of_an_operator_that_ray_data_fused_with_others_it_is_their_time(self):
        fused = operator(f"ReadImage->Map(f)->{CLASSIFY}->Write", wall_s=1.1)
        assert times_as_long(change(), rounds(fused)) == pytest.approx(1.1)

    def test_the_second_of_one_name_is_the_second(self):
        twice = rounds(operator(wall_s=9.0), operator(wall_s=1.1))
        assert times_as_long(change(operator=f"{CLASSIFY} #2"), twice) == pytest.approx(1.1)
        fused = rounds(operator(f"{CLASSIFY}->{CLASSIFY}", wall_s=1.1))
        assert times_as_long(change(operator=f"{CLASSIFY} #2"), fused) == pytest.approx(1.1)
        assert times_as_long(change(operator=f"{CLASSIFY} #3"), twice) is None

    @pytest.mark.parametrize(("before", "own"), [(100, 50), (50, 100), (None, 50), (50, None)])
    def test_of_rows_in_and_out_the_fewer_slept(self, before, own):
        through = rounds(operator("ReadRange", rows=before), operator(wall_s=1.1, rows=own))
        assert times_as_long(change(), through) == pytest.approx(1.1 / 1.05)

    def test_rows_of_an_earlier_operator_do_not_count(self):
        through = rounds(operator("A", rows=1), operator("B"), operator(wall_s=1.1))
        assert times_as_long(change(), through) == pytest.approx(1.1)

    def test_of_a_construction_it_is_the_round(self):
        built = change(2_000_000, 0, unit="a construction")
        assert times_as_long(built, rounds(operator(), wall_seconds=12.0)) == pytest.approx(1.2)

    @pytest.mark.parametrize(
        "one",
        [
            rounds(),
            rounds(operator("MapBatches(Other)")),
            rounds(operator(wall_s=None)),
            rounds(operator(wall_s=0.0)),
            rounds(operator(rows=None)),
        ],
    )
    def test_what_was_not_measured_is_not_known(self, one):
        assert times_as_long(change(), one) is None
        known = rounds(operator(wall_s=1.1))
        assert times_as_long(change(), [*one, *known]) == pytest.approx(1.1)

    def test_without_rounds_it_is_not_known(self):
        assert times_as_long(change(), []) is None

    @pytest.mark.parametrize("wall", [0.05, 0.1])
    def test_tasks_that_took_less_did_not_sleep_so(self, wall):
        assert times_as_long(change(), rounds(operator(wall_s=wall))) is None

    @given(
        st.floats(0, 1e12),
        st.floats(0, 1e12),
        st.floats(0, 1e6) | st.none(),
        st.integers(0, 10**9) | st.none(),
    )
    def test_is_above_1_for_more_and_not_for_less(self, now, then, wall, rows):
        found = times_as_long(change(now, then), rounds(operator(wall_s=wall, rows=rows)))
        if found is not None:
            assert found >= 0
            assert found >= 1 if now >= then else found <= 1


class TestWhatCounts:
    def judge(self, now, then, wall, max_slowdown=1.10, **software):
        def work(slept, ray="2.60"):
            return Work((OperatorWork(CLASSIFY, 4, {}, {"slept_microseconds": slept}, {}),), {"ray": ray})

        plain = make_reference()
        reference = replace(plain, sessions=tuple(replace(s, work=work(then)) for s in plain.sessions))
        return judge_work(work(now, **software), reference, rounds(operator(wall_s=wall)), max_slowdown)

    def test_more_than_the_threshold_of_the_time_regressed(self):
        verdict = self.judge(8000, 4000, wall=1.0)
        assert (verdict.status, verdict.metric, verdict.ratio) == ("regressed", "slept_microseconds", 2.0)
        assert verdict.reason.startswith(
            f"regressed: {CLASSIFY}: microseconds slept a row 2.00x (1,000 -> 2,000), "
            "1.11x the time of its tasks (exact); "
        )

    def test_where_nothing_slept_before(self):
        verdict = self.judge(4000, 0, wall=1.0)
        assert (verdict.status, verdict.ratio) == ("regressed", None)

    def test_less_than_that_is_for_the_times_to_say(self):
        assert self.judge(8000, 4000, wall=1.2) is None
        assert self.judge(8000, 4000, wall=1.2, max_slowdown=1.05).status == "regressed"

    def test_less_sleep_improved(self):
        assert self.judge(4000, 8000, wall=0.9).status == "improved"
        assert self.judge(4000, 8000, wall=1.2) is None

    def test_with_other_software_it_does_not_count(self):
        assert self.judge(8000, 4000, wall=1.0, ray="2.61") is None

    def test_of_a_round_whose_time_is_not_known_nothing_does(self):
        assert self.judge(8000, 4000, wall=math.nan) is None

    def test_a_construction_is_part_of_the_round(self):
        def work(slept):
            return Work((OperatorWork(CLASSIFY, 4, {"slept_microseconds": slept}, {}, {}),), {"ray": "2.60"})

        plain = make_reference()
        reference = replace(plain, sessions=tuple(replace(s, work=work(0)) for s in plain.sessions))
        verdict = judge_work(work(2_000_000), reference, rounds(operator(), wall_seconds=10.0), 1.10)
        assert ", 1.25x the time of the round (exact)" in verdict.reason
        assert judge_work(work(200_000), reference, rounds(operator(), wall_seconds=10.0), 1.10) is None

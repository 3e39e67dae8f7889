"""What has no noise, compared exactly: counted work. (Of counters most is in test_verdict.py.)"""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import FILE, make_reference, make_round, make_rounds

from pytest_rayperf.judging.carrying import carried
from pytest_rayperf.judging.exact import judge_counters, judge_work
from pytest_rayperf.judging.reference import STALE
from pytest_rayperf.work.counts import OperatorWork, Work

ACCEPT = "accept with --rayperf-update-baselines"


def work(flops=8, python_calls=40, ray="2.60"):
    """Of one operator with four rows: so many a row."""
    counts = {"flops": 4 * flops, "python_calls": 4 * python_calls}
    return Work((OperatorWork("Map", 4, {}, counts, {}),), {"ray": ray})


def reference(counted):
    plain = make_reference()
    return replace(plain, sessions=tuple(replace(s, work=counted) for s in plain.sessions))


class TestCounters:
    def test_other_rows_are_wrong_and_can_be_accepted(self):
        verdict = judge_counters(make_rounds(rows=65), make_reference())
        assert (verdict.status, verdict.metric, verdict.wrong) == ("invalid", "rows", True)
        assert verdict.reason.startswith("invalid: rows 64 -> 65 a round (exact)")
        assert verdict.reason.endswith(f"; rows are missing or doubled; {ACCEPT}")
        assert verdict.acceptable

    @pytest.mark.parametrize(
        ("then", "now", "status", "ending"),
        [
            ({"a": 1, "b": 2}, {"a": 2, "b": 3}, "regressed", ACCEPT),
            ({"a": 2, "b": 3}, {"a": 1, "b": 2}, "improved", STALE),
        ],
    )
    def test_each_that_changed_is_a_line_that_says_what_to_do(self, then, now, status, ending):
        verdict = judge_counters(make_rounds(counters=now), make_reference(make_rounds(counters=then)))
        assert (verdict.status, verdict.metric) == (status, "a")
        assert [line.split()[1] for line in verdict.reason.splitlines()] == ["a", "b"]
        assert all(line.endswith(f"; {ending}") for line in verdict.reason.splitlines())

    def test_one_that_a_round_lacks_was_none_in_it(self):
        """0 in one round and 2 in another: it varies, and does not gate."""
        then = [*make_rounds(n=1, counters={"a": 2}), *make_rounds(n=1)]
        assert judge_counters(make_rounds(counters={"a": 3}), make_reference(then)) is None
        then = [*make_rounds(n=1, counters={"a": 0}), *make_rounds(n=1)]
        verdict = judge_counters(make_rounds(counters={"a": 3}), make_reference(then))
        assert (verdict.status, verdict.ratio) == ("regressed", None)

    @pytest.mark.parametrize(("then", "status"), [(0, None), (1, "improved"), (3, "improved")])
    def test_one_that_this_run_lacks_is_none_in_it(self, then, status):
        found = judge_counters(make_rounds(), make_reference(make_rounds(counters={"a": then})))
        assert (found and found.status) == status
        assert (found and found.ratio) == (status and 0)

    def test_one_that_varies_hides_none_behind_it(self):
        then = [*make_rounds(n=1, counters={"a": 1, "b": 1}), *make_rounds(n=1, counters={"a": 2, "b": 1})]
        verdict = judge_counters(make_rounds(counters={"a": 9, "b": 2}), make_reference(then))
        assert (verdict.status, verdict.metric) == ("regressed", "b")

    @pytest.mark.parametrize(
        ("name", "then", "now", "status"),
        [
            ("bytes_written", 1000, 1010, None),
            ("bytes_written", 1000, 990, None),
            ("bytes_written", 1000, 1011, "regressed"),
            ("bytes_written", 1000, 989, "improved"),
            ("files_written", 1000, 1001, "regressed"),
            ("loads", 1000, 1001, "regressed"),
            ("bytes_written", 0, 1, "regressed"),
        ],
    )
    def test_of_bytes_alone_a_hundredth_is_no_change(self, name, then, now, status):
        reference = make_reference(make_rounds(counters={name: then}))
        found = judge_counters(make_rounds(counters={name: now}), reference)
        assert (found and found.status) == status

    @pytest.mark.parametrize(
        ("then", "now", "found"),
        [
            ((1000, 1001), (5000, 5010), (1001, 5000)),
            ((1000, 1005), (1014, 1020), None),
            ((1000, 1005), (1016, 1020), (1005, 1016)),
            ((5000, 5010), (1000, 1001), (5000, 1001)),
            ((1000, 1011), (5000, 5000), None),
            ((1000, 1000), (5000, 5051), None),
        ],
    )
    def test_bytes_that_move_within_their_margin_are_constant(self, then, now, found):
        """From one session to the next as well: else two that differ by a byte would never gate again."""
        sides = [make_rounds(n=1, counters={"bytes_written": n}) for n in then]
        rounds = [r for n in now for r in make_rounds(n=1, counters={"bytes_written": n})]
        verdict = judge_counters(rounds, make_reference(*sides))
        assert (verdict is None) == (found is None)
        assert found is None or "bytes_written {} -> {} a round".format(*found) in verdict.reason

    def test_what_a_write_wrote_is_not_known_where_it_is_not_there(self):
        """Not 0: the folder was not this machine's, or was removed at once."""
        wrote, unknown = make_rounds(counters={"bytes_written": 5, "files_written": 1}), make_rounds()
        assert judge_counters(unknown, make_reference(wrote)) is None
        assert judge_counters([*wrote, *unknown], make_reference(wrote)) is None
        assert judge_counters(wrote, make_reference(unknown)) is None
        more = make_rounds(counters={"bytes_written": 50, "files_written": 1})
        found = judge_counters(more, make_reference(unknown, wrote))
        assert (found.status, found.metric, found.ratio) == ("regressed", "bytes_written", 10.0)


class TestSpeed:
    """What came of a change that is exact, beside it."""

    def reason(self, *now, reference=None):
        verdict = judge_counters(now, reference or make_reference(make_rounds(40, counters={"a": 1})))
        assert (verdict.status, verdict.metric) == ("regressed", "a")
        return verdict.reason

    @pytest.mark.parametrize(
        ("speed", "said"), [(20, ", 0.50x the rows/s"), (80, ", 2.00x the rows/s"), (36, ""), (44, "")]
    )
    def test_is_said_where_it_is_more_than_noise(self, speed, said):
        now = make_rounds(speed, counters={"a": 2})
        assert f"a 1 -> 2 a round (exact){said}; baseline {FILE}; {ACCEPT}" in self.reason(*now)
        counted = judge_work(work(flops=16), reference(work()), make_rounds(speed), 1.10)
        assert f"(8 -> 16) (exact){said}; baseline {FILE}" in counted.reason

    def test_from_a_fifth_on_of_three_rounds_or_more(self):
        slow = make_reference(make_rounds(1, rows=64, counters={"a": 1}))
        now = replace(make_round(1, counters={"a": 2}), wall_seconds=64 / 1.2)
        assert now.throughput == 1.2
        assert ", 1.20x the rows/s" in self.reason(now, now, now, reference=slow)
        fast = make_reference([replace(one, wall_seconds=64 / 1.2) for one in make_rounds(counters={"a": 1})])
        assert ", 0.83x the rows/s" in self.reason(*make_rounds(1, counters={"a": 2}), reference=fast)

    def test_not_of_two_rounds_nor_of_what_was_disturbed_or_not_measured(self):
        slow, same = make_round(20, counters={"a": 2}), make_round(40, counters={"a": 2})
        for now in ([slow, slow], [slow, slow, replace(same, disturbed="others")]):
            assert "rows/s" not in self.reason(*now)
        unknown = [replace(slow, wall_seconds=0.0)] * 3
        assert "rows/s" not in self.reason(*unknown)
        none = make_reference([replace(same, wall_seconds=0.0, counters={"a": 1})] * 3)
        assert "rows/s" not in self.reason(slow, slow, slow, reference=none)

    def test_nor_against_another_machine(self):
        here = make_reference(make_rounds(40, counters={"a": 1}))
        there = carried(here, {}, None)
        now = make_rounds(20, counters={"a": 2})
        assert "0.50x the rows/s" in self.reason(*now, reference=here)
        assert "rows/s" not in self.reason(*now, reference=there)


class TestWork:
    @pytest.mark.parametrize(
        ("now", "then"), [(None, work()), (work(), None), (None, None), (work(), work())]
    )
    def test_nothing_to_tell(self, now, then):
        assert judge_work(now, reference(then), [], 1.10) is None

    def test_of_other_software_says_nothing(self):
        assert judge_work(work(flops=16, ray="2.61"), reference(work()), [], 1.10) is None

    def test_with_these_versions_it_is_compared_though_others_counted_last(self):
        plain = make_reference(make_rounds(), make_rounds())
        counted = (work(flops=8), work(flops=16, ray="2.61"))
        both = [replace(session, work=one) for session, one in zip(plain.sessions, counted, strict=True)]
        verdict = judge_work(work(flops=16), replace(plain, sessions=tuple(both)), [], 1.10)
        assert (verdict.status, verdict.ratio) == ("regressed", 2.0)

    def test_more_of_it_regressed(self):
        verdict = judge_work(work(flops=16), reference(work()), [], 1.10)
        assert (verdict.status, verdict.metric) == ("regressed", "flops")
        assert (verdict.ratio, verdict.threshold, verdict.wrong) == (2.0, 1.0, False)
        assert verdict.reason.startswith("regressed: Map: FLOPs a row 2.00x (8 -> 16) (exact)")
        assert verdict.reason.endswith(f" (exact); baseline {FILE}; {ACCEPT}")

    def test_less_of_it_improved_and_asks_for_an_update(self):
        verdict = judge_work(work(flops=4), reference(work()), [], 1.10)
        assert (verdict.status, verdict.metric, verdict.ratio) == ("improved", "flops", 0.5)
        assert verdict.reason.startswith("improved: Map: FLOPs a row 0.50x (8 -> 4) (exact)")
        assert verdict.reason.endswith(f" (exact); baseline {FILE}; {STALE}")

    def test_each_counter_that_grew_is_a_line(self):
        verdict = judge_work(work(flops=16, python_calls=80), reference(work()), [], 1.10)
        assert len(verdict.reason.splitlines()) == 2
        assert all(line.endswith(ACCEPT) for line in verdict.reason.splitlines())

    def test_what_grew_is_told_and_what_shrank_is_not(self):
        verdict = judge_work(work(flops=4, python_calls=60), reference(work()), [], 1.10)
        assert (verdict.status, verdict.metric, verdict.ratio) == ("regressed", "python_calls", 1.5)
        assert "FLOPs" not in verdict.reason
        assert len(verdict.reason.splitlines()) == 1

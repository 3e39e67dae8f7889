from __future__ import annotations

import pytest
from builders import make_round

from pytest_rayperf.reasons import describe, explain, show, slowest_growth
from pytest_rayperf.results import CPU_PER_ROW, THROUGHPUT, Comparison, Interval, Operator


def comparison(metric=THROUGHPUT, status="regressed", slowdown=(1.25, 1.2, 1.3), mde=1.15):
    return Comparison(metric, status, 41.2, 33.0, Interval(*slowdown), 1.10, mde)


def rounds(*operators, rows=100, n=2):
    return [make_round(rows=rows, operators=operators)] * n


class TestShow:
    @pytest.mark.parametrize(
        ("interval", "text"),
        [
            ((0.801, 0.77, 0.83), "0.80x [0.77, 0.83]"),
            ((1.0, 1.0, 1.0), "1.00x [1.00, 1.00]"),
            ((12.345, 10.0, 15.0), "12.35x [10.00, 15.00]"),
        ],
    )
    def test_two_digits(self, interval, text):
        assert show(Interval(*interval)) == text


class TestDescribe:
    def test_a_rate(self):
        assert describe(comparison(), [], [], "f.json") == (
            "regressed: throughput 41.2 -> 33 rows/s, 0.80x [0.77, 0.83], threshold 1/1.10; "
            "baseline f.json; accept with --rayperf-update-baselines"
        )

    def test_a_time(self):
        text = describe(comparison(CPU_PER_ROW), [], [], "f.json")
        assert "cpu_seconds_per_row 41.2 -> 33 s, 1.25x [1.20, 1.30], threshold 1.10;" in text

    def test_the_operator(self):
        text = describe(
            comparison(), rounds(Operator("A", cpu_s=2.0)), rounds(Operator("A", cpu_s=1.0)), "f.json"
        )
        assert "; operator A +100% CPU; baseline" in text

    def test_one_line(self):
        assert "\n" not in describe(comparison(), [], [], "f.json")


class TestExplain:
    def test_unchanged(self):
        surest = comparison(status="unchanged")
        assert explain(surest, [surest], 3) == (
            "unchanged: throughput 0.80x [0.77, 0.83]; could have seen a slowdown of 1.15x"
        )

    def test_others_that_saw_less(self):
        surest = comparison(CPU_PER_ROW, "unchanged")
        noisy = comparison(status="inconclusive", mde=1.5)
        fine = comparison(status="unchanged", mde=1.3)
        assert "throughput only one of 1.50x" in explain(surest, [surest, noisy], 3)
        assert "only one of" not in explain(surest, [surest, fine], 3)

    @pytest.mark.parametrize(("sessions", "said"), [(1, True), (4, True), (5, False), (20, False)])
    def test_more_sessions_help_while_there_are_few(self, sessions, said):
        surest = comparison(status="inconclusive")
        text = explain(surest, [surest], sessions)
        assert text.endswith("a quieter machine")
        assert (f"(there are {sessions})" in text) == said

    @pytest.mark.parametrize("status", ["unchanged", "improved"])
    def test_no_help_where_none_is_needed(self, status):
        surest = comparison(status=status)
        assert "help" not in explain(surest, [surest], 1)


class TestSlowestGrowth:
    @pytest.mark.parametrize(
        ("now", "text"), [(1.24, "A +24% CPU"), (3.0, "A +200% CPU"), (1.0, "A +0% CPU")]
    )
    def test_percent(self, now, text):
        assert slowest_growth(rounds(Operator("A", cpu_s=now)), rounds(Operator("A", cpu_s=1.0))) == text

    def test_the_most_seconds_rather_than_percent(self):
        before = rounds(Operator("Small", cpu_s=0.01), Operator("Big", cpu_s=10.0))
        now = rounds(Operator("Small", cpu_s=0.05), Operator("Big", cpu_s=12.0))
        assert slowest_growth(now, before) == "Big +20% CPU"

    def test_a_row(self):
        before, now = rounds(Operator("A", cpu_s=1.0)), rounds(Operator("A", cpu_s=3.0), rows=200)
        assert slowest_growth(now, before) == "A +50% CPU"

    def test_means_over_rounds(self):
        now = [*rounds(Operator("A", cpu_s=1.0), n=1), *rounds(Operator("A", cpu_s=2.0), n=1)]
        assert slowest_growth(now, rounds(Operator("A", cpu_s=1.0))) == "A +50% CPU"

    def test_a_new_operator(self):
        now = rounds(Operator("A", cpu_s=1.0), Operator("New", cpu_s=0.5))
        assert slowest_growth(now, rounds(Operator("A", cpu_s=1.0))) == "New is new"

    def test_one_that_went(self):
        before = rounds(Operator("A", cpu_s=1.0), Operator("Old", cpu_s=5.0))
        assert slowest_growth(rounds(Operator("A", cpu_s=1.1)), before) == "A +10% CPU"

    @pytest.mark.parametrize(
        ("now", "before"),
        [
            ([], []),
            (rounds(), rounds()),
            (rounds(Operator("A", cpu_s=1.0)), rounds()),
            (rounds(), rounds(Operator("A", cpu_s=1.0))),
            (rounds(Operator("A", cpu_s=1.0)), rounds(Operator("A"))),
        ],
    )
    def test_not_known(self, now, before):
        assert slowest_growth(now, before) is None

    def test_no_rows(self):
        none = [make_round(rows=0, throughput=None, operators=(Operator("A", cpu_s=1.0),))]
        assert slowest_growth(none, none) == "A +0% CPU"

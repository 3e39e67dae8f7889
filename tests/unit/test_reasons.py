from __future__ import annotations

from dataclasses import replace

import pytest
from builders import make_reference, make_rounds

from pytest_rayperf.judging.reasons import creeping, describe, explain, show
from pytest_rayperf.judging.reference import STALE
from pytest_rayperf.metrics import CPU_PER_ROW, THROUGHPUT
from pytest_rayperf.results import Attribution, Change, Comparison, Interval

NOT_TO_UPDATE = tuple(replace(make_reference(), **{how: True}) for how in ("beside", "a_run", "accepting"))
ACCEPT = "baseline f.json; accept with --rayperf-update-baselines"


def comparison(metric=THROUGHPUT, status="regressed", slowdown=(1.25, 1.2, 1.3), mde=1.15, finds=1.4):
    return Comparison(metric, status, 41.2, 33.0, Interval(*slowdown), 1.10, mde, finds)


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
        assert describe(comparison(), None, ACCEPT) == (
            "regressed: throughput 41.2 -> 33 rows/s, 0.80x [0.77, 0.83], threshold 1/1.10; "
            "baseline f.json; accept with --rayperf-update-baselines"
        )

    def test_a_time(self):
        text = describe(comparison(CPU_PER_ROW), None, ACCEPT)
        assert "cpu_seconds_per_row 41.2 -> 33 s, 1.25x [1.20, 1.30], threshold 1.10;" in text

    def test_the_operator(self):
        found = Attribution((Change("A", "CPU", 1.0, 1.0),), (), 0.0)
        text = describe(comparison(), found, ACCEPT)
        assert "; operator A +100% CPU; waiting +0%; baseline" in text

    def test_no_operator_is_known(self):
        assert "operator" not in describe(comparison(), Attribution((), (), None), ACCEPT)

    def test_with_what_it_was_compared_where_that_is_not_what_went_before(self):
        old = replace(comparison(), since="the oldest")
        assert describe(old, None, "there").endswith(", threshold 1/1.10; against the oldest; there")

    def test_one_line(self):
        assert "\n" not in describe(comparison(), None, ACCEPT)


class TestExplain:
    def test_unchanged(self):
        surest = comparison(status="unchanged")
        assert explain(surest, [surest], make_reference()) == (
            "unchanged: throughput 0.80x [0.77, 0.83]; slowdowns above 1.15x are ruled out"
        )

    def test_others_that_saw_less(self):
        surest = comparison(CPU_PER_ROW, "unchanged")
        noisy = comparison(status="inconclusive", mde=1.5)
        fine = comparison(status="unchanged", mde=1.3)
        assert "of throughput those above 1.50x" in explain(surest, [surest, noisy], make_reference())
        assert "those above" not in explain(surest, [surest, fine], make_reference())

    @pytest.mark.parametrize(
        ("sessions", "said"), [(1, "there are 1"), (4, "there are 4"), (5, ""), (20, "")]
    )
    def test_more_sessions_help_while_there_are_few(self, sessions, said):
        surest = comparison(status="inconclusive")
        text = explain(surest, [surest], make_reference(*[make_rounds()] * sessions))
        assert text.endswith("a quieter machine")
        assert said in text
        assert ("baseline sessions" in text) == bool(said)

    def test_improved_asks_for_an_update_of_the_baseline_if_there_is_one(self):
        surest = comparison(status="improved")
        assert explain(surest, [surest], make_reference()) == (
            f"improved: throughput 0.80x [0.77, 0.83]; slowdowns above 1.15x are ruled out; {STALE}"
        )
        for other in (None, *NOT_TO_UPDATE):
            assert "baseline" not in explain(surest, [surest], other)

    def test_beside_a_reference_no_session_would_help(self):
        surest = comparison(status="inconclusive")
        for other in (None, replace(make_reference(), a_run=True)):
            assert explain(surest, [surest], other).endswith(
                "; what would help: more rounds, or a quieter machine"
            )

    @pytest.mark.parametrize("status", ["unchanged", "improved"])
    def test_no_help_where_none_is_needed(self, status):
        surest = comparison(status=status)
        assert "help" not in explain(surest, [surest], make_reference(make_rounds()))


class TestCreeping:
    def test_names_the_metric_how_far_it_crept_and_what_to_do(self):
        assert creeping(comparison(CPU_PER_ROW, "inconclusive")) == (
            "inconclusive: as fast as in the last sessions, and cpu_seconds_per_row 1.25x [1.20, 1.30] "
            "against the oldest kept sessions: it may have crept there, a little each time; what would "
            "help: more rounds, or accept it: delete the old sessions' file and record it anew with "
            "--rayperf-update-baselines"
        )

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import make_rounds

from pytest_rayperf.measurement import Progress, Schedule
from pytest_rayperf.progress import ProgressLine, describe_progress

SCHEDULE = Schedule((3, 6, 20), 120.0)


class FakeScreen:
    def __init__(self, live):
        self.live = live
        self.said: list[str | None] = []

    def show(self, text):
        self.said.append(text)

    def clear(self):
        self.said.append(None)


def progress(number=1, rows=0, seconds=0.0, variant="fix", rounds=()):
    return Progress(variant, number, rows, seconds, rounds)


class TestText:
    @pytest.mark.parametrize(
        ("at", "text"),
        [
            (progress(0), "warm-up"),
            (progress(0, 64, 2.0), "warm-up: 32.0 rows/s so far in this round"),
            (replace(progress(0), apart="counting work"), "counting work"),
            (progress(1), "round 1 of 3 to 20"),
            (progress(2, 64, 2.0), "round 2 of 3 to 20: 32.0 rows/s so far in this round"),
            (progress(2, 64, 0.0), "round 2 of 3 to 20"),
            (progress(3, rounds=make_rounds(61.2)), "round 3 of 3 to 20: 61.2 rows/s so far"),
            (
                progress(3, 10, 1.0, rounds=make_rounds(61.2)),
                "round 3 of 3 to 20: 10.0 rows/s so far in this round",
            ),
        ],
    )
    def test_of_a_duel(self, at, text):
        assert describe_progress("model_loading", at, SCHEDULE) == f"rayperf: model_loading fix, {text}"

    def test_of_one_pipeline_its_name_is_said_once(self):
        text = describe_progress("test_it", progress(variant="test_it"), SCHEDULE)
        assert text == "rayperf: test_it, round 1 of 3 to 20"

    def test_rounds_that_gave_nothing(self):
        rounds = make_rounds(None, rows=0)
        assert describe_progress("a", progress(2, rounds=rounds), SCHEDULE).endswith("round 2 of 3 to 20")


class TestThrottle:
    def shown(self, live, steps):
        """How many lines `steps` of (seconds, rows) show."""
        now = 0.0
        screen = FakeScreen(live)
        line = ProgressLine(screen, clock=lambda: now)
        shown = []
        for seconds, rows in steps:
            now += seconds
            before = len(screen.said)
            line.update("it", progress(rows=rows, seconds=1.0), SCHEDULE)
            shown.append(len(screen.said) - before)
        return shown

    @pytest.mark.parametrize(("live", "every"), [(True, 1.0), (False, 30.0)])
    def test_no_more_often_than(self, live, every):
        steps = [(0, 0), (every * 0.5, 1), (every * 0.5, 2), (every * 0.9, 3), (every * 0.2, 4)]
        assert self.shown(live, steps) == [1, 0, 1, 0, 1]

    @pytest.mark.parametrize("live", [True, False])
    def test_each_round_begins_with_a_line(self, live):
        assert self.shown(live, [(0, 0), (0, 0), (0.1, 0), (0.1, 5)]) == [1, 1, 1, 0]

    @pytest.mark.parametrize("live", [True, False])
    def test_the_first_is_shown_at_once(self, live):
        assert self.shown(live, [(0, 10)]) == [1]

    def test_a_log_has_few_lines(self):
        steps = [(0, 0), *((1, rows) for rows in range(1, 121))]
        assert sum(self.shown(False, steps)) == 5
        assert sum(self.shown(True, steps)) == 121


class TestScreen:
    def test_none_shows_nothing(self):
        line = ProgressLine(None, clock=lambda: pytest.fail("asked the time for nothing"))
        line.update("it", progress(), SCHEDULE)
        line.note("starting Ray")
        line.done()

    def test_notes_and_the_end(self):
        screen = FakeScreen(True)
        line = ProgressLine(screen, clock=lambda: 0.0)
        line.note("starting Ray")
        line.done()
        assert screen.said == ["rayperf: starting Ray", None]

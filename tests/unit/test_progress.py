from __future__ import annotations

from dataclasses import replace

import pytest
from builders import LIGHT, make_rounds
from hypothesis import given
from hypothesis import strategies as st
from test_measurement import Bench

from pytest_rayperf.measurement import Course, Progress, Schedule
from pytest_rayperf.progress import ProgressLine, describe_progress, left_of_benchmark, left_of_run

SCHEDULE = Schedule((3, 6, 20), 120.0)


class FakeScreen:
    def __init__(self, live, width=None):
        self.live = live
        self.width = width
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


def rounds_of(*seconds):
    """Rounds of 64 rows."""
    return tuple(round_ for s in seconds for round_ in make_rounds(64 / s, n=1))


def in_turn(number, seconds, elapsed, budget=240.0, rows=0, variant="fix", **rounds):
    """`seconds` into the round; of each variant, the seconds of its rounds."""
    done = {name: rounds_of(*own) for name, own in rounds.items()}
    return Progress(variant, number, rows, seconds, done[variant], course=Course(elapsed, budget, done))


class TestLeftOfTheBenchmark:
    @pytest.mark.parametrize(
        ("at", "left"),
        [
            # the time alone is known
            (in_turn(0, 3.0, 3.0, budget=120, fix=()), 117.0),
            (in_turn(1, 3.0, 15.0, budget=120, fix=()), 105.0),
            (in_turn(1, 130.0, 145.0, budget=120, fix=()), None),
            # rounds 3 to 20 of 2 s each, before the time is up
            (in_turn(3, 0.5, 10.5, budget=120, fix=(1.5, 2.5)), 1.5 + 17 * 2.0),
            # 10.5 s are left: this round, and two more that begin before the time is up
            (in_turn(3, 1.0, 109.5, budget=120, fix=(5.0, 5.0)), 4.0 + 2 * 5.0),
            # the time is up, and there are fewer than three rounds
            (in_turn(2, 10.0, 170.0, budget=120, fix=(80.0,)), 70.0 + 80.0),
            (in_turn(3, 10.0, 250.0, budget=120, fix=(80.0, 80.0)), 70.0),
            # the last one takes longer than any before it
            (in_turn(20, 2.5, 42.5, budget=120, fix=(2.0,) * 19), None),
        ],
    )
    def test_of_one_pipeline(self, at, left):
        assert left_of_benchmark(at, SCHEDULE) == (left if left is None else pytest.approx(left))

    @pytest.mark.parametrize(
        ("at", "left"),
        [
            # antipattern 10 s, fix 2 s: this one's rest, and 18 more turns
            (in_turn(2, 0.5, 23.0, budget=1e9, antipattern=(10.0, 10.0), fix=(2.0,)), 1.5 + 18 * 12.0),
            # the anti-pattern's round of this turn is still to come
            (in_turn(2, 0.5, 13.0, budget=1e9, antipattern=(10.0,), fix=(2.0,)), 11.5 + 18 * 12.0),
            # the fix was not measured yet: as long as the other, until it was
            (
                in_turn(1, 4.0, 14.0, budget=1e9, antipattern=(10.0,), fix=(), variant="fix"),
                6.0 + 19 * 20.0,
            ),
        ],
    )
    def test_of_a_duel(self, at, left):
        assert left_of_benchmark(at, SCHEDULE) == pytest.approx(left)

    def test_where_nothing_is_measured_in_turn_nothing_is_said(self):
        assert left_of_benchmark(replace(progress(0), apart="counting work"), SCHEDULE) is None

    def test_rounds_that_took_no_time(self):
        assert left_of_benchmark(in_turn(2, 0.0, 0.0, fix=(1e-300,)), SCHEDULE) == pytest.approx(0.0)

    @LIGHT
    @given(
        st.lists(st.floats(0.1, 30), min_size=1, max_size=3),
        st.lists(st.integers(1, 12), min_size=1, max_size=3, unique=True).map(sorted),
        st.floats(0.1, 200),
        st.integers(0, 2),
    )
    def test_where_each_round_takes_the_same_and_none_is_enough_it_is_what_is_left(
        self, seconds, looks, budget, warm_ups
    ):
        """Beside `measure` itself, whose rounds begin at the times that are looked at."""
        names = ("a", "b", "c")[: len(seconds)]
        bench = Bench(lambda name, call: seconds[names.index(name)], names)
        bench.run(looks=tuple(looks), max_seconds=budget, warm_ups=warm_ups, keep=False)
        schedule = Schedule(tuple(looks), budget, warm_ups)
        took = bench.clock.now - 100.0
        for at in bench.progress:
            left = left_of_benchmark(at, schedule)
            if all(at.course.rounds.values()):
                assert left == pytest.approx(took - at.course.elapsed, abs=30.1 * 3 * 1e-6) or on_the_edge(
                    at, left, took, sum(seconds)
                )


def on_the_edge(at, left, took, turn):
    """A turn ends just when the time is up: by rounding one more begins, or doesn't."""
    return abs(abs(left - (took - at.course.elapsed)) - turn) < 1e-6


class TestLeftOfTheRun:
    def left(self, groups, *ended, running=None, now=0.0):
        items = {f"{group}{number}": group for number, group in enumerate(groups)}
        done = dict(zip(items, ended, strict=False))
        return left_of_run(items, done, running and (list(items)[running[0]], running[1]), now)

    def test_nothing_before_one_has_ended(self):
        assert self.left("abc") is None
        assert self.left("abc", running=(0, 0.0), now=500.0) is None
        assert left_of_run({}, {}, None, 0.0) is None

    def test_as_long_as_those_before(self):
        assert self.left("abcd", 10.0, 20.0) == pytest.approx(30.0)

    def test_what_runs_has_taken_some_of_it(self):
        assert self.left("abcd", 10.0, 20.0, running=(2, 100.0), now=104.0) == pytest.approx(26.0)
        # and longer than was expected: the rest of it is not known
        assert self.left("abcd", 10.0, 20.0, running=(2, 100.0), now=900.0) == pytest.approx(15.0)

    def test_what_was_skipped_tells_nothing_of_the_others(self):
        assert self.left("abcd", None, None) is None
        assert self.left("abcd", None, 10.0) == pytest.approx(20.0)

    @pytest.mark.parametrize("ended", range(1, 20))
    def test_a_duel_that_is_measured_in_one_of_its_items(self, ended):
        """Ten duels of 60 s: after any item whole duels are left, whether the other one ran or not."""
        duels = "aabbccddeeffgghhiijj"
        took = [60.0, 0.01] * 10
        assert self.left(duels, *took[:ended]) == pytest.approx(60.0 * (10 - (ended + 1) // 2), abs=0.11)

    def test_variants_that_are_measured_each_by_itself(self):
        assert self.left("aabbcc", 10.0, 10.0, 10.0) == pytest.approx(30.0)

    def test_the_last_one_has_ended(self):
        assert self.left("ab", 10.0, 20.0) == 0

    def test_an_item_that_was_not_planned_is_passed_over(self):
        assert left_of_run({"a": "a"}, {"other": 5.0}, ("another", 0.0), 1.0) is None

    @LIGHT
    @given(
        st.lists(st.sampled_from("abcde"), min_size=1, max_size=12),
        st.lists(st.none() | st.floats(0, 1e4), max_size=12),
        st.floats(0, 1e4),
    )
    def test_never_more_than_each_group_left_at_the_longest(self, groups, took, running):
        took = took[: len(groups)]
        at = (len(took), 0.0) if len(took) < len(groups) else None
        left = self.left(groups, *took, running=at, now=running)
        if left is None:
            assert not any(seconds is not None for seconds in took)
            return
        spent: dict[str, float] = {}
        for group, seconds in zip(groups, took, strict=False):
            spent[group] = spent.get(group, 0.0) + (seconds or 0.0)
        assert 0 <= left <= len(set(groups[len(took) :])) * max(spent.values()) * (1 + 1e-9)


class TestTimes:
    def said(self, at, **more):
        return describe_progress("it", at, SCHEDULE, **more)

    @pytest.mark.parametrize(
        ("left", "words"),
        [
            (84.2, "; at most 85 s more"),
            (120.0, "; at most 120 s more"),
            (120.1, "; at most 3 min more"),
            (7200.0, "; at most 120 min more"),
            (7201.0, "; at most 2.1 h more"),
        ],
    )
    def test_of_the_benchmark_are_rounded_up(self, left, words):
        at = in_turn(0, 0.0, 100.0, budget=100.0 + left, fix=())
        assert self.said(at) == "rayperf: it fix, warm-up" + words

    @pytest.mark.parametrize(
        ("left", "words"),
        [
            (None, ""),
            (0.0, ""),
            (0.9, ""),
            (1.2, "; about 1 s left in all"),
            (119.7, "; about 120 s left in all"),
            (360.0, "; about 6 min left in all"),
            (9000.0, "; about 2.5 h left in all"),
        ],
    )
    def test_of_the_run(self, left, words):
        assert self.said(progress(), left_in_all=left) == "rayperf: it fix, round 1 of 3 to 20" + words

    def test_all_of_it(self):
        at = in_turn(2, 2.0, 22.0, budget=120.0, rows=64, fix=(5.0,))
        assert self.said(at, place="[12/71]", left_in_all=371.0) == (
            "rayperf: [12/71] it fix, round 2 of 3 to 20: 32.0 rows/s so far in this round; "
            "at most 93 s more; about 6 min left in all"
        )


class TestWidth:
    AT = replace(in_turn(2, 2.0, 22.0, budget=120.0, rows=64, fix=(5.0,)), repeated=1)
    SHORT = (
        "[12/71] model_loading fix",
        ", round 2 of 20",
        ": 32.0 rows/s",
        "; at most 93 s more",
        "; about 6 min in all",
    )

    def said(self, width, name="model_loading"):
        return describe_progress(name, self.AT, SCHEDULE, place="[12/71]", left_in_all=371.0, width=width)

    def test_a_log_s_line_says_it_at_length(self):
        long = self.said(None)
        assert "round 2 of 3 to 20 (1 measured again): 32.0 rows/s so far in this round; at most" in long

    def test_a_line_that_is_overwritten_keeps_its_form(self):
        assert self.said(500) == "".join(self.SHORT)

    def test_the_least_important_goes_first(self):
        lengths = [len("".join(self.SHORT[: n + 1])) for n in range(5)]
        for n, length in enumerate(lengths):
            assert self.said(length) == "".join(self.SHORT[: n + 1])
            assert self.said(length - 1) == ("".join(self.SHORT[:n]) or self.SHORT[0][: length - 1])

    def test_in_80_columns_the_benchmark_s_time_is_there(self):
        assert self.said(79).endswith("at most 93 s more")

    @LIGHT
    @given(st.text(max_size=300), st.integers(1, 250))
    def test_no_name_makes_it_two_lines_or_too_long(self, name, width):
        said = self.said(width, name)
        assert len(said) <= width
        assert said.isprintable()


class TestPlace:
    def line(self, screen, groups=None):
        now = [0.0]
        line = ProgressLine(screen, clock=lambda: now[0])
        line.plan(groups or {"a[antipattern]": "a", "a[fix]": "a", "b": "b"})
        return line, now

    def test_which_item_and_what_is_left_of_them(self):
        screen = FakeScreen(True)
        line, now = self.line(screen)
        line.begins("a[antipattern]")
        line.update("a", progress(), SCHEDULE)
        now[0] = 61.0
        line.ends("a[antipattern]", 60.0)
        line.begins("a[fix]")
        line.update("a", progress(), SCHEDULE)
        line.ends("a[fix]", 0.0)
        line.begins("b")
        now[0] = 71.0
        line.update("b", progress(), SCHEDULE)
        line.ends("b", 60.0)
        assert screen.said == [
            "rayperf: [1/3] a fix, round 1 of 3 to 20",
            "rayperf: [2/3] a fix, round 1 of 3 to 20; about 60 s left in all",
            "rayperf: [3/3] b fix, round 1 of 3 to 20; about 50 s left in all",
        ]

    def test_what_was_not_planned_has_no_place(self):
        screen = FakeScreen(False)
        line, _ = self.line(screen)
        line.begins("c")
        line.update("c", progress(), SCHEDULE)
        assert screen.said == ["rayperf: c fix, round 1 of 3 to 20"]

    def test_the_screen_s_width_is_kept_to(self):
        screen = FakeScreen(True, width=25)
        line, _ = self.line(screen)
        line.begins("b")
        line.update("b", progress(), SCHEDULE)
        assert screen.said == ["[3/3] b fix"]


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
        line.plan({"it": "it"})
        line.begins("it")
        line.update("it", progress(), SCHEDULE)
        line.ends("it", 1.0)
        line.note("starting Ray")
        line.done()

    def test_notes_and_the_end(self):
        screen = FakeScreen(True)
        line = ProgressLine(screen, clock=lambda: 0.0)
        line.note("starting Ray")
        line.done()
        assert screen.said == ["rayperf: starting Ray", None]

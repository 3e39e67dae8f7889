"""The pictures: what is drawn is where its figure belongs, and what was not measured is not drawn."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
from builders import LIGHT
from hypothesis import given
from hypothesis import strategies as st
from page import Node, parse
from reported import FULL

from pytest_rayperf.reports.pictures.drawing import WIDTH, Drawing, Scale, from_zero, line_path, spread
from pytest_rayperf.reports.pictures.duels import duel_picture
from pytest_rayperf.reports.pictures.history import history_picture
from pytest_rayperf.reports.pictures.ladders import ladder_picture, sweep_picture
from pytest_rayperf.reports.pictures.operators import operators_picture
from pytest_rayperf.reports.pictures.utilization import utilization_picture
from pytest_rayperf.reports.pictures.verdicts import reach, verdict_drawing
from pytest_rayperf.reports.rows import rows_of

FIGURES = st.floats(1e-6, 1e12)
ANTIPATTERN, FIX = FULL["benchmarks"][:2]
SIDES = {"anti-pattern": ANTIPATTERN, "fix": FIX}
(LADDER,), (SWEEP,) = FULL["ladders"], FULL["sweeps"]


def drawn(svg: str) -> Node:
    return parse(svg).one("svg")


def boxes(svg: str, kind: str) -> list[tuple[float, ...]]:
    """x, y, width and height of the bars of a kind."""
    return [
        tuple(float(rect.attributes[name]) for name in ("x", "y", "width", "height"))
        for rect in drawn(svg).all("rect", class_=kind)
    ]


def points(svg: str, kind: str) -> list[tuple[float, float]]:
    """The dots of a kind."""
    return [
        (float(x), float(y))
        for path in drawn(svg).all("path", class_=kind)
        for x, y in re.findall(r"M(\S+?) (\S+?)h0", path.attributes["d"])
    ]


def line(svg: str, kind: str) -> list[list[tuple[float, float]]]:
    """The stretches of a line, each as its points."""
    found: list[list[tuple[float, float]]] = []
    for path in drawn(svg).all("path", class_=kind):
        for begin, rest in re.findall(r"M([^Mlh]+)((?:l[^Mlh]+)*)", path.attributes["d"]):
            x, y = map(float, begin.split(" "))
            found.append([(x, y)])
            for step in rest.split("l")[1:]:
                dx, dy = re.fullmatch(r"(-?\d+) ?(-?\d+)", step).groups()
                x, y = x + float(dx), y + float(dy)
                found[-1].append((x, y))
    return found


def with_figures(benchmark, metric: str, figures, median, ci=None):
    """`benchmark` with other figures of a metric."""
    of = {**benchmark["metrics"][metric], "median": median, "ci": ci}
    return {
        **benchmark,
        "rounds": {**benchmark["rounds"], metric: figures},
        "metrics": {**benchmark["metrics"], metric: of},
    }


class TestScale:
    @LIGHT
    @given(st.lists(FIGURES, min_size=1, max_size=20))
    def test_from_zero_has_room_for_all_and_keeps_their_proportion(self, values):
        scale = from_zero(values)
        places = [scale.at(value) for value in values]
        assert all(scale.left <= place <= scale.right for place in places)
        largest = max(values)
        for value, place in zip(values, places, strict=True):
            share = (place - scale.left) / (scale.at(largest) - scale.left)
            assert share == pytest.approx(value / largest, abs=1e-9)

    @LIGHT
    @given(st.floats(-1e3, 1e3), st.floats(1e-6, 1e9), st.integers(1, 8))
    def test_ticks_are_few_round_and_within(self, spans, span, most):
        start = spans * span
        scale = Scale(start, start + span, 0, WIDTH)
        ticks = scale.ticks(most)
        assert len(ticks) <= most + 1
        assert ticks == sorted(ticks)
        room = 1e-6 * span
        assert all(start - room <= tick <= start + span + room for tick in ticks)
        if len(ticks) > 1:
            step = (ticks[-1] - ticks[0]) / (len(ticks) - 1)
            digits = step / 10.0 ** math.floor(math.log10(step) + 1e-9)
            assert min(abs(digits - round_) for round_ in (1, 2, 5, 10)) < 1e-3

    @pytest.mark.parametrize("end", [0.0, math.inf])
    def test_a_scale_of_no_length_has_no_ticks(self, end):
        scale = Scale(0.0, end, 5, 50)
        assert scale.ticks() == []
        assert scale.at(0.0) == 5

    def test_nothing_but_zeros_is_drawn_at_zero(self):
        assert from_zero([0.0, 0.0]).at(0.0) == from_zero([]).at(0.0) == 1.0


class TestLine:
    @LIGHT
    @given(st.lists(st.none() | st.floats(0, 300), max_size=30))
    def test_it_has_every_point_in_whole_units_and_a_gap_for_each_that_is_missing(self, ys):
        xs = [3.4 * n for n in range(len(ys))]
        svg = f'<svg><path class="l" d="{line_path(xs, ys)}"/></svg>'
        wanted: list[list[tuple[int, int]]] = [[]]
        for x, y in zip(xs, ys, strict=True):
            if y is None:
                wanted.append([])
            else:
                wanted[-1].append((round(x), round(y)))
        assert line(svg, "l") == [stretch for stretch in wanted if stretch]

    def test_a_point_alone_is_drawn(self):
        assert line_path([1, 2, 3], [5, None, 7]) == "M1 5h0M3 7h0"

    def test_dots_of_equal_figures_are_moved_apart(self):
        shifts = spread(20)
        assert len(set(shifts)) > 5
        assert all(abs(a - b) >= 1 for a, b in pairwise(shifts))


class TestTexts:
    def test_an_operator_may_have_no_name(self):
        drawing = Drawing()
        drawing.line(10, "", "1.5 s")
        assert [text.text for text in drawn(drawing.svg("t", "d", 20)).all("text")] == ["", "1.5 s"]

    def test_a_long_one_is_shortened_and_shows_the_whole_when_it_is_pointed_at(self):
        drawing = Drawing()
        drawing.text(0, 0, "a" * 50 + "<b>", letters=10)
        (text,) = drawn(drawing.svg("t", "d", 10)).all("text")
        title = text.one("title").text
        assert title == "a" * 50 + "<b>"
        assert text.text.removeprefix(title) == "aaaaaa…<b>"


class TestDuel:
    @LIGHT
    @given(st.lists(FIGURES, min_size=1, max_size=9), st.lists(FIGURES, min_size=1, max_size=9))
    def test_bars_and_dots_lie_at_their_figures(self, bad, good):
        def middle(figures):
            return sorted(figures)[len(figures) // 2]

        sides = {
            "anti-pattern": with_figures(ANTIPATTERN, "throughput", bad, middle(bad)),
            "fix": with_figures(FIX, "throughput", good, middle(good), [min(good), max(good)]),
        }
        svg = duel_picture(sides, {"metric": "throughput", "ratio": 2.0, "ci": [1.0, 3.0]}).svg
        largest = max(*bad, *good)
        scale = from_zero([largest])
        for kind, figures in (("antipattern", bad), ("fix", good)):
            ((x, _, width, _),) = boxes(svg, f"bar {kind}")
            assert x == 1
            assert width == pytest.approx(scale.at(middle(figures)) - 1, abs=0.1)
            places = [place for place, _ in points(svg, f"dots {kind}")]
            assert places == pytest.approx([scale.at(figure) for figure in figures], abs=0.1)
        (interval,) = (p.attributes["d"] for p in drawn(svg).all("path", class_="ci"))
        low, high = (float(x) for x in re.findall(r"M(\S+) \S+v8", interval))
        assert (low, high) == pytest.approx((scale.at(min(good)), scale.at(max(good))), abs=0.1)

    def test_a_missing_figure_leaves_no_picture_and_a_missing_round_no_dot(self):
        duel = {"metric": "throughput", "ratio": None, "ci": None}
        missing = {"anti-pattern": ANTIPATTERN, "fix": with_figures(FIX, "throughput", [None], None)}
        assert duel_picture(missing, duel) is None
        some = {**SIDES, "fix": with_figures(FIX, "throughput", [30.0, None, 32.0], 31.0)}
        assert len(points(duel_picture(some, duel).svg, "dots fix")) == 2

    def test_a_counter_is_that_of_the_last_round(self):
        picture = duel_picture(SIDES, {"metric": "model_loads", "ratio": 8, "ci": [8, 8]})
        assert [column.head for column in picture.tables[0].columns][1] == "Last round"
        (bad,), (good,) = (boxes(picture.svg, f"bar {kind}") for kind in ("antipattern", "fix"))
        loads = [benchmark["counters"]["model_loads"] for benchmark in (ANTIPATTERN, FIX)]
        assert loads == [8, 1]
        assert bad[2] / good[2] == pytest.approx(8, rel=0.01)


class TestOperators:
    @LIGHT
    @given(FIGURES, FIGURES, FIGURES)
    def test_waiting_is_what_wall_time_is_longer_than_cpu_time(self, cpu, wall, out):
        one = {**FIX, "operators": [{**FIX["operators"][0], "cpu_s": cpu, "wall_s": wall, "bytes": out}]}
        svg = operators_picture({"": one}).svg
        scale = from_zero([cpu, wall])
        computed, waited = boxes(svg, "bar cpu"), boxes(svg, "bar waiting")
        end = sum(computed[0][0::2]) if computed else 1.0
        assert end == pytest.approx(scale.at(cpu), abs=0.11)
        if waited:
            assert waited[0][0] == pytest.approx(end, abs=0.11)
            assert sum(waited[0][0::2]) == pytest.approx(scale.at(wall), abs=0.11)
        else:
            assert scale.at(wall) <= scale.at(cpu) + 0.11
        assert len(boxes(svg, "bar out")) == 1

    @pytest.mark.parametrize("missing", ["cpu_s", "wall_s", "bytes"])
    def test_what_was_not_measured_is_not_drawn(self, missing):
        one = {**FIX, "operators": [{**FIX["operators"][0], missing: None}]}
        svg = operators_picture({"": one}).svg
        assert bool(boxes(svg, "bar cpu")) is (missing != "cpu_s")
        assert bool(boxes(svg, "bar waiting")) is (missing == "bytes")
        assert bool(boxes(svg, "bar out")) is (missing != "bytes")

    def test_no_figures_no_picture(self):
        nothing = {**FIX, "operators": [{"name": "Read"}]}
        assert operators_picture({"": nothing}) is None
        assert operators_picture({"": {**FIX, "operators": []}}) is None

    def test_a_variant_without_operators_is_said_to_have_none(self):
        picture = operators_picture({**SIDES, "fix": {**FIX, "operators": []}})
        assert "operators not measured" in drawn(picture.svg).text


class TestUtilization:
    @LIGHT
    @given(st.lists(st.none() | st.floats(0, 100), min_size=2, max_size=40))
    def test_each_point_is_at_its_second_and_its_percent(self, cpu):
        seconds = [0.5 * (n + 1) for n in range(len(cpu))]
        found = {"round": 0, "seconds": seconds, "cpu": cpu, "others": [None] * len(cpu), "gpus": {}}
        svg = utilization_picture({"": {**FIX, "utilization": found}}).svg
        (grid, *_) = drawn(svg).all("path", class_="grid")
        zero, half, full = (float(y) for y in re.findall(r"M\S+ (\S+?)H", grid.attributes["d"]))
        assert half == pytest.approx((zero + full) / 2, abs=0.1)
        places = [point for stretch in line(svg, "line cpu") for point in stretch]
        known = [(s, v) for s, v in zip(seconds, cpu, strict=True) if v is not None]
        assert len(places) == len(known)
        for (x, y), (second, value) in zip(places, known, strict=True):
            assert x == pytest.approx(34 + second / seconds[-1] * (WIDTH - 9 - 34), abs=0.51)
            assert y == pytest.approx(zero + value / 100 * (full - zero), abs=0.51)
        assert line(svg, "line others") == []

    def test_nobody_looked(self):
        assert utilization_picture({"": {**FIX, "utilization": None}}) is None

    def test_both_variants_have_one_scale_of_time(self):
        short = {**FIX["utilization"], "seconds": [0.1, 0.2, 0.3, 0.4]}
        svg = utilization_picture({**SIDES, "fix": {**FIX, "utilization": short}}).svg
        ends = [max(x for x, _ in stretch) for stretch in line(svg, "line others")]
        assert max(ends[:2]) > WIDTH / 2 > max(ends[-2:])


class TestHistory:
    @LIGHT
    @given(st.lists(st.none() | FIGURES, min_size=1, max_size=20), FIGURES)
    def test_the_newest_is_at_the_right_and_more_is_higher(self, figures, now):
        session = FIX["history"][0]
        past = [{**session, "throughput": figure} for figure in figures]
        one = {**with_figures(FIX, "throughput", [now], now), "history": past}
        picture = history_picture({"": one}, None)
        known = [figure for figure in figures if figure is not None]
        if not known:
            assert picture is None
            return
        dots, ((x, y),) = points(picture.svg, "dots session"), points(picture.svg, "dots now")
        assert len(dots) == len(known)
        assert [place for place, _ in dots] == sorted(place for place, _ in dots)
        assert x > max(place for place, _ in dots)
        for (_, height), figure in zip(dots, known, strict=True):
            assert (height - y) * (figure - now) <= 0 or abs(height - y) <= 1

    @pytest.mark.parametrize("history", [None, []])
    def test_none_to_show(self, history):
        assert history_picture({"": {**FIX, "history": history}}, None) is None

    def test_a_run_without_throughput_has_no_last_point(self):
        one = with_figures(FIX, "throughput", [None], None)
        picture = history_picture({"": one}, None)
        assert points(picture.svg, "dots session")
        assert points(picture.svg, "dots now") == []


class TestLadder:
    def test_each_step_leads_from_the_rung_before_to_its_own(self):
        svg = ladder_picture(LADDER).svg
        medians = [rung["metrics"]["throughput"]["median"] for rung in LADDER["rungs"]]
        scale = from_zero(medians)
        steps = boxes(svg, "bar step")
        assert len(steps) == len(medians) - 1
        for (x, _, width, _), before, after in zip(steps, medians, medians[1:], strict=False):
            assert (x, x + width) == pytest.approx((scale.at(before), scale.at(after)), abs=0.11)
        assert "3.00x [2.70, 3.30]" in drawn(svg).text

    def test_a_rung_that_was_not_measured_has_no_bar(self):
        rungs = [dict(rung) for rung in LADDER["rungs"]]
        rungs[1] = {**rungs[1], "metrics": {"throughput": {"median": None, "ci": None}}, "rounds": {}}
        svg = ladder_picture({**LADDER, "rungs": rungs}).svg
        assert len(boxes(svg, "bar level")) == 3
        assert len(boxes(svg, "bar step")) == 1

    def test_none_was(self):
        rungs = [{**rung, "metrics": {}, "rounds": {}} for rung in LADDER["rungs"]]
        assert ladder_picture({**LADDER, "rungs": rungs}) is None
        assert ladder_picture({**LADDER, "rungs": []}) is None
        assert sweep_picture({**SWEEP, "settings": rungs}) is None


class TestSweep:
    def test_best_and_plateau_are_marked_and_medians_at_their_place(self):
        svg = sweep_picture(SWEEP).svg
        assert len(boxes(svg, "plateau")) == 2
        medians = [setting["metrics"]["throughput"]["median"] for setting in SWEEP["settings"]]
        scale = from_zero([v for s in SWEEP["settings"] for v in s["rounds"]["throughput"]])
        places = [x for x, _ in points(svg, "dots median")]
        assert places == pytest.approx([scale.at(median) for median in medians], abs=0.11)
        assert "0.99x [0.90, 1.10] · plateau" in drawn(svg).text


class TestVerdicts:
    def test_worse_is_to_the_right_whatever_the_metric(self):
        rows = {row.title: row for row in rows_of(FULL)}
        end = 2.5
        places = {
            title: points(verdict_drawing(row, end), "dots median")[0][0]
            for title, row in rows.items()
            if row.against is not None
        }
        middle = 75.0
        assert places["model_loading fix"] > middle  # throughput 0.80x
        assert places["materialize fix"] > places["model_loading fix"]  # loads 2.00x
        assert places["preprocessing fix"] < middle  # CPU 0.80x
        slower, faster = places["model_loading fix"], places["preprocessing fix"]
        assert slower - middle == pytest.approx(middle - faster, abs=0.2)

    def test_what_was_not_compared_has_none(self):
        assert [verdict_drawing(row, 2.0) for row in rows_of(FULL) if row.against is None] == ["", ""]

    def test_one_that_says_nothing_does_not_press_the_others_together(self):
        benchmarks = [dict(FULL["benchmarks"][0]) for _ in range(10)]
        benchmarks[3]["verdict"] = {**benchmarks[3]["verdict"], "ci": [0.0, 40.0]}
        rows = rows_of({**FULL, "benchmarks": benchmarks})
        assert reach(rows) == 1.25
        (wide,) = (row for row in rows if row.against.figure.high == 40.0)
        assert verdict_drawing(wide, 1.25).count('class="ci"') == 3  # itself, and an arrow at either end

    @pytest.mark.parametrize("metric", ["throughput", "cpu_seconds_per_row"])
    def test_a_ratio_of_0_has_no_place_and_a_limit_of_0_is_beyond_the_scale(self, metric):
        def row(ratio, ci):
            one = dict(FULL["benchmarks"][0])
            one["verdict"] = {**one["verdict"], "metric": metric, "ratio": ratio, "ci": ci}
            return rows_of({**FULL, "benchmarks": [one]})[0]

        assert verdict_drawing(row(0.0, None), 2.0) == ""
        assert verdict_drawing(row(1.0, [0.0, 1.5]), 2.0).count('class="ci"') == 2

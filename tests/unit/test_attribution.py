"""Which operator a slowdown is put down to, on given figures."""

from __future__ import annotations

import pytest
from builders import LIGHT, make_round
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.judging.attribution import attribute, tell
from pytest_rayperf.results import Change, Operator

READ, TILE, CLASSIFY, WRITE = "ReadImage", "FlatMap(tile)", "MapBatches(Classifier)", "Write"
NAMES = (READ, TILE, CLASSIFY, WRITE)
COST = {READ: 1.0, TILE: 2.0, CLASSIFY: 6.0, WRITE: 1.0}


def pipeline(n=3, rows=100, waits=0.1, **grown):
    """Rounds of the four operators: CPU seconds as in COST, a tenth more of wall time; `grown` adds to them.

    Args:
        grown: operator's first letter and `_cpu`, `_wait` or `_bytes` -> how much more, in seconds or bytes.
    """
    operators = []
    for name in NAMES:
        cpu = COST[name] + grown.get(f"{name[0]}_cpu", 0.0)
        wall = cpu + waits * COST[name] + grown.get(f"{name[0]}_wait", 0.0)
        size = 1000 + grown.get(f"{name[0]}_bytes", 0)
        operators.append(Operator(name, wall_s=wall, cpu_s=cpu, bytes=size))
    return [make_round(rows=rows, operators=operators)] * n


def rounds(*operators, rows=100, n=2):
    return [make_round(rows=rows, operators=operators)] * n


class TestCause:
    @pytest.mark.parametrize(("which", "share"), [(READ, 0.1), (CLASSIFY, 0.2), (WRITE, 0.05)])
    def test_more_computing(self, which, share):
        grown = {f"{which[0]}_cpu": share * 10}
        found = attribute(pipeline(**grown), pipeline())
        assert found.cause == Change(
            which, "CPU", pytest.approx(share * 10 / COST[which]), pytest.approx(share)
        )

    @pytest.mark.parametrize("which", [READ, CLASSIFY, WRITE])
    def test_more_waiting(self, which):
        found = attribute(pipeline(**{f"{which[0]}_wait": 2.2}), pipeline())
        assert (found.cause.operator, found.cause.kind) == (which, "waiting")
        assert found.cause.share == pytest.approx(2.2 / 11)
        assert found.waiting == pytest.approx(2.2 / 11)

    def test_who_computes_more_makes_others_wait(self):
        """Two cores, one more second of computing: the neighbours' tasks stand in line for it."""
        found = attribute(pipeline(M_cpu=2.0, R_wait=3.0), pipeline())
        assert (found.cause.operator, found.cause.kind) == (CLASSIFY, "CPU")

    def test_waiting_that_no_computing_explains(self):
        found = attribute(pipeline(M_cpu=0.1, R_wait=3.0), pipeline())
        assert (found.cause.operator, found.cause.kind) == (READ, "waiting")

    def test_bytes_where_time_is_the_same(self):
        found = attribute(pipeline(M_bytes=9000), pipeline())
        assert found.changes[-1] == Change(CLASSIFY, "bytes", 9.0, 2.25)
        assert found.cause is None

    def test_nothing_grew(self):
        assert attribute(pipeline(), pipeline()).cause is None

    def test_seconds_rather_than_percent(self):
        before = rounds(Operator("Small", cpu_s=0.01), Operator("Big", cpu_s=10.0))
        now = rounds(Operator("Small", cpu_s=0.05), Operator("Big", cpu_s=12.0))
        assert attribute(now, before).cause.operator == "Big"

    @given(
        which=st.sampled_from([READ, CLASSIFY, WRITE]),
        kind=st.sampled_from(["cpu", "wait"]),
        noise=st.lists(st.floats(0.97, 1.03), min_size=8, max_size=8),
    )
    @LIGHT
    def test_a_fifth_of_the_whole_is_found_through_noise(self, which, kind, noise):
        (clean, *_) = pipeline(**{f"{which[0]}_{kind}": 2.2})
        noisy = [
            Operator(o.name, wall_s=o.wall_s * noise[2 * i], cpu_s=o.cpu_s * noise[2 * i + 1], bytes=o.bytes)
            for i, o in enumerate(clean.operators)
        ]
        found = attribute([make_round(rows=100, operators=noisy)], pipeline())
        assert found.cause.operator == which
        assert found.cause.kind == {"cpu": "CPU", "wait": "waiting"}[kind]


class TestFigures:
    def test_a_row(self):
        before, now = rounds(Operator("A", cpu_s=1.0)), rounds(Operator("A", cpu_s=3.0), rows=200)
        assert attribute(now, before).cause.own == pytest.approx(0.5)

    def test_medians_over_rounds(self):
        now = [make_round(rows=100, operators=[Operator("A", cpu_s=cpu)]) for cpu in (1.5, 1.5, 90.0)]
        assert attribute(now, rounds(Operator("A", cpu_s=1.0))).cause.own == pytest.approx(0.5)

    def test_a_name_that_stands_twice_is_added_up(self):
        now = rounds(Operator("A", cpu_s=1.0), Operator("A", cpu_s=2.0))
        before = rounds(Operator("A", cpu_s=1.0), Operator("A", cpu_s=1.0))
        assert attribute(now, before).cause.own == pytest.approx(0.5)

    def test_a_new_operator(self):
        found = attribute(
            rounds(Operator("A", cpu_s=1.0), Operator("New", cpu_s=0.5)), rounds(Operator("A", cpu_s=1.0))
        )
        assert found.new == ("New",)

    def test_one_that_went_is_not_a_change(self):
        before = rounds(Operator("A", cpu_s=1.0), Operator("Old", cpu_s=5.0))
        assert [c.operator for c in attribute(rounds(Operator("A", cpu_s=1.1)), before).changes] == ["A"]

    def test_no_waiting_without_wall_time(self):
        found = attribute(rounds(Operator("A", cpu_s=2.0)), rounds(Operator("A", cpu_s=1.0)))
        assert found.waiting is None

    def test_several_threads_do_not_wait(self):
        now = rounds(Operator("A", wall_s=2.0, cpu_s=3.9))
        assert attribute(now, rounds(Operator("A", wall_s=2.0, cpu_s=3.5))).waiting == 0

    def test_a_figure_that_one_round_lacks_is_not_known(self):
        now = [*rounds(Operator("A", cpu_s=2.0), n=2), *rounds(Operator("A"), n=1)]
        assert attribute(now, rounds(Operator("A", cpu_s=1.0))) is None

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
        assert attribute(now, before) is None

    def test_no_rows(self):
        none = [make_round(rows=0, throughput=None, operators=(Operator("A", cpu_s=1.0),))]
        assert attribute(none, none).cause is None


class TestTell:
    def test_the_operator_that_grew_comes_first(self):
        text = tell(attribute(pipeline(M_cpu=1.5), pipeline()))
        assert text == (
            "MapBatches(Classifier) +25% CPU (+15% of the whole); ReadImage unchanged; "
            "FlatMap(tile) unchanged; Write unchanged; waiting +0%"
        )

    def test_one_operator_is_the_whole(self):
        text = tell(attribute(rounds(Operator("A", cpu_s=20.0)), rounds(Operator("A", cpu_s=1.0))))
        assert text == "A +1900% CPU"
        text = tell(attribute(rounds(Operator("A", cpu_s=2.0)), rounds(Operator("A", cpu_s=1.0))))
        assert text == "A +100% CPU"

    def test_waiting(self):
        text = tell(attribute(pipeline(R_wait=3.3), pipeline()))
        assert text.startswith("ReadImage over 10x the waiting (+30% of the whole); ")
        assert text.endswith("; waiting +30%")

    def test_what_was_not_there_before(self):
        """It has no proportion to nothing, and is not unchanged."""
        text = tell(
            attribute(
                rounds(Operator("A", cpu_s=1.0, wall_s=3.0)), rounds(Operator("A", cpu_s=1.0, wall_s=1.0))
            )
        )
        assert text == "A waiting from 0; waiting +200%"

    def test_new_ones(self):
        now = rounds(Operator("A", cpu_s=1.0), Operator("New", cpu_s=0.5))
        text = tell(attribute(now, rounds(Operator("A", cpu_s=1.0))))
        assert text == "New is new; A unchanged"

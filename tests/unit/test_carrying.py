"""What carries over from another machine's baseline."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import LIGHT, SOFTWARE, SUBJECT, make_reference, make_rounds
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.judging.carrying import carried, most_carried
from pytest_rayperf.judging.exact import judge_counters

NAMES = ("python", "ray", "torch", "torchvision", "numpy", "pillow", "pyarrow")
ALL = {"loads": 1, "udf_calls": 8, "bytes_written": 500, "files_written": 2}


def of(name="other.json", cores=2, software=SOFTWARE, subject=SUBJECT, counters=ALL):
    rounds = make_rounds(counters=counters)
    return replace(make_reference(rounds, name=name, software=software, subject=subject), cores=cores)


def counters(reference):
    return [dict(r.counters) for s in reference.sessions for r in s.rounds]


def carried_over(reference):
    """Whole, but for what its times say."""
    return replace(reference, elsewhere=True)


class TestCarried:
    @pytest.mark.parametrize(
        ("then", "now", "kept"),
        [(2, 2, ALL), (2, 8, {"loads": 1}), (2, None, {"loads": 1}), (None, None, {"loads": 1})],
    )
    def test_what_hangs_on_blocks_is_of_as_many_cores(self, then, now, kept):
        found = carried(of(cores=then), SOFTWARE, now)
        assert counters(found) == [kept] * 3
        assert counters(of()) == [ALL] * 3

    @pytest.mark.parametrize("name", NAMES)
    def test_with_other_software_nothing_does(self, name):
        assert carried(of(), {**SOFTWARE, name: "0.1"}, 2) is None
        assert carried(of(software={**SOFTWARE, name: "0.1"}), SOFTWARE, 2) is None

    def test_what_does_not_count_may_differ(self):
        assert carried(of(), {**SOFTWARE, "black": "1"}, 2) == carried_over(of())

    def test_the_sessions_of_the_same_software_do(self):
        old = of(software={"ray": "2.0"}, counters={"loads": 9}).sessions[0]
        mixed = replace(of(), sessions=(old, *of().sessions))
        assert carried(mixed, SOFTWARE, 2) == carried_over(of())

    def test_what_is_left_out_is_no_change(self):
        """It would be one from nothing, were it compared."""
        found = carried(of(), SOFTWARE, 8)
        assert judge_counters(make_rounds(counters={**ALL, "udf_calls": 32}), found) is None
        assert judge_counters(make_rounds(counters={**ALL, "loads": 2}), found).status == "regressed"


class TestMostCarried:
    def test_of_none(self):
        assert most_carried([], SUBJECT, SOFTWARE, 2) is None

    def test_as_many_cores_first(self):
        given = [of("a", 8), of("b", 2), of("c", 2)]
        assert most_carried(given, SUBJECT, SOFTWARE, 2) == carried_over(of("b", 2))
        assert most_carried(given, SUBJECT, SOFTWARE, 4).name == "a"

    def test_what_does_not_carry_over_is_passed_over(self):
        other = replace(SUBJECT, images=1)
        given = [of("a", subject=other), of("b", software={"ray": "2.0"}), of("c", 64)]
        assert most_carried(given, SUBJECT, SOFTWARE, 2).name == "c"
        assert most_carried(given[:2], SUBJECT, SOFTWARE, 2) is None

    @given(st.lists(st.sampled_from([1, 2, 4, None]), max_size=5), st.sampled_from([1, 2, 4]))
    @LIGHT
    def test_it_is_one_of_them(self, machines, cores):
        given = [of(str(i), one) for i, one in enumerate(machines)]
        found = most_carried(given, SUBJECT, SOFTWARE, cores)
        if cores in machines:
            assert found == carried_over(given[machines.index(cores)])
        else:
            assert (None if found is None else found.name) == (given[0].name if given else None)

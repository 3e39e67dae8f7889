"""What messages say of what rounds are compared with."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import FILE, make_reference

from pytest_rayperf.judging.reference import STALE
from pytest_rayperf.work.counts import Work


def test_a_baseline_can_be_accepted_and_updated():
    reference = make_reference()
    assert reference.is_kept
    assert reference.source == f"baseline {FILE}"
    assert reference.accept == "; accept with --rayperf-update-baselines"
    assert reference.update == f"; {STALE}"


def test_work_is_that_of_the_same_software_or_else_the_last():
    old, new = (Work((), {"ray": version}) for version in ("2.59", "2.60"))
    plain = make_reference()
    counted = (replace(plain.sessions[0], work=work) for work in (old, None, new))
    reference = replace(plain, sessions=tuple(counted))
    assert reference.work_with({"ray": "2.59"}) is old
    assert reference.work_with({"ray": "2.60"}) is new
    assert reference.work_with({"ray": "2.61"}) is new
    assert plain.work_with({"ray": "2.60"}) is None


@pytest.mark.parametrize(
    ("how", "source", "is_kept"),
    [
        ("beside", f"{FILE}, measured beside it", False),
        ("a_run", f"against {FILE}", False),
        ("accepting", f"baseline {FILE}", True),
    ],
)
def test_where_there_is_nothing_to_do_nothing_is_said(how, source, is_kept):
    reference = replace(make_reference(), **{how: True})
    assert (reference.source, reference.is_kept) == (source, is_kept)
    assert (reference.accept, reference.update) == ("", "")

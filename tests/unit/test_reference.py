"""What messages say of what rounds are compared with."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import FILE, make_reference

from pytest_rayperf.judging.reference import STALE


def test_a_baseline_can_be_accepted_and_updated():
    reference = make_reference()
    assert reference.is_kept
    assert reference.source == f"baseline {FILE}"
    assert reference.accept == "; accept with --rayperf-update-baselines"
    assert reference.update == f"; {STALE}"


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

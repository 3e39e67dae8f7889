"""What is read back from a file can be shown in every format, whatever is wrong with the file."""

from __future__ import annotations

import json

import pytest
from builders import LIGHT
from hypothesis import given, settings
from mutated import contract_alone, mutations_of
from reported import FULL, full_run, report_of
from test_rejudging import compared, fits
from test_report_schema import SELFTEST

from pytest_rayperf.commands.showing import FORMATS, as_text
from pytest_rayperf.reports import html
from pytest_rayperf.reports import json as json_report
from pytest_rayperf.reports.schema import conform

WHOLE = json.loads(json_report.render(report_of(full_run(selftests=(SELFTEST,)))))
CONTRACT = contract_alone(WHOLE)


def shown(report):
    """In every format, as one text."""
    return "".join(as_text(report, form) for form in FORMATS)


@given(mutations_of(WHOLE))
@settings(LIGHT, max_examples=150)
def test_whatever_is_changed_it_is_shown_or_refused(changed):
    read = fits(changed.made())
    assert read is None or shown(read)


@given(mutations_of(CONTRACT))
@settings(LIGHT, max_examples=50)
def test_of_the_contract_alone_too(changed):
    read = fits(changed.made())
    assert read is None or shown(read)


@pytest.mark.parametrize("whole", [WHOLE, CONTRACT], ids=["whole", "contract"])
def test_as_html_too(whole):
    @given(mutations_of(whole))
    @settings(LIGHT, max_examples=60)
    def show(changed):
        read = fits(changed.made())
        assert read is None or "<html" in html.render(read, None)

    show()


@pytest.mark.parametrize("old", [WHOLE, CONTRACT], ids=["whole", "contract"])
@pytest.mark.parametrize("new", [WHOLE, CONTRACT], ids=["whole", "contract"])
def test_a_comparison_is_shown_as_a_run_is(old, new):
    result = compared(conform(old), conform(new))
    assert "old.json" in shown(result)


def test_the_summary_is_the_same_as_that_of_the_run_itself():
    assert as_text(conform(json.loads(json_report.render(FULL))), "table") == as_text(FULL, "table")

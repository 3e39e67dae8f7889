"""What the end of a test makes of what it has measured: a failure, a baseline, or neither."""

from __future__ import annotations

import pytest

from pytest_rayperf.errors import RayperfWarning
from pytest_rayperf.resources import Resources, is_performance_test

_passed_key = pytest.StashKey[bool]()


def check(resources: Resources, item: pytest.Item) -> None:
    """A test has passed: so must what it has measured, and it must have measured something.

    Raises:
        GateFailure: a verdict that the test has kept to itself fails it.
    """
    if not _measures(resources, item):
        return
    resources.record().enforce_all()
    item.stash[_passed_key] = True
    fixture = getattr(item, "funcargs", {}).get("rayperf")
    if not getattr(fixture, "used", True):  # one of the user's own may stand before it
        text = f"{item.nodeid} measured nothing: it did not call its fixture `rayperf`"
        item.warn(RayperfWarning(text))


def settle(resources: Resources, item: pytest.Item, *, torn_down: bool) -> None:
    """A test is over: what it has measured is a baseline, where that was asked for, or none.

    Raises:
        BaselineError: a baseline cannot be written.
    """
    if not _measures(resources, item):
        return
    if torn_down and item.stash.get(_passed_key, False):
        resources.record().accept()
    else:
        resources.record().reject()
    item.stash[_passed_key] = False  # it may be run again


def _measures(resources: Resources, item: pytest.Item) -> bool:
    known = resources.record.cache_info().currsize > 0
    return resources.options.active and resources.server is None and known and is_performance_test(item)

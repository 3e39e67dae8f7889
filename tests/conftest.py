"""How the tests share two processes (`pytest -n 2 --dist loadgroup tests`)."""

from __future__ import annotations

from pathlib import Path

import pytest

ON_RAY = Path(__file__).parent / "integration"


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in a hook of that name
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """All that start Ray one after another in one process, and files whole in the other.

    A cluster more would take the cores from the first one, and some tests look for processes that are left.
    """
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        group = "ray" if ON_RAY in item.path.parents else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))

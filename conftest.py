"""For the repository's own tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_rayperf.options import is_active

pytest_plugins = ["pytester"]  # runs pytest inside a test


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --rayperf leave the plugin's own tests alone: they need packages that measuring does not."""
    own = Path(__file__).parent / "tests"
    return True if is_active(config) and (collection_path == own or own in collection_path.parents) else None

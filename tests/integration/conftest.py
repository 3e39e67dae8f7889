"""Tests on a real Ray: an inner pytest, in a process of its own, starts it and shuts it down."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real photographs and weights, where they are."""
    if not SHARED.is_dir():
        pytest.skip(f"no real photographs and weights at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of images and checkpoints for all inner runs."""
    return tmp_path_factory.mktemp("rayperf-cache")


@pytest.fixture(autouse=True)
def _inner_environment(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, shared_cache: Path
) -> None:
    monkeypatch.setenv("RAYPERF_CACHE_DIR", str(shared_cache))
    pytester.makeini("[pytest]\nfilterwarnings = error\n")

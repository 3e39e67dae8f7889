"""Tests on a real Ray: an inner pytest, in a process of its own, starts it and shuts it down."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# The makers of runs and reports that the unit tests share: `reported`, `page`, ...
sys.path.append(str(Path(__file__).parents[1] / "unit"))

WHATEVER_ELSE_RUNS = """
    import math
    from functools import partial, partialmethod

    def pytest_configure():
        from pytest_rayperf import watch
        from pytest_rayperf.harness import session
        from pytest_rayperf.monitors.disturbance_limits import Limits

        none = Limits(math.inf, math.inf, math.inf, 0.0, math.inf, math.inf)
        watch.watch_disturbances = partial(watch.watch_disturbances, limits=none)
        laps_of_two = partial(session.probe, 2)
        session.RunRecord.__init__ = partialmethod(session.RunRecord.__init__, probe=laps_of_two)
"""
"""What the inner runs find of rounds is asked here, and none of it how long they took. On a busy machine each
would be measured four times, and nothing of it become a baseline; tests/unit/test_disturbance.py has that.
So a lap of fixed work need not be sure of its time either; whole ones took a fifth of two tests' time."""

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
    pytester.makeconftest(WHATEVER_ELSE_RUNS)
    pytester.makeini("[pytest]\nfilterwarnings = error\n")


@pytest.fixture
def run_script(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Runs a script in a process of its own: each of its asserts must hold, and its last line be "held"."""
    # Not Ray's own folder: there a cluster of several nodes leaves its address, to which every `ray.init()`
    # of this machine would attach. Nor pytest's: the path of a Unix socket has a hundred characters.
    folder = tempfile.mkdtemp(prefix="rp")
    monkeypatch.setenv("RAY_TMPDIR", folder)

    def run(text: str) -> None:
        path = pytester.path / "script.py"
        path.write_text(text)
        result = pytester.run(sys.executable, "-W", "ignore", path, timeout=240)
        assert result.ret == 0, result.stderr.str()
        assert result.outlines[-1] == "held"

    yield run
    shutil.rmtree(folder, ignore_errors=True)

"""Both sides of --rayperf-against on a real Ray each."""

from __future__ import annotations

import json
import os
import subprocess

import psutil
import pytest

pytestmark = pytest.mark.integration

MINE = """
from pytest_rayperf import count

CALLS = {calls}


class Twice:
    def __call__(self, batch):
        count("lookups", CALLS)
        return {{"id": batch["id"] * 2}}
"""

SUITE = """
    import mine

    def twice():
        import ray.data
        from ray.data import ActorPoolStrategy

        rows = ray.data.range(64, override_num_blocks=4)
        return rows.map_batches(mine.Twice, batch_size=16, compute=ActorPoolStrategy(size=1))

    def test_twice(rayperf):
        result = rayperf(twice, expected_rows=64, rounds=3)
        assert result.counters["rows"] == 64
"""


def test_each_side_runs_its_own_code_and_nothing_of_the_far_one_stays(pytester: pytest.Pytester) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=pytester.path, check=True, capture_output=True, text=True
        )
        return done.stdout

    pytester.makepyfile(test_it=SUITE, mine=MINE.format(calls=1))
    git("init")
    git("add", "--all")
    git("commit", "-m", "one look-up a batch")
    pytester.makepyfile(mine=MINE.format(calls=3))
    options = ["--rayperf", "--rayperf-against=HEAD", "--rayperf-json=run.json", "-p", "no:cacheprovider"]
    result = pytester.runpytest_subprocess(*options, timeout=240)
    assert result.ret == 1, result.stdout.str()
    result.stdout.fnmatch_lines(["regressed: lookups 4 -> 12 a round (exact); HEAD (*), measured beside it"])
    (benchmark,) = json.loads((pytester.path / "run.json").read_text())["benchmarks"]
    assert len(benchmark["rounds"]["throughput"]) == len(benchmark["then"]["rounds"]["throughput"]) == 3
    assert all(benchmark["then"]["rounds"]["worker_cpu_seconds"]), "measured there as here"
    assert [o["name"] for o in benchmark["then"]["operators"]] == [o["name"] for o in benchmark["operators"]]
    assert git("worktree", "list").count("\n") == 1
    assert [process for process in psutil.process_iter() if of_the_far_side(process)] == []


def of_the_far_side(process: psutil.Process) -> bool:
    """Of this test's, for others may run beside it."""
    try:
        environment = process.environ()
    except psutil.Error:
        return False
    ours = environment.get("RAYPERF_CACHE_DIR") == os.environ["RAYPERF_CACHE_DIR"]
    return ours and "rayperf-far-" in environment.get("PYTHONPATH", "")

"""Rounds that would not end, and clusters that a test has ended: what comes after goes on."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.integration

IMPATIENT = """
    def pytest_configure():
        from pytest_rayperf import watchdog

        # A worker that died takes its CPU time along, and two for each CPU must die before this is over.
        watchdog.LEAST_PATIENCE_S = 12.0
        watchdog.MOST_LOSSES, watchdog._LOOK_AT_LOSSES_S = 2, 0.5
"""

TESTS = """
    import os
    import signal
    import time

    import ray
    import ray.data


    def rows(udf):
        return ray.data.range(40, override_num_blocks=4).map_batches(udf, batch_size=10)


    def same(batch):
        return batch


    def sleeps(batch):
        time.sleep(3600)


    def kills(batch):
        os.kill(os.getpid(), signal.SIGKILL)


    def test_sleeps(rayperf):
        rayperf(lambda: rows(sleeps))


    def test_after_it(rayperf):
        assert rayperf(lambda: rows(same)).counters == {"rows": 40, "udf_calls": 4}


    def test_kills(rayperf):
        rayperf(lambda: rows(kills))


    def test_shuts_down(rayperf):
        ray.shutdown()
        assert rayperf(lambda: rows(same)).counters["rows"] == 40


    def test_starts_its_own(rayperf):
        ray.shutdown()
        ray.init(address="local", include_dashboard=False)
        rayperf(lambda: rows(same))


    def test_negative(rayperf):
        ray.shutdown()
        rayperf(lambda: -1)


    def test_executed_before(rayperf):
        dataset = rows(same).materialize()
        result = rayperf(lambda: dataset)
        assert [round_.operators for round_ in result.rounds] == [()] * len(result.rounds)
"""


def test_each_is_ended_with_its_reason_and_the_next_goes_on(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeconftest(IMPATIENT)
    pytester.makeini("[pytest]\n")  # Ray warns of its own shutdown
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess(
        "--rayperf", "-p", "no:cacheprovider", "--rayperf-max-time=1", timeout=300
    )
    text = result.stdout.str()
    result.assert_outcomes(passed=3, failed=4)
    result.stdout.fnmatch_lines_random(
        [
            "RoundStuckError: nothing has moved for *",
            "RoundStuckError: * workers died one after another, *",
            "ClusterLostError: Ray was ended in this process, and a test or a fixture has started *",
            "PipelineError: the pipeline returned -1; a write returns how many rows it wrote",
            "Ray was started anew after a round that was ended: what tests had put into it is gone",
            "Ray was ended in the middle of the run (*), and started anew",
            "a pipeline executed nothing: the dataset that it returned was materialized before, or is of *",
        ]
    )
    assert "Traceback" not in text


def test_workers_import_what_the_tests_import(pytester: pytest.Pytester) -> None:
    """A class by its name: pytest's `pythonpath`, and a helper beside the test."""
    pytester.makeini("[pytest]\nfilterwarnings = error\npythonpath = src\n")
    (pytester.mkdir("src") / "own_package.py").write_text(
        "class Same:\n    def __call__(self, b): return b\n"
    )
    folder = pytester.mkdir("tests")
    (folder / "helper.py").write_text("def same(batch): return batch\n")
    (folder / "test_it.py").write_text(
        """
import ray.data
from helper import same
from own_package import Same


def pipeline():
    data = ray.data.range(40).map_batches(same)
    return data.map_batches(Same, compute=ray.data.ActorPoolStrategy(size=1))


def test_pipe(rayperf):
    assert rayperf(pipeline).counters["rows"] == 40
"""
    )
    result = pytester.runpytest_subprocess("--rayperf", "-p", "no:cacheprovider", "--rayperf-max-rounds", "3")
    result.assert_outcomes(passed=1)

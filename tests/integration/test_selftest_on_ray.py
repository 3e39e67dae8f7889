"""What the self-test puts into a pipeline, on a real Ray: as much as it says, and nothing else."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.integration


def test_what_is_put_in_shows_and_the_outputs_stay(pytester: pytest.Pytester) -> None:
    """CPU seconds are the kernel's, and at least what was put in; no wall time is looked at."""
    pytester.makepyfile("""
        import numpy as np
        import pytest
        import ray
        from ray.data import ActorPoolStrategy

        from pytest_rayperf.udfs.faults import Fault, heaviest

        class Plus:
            def __call__(self, batch):
                np.linalg.svd(np.random.default_rng(0).random((60, 60)))
                yield {"id": batch["id"] + 1}

        def as_it_is(batch):
            return batch

        def pipeline():
            return (
                ray.data.range(64, override_num_blocks=4)
                .map_batches(as_it_is, batch_size=8)
                .map_batches(Plus, batch_size=8, compute=ActorPoolStrategy(size=1))
            )

        def execute(executor, pipeline):
            return executor.run(pipeline, keep_outputs=True, on_rows=lambda rows: None)

        @pytest.mark.filterwarnings("ignore::pytest_rayperf.errors.RayperfWarning")
        def test_put_in(_rayperf_executor, rayperf):
            plain = execute(_rayperf_executor, pipeline)
            calls = heaviest([plain.round])
            assert (calls.udf, calls.count) == ("Plus", 8)
            for udf in ("Plus", "as_it_is"):
                slower = _rayperf_executor.slowed(pipeline, Fault("CPU", udf, 0.1))
                slowed = execute(_rayperf_executor, slower)
                assert sorted(slowed.outputs["id"]) == sorted(plain.outputs["id"]) == list(range(1, 65))
                assert [o.name for o in slowed.round.operators] == [o.name for o in plain.round.operators]
                assert [c.udf for c in slowed.round.calls].count("Plus") == 8
                assert sum(o.cpu_s for o in slowed.round.operators if udf in o.name) >= 8 * 0.1
                assert slowed.round.cpu_seconds_per_row * 64 >= 0.8
                in_calls = sum(c.seconds for c in slowed.round.calls if c.udf == udf)
                assert in_calls >= 0.8  # what is put in is within what is timed
            assert ray.data.Dataset.map_batches.__module__.startswith("ray.")
    """)
    result = pytester.runpytest_subprocess("--rayperf", "-p", "no:cacheprovider", timeout=120)
    result.assert_outcomes(passed=1)

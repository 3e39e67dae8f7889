"""Work counted on a real Ray: each test is a script of its own, for Ray starts once a process."""

from __future__ import annotations

import shutil
import sys
import tempfile
import textwrap

import pytest

pytestmark = pytest.mark.integration

START = """
import threading
import numpy as np
import ray
from pytest_rayperf import count
from pytest_rayperf.work.comparison import compare_work, software_differences
from pytest_rayperf.work.counts import WorkUncountable
from pytest_rayperf.work.single_pass import KeptProcess, count_work

ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
ray.data.DataContext.get_current().enable_progress_bars = False


def uncountable(pipeline, text):
    try:
        count_work(pipeline)
    except WorkUncountable as error:
        assert text in str(error), error
    else:
        raise AssertionError("it was counted")
"""

END = "\nray.shutdown()\nprint('held')\n"


@pytest.fixture
def holds(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Run a script in a process of its own; each of its asserts must hold."""
    # Neither Ray's own folder nor pytest's, as in test_counters_on_ray.py.
    folder = tempfile.mkdtemp(prefix="rp")
    monkeypatch.setenv("RAY_TMPDIR", folder)

    def run(body: str) -> None:
        path = pytester.path / "script.py"
        path.write_text(START + textwrap.dedent(body) + END)
        result = pytester.run(sys.executable, "-W", "ignore", path, timeout=400)
        assert result.ret == 0, result.stderr.str()
        assert result.outlines[-1] == "held"

    yield run
    shutil.rmtree(folder, ignore_errors=True)


def test_a_pipeline_of_images(holds) -> None:
    holds(
        """
        import pathlib
        import time
        from time import sleep
        import torch
        from PIL import Image

        folder = pathlib.Path("images").resolve()
        folder.mkdir()
        for i in range(40):
            Image.fromarray(np.full((10 + i, 10, 3), i, dtype=np.uint8)).save(folder / f"{i:02}.png")
        sizes = [path.stat().st_size for path in sorted(folder.iterdir())]


        def shrink(row):
            return {"image": row["image"][:10, :10]}


        class Classify:
            def __init__(self, width):
                self.layer = torch.nn.Linear(300, width)
                count("model_loads")
                time.sleep(0.001)

            def __call__(self, batch, pause=time.sleep):
                count("batches")
                sleep(0.0015)
                pause(0.0005)
                with torch.inference_mode():
                    inputs = torch.from_numpy(batch["image"]).reshape(-1, 300).float()
                    return {"label": self.layer(inputs).argmax(dim=1).numpy()}


        def pipeline(width=5, blocks=-1):
            return (
                ray.data.read_images(str(folder), override_num_blocks=None if blocks < 0 else blocks)
                .map(shrink)
                .map_batches(
                    Classify,
                    fn_constructor_args=(width,),
                    batch_size=12,
                    compute=ray.data.ActorPoolStrategy(size=1),
                )
            )


        work = count_work(pipeline)
        read, small, classify = work.operators
        assert [o.name for o in work.operators] == ["ReadImage", "Map(shrink)", "MapBatches(Classify)"]
        assert [o.rows for o in work.operators] == [24, 24, 24]  # two batches
        assert read.counts["files_opened"] == 24, read.counts
        assert read.counts.get("bytes_read", sum(sizes[:24])) == sum(sizes[:24]), read.counts
        assert small.direct == {"__main__.shrink": 24}, small.direct
        assert classify.construction["model_loads"] == 1
        assert "model_loads" not in classify.counts
        assert classify.counts["batches"] == 2
        assert [o.counts["slept_microseconds"] for o in work.operators] == [0, 0, 4000]
        assert classify.construction["slept_microseconds"] == 1000
        assert classify.counts["flops"] == 2 * 24 * 300 * 5
        assert classify.direct["__main__.Classify.__call__"] == 2
        assert classify.direct["torch.nn.modules.module.Module._wrapped_call_impl"] == 2, classify.direct
        for operator in work.operators:
            assert operator.counts["python_calls"] > 0
        assert work.undetermined == (), work.undetermined
        assert {"python", "ray", "torch", "numpy", "machine"} <= set(work.software)

        # Neither how many blocks there are, which Ray Data takes from the CPUs, nor the repetition matter.
        kept = KeptProcess()
        assert compare_work(kept.count_work(lambda: pipeline(blocks=7)), work) == ()
        changes = compare_work(kept.count_work(lambda: pipeline(width=6)), work)
        kept.close()
        assert {(c.operator, c.regression) for c in changes} == {("MapBatches(Classify)", True)}
        assert any(c.counter == "flops" and c.ratio == 1.2 for c in changes), changes
        """
    )


def test_other_operators(holds) -> None:
    holds(
        """
        def twice(row):
            return [row, row]

        def even(row):
            return row["id"] % 2 == 0

        def copy(batch):
            return {"id": batch["id"].copy(), "wide": np.zeros((len(batch["id"]), 1000), dtype=np.uint8)}

        def pipeline():
            return ray.data.range(100).flat_map(twice).filter(even).map_batches(copy).map_batches(copy)

        work = count_work(pipeline)
        names = [o.name for o in work.operators]
        assert names == [
            "ReadRange", "FlatMap(twice)", "Filter(even)", "MapBatches(copy)", "MapBatches(copy) #2"
        ], names
        assert [o.rows for o in work.operators] == [16, 16, 32, 16, 16]
        assert work.operators[3].counts["allocated_bytes"] >= 16 * 1008
        assert work.operators[3].construction == {}
        assert work.undetermined == (), work.undetermined

        def limited():
            return ray.data.range(100).map(lambda row: row).limit(5).map(lambda row: row)

        limited = count_work(limited, repeats=1)
        assert limited.operators[-1].rows == 5, limited

        taken = [{"a": i} for i in range(50)]
        work = count_work(lambda: ray.data.from_items(taken).map(lambda row: row), repeats=1, max_rows=20)
        assert [o.rows for o in work.operators] == [16]

        ray.data.range(50).write_parquet("parquet")
        work = count_work(lambda: ray.data.read_parquet("parquet").map(lambda row: row), repeats=1)
        assert work.operators[-1].rows == 16, work.operators
        """
    )


def test_larger_batches_over_the_same_rows_are_not_more_work(holds) -> None:
    holds(
        """
        def same(batch):
            return batch

        def pipeline(size):
            return ray.data.range(100).map_batches(same, batch_size=size)

        kept = KeptProcess()
        then = kept.count_work(lambda: pipeline(8))
        assert then.rows == 16
        for size in (16, 64):
            now = kept.count_work(lambda: pipeline(size), rows=then.rows)
            assert now.rows == 16
            changes = compare_work(now, then)
            assert not [c for c in changes if c.regression], changes
            assert {c.operator for c in changes} <= {"MapBatches(same)"}, changes
        changes = compare_work(count_work(lambda: pipeline(2), repeats=1, rows=then.rows), then)
        assert {c.operator for c in changes if c.gates and c.regression} == {"MapBatches(same)"}, changes

        # Asked for as many rows as there are, a read does not come to its end.
        def short():
            return ray.data.range(10).map_batches(same, batch_size=16)

        whole = count_work(short, repeats=1)
        assert whole.rows == 10
        assert compare_work(kept.count_work(short), whole) == ()
        kept.close()
        """
    )


def test_what_cannot_be_counted(holds) -> None:
    holds(
        """
        class Later:
            async def __call__(self, batch):
                yield batch

        rows = ray.data.range(100)
        uncountable(lambda: rows.sort("id"), "needs all rows at once")
        uncountable(lambda: rows.random_shuffle(), "needs all rows at once")
        uncountable(lambda: rows.groupby("id").count(), "needs all rows at once")
        uncountable(lambda: rows.union(rows), "joins several datasets")
        uncountable(lambda: rows.count(), "it has executed already")
        uncountable(
            lambda: rows.map_batches(Later, compute=ray.data.ActorPoolStrategy(size=1)), "asynchronous UDF"
        )

        def fails(row):
            raise ValueError("not a number")

        try:
            count_work(lambda: rows.map(fails))
            raise AssertionError("it was counted")
        except ray.exceptions.RayError as error:
            assert "not a number" in str(error), error
        """
    )


def test_what_is_not_determined_is_left_out_and_named(holds) -> None:
    holds(
        """
        from concurrent.futures import ThreadPoolExecutor

        def one():
            return 1

        class Varies:
            def __call__(self, batch):
                # Two processes never have the same number, and the second is not the first's.
                for _ in range(ray.get(number.next.remote())):
                    one()
                return batch

        @ray.remote(num_cpus=0)
        class Number:
            now = 0

            def next(self):
                self.now += 1
                return self.now

        class Pool:
            def __init__(self):
                self.pool = ThreadPoolExecutor(2)

            def __call__(self, batch):
                count("batches")
                list(self.pool.map(np.sum, [batch["id"]] * 4))
                return batch

        number = Number.remote()
        pool = ray.data.ActorPoolStrategy(size=1)
        work = count_work(
            lambda: ray.data.range(100).map_batches(Varies, compute=pool).map_batches(Pool, compute=pool)
        )
        varies, threads = work.operators[1:]
        assert "python_calls" not in varies.counts
        assert varies.counts["files_opened"] == 0
        assert any("MapBatches(Varies): python_calls: " in note for note in work.undetermined), work
        assert set(threads.counts) == {"batches"}, threads
        assert any("MapBatches(Pool): flops: it has threads" in note for note in work.undetermined), work
        """
    )


def test_a_rounds_counts_stay_its_own(holds) -> None:
    holds(
        """
        from pytest_rayperf.tally import Tally

        def counts(row):
            count("rows_seen")
            return row

        tally = Tally.start()
        work = count_work(lambda: ray.data.range(100).map(counts), repeats=1)
        assert work.operators[-1].counts["rows_seen"] == 16
        assert tally.take() == {}
        tally.close()
        """
    )


def test_a_gpu_is_given_back_once_the_work_is_counted(holds) -> None:
    holds(
        """
        import time
        from ray.data import ActorPoolStrategy

        ray.shutdown()
        ray.init("local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)


        class Double:
            def __call__(self, batch):
                return {"id": batch["id"] * 2}


        def doubled(**resources):
            pool = ActorPoolStrategy(size=1)
            return ray.data.range(32).map_batches(Double, batch_size=8, compute=pool, **resources)


        kept = KeptProcess()
        plain = kept.count_work(doubled)
        work = kept.count_work(lambda: doubled(num_gpus=1))
        assert software_differences(work, plain) == ("device none -> gpu",)

        deadline = time.monotonic() + 60
        while ray.available_resources().get("GPU", 0) < 1:
            assert time.monotonic() < deadline, "the only GPU is kept by the process that counts"
            time.sleep(0.1)
        """
    )

"""A round's figures on a real Ray, beside what the pipeline and the kernel say of the same."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.integration

PIPELINE = """
    import resource

    import numpy as np
    import ray
    from ray.data import ActorPoolStrategy

    from pytest_rayperf import count

    def microseconds():
        used = resource.getrusage(resource.RUSAGE_SELF)
        return int(1e6 * (used.ru_utime + used.ru_stime))

    class Multiply:
        def __init__(self):
            self.first = None

        def __call__(self, batch):
            before = microseconds()
            if self.first is None:
                self.first = before
                self.told = before
            matrix = np.random.default_rng(0).random((300, 300))
            for _ in range(20):
                matrix = matrix @ matrix
                matrix /= matrix.max()
            made = {"id": batch["id"], "features": np.zeros((len(batch["id"]), 500)) + matrix[0, 0]}
            after = microseconds()
            count("rows_out", len(made["id"]))
            count("bytes_out", sum(column.nbytes for column in made.values()))
            count("cpu_of_calls", after - before)
            count("cpu_of_the_worker", after - self.told)  # since the first call began
            self.told = after
            return made

    def small(batch):
        count("rows_in", len(batch["id"]))
        count("bytes_in", sum(column.nbytes for column in batch.values()))
        return {"id": batch["id"]}

    def pipeline():
        return (
            ray.data.range(400, override_num_blocks=4)
            .map_batches(Multiply, batch_size=50, compute=ActorPoolStrategy(size=1))
            .map_batches(small, batch_size=None)
        )
"""


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess(
        "--rayperf", "-p", "no:cacheprovider", "--rayperf-max-rounds", "3", *arguments
    )


def test_the_operators_figures_are_what_the_functions_counted(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        PIPELINE
        + """
    import os
    import sys

    import pytest

    from pytest_rayperf.limits import usable_cores

    def test_figures(rayperf):
        used = []
        for round_ in rayperf(pipeline, expected_rows=400).rounds:
            read, multiply, last = round_.operators
            assert [o.name for o in round_.operators] == [
                "ReadRange", "MapBatches(Multiply)", "MapBatches(small)"
            ]
            counted = round_.counters
            assert counted["rows_out"] == multiply.rows == counted["rows_in"] == last.rows == 400
            # Arrow's columns have little of their own beside the values.
            assert counted["bytes_out"] <= multiply.bytes <= 1.02 * counted["bytes_out"]
            assert counted["bytes_in"] <= last.bytes_in <= 1.02 * counted["bytes_in"]
            assert multiply.bytes_in == read.bytes
            assert multiply.tasks == read.tasks == 4
            assert read.blocks == 4
            # Inside the operator's time: the calls. Outside of it: all that the process did meanwhile.
            assert counted["cpu_of_calls"] / 1e6 <= multiply.cpu_s + 0.02
            assert multiply.cpu_s <= counted["cpu_of_the_worker"] / 1e6 + 0.5
            assert (multiply.actors, read.actors) == (1, None)
            assert 0 < multiply.actor_utilization <= 1
            for operator in round_.operators:
                assert operator.backpressure_s >= 0
            assert 0 < round_.metric("startup_seconds") < round_.wall_seconds
            assert round_.metric("steady_throughput") > 0
            assert round_.metric("worker_cpu_seconds") > 0
            assert round_.metric("total_worker_memory") >= round_.peak_worker_memory
            assert round_.metric("driver_cpu_seconds") >= round_.metric("sampler_cpu_seconds") > 0
            busy = round_.utilization
            if busy is not None:
                used += [p for p in busy.cpu if p is not None]
                assert list(busy.seconds) == sorted(set(busy.seconds))
                assert 0 < busy.seconds[0] <= busy.seconds[-1] == pytest.approx(round_.wall_seconds)
                for points in (busy.cpu, busy.others, *busy.gpus.values()):
                    assert len(points) == len(busy.seconds) <= 120
                    assert all(p is None or 0 <= p <= 100 for p in points)
        if sys.platform == "linux" and usable_cores() == len(os.sched_getaffinity(0)):
            # Not known of every round: where a worker ended, of the last one's pool or of this one's.
            assert max(used) > 0
    """
    )
    run(pytester).assert_outcomes(passed=1)


def test_what_a_pipeline_that_executes_by_itself_did_is_heard_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        PIPELINE
        + """
    def test_write(rayperf, tmp_path):
        def write():
            folder = tmp_path / str(len(list(tmp_path.iterdir())))
            pipeline().write_parquet(str(folder))
            return 400

        for round_ in rayperf(write, expected_rows=400).rounds:
            assert [o.name for o in round_.operators] == [
                "ReadRange", "MapBatches(Multiply)", "MapBatches(small)->Write"
            ]
            assert round_.cpu_seconds_per_row > 0
            assert round_.operators[1].actors == 1

    def test_a_materialized_part_is_its_own_execution(rayperf):
        def two():
            materialized = ray.data.range(100, override_num_blocks=2).map_batches(small).materialize()
            return materialized.map_batches(small, batch_size=None)

        for round_ in rayperf(two, expected_rows=100).rounds:
            assert [o.name for o in round_.operators] == ["ReadRange->MapBatches(small)", "MapBatches(small)"]
            assert [o.rows for o in round_.operators] == [100, 100]
    """
    )
    run(pytester).assert_outcomes(passed=2)


def test_a_figure_that_is_not_the_operator_s_own_is_missing(pytester: pytest.Pytester) -> None:
    """CPU time of what computes for a second is a second, or not there."""
    pytester.makepyfile(
        """
    import time

    import pytest
    import ray

    def burn(rows):
        begin = time.process_time()
        while time.process_time() - begin < 0.5:
            pass
        return rows

    def keyed():
        rows = ray.data.range(40, override_num_blocks=2)
        return rows.map(lambda row: {"id": row["id"], "g": row["id"] % 2})

    SHUFFLES = {
        "by groups": lambda: keyed().groupby("g", num_partitions=2).map_groups(burn, batch_format="pandas"),
        "by keys": lambda: keyed().repartition(2, keys=["g"]).map_batches(burn, batch_size=None),
        "sorted": lambda: keyed().sort("id").map_batches(burn, batch_size=None),
        "random": lambda: keyed().random_shuffle().map_batches(burn, batch_size=None),
        "blocks": lambda: keyed().repartition(2).map_batches(burn, batch_size=None),
    }

    @pytest.mark.parametrize("how", SHUFFLES)
    def test_shuffle(rayperf, how):
        for round_ in rayperf(SHUFFLES[how], expected_rows=40).rounds:
            (burning,) = (one for one in round_.operators if "burn" in one.name)
            assert burning.rows == 40
            per_row = round_.cpu_seconds_per_row
            if how in ("random", "blocks") or "ShuffleReduce(" not in burning.name:
                assert burning.cpu_s >= 0.5
                assert 40 * per_row >= 0.5
            else:
                assert (burning.cpu_s, per_row) == (None, None)
    """
    )
    run(pytester).assert_outcomes(passed=5)


def test_what_was_written_is_what_lies_in_the_folders(pytester: pytest.Pytester) -> None:
    """By each of Ray Data's ways to write files: one file a block, several, one a row, in partitions."""
    pytester.makepyfile(
        """
    import numpy as np
    import pytest
    import ray

    from pytest_rayperf.errors import PipelineError

    WAYS = {
        "parquet": lambda ds, path: ds.write_parquet(path),
        "parquet by 4": lambda ds, path: ds.write_parquet(path, partition_cols=["kind"]),
        "json": lambda ds, path: ds.write_json(path),
        "csv": lambda ds, path: ds.write_csv(path),
        "numpy": lambda ds, path: ds.write_numpy(path, column="id"),
        "images": lambda ds, path: ds.map(picture).write_images(path, column="image"),
    }

    def picture(row):
        return {"image": np.full((8, 8, 3), row["id"], np.uint8)}

    @pytest.mark.parametrize("way", WAYS)
    def test_write(rayperf, tmp_path, way):
        folder = tmp_path / "appended to"

        def write():
            dataset = ray.data.range(12, override_num_blocks=3)
            dataset = dataset.map(lambda row: {**row, "kind": row["id"] % 4})
            WAYS[way](dataset, str(folder))
            return 12

        for round_ in rayperf(write, expected_rows=12).rounds:
            assert round_.counters["files_written"] in (3, 12)
        files = [f for f in folder.rglob("*") if f.is_file()]
        rounds = 4  # a warm-up and three
        assert round_.counters["files_written"] * rounds == len(files)
        assert round_.counters["bytes_written"] * rounds == sum(f.stat().st_size for f in files) > 0
        assert round_.metric("bytes_written") == round_.counters["bytes_written"]

    def test_other_rows_than_were_written(rayperf, tmp_path):
        def write(rows):
            ray.data.range(9).write_parquet(str(tmp_path / "out"))
            return rows

        with pytest.raises(PipelineError, match="returned 12, and Ray Data wrote 9 rows; "):
            rayperf(lambda: write(12), expected_rows=12)

    def test_rows_of_several_executions_are_the_pipeline_s_to_tell(rayperf, tmp_path):
        def read_and_write():
            rows = sum(len(batch["id"]) for batch in ray.data.range(12).iter_batches())
            ray.data.from_items([{"rows": rows}]).write_json(str(tmp_path / "summary"))
            return rows

        assert rayperf(read_and_write, expected_rows=12).counters["rows"] == 12

    def test_one_that_gives_its_rows_back(rayperf):
        result = rayperf(lambda: ray.data.range(12), expected_rows=12)
        assert not {"bytes_written", "files_written"} & set(result.counters)
    """
    )
    run(pytester).assert_outcomes(passed=9)


def test_spilled_bytes_are_what_lies_in_the_spill_folder(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
    import numpy as np
    import pytest
    import ray

    from pytest_rayperf.monitors.object_store import ObjectStoreMonitor, ray_object_store

    def large(batch):
        return {"x": np.zeros((len(batch["id"]), 1_000_000), np.uint8)}

    @pytest.mark.rayperf
    def test_spilling(ray_cluster):
        with ray_cluster.with_object_store(80 * 2**20):
            session = ray._private.worker.global_worker.node.get_session_dir_path()
            with ObjectStoreMonitor(ray_object_store) as store:
                held = ray.data.range(200, override_num_blocks=20).map_batches(large).materialize()
            from pathlib import Path

            files = [f for f in Path(session).glob("ray_spilled_objects*/*") if f.is_file()]
            spilled = store.summary()["spilled_bytes"]
            assert held.count() == 200
            assert spilled >= 200e6 - 80 * 2**20
            on_disk = sum(f.stat().st_size for f in files)
            assert 0.95 * spilled <= on_disk <= 1.05 * spilled
    """
    )
    run(pytester).assert_outcomes(passed=1)


def test_a_worker_that_is_killed_spoils_its_round(pytester: pytest.Pytester) -> None:
    """Ray starts another and the round ends well, only later: it is measured again, and is not slow."""
    pytester.makepyfile(
        """
    import os
    import signal
    from pathlib import Path

    import ray
    from ray.data import ActorPoolStrategy

    class Dies:
        def __init__(self, folder, at):
            self.folder, self.at = Path(folder), at

        def __call__(self, batch):
            if len(list(self.folder.glob("call*"))) in self.at:
                (self.folder / f"call{len(list(self.folder.glob('call*')))}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            (self.folder / f"call{len(list(self.folder.glob('call*')))}").touch()
            return batch

    def pipeline(folder, at):
        return ray.data.range(40, override_num_blocks=4).map_batches(
            Dies, batch_size=10, compute=ActorPoolStrategy(size=1), fn_constructor_args=(str(folder), at)
        )

    def test_once(rayperf, tmp_path):
        # 4 calls a round, and the fifth is the first of the first round that counts.
        result = rayperf(lambda: pipeline(tmp_path, (5,)), expected_rows=40)
        assert len(result.rounds) <= 3
        assert not any("lost" in r.disturbed for r in result.rounds)

    def test_a_worker_of_tasks(rayperf, tmp_path):
        def dies(batch):
            call = len(list(tmp_path.glob("call*")))
            (tmp_path / f"call{call}").touch()
            if call == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return batch

        def tasks():
            return ray.data.range(20, override_num_blocks=2).map_batches(dies, batch_size=10)

        rayperf(tasks, expected_rows=20)

    def test_over_and_over(rayperf, tmp_path):
        rayperf(lambda: pipeline(tmp_path, tuple(range(5, 99, 3))), expected_rows=40)
    """
    )
    result = run(pytester, "--rayperf-json", "report.json")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["WorkersLostError: worker * was lost: *; in 4 rounds of over_and_over"])
    once, tasks, over = json.loads((pytester.path / "report.json").read_text())["benchmarks"]
    for benchmark in (once, tasks):
        # The machine may have disturbed other rounds.
        assert len([reason for reason in benchmark["repeated"] if "was lost" in reason]) == 1
    assert over["verdict"]["status"] == "invalid"

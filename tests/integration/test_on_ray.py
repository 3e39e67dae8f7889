"""What only a real Ray can show. Verdicts here come from counters, rows and errors, never from times."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.integration

CHEAP = """
    import numpy as np
    import pytest

    class Double:
        def __call__(self, batch):
            from pytest_rayperf import count

            count("udf_calls")
            return {"id": batch["id"], "twice": batch["id"] * 2}

    def pipeline(rows=200, udf=Double, batch_size=50):
        import ray
        from ray.data import ActorPoolStrategy

        return ray.data.range(rows, override_num_blocks=2).map_batches(
            udf, batch_size=batch_size, compute=ActorPoolStrategy(size=1)
        )
"""


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess(
        "--rayperf", "-p", "no:cacheprovider", "--rayperf-max-rounds", "3", *arguments
    )


def test_rounds_have_rows_counters_operators_and_memory(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        CHEAP
        + """
    def test_single(rayperf):
        result = rayperf(pipeline, expected_rows=200)
        assert len(result.rounds) == 3
        for round_ in result.rounds:
            assert round_.all_counters() == {"rows": 200, "udf_calls": 4}
            assert round_.wall_seconds > 0
            assert round_.peak_worker_memory > 10e6
            names = [operator.name for operator in round_.operators]
            assert names == ["ReadRange", "MapBatches(Double)"]
            for operator in round_.operators:
                assert operator.rows == 200
                assert operator.tasks == 2
                assert operator.bytes >= 200 * 8
                assert operator.wall_s > 0
                assert operator.cpu_s > 0
        assert round_.operators[1].udf_s > 0

    def test_write(rayperf, tmp_path):
        def write():
            import ray

            folder = tmp_path / str(len(list(tmp_path.iterdir())))
            ray.data.range(100).write_parquet(str(folder))
            return 100

        result = rayperf(write, expected_rows=100)
        assert result.rounds[0].cpu_seconds_per_row > 0
        assert result.median("throughput") > 0

    def test_loses_rows(rayperf):
        rayperf(lambda: pipeline(rows=199), expected_rows=200)

    def test_not_a_dataset(rayperf):
        rayperf(lambda: "nothing")

    class Halve(Double):
        def __call__(self, batch):
            return {"id": batch["id"], "twice": np.where(batch["id"] == 77, 0, batch["id"] * 2)}

    @pytest.mark.parametrize("variant", ["antipattern", "fix"])
    def test_unequal(rayperf, variant):
        rayperf.duel(antipattern=lambda: pipeline(udf=Halve), fix=pipeline)

    @pytest.mark.parametrize("variant", ["antipattern", "fix"])
    def test_equal(rayperf, variant):
        duel = rayperf.duel(
            antipattern=lambda: pipeline(batch_size=10), fix=pipeline, metric="udf_calls",
            floors={"udf_calls": 5},
        )
        assert duel.duels[0].ratio.ratio == 5

    def test_raises(rayperf):
        def returns_list(batch):
            return [{"id": 1}]

        rayperf.raises(
            lambda: pipeline().map_batches(returns_list), ValueError,
            "Returning a list of objects from `map_batches` is not allowed",
        )

    def test_does_not_raise(rayperf):
        rayperf.raises(pipeline, ValueError, "Returning a list of objects")

    def test_breaks(rayperf):
        def breaks(batch):
            raise ZeroDivisionError("on purpose")

        rayperf(lambda: pipeline().map_batches(breaks))
    """
    )
    result = run(pytester, "--rayperf-json", "report.json")
    result.assert_outcomes(passed=5, failed=6)
    report = json.loads((pytester.path / "report.json").read_text())
    reasons = {b["id"].partition("::")[2]: b["verdict"]["reason"] for b in report["benchmarks"]}
    for test, reason in {
        "test_loses_rows": "invalid: 199 rows, expected 200",
        "test_not_a_dataset": "the pipeline returned str",
        "test_unequal[antipattern]": "column 'twice' differs in 1 of 200 rows",
        "test_unequal[fix]": "column 'twice' differs in 1 of 200 rows",
        "test_does_not_raise": "was not raised; the pipeline ran and gave 200 rows",
        "test_breaks": "on purpose",
    }.items():
        assert reason in reasons[test]
        assert reason in result.stdout.str()
    assert report["summary"]["invalid"] == 6
    unequal = [b for b in report["benchmarks"] if "test_unequal" in b["id"]]
    assert [b["rounds"]["throughput"] for b in unequal] == [[], []]  # wrong before it is timed
    equal = {duel["antipattern"]: duel["outputs_equal"] for duel in report["duels"]}
    assert equal == {"unequal": False, "equal": True}


def test_a_model_load_per_batch_is_a_regression_on_the_first_run(pytester: pytest.Pytester) -> None:
    source = """
    class Classify:
        def __init__(self, classifier):
            self.classifier = classifier
            self.model = classifier.load()

        def __call__(self, batch):
            model = {model}
            return {{"prediction": self.classifier.predict(model, batch["image"])}}

    def test_pipeline(rayperf, imagenette, classifier):
        from ray.data import ActorPoolStrategy

        result = rayperf(
            lambda: imagenette.read(override_num_blocks=2).map_batches(
                Classify, fn_constructor_args=(classifier,), batch_size=8,
                compute=ActorPoolStrategy(size=1),
            ),
            warm_ups=0,
        )
        assert result.counters["rows"] == imagenette.num_images == 16
    """
    pytester.makepyfile(source.format(model="self.model"))
    small = ("--rayperf-images", "16", "--rayperf-min-rounds", "1", "--rayperf-max-rounds", "1")
    run(pytester, *small, "--rayperf-update-baselines").assert_outcomes(passed=1)
    pytester.makepyfile(source.format(model="self.classifier.load()"))
    result = run(pytester, *small)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*regressed: model_loads 1 -> 3 a round (exact); baseline baselines/*"])


def test_the_fixed_pipeline_classifies_imagenette(pytester: pytest.Pytester, shared_data: Path) -> None:
    pytester.makepyfile(
        """
    from pathlib import Path

    import pytest

    class AmongTen:
        def __init__(self, classifier):
            from pytest_rayperf.models.classifier import IMAGENETTE_CLASSES

            self.transform = classifier.transform
            self.model = classifier.load()
            self.ten = list(IMAGENETTE_CLASSES.values())

        def __call__(self, batch):
            import torch

            with torch.inference_mode():
                inputs = self.transform(torch.from_numpy(batch["image"]).permute(0, 3, 1, 2))
                best = self.model(inputs)[:, self.ten].argmax(dim=1)
            return {"path": batch["path"], "class": [self.ten[i] for i in best]}

    @pytest.mark.rayperf
    def test_accuracy(ray_cluster, imagenette, classifier):
        from pytest_rayperf.models.classifier import IMAGENETTE_CLASSES
        from ray.data import ActorPoolStrategy

        rows = imagenette.read(override_num_blocks=2).map_batches(
            AmongTen, fn_constructor_args=(classifier,), batch_size=32, compute=ActorPoolStrategy(size=1)
        ).take_all()
        assert len(rows) == 117
        right = sum(IMAGENETTE_CLASSES[Path(row["path"]).parent.name] == row["class"] for row in rows)
        assert right / len(rows) > 0.9
    """
    )
    result = run(
        pytester,
        *("--rayperf-weights", str(shared_data / "weights/squeezenet1_0-deepcompression.pth")),
        *("--rayperf-model", "squeezenet1_0", "--rayperf-images", "117"),
        *("--rayperf-data", str(shared_data / "imagenette")),
    )
    result.assert_outcomes(passed=1)


def test_a_small_object_store_for_a_while(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        CHEAP
        + """
    MIB = 2**20

    class Fill(Double):
        def __call__(self, batch):
            super().__call__(batch)
            return {"x": np.ones((len(batch["id"]), 10 * MIB), dtype=np.uint8)}

    def materialized():
        return pipeline(rows=12, udf=Fill, batch_size=1).materialize()

    @pytest.fixture(scope="session")
    def size_before(ray_cluster):
        assert ray_cluster.starts == 1
        return ray_cluster.resources["object_store_memory"]

    def test_before(rayperf, size_before):
        assert rayperf(pipeline).counters["udf_calls"] == 4

    def test_small(rayperf, ray_cluster, size_before):
        import ray

        assert size_before > 80 * MIB
        raylets = ray_cluster.raylet_pids
        with ray_cluster.with_object_store(80 * MIB):
            assert ray.cluster_resources()["object_store_memory"] == 80 * MIB
            assert ray_cluster.resources["object_store_memory"] == 80 * MIB
            assert ray_cluster.starts == 2
            assert set(ray_cluster.raylet_pids).isdisjoint(raylets)
            result = rayperf(materialized, expected_rows=12)
        for round_ in result.rounds:
            assert round_.all_counters() == {"rows": 12, "udf_calls": 12}
            assert 0 < round_.metric("spilled_bytes") <= 1.05 * 120 * MIB
            assert round_.metric("object_store_written") == pytest.approx(120 * MIB, rel=0.05)
            assert 10 * MIB <= round_.metric("object_store_peak") <= 1.05 * 120 * MIB
            assert round_.metric("driver_memory_growth") >= 0
            assert round_.peak_worker_memory > 10e6

    def test_after(rayperf, ray_cluster, size_before):
        import ray

        assert ray_cluster.starts == 3
        assert ray.cluster_resources()["object_store_memory"] == ray_cluster.resources["object_store_memory"]
        assert ray_cluster.resources["object_store_memory"] == pytest.approx(size_before, rel=0.2)
        result = rayperf(pipeline)
        for round_ in result.rounds:
            assert round_.all_counters() == {"rows": 200, "udf_calls": 4}
            assert round_.metric("spilled_bytes") == 0
    """
    )
    result = run(pytester, "--rayperf-min-rounds", "2", "--rayperf-max-rounds", "2")
    result.assert_outcomes(passed=3)


def test_a_ladder_and_a_sweep(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        CHEAP
        + """
    class Greedy(Double):
        def __call__(self, batch):
            if len(batch["id"]) > 50:
                raise MemoryError("Unable to allocate 7 TiB")
            return super().__call__(batch)

    def at(batch_size):
        return lambda: pipeline(udf=Greedy, batch_size=batch_size)

    def test_ladder(rayperf):
        ladder = rayperf.ladder({"10": at(10), "50": at(50)}, metric="udf_calls", expected_rows=200)
        assert ladder.total.ratio == 5

    def test_sweep(rayperf):
        sweep = rayperf.sweep({"10": at(10), "50": at(50), "100": at(100)}, metric="udf_calls")
        assert [step.name for step in sweep.steps] == ["10", "50"]
        assert sweep.best == "50"
        assert sweep.ended == "out of memory at 100: MemoryError: Unable to allocate 7 TiB"
    """
    )
    result = run(pytester, "--rayperf-min-rounds", "1", "--rayperf-max-rounds", "1")
    result.assert_outcomes(passed=2)


def test_the_fixtures_work_by_hand(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
    def test_by_hand(ray_cluster, features, system_monitor, gpu_monitor):
        assert ray_cluster.started_here
        assert ray_cluster.num_cpus >= 1
        with system_monitor as m, gpu_monitor as g:
            rows = features.read().select_columns(["id"]).count()
        assert rows == features.num_rows
        assert m.summary()["samples"] >= 2
        if not gpu_monitor.available:
            assert g.summary()["gpu_utilization_mean"] is None
    """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_an_attached_cluster_is_left_running(pytester: pytest.Pytester) -> None:
    address_file = pytester.path / "address"
    script = pytester.makepyfile(
        start_cluster="""
        import sys, time
        import ray

        context = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        open(sys.argv[1], "w").write(context.address_info["gcs_address"])
        time.sleep(600)
    """
    )
    keeper = subprocess.Popen([sys.executable, "-W", "ignore", str(script), str(address_file)])
    try:
        address = _wait_for(lambda: address_file.read_text() if address_file.exists() else "")
        pytester.makepyfile(
            CHEAP
            + """
    def test_attached(rayperf, ray_cluster):
        assert not ray_cluster.started_here
        assert rayperf(pipeline).counters["udf_calls"] == 4
    """
        )
        run(pytester, "--rayperf-address", address, "-k", "attached").assert_outcomes(passed=1)
        raylets = [p for p in psutil.Process(keeper.pid).children(recursive=True) if p.name() == "raylet"]
        assert len(raylets) == 1
    finally:
        keeper.send_signal(signal.SIGTERM)
        keeper.wait(60)


def test_a_cluster_that_runs_already_is_not_taken_unasked(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile("""
        import pytest

        @pytest.mark.rayperf
        def test_own(ray_cluster):
            assert ray_cluster.started_here
    """)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # what `ray.init()` would attach to
    run(pytester).assert_outcomes(passed=1)


def test_no_cluster_at_the_address_is_a_usage_error(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(CHEAP + "\n    def test_it(rayperf): rayperf(pipeline)\n")
    result = run(pytester, "--rayperf-address", "127.0.0.1:1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["*--rayperf-address 127.0.0.1:1: no Ray cluster can be attached to there*"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_interrupted_in_a_round_it_prints_what_there_is_and_leaves_no_process(
    pytester: pytest.Pytester, number: signal.Signals
) -> None:
    """By Ctrl-C, impatiently, or by CI: the second and the third one do not stop the clearing up."""
    pytester.makepyfile(
        CHEAP
        + """
    from pathlib import Path

    class Hang(Double):
        def __call__(self, batch):
            import time

            marker = Path(MARKER)
            if len(list(marker.parent.glob("round*"))) >= 3:  # a warm-up, a round, and this one
                marker.touch()
                time.sleep(600)
            return super().__call__(batch)

    rounds = []

    def hanging():
        (Path(MARKER).parent / f"round{len(rounds)}").touch()
        rounds.append(1)
        return pipeline(udf=Hang)

    def test_hangs(rayperf):
        rayperf(hanging)
    """.replace("MARKER", repr(str(pytester.path / "hanging")))
    )
    # As in a terminal: SIGINT is not ignored (it is in what a shell starts in the background, and children
    # inherit that), and goes to the whole foreground group, Ray's processes among them. SIGTERM goes to one.
    start = """if True:
        import signal, sys, pytest
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.exit(pytest.main(sys.argv[1:]))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", start, "--rayperf", "-p", "no:cacheprovider", "--rayperf-update-baselines"],
        cwd=pytester.path,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _wait_for((pytester.path / "hanging").exists)
    family = psutil.Process(process.pid).children(recursive=True)
    assert any(p.name() == "raylet" for p in family)
    send = os.killpg if number == signal.SIGINT else os.kill
    for _ in range(3):
        send(process.pid, number)
        time.sleep(0.3)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "interrupted after 1 round" in output
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert list((pytester.path / "baselines").rglob("*.json")) == []


def _wait_for(condition, seconds: float = 120.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.2)
    return value

"""How much of a round is its start, what can be done about it, and what that does to the figures' spread?

    python benchmarks/cold_start.py

One pipeline (images, mobilenet_v3_small in a pool of one actor) is measured in turn in four ways: the images
read once and several times over, and each of these with an actor's process started before the round, that has
imported torch and torchvision already (a `worker_process_setup_hook`, and the raylet's `PrestartWorkers`).
Printed are, for each way, the median of what a round takes and gives, and the coefficient of variation.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_rayperf.cluster import Cluster, close_cluster, open_cluster
from pytest_rayperf.data.sources import open_source
from pytest_rayperf.execution import RayExecutor
from pytest_rayperf.measurement import take_turns
from pytest_rayperf.models.classifier import Classifier, open_classifier
from pytest_rayperf.monitors.system import ClusterWorkers
from pytest_rayperf.watch import Watch

HOOK = {"runtime_env": {"worker_process_setup_hook": "torchvision.get_image_backend"}}
"""Calling that imports torch and torchvision, and does nothing else."""

FIGURES = (
    ("wall_seconds", "s"),
    ("startup_seconds", "s"),
    ("throughput", "rows/s"),
    ("steady_throughput", "rows/s"),
    ("cpu_seconds_per_row", "ms"),
)


class Classify:
    """The model, loaded once."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.model = classifier.load()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The classes of one batch."""
        return {"prediction": self.classifier.predict(self.model, batch["image"])}


def prestart(cluster: Cluster, seconds: float = 60.0) -> int:
    """Have the raylet start a worker, wait until it is idle, and say how many are new."""
    import ray
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import node_manager_pb2, node_manager_pb2_grpc, runtime_environment_pb2

    workers = ClusterWorkers(cluster.raylet_pids)
    before = {worker.pid for worker in workers()}
    node = next(node for node in ray.nodes() if node["Alive"])
    channel = init_grpc_channel(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}", options=[])
    context = ray.get_runtime_context()
    environment = runtime_environment_pb2.RuntimeEnvInfo(
        serialized_runtime_env=context.get_runtime_env_string()
    )
    request = node_manager_pb2.PrestartWorkersRequest(
        language=0,
        job_id=bytes.fromhex(context.get_job_id()),
        runtime_env_info=environment,
        keep_alive_duration_secs=120,
        num_workers=1,
    )
    node_manager_pb2_grpc.NodeManagerServiceStub(channel).PrestartWorkers(request)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.2)
        new = [worker for worker in workers() if worker.pid not in before]
        # It is titled before the hook has run: idle it is once it uses no CPU any more.
        if new and all(quiet(worker) for worker in new):
            return len(new)
    return 0


def quiet(worker: Any) -> bool:
    """Whether it used no CPU for half a second."""
    before = sum(worker.cpu_times()[:2])
    time.sleep(0.5)
    return bool(before > 1.0 and sum(worker.cpu_times()[:2]) - before < 0.05)


def measure(cluster: Cluster, options: argparse.Namespace) -> dict[str, list[dict[str, float | None]]]:
    """The figures of `options.rounds` rounds of each way, in turn."""
    images = open_source("synthetic", options.images, options.images)
    classifier = open_classifier("mobilenet_v3_small", "random")
    executor = RayExecutor(cluster, Watch, lambda message: print(f"  {message}", file=sys.stderr))
    many = f"{options.passes} passes"
    ways = ["1 pass", many, "1 pass, prestarted", f"{many}, prestarted"]
    found: dict[str, list[dict[str, float | None]]] = {way: [] for way in ways}

    def pipeline(passes: int) -> Any:
        from ray.data import ActorPoolStrategy

        return (
            images.repeat(passes)
            .read(override_num_blocks=4)
            .map_batches(
                Classify,
                fn_constructor_args=(classifier,),
                batch_size=32,
                compute=ActorPoolStrategy(size=1),
                num_cpus=1,
            )
        )

    with executor.shipping([sys.modules[__name__]]):
        executor.run(lambda: pipeline(1), keep_outputs=False, on_rows=lambda rows: None)  # the warm-up
        for way in take_turns(ways):
            if all(len(done) == options.rounds for done in found.values()):
                break
            passes = options.passes if way.startswith(many) else 1
            started = prestart(cluster) if way.endswith("prestarted") else None
            done = executor.run(
                lambda passes=passes: pipeline(passes), keep_outputs=False, on_rows=lambda rows: None
            ).round
            figures: dict[str, float | None] = {name: done.metric(name) for name, _ in FIGURES}
            figures |= {
                "wall_seconds": done.wall_seconds,
                "throughput": done.throughput,
                "cpu_seconds_per_row": done.cpu_seconds_per_row,
                "prestarted": started,
            }
            found[way].append(figures)
            print(json.dumps({"way": way, **figures}), file=sys.stderr)
    return found


def cell(values: Sequence[float | None], unit: str) -> str:
    """Median and coefficient of variation."""
    known = [value * (1e3 if unit == "ms" else 1) for value in values if value is not None]
    if len(known) < 2:
        return f"{'not measured':>20}"
    return f"{statistics.median(known):12.2f} {statistics.stdev(known) / statistics.mean(known):7.1%}"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="of each way")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--passes", type=int, default=3, help="as the profile quick")
    parser.add_argument("--json", type=Path, help="write the rounds' figures here")
    options = parser.parse_args()
    os.environ["RAY_JOB_CONFIG_JSON_ENV_VAR"] = json.dumps(HOOK)
    cluster = open_cluster(None)
    try:
        found = measure(cluster, options)
    finally:
        close_cluster(cluster)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{'':24}" + "".join(f"{f'{name} ({unit})':>30}" for name, unit in FIGURES))
    for way, rounds in found.items():
        print(f"{way:24}" + "".join(f"{cell([r[n] for r in rounds], u):>30}" for n, u in FIGURES))
    return 0


if __name__ == "__main__":
    sys.exit(main())

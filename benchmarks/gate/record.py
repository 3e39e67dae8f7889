"""Record the noise of real rounds: one session, of four pipelines, into one file.

    python benchmarks/gate/record.py tests/data/noise/quiet-1.json
    python benchmarks/gate/record.py tests/data/noise/light-1.json --beside light
    python benchmarks/gate/record.py tests/data/noise/busy-1.json --beside busy

Each pipeline's rounds follow each other, as a benchmark's do, with laps of fixed work before, between and
after them. With `--beside` another process works meanwhile: `light` has one CPU for a sixth of the time,
which is below the limit of a disturbed round; `busy` has all CPUs for half of it. At the end come duets: the
same single-core pipeline twice at once, each on its core.

A file holds every round as it was measured, and what the machine was doing in it. Nothing is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pipelines as recorded
from busy_loops import Disturber

from pytest_rayperf.cluster import Cluster, close_cluster, open_cluster
from pytest_rayperf.data.sources import ImageSource, open_source
from pytest_rayperf.environment import detect_environment
from pytest_rayperf.execution import RayExecutor
from pytest_rayperf.machine import Probe
from pytest_rayperf.models.classifier import Classifier, open_classifier
from pytest_rayperf.monitors.disturbance import DisturbanceMonitor, watch_disturbances
from pytest_rayperf.monitors.operators import operators_of
from pytest_rayperf.probe import probe
from pytest_rayperf.software import software_versions
from pytest_rayperf.watch import Watch, watch_over

BESIDE = {"nothing": (0, 0.0), "light": (1, 0.16), "busy": (os.cpu_count() or 1, 0.5)}
"""How many busy loops, and which share of 0.1 s each works."""


def one_round(
    executor: RayExecutor, monitor: DisturbanceMonitor, pipeline: Any, since: float
) -> dict[str, Any]:
    """Measure one round; everything that is known of it."""
    started = time.perf_counter() - since
    execution = executor.run(pipeline, keep_outputs=False, on_rows=lambda rows: None)
    done = execution.round
    return {
        "started_s": round(started, 3),
        "rows": done.rows,
        "wall_seconds": done.wall_seconds,
        "cpu_seconds_per_row": done.cpu_seconds_per_row,
        "throughput": done.throughput,
        "peak_worker_memory": done.peak_worker_memory,
        "startup_seconds": done.figures.get("startup_seconds"),
        "disturbed": "" if execution.spoiled is None else execution.spoiled.reason,
        "machine": monitor.summary(),
    }


def duet(images: ImageSource, classifier: Classifier) -> list[dict[str, Any]]:
    """The same single-core pipeline twice at once: wall and CPU seconds of each."""
    results: list[dict[str, Any]] = [{}, {}]
    ready = threading.Barrier(2)

    # Made here: Ray Data imports what it needs on the first use, which two threads at once may not.
    datasets = [recorded.single_core(images, classifier) for _ in range(2)]

    def play(index: int) -> None:
        dataset = datasets[index]
        ready.wait()
        start = time.perf_counter()
        rows = sum(bundle.num_rows() for bundle in dataset.iter_internal_ref_bundles())
        wall = time.perf_counter() - start
        cpu = [operator.cpu_s for operator in operators_of(dataset)]
        known = None if not cpu or None in cpu else sum(c for c in cpu if c is not None)
        results[index] = {
            "rows": rows,
            "wall_seconds": wall,
            "cpu_seconds_per_row": None if known is None or not rows else known / rows,
        }

    players = [threading.Thread(target=play, args=(index,)) for index in range(2)]
    for player in players:
        player.start()
    for player in players:
        player.join()
    return results


def record(cluster: Cluster, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The session."""
    images = open_source("synthetic", 64, 64)
    classifier = open_classifier("mobilenet_v3_small", "random")
    monitor = watch_disturbances(cluster.address)

    def look() -> Watch:
        return Watch(watch_over(cluster).monitors, disturbance=monitor)

    executor = RayExecutor(cluster, look, lambda message: print(f"  {message}", file=sys.stderr))
    count, share = BESIDE[options.beside]
    disturber = Disturber(count, 0.1, share)
    began = time.perf_counter()
    blocks, duets = [], []
    try:
        with ExitStack() as stack:
            stack.enter_context(executor.shipping([recorded]))
            stack.enter_context(disturber.at_work())
            for name, pipeline in recorded.pipelines(images, classifier, folder).items():
                one_round(executor, monitor, pipeline, began)  # the warm-up
                laps, rounds = [], []
                for _ in range(options.rounds):
                    laps.append(probe())
                    rounds.append(one_round(executor, monitor, pipeline, began))
                laps.append(probe())
                blocks.append({"pipeline": name, "probe": asdict(Probe.around(*laps)), "rounds": rounds})
                walls = [f"{r['wall_seconds']:.2f}" for r in rounds]
                cpu = [f"{1e3 * r['cpu_seconds_per_row']:.2f}" for r in rounds]
                bad = sum(bool(r["disturbed"]) for r in rounds)
                print(name, laps[0], "walls", *walls, "cpu ms", *cpu, "disturbed", bad, file=sys.stderr)
            if options.duets:
                duet(images.repeat(2), classifier)  # the warm-up
            for _ in range(options.duets):
                duets.append(duet(images.repeat(2), classifier))
            print("duets", *duets[-2:], file=sys.stderr)
    finally:
        disturber.close()
    return {"blocks": blocks, "duets": duets}


def main() -> int:
    """Record one session."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--beside", choices=BESIDE, default="nothing", help="what works meanwhile")
    parser.add_argument("--rounds", type=int, default=10, help="of each pipeline")
    parser.add_argument("--duets", type=int, default=8)
    options = parser.parse_args()
    started_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    cluster = open_cluster(None)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            session = record(cluster, options, Path(scratch) / "written")
    finally:
        close_cluster(cluster)
    whole = {
        "schema_version": 3,
        "started_at": started_at,
        "beside": options.beside,
        "environment": detect_environment().id,
        "software": dict(software_versions()),
        **session,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

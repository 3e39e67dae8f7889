"""Whether a slowdown that is put into one operator is put down to that operator: by how many of how many.

    python benchmarks/attribution.py

A pipeline of four operators (read, preprocess, inference in an actor, write) that each compute for a known
time a batch. One after another each of them is made slower, once by computing more and once by waiting, by
--share of what all of them together compute; then its rounds are compared with those of the pipeline as it
was, as the failing message does. The exit status is 1 if less than nine of ten are right.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from pytest_rayperf.cluster import close_cluster, open_cluster
from pytest_rayperf.execution import RayExecutor
from pytest_rayperf.judging.attribution import attribute, tell
from pytest_rayperf.results import Round
from pytest_rayperf.watch import watch_over

COST_S = {"read": 0.006, "preprocess": 0.010, "inference": 0.020, "write": 0.004}
"""CPU seconds a batch of each operator as it was."""

OPERATORS = {
    "read": "MapBatches(read)",
    "preprocess": "MapBatches(preprocess)",
    "inference": "MapBatches(Inference)",
    "write": "Write",
}
ROWS_A_BATCH = 8


def compute(seconds: float) -> None:
    """Use that much CPU time of this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(1000))


def pipeline(batches: int, slower: tuple[str, str] | None, extra_s: float) -> Any:
    """A function that executes it and returns its number of rows.

    Args:
        batches: how many.
        slower: an operator and "CPU" or "waiting"; None for the pipeline as it was.
        extra_s: by how much, in seconds a batch.
    """
    import ray
    from ray.data import ActorPoolStrategy, Datasink

    def work(operator: str) -> None:
        compute(COST_S[operator] + (extra_s if slower == (operator, "CPU") else 0.0))
        if slower == (operator, "waiting"):
            time.sleep(extra_s)

    def read(batch: Any) -> Any:
        work("read")
        return batch

    def preprocess(batch: Any) -> Any:
        work("preprocess")
        return batch

    class Inference:
        def __call__(self, batch: Any) -> Any:
            work("inference")
            return batch

    class Sink(Datasink[int]):
        def write(self, blocks: Iterable[Any], ctx: Any) -> int:
            rows = sum(block.num_rows for block in blocks)
            for _ in range(rows // ROWS_A_BATCH):
                work("write")
            return int(rows)

    def run() -> int:
        rows = batches * ROWS_A_BATCH
        # Other resources each: what asks for the same is fused into one operator.
        dataset = ray.data.range(rows, override_num_blocks=batches // 8)
        dataset = dataset.map_batches(read, batch_size=ROWS_A_BATCH, num_cpus=0.31)
        dataset = dataset.map_batches(preprocess, batch_size=ROWS_A_BATCH, num_cpus=0.32)
        dataset = dataset.map_batches(
            Inference, batch_size=ROWS_A_BATCH, num_cpus=0.33, compute=ActorPoolStrategy(size=1)
        )
        dataset.write_datasink(Sink(), ray_remote_args={"num_cpus": 0.3})
        return rows

    return run


def injected() -> Iterator[tuple[str, str]]:
    """Every operator, slower in either way."""
    for kind in ("CPU", "waiting"):
        for operator in OPERATORS:
            yield operator, kind


def main() -> int:
    """Measure, and print a line for each slowdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--share", type=float, default=0.15, help="of all operators' computing (0.15)")
    parser.add_argument("--rounds", type=int, default=3, help="of each pipeline (3)")
    parser.add_argument("--batches", type=int, default=96, help="of a round, in eights (96)")
    options = parser.parse_args()
    extra = options.share * sum(COST_S.values())
    cluster = open_cluster(None)
    try:
        executor = RayExecutor(cluster, lambda: watch_over(cluster), lambda text: print(f"  note: {text}"))

        def rounds(slower: tuple[str, str] | None) -> list[Round]:
            run = pipeline(options.batches, slower, extra)
            return [
                executor.run(run, keep_outputs=False, on_rows=lambda _: None).round
                for _ in range(options.rounds)
            ]

        rounds(None)  # starts Ray's workers
        before = rounds(None)
        walls = statistics.median(one.wall_seconds for one in before)
        print(f"as it was: {walls:.1f} s a round; slower by {options.share:.0%} of all computing:")
        right = 0
        for operator, kind in injected():
            found = attribute(rounds((operator, kind)), before)
            cause = found.cause if found is not None else None
            hit = cause is not None and (cause.operator, cause.kind) == (OPERATORS[operator], kind)
            right += hit
            print(f"  {operator} by {kind}: {'right' if hit else 'WRONG'}: {tell(found) if found else '-'}")
    finally:
        close_cluster(cluster)
    total = 2 * len(OPERATORS)
    print(f"{right} of {total} right")
    return 0 if right >= 0.9 * total else 1


if __name__ == "__main__":
    sys.exit(main())

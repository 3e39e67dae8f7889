"""What `pytest_rayperf.count` costs a UDF, in an actor, beside a function that does nothing.

    python benchmarks/counting.py

Blocks of calls are timed in turn, within the actor, with the wall clock: the median over the blocks is
printed, and the range that half of them are in. Besides that what the driver pays after a round:
`Tally.take`.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from pytest_rayperf import count
from pytest_rayperf.tally import Tally

BATCH_S = 2e-3
"""A quick batch: what a count's cost is compared with."""


def nothing(name: str, amount: int = 1) -> None:
    """As `count`, and does nothing."""


class Timer:
    """Times calls. Runs as a Ray actor."""

    def block(self, counts: bool, calls: int) -> float:
        """Seconds a call."""
        function: Callable[[str], None] = count if counts else nothing
        start = time.perf_counter()
        for _ in range(calls):
            function("udf_calls")
        return (time.perf_counter() - start) / calls


def in_turn(actors: dict[str, tuple[Any, bool]], blocks: int, calls: int) -> dict[str, list[float]]:
    """Seconds a call by name, a figure a block; every name's block, then every name's next one."""
    import ray

    times: dict[str, list[float]] = {name: [] for name in actors}
    for actor, counts in actors.values():
        ray.get(actor.block.remote(counts, 1))  # the first asks whether it is measured
    for _ in range(blocks):
        for name, (actor, counts) in actors.items():
            times[name].append(ray.get(actor.block.remote(counts, calls)))
    return times


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--blocks", type=int, default=50, help="blocks of each row")
    parser.add_argument("--calls", type=int, default=2000, help="calls in a block")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    timer = ray.remote(num_cpus=0)(Timer)
    unmeasured = timer.remote()
    ray.get(unmeasured.block.remote(True, 1))  # before there is a tally: that it isn't measured, it keeps
    tally = Tally.start()
    measured = timer.remote()
    actors = {
        "a function that does nothing": (measured, False),
        "count, not measured": (unmeasured, True),
        "count": (measured, True),
    }
    try:
        times = in_turn(actors, options.blocks, options.calls)
        start = time.perf_counter()
        sums = tally.take()
        first = time.perf_counter() - start
        takes = []
        for _ in range(20):
            start = time.perf_counter()
            tally.take()
            takes.append(time.perf_counter() - start)
    finally:
        tally.close()
        ray.shutdown()
    counted = options.blocks * options.calls + 1
    if sums != {"udf_calls": counted}:
        print(f"counted {sums}, expected {counted}", file=sys.stderr)
        return 1

    print(f"Ray {ray.__version__}, {options.blocks} blocks of {options.calls} calls each")
    for name, seconds in times.items():
        low, middle, high = statistics.quantiles(seconds, n=4)
        print(
            f"{name:30} {middle * 1e6:7.2f} us a call [{low * 1e6:.2f}, {high * 1e6:.2f}], "
            f"{100 * middle / BATCH_S:.3f} % of a batch of {BATCH_S * 1e3:.0f} ms"
        )
    print(f"take after {counted} counts       {first * 1e3:7.2f} ms")
    print(f"take after none                {statistics.median(takes) * 1e3:7.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())

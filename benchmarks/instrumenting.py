"""What `pytest_rayperf.instrument` costs a batch, in an actor, beside the same UDF as it is.

    python benchmarks/instrumenting.py

Blocks of calls are timed in turn, within the actor, with the wall clock: the median over the blocks is
printed, and the range that half of them are in. The UDF hands its batch back, so all that is measured is the
call. Besides that what the driver pays after a round (`Tally.take_all` and the percentiles), and what a task
pays to unpickle the UDF: Ray sends an instrumented one whole.
"""

from __future__ import annotations

import argparse
import logging
import pickle
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pytest_rayperf.latency import calls_of, latencies
from pytest_rayperf.tally import Tally
from pytest_rayperf.udfs.instrumenting import CALL, instrument

BATCH_S = 2e-3
"""A quick batch: what the cost is compared with."""


def plain(batch: dict[str, Any]) -> dict[str, Any]:
    """Hand it back."""
    return batch


def generator(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Hand it on."""
    yield batch


class Timer:
    """Times calls. Runs as a Ray actor."""

    def block(self, kind: str, instrumented: bool, calls: int) -> float:
        """Seconds a call."""
        function: Callable[[dict[str, Any]], Any] = plain if kind == "plain" else generator
        if instrumented:
            function = instrument(function)
        batch = {"image": np.zeros((32, 8))}
        start = time.perf_counter()
        if kind == "plain":
            for _ in range(calls):
                function(batch)
        else:
            for _ in range(calls):
                for _ in function(batch):
                    pass
        return (time.perf_counter() - start) / calls


def unpickling(udf: Callable[..., Any], times: int) -> float:
    """Median seconds to unpickle it, as each task does."""
    from ray import cloudpickle

    pickled = cloudpickle.dumps(udf)
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        pickle.loads(pickled)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--blocks", type=int, default=50, help="blocks of each row")
    parser.add_argument("--calls", type=int, default=1000, help="calls in a block")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    timer = ray.remote(num_cpus=0)(Timer)
    unmeasured = timer.remote()
    ray.get(
        unmeasured.block.remote("plain", True, 1)
    )  # before there is a tally: that it isn't measured, it keeps
    tally = Tally.start()
    measured = timer.remote()
    rows = {
        "a function": (measured, "plain", False),
        "instrumented, not measured": (unmeasured, "plain", True),
        "instrumented": (measured, "plain", True),
        "a generator": (measured, "generator", False),
        "instrumented generator": (measured, "generator", True),
    }
    times: dict[str, list[float]] = {name: [] for name in rows}
    try:
        for actor, *arguments in rows.values():
            ray.get(actor.block.remote(*arguments, 1))
        for _ in range(options.blocks):
            for name, (actor, *arguments) in rows.items():
                times[name].append(ray.get(actor.block.remote(*arguments, options.calls)))
        start = time.perf_counter()
        taken = tally.take_all()
        reading = time.perf_counter() - start
        found = latencies(calls_of(taken.of(CALL)))
        all_of_it = time.perf_counter() - start
    finally:
        tally.close()
        ray.shutdown()
    each = options.blocks * options.calls + 1
    if {one.udf: one.count for one in found} != {"plain": each, "generator": each}:
        print(f"recorded {found}, expected {each} calls each", file=sys.stderr)
        return 1

    print(f"Ray {ray.__version__}, {options.blocks} blocks of {options.calls} calls each")
    for name, seconds in times.items():
        low, middle, high = statistics.quantiles(seconds, n=4)
        print(
            f"{name:30} {middle * 1e6:7.2f} us a call [{low * 1e6:.2f}, {high * 1e6:.2f}], "
            f"{100 * middle / BATCH_S:.3f} % of a batch of {BATCH_S * 1e3:.0f} ms"
        )
    print(
        f"reading {2 * each} calls {' ':8} {reading * 1e3:7.1f} ms, with percentiles {all_of_it * 1e3:.1f} ms"
    )
    for name, udf in (("as it is", plain), ("instrumented", instrument(plain))):
        print(f"unpickling a function {name:12} {unpickling(udf, 500) * 1e6:5.1f} us")
    return 0


if __name__ == "__main__":
    sys.exit(main())

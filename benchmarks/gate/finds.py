"""Is what the tables call found found? The recorded rounds, slowed by as much as was shown.

    python benchmarks/gate/finds.py

Each benchmark of a suite (as `simulate.py` plays them) is judged as it was recorded. What its verdict shows
of work or of waiting (`finds`: from there on nine times in ten regressed, by the last look) is then put into
other rounds of the same session, which are judged against other rounds of the same baseline. By cell are
printed the median of what was shown, with the 5 and 95 % points, how often it was found, with the 95 %
interval of Clopper and Pearson for as many independent benchmarks, and how often half of it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from multiprocessing import Pool

import numpy as np
from scipy import stats
from simulate import BENCHMARKS, NOISES, REFERENCES, Cell, recorded, with_baseline, with_pairs
from traces import Block

from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.metrics import CPU_PER_ROW, THROUGHPUT
from pytest_rayperf.results import Verdict

METRICS = {"work": CPU_PER_ROW, "waiting": THROUGHPUT}

Played = tuple[float, bool, bool]
"""What was shown; whether it was found, and whether the half of it was."""


def play(cell: Cell, generator: np.random.Generator) -> Iterator[Played]:
    """The benchmarks of one suite run that were shown something."""
    traces = recorded()
    wanted = 0 if cell.reference == "pairs" else int(cell.reference.split()[0])
    own, others = traces.drawn_sessions(cell.noise, wanted, generator)
    for index in range(BENCHMARKS):
        pipeline = traces.pipelines[index % len(traces.pipelines)]
        block = traces.block(own, pipeline)
        baseline = [traces.block(name, pipeline) for name in others]
        as_recorded = judged(replace(cell, slowdown=1.0), baseline, block, generator)
        asked = METRICS[cell.kind]
        shown = next((c.finds for c in as_recorded.comparisons if c.metric == asked), None)
        if shown is not None:
            slowed = (replace(cell, slowdown=slowdown) for slowdown in (shown, 1 + (shown - 1) / 2))
            whole, half = (judged(one, baseline, block, generator) for one in slowed)
            yield shown, whole.status == "regressed", half.status == "regressed"


def judged(cell: Cell, baseline: Sequence[Block], block: Block, generator: np.random.Generator) -> Verdict:
    """Rounds of `block`, slowed as `cell` says, against the baseline; without one, against its own."""
    policy = Policy(max_slowdown=cell.threshold, comparisons=BENCHMARKS)
    if baseline:
        return with_baseline(baseline, block, cell, policy, generator, fixed=False)[0]
    return with_pairs(block, cell, policy, generator, fixed=False)[0]


def play_many(task: tuple[Cell, int, int]) -> list[Played]:
    """`suites` suite runs of a cell."""
    cell, suites, seed = task
    generator = np.random.default_rng([seed, *repr(cell).encode()])
    return [each for _ in range(suites) for each in play(cell, generator)]


def line(cell: Cell, played: Sequence[Played]) -> dict[str, object]:
    """A row of the table."""
    shown = [one for one, _, _ in played]
    hits, of = sum(found for _, found, _ in played), len(played)
    low, high = stats.binomtest(hits, of).proportion_ci()
    median, least, most = np.quantile(shown, [0.5, 0.05, 0.95])
    return {
        "beside": cell.noise,
        "reference": cell.reference,
        "slowdown by": cell.kind,
        "benchmarks": of,
        "shown": f"{median:.2f}x ({least:.2f} to {most:.2f})",
        "found": f"{hits / of:.1%} [{low:.1%}, {high:.1%}]",
        "half of it": f"{sum(half for _, _, half in played) / of:.1%}",
    }


def main() -> int:
    """Play and print."""
    from tabulate import tabulate

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--suites", type=int, default=40, help="suite runs a cell")
    parser.add_argument("--seed", type=int, default=20261127)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    cells = [Cell(noise, ref, kind, 1.0, 1.10) for noise, ref, kind in product(NOISES, REFERENCES, METRICS)]
    with Pool(options.processes) as pool:
        played = pool.map(play_many, [(cell, options.suites, options.seed) for cell in cells], chunksize=1)
    lines = [line(cell, each) for cell, each in zip(cells, played, strict=True) if each]
    print(tabulate(lines, headers="keys", tablefmt="github"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the recorded rounds say of the noise: between rounds, between sessions, and of the probe.

    python benchmarks/gate/learn_noise.py

For each metric the log of a figure is split as `pytest_rayperf/statistics.py` does it (Searle, Casella and
McCulloch, "Variance Components", 1992, ch. 3): a part that all rounds of a session share, and one of each
round. The variance between sessions is that of their means, less what the rounds' own noise puts into a mean.

The probe of fixed work normalises something only if the sessions' means vary less after division by it.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence

from traces import Block, Traces, load

from pytest_rayperf.results import Round

METRICS = ("cpu_seconds_per_row", "wall_seconds", "wall by CPU")


def split(blocks: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Standard deviations of the log: of rounds in a session, of sessions' means, and between sessions."""
    logs = [[math.log(x) for x in block] for block in blocks]
    within = statistics.fmean(statistics.variance(one) for one in logs)
    means = [statistics.fmean(one) for one in logs]
    of_means = statistics.variance(means)
    between = of_means - within * statistics.fmean(1 / len(one) for one in logs)
    return math.sqrt(within), math.sqrt(of_means), math.sqrt(max(0.0, between))


def figure(round_: Round, metric: str) -> float:
    """The metric; "wall by CPU" is the wall time of a row for each CPU second of it."""
    if metric != "wall by CPU":
        return round_.metric(metric) or 1.0
    return round_.wall_seconds / round_.rows / (round_.metric("cpu_seconds_per_row") or 1.0)


def probed(block: Block) -> float:
    """The probe's CPU seconds around the block."""
    return block.probe.seconds or 1.0


def of_session(traces: Traces, block: Block) -> float:
    """The mean of all probes of the block's session: eight, spread over its minutes."""
    return statistics.fmean(probed(b) for b in traces.blocks if b.session == block.session)


def main() -> int:
    """Print the tables."""
    from tabulate import tabulate

    traces = load()
    table = []
    for kinds in (("nothing",), ("light",), ("busy",), ("nothing", "light")):
        for metric in METRICS if len(traces.sessions(*kinds)) > 1 else ():
            parts = []
            divided, divided_by_session = [], []
            for pipeline in traces.pipelines:
                own = [b for b in traces.blocks if b.pipeline == pipeline and b.beside in kinds]
                parts.append(split([[figure(r, metric) for r in b.rounds] for b in own]))
                divided.append(split([[figure(r, metric) / probed(b) for r in b.rounds] for b in own]))
                divided_by_session.append(
                    split([[figure(r, metric) / of_session(traces, b) for r in b.rounds] for b in own])
                )
            pooled = [math.sqrt(statistics.fmean(p[i] ** 2 for p in parts)) for i in range(3)]
            by_probe = math.sqrt(statistics.fmean(p[1] ** 2 for p in divided))
            by_session = math.sqrt(statistics.fmean(p[1] ** 2 for p in divided_by_session))
            table.append(
                {
                    "beside": " and ".join(kinds),
                    "metric": metric,
                    "sessions": len(traces.sessions(*kinds)),
                    "rounds, sd": f"{pooled[0]:.1%}",
                    "means of sessions, sd": f"{pooled[1]:.1%}",
                    "between sessions, sd": f"{pooled[2]:.1%}",
                    "... divided by the probe around them": f"{by_probe:.1%}",
                    "... by all of the session's probes": f"{by_session:.1%}",
                }
            )
    print(tabulate(table, headers="keys", tablefmt="github"))
    for kind in ("nothing", "light", "busy"):
        seconds = [1e3 * probed(b) for b in traces.blocks if b.beside == kind]
        print(f"probe beside {kind}: {min(seconds):.2f} to {max(seconds):.2f} ms, ", end="")
        print(f"sd of the log {statistics.stdev(map(math.log, seconds)):.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

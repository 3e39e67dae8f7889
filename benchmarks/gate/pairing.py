"""Which pairing tells most in a second? Stored sessions, rounds in turn, duets: from the recorded rounds.

    python benchmarks/gate/pairing.py

The log ratio of two equal pipelines, whose truth is 0, has a variance that depends on how the two were
measured. What counts is that variance times the seconds that one such ratio takes: half of it for the same
seconds is half the time for the same certainty.

- stored: a round of this session against the mean of the machine's other sessions of its kind.
- in turn: two rounds that followed each other, in both orders.
- duet: the same single-core pipeline twice at once, each on its own core.

What saturates a GPU cannot be played as a duet, where both share the card: in turn is left for it. None of
the recorded sessions had a GPU.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Iterator

from traces import Traces, load

NOISES = ("nothing", "light", "busy")
METRICS = ("cpu_seconds_per_row", "wall_seconds")

Ratios = list[tuple[float, float]]
"""Log ratios, and the seconds that each took."""


def stored(traces: Traces, noise: str, metric: str) -> Ratios:
    """A round against the mean of the other sessions."""
    found: Ratios = []
    for name in traces.sessions(noise):
        others = traces.peers(name)
        for pipeline in traces.pipelines if others else ():
            logs = [
                [math.log(r.metric(metric) or 1) for r in traces.block(o, pipeline).rounds] for o in others
            ]
            reference = statistics.fmean(statistics.fmean(one) for one in logs)
            for r in traces.block(name, pipeline).rounds:
                found.append((math.log(r.metric(metric) or 1) - reference, r.wall_seconds))
    return found


def in_turn(traces: Traces, noise: str, metric: str) -> Ratios:
    """Two rounds that followed each other; each is in one pair only."""
    found: Ratios = []
    for block in traces.blocks:
        if block.beside == noise:
            for a, b in zip(block.rounds[::2], block.rounds[1::2], strict=False):
                ratio = math.log(a.metric(metric) or 1) - math.log(b.metric(metric) or 1)
                found.append((ratio, a.wall_seconds + b.wall_seconds))
    return found


def duets(traces: Traces, noise: str, metric: str) -> Ratios:
    """Both at once."""
    found: Ratios = []
    for name in traces.sessions(noise):
        for one, other in traces.duets[name]:
            if one[metric] and other[metric]:
                seconds = max(one["wall_seconds"], other["wall_seconds"])
                found.append((math.log(one[metric] / other[metric]), seconds))
    return found


def rows(traces: Traces) -> Iterator[dict[str, object]]:
    """The table: the mean square of the ratios, for the truth is 0."""
    for noise in NOISES:
        for metric in METRICS:
            for name, how in (("stored", stored), ("in turn", in_turn), ("duet", duets)):
                ratios = how(traces, noise, metric)
                if ratios:
                    variance = statistics.fmean(ratio**2 for ratio, _ in ratios)
                    seconds = statistics.fmean(took for _, took in ratios)
                    yield {
                        "beside": noise,
                        "metric": metric,
                        "pairing": name,
                        "ratios": len(ratios),
                        "sd": f"{math.sqrt(variance):.1%}",
                        "seconds": f"{seconds:.1f}",
                        "variance x seconds": f"{1e4 * variance * seconds:.0f} %^2 s",
                    }


def main() -> int:
    """Print it."""
    from tabulate import tabulate

    print(tabulate(list(rows(load())), headers="keys", tablefmt="github"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

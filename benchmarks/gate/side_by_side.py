"""False alarms and detection of other tools' gates and of ours, on the same recorded samples.

    python benchmarks/gate/side_by_side.py

A suite run has 22 benchmarks. Each has a reference of three recorded sessions with nine rounds each, and up
to 25 rounds of another session, all drawn with replacement as they were measured; a slowdown is a factor on
all of the run's rounds. The other tools get the wall seconds that they would have measured, pooled over the
sessions, and besides CPU seconds a row, which none of them measures and which are steadier.

benchmatrix takes part where it is installed: `pip install --no-deps --target DIR benchmatrix`, and DIR on
PYTHONPATH. (In the environment itself its pytest plugin would be loaded.)
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from multiprocessing import Pool

import numpy as np
from peers import Peer, available_peers
from simulate import BENCHMARKS, SUBJECT, drawn, recorded, upper_limit
from traces import slower

from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.judging.reference import Reference, ReferenceSession
from pytest_rayperf.machine import Probe
from pytest_rayperf.results import Round
from pytest_rayperf.verdict import judge, settled

SLOWDOWNS = (1.0, 1.05, 1.10, 1.20)
SESSIONS, ROUNDS, CURRENT = 3, 9, 25
OURS = (1.10, 1.03)
METRICS = ("wall_seconds", "cpu_seconds_per_row")

Tally = dict[tuple[str, str, float], list[int]]
"""By rule, metric and slowdown: suite runs that were red, red benchmarks, benchmarks, their rounds."""


def play(task: tuple[str, int, int, int]) -> Tally:
    """`suites` suite runs of one kind of session."""
    noise, suites, seed, resamples = task
    generator = np.random.default_rng([seed, *noise.encode()])
    traces = recorded()
    tally: Tally = defaultdict(lambda: [0, 0, 0, 0])
    for _ in range(suites):
        own, others = traces.drawn_sessions(noise, SESSIONS, generator)
        red: dict[tuple[str, str, float], int] = defaultdict(int)
        for index in range(BENCHMARKS):
            pipeline = traces.pipelines[index % len(traces.pipelines)]
            blocks = [traces.block(name, pipeline) for name in others]
            sessions_of = [
                ReferenceSession(tuple(drawn(block.rounds, ROUNDS, generator)), probe=block.probe)
                for block in blocks
            ]
            this = traces.block(own, pipeline)
            plain = drawn(this.rounds, CURRENT, generator)
            for slowdown in SLOWDOWNS:
                now = [slower(r, slowdown) for r in plain]
                for name, metric, is_red, rounds in judged(sessions_of, now, this.probe, resamples):
                    key = (name, metric, slowdown)
                    red[key] += is_red
                    tally[key][2] += 1
                    tally[key][3] += rounds
        for key, count in red.items():
            tally[key][0] += count > 0
            tally[key][1] += count
    return dict(tally)


def judged(
    then: list[ReferenceSession], now: list[Round], probe: Probe, resamples: int
) -> list[tuple[str, str, bool, int]]:
    """What every rule says of one benchmark: its name, the metric, whether it is red, the rounds it took."""
    found = []
    for metric in METRICS:
        reference = np.array([r.metric(metric) for session in then for r in session.rounds])
        current = np.array([r.metric(metric) for r in now])
        for peer in _peers(resamples):
            is_red = bool(peer.fails(reference, current[: peer.rounds]))
            found.append((peer.name, metric, is_red, peer.rounds))
    stored = Reference("recorded.json", SUBJECT, tuple(then))
    for threshold in OURS:
        policy = Policy(max_slowdown=threshold, comparisons=BENCHMARKS)
        last = next(
            (n for n in policy.looks if settled(now[:n], SUBJECT, stored, policy, probe)),
            policy.looks[-1],
        )
        status = judge(now[:last], SUBJECT, stored, policy, probe=probe).status
        found.append((f"ours, threshold {threshold:.2f}", "both", status == "regressed", last))
    return found


def _peers(resamples: int) -> tuple[Peer, ...]:
    return available_peers(resamples=resamples)


def main() -> int:
    """Play and print."""
    from tabulate import tabulate

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--suites", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000, help="of benchmatrix's bootstrap")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--noise", nargs="+", default=["nothing", "light"])
    options = parser.parse_args()
    for noise in options.noise:
        chunk = max(1, options.suites // 20)
        tasks = [(noise, chunk, seed, options.resamples) for seed in range(options.suites // chunk)]
        whole: Tally = defaultdict(lambda: [0, 0, 0, 0])
        with Pool(options.processes) as pool:
            for tally in pool.imap_unordered(play, tasks):
                for key, counts in tally.items():
                    whole[key] = [a + b for a, b in zip(whole[key], counts, strict=True)]
        suites = chunk * len(tasks)
        table = []
        for name, metric in sorted({key[:2] for key in whole}):
            alarms = whole[name, metric, 1.0]
            limit = upper_limit(alarms[0], suites)
            row = {
                "beside": noise,
                "rule": name,
                "metric": metric,
                "false alarms by suite": f"{alarms[0] / suites:.1%} (<= {limit:.1%})",
            }
            for slowdown in SLOWDOWNS[1:]:
                counts = whole[name, metric, slowdown]
                row[f"red at {slowdown:.2f}x"] = f"{counts[1] / counts[2]:.1%}"
            row["rounds"] = f"{alarms[3] / alarms[2]:.1f}"
            table.append(row)
        print(tabulate(table, headers="keys", tablefmt="github"))
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""From old to new: what the ladder's mends brought in all, by what this run measured."""

from __future__ import annotations

import statistics
from typing import Any

from pytest_rayperf.judging.duels import better_by
from pytest_rayperf.metrics import THROUGHPUT
from pytest_rayperf.reports.figures import interval, metric_of
from pytest_rayperf.results import Ladder, Step
from pytest_rayperf.run import Run


def final_of(run: Run) -> dict[str, Any] | None:
    """The run's last word; None where no ladder was measured, or one without throughput.

    `first` and `best` are rungs (`name`, `throughput` in rows/s with its interval), `best` the one with the
    highest median. `total` is the ratio of the two, paired, with its 95 % interval; null where `best` is the
    first one. `configuration` are the mends up to the best rung. `experiments`: how many pipelines the run
    measured: the benchmarks that have rounds, and the other rungs and settings of ladders and sweeps.
    """
    ladder = next((one for one in run.ladders if _measured(one)), None)
    if ladder is None:
        return None
    first = ladder.steps[0]
    best = max((step for step in ladder.steps if _speed(step) is not None), key=lambda s: _speed(s) or 0.0)
    names = [step.name for step in ladder.steps]
    total = None if best is first else better_by(THROUGHPUT.name, first.rounds, best.rounds)
    # A ladder is one benchmark by its last rung, a sweep by its best setting: they are not counted twice.
    steps = [one.steps for one in run.ladders] + [one.steps for one in run.sweeps]
    measured = [benchmark for benchmark in run.benchmarks if benchmark.rounds]
    return {
        "ladder": ladder.name,
        "first": _rung(first),
        "best": _rung(best),
        "total": interval(total),
        "configuration": names[1 : names.index(best.name) + 1],
        "experiments": len(measured) + sum(max(0, len(one) - 1) for one in steps),
    }


def _measured(ladder: Ladder) -> bool:
    return bool(ladder.steps) and _speed(ladder.steps[0]) is not None


def _speed(step: Step) -> float | None:
    figures = [r.throughput for r in step.rounds]
    known = [figure for figure in figures if figure is not None]
    return statistics.median(known) if known and len(known) == len(figures) else None


def _rung(step: Step) -> dict[str, Any]:
    return {"name": step.name, "throughput": metric_of(step.rounds, THROUGHPUT.name)}

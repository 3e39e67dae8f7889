"""The JSON report, as a string. Figures that were not measured are null."""

from __future__ import annotations

import json
import statistics as _statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from pytest_rayperf.latency import latencies
from pytest_rayperf.reports import selftest
from pytest_rayperf.results import (
    METRICS,
    STATUSES,
    Attribution,
    Benchmark,
    Duel,
    Interval,
    Ladder,
    Metric,
    Operator,
    Profile,
    Round,
    Run,
    Step,
    Sweep,
)
from pytest_rayperf.statistics import median_interval
from pytest_rayperf.work.counts import work_to_json

SCHEMA_VERSION = 1


def render(run: Run) -> str:
    """The report on `run`."""
    data = {
        "schema_version": SCHEMA_VERSION,
        "started_at": run.started_at,
        "duration_s": run.duration_s,
        "environment": asdict(run.environment),
        "software": dict(run.software),
        "profile": run.profile,
        "data": dict(run.data),
        "model": dict(run.model),
        "policy": dict(run.policy),
        "benchmarks": [_benchmark(benchmark) for benchmark in run.benchmarks],
        "duels": [_duel(duel) for duel in run.duels],
        "ladders": [_ladder(ladder) for ladder in run.ladders],
        "sweeps": [_sweep(sweep) for sweep in run.sweeps],
        "selftest": [selftest.to_json(one) for one in run.selftests],
        "summary": summary(run),
        "warnings": list(run.warnings),
    }
    return json.dumps(data, indent=2, allow_nan=False) + "\n"


def summary(run: Run) -> dict[str, int]:
    """How many benchmarks have each verdict, worst first, those that none has left in as 0."""
    counts = Counter(benchmark.verdict.status for benchmark in run.benchmarks)
    return {status: counts[status] for status in STATUSES}


def metrics_of(rounds: Sequence[Round]) -> dict[str, dict[str, Any]]:
    """Each metric's unit, direction, median and 95 % interval of the median (None for under 3 rounds)."""
    return {name: metric_of(rounds, name) for name in METRICS}


def metric_of(rounds: Sequence[Round], name: str) -> dict[str, Any]:
    """The same of one metric, or of a counter, which is exact and has no interval."""
    metric = METRICS.get(name) or Metric(name, "", "lower")
    figures = [r.figure(name) for r in rounds]
    known = [f for f in figures if f is not None]
    whole = bool(known) and len(known) == len(figures)
    limits = median_interval(known) if name in METRICS and whole and min(known) > 0 else None
    return {
        "unit": metric.unit,
        "direction": metric.better,
        "median": _statistics.median(known) if whole else None,
        "ci": list(limits) if limits else None,
    }


def _benchmark(benchmark: Benchmark) -> dict[str, Any]:
    rounds = benchmark.rounds
    verdict = benchmark.verdict
    return {
        "id": benchmark.id,
        "antipattern": benchmark.antipattern,
        "variant": benchmark.variant,
        "rounds": {name: [r.metric(name) for r in rounds] for name in METRICS},
        "metrics": metrics_of(rounds),
        "counters": dict(rounds[-1].all_counters()) if rounds else {},
        "operators": operators_of(rounds),
        "latency": [
            {**asdict(one), "error_rate": one.error_rate}
            for one in latencies(call for r in rounds for call in r.calls)
        ],
        "nodes": [{node: dict(figures) for node, figures in r.nodes.items()} for r in rounds],
        "work": None if benchmark.work is None else work_to_json(benchmark.work),
        "work_problem": benchmark.work_problem,
        "profile": _profile(benchmark.profile),
        "probe": None if benchmark.probe is None else asdict(benchmark.probe),
        "disturbed": [r.disturbed or None for r in rounds],
        "repeated": list(benchmark.repeated),
        "verdict": {
            "status": verdict.status,
            "metric": verdict.metric,
            "ratio": verdict.ratio,
            "ci": None if verdict.ci is None else list(verdict.ci),
            "threshold": verdict.threshold,
            "mde": verdict.mde,
            "reason": verdict.reason,
            "attribution": _attribution(verdict.attribution),
        },
        "baseline": benchmark.baseline,
    }


def _profile(profile: Profile | None) -> dict[str, Any] | None:
    if profile is None:
        return None
    return {
        "flame_graphs": {udf: path.as_posix() for udf, path in profile.flame_graphs.items()},
        "timeline": None if profile.timeline is None else profile.timeline.as_posix(),
        "problems": list(profile.problems),
    }


def _attribution(found: Attribution | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "operators": [asdict(change) for change in found.changes],
        "new": list(found.new),
        "waiting": found.waiting,
    }


def operators_of(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """Medians over the rounds of each operator's figures, in the first round's order."""
    by_name: dict[str, list[Operator]] = {}
    for round_ in rounds:
        for operator in round_.operators:
            by_name.setdefault(operator.name, []).append(operator)
    return [{"name": name, **_medians(operators)} for name, operators in by_name.items()]


def _medians(operators: Sequence[Operator]) -> Mapping[str, float | None]:
    medians: dict[str, float | None] = {}
    for name in (field.name for field in fields(Operator) if field.name != "name"):
        known = [value for o in operators if (value := getattr(o, name)) is not None]
        medians[name] = _statistics.median(known) if known else None
    return medians


def _duel(duel: Duel) -> dict[str, Any]:
    return {
        "antipattern": duel.antipattern,
        "metric": duel.metric,
        **_interval(duel.ratio),
        "floor": duel.floor,
        "outputs_equal": duel.outputs_equal,
        "status": duel.status,
        "reason": duel.reason,
    }


def _ladder(ladder: Ladder) -> dict[str, Any]:
    return {
        "antipattern": ladder.name,
        "metric": ladder.metric,
        "rungs": [_step(step, ladder.metric) for step in ladder.steps],
        "total": _interval(ladder.total),
    }


def _sweep(sweep: Sweep) -> dict[str, Any]:
    return {
        "name": sweep.name,
        "metric": sweep.metric,
        "settings": [_step(step, sweep.metric) for step in sweep.steps],
        "best": sweep.best,
        "plateau": list(sweep.plateau),
        "ended": sweep.ended,
    }


def _step(step: Step, metric: str) -> dict[str, Any]:
    return {
        "name": step.name,
        "status": step.status,
        **_interval(step.ratio),
        "rounds": {metric: [r.figure(metric) for r in step.rounds]},
        "metrics": {metric: metric_of(step.rounds, metric)},
        "counters": dict(step.rounds[-1].all_counters()) if step.rounds else {},
    }


def _interval(ratio: Interval | None) -> dict[str, Any]:
    return {
        "ratio": None if ratio is None else ratio.ratio,
        "ci": None if ratio is None else [ratio.low, ratio.high],
    }

"""The report on a run as one object of JSON's types, and as text. Figures that were not measured are null.

All other reports are made of this object (`terminal.py`, `markdown.py`, `html.py`), so that no two of them
can say different things, and a run that was written to a file can be shown again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pytest_rayperf.latency import latencies
from pytest_rayperf.machine import Probe
from pytest_rayperf.metrics import METRICS
from pytest_rayperf.reports import selftest
from pytest_rayperf.reports.costs import cost_of, savings_of
from pytest_rayperf.reports.figures import interval, metric_of, metrics_of, operators_of, summary
from pytest_rayperf.reports.final import final_of
from pytest_rayperf.results import (
    Attribution,
    Benchmark,
    Comparison,
    Duel,
    Ladder,
    Operator,
    Profile,
    Round,
    Step,
    Sweep,
    Utilization,
    Verdict,
)
from pytest_rayperf.run import Run
from pytest_rayperf.work.counts import work_to_json

SCHEMA_VERSION = 1

Report = Mapping[str, Any]
"""The object: its keys are those of `report.schema.json`, beside this file."""


def render(report: Report) -> str:
    """The report as text."""
    return json.dumps(report, indent=2, allow_nan=False) + "\n"


def report_on(run: Run) -> Report:
    """The report on `run`."""
    savings = savings_of(run.benchmarks, run.cost_per_hour)
    return {
        "schema_version": SCHEMA_VERSION,
        "started_at": run.started_at,
        "duration_s": run.duration_s,
        "commit": run.commit,
        "environment": asdict(run.environment),
        "software": dict(run.software),
        "software_changes": software_changes(run.benchmarks, run.software),
        "against": run.against,
        "profile": run.profile,
        "data": dict(run.data),
        "model": dict(run.model),
        "policy": dict(run.policy),
        "cost_per_hour_usd": run.cost_per_hour,
        "benchmarks": [
            _benchmark(benchmark, run, savings.get(index)) for index, benchmark in enumerate(run.benchmarks)
        ],
        "duels": [_duel(duel) for duel in run.duels],
        "ladders": [_ladder(ladder) for ladder in run.ladders],
        "sweeps": [_sweep(sweep) for sweep in run.sweeps],
        "selftest": [selftest.to_json(one) for one in run.selftests],
        "final": final_of(run),
        "summary": summary(run.benchmarks),
        "warnings": list(run.warnings),
    }


def software_changes(
    benchmarks: Sequence[Benchmark], software: Mapping[str, str | None]
) -> list[dict[str, Any]] | None:
    """What is of another version than when the baselines were last accepted: `name`, `from`, `to`.

    `from` lists the versions that the baselines have, null for "not installed". None without a baseline.
    """
    known = [b.baseline_software for b in benchmarks if b.baseline_software is not None]
    return changes_between(known, software)


def changes_between(
    known: Sequence[Mapping[str, str | None]], software: Mapping[str, str | None]
) -> list[dict[str, Any]] | None:
    """The same, from the versions that each baseline has; None where a side has recorded none."""
    known = [versions for versions in known if versions]
    if not known or not software:
        return None
    changes = []
    for name in sorted({name for versions in known for name in versions} | software.keys()):
        # A name that a baseline does not know was not recorded then: that is no change.
        then = {versions[name] for versions in known if name in versions}
        now = software.get(name)
        if name in software and then - {now}:
            changes.append({"name": name, "from": sorted(then - {now}, key=str), "to": now})
    return changes


def _benchmark(benchmark: Benchmark, run: Run, saving: Mapping[str, Any] | None) -> dict[str, Any]:
    rounds = benchmark.rounds
    names = sorted({name for r in rounds for name in r.all_counters()})
    history = None if run.history is None else run.history.get(benchmark.slug, ())
    return {
        "id": benchmark.id,
        "slug": benchmark.slug,
        "antipattern": benchmark.antipattern,
        "variant": benchmark.variant,
        "subject": None if benchmark.subject is None else asdict(benchmark.subject),
        "limits": dict(benchmark.limits),
        "timed": benchmark.timed,
        "looks": None if benchmark.looks is None else list(benchmark.looks),
        "comparisons": benchmark.comparisons,
        "rounds": {name: [r.metric(name) for r in rounds] for name in METRICS},
        "metrics": metrics_of(rounds),
        "counters": dict(rounds[-1].all_counters()) if rounds else {},
        "counters_by_round": {name: [r.all_counters().get(name) for r in rounds] for name in names},
        "operators": operators_of(rounds),
        "operators_by_round": [[_operator(operator) for operator in r.operators] for r in rounds],
        "latency": [
            {**asdict(one), "error_rate": one.error_rate}
            for one in latencies(call for r in rounds for call in r.calls)
        ],
        "nodes": [{node: dict(figures) for node, figures in r.nodes.items()} for r in rounds],
        "utilization": _utilization(rounds),
        "work": None if benchmark.work is None else work_to_json(benchmark.work),
        "work_problem": benchmark.work_problem,
        "profile": _profile(benchmark.profile),
        "probe": None if benchmark.probe is None else _probe(benchmark.probe),
        "disturbed": [r.disturbed or None for r in rounds],
        "unseen": [r.unseen or None for r in rounds],
        "repeated": list(benchmark.repeated),
        "cost": cost_of(rounds, run.cost_per_hour),
        "saving": saving,
        "duel": None if benchmark.duel is None else _duel(benchmark.duel),
        "verdict": verdict_to_json(benchmark.verdict),
        "baseline": benchmark.baseline,
        "against": benchmark.against,
        "then": _then(benchmark.then),
        "history": None if history is None else [asdict(one) for one in history],
    }


def _then(rounds: Sequence[Round]) -> dict[str, Any] | None:
    """The rounds that were measured beside it."""
    if not rounds:
        return None
    names = sorted({name for r in rounds for name in r.all_counters()})
    return {
        "rounds": {name: [r.metric(name) for r in rounds] for name in METRICS},
        "counters_by_round": {name: [r.all_counters().get(name) for r in rounds] for name in names},
        "operators": operators_of(rounds),
    }


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict as the report has it; `comparisons` are those of all metrics that were asked."""
    return {
        "status": verdict.status,
        "metric": verdict.metric,
        "ratio": verdict.ratio,
        "ci": None if verdict.ci is None else list(verdict.ci),
        "threshold": verdict.threshold,
        "mde": verdict.mde,
        "finds": verdict.finds,
        "reason": verdict.reason,
        "attribution": _attribution(verdict.attribution),
        "comparisons": [_comparison(c) for c in verdict.comparisons],
    }


def _comparison(c: Comparison) -> dict[str, Any]:
    return {
        "metric": c.metric.name,
        "status": c.status,
        "reference": c.reference,
        "current": c.current,
        **interval(c.ratio),
        "threshold": c.threshold,
        "mde": c.mde,
        "finds": c.finds,
        "at_equal_work": c.at_equal_work,
        "since": c.since,
    }


def _operator(operator: Operator) -> dict[str, Any]:
    """What was measured of it: a figure that is not here is null."""
    return {name: value for name, value in asdict(operator).items() if value is not None}


def _probe(probe: Probe) -> dict[str, Any]:
    return {**asdict(probe), "between": [asdict(lap) for lap in probe.between]}


def _utilization(rounds: Sequence[Round]) -> dict[str, Any] | None:
    """Of the last round that has it; which one that is, counted from 0."""
    for index in reversed(range(len(rounds))):
        found: Utilization | None = rounds[index].utilization
        if found is not None:
            return {
                "round": index,
                "seconds": list(found.seconds),
                "cpu": list(found.cpu),
                "others": list(found.others),
                "gpus": {card: list(figures) for card, figures in found.gpus.items()},
            }
    return None


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


def _duel(duel: Duel) -> dict[str, Any]:
    return {
        "antipattern": duel.antipattern,
        "metric": duel.metric,
        **interval(duel.ratio),
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
        "total": interval(ladder.total),
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
        **interval(step.ratio),
        "rounds": {metric: [r.figure(metric) for r in step.rounds]},
        "metrics": {metric: metric_of(step.rounds, metric)},
        "counters": dict(step.rounds[-1].all_counters()) if step.rounds else {},
    }

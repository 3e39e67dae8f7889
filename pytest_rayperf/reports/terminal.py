"""The comparison table and what stands around it, as strings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_rayperf.reports.figures import metric_of, metrics_of, summary
from pytest_rayperf.results import CPU_PER_ROW, METRICS, THROUGHPUT, Benchmark, Duel, Interval, Run

if TYPE_CHECKING:
    import pandas

_MISSING = "-"


def frame(run: Run) -> pandas.DataFrame:
    """One row a benchmark, in the order measured; texts as the table shows them."""
    import pandas

    rows = [_row(benchmark, _hardware(run)) for benchmark in run.benchmarks]
    columns = [
        "anti-pattern",
        "variant",
        "rows/s",
        "CPU ms/row",
        "vs baseline",
        "fix is better by",
        "verdict",
    ]
    made: pandas.DataFrame = pandas.DataFrame(rows, columns=columns)
    return made


def _hardware(run: Run) -> str:
    return "GPU" if run.environment.gpu_count else "CPU"


def _row(benchmark: Benchmark, hardware: str) -> list[str]:
    metrics = metrics_of(benchmark.rounds)
    name = benchmark.antipattern or benchmark.id.rpartition("::")[2]
    return [
        name,
        benchmark.variant or _MISSING,
        _figure(metrics[THROUGHPUT.name], 1),
        _figure(metrics[CPU_PER_ROW.name], 1000),
        _ratio(benchmark),
        _speed_up(benchmark.duel, hardware),
        benchmark.verdict.status,
    ]


def _figure(metric: Mapping[str, object], scale: float) -> str:
    median, limits = metric["median"], metric["ci"]
    if not isinstance(median, float | int):
        return _MISSING
    text = f"{median * scale:.3g}"
    if isinstance(limits, list):
        text += f" [{limits[0] * scale:.3g}, {limits[1] * scale:.3g}]"
    return text


def _ratio(benchmark: Benchmark) -> str:
    verdict = benchmark.verdict
    if verdict.ratio is None:
        return _MISSING
    limits = f" [{verdict.ci[0]:.2f}, {verdict.ci[1]:.2f}]" if verdict.ci else " exact"
    return f"{verdict.ratio:.2f}x{limits} {_short(verdict.metric)}"


def _short(metric: str | None) -> str:
    return {CPU_PER_ROW.name: "CPU/row", THROUGHPUT.name: "rows/s"}.get(metric or "", metric or "")


def _speed_up(duel: Duel | None, hardware: str) -> str:
    if duel is None:
        return _MISSING
    on = f" on {hardware}" if duel.status == "no effect" else ""
    note = "" if duel.status == "effect" else f", {duel.status}{on}"
    ratio = duel.ratio
    if ratio is None:
        if duel.status == "effect":
            return f"none left {_short(duel.metric)}"
        return _MISSING if duel.status == "invalid" else f"{_MISSING} {_short(duel.metric)}{note}"
    limits = "exact" if ratio.low == ratio.high else f"[{ratio.low:.2f}, {ratio.high:.2f}]"
    return f"{ratio.ratio:.2f}x {limits} {_short(duel.metric)}{note}"


def table(run: Run) -> str:
    """The comparison table."""
    import tabulate

    return str(
        tabulate.tabulate(
            frame(run).to_dict("list"),
            headers="keys",
            tablefmt="simple",
            disable_numparse=True,  # texts: "1.10x" is no number, and "12.30" must keep its zero
        )
    )


def reasons(run: Run) -> list[str]:
    """A line or more for each benchmark that is not simply unchanged, worst first."""
    order = list(summary(run.benchmarks))
    told = [b for b in run.benchmarks if b.verdict.status != "unchanged"]
    told.sort(key=lambda benchmark: order.index(benchmark.verdict.status))
    return [f"{_label(b)}: {line}" for b in told for line in _lines(b)]


def _lines(benchmark: Benchmark) -> list[str]:
    status, reason = benchmark.verdict.status, benchmark.verdict.reason
    lines = reason.splitlines() or [""]
    return lines if lines[0].startswith(status) else [f"{status}: {lines[0]}", *lines[1:]]


def _label(benchmark: Benchmark) -> str:
    name = benchmark.id.rpartition("::")[2]
    variant = benchmark.variant
    return f"{name} {variant}" if variant and f"{variant}]" not in name else name


def duel_lines(run: Run) -> list[str]:
    """A line for each metric in which a pair was compared."""
    lines = []
    for duel in run.duels:
        floor = "" if duel.floor is None else f", floor {duel.floor:g}x"
        equal = {True: "outputs equal", False: "outputs differ", None: "outputs not compared"}
        told = duel.status == "no effect" and duel.ratio is not None
        reason = f" ({duel.reason})" if duel.reason and not told else ""
        lines.append(
            f"{duel.antipattern}: fix better by {_speed_up(duel, _hardware(run))}{floor}; "
            f"{equal[duel.outputs_equal]}{reason}"
        )
    return lines


def ladder_lines(run: Run) -> list[str]:
    """Of each ladder a line a rung: what was mended, the metric, how many times better than the one above."""
    lines = []
    for ladder in run.ladders:
        lines.append(f"{ladder.name}:")
        width = max(len("in total"), *(len(step.name) for step in ladder.steps))
        for step in ladder.steps:
            figure = _figure(metric_of(step.rounds, ladder.metric), 1)
            none_left = "none left" if step.status == "effect" else ""
            note = "" if step.status in ("first", "effect") else f", {step.status}"
            better = f"{_interval(step.ratio) or none_left}{note}".removeprefix(", ")
            lines.append(f"  {step.name:<{width}}  {figure} {_unit(ladder.metric)}  {better}".rstrip())
        lines.append(f"  {'in total':<{width}}  {_interval(ladder.total) or _MISSING}")
    return lines


def sweep_lines(run: Run) -> list[str]:
    """Of each sweep the best setting and what cannot be told apart from it, then a line a setting."""
    lines = []
    for sweep in run.sweeps:
        plateau = ", ".join(sweep.plateau)
        beside = f"; not told apart from it: {plateau}" if plateau else ""
        ended = f"; ended: {sweep.ended}" if sweep.ended else ""
        lines.append(f"{sweep.name}: best at {sweep.best}{beside}{ended}")
        width = max(len(step.name) for step in sweep.steps)
        for step in sweep.steps:
            figure = _figure(metric_of(step.rounds, sweep.metric), 1)
            against = f"{_interval(step.ratio)} of the best, " if step.ratio else ""
            lines.append(f"  {step.name:>{width}}  {figure} {_unit(sweep.metric)}  {against}{step.status}")
    return lines


def profile_lines(run: Run) -> list[str]:
    """Of each profiled benchmark its files, and what is missing."""
    lines = []
    for benchmark in run.benchmarks:
        profile = benchmark.profile
        if profile is not None:
            label = _label(benchmark)
            lines += [f"{label}: {udf}: {path}" for udf, path in profile.flame_graphs.items()]
            if profile.timeline is not None:
                lines.append(f"{label}: timeline: {profile.timeline}")
            lines += [f"{label}: {problem}" for problem in profile.problems]
    return lines


def _unit(metric: str) -> str:
    return METRICS[metric].unit if metric in METRICS else metric


def _interval(ratio: Interval | None) -> str:
    return "" if ratio is None else f"{ratio.ratio:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]"


def closing(run: Run) -> str:
    """Counts by verdict, and what they belong to."""
    counts = ", ".join(f"{count} {status}" for status, count in summary(run.benchmarks).items() if count)
    data, model = run.data, run.model
    subject = f"{data.get('name') or 'no images'}"
    if data.get("images") is not None:
        subject += f" ({data['images']} images)"
    return (
        f"{counts or 'nothing measured'}; profile {run.profile}, {subject}, "
        f"model {model.get('name') or 'none'}; environment {run.environment.id}; "
        f"{run.duration_s:.0f} s"
    )

"""What Markdown says of one benchmark, folded away: why, by which metrics, by which operators, under what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_rayperf.metrics import METRICS
from pytest_rayperf.reports.markdown_parts import bullets, details, figure, name, prose, table
from pytest_rayperf.reports.phrases import interval, reference
from pytest_rayperf.reports.rows import MISSING, Row, number
from pytest_rayperf.reports.units import factor

_MOST = 30
"""So many rows has each table, so many lines each list: Ray's plans and UDFs are far fewer."""

_OPERATOR = {
    "wall_s": "wall s",
    "cpu_s": "CPU s",
    "udf_s": "UDF s",
    "scheduling_s": "scheduling s",
    "backpressure_s": "backpressure s",
    "rows": "rows",
    "bytes_in": "bytes in",
    "bytes": "bytes out",
    "tasks": "tasks",
    "blocks": "blocks",
    "errored_blocks": "errored blocks",
    "actors": "actors",
    "actor_utilization": "actors busy",
}


def folded(row: Row) -> str:
    """All of it."""
    benchmark = row.benchmark
    return details(
        f"{row.title}: {row.status}",
        bullets(_most([prose(line) for line in row.reasons])),
        _comparisons(benchmark),
        _operators(benchmark),
        _counters(benchmark["counters"]),
        _latency(benchmark["latency"]),
        bullets(_most(list(_notes(benchmark)))),
    )


def _most(lines: Sequence[str]) -> list[str]:
    others = len(lines) - _MOST
    return [*lines[:_MOST], *([f"and {others} more"] if others > 0 else [])]


def _comparisons(benchmark: Mapping[str, Any]) -> str:
    comparisons = benchmark["verdict"]["comparisons"]
    if not comparisons:
        return ""
    rows = []
    for c in comparisons[:_MOST]:
        unit = METRICS[c["metric"]].unit if c["metric"] in METRICS else ""
        notes = ["both at this run's CPU time a row"] if c["at_equal_work"] else []
        notes += [f"against {prose(c['since'])}"] if c["since"] else []
        rows.append(
            [
                name(c["metric"]),
                "; ".join([name(c["status"]), *notes]),
                figure(c["reference"], unit),
                figure(c["current"], unit),
                interval(c) or MISSING,
                f"{c['threshold']:.2f}x",
                *(factor(c[key]) for key in ("mde", "finds")),
            ]
        )
    head = ["metric", "verdict", reference(benchmark), "now", "ratio", "threshold", "sees", "finds"]
    return table(head, rows)


def _operators(benchmark: Mapping[str, Any]) -> str:
    """Medians a round; columns of which nothing was measured are left out."""
    operators = benchmark["operators"][:_MOST]
    if not operators:
        return ""
    measured = [key for key in _OPERATOR if any(o.get(key) is not None for o in operators)]
    changes = _changes(benchmark["verdict"]["attribution"])
    rows = []
    for operator in operators:
        cells = [
            _share(operator[key]) if key == "actor_utilization" else figure(operator[key]) for key in measured
        ]
        change = [changes.get(operator["name"], MISSING)] if changes else []
        rows.append([name(operator["name"]), *cells, *change])
    since = [f"since the {reference(benchmark)}"] if changes else []
    head = ["operator", *(_OPERATOR[key] for key in measured), *since]
    return table(head, rows)


def _share(value: float | None) -> str:
    return MISSING if value is None else f"{value:.0%}"


def _changes(attribution: Mapping[str, Any] | None) -> dict[str, str]:
    """What became of each operator."""
    if attribution is None:
        return {}
    changes = dict.fromkeys(attribution["new"], "new")
    for change in attribution["operators"]:
        own = "" if change["own"] is None else f"{change['own']:+.0%}, "
        changes[change["operator"]] = f"{name(change['kind'])} {own}{change['share']:+.0%} of the whole"
    return changes


def _counters(counters: Mapping[str, int]) -> str:
    told = [f"{name(counter)} {count:,}" for counter, count in sorted(counters.items())]
    return f"Counters: {', '.join(_most(told))}" if told else ""


def _latency(latency: Sequence[Mapping[str, Any]]) -> str:
    if not latency:
        return ""
    rows = [
        [
            name(one["udf"]),
            f"{one['count']:,}",
            *(
                MISSING if one[key] is None else number(1000 * one[key])
                for key in ("p50_s", "p95_s", "p99_s")
            ),
            f"{one['errors']:,}",
        ]
        for one in latency[:_MOST]
    ]
    return table(["UDF", "calls", "p50 ms", "p95 ms", "p99 ms", "errors"], rows)


def _notes(benchmark: Mapping[str, Any]) -> Iterator[str]:
    for index, reason in enumerate(benchmark["disturbed"], start=1):
        if reason:
            yield f"round {index} was disturbed: {prose(reason)}"
    unseen = [reason for reason in benchmark["unseen"] if reason]
    if unseen:
        told = "; ".join(prose(reason) for reason in dict.fromkeys(unseen))
        whose = f"{len(unseen)} of {len(benchmark['unseen'])} rounds"
        yield f"of {whose} it is not known what disturbed them: {told}"
    for reason in benchmark["repeated"]:
        yield f"measured again: {prose(reason)}"
    if benchmark["work_problem"]:
        yield f"work was not counted: {prose(benchmark['work_problem'])}"
    profile = benchmark["profile"]
    if profile is not None:
        for udf, path in profile["flame_graphs"].items():
            yield f"flame graph of {name(udf)}: {prose(path)}"
        if profile["timeline"] is not None:
            yield f"timeline: {prose(profile['timeline'])}"
        yield from (f"profile: {prose(problem)}" for problem in profile["problems"])
    if benchmark["limits"]:
        told = ", ".join(f"{name(limit)} {value:g}" for limit, value in benchmark["limits"].items())
        yield f"limits of its own: {told}"
    if compared := benchmark.get("against") or benchmark["baseline"]:
        yield f"{reference(benchmark)}: {prose(compared)}"

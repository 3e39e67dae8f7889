"""A run that has something of everything, and the report on it: what the tests of the reports share."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from builders import FILE, SOFTWARE, SUBJECT, make_benchmark, make_round, make_rounds, make_run

from pytest_rayperf.machine import Lap, Probe
from pytest_rayperf.metrics import CPU_PER_ROW, THROUGHPUT
from pytest_rayperf.reports.json import report_on
from pytest_rayperf.results import (
    Attribution,
    Call,
    Change,
    Comparison,
    Duel,
    Interval,
    Ladder,
    Operator,
    Profile,
    Step,
    Sweep,
    Utilization,
    Verdict,
)
from pytest_rayperf.run import Accepted, Run
from pytest_rayperf.work.counts import OperatorWork, Work

HOSTILE = (
    "tests/test_x.py::test_x[<script>alert(1)</script>]",
    "tests/test_x.py::test_x[a|b\nc\r\td]",
    "tests/test_x.py::test_x[" + "long " * 60 + "]",
    "tests/test_x.py::test_x[\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 emoji]",
    "tests/test_x.py::test_x[\u05e9\u05dc\u05d5\u05dd \u202etluafed\u202c]",
    "tests/test_x.py::test_x[\x1b[31mred `code` *b* [link](http://x) @me $x$ &amp;]",
)
"""Node ids that break tables, or run something, where they are not made harmless."""


def full_round(
    throughput: float = 40.0, cpu: float = 0.02, *, loads: int = 1, waits: float = 0.5, **more: object
):
    """A round with operators, counters, calls, nodes and utilization."""
    operators = (
        Operator(
            "ReadImage", wall_s=1.0, cpu_s=0.25 * cpu * 64, rows=64, bytes=12_582_912, tasks=4, blocks=4
        ),
        Operator(
            "MapBatches(Classify)",
            wall_s=0.75 * cpu * 64 + waits,
            cpu_s=0.75 * cpu * 64,
            udf_s=0.7 * cpu * 64,
            rows=64,
            bytes=4096,
            tasks=2,
            blocks=2,
            bytes_in=12_582_912,
            scheduling_s=0.1,
            backpressure_s=0.2,
            actors=1,
            actor_utilization=0.8,
        ),
    )
    made = make_round(
        throughput,
        cpu,
        operators=operators,
        counters={"model_loads": loads},
        memory=300 * 1024**2,
        figures={"spilled_bytes": 0.0, "object_store_written": 12_587_008.0, "startup_seconds": 0.5},
        calls=[Call("Classify", 0.1, 32), Call("Classify", 0.12, 32)],
    )
    return replace(
        made,
        utilization=Utilization(
            seconds=(0.4, 0.8, 1.2, 1.6),
            cpu=(10.0, 95.0, None, 90.0),
            others=(1.0, 2.0, None, 1.5),
            gpus={"0 NVIDIA H100": (0.0, 85.0, 90.0, None)},
        ),
        nodes={"node-1": {"peak_worker_memory": 300.0 * 1024**2}},
        **more,
    )


def _comparison(metric, status, ratio, reference, current, mde=1.06, finds=1.31):
    return Comparison(metric, status, reference, current, ratio, 1.1, mde, finds)


REGRESSED = Verdict(
    "regressed",
    "regressed: throughput 41.2 -> 33 rows/s, 0.80x [0.77, 0.83], threshold 1/1.10; operator "
    f"MapBatches(Classify) +24% CPU; baseline {FILE}; accept with --rayperf-update-baselines",
    metric="throughput",
    ratio=0.8,
    ci=(0.77, 0.83),
    threshold=1.1,
    mde=1.06,
    finds=1.31,
    comparisons=(
        _comparison(CPU_PER_ROW, "inconclusive", Interval(1.1, 1.0, 1.21), 0.02, 0.022, 1.18),
        _comparison(THROUGHPUT, "regressed", Interval(1.25, 1.2, 1.3), 41.2, 33.0),
    ),
    attribution=Attribution(
        (Change("MapBatches(Classify)", "CPU", 0.24, 0.2), Change("ReadImage", "CPU", 0.01, 0.002)), (), 0.0
    ),
)
IMPROVED = Verdict(
    "improved",
    "improved: cpu_seconds_per_row 0.80x [0.70, 0.90]; slowdowns above 1.05x are ruled out",
    metric="cpu_seconds_per_row",
    ratio=0.8,
    ci=(0.7, 0.9),
    threshold=1.1,
    mde=1.05,
    finds=1.29,
)
COUNTED = Verdict(
    "regressed",
    f"regressed: model_loads 1 -> 2 a round (exact); baseline {FILE}; accept with --rayperf-update-baselines",
    metric="model_loads",
    ratio=2.0,
    threshold=1.0,
)
UNSURE = Verdict(
    "inconclusive",
    "inconclusive: cpu_seconds_per_row 1.03x [0.81, 1.16]; slowdowns above 1.53x are ruled out; what would "
    "help: a quieter machine",
    metric="cpu_seconds_per_row",
    ratio=1.03,
    ci=(0.81, 1.16),
    threshold=1.1,
    mde=1.53,
    finds=1.87,
)
UNCHANGED = Verdict(
    "unchanged",
    "unchanged: cpu_seconds_per_row 1.01x [0.97, 1.05]; slowdowns above 1.04x are ruled out",
    metric="cpu_seconds_per_row",
    ratio=1.01,
    ci=(0.97, 1.05),
    threshold=1.1,
    mde=1.04,
    finds=1.24,
)
WRONG = Verdict("invalid", "invalid: a round gave no rows; the pipeline loses its data", wrong=True)
NONE = Verdict("no-baseline", "no baseline for this environment; record one with --rayperf-update-baselines")

LOADING = Duel("model_loading", "cpu_seconds_per_row", Interval(2.97, 2.7, 3.28), 1.05, True, "effect")
LOADS = Duel("model_loading", "model_loads", Interval(8, 8, 8), 6.0, True, "effect")
PREPROCESSING = Duel(
    "preprocessing",
    "throughput",
    Interval(1.04, 0.88, 1.19),
    None,
    True,
    "no effect",
    "no effect in throughput here: 1.04x [0.88, 1.19]",
)
SPILLING = Duel(
    "materialize",
    "spilled_bytes",
    None,
    1.0,
    True,
    "effect",
    "spilled_bytes does not happen in the fix at all",
)
LADDER = Ladder(
    "ladder",
    "throughput",
    (
        Step("everything wrong", make_rounds(10), None, "first"),
        Step("load the model once", make_rounds(25), Interval(2.5, 2.3, 2.7), "effect"),
        Step("2 x CPUs blocks", make_rounds(25), Interval(1, 0.95, 1.05), "no effect"),
        Step("write Parquet", make_rounds(30), Interval(1.2, 1.1, 1.3), "effect"),
    ),
    Interval(3.0, 2.7, 3.3),
)
SWEEP = Sweep(
    "batch_size",
    "throughput",
    (
        Step("8", make_rounds(10), Interval(0.25, 0.22, 0.28), "worse"),
        Step("16", make_rounds(40), None, "best"),
        Step("32", make_rounds(39.6), Interval(0.99, 0.9, 1.1), "plateau"),
    ),
    "16",
    ("32",),
    "out of memory at 64",
)
WORK = Work(
    (OperatorWork("MapBatches(Classify)", 32, {"model_loads": 1}, {"flops": 3_616_665_600}, {"f": 2}),),
    {"python": "3.11.9", "torch": "2.9.0"},
    ("bytes_read of ReadImage: 10 and 12",),
)


LAPPED = Probe.around(Lap(0.003, 0.0021), Lap(0.0045, 0.0022), Lap(0.0036, 0.0015), Lap(0.0033, 0.0024))


def _id(test: str, variant: str | None = None) -> str:
    return f"perf_tests/test_{test}.py::test_{test}" + (f"[{variant}]" if variant else "")


def _benchmarks():
    def one(verdict, test, variant=None, rounds=None, duel=None, **more):
        made = make_benchmark(
            verdict,
            [full_round(), full_round(41.0, 0.021), full_round(39.0, 0.0195)] if rounds is None else rounds,
            id=_id(test, variant),
            slug=f"{test}-{variant}" if variant else test,
            antipattern=test if variant else None,
            variant=variant,
            duel=duel,
            probe=LAPPED,
        )
        old = {**SOFTWARE, "ray": "2.50.0"}
        return replace(made, subject=SUBJECT, looks=(3, 4, 5), comparisons=9, baseline_software=old, **more)

    slow = [full_round(33, 0.022, loads=8), full_round(32, 0.023, loads=8), full_round(34, 0.0215, loads=8)]
    graphs = {"Classify": Path("rayperf-profiles/model_loading-fix-Classify.html")}
    return (
        one(UNCHANGED, "model_loading", "antipattern", slow),
        one(
            REGRESSED,
            "model_loading",
            "fix",
            duel=LOADING,
            work=WORK,
            profile=Profile(graphs, Path("rayperf-profiles/model_loading-fix.trace.json"), ("no timeline",)),
            repeated=("38 % of the CPU was used by others",),
            limits={"max_slowdown": 1.05},
        ),
        one(UNSURE, "preprocessing", "antipattern"),
        one(IMPROVED, "preprocessing", "fix", duel=PREPROCESSING),
        one(UNCHANGED, "materialize", "antipattern", timed=False),
        one(COUNTED, "materialize", "fix", duel=SPILLING, timed=False),
        one(WRONG, "my_pipeline", rounds=[]),
        replace(one(NONE, "ladder"), baseline=None, baseline_software=None),
    )


HISTORY = {
    "model_loading-fix": (
        Accepted("2025-01-01T00:00:00+00:00", "a" * 40, 38.0, 0.021),
        Accepted("2025-01-05T00:00:00+00:00", "b" * 40, 41.0, 0.0205),
        Accepted("2025-01-09T00:00:00+00:00", None, 41.2, None),
    )
}


def full_run(**more: object) -> Run:
    """A run with every verdict, duels of every kind, a ladder, a sweep, a price and a history."""
    facts = {
        "duels": (LOADING, LOADS, PREPROCESSING, SPILLING),
        "ladders": (LADDER,),
        "sweeps": (SWEEP,),
        "commit": "c" * 40,
        "cost_per_hour": 3.6,
        "history": HISTORY,
        "warnings": ("PSI is not to be seen here",),
    }
    return make_run(**{"benchmarks": _benchmarks(), **facts, **more})


def report_of(run: Run):
    """The report on it."""
    return report_on(run)


def with_verdicts(report, status: str):
    """The report as a file could say it that somebody edited: with verdicts that we do not have."""
    changed = json.loads(json.dumps(report))
    for benchmark in changed["benchmarks"]:
        benchmark["verdict"]["status"] = status
        for comparison in benchmark["verdict"]["comparisons"]:
            comparison["status"] = status
    steps = [
        step
        for part in (*changed["ladders"], *changed["sweeps"])
        for step in part.get("rungs", part.get("settings"))
    ]
    duels = [benchmark["duel"] for benchmark in changed["benchmarks"] if benchmark["duel"]]
    for one in (*changed["duels"], *duels, *steps):
        one["status"] = status
    return {**changed, "summary": {status: len(changed["benchmarks"])}}


FULL = report_of(full_run())
"""The report on `full_run()`."""

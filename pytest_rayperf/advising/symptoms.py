"""Symptom -> cause -> remedy, looked for in the figures of a JSON report. Reads numbers, measures nothing.

A symptom that needs a figure which was not measured is `not measured`, never `not seen`. The remedies name
what Ray Data 2.60 calls things.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pytest_rayperf.advising.advice import size

State = Literal["seen", "not seen", "not measured"]

GPU_BUSY = 0.5
"""Below it a GPU counts as idle: the tutorial's rule (see `advice`), "nvidia-smi shows <50% GPU usage"."""
WORTH = 1 - 1 / 1.10
"""Share of a round whose loss is a slowdown of 1.10, what counts as a regression unless set otherwise."""
MIN_TASK_S = 0.010
"""Seconds under which Ray expects no speed-up from a task.
https://docs.ray.io/en/master/_sources/ray-observability/user-guides/debug-apps/optimize-performance.rst.txt"""
DRIVER_BYTES = 2 * 1024**3
"""Driver memory that Ray Data itself warns of: DEFAULT_WARN_ON_DRIVER_MEMORY_USAGE_BYTES, data/context.py."""


@dataclass(frozen=True)
class Symptom:
    """One symptom of one benchmark.

    benchmark: the pytest node id of what was measured.
    variant: of a duel that one test measures, whose id is that of both.
    measured: the figures it was judged by, in words.
    shown_by: the file of the catalogue (perf_tests) that shows the mechanism.
    """

    symptom: str
    state: State
    measured: str
    cause: str
    remedy: str
    benchmark: str
    shown_by: str
    variant: str | None = None


@dataclass(frozen=True)
class _Found:
    """What a check says: None for `seen` where a figure is missing."""

    seen: bool | None
    measured: str


@dataclass(frozen=True)
class _Figures:
    """One benchmark's figures, and the machine they are of; what is missing or null is None."""

    benchmark: Mapping[str, Any]
    environment: Mapping[str, Any]

    def metric(self, *names: str) -> float | None:
        """The median of the first of `names` that was measured; percent as a fraction."""
        metrics = self.benchmark.get("metrics") or {}
        for name in names:
            metric = metrics.get(name) or {}
            value: float | None = metric.get("median")
            if value is not None:
                return value / 100 if metric.get("unit") == "percent" else value
        return None

    def counter(self, name: str) -> int | None:
        value: int | None = (self.benchmark.get("counters") or {}).get(name)
        return value

    @property
    def operators(self) -> Sequence[Mapping[str, Any]]:
        operators: Sequence[Mapping[str, Any]] = self.benchmark.get("operators") or ()
        return operators

    @property
    def cores(self) -> int | None:
        cores: int | None = self.environment.get("cores")
        return cores

    @property
    def gpus(self) -> int:
        return int(self.environment.get("gpu_count") or 0)


def symptoms(report: Mapping[str, Any]) -> list[Symptom]:
    """Every symptom of every benchmark of a report (`--rayperf-json`), in the report's order."""
    environment = report.get("environment") or {}
    return [
        symptom
        for benchmark in report.get("benchmarks") or ()
        for symptom in _of(_Figures(benchmark, environment))
    ]


def _of(figures: _Figures) -> Iterator[Symptom]:
    states: dict[bool | None, State] = {True: "seen", False: "not seen", None: "not measured"}
    for check in _CHECKS:
        found = check.look(figures)
        yield Symptom(
            symptom=check.symptom,
            state=states[found.seen],
            measured=found.measured,
            cause=check.cause,
            remedy=check.remedy,
            benchmark=figures.benchmark.get("id") or "",
            shown_by=check.shown_by,
            variant=figures.benchmark.get("variant"),
        )


def _missing(what: str) -> _Found:
    return _Found(None, f"no figure for {what}")


def _gpu(figures: _Figures) -> _Found:
    busy = figures.metric("gpu_utilization_mean", "gpu_utilization")
    if busy is None:
        return _missing("GPU utilization" if figures.gpus else "GPU utilization: the machine has no GPU")
    return _Found(busy < GPU_BUSY, f"GPU {busy:.0%} busy")


def _spilling(figures: _Figures) -> _Found:
    spilled = figures.metric("spilled_bytes")
    if spilled is None:
        return _missing("spilled bytes")
    peak = figures.metric("object_store_peak", "peak_object_store")
    at_most = "" if peak is None else f", object store {size(peak)} at most"
    return _Found(spilled > 0, f"{size(spilled)} spilled a round{at_most}")


def _backpressure(figures: _Figures) -> _Found:
    wall = figures.metric("wall_seconds")
    known = [o for o in figures.operators if o.get("backpressure_s") is not None]
    if not known:
        return _missing("backpressure")
    if not wall:
        return _missing("the length of a round")
    # The last one waits for no stage: it may not start more tasks than there are CPUs for.
    held = [(o["backpressure_s"], o["name"]) for o in known if o is not figures.operators[-1]]
    if not held:
        return _Found(False, f"{known[0]['name']} has no stage after it")
    seconds, name = max(held)
    return _Found(seconds > WORTH * wall, f"{name} held back {seconds:.3g} s of {wall:.3g} s")


def _loads(figures: _Figures) -> _Found:
    loads = figures.counter("model_loads")
    if loads is None:
        return _missing("model loads: the pipeline does not count them")
    if not figures.cores:
        return _missing("the machine's CPUs")
    units = figures.cores + figures.gpus
    # An actor takes a CPU or a GPU, so a pool cannot have more actors than these, nor need more loads. The
    # report knows the CPUs of the driver's machine only: of a cluster of several this says too much.
    machine = f"{figures.cores} CPUs" + (f" and {figures.gpus} GPUs" if figures.gpus else "")
    return _Found(loads > units, f"{loads} model loads a round on {machine}")


def _tiny(figures: _Figures) -> _Found:
    timed = [o for o in figures.operators if o.get("wall_s") is not None and o.get("tasks")]
    if not timed or not figures.cores:
        return _missing("tasks and their time")
    briefest = min(timed, key=lambda o: float(o["wall_s"] / o["tasks"]))
    seconds, tasks = briefest["wall_s"] / briefest["tasks"], briefest["tasks"]
    rows = briefest.get("rows")
    of_rows = "" if rows is None else f", {rows / tasks:.3g} rows"
    # Few tasks cost little, however brief: up to two a CPU are what Ray itself makes at least.
    seen = seconds < MIN_TASK_S and tasks > 2 * figures.cores
    return _Found(seen, f"{briefest['name']}: {tasks:.0f} tasks of {seconds * 1000:.3g} ms{of_rows} each")


def _few(figures: _Figures) -> _Found:
    counted = [o for o in figures.operators if o.get("tasks") and o.get("rows") is not None]
    if not counted or not figures.cores:
        return _missing("tasks and rows")
    fewest = min(counted, key=lambda o: float(o["tasks"]))
    seen = figures.cores > 1 and fewest["tasks"] == 1 and fewest["rows"] > 1
    return _Found(seen, f"{fewest['name']}: {fewest['rows']:.0f} rows in {fewest['tasks']:.0f} tasks")


def _overhead(figures: _Figures) -> _Found:
    walls = [o["wall_s"] for o in figures.operators if o.get("wall_s") is not None]
    timed = [
        o
        for o in figures.operators
        # One that reads as well spends its time outside the functions, and rightly so.
        if o.get("wall_s") and o.get("udf_s") is not None and not o["name"].startswith("Read")
    ]
    if not timed:
        return _missing("time in the functions")
    worth = [o for o in timed if o["wall_s"] > WORTH * sum(walls)]
    if not worth:
        return _Found(False, "the stages' tasks take too little time to matter")
    worst = min(worth, key=lambda o: float(o["udf_s"] / o["wall_s"]))
    share = worst["udf_s"] / worst["wall_s"]
    return _Found(share < 0.5, f"{worst['name']}: {share:.0%} of its tasks' {worst['wall_s']:.3g} s")


def _workers(figures: _Figures) -> _Found:
    peak, memory = figures.metric("peak_worker_memory"), figures.environment.get("memory_bytes")
    if peak is None or not memory or not figures.cores:
        return _missing("workers' memory")
    return _Found(peak * figures.cores > memory, f"{size(peak)} in a worker, {size(memory)} in the machine")


def _driver(figures: _Figures) -> _Found:
    peak = figures.metric("driver_memory_growth", "peak_driver_memory")
    if peak is None:
        return _missing("the driver's memory")
    return _Found(peak > DRIVER_BYTES, f"{size(peak)} in the driver")


@dataclass(frozen=True)
class _Check:
    symptom: str
    look: Callable[[_Figures], _Found]
    cause: str
    remedy: str
    shown_by: str


_CHECKS = (
    _Check(
        "GPU under 50 % busy",
        _gpu,
        "it waits: batches too small, images decoded and transformed inside the GPU's actor, or too few "
        "CPUs to feed it",
        "a larger batch_size; preprocessing in a map_batches of its own, before the one with num_gpus=1; "
        "compute=ActorPoolStrategy(size=number of GPUs)",
        "test_preprocessing.py",
    ),
    _Check(
        "spilling",
        _spilling,
        "more blocks alive at once than the object store holds",
        "no materialize(), sort or shuffle in between; more blocks (override_num_blocks); drop the images "
        "once classified (return the columns that are needed)",
        "test_memory_management.py",
    ),
    _Check(
        "backpressure",
        _backpressure,
        "a stage is faster than the next one, and is stopped until that has caught up; only the slow one "
        "is worth work",
        "more CPUs, or more actors (ActorPoolStrategy(size=...)), for the stage after it, fewer for it; "
        "a larger batch_size there",
        "test_resource_allocation.py",
    ),
    _Check(
        "model loaded too often",
        _loads,
        "it is loaded in __call__, once a batch, or in a function, once a task, instead of once an actor",
        "a callable class that loads in __init__, with compute=ActorPoolStrategy(size=...)",
        "test_model_loading.py",
    ),
    _Check(
        "many tiny tasks",
        _tiny,
        "too many blocks: scheduling a task costs more than what it does",
        "fewer blocks: override_num_blocks near 2 x CPUs, or a larger batch_size, which bundles blocks",
        "test_block_size.py",
    ),
    _Check(
        "one task for everything",
        _few,
        "one block, or a batch_size as large as the data set: all other CPUs wait",
        "override_num_blocks of at least 2 x CPUs; a smaller batch_size",
        "test_block_size.py",
    ),
    _Check(
        "most time outside the functions",
        _overhead,
        "the tasks slice, copy, convert and serialize: small batches, wide rows, Python objects",
        "a larger batch_size; select_columns before it; NumPy arrays in and out rather than lists of objects",
        "test_data_transfer.py",
    ),
    _Check(
        "workers' memory",
        _workers,
        "a worker for each CPU would not fit the machine: batches too large, or the model's copies",
        "a smaller batch_size; memory=... in map_batches, so that Ray places fewer; a smaller pool",
        "test_batch_size.py",
    ),
    _Check(
        "driver's memory",
        _driver,
        "rows are gathered in the driver: take_all(), to_pandas(), a Python list of results",
        "write_parquet() from the workers, or iter_batches()",
        "test_output_format.py",
    ),
)

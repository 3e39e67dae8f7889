"""One round on Ray.

Between the two readings of the clock a plain script would do the same: call the pipeline and iterate over
the references of the blocks that it gives (what `write` and `materialize` do too). Besides that:

- threads of this process read memory (the workers', the driver's, the object store's), the GPUs and who uses
  the CPUs two or three times a second: under 1 % of a core together, and reported (`sampler_cpu_seconds`);
- Ray Data's executor calls `OperatorMonitor` at each turn of its loop, which looks at the actor pools at most
  twenty times a second;
- the clock is read when the first block is there;
- each call of a UDF of `map_batches` is timed in its worker, and written to a file: some 20 microseconds
  (benchmarks/instrumenting.py);
- `on_rows` is called with a block's row count, and writes to the terminal at most once a second;
- what Ray Data's writers wrote is looked at, in their folders, once the clock has stopped;
- a thread of this process asks four times a second whether the round is stuck;
- `pytest_rayperf.count`, where a UDF calls it (a checkpoint's `load` does), writes a line to a file:
  microseconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pytest_rayperf.cluster import Cluster
from pytest_rayperf.errors import ClusterLostError, RoundStuckError
from pytest_rayperf.interrupts import collect_garbage
from pytest_rayperf.latency import calls_of
from pytest_rayperf.measurement import Execution, Pipeline, Spoiled, release
from pytest_rayperf.metrics import (
    EFFICIENCY,
    ENERGY,
    GPU_POWER,
    METRICS,
    PEAK_MEMORY,
    SAMPLER_CPU,
    STARTUP,
    STEADY_THROUGHPUT,
    UDF_CALLS,
    WORKER_CPU,
    WORKERS_MEMORY,
)
from pytest_rayperf.monitors.losses import LossError, ray_losses
from pytest_rayperf.monitors.operators import OperatorMonitor, operators_of
from pytest_rayperf.monitors.writes import WriteMonitor
from pytest_rayperf.results import Call, Operator, Profile, Round
from pytest_rayperf.returned import bundles_of, check_rows, fetch, is_count, was_executed
from pytest_rayperf.tally import CountsLostError, Taken
from pytest_rayperf.udfs.batches import faulty_batches, instrumented_batches
from pytest_rayperf.udfs.faults import Fault
from pytest_rayperf.udfs.instrumenting import CALL
from pytest_rayperf.watch import Watch
from pytest_rayperf.watchdog import MOST_LOSSES, Vigil, Watchdog
from pytest_rayperf.work.counts import Work, WorkUncountable

if TYPE_CHECKING:
    from pytest_rayperf.models.classifier import Classifier
    from pytest_rayperf.work.single_pass import KeptProcess

__tracebackhide__ = True  # who reads the traceback of a pipeline looks for its own lines

_REPORTED_AS = {"cpu_seconds": WORKER_CPU.name, "total_peak_memory": WORKERS_MEMORY.name}
"""What a monitor calls a figure, where a round calls it otherwise."""


class RayExecutor:
    """Runs pipelines on a cluster.

    Args:
        cluster: where.
        make_watch: gives what looks on while a round runs; asked anew when the cluster was started anew.
        warn: hears what makes figures doubtful.
        clock: seconds, monotonic.
        model: gives the run's model, for the self-test to load.
        patience_s: how long nothing may move in a round, while workers and driver are idle.
    """

    def __init__(
        self,
        cluster: Cluster,
        make_watch: Callable[[], Watch],
        warn: Callable[[str], None],
        clock: Callable[[], float] = perf_counter,
        model: Callable[[], Classifier] | None = None,
        patience_s: float = math.inf,
    ) -> None:
        self._patience = patience_s
        self._model = model
        self._cluster = cluster
        self._make_watch = make_watch
        self._warn = warn
        self._clock = clock
        self._watch = Watch()
        self._unseen: set[str] = set()
        self._counting: KeptProcess | None = None
        self._counting_since = 0
        self._starts = 0

    def shipping(self, modules: Iterable[ModuleType]) -> AbstractContextManager[None]:
        """While it is open, functions of these modules travel to the workers whole, not by name."""
        return _pickled_by_value(modules)

    def run(self, pipeline: Pipeline, *, keep_outputs: bool, on_rows: Callable[[int], None]) -> Execution:
        """Execute `pipeline` once.

        Raises:
            PipelineError: it returned neither a Dataset nor the number of rows that it wrote.
            CountsLostError: what it counted is not known whole.
            RoundStuckError: it would not have come to its end. The cluster is started anew for the next.
            ClusterLostError: a test has ended it, and there is nothing to go on with.
            Exception: whatever the pipeline or Ray raised.
        """
        self._restore()
        try:
            return self._execute(pipeline, keep_outputs=keep_outputs, on_rows=on_rows)
        except RoundStuckError:
            with suppress(ClusterLostError):  # then the next round says so
                self._restore()  # now: the next test may use Ray before it measures
            raise

    def _execute(
        self, pipeline: Pipeline, *, keep_outputs: bool, on_rows: Callable[[int], None]
    ) -> Execution:
        # The last round's garbage is not this round's work; and until Ray 2.5x an actor pool lives as long as
        # its dataset, which is in a reference cycle: its CPUs come back with the collection.
        collect_garbage()
        if not self._cluster.wait_until_idle():
            self._warn(
                "CPUs or GPUs of the cluster were in use by something else when a round began: "
                "doubtful figures"
            )
        if self._starts != self._cluster.starts:
            self._watch, self._starts = self._make_watch(), self._cluster.starts
        self._cluster.tally.discard()  # what an interrupted round left
        references: list[Any] = []
        rows = first_rows = later = 0
        startup: float | None = None
        with ExitStack() as sampling:
            operators = sampling.enter_context(OperatorMonitor())
            writes = sampling.enter_context(WriteMonitor(self._cluster.nodes == 1))
            for monitor in self._watch.all():
                sampling.enter_context(monitor)
            start = self._clock()
            try:
                with Watchdog(self._vigil(lambda: (operators.progress, rows)).symptom):
                    with instrumented_batches():
                        result = pipeline()
                    if is_count(result):
                        rows = int(result)
                    else:
                        for bundle in bundles_of(result):
                            rows += bundle.num_rows()
                            if startup is None:
                                startup, first_rows = self._clock() - start, rows
                            else:
                                later += 1
                            if keep_outputs:
                                references.extend(bundle.block_refs)
                            on_rows(rows)
                    wall = self._clock() - start
            except RoundStuckError as error:
                release(error)
                self._cluster.end()
                raise
        if is_count(result):
            # Of one execution: it may have been read and written besides.
            check_rows(rows, writes.rows if operators.executions == 1 else ())
        elif was_executed(result) and not operators.executions:
            self._warn(
                "a pipeline executed nothing: the dataset that it returned was materialized before, or is of "
                "data in memory; do all that is to be measured within the pipeline"
            )
        if writes.problem is not None:
            self._warn(f"figures are missing: {writes.problem}")
        spoiled = self._spoiled()
        try:
            taken = self._cluster.tally.take_all()
        except CountsLostError as error:
            taken, spoiled = Taken({}, ()), Spoiled(str(error), lost=True)
        figures = {**self._figures(), **_start_apart(startup, first_rows, later, rows, wall)}
        figures |= _energy(figures, rows, wall)
        memory = figures.pop(PEAK_MEMORY.name, None)
        calls = calls_of(taken.of(CALL))
        return Execution(
            Round(
                rows=rows,
                wall_seconds=wall,
                operators=self._operators(operators, result),
                counters={**writes.written(), **_with_calls(taken.counts, calls)},
                calls=calls,
                peak_worker_memory=None if memory is None else int(memory),
                figures=figures,
                nodes=self._watch.by_node(),
                unseen=self._watch.undecided(),
                utilization=self._watch.utilization(start, wall),
            ),
            fetch(references) if keep_outputs and not is_count(result) else None,
            spoiled,
        )

    def count_work(self, pipeline: Pipeline, *, anew: bool = False, rows: int | None = None) -> Work:
        """Count the pipeline's work for a few batches, untimed.

        Raises:
            WorkUncountable: it cannot be counted in one process, or broke there.
        """
        import ray

        from pytest_rayperf.work.single_pass import KeptProcess, count_work

        self._restore()
        if self._counting is None or self._counting_since != self._cluster.starts:
            # What an earlier cluster had is gone with it.
            self._counting, self._counting_since = KeptProcess(), self._cluster.starts
        try:
            counts = count_work if anew else self._counting.count_work
            return counts(pipeline, rows=rows)
        except ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise WorkUncountable(f"a pass over its first rows broke: {lines[-1]}") from error

    def profile(self, pipeline: Pipeline, folder: Path, slug: str) -> Profile:
        """Execute the pipeline once more, untimed, and write what its UDFs did into `folder`."""
        from pytest_rayperf.profiling import profile_pipeline

        self._restore()
        collect_garbage()
        self._cluster.wait_until_idle()
        return profile_pipeline(pipeline, folder, slug, self._cluster.tally)

    def slowed(self, pipeline: Pipeline, fault: Fault) -> Pipeline:
        """The same pipeline, with a known slowdown put into one of its UDFs of `map_batches`."""
        name = checkpoint = ""
        if fault.kind == "model load" and self._model is not None:
            model = self._model()
            name, checkpoint = model.name, model.checkpoint

        def run() -> Any:
            with faulty_batches((fault.kind, fault.seconds, name, checkpoint), fault.udf):
                return pipeline()

        return run

    def close(self) -> None:
        """End what was started for counting."""
        if self._counting is not None and self._counting_since == self._cluster.starts:
            self._counting.close()
        self._counting = None

    def _restore(self) -> None:
        """Go on with a cluster that somebody has ended."""
        said = self._cluster.restore()
        if said is not None:
            self._warn(said)

    def _vigil(self, progress: Callable[[], object]) -> Vigil:
        return Vigil(
            self._cluster.what_died,
            progress,
            self._cluster.cpu_seconds,
            # Of a cluster that was attached to, others' workers may be meant.
            _count_losses if self._cluster.started_here else lambda: 0,
            self._cluster.taken,
            self._patience,
            max(MOST_LOSSES, 2 * self._cluster.num_cpus),
        )

    def _operators(self, monitor: OperatorMonitor, result: Any) -> tuple[Operator, ...]:
        if monitor.problem is not None:
            self._warn(f"figures are missing: {monitor.problem}")
        if monitor.executions or is_count(result) or was_executed(result):
            return monitor.operators
        return operators_of(result)  # made before Ray Data was told to report: its own statistics remain

    def _spoiled(self) -> Spoiled | None:
        losses = self._watch.losses
        for text in self._watch.unseen():
            # Once a run: the figures in it differ from round to round.
            kind = re.sub(r"[\d.]+", "#", text)
            if kind not in self._unseen:
                self._unseen.add(kind)
                self._warn(f"whether rounds were disturbed is not known whole: {text}")
        if losses is not None and losses.losses():
            return Spoiled("; ".join(losses.losses()), lost=True)
        reasons = self._watch.reasons()
        return Spoiled("; ".join(reasons)) if reasons else None

    def _figures(self) -> dict[str, float]:
        """What the monitors measured, of the metrics that are reported."""
        figures: dict[str, float] = {}
        cost = 0.0
        for monitor in self._watch.all():
            if monitor.problem is not None:
                self._warn(f"figures are missing: {monitor.problem}")
            for own, value in monitor.summary().items():
                name = _REPORTED_AS.get(own, own)
                if name == SAMPLER_CPU.name:
                    cost += value or 0.0
                elif name in METRICS and value is not None:
                    figures[name] = value
        return {**figures, SAMPLER_CPU.name: cost} if cost else figures


def _start_apart(
    startup: float | None, first_rows: int, later: int, rows: int, wall: float
) -> dict[str, float]:
    """Seconds until the first output was there, and rows a second from then on.

    Nothing of a pipeline that executes by itself. No steady throughput where fewer than two outputs came
    `later` than the first: a single one may have been as good as ready, and the rows come a hundred times too
    fast.
    """
    if startup is None:
        return {}
    figures = {STARTUP.name: startup}
    if later >= 2 and rows > first_rows and wall > startup:
        figures[STEADY_THROUGHPUT.name] = (rows - first_rows) / (wall - startup)
    return figures


def _energy(figures: Mapping[str, float], rows: int, wall: float) -> dict[str, float]:
    """Joules a row, and rows a second and watt, of all cards together; nothing where NVML tells no power."""
    watts = figures.get(GPU_POWER.name)
    if not watts or not rows or wall <= 0:
        return {}
    return {ENERGY.name: watts * wall / rows, EFFICIENCY.name: rows / wall / watts}


@contextmanager
def _pickled_by_value(modules: Iterable[ModuleType]) -> Iterator[None]:
    """Send functions and classes of these modules to workers whole, not by name.

    A worker cannot import a test module: it lies in no package, and pytest has rewritten it.
    """
    from ray import cloudpickle

    registered = []
    for module in modules:
        if module.__name__ not in cloudpickle.list_registry_pickle_by_value():
            cloudpickle.register_pickle_by_value(module)
            registered.append(module)
    try:
        yield
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(module)


def _with_calls(counts: Mapping[str, int], calls: Sequence[Call]) -> dict[str, int]:
    """With the calls of UDFs that were seen; a pipeline that counts them by itself knows better."""
    return {UDF_CALLS: len(calls), **counts} if calls else dict(counts)


def _count_losses() -> int:
    try:
        return len(ray_losses().workers)
    except LossError:
        return 0  # the monitor of losses says so

"""One round on Ray.

Between the two readings of the clock a plain script would do the same: call the pipeline and iterate over
the references of the blocks that it gives (what `write` and `materialize` do too). Besides that:

- threads of this process read memory (the workers', the driver's, the object store's) and the GPUs five
  times a second;
- `on_rows` is called with a block's row count, and writes to the terminal at most once a second;
- `pytest_rayperf.count`, where a UDF calls it (a checkpoint's `load` does), writes a line to a file:
  microseconds.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from time import perf_counter
from types import ModuleType
from typing import Any

import numpy as np

from pytest_rayperf.cluster import Cluster
from pytest_rayperf.errors import PipelineError
from pytest_rayperf.measurement import Execution, Outputs, Pipeline
from pytest_rayperf.monitors.operators import operators_of
from pytest_rayperf.monitors.protocol import Monitor
from pytest_rayperf.results import METRICS, PEAK_MEMORY, Round


class RayExecutor:
    """Runs pipelines on a cluster.

    Args:
        cluster: where.
        make_monitors: gives what samples while a round runs; asked anew when the cluster was started anew.
        warn: hears what makes figures doubtful.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        cluster: Cluster,
        make_monitors: Callable[[], Sequence[Monitor]],
        warn: Callable[[str], None],
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._cluster = cluster
        self._make_monitors = make_monitors
        self._warn = warn
        self._clock = clock
        self._monitors: Sequence[Monitor] = ()
        self._starts = 0

    def shipping(self, modules: Iterable[ModuleType]) -> AbstractContextManager[None]:
        """While it is open, functions of these modules travel to the workers whole, not by name."""
        return _pickled_by_value(modules)

    def run(self, pipeline: Pipeline, *, keep_outputs: bool, on_rows: Callable[[int], None]) -> Execution:
        """Execute `pipeline` once.

        Raises:
            PipelineError: it returned neither a Dataset nor a number of rows.
            CountsLostError: what it counted is not known whole.
            Exception: whatever the pipeline or Ray raised.
        """
        # The last round's garbage is not this round's work; and until Ray 2.5x an actor pool lives as long as
        # its dataset, which is in a reference cycle: its CPUs come back with the collection.
        gc.collect()
        if not self._cluster.wait_until_idle():
            self._warn(
                "the cluster's CPUs were in use by something else when a round began: doubtful figures"
            )
        if self._starts != self._cluster.starts:
            self._monitors, self._starts = self._make_monitors(), self._cluster.starts
        self._cluster.tally.discard()  # what an interrupted round left
        references: list[Any] = []
        rows = 0
        with ExitStack() as sampling:
            for monitor in self._monitors:
                sampling.enter_context(monitor)
            start = self._clock()
            result = pipeline()
            if _is_count(result):
                rows = int(result)
            else:
                for bundle in _bundles(result):
                    rows += bundle.num_rows()
                    if keep_outputs:
                        references.extend(bundle.block_refs)
                    on_rows(rows)
            wall = self._clock() - start
        figures = self._figures()
        memory = figures.pop(PEAK_MEMORY.name, None)
        return Execution(
            Round(
                rows=rows,
                wall_seconds=wall,
                operators=() if _is_count(result) else operators_of(result),
                counters=self._cluster.tally.take(),
                peak_worker_memory=None if memory is None else int(memory),
                figures=figures,
            ),
            fetch(references) if keep_outputs and not _is_count(result) else None,
        )

    def _figures(self) -> dict[str, float]:
        """What the monitors measured, of the metrics that are reported."""
        figures = {}
        for monitor in self._monitors:
            if monitor.problem is not None:
                self._warn(f"figures are missing: {monitor.problem}")
            for name, value in monitor.summary().items():
                if name in METRICS and value is not None:
                    figures[name] = value
        return figures


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


def _is_count(result: Any) -> bool:
    return isinstance(result, int | np.integer) and not isinstance(result, bool)


def _bundles(result: Any) -> Any:
    from ray.data import Dataset

    if isinstance(result, Dataset):
        return result.iter_internal_ref_bundles()
    raise PipelineError(
        f"the pipeline returned {type(result).__name__}, not a ray.data.Dataset or a number of rows; "
        "return the lazy dataset itself, or, where it executes by itself (a write), the rows it wrote"
    )


def fetch(references: list[Any]) -> Outputs:
    """The rows behind block references, as column name -> array of N rows."""
    import ray
    from ray.data.block import BlockAccessor

    parts: dict[str, list[Any]] = {}
    names: set[str] | None = None
    for reference in references:
        block = BlockAccessor.for_block(ray.get(reference))
        if block.num_rows() == 0:
            continue
        columns = block.to_numpy()
        if names is None:
            names = set(columns)
        elif names != set(columns):
            raise PipelineError(f"blocks of one output have different columns: {names ^ set(columns)}")
        for name, values in columns.items():
            parts.setdefault(name, []).append(values)
    return {name: _joined(arrays) for name, arrays in parts.items()}


def _joined(arrays: list[Any]) -> Any:
    if len({array.shape[1:] for array in arrays}) == 1:
        return np.concatenate(arrays)
    joined = np.empty(sum(len(array) for array in arrays), dtype=object)
    joined[:] = [row for array in arrays for row in array]
    return joined

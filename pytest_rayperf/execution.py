"""One round on Ray.

Between the two readings of the clock a plain script would do the same: call the pipeline and iterate over
the references of the blocks that it gives (what `write` and `materialize` do too). Besides that:

- a thread of this process reads the workers' memory five times a second;
- `on_rows` is called with a block's row count, and writes to the terminal at most once a second;
- `pytest_rayperf.count`, where a UDF calls it (a checkpoint's `load` does), asks an actor: about 1 ms.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import perf_counter
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from pytest_rayperf.cluster import Cluster
from pytest_rayperf.errors import PipelineError
from pytest_rayperf.measurement import Execution, Outputs, Pipeline
from pytest_rayperf.monitors.operators import operators_of
from pytest_rayperf.results import Round


class MemoryMonitor(Protocol):
    """What a round needs of the system monitor."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *exc_info: Any) -> None: ...

    def summary(self) -> Any:
        """Figures by name; `peak_worker_memory` (bytes or None) among them."""


class RayExecutor:
    """Runs pipelines on a cluster.

    Args:
        cluster: where.
        monitor: samples the workers' memory while a round runs.
        warn: hears what makes figures doubtful.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        cluster: Cluster,
        monitor: MemoryMonitor,
        warn: Callable[[str], None],
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._cluster = cluster
        self._monitor = monitor
        self._warn = warn
        self._clock = clock

    def shipping(self, modules: Iterable[ModuleType]) -> AbstractContextManager[None]:
        """While it is open, functions of these modules travel to the workers whole, not by name."""
        return _pickled_by_value(modules)

    def run(self, pipeline: Pipeline, *, keep_outputs: bool, on_rows: Callable[[int], None]) -> Execution:
        """Execute `pipeline` once.

        Raises:
            PipelineError: it returned neither a Dataset nor a number of rows.
            Exception: whatever the pipeline or Ray raised.
        """
        import ray

        # The last round's garbage is not this round's work; and until Ray 2.5x an actor pool lives as long as
        # its dataset, which is in a reference cycle: its CPUs come back with the collection.
        gc.collect()
        if not self._cluster.wait_until_idle():
            self._warn(
                "the cluster's CPUs were in use by something else when a round began: doubtful figures"
            )
        ray.get(self._cluster.tally.take.remote())  # what an interrupted round left
        references: list[Any] = []
        rows = 0
        with self._monitor as monitor:
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
        memory = monitor.summary()["peak_worker_memory"]
        return Execution(
            Round(
                rows=rows,
                wall_seconds=wall,
                operators=() if _is_count(result) else operators_of(result),
                counters=ray.get(self._cluster.tally.take.remote()),
                peak_worker_memory=None if memory is None else int(memory),
            ),
            fetch(references) if keep_outputs and not _is_count(result) else None,
        )


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

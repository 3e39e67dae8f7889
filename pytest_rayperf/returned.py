"""What a pipeline returned: a dataset, whose rows are fetched, or the number of rows that it wrote."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pytest_rayperf.errors import PipelineError
from pytest_rayperf.measurement import Outputs

__tracebackhide__ = True  # who reads the traceback of a pipeline looks for its own lines


def is_count(result: Any) -> bool:
    """Whether it is a number of rows: the pipeline has executed by itself."""
    return isinstance(result, int | np.integer) and not isinstance(result, bool)


def was_executed(dataset: Any) -> bool:
    """Whether it was materialized before: its own statistics are of that execution, and of no round."""
    from ray.data.dataset import MaterializedDataset

    return isinstance(dataset, MaterializedDataset)


def check_rows(returned: int, written: Sequence[int]) -> None:
    """Hold that a write returned how many rows it wrote.

    Args:
        returned: by the pipeline.
        written: what Ray Data told of each of its writes; of several, or of none, it is not compared.

    Raises:
        PipelineError: it returned another number, or one below 0.
    """
    if returned < 0:
        raise PipelineError(f"the pipeline returned {returned}; a write returns how many rows it wrote")
    if len(written) == 1 and written[0] != returned:
        raise PipelineError(
            f"the pipeline returned {returned}, and Ray Data wrote {written[0]} rows; return how many it "
            "wrote"
        )


def bundles_of(result: Any) -> Iterator[Any]:
    """Execute the dataset, and give Ray Data's bundles of references to its blocks.

    Raises:
        PipelineError: it is no dataset.
    """
    from ray.data import Dataset

    if isinstance(result, Dataset):
        return iter(result.iter_internal_ref_bundles())
    if inspect.iscoroutine(result):
        result.close()  # or Python warns that nobody has awaited it
    raise PipelineError(
        f"the pipeline returned {type(result).__name__}, not a ray.data.Dataset or a number of rows; "
        "return the lazy dataset itself, or, where it executes by itself (a write), the rows it wrote"
    )


def fetch(references: list[Any]) -> Outputs:
    """The rows behind block references, as column name -> array of N rows.

    Raises:
        PipelineError: the blocks have different columns.
    """
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

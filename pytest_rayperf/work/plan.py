"""What one pass over a pipeline's first rows has to do: Ray Data's own plan, operator by operator.

Made in the driver, by Ray Data's optimizer of logical operators and its planner. Its optimizer of physical
operators is left out: it fuses operators, and splits blocks and reads by the CPUs of the cluster, so that
counts would be one machine's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_rayperf.work.counts import WorkUncountable

if TYPE_CHECKING:
    from ray.data import Dataset

MIN_ROWS = 16
"""Rows of a pass without batches, or with small ones."""


@dataclass(frozen=True)
class Stage:
    """One operator.

    name: Ray Data's, with ` #2` behind it where an operator before has the same.
    transformer: Ray Data's `MapTransformer`: blocks -> blocks. None where rows are only cut off.
    source: it reads: of what it gives, the first rows are taken and no more is read.
    limit: rows to cut off at.
    """

    name: str
    transformer: Any = None
    source: bool = False
    limit: int | None = None


@dataclass(frozen=True)
class PassPlan:
    """What is sent to the process that counts.

    stages: in order.
    blocks: references of the blocks that the first stage gets, where Ray Data has them already.
    read_tasks: what the first stage gets where it reads.
    rows: of the data, how many at most.
    context: the dataset's DataContext.
    options: of the actor: GPUs and runtime environment, as the pipeline's operators want them.
    """

    stages: tuple[Stage, ...]
    blocks: tuple[Any, ...]
    read_tasks: tuple[Any, ...]
    rows: int
    context: Any
    options: dict[str, Any] = field(default_factory=dict)


def plan_pass(dataset: Dataset, max_rows: int, rows: int | None = None) -> PassPlan:
    """Plan a pass over the first rows of a lazy dataset.

    Args:
        dataset: nothing of it is executed.
        max_rows: of two of its largest batches, how many rows at most.
        rows: so many, whatever its batches.

    Raises:
        WorkUncountable: the pipeline has an operator that is more than a function of blocks one after
        another.
    """
    from ray.data._internal.logical.interfaces import LogicalPlan
    from ray.data._internal.logical.optimizers import LogicalOptimizer
    from ray.data._internal.planner import create_planner

    logical = dataset._logical_plan
    # The optimizer may change a plan that it is given; this one is not the dataset's.
    logical = LogicalOptimizer().optimize(LogicalPlan(logical.dag, logical.context))
    chain = _chain(logical.dag)
    _refuse(chain)
    planned = create_planner().plan(logical)
    physical = planned[0] if isinstance(planned, tuple) else planned  # with callbacks from Ray 2.5x on
    operators = _chain(physical.dag)
    batches = [size for size in (_attribute(op, "batch_size") for op in chain) if isinstance(size, int)]
    if rows is None:
        rows = min(max_rows, max(2 * max(batches, default=0), MIN_ROWS))
    stages = _stages(operators[1:], chain)
    blocks, read_tasks = _inputs(operators[0], chain[0], rows)
    return PassPlan(stages, blocks, read_tasks, rows, dataset.context, _actor_options(operators))


def _chain(last: Any) -> list[Any]:
    """Operators from the first to the last."""
    chain = [last]
    while chain[-1].input_dependencies:
        if len(chain[-1].input_dependencies) > 1:
            raise WorkUncountable(
                f"{chain[-1].name} joins several datasets; only pipelines of one operator after another can "
                "be counted in one pass"
            )
        chain.append(chain[-1].input_dependencies[0])
    return chain[::-1]


def _refuse(chain: list[Any]) -> None:
    from ray.data._internal.logical.operators.from_operators import AbstractFrom
    from ray.data._internal.logical.operators.input_data_operator import InputData
    from ray.data._internal.logical.operators.map_operator import AbstractMap
    from ray.data._internal.logical.operators.one_to_one_operator import Limit
    from ray.data._internal.logical.operators.write_operator import Write

    for operator in chain:
        if isinstance(operator, Write):
            raise WorkUncountable(f"{operator.name} would write a part of the output; writes are not counted")
        lists_files = type(operator).__name__ == "ListFiles"  # from Ray 2.5x on
        if not (isinstance(operator, AbstractFrom | InputData | AbstractMap | Limit) or lists_files):
            raise WorkUncountable(
                f"{operator.name} needs all rows at once, or goes on among several processes; it cannot be "
                "run on the first rows in one"
            )


def _stages(operators: list[Any], chain: list[Any]) -> tuple[Stage, ...]:
    from ray.data._internal.execution.operators.limit_operator import LimitOperator
    from ray.data._internal.execution.operators.map_operator import MapOperator

    reads = {op.name for op in chain if type(op).__name__ in ("Read", "ReadFiles")}
    names: dict[str, int] = {}
    stages = []
    for operator in operators:
        if isinstance(operator, LimitOperator):
            stages.append(Stage(operator.name, limit=operator._limit))
            continue
        if not isinstance(operator, MapOperator):
            raise WorkUncountable(f"{operator.name} cannot be run on blocks in one process")
        number = names[operator.name] = names.get(operator.name, 0) + 1
        name = operator.name if number == 1 else f"{operator.name} #{number}"
        stages.append(Stage(name, operator.get_map_transformer(), source=operator.name in reads))
    return tuple(stages)


def _inputs(first: Any, logical: Any, rows: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """References of blocks, or tasks that read."""
    from ray.data._internal.logical.operators.read_operator import Read

    if isinstance(logical, Read):
        reader = _attribute(logical, "datasource_or_legacy_reader")
        limit = _attribute(logical, "per_block_limit")
        with _without_threads(reader):
            # One task: how many there are depends on the CPUs otherwise. It reads lazily.
            tasks = reader.get_read_tasks(1, **({} if limit is None else {"per_task_row_limit": limit}))
        return (), (FirstRows(tuple(tasks), rows),)
    if not first._is_input_initialized:
        bundles = first._input_data_factory(first.data_context.target_max_block_size)
    else:
        bundles = first._input_data
    references: list[Any] = []
    found = 0
    for bundle in bundles:
        references.extend(bundle.block_refs)
        found += bundle.num_rows() or 0
        if found >= rows and type(logical).__name__ != "ListFiles":  # its rows are paths
            break
    return tuple(references), ()


@contextmanager
def _without_threads(reader: Any) -> Iterator[None]:
    """Have read tasks made that read in their own thread: images are read by eight more, ahead of need.

    The reader is left as it was, for a pipeline may be made of the same one again, to be measured.
    """
    own = vars(reader)
    before = own.get("_NUM_THREADS_PER_TASK")
    if hasattr(reader, "_NUM_THREADS_PER_TASK"):
        reader._NUM_THREADS_PER_TASK = 0
    try:
        yield
    finally:
        own.pop("_NUM_THREADS_PER_TASK", None)
        if before is not None:
            reader._NUM_THREADS_PER_TASK = before


def _actor_options(operators: list[Any]) -> dict[str, Any]:
    wanted = [getattr(operator, "_ray_remote_args", None) or {} for operator in operators]
    gpus = max((args.get("num_gpus") or 0 for args in wanted), default=0)
    environments: list[Any] = []
    for args in wanted:
        if args.get("runtime_env") and args["runtime_env"] not in environments:
            environments.append(args["runtime_env"])
    if len(environments) > 1:
        raise WorkUncountable(
            "the operators have different runtime environments, and one process has but one of them"
        )
    # No CPU: it runs while nothing is measured, and must fit beside an actor pool that is not gone yet.
    options: dict[str, Any] = {"num_cpus": 0, "num_gpus": gpus}
    return {**options, "runtime_env": environments[0]} if environments else options


def _attribute(operator: Any, name: str) -> Any:
    """A logical operator's attribute: with an underscore before it until Ray 2.5x."""
    return getattr(operator, name, getattr(operator, f"_{name}", None))


class FirstRows:
    """A read task that reads on no further than the first `rows` rows of `tasks`."""

    def __init__(self, tasks: tuple[Any, ...], rows: int) -> None:
        self._tasks = tasks
        self._rows = rows

    def __call__(self) -> Iterator[Any]:
        """The blocks, as Ray Data's read tasks give them."""
        return cut((block for task in self._tasks for block in task()), self._rows)


def cut(blocks: Iterable[Any], rows: int) -> Iterator[Any]:
    """The blocks' first `rows` rows; no block is asked for once they are there."""
    from ray.data.block import BlockAccessor

    left = rows
    if left <= 0:
        return
    for block in blocks:
        accessor = BlockAccessor.for_block(block)
        number = accessor.num_rows()
        yield block if number <= left else accessor.slice(0, left, copy=False)
        left -= number
        if left <= 0:
            return

"""Ray Data's figures by operator. The only place that knows their names, from Ray 2.51 to 2.60.

An `OperatorMonitor` listens to each execution while it is open, through Ray Data's own execution callbacks.
So executions are seen that give no dataset back (a write), and actor pools while they run; a dataset's
statistics tell of neither, and belong to the very dataset that was consumed.

What differs between versions, or is not what it seems:

- Callbacks are instances in the context's configuration until 2.5x, and classes in
  `custom_execution_callback_classes` later.
- A summary's figures are dicts (`{"sum": ...}`) at first and objects (`.sum`) later. The time inside the
  functions is `udf_time` at first and `function_body_time` later.
- The number of blocks lags for the last operator in 2.60; that of tasks is taken from the rows by task.
- The time to schedule tasks (`task_scheduling_time_s`) is not there at first.
- A write's summary counts the blocks of its own result, one row a task, not the rows that it wrote.
- The second half of a shuffle by keys, a sort, a join and an aggregation (`HashShuffleReduce(...)`), and what
  is fused with it, tells of 10 microseconds in 2.60 where a UDF of `map_groups` computes for a second.

What is not there is None.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from pytest_rayperf.results import Operator

_INTERVAL_S = 0.05
"""A pool is looked at this often at the most: an executor's loop may turn a thousand times a second."""

_UNKNOWN = (AttributeError, KeyError, TypeError, ValueError)
"""What comes of a Ray that calls things differently."""

_UNTIMED = ("ShuffleReduce(", "AggregateReduce(")
"""In the names of those operators whose times are none: Ray 2.60 begins to time them when they are done."""

_listening: OperatorMonitor | None = None


@dataclass
class _Pool:
    """An operator's actors, as they were seen while it ran."""

    most: int = 0
    actor_seconds: float = 0.0


class OperatorMonitor:
    """Hears of every operator that is executed while it is open: `with monitor as m: ...; m.operators`.

    Only of datasets that were made after `listen_to_executions` was called.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._problem: str | None = None
        self._operators: list[Operator] = []
        self._pools: dict[Any, _Pool] = {}
        self._looked: dict[int, float] = {}
        self.executions = 0
        """How many were heard to their end in the last block, failed ones too."""
        self.progress: tuple[int, ...] = ()
        """Of the execution that was looked at last: changes with each task that ends, and each block."""

    @property
    def available(self) -> bool:
        """Whether Ray's names were as expected, as far as is known."""
        return self._problem is None

    @property
    def problem(self) -> str | None:
        """Why figures are missing; None while nothing is wrong."""
        return self._problem

    @property
    def operators(self) -> tuple[Operator, ...]:
        """What was executed in the last block, in order; nothing if Ray's names were not as expected."""
        return () if self._problem else tuple(self._operators)

    def __enter__(self) -> OperatorMonitor:
        """Forget the last block, and listen."""
        global _listening
        self._problem, self.executions, self.progress = None, 0, ()
        self._operators, self._pools, self._looked = [], {}, {}
        _listening = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _listening
        _listening = None

    def summary(self) -> Mapping[str, float | None]:
        """Nothing: what it has is by operator."""
        return {}

    def step(self, executor: Any) -> None:
        """Look at the actor pools of an execution that is running."""
        now = self._clock()
        before = self._looked.get(id(executor))
        if before is not None and now - before < _INTERVAL_S:
            return
        self._looked[id(executor)] = now
        try:
            for operator in executor._topology:
                pools = operator.get_autoscaling_actor_pools()
                if pools:
                    running = sum(pool.num_running_actors() for pool in pools)
                    seen = self._pools.setdefault(operator, _Pool())
                    seen.most = max(seen.most, running)
                    seen.actor_seconds += running * (now - before if before is not None else 0.0)
            self.progress = tuple(
                int(getattr(getattr(operator, "metrics", None), name, 0))
                for operator in executor._topology
                for name in ("num_tasks_finished", "num_task_outputs_generated")
            )
        except _UNKNOWN as error:
            self._fail(error)

    def end(self, executor: Any) -> None:
        """Take the figures of an execution that has ended."""
        self.executions += 1
        try:
            # One summary an operator, each with those before it as its parents. What a materialized dataset
            # had cost before it went in stands in front: that was another execution.
            summaries = _chain(executor.get_stats().to_summary())
            executed = [op for op in executor._topology if type(op).__name__ != "InputDataBuffer"]
            own = summaries[len(summaries) - len(executed) :]
            for operator, summary in zip(executed, own, strict=True):
                self._operators += _operators(summary, self._pools.get(operator))
        except _UNKNOWN as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._problem = f"this Ray's figures by operator are not where they were ({error!r})"


def listen_to_executions() -> None:
    """Have Ray Data tell the open `OperatorMonitor` of the executions of datasets made from now on.

    Once a process: the datasets' context outlives the cluster.
    """
    import ray.data
    from ray.data._internal.execution.execution_callback import ExecutionCallback

    def tell(action: str, executor: Any) -> None:
        import sys

        here = sys.modules.get("pytest_rayperf.monitors.operators")
        if here is not None and here._listening is not None:
            getattr(here._listening, action)(executor)

    class Listener(ExecutionCallback):  # type: ignore[misc]  # Ray has no types
        """Hands on to whichever monitor is open.

        The context, and all in it, is copied with each dataset and sent to each worker: so this class uses no
        name of the module, which would go with it, and needs no pytest_rayperf there.
        """

        def on_execution_step(self, executor: Any) -> None:
            tell("step", executor)

        def after_execution_succeeds(self, executor: Any) -> None:
            tell("end", executor)

        def after_execution_fails(self, executor: Any, error: Exception) -> None:
            tell("end", executor)

    context = ray.data.DataContext.get_current()
    if context.get_config(_LISTENS, False):
        return
    context.set_config(_LISTENS, True)
    if hasattr(context, "custom_execution_callback_classes"):
        context.custom_execution_callback_classes.append(Listener)
    else:
        from ray.data._internal.execution.execution_callback import (
            add_execution_callback,
            get_execution_callbacks,
        )

        # Ray's own callbacks are in the list only if nobody has added one: they are put there first.
        context.set_config("execution_callbacks", list(get_execution_callbacks(context)))
        add_execution_callback(Listener(), context)


_LISTENS = "pytest_rayperf_listens"


def operators_of(dataset: Any) -> tuple[Operator, ...]:
    """What each operator of an executed dataset did, first operator first; nothing is known of its actors.

    Args:
        dataset: a `ray.data.Dataset` whose rows have all been consumed. The statistics belong to the very
            dataset that was consumed, not to those that it was made from.
    """
    summary = getattr(dataset, "get_stats_summary", None) or dataset._get_stats_summary
    return tuple(operator for one in _chain(summary()) for operator in _operators(one, None))


def _chain(summary: Any) -> list[Any]:
    """The summaries of all operators, first to last."""
    return [one for parent in summary.parents for one in _chain(parent)] + [summary]


def _operators(summary: Any, pool: _Pool | None) -> Iterable[Operator]:
    metrics: Mapping[str, Any] = summary.extra_metrics
    several = len(summary.operators_stats) > 1
    for stats in summary.operators_stats:
        if _figure(stats, "wall_time") is not None:
            # A shuffle has several stages and one set of metrics: whose they are is not known.
            yield _operator(stats, {} if several else metrics, pool)


def _operator(stats: Any, metrics: Mapping[str, Any], pool: _Pool | None) -> Operator:
    if any(half in stats.operator_name for half in _UNTIMED):
        wall = cpu = udf = None
    else:
        body, older = _figure(stats, "function_body_time"), _figure(stats, "udf_time")
        udf = body if body is not None else older
        wall, cpu = _figure(stats, "wall_time"), _figure(stats, "cpu_time")
    busy = None
    if pool is not None and pool.actor_seconds > 0 and wall is not None:
        # The pool is looked at now and then, its tasks time themselves: the two may differ by some percent.
        busy = min(1.0, wall / pool.actor_seconds)
    return Operator(
        name=stats.operator_name,
        wall_s=wall,
        cpu_s=cpu,
        udf_s=udf,
        rows=_whole(_figure(stats, "output_num_rows")),
        bytes=_whole(_figure(stats, "output_size_bytes")),
        # Blocks lag for the last operator in 2.60; the tasks that gave rows do not.
        tasks=_whole(_figure(stats, "task_rows", "count")),
        blocks=_whole(_number(metrics, "num_task_outputs_generated")),
        bytes_in=_whole(_number(metrics, "bytes_task_inputs_processed")),
        scheduling_s=_number(metrics, "task_scheduling_time_s"),
        backpressure_s=_sum(
            _number(metrics, "task_submission_backpressure_time"),
            _number(metrics, "task_output_backpressure_time"),
        ),
        actors=pool.most if pool is not None and pool.most else None,
        actor_utilization=busy,
        errored_blocks=_whole(_number(metrics, "num_tasks_failed")),  # one block, as Ray counts it, for each
    )


def _number(metrics: Mapping[str, Any], name: str) -> float | None:
    value = metrics.get(name)
    return float(value) if isinstance(value, int | float) else None


def _sum(*values: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _figure(stats: Any, name: str, part: str = "sum") -> float | None:
    value = getattr(stats, name, None)
    if value is None:
        return None
    value = value.get(part) if isinstance(value, dict) else getattr(value, part)
    return None if value is None else float(value)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)

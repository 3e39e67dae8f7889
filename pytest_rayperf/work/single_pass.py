"""Counts what a pipeline's operators do for its first rows: once, in one process, one after another.

The process is an actor of its own on the cluster, rather than the driver: there the UDFs have what they have
in a round (runtime environment, GPU, node), and neither pytest's imports nor the threads that sample. An
actor starts a new process, so that a pass depends on no other. It has one thread: callable classes, which Ray
Data calls in a thread beside the actor's, are called in the actor's.

Each operator runs over all rows, then the next one over what came out: as tasks of one bundle would. Its
first run is not counted (imports, caches, compilers; without a probe, in which importing torch takes three
times as long), nor the second (what counting itself makes ready), the third is. So is a callable class
constructed, apart. What happens only at every tenth batch, say, is not seen.
"""

from __future__ import annotations

import gc
import platform
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pytest_rayperf.counters import counting_into
from pytest_rayperf.software import software_versions
from pytest_rayperf.work.counts import (
    DEVICE,
    FILES_OPENED,
    GATING_SOFTWARE,
    OperatorWork,
    Work,
    WorkUncountable,
    left_out,
    merge_passes,
    work_from_json,
    work_to_json,
)
from pytest_rayperf.work.plan import PassPlan, Stage, cut, plan_pass
from pytest_rayperf.work.probe import Probe
from pytest_rayperf.work.sleeps import stand_in

MAX_ROWS = 32
TIME_LIMIT_S = 600.0


def count_work(
    pipeline: Callable[[], Any],
    *,
    repeats: int = 2,
    max_rows: int = MAX_ROWS,
    time_limit_s: float = TIME_LIMIT_S,
    rows: int | None = None,
) -> Work:
    """Count the work that a pipeline's operators do for its first rows.

    Two processes, or more, count independently of each other; what they do not agree on is left out and named
    in `Work.undetermined`. Call it within `RayExecutor.shipping` of the modules that the pipeline's functions
    are in.

    Args:
        pipeline: returns a lazy dataset. It is called once a repetition.
        repeats: how many processes count, 1 or more. With 1 nothing shows that counts are determined.
        max_rows: how many rows are read at most. Two of the largest batches are, if that is less; of a batch
            that is larger, this many rows.
        time_limit_s: seconds that one process may take, its start included.
        rows: how many are read, whatever the batches: as many as what it is to be compared with.

    Raises:
        WorkUncountable: the pipeline is none of one operator after another (it shuffles, joins, writes, or
            has executed by the time it returns), has an asynchronous UDF, or takes too long.
        ray.exceptions.RayError: an operator raised, or the process died.
        ValueError: `repeats`, `max_rows` or `rows` is below 1.
    """
    import ray

    if min(repeats, max_rows, 1 if rows is None else rows) < 1:
        raise ValueError(f"repeats and rows must be 1 or more, got {repeats}, {max_rows} and {rows}")
    passes = []
    for _ in range(repeats):
        plan = _plan(pipeline, max_rows, rows)
        process = _process(plan)
        try:
            passes.append(_run(plan, process, time_limit_s))
        finally:
            ray.kill(process)
    return merge_passes(passes)


class KeptProcess:
    """Counts one pipeline after another in the same process, which spares its start and its imports.

    A process that holds a GPU is not kept: the next pipeline could wait for that GPU without an end.

    What was counted there agrees with `count_work` unless a pipeline before it left something behind in the
    process. So a difference that is found with it is to be looked at with `count_work` again.
    """

    def __init__(self) -> None:
        self._process: Any = None
        self._options: dict[str, Any] | None = None

    def count_work(
        self, pipeline: Callable[[], Any], *, max_rows: int = MAX_ROWS, rows: int | None = None
    ) -> Work:
        """As the function of that name does with one repetition; raises what that raises."""
        plan = _plan(pipeline, max_rows, rows)
        if self._process is None or self._options != plan.options:
            self.close()
            self._process, self._options = _process(plan), plan.options
        try:
            work = _run(plan, self._process, TIME_LIMIT_S)
        except BaseException:
            self.close()  # it may be dead, or at work still
            raise
        if plan.options["num_gpus"]:
            self.close()
        return work

    def close(self) -> None:
        """End the process, if there is one."""
        import ray

        process, self._process = self._process, None
        if process is not None and ray.is_initialized():
            ray.kill(process)


def _plan(pipeline: Callable[[], Any], max_rows: int, rows: int | None) -> PassPlan:
    from ray.data import Dataset

    dataset = pipeline()
    if not isinstance(dataset, Dataset):
        raise WorkUncountable(
            f"the pipeline returned {type(dataset).__name__}, no lazy dataset: it has executed already"
        )
    return plan_pass(dataset, max_rows, rows)


def _process(plan: PassPlan) -> Any:
    import ray

    return ray.remote(**plan.options)(_Counting).remote()


def _run(plan: PassPlan, process: Any, time_limit_s: float) -> Work:
    import ray

    try:
        answer = ray.get(process.run.remote(plan), timeout=time_limit_s)
    except ray.exceptions.GetTimeoutError as error:
        raise WorkUncountable(
            f"a pass over {plan.rows} rows took longer than {time_limit_s:g} s; count fewer rows"
        ) from error
    if "uncountable" in answer:
        raise WorkUncountable(answer["uncountable"])
    return work_from_json(answer, "the count of a pass")


class _Counting:
    """Runs as a Ray actor."""

    def __init__(self) -> None:
        # Before the pipeline's functions come: what they have of it as defaults, or in closures, is this.
        stand_in()

    def run(self, plan: PassPlan) -> dict[str, Any]:
        """A pass: `Work` as JSON's types, or why there is none."""
        from ray.data.context import DataContext

        DataContext._set_current(plan.context)
        with counting_into(None):  # a round's counts are not of this pass: of what only warms it up neither
            return self._run(plan)

    def _run(self, plan: PassPlan) -> dict[str, Any]:
        import ray

        blocks = list(plan.read_tasks) or [ray.get(reference) for reference in plan.blocks]
        if plan.blocks and not any(stage.source for stage in plan.stages):
            blocks = list(cut(blocks, plan.rows))
        operators: list[OperatorWork] = []
        notes: list[str] = []
        for stage in plan.stages:
            if stage.transformer is None:
                blocks = list(cut(blocks, stage.limit or 0))
                continue
            try:
                with _file_readers_counted() as watch:
                    work, blocks = _count_stage(stage, blocks, plan.rows, watch, notes)
            except WorkUncountable as error:
                return {"uncountable": str(error)}
            operators.append(work)
        software = _software() | ({DEVICE: "gpu"} if plan.options.get("num_gpus") else {})
        return work_to_json(Work(tuple(operators), software, tuple(notes)))


def _count_stage(
    stage: Stage, blocks: list[Any], rows: int, watch: Callable[[Probe], None], notes: list[str]
) -> tuple[OperatorWork, list[Any]]:
    """What an operator does for `blocks`, and what it gives for them. Says in `notes` what is not counted."""
    import ray
    from ray.data._internal.execution.interfaces.task_context import TaskContext
    from ray.data._internal.output_buffer import OutputBlockSizeOption

    functions = stage.transformer.get_transform_fns()
    if stage.source:
        for function in functions:  # or it would read on until its block has 128 MB
            function._output_block_size_option = OutputBlockSizeOption(target_num_rows_per_block=rows)
    context = TaskContext(task_idx=0, op_name=stage.name)
    TaskContext.set_current(context)

    def run() -> list[Any]:
        data: Any = iter(blocks)
        for function in functions:
            data = function(data, context)
        return list(cut(data, rows)) if stage.source else list(data)

    def note(problems: dict[str, str], construction: bool = False) -> None:
        notes.extend(
            left_out(stage.name, *one, construction=construction) for one in sorted(problems.items())
        )

    threads = set(threading.enumerate())
    construction = _construct(stage, watch, note)
    _seed()
    run()
    _forget_garbage()
    _seed()
    with Probe():  # what is made ready for counting is not the UDF's work either
        run()
    others = sorted(thread.name for thread in set(threading.enumerate()) - threads)
    unseen = f"it has threads of its own ({others[0]}), whose work is not seen" if others else None
    _seed()
    with Probe(unseen) as probe:
        watch(probe)
        output = run()
    counted = probe.counted
    note(dict(counted.problems))
    ray.data._map_actor_context = None  # the next operator's classes go there
    number = sum(_num_rows(block) for block in (output if stage.source else blocks))
    work = OperatorWork(stage.name, number, construction, counted.counts, counted.calls, counted.direct)
    # Through the object store, as between operators: what comes out of it can be read only, and lies there
    # whole.
    return work, [ray.get(ray.put(block)) for block in output]


def _construct(stage: Stage, watch: Callable[[Probe], None], note: Callable[..., None]) -> dict[str, int]:
    """Construct the operator's callable classes twice, and count the second time; {} where it has none."""
    import ray

    ray.data._map_actor_context = None
    stage.transformer.init()
    first = ray.data._map_actor_context
    if first is None:
        return {}
    if first.is_async:
        raise WorkUncountable(
            f"{stage.name} has an asynchronous UDF, whose calls run in an order that depends on their times"
        )
    ray.data._map_actor_context = first = None  # two models may not fit
    _forget_garbage()
    with Probe():
        stage.transformer.init()
    ray.data._map_actor_context = None
    _seed()
    with Probe() as probe:
        watch(probe)
        stage.transformer.init()
    note(dict(probe.counted.problems), True)
    context = ray.data._map_actor_context
    # By name until Ray 2.5x: one instance.
    instances = context.udf_instances.values() if hasattr(context, "udf_instances") else [context.udf_map_fn]
    for instance in instances:
        if hasattr(instance, "thread_pool_executor"):
            instance.thread_pool_executor = _Here()
    return dict(probe.counted.counts)


class _Here:
    """In the place of the executor through which Ray Data calls a callable class: calls it at once."""

    def submit(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> _Here:
        self._result = function(*arguments, **keywords)
        return self

    def result(self) -> Any:
        result = self._result
        del self._result  # what is kept is not freed
        return result


@contextmanager
def _file_readers_counted() -> Iterator[Callable[[Probe], None]]:
    """Count the files that Ray Data's readers open through Arrow: Python has no audit events of them."""
    from ray.data.datasource.file_based_datasource import FileBasedDatasource

    original = FileBasedDatasource._open_input_source
    probes: list[Probe] = []

    def open_counted(self: Any, *arguments: Any, **keywords: Any) -> Any:
        if probes:
            probes[-1].add(FILES_OPENED)
        return original(self, *arguments, **keywords)

    FileBasedDatasource._open_input_source = open_counted
    try:
        yield probes.append
    finally:
        FileBasedDatasource._open_input_source = original


def _forget_garbage() -> None:
    """Leave what there is now out of later collections: each Probe has one, of which torch is 0.2 s."""
    gc.collect()
    gc.freeze()


def _seed() -> None:
    """The same random numbers each time: what a random augmentation does is a matter of them."""
    import random

    import numpy as np

    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def _num_rows(block: Any) -> int:
    from ray.data.block import BlockAccessor

    return int(BlockAccessor.for_block(block).num_rows())


def _software() -> dict[str, str]:
    versions = {**software_versions(), "machine": platform.machine()}
    return {name: version for name in GATING_SOFTWARE if (version := versions.get(name)) is not None}

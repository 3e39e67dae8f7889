"""What to set for a cluster, a data set and a model before anything is measured, and where that is from.

Starting points out of published rules, not optima: the batch size and the pool are to be measured from
there. Sizes are in bytes. The constants of Ray are those of 2.60, read in its source.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_KIB, _MIB, _GIB = 1024, 1024**2, 1024**3

MAX_BLOCK = 128 * _MIB
"""ray.data.context.DEFAULT_TARGET_MAX_BLOCK_SIZE: Ray cuts what a task gives into blocks of that size."""
MIN_BLOCK = 1 * _MIB
"""ray.data.context.DEFAULT_TARGET_MIN_BLOCK_SIZE: below it a block is mostly overhead."""
OBJECT_STORE_SHARE = 0.5
"""ResourceManager.DEFAULT_OBJECT_STORE_MEMORY_LIMIT_FRACTION: what of the object store one dataset takes."""
TASKS_IN_FLIGHT = 2
"""Tasks that Ray Data gives an actor at once: DEFAULT_ACTOR_MAX_TASKS_IN_FLIGHT_TO_MAX_CONCURRENCY_FACTOR."""
CPU_BATCH = 16 * _MIB
"""A batch for a CPU: the rule of Ray's guide on memory, and what its `batch_size="auto"` aims at."""
GPU_SHARE = 0.25
"""What of a GPU's memory a batch may use, by Ray's guide on memory."""
GPU_BATCH = 64
"""Rows of a GPU's first batch, by the tutorial."""
_TUTORIAL_BLOCK = 200 * _MIB  # what it aims at, of its 100 to 500 MB
_FLOAT32 = 4  # bytes that a byte of a decoded image becomes in the model's input, if nothing is cropped

_TIPS = "https://docs.ray.io/en/latest/data/performance-tips.html"
_MEMORY = "https://docs.ray.io/en/master/data/how-to-avoid-ooms.html"
_MAP_BATCHES = "https://docs.ray.io/en/latest/data/api/doc/ray.data.Dataset.map_batches.html"
_POOL = "https://docs.ray.io/en/latest/data/api/doc/ray.data.ActorPoolStrategy.html"
_THREADS = "https://docs.pytorch.org/docs/stable/generated/torch.set_num_threads.html"
_CONTEXT = "Ray 2.60, ray/data/context.py"
_RESOURCES = "Ray 2.60, ray/data/_internal/execution/resource_manager.py"
_TUTORIAL = (
    "https://github.com/anyscale/templates, "
    "templates/ray-data-batch-inference-optimization/README.md, commit 7e6becd9"
)


@dataclass(frozen=True)
class Situation:
    """The cluster, data set and model to advise on; sizes in bytes, None where not known.

    cpus, gpus: what Ray may schedule, over all nodes.
    object_store_bytes, memory_bytes: the shared memory of all nodes, and what they have for workers' heaps.
    gpu_memory_bytes: of the smallest GPU.
    rows, disk_bytes, row_bytes: the data set's rows, its size as stored, and one row once it is decoded.
    model_bytes: the model's parameters.
    memory_assumed: object_store_bytes and memory_bytes are Ray's default division, not the cluster's own.
    """

    cpus: int
    object_store_bytes: int
    memory_bytes: int
    rows: int
    gpus: int = 0
    gpu_memory_bytes: int | None = None
    disk_bytes: int | None = None
    row_bytes: int | None = None
    model_bytes: int | None = None
    memory_assumed: bool = False


@dataclass(frozen=True)
class Advice:
    """A setting by Ray Data's name, the value to begin with, the arithmetic, and where the rules are from."""

    setting: str
    value: str
    why: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Pool:
    """An actor pool: how many actors, and the CPUs and GPUs of each. `cpus` None leaves Ray's default."""

    size: int
    cpus: float | None
    gpus: int


def advise(situation: Situation) -> list[Advice]:
    """Blocks, pool, threads and first batch for `situation`.

    Raises ValueError for a cluster without CPUs or a data set without rows: there is nothing to run then.
    """
    if situation.cpus < 1 or situation.rows < 1:
        raise ValueError(f"nothing to advise on: {situation.cpus} CPUs, {situation.rows} rows")
    return [_blocks(situation), _block_size(situation), *_pool(situation), _batch(situation)]


def size(count: float) -> str:
    """Bytes with a binary unit: `1.5 MiB`."""
    for unit, name in ((_GIB, "GiB"), (_MIB, "MiB"), (_KIB, "KiB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f} B"


# --- blocks


def block_limit(situation: Situation) -> int:
    """The largest block: Ray's own limit, or less where two a CPU would not fit the object store's share."""
    share = situation.object_store_bytes * OBJECT_STORE_SHARE / (2 * situation.cpus)
    return max(MIN_BLOCK, min(MAX_BLOCK, int(share)))


def block_count(situation: Situation) -> int:
    """Read blocks to ask for: two a CPU, more where they would be too large, never more than rows."""
    wanted = 2 * situation.cpus
    if situation.row_bytes:
        wanted = max(wanted, math.ceil(situation.rows * situation.row_bytes / block_limit(situation)))
    return min(wanted, situation.rows)


def _blocks(situation: Situation) -> Advice:
    count = block_count(situation)
    why = [f"2 x {situation.cpus} CPUs = {2 * situation.cpus}, Ray's own least"]
    if situation.row_bytes:
        decoded = situation.rows * situation.row_bytes
        stored = f" ({size(situation.disk_bytes)} stored)" if situation.disk_bytes else ""
        why.append(
            f"{situation.rows} rows x {size(situation.row_bytes)} decoded = {size(decoded)}{stored}, "
            f"{size(decoded / count)} a block of at most {size(block_limit(situation))}"
        )
        if decoded / count < MIN_BLOCK:
            why.append("under Ray's least of 1 MiB, but the CPUs come first, for Ray too")
    else:
        why.append("how large a row is once decoded is not known; Ray splits what exceeds 128 MiB")
    if count == situation.rows:
        why.append("no more blocks than rows")
    return Advice("override_num_blocks", str(count), "; ".join(why), (_TIPS, _CONTEXT))


def _block_size(situation: Situation) -> Advice:
    limit = block_limit(situation)
    flight = 2 * situation.cpus * limit
    why = [
        f"2 blocks x {situation.cpus} CPUs x {size(limit)} = {size(flight)} in flight, of the "
        f"{size(situation.object_store_bytes * OBJECT_STORE_SHARE)} of the object store that a dataset takes"
    ]
    if limit < MAX_BLOCK:
        why.append("more, smaller blocks rather than another limit: see override_num_blocks")
    tutorial = "the tutorial's 100 to 500 MB a block (it aims at 200"
    if situation.row_bytes:
        blocks = max(1, situation.rows * situation.row_bytes // _TUTORIAL_BLOCK)
        tutorial += f": {plural(blocks, 'block')} here"
    why.append(
        f"{tutorial}) is above that: Ray cuts blocks at 128 MiB (134 MB) and advises against "
        "raising it; its ideal, over 100 MB, is the range's lower end"
    )
    value = "128 MiB, the default: leave it"
    return Advice("target_max_block_size", value, "; ".join(why), (_TIPS, _CONTEXT, _RESOURCES, _TUTORIAL))


# --- pool


def pool_for(situation: Situation) -> Pool:
    """An actor a GPU; without GPUs one for every second CPU, with the CPUs that leave one for reading."""
    if situation.gpus:
        # Ray counts a CPU for a GPU actor too; where that would leave none to read with, none is counted.
        return Pool(situation.gpus, None if situation.cpus > situation.gpus else 0, 1)
    actors = max(1, situation.cpus // 2)
    if situation.model_bytes:
        actors = max(1, min(actors, situation.memory_bytes // (2 * situation.model_bytes)))
    return Pool(actors, max(1, (situation.cpus - 1) // actors) if situation.cpus > 1 else 0.5, 0)


def _pool(situation: Situation) -> list[Advice]:
    pool = pool_for(situation)
    if pool.gpus:
        return [_gpu_pool(situation, pool), _gpu_share(situation, pool)]
    most = max(1, situation.cpus - 1)
    why = f"half of {plural(situation.cpus, 'CPU')}, the other half reads and decodes"
    if most > pool.size:
        why += (
            f"; up to {most} if reading waits for inference: with none left for it the pipeline stands still"
        )
    if situation.model_bytes:
        why += (
            f"; each loads {size(situation.model_bytes)} of weights, and holds them twice while it does "
            f"({size(situation.memory_bytes)} of workers' memory)"
        )
    return [
        Advice("compute", f"ActorPoolStrategy(size={pool.size})", why, (_TUTORIAL, _POOL, _RESOURCES)),
        _threads(situation, pool),
    ]


def _threads(situation: Situation, pool: Pool) -> Advice:
    if situation.cpus == 1:
        why = "one CPU for the actor and the read, which gets ray_remote_args={'num_cpus': 0.5}"
    else:
        why = (
            f"({situation.cpus} CPUs - 1 for reading) // {plural(pool.size, 'actor')}; "
            "Ray sets OMP_NUM_THREADS to it, so torch uses as many threads: more would fight for the CPUs"
        )
    sources = ("Ray 2.60, ray/_private/utils.py: set_omp_num_threads_if_unset", _THREADS)
    return Advice("num_cpus", f"{pool.cpus:g}", why, sources)


def _gpu_pool(situation: Situation, pool: Pool) -> Advice:
    why = f"{plural(situation.gpus, 'GPU')} / 1 an actor: more could not be placed, fewer leave a GPU idle"
    return Advice("compute", f"ActorPoolStrategy(size={pool.size})", why, (_TUTORIAL, _MAP_BATCHES, _POOL))


def _gpu_share(situation: Situation, pool: Pool) -> Advice:
    if pool.cpus is None:
        left = situation.cpus - pool.size
        why = f"Ray counts 1 CPU for each such actor too: {left} of {situation.cpus} left to read and decode"
        return Advice("num_gpus", "1", why, (_MAP_BATCHES, "Ray 2.60, map_operator.py"))
    why = (
        f"{plural(situation.cpus, 'CPU')} for {plural(pool.size, 'GPU actor')}: Ray counts 1 for each "
        "unless told 0, and then none would be left to read with"
    )
    return Advice("num_gpus", "1, with num_cpus=0", why, (_MAP_BATCHES, "Ray 2.60, map_operator.py"))


# --- batch


def batch_limits(situation: Situation) -> Mapping[str, int]:
    """How many rows a batch may have, by each rule that can be worked out; the keys are the arithmetic."""
    pool = pool_for(situation)
    queued = TASKS_IN_FLIGHT * pool.size
    # With fewer rows than batches some actors stay idle, which one row a batch is the remedy for.
    limits = {f"{situation.rows} rows / ({queued} batches in flight)": max(1, situation.rows // queued)}
    if pool.gpus:
        limits["the tutorial's start on a GPU"] = GPU_BATCH
    row = situation.row_bytes
    if not row:
        return limits
    model = situation.model_bytes or 0
    if not pool.gpus:
        limits[f"{size(CPU_BATCH)} / {size(row)} a row"] = CPU_BATCH // row
    elif situation.gpu_memory_bytes:
        room = situation.gpu_memory_bytes * GPU_SHARE - model
        limits[f"a quarter of the GPU's {size(situation.gpu_memory_bytes)}, inputs alone"] = int(
            room / (_FLOAT32 * row)
        )
    share = situation.object_store_bytes * OBJECT_STORE_SHARE
    limits[f"half the object store / ({queued} batches in flight)"] = int(share / (queued * row))
    heap = situation.memory_bytes / pool.size - 2 * model
    limits["an actor's part of the workers' memory, inputs alone"] = int(heap / ((1 + _FLOAT32) * row))
    return limits


def batch_size(situation: Situation) -> int | None:
    """Rows of the first batch to try, a power of two; None if the size of a row must be known, and is not."""
    if not situation.row_bytes and not situation.gpus:
        return None
    most = max(1, min(batch_limits(situation).values()))
    return 1 << (most.bit_length() - 1)


def _batch(situation: Situation) -> Advice:
    measure = "measure from there: pytest --rayperf -m sweep"
    value = batch_size(situation)
    if value is None:
        why = f"Ray (2.56 or newer) makes batches of {size(CPU_BATCH)} by the rows it meets; {measure}"
        return Advice("batch_size", '"auto"', why, (_MEMORY, _MAP_BATCHES))
    limits = batch_limits(situation)
    rule, rows = min(limits.items(), key=lambda limit: limit[1])
    why = f"{rule} = {rows} rows, the tightest of {len(limits)} limits"
    if rows > value:
        why += ", rounded down to a power of two"
    if rows < 1:
        why += "; less than one row: expect to run out of memory"
    if situation.gpus and not situation.gpu_memory_bytes:
        why += "; how much memory the GPU has is not known"
    sources = (_MEMORY, _MAP_BATCHES, _TUTORIAL) if situation.gpus else (_MEMORY, _MAP_BATCHES, _CONTEXT)
    return Advice("batch_size", str(value), f"{why}; activations come on top; {measure}", sources)


def plural(count: int, word: str) -> str:
    """`1 CPU`, `2 CPUs`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def default_object_store(memory: int) -> int:
    """Bytes that Ray takes for the object store by itself: 30 % of the memory, at most 200 GB.

    (ray/_private/ray_constants.py, DEFAULT_OBJECT_STORE_MEMORY_PROPORTION and _MAX_MEMORY_BYTES.)
    """
    return min(int(memory * 0.3), 200 * 10**9)


# --- from a report


def situation_of(report: Mapping[str, Any], row_bytes: int | None = None) -> Situation | None:
    """The machine and data that a JSON report was made with; None if it names no images or no machine.

    A report doesn't tell how Ray divided the memory: Ray's default is taken. `row_bytes` are those of a
    decoded row.
    """
    environment, data = report.get("environment") or {}, report.get("data") or {}
    cpus, memory, rows = environment.get("cores"), environment.get("memory_bytes"), data.get("images")
    if not cpus or not memory or not rows:
        return None
    store = default_object_store(memory)
    return Situation(
        cpus=cpus,
        object_store_bytes=store,
        memory_bytes=memory - store,
        rows=rows,
        gpus=environment.get("gpu_count") or 0,
        disk_bytes=data.get("bytes"),
        row_bytes=row_bytes,
        memory_assumed=True,
    )

"""Anti-pattern: calls of an older Ray - refused, or warned of where nobody looks: harms the next upgrade.

Ray Data says that a call is outdated in three ways. It refuses it, some only once the pipeline runs: the
definition is lazy, and `compute` and the options of a worker are read when the plan is made. It warns with
`warnings`. Or it logs the warning, which no `-W error` sees. The newer form does the same in silence.

The table has what Ray has said since 2.51, and is held to 2.51 and 2.60. A call that a Ray to come stops
refusing, begins to refuse, or says something else of fails here with what changed. What is said in a worker
is not heard.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import pytest

RAY = tuple(int(part) for part in version("ray").split(".")[:2])
ROWS = 100


@dataclass(frozen=True)
class Refused:
    error: type[Exception]
    match: str


@dataclass(frozen=True)
class Warned:
    match: str
    category: type[Warning] | None = None  # of a Python warning; without one it is a log record, or either


@dataclass(frozen=True)
class Silent:
    pass


@dataclass(frozen=True)
class Call:
    outdated: Callable[[], Any]
    said: Mapping[tuple[int, int], Refused | Warned | Silent]  # from that version of Ray on
    present: Callable[[], Any]
    rows: int = field(default=ROWS, kw_only=True)


def double(batch):
    return {"id": batch["id"] * 2}


class Double:
    def __call__(self, batch):
        return double(batch)


def numbers(**arguments):
    import ray

    return ray.data.range(ROWS, **(arguments or {"override_num_blocks": 2}))


def map_in_tasks(**arguments):
    return numbers().map_batches(double, **arguments)


def map_in_actors(**arguments):
    return numbers().map_batches(Double, **arguments)


def tasks(**arguments):
    from ray.data import TaskPoolStrategy

    return TaskPoolStrategy(**arguments)


def actors(**arguments):
    from ray.data import ActorPoolStrategy

    return ActorPoolStrategy(**arguments)


def calls_at_once():
    if RAY < (2, 59):  # had no other form
        return map_in_actors(compute=actors(size=1), max_concurrency=2)
    return map_in_actors(compute=actors(size=1, max_concurrent_calls_per_actor=2))


def read_a_file(**arguments):
    import ray

    return ray.data.read_binary_files(__file__, **arguments)


def count_blocks(dataset):
    assert dataset.num_blocks() > 0
    return dataset


def rows_of_block_refs():
    import ray

    return sum(len(block) for block in ray.get(numbers().get_internal_block_refs()))


def rows_of_ref_bundles():
    import ray

    bundles = list(numbers().iter_internal_ref_bundles())
    return sum(len(block) for bundle in bundles for block in ray.get(list(bundle.block_refs)))


def classify_one_image(**arguments):
    import torch
    from torchvision.models import mobilenet_v3_small

    model = mobilenet_v3_small(**arguments).eval()
    with torch.inference_mode():
        return len(model(torch.zeros(1, 3, 32, 32)))


CALLS = {
    "compute_tasks": Call(
        lambda: map_in_tasks(compute="tasks"),
        {(2, 51): Refused(ValueError, "must be either TaskPoolStrategy or ActorPoolStrategy, was: tasks")},
        lambda: map_in_tasks(compute=tasks()),
    ),
    "compute_actors": Call(
        lambda: map_in_actors(compute="actors"),
        {(2, 51): Refused(ValueError, "must be either TaskPoolStrategy or ActorPoolStrategy, was: actors")},
        lambda: map_in_actors(compute=actors(size=1)),
    ),
    "concurrency": Call(
        lambda: map_in_tasks(concurrency=2),
        {(2, 51): Warned("``concurrency`` is deprecated in Ray 2.51. Please specify argument ``compute``")},
        lambda: map_in_tasks(compute=tasks(size=2)),
    ),
    # An option of actors, which a function does not run in; a pool of tasks has a size.
    "max_concurrency_tasks": Call(
        lambda: map_in_tasks(max_concurrency=2),
        {(2, 51): Refused(ValueError, "Invalid option keyword max_concurrency for remote functions")},
        lambda: map_in_tasks(compute=tasks(size=2)),
    ),
    "max_concurrency_actors": Call(
        lambda: map_in_actors(compute=actors(size=1), max_concurrency=2),
        {
            (2, 51): Silent(),
            (2, 59): Warned("`ray_remote_args` is deprecated .* removed in Ray 2.64", DeprecationWarning),
        },
        calls_at_once,
    ),
    "ray_remote_args": Call(
        lambda: read_a_file(ray_remote_args={"num_cpus": 0.5}),
        {
            (2, 51): Silent(),
            (2, 59): Warned("`ray_remote_args` is deprecated .* removed in Ray 2.64", DeprecationWarning),
        },
        lambda: read_a_file(num_cpus=0.5),
        rows=1,
    ),
    "parallelism": Call(
        lambda: numbers(parallelism=4),
        {(2, 51): Warned("``parallelism`` is deprecated .* argument ``override_num_blocks`` instead")},
        lambda: numbers(override_num_blocks=4),
    ),
    # Of a lazy dataset it is not known before it has run.
    "num_blocks": Call(
        lambda: count_blocks(numbers()),
        {(2, 51): Refused(NotImplementedError, "only available for `MaterializedDataset`")},
        lambda: count_blocks(numbers().materialize()),
    ),
    "get_internal_block_refs": Call(
        rows_of_block_refs,
        {(2, 51): Warned("is deprecated. Use `Dataset.iter_internal_ref_bundles")},
        rows_of_ref_bundles,
    ),
    # The error is a warning by its type: `raise DeprecationWarning(...)`.
    "random_shuffle_num_blocks": Call(
        lambda: numbers().random_shuffle(num_blocks=4),
        {(2, 51): Refused(DeprecationWarning, r"`num_blocks` parameter .* Use repartition\(\) instead")},
        lambda: numbers().random_shuffle().repartition(4),
    ),
    "fully_executed": Call(
        lambda: numbers().fully_executed(),
        {(2, 51): Refused(AttributeError, "'Dataset' object has no attribute 'fully_executed'")},
        lambda: numbers().materialize(),
    ),
    # torchvision's. With True it says the same, and downloads the weights.
    "pretrained": Call(
        lambda: classify_one_image(pretrained=False),
        {(2, 51): Warned("'pretrained' is deprecated .* please use 'weights' instead", UserWarning)},
        lambda: classify_one_image(weights=None),
        rows=1,
    ),
}


# Ray's own warnings come where an error is expected, too: they are not to be errors before it.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("variant", ["antipattern", "fix"])
@pytest.mark.parametrize("call", CALLS)
def test_api_version(rayperf, call, variant):
    row = CALLS[call]
    since = max(since for since in row.said if since <= RAY)
    said = row.said[since]
    if variant == "fix" or isinstance(said, Silent):
        rayperf.is_silent(row.present if variant == "fix" else row.outdated, expected_rows=row.rows)
    elif isinstance(said, Warned):
        rayperf.warns(row.outdated, said.match, said.category)
    else:
        rayperf.raises(row.outdated, said.error, said.match)

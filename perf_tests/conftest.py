"""What the suite's tests share: rounds with enough work in them, and a small object store."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_rayperf.cluster import Cluster
    from pytest_rayperf.data.sources import ImageSource
    from pytest_rayperf.models.classifier import Classifier

FEWEST_ROWS = 64
"""What bytes and tasks are compared with: with fewer rows the fixed part of each would count."""

SMALL_STORE_BYTES = 80 * 2**20
"""Just above the 75 MiB that Ray asks for at the least."""


@pytest.fixture(scope="session")
def imagenette(imagenette: ImageSource, pytestconfig: pytest.Config) -> ImageSource:
    """The images of the profile, read in as many passes as a round needs to outweigh its start-up."""
    from pytest_rayperf.resources import resources_key

    passes = pytestconfig.stash[resources_key].options.profile.passes
    return imagenette.repeat(max(passes, math.ceil(FEWEST_ROWS / imagenette.num_images)))


@pytest.fixture(scope="session")
def classifier(classifier: Classifier, ray_cluster: Cluster) -> Classifier:
    """The model of the profile: on a GPU where the cluster has one, which `classifier.resources` claims."""
    return replace(classifier, num_gpus=min(1, ray_cluster.num_gpus))


@pytest.fixture(scope="session")
def label_tolerance(classifier: Classifier) -> float:
    """Share of the images whose class may differ between variants.

    On a CPU none. A GPU's convolutions round to the 10 bits of TF32, otherwise for batches of another size,
    and which of two classes is the larger is then anybody's guess where they are nearly tied.
    """
    return 0.03 if classifier.num_gpus else 0.0


@pytest.fixture(autouse=True)
def _cpus_to_read_with(ray_cluster: Cluster) -> None:
    """With one CPU an actor holds it, and nothing is left to read with: Ray Data would stand still."""
    if ray_cluster.num_cpus < 2:
        pytest.skip("the suite needs a cluster with 2 CPUs: one for a pool, one to read with")


@pytest.fixture(scope="session")
def small_object_store(ray_cluster: Cluster) -> Iterator[int]:
    """A cluster whose object store is smaller than the images; its size in bytes.

    A production cluster has gigabytes, and data sets that are larger still: what matters is their ratio.
    The tests that use it run last, so that Ray is started anew for it once.
    """
    if not ray_cluster.started_here:
        pytest.skip("needs a cluster with a small object store of its own; this one was attached to")
    with ray_cluster.with_object_store(SMALL_STORE_BYTES):
        yield SMALL_STORE_BYTES


@pytest.fixture
def images_of_stores(imagenette: ImageSource, small_object_store: int) -> Callable[[float], ImageSource]:
    """Gives as many images as fill the small object store so many times, once they are decoded."""

    def images_of(stores: float) -> ImageSource:
        number = int(stores * small_object_store / (256 * 256 * 3))
        enough = imagenette.repeat(math.ceil(number / imagenette.num_images))
        return replace(enough, paths=enough.paths[:number], num_bytes=None)

    return images_of


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The small object store's tests last; no sweeps in the quick profile, unless `-m` asks for them."""
    items.sort(key=lambda item: "small_object_store" in getattr(item, "fixturenames", ()))  # stable
    from pytest_rayperf.resources import resources_key

    resources = config.stash.get(resources_key, None)
    quick = resources is not None and resources.options.profile.name == "quick"
    if quick and "sweep" not in config.option.markexpr:
        sweeps = [item for item in items if item.get_closest_marker("sweep")]
        if sweeps:
            config.hook.pytest_deselected(items=sweeps)
            items[:] = [item for item in items if item not in sweeps]

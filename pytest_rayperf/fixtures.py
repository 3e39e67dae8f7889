"""The fixtures of the plugin: `pytest --fixtures` shows these texts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_rayperf.resources import Resources, resources_key, timer_key

if TYPE_CHECKING:
    from pytest_rayperf.against.serving import ServedRayPerf
    from pytest_rayperf.cluster import Cluster
    from pytest_rayperf.data.features import FeatureSource
    from pytest_rayperf.data.sources import ImageSource
    from pytest_rayperf.harness.rayperf import RayPerf
    from pytest_rayperf.measurement import Executor
    from pytest_rayperf.models.classifier import Classifier
    from pytest_rayperf.monitors.gpu import GpuMonitor
    from pytest_rayperf.monitors.system import SystemMonitor


def _resources(request: pytest.FixtureRequest) -> Resources:
    return request.config.stash[resources_key]


@pytest.fixture(scope="session")
def ray_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The Ray cluster: a local one that is started here and shut down whole at the end (after Ctrl-C too),
    or the one at --rayperf-address, which is left running.

    It has `.address`, `.num_cpus`, `.num_gpus`, `.nodes`, and `.resources` (Ray's totals by name).
    """
    from pytest_rayperf.cluster import close_cluster, open_cluster

    resources = _resources(request)
    resources.progress.note("starting Ray")
    _overlook_rays_leftovers(request.config)
    if resources.options.profile_udf is not None:
        os.environ.setdefault("RAY_PROFILING", "1")  # Ray keeps events for its timeline only so
    cluster = open_cluster(resources.options.address)
    try:
        yield cluster
    finally:
        close_cluster(cluster)


def _overlook_rays_leftovers(config: pytest.Config) -> None:
    """Ray 2.51 leaves its log files, /dev/null and its processes to the garbage collector, wherever that
    runs: a user whose pytest turns warnings into errors would see tests of their own fail for it."""
    for what in ("unclosed file <.*/dev/null", "unclosed file <.*/ray/session_", r"subprocess \d+ is still"):
        config.addinivalue_line("filterwarnings", f"ignore:{what}:ResourceWarning")  # from the next phase on
        warnings.filterwarnings("ignore", what, ResourceWarning)  # in this one


@pytest.fixture(scope="session")
def imagenette(request: pytest.FixtureRequest) -> ImageSource:
    """The images named by --rayperf-data, as many as the profile or --rayperf-images says.

    `imagenette.read()` gives a lazy `ray.data.Dataset` with the columns `image` (uint8, 256x256x3) and
    `path`; its keywords are those of `ray.data.read_images`. Also `.paths`, `.num_images` (rows of one
    read), `.num_bytes`, `.name`, `.fingerprint`, and `.repeat(passes)`: the same images read several times,
    for rounds that are long enough to mean something.
    """
    return _resources(request).images()


@pytest.fixture(scope="session")
def features(request: pytest.FixtureRequest) -> FeatureSource:
    """Synthetic rows for cheap models: `id`, `timestamp`, `features` (512 float32), `metadata`.

    `features.read()` gives a lazy `ray.data.Dataset`, made in parallel by Ray itself;
    `features.with_columns(images=True, text=True).read()` adds `image` (uint8, 224x224x3) and `text`.
    """
    return _resources(request).features()


@pytest.fixture(scope="session")
def classifier(request: pytest.FixtureRequest) -> Classifier:
    """The model named by --rayperf-model, with the weights named by --rayperf-weights.

    `classifier.load()` reads the checkpoint from disk and gives a `torch.nn.Module` in eval mode (each call
    adds 1 to the counter `model_loads`); `.transform` makes its input of images; `.name`, `.checkpoint`.
    """
    return _resources(request).classifier()


@pytest.fixture
def gpu_monitor() -> GpuMonitor:
    """Samples the GPUs: `with gpu_monitor as m: ...; m.summary()`.

    Without a GPU `gpu_monitor.available` is False, `.problem` says why, and every figure is None.
    """
    from pytest_rayperf.monitors.gpu import GpuMonitor

    return GpuMonitor()


@pytest.fixture
def system_monitor(ray_cluster: Cluster) -> SystemMonitor:
    """Samples CPU and memory of the cluster's workers: `with system_monitor as m: ...; m.summary()`."""
    from pytest_rayperf.monitors.system import ClusterWorkers, SystemMonitor

    workers = ClusterWorkers(ray_cluster.raylet_pids)
    return SystemMonitor(workers, is_idle=workers.is_idle, is_actor=workers.is_actor)


@pytest.fixture(scope="session")
def _rayperf_executor(request: pytest.FixtureRequest, ray_cluster: Cluster) -> Iterator[Executor]:
    """What runs the pipelines. A seam: the plugin's own tests put recorded rounds here."""
    from pytest_rayperf.execution import RayExecutor
    from pytest_rayperf.watch import watch_over
    from pytest_rayperf.watchdog import patience_for

    resources = _resources(request)
    warn = resources.record().warn
    executor = RayExecutor(
        ray_cluster,
        lambda: watch_over(ray_cluster),
        warn,
        model=lambda: resources.classifier(),
        patience_s=patience_for(resources.options.max_time),
    )
    yield executor
    executor.close()


@pytest.fixture
def rayperf(
    request: pytest.FixtureRequest, _rayperf_executor: Executor, benchmark: Any
) -> Iterator[RayPerf | ServedRayPerf]:
    """Measures a Ray Data pipeline and fails the test when it got slower.

    `rayperf(lambda: imagenette.read().map_batches(Classify, batch_size=64))` measures rounds, compares
    them with the baseline, and returns the result (`.counters["rows"]`, `.median("throughput")`,
    `.rounds`, `.verdict`). `rayperf.duel(antipattern=..., fix=...)` measures two pipelines in turn, which
    must compute the same; `rayperf.ladder({...})` several of which each has one fix more;
    `rayperf.sweep({...})` the values of one setting. `rayperf.raises(pipeline, ValueError, "text")` fails
    unless that is raised, `rayperf.warns(pipeline, "text")` unless that is said, and
    `rayperf.is_silent(pipeline)` if anything is.
    """
    from pytest_rayperf.feed import Feed

    feed = Feed(benchmark, request.node.stash[timer_key])
    with _rayperf_executor.shipping(_test_modules(request)):
        yield _resources(request).rayperf(request.node, _rayperf_executor, feed)
    feed.close()


def _test_modules(request: pytest.FixtureRequest) -> list[Any]:
    """The test's module and the conftest.py files: what a worker cannot be expected to import."""
    plugins = request.config.pluginmanager.get_plugins()
    conftests = [p for p in plugins if Path(getattr(p, "__file__", None) or "").name == "conftest.py"]
    return [request.module, *conftests]

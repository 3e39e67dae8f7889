"""The Ray cluster of a run: started here and stopped whole, or attached to and left as it was."""

from __future__ import annotations

import logging
import os
import site
import socket
import sys
import sysconfig
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from pytest_rayperf.ending import GRACE_S, end_new_children, shut_down, with_descendants
from pytest_rayperf.errors import ClusterLostError, ConfigurationError
from pytest_rayperf.interrupts import keeping_handlers, undisturbed
from pytest_rayperf.monitors.operators import listen_to_executions
from pytest_rayperf.monitors.system import local_raylets
from pytest_rayperf.tally import Tally


@dataclass
class Cluster:
    """A running cluster. Its facts change only by `with_object_store`, which starts it anew.

    Attributes:
        address: where it can be attached to.
        started_here: False for a cluster that was there before, which is left running.
        resources: its totals, `CPU`, `GPU`, `memory` and `object_store_memory` (bytes) among them.
        nodes: how many nodes are alive.
        raylet_pids: the local nodes' raylet processes, whose children the workers are.
        tally: what the workers count.
        starts: how often it was started; what knows its processes must look anew when this changes.
        processes: of a cluster that was started here, the processes that this one started for it.
        vital: of the processes on this node those without which it is none, and what they are.
        left: whether `end` was called.
    """

    address: str
    started_here: bool
    resources: Mapping[str, float]
    nodes: int
    raylet_pids: tuple[int, ...]
    tally: Tally
    starts: int = 1
    processes: tuple[psutil.Process, ...] = ()
    vital: Mapping[psutil.Process, str] = field(default_factory=dict)
    left: bool = False

    @property
    def num_cpus(self) -> int:
        """CPUs that Ray may schedule."""
        return int(self.resources.get("CPU", 0))

    @property
    def num_gpus(self) -> int:
        """GPUs that Ray may schedule."""
        return int(self.resources.get("GPU", 0))

    def wait_until_idle(self, seconds: float = GRACE_S) -> bool:
        """Wait until the last round's actors have given CPUs and GPUs back; False if they did not in time."""
        import ray

        deadline = time.monotonic() + seconds
        while (free := ray.available_resources()).get("CPU", 0) < self.num_cpus or (
            free.get("GPU", 0) < self.num_gpus
        ):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    @contextmanager
    def with_object_store(self, size: int) -> Iterator[None]:
        """A cluster with an object store of `size` bytes while it is open, and one as before afterwards.

        What the old one held, datasets among it, is gone. Ray's smallest store has 75 MiB.

        Raises:
            ConfigurationError: the cluster is not ours to start anew.
        """
        if not self.started_here:
            raise ConfigurationError(
                f"the cluster at {self.address} was attached to: its object store cannot be made smaller"
            )
        try:
            self._start_anew(size)
            yield
        finally:
            self._start_anew(None)

    def restore(self) -> str | None:
        """Go on where Ray was ended in this process: start it anew, or attach anew; and say so.

        Raises:
            ClusterLostError: there is nothing to go on with.
        """
        import ray

        if ray.is_initialized():
            if str(ray.get_runtime_context().gcs_address) == self.address:
                return None
            raise ClusterLostError(
                "Ray was ended in this process, and a test or a fixture has started a cluster of its own: "
                "leave ray.init() and ray.shutdown() to the fixture ray_cluster, and use Ray after it"
            )
        was_left, self.left = self.left, False
        try:
            self._start_anew(None)
        except ConfigurationError as error:
            raise ClusterLostError(f"the cluster that the run began with is gone: {error}") from error
        how = "started" if self.started_here else "attached to"
        if was_left:
            return f"Ray was {how} anew after a round that was ended: what tests had put into it is gone"
        return f"Ray was ended in the middle of the run (by a ray.shutdown() in a test?), and {how} anew"

    def end(self) -> None:
        """Leave a cluster on which a round does not end, or that has lost its raylet.

        One that was attached to is left, too: Ray ends a process whose cluster is gone.
        """
        self.left = True
        close_cluster(self, asks=False)

    def what_died(self) -> str | None:
        """Which of the processes that hold it up has ended; None while all of them are there."""
        for process in self.vital:
            with suppress(psutil.Error):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    continue
            return f"the cluster's {self.vital[process]} ended"
        return None

    def cpu_seconds(self) -> float | None:
        """What the workers that are there and this process have used; None where some are elsewhere."""
        import ray

        # One that scales has other nodes now than when it was attached to.
        if sum(1 for node in ray.nodes() if node["Alive"]) != len(self.raylet_pids):
            return None
        raylets = [process for process, what in self.vital.items() if what == "raylet"]
        total = sum(psutil.Process().cpu_times()[:2])
        for process in with_descendants(raylets):
            with suppress(psutil.Error):  # it ended just now
                total += sum(process.cpu_times()[:4])  # with what it had started, and has ended
        return total

    def taken(self) -> str | None:
        """`all 2 CPUs are taken`, where a task that wants one has to wait for it; None where it has not."""
        import ray

        if not self.num_cpus or ray.available_resources().get("CPU", 0) >= 1:
            return None
        return "the only CPU is taken" if self.num_cpus == 1 else f"all {self.num_cpus} CPUs are taken"

    def _start_anew(self, object_store_memory: int | None) -> None:
        close_cluster(self)
        starts = self.starts + 1
        address = None if self.started_here else self.address
        vars(self).update(vars(open_cluster(address, object_store_memory)), starts=starts)


def open_cluster(address: str | None, object_store_memory: int | None = None) -> Cluster:
    """Start a local cluster, or attach to the one at `address`.

    Args:
        address: None starts one.
        object_store_memory: bytes, of one that is started; by default Ray's own choice.

    Ray Data's progress bars and its log lines on the console are turned off, for the terminal is pytest's.

    Raises:
        ConfigurationError: there is no cluster at `address`, or none that takes this process's token; or Ray
            runs in this process already.
    """
    if address is not None:
        _check_reachable(address)
    import ray

    if ray.is_initialized():
        raise ConfigurationError(
            "Ray runs in this process already: call ray.shutdown() before the first rayperf test, "
            "or give the cluster's address with --rayperf-address"
        )
    from ray.job_config import JobConfig

    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        # Ray puts one before the other, so that the last comes first.
        "job_config": JobConfig(_py_driver_sys_path=added_to_path(sys.path)[::-1]),
    }
    if address is None:
        options["address"] = "local"  # with None Ray attaches to whatever cluster this user has running here
        options["include_dashboard"] = False
        options["object_store_memory"] = object_store_memory
    else:
        address = options["address"] = _ready_to_attach(address)
    before = set(psutil.Process().children())
    try:
        with _without_rays_own_warnings(), keeping_handlers():
            context = ray.init(**options)
    except BaseException as error:
        if address is None:
            with undisturbed():
                end_new_children(before)
        elif isinstance(error, ConnectionError | ValueError | OSError | RuntimeError):
            raise _unreachable(address, error) from error
        raise
    try:
        _quieten()
        gcs_address = str(ray.get_runtime_context().gcs_address)
        raylets = local_raylets(gcs_address)
        started = tuple(child for child in psutil.Process().children() if child not in before)
        return Cluster(
            address=gcs_address or str(context.address_info["address"]),
            started_here=address is None,
            resources=dict(ray.cluster_resources()),
            nodes=sum(1 for node in ray.nodes() if node["Alive"]),
            raylet_pids=raylets,
            tally=Tally.start(),
            processes=started,
            vital=_vital(raylets, started),
        )
    except BaseException:
        with undisturbed() as hold:
            shut_down([], hold)  # half a cluster is nobody's: not left behind
        raise


def added_to_path(path: Iterable[str]) -> list[str]:
    """What of `sys.path` a new process would not have: pytest's `pythonpath`, the folders of tests.

    So workers import what the tests import: Ray itself hands on its script's folder and the current one.
    """
    own = {Path(one).resolve() for one in (*site.getsitepackages(), site.getusersitepackages())}
    own |= {Path(one).resolve() for one in sysconfig.get_paths().values()}
    standard = Path(os.__file__).resolve().parent
    found = [Path(one).absolute() for one in path if one]
    return [
        str(one)
        for one in dict.fromkeys(found)
        if one.is_dir()
        and one.resolve() not in own
        and standard not in (one.resolve(), *one.resolve().parents)
    ]


def _vital(raylets: Iterable[int], started: Iterable[psutil.Process]) -> dict[psutil.Process, str]:
    found: dict[psutil.Process, str] = {}
    for pid in raylets:
        with suppress(psutil.NoSuchProcess):
            found[psutil.Process(pid)] = "raylet"
    for process in started:
        with suppress(psutil.Error):
            if process.name() == "gcs_server":
                found[process] = "control store (GCS)"
    return found


def close_cluster(cluster: Cluster, *, asks: bool = True) -> None:
    """Shut down what was started here; detach from what was not.

    Processes of the cluster that outlive Ray's own shutdown by 10 s are killed: none of ours is left. A
    Ctrl-C waits for that, a minute at most (`interrupts.PATIENCE_S`).

    Args:
        cluster: the one that this process is connected to.
        asks: False for one that may not answer.
    """
    import ray

    if not ray.is_initialized():
        return  # interrupted while it was started anew
    with undisturbed() as hold:
        ours = with_descendants(cluster.processes)
        cluster.tally.close(cluster_ends=cluster.started_here or not asks)
        shut_down(ours, hold)


def _unreachable(address: str, error: BaseException) -> ConfigurationError:
    causes = [str(error)]
    while error.__cause__ is not None:
        error = error.__cause__
        causes.append((str(error).strip().splitlines() or [type(error).__name__])[-1][:300])
    reasons = dict.fromkeys((causes[0], causes[-1]))
    return ConfigurationError(
        f"--rayperf-address {address}: no Ray cluster can be attached to there ({'; '.join(reasons)}); "
        "start one with `ray start --head`, or leave the option out to have one started"
    )


def _ready_to_attach(address: str) -> str:
    """The address to give `ray.init`, once this process does about tokens what the cluster there does.

    Raises:
        ConfigurationError: there is no cluster, or it wants a token that is not here.
    """
    from pytest_rayperf.authentication import agree_with

    if address == "auto":
        # Looked up here: left to Ray 2.60, "auto" turns tokens on wherever there is one in ~/.ray.
        from ray._private.services import canonicalize_bootstrap_address

        try:
            address = canonicalize_bootstrap_address("auto") or address
        except (ConnectionError, ValueError) as error:
            raise _unreachable(address, error) from error
        _check_reachable(address)  # what it was found in may be older than the cluster's end
    if _has_port(address):
        try:
            agree_with(address)
        except ConnectionError as error:
            raise _unreachable(address, error) from error
    return address


def _has_port(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return bool(host) and port.isdigit()


def _check_reachable(address: str) -> None:
    """Ray tries a dead address for a minute and a half and then ends the process; a socket knows at once."""
    if not _has_port(address):
        return  # "auto", "local"
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        raise _unreachable(address, error) from error


@contextmanager
def _without_rays_own_warnings() -> Iterator[None]:
    """Ray warns of its own defaults (FutureWarning in `init` of 2.51, DeprecationWarning when 2.60 makes its
    DataContext); a user whose pytest turns warnings into errors could not even start it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _quieten() -> None:
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with _without_rays_own_warnings():
        context = ray.data.DataContext.get_current()
        # It makes the context, where there is none yet, as the line above does.
        listen_to_executions()
    context.enable_progress_bars = False

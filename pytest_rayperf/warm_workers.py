"""Worker processes that have torch imported before a round begins, so that no round is about the import.

Ray gives an actor a process of its own, never one that has run a task; one that was only started in advance
it takes (`WorkerPool::PopWorker`). `PrestartWorkers` is the raylet's own call for starting some; Ray has no
Python function for it, so it is called through gRPC.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import psutil

from pytest_rayperf.worker_preload import TITLE

ENVIRONMENT = {"RAYPERF_PREPARE_WORKERS": "1"}
"""What a cluster's processes must have in their environment for its workers to be prepared."""

SYSTEM_CONFIG = {
    "preload_python_modules": ["pytest_rayperf.worker_preload"],
    # Otherwise the raylet ends idle workers beyond one a CPU after a second, and a round would start new ones.
    "num_workers_soft_limit": 32,
}
"""What `ray.init` must get as `_system_config`."""

_KEEP_S = 3600
_START_S = 60.0


class Raylet(Protocol):
    """What can start workers."""

    def prestart(self, count: int) -> None:
        """Start `count` workers; returns before they are up."""
        ...


class WarmWorkers:
    """Keeps prepared workers at hand.

    Args:
        raylet: starts them.
        workers: lists the cluster's worker processes on this machine.
        batch: how many are started at once; as many as there are cores import side by side.
        clock, sleep: replaced in tests.
    """

    def __init__(
        self,
        raylet: Raylet,
        workers: Callable[[], Iterable[psutil.Process]],
        batch: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._raylet = raylet
        self._workers = workers
        self._batch = max(1, batch)
        self._clock = clock
        self._sleep = sleep

    def ready(self) -> int:
        """How many prepared workers are idle now."""
        return sum(1 for worker in self._workers() if _title(worker) == TITLE)

    def ensure(self, needed: int) -> bool:
        """Wait until at least `needed` prepared workers are idle; start some if there are fewer.

        Returns:
            False if they were not there within a minute: the round goes on, and pays for the start itself.
        """
        missing = needed - self.ready()
        if missing <= 0:
            return True
        self._raylet.prestart(max(missing, self._batch))
        deadline = self._clock() + _START_S
        while self.ready() < needed:
            if self._clock() > deadline:
                return False
            self._sleep(0.05)
        return True


def _title(process: psutil.Process) -> str:
    try:
        command = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""  # it ended since it was listed
    return command[0].strip() if command else ""


class LocalRaylet:
    """The raylet of this machine, by gRPC.

    Raises:
        ImportError: this Ray has no such call, or gRPC is not installed.
    """

    def __init__(self) -> None:
        import ray
        from ray.core.generated import common_pb2, node_manager_pb2, node_manager_pb2_grpc

        try:
            from ray._private.grpc_utils import init_grpc_channel
        except ImportError:  # until Ray 2.5x
            from ray._private.utils import init_grpc_channel

        here = ray.get_runtime_context().get_node_id()
        (node,) = (n for n in ray.nodes() if n["NodeID"] == here)
        address = f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
        self._stub: Any = node_manager_pb2_grpc.NodeManagerServiceStub(init_grpc_channel(address))
        self._request: Any = node_manager_pb2.PrestartWorkersRequest
        self._python = common_pb2.Language.Value("PYTHON")
        self._job = bytes.fromhex(ray.get_runtime_context().get_job_id())

    def prestart(self, count: int) -> None:
        """Ask the raylet to start `count` Python workers of this job.

        Raises:
            grpc.RpcError: it did not answer.
        """
        request = self._request(
            language=self._python,
            job_id=self._job,
            num_workers=count,
            keep_alive_duration_secs=_KEEP_S,
        )
        self._stub.PrestartWorkers(request, timeout=10)

"""Memory and CPU of the cluster's worker processes on this machine, through psutil."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from pytest_rayperf.errors import RayperfError
from pytest_rayperf.monitors.sampler import DEFAULT_INTERVAL_S, Sampler

# Ray titles its agents as it titles workers, and starts them from the raylet as well.
_NOT_WORKERS = frozenset({"ray::DashboardAgent", "ray::RuntimeEnvAgent"})
_WORKER_TITLE = "ray::"
_IDLE_TITLE = "ray::IDLE"
_ACTOR_TITLES = ("ray::MapWorker(", "ray::_MapWorker")
"""Ray Data's actors, which are new processes in each execution."""
_OUR_ACTORS = ("ray::_Counting", "ray::SamplerActor")
"""What `work/single_pass.py` and `nodes.py` start is no part of a pipeline."""


class NoRayletError(RayperfError):
    """No raylet, whose children the workers are, is known or alive on this machine."""


def local_raylets(gcs_address: str | None = None, socket: str | None = None) -> tuple[int, ...]:
    """Process ids of the raylets on this machine, lowest first.

    This looks at every process of the machine: call it once, not for each sample.

    Args:
        gcs_address: "host:port", as `ray.get_runtime_context().gcs_address` gives it, leaves the raylets of
            that one cluster. (Several nodes of it may be on one machine.)
        socket: the path of a raylet's socket leaves that raylet.
    """
    wanted = []
    if gcs_address is not None:
        wanted.append(f"--gcs-address={gcs_address}")
    if socket is not None:
        wanted.append(f"--raylet_socket_name={socket}")
    return tuple(
        sorted(
            process.pid
            for process in psutil.process_iter(["name"])
            if process.info["name"] == "raylet" and _has_arguments(process, wanted)
        )
    )


def _has_arguments(raylet: psutil.Process, wanted: Collection[str]) -> bool:
    try:
        return not wanted or set(wanted) <= set(raylet.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False  # ended just now, or another user's: in neither case ours


def ray_worker_processes(root_pids: Iterable[int]) -> list[psutil.Process]:
    """The Ray workers that the raylets `root_pids` have now; agents and log monitors are left out.

    Raises NoRayletError if none of the raylets is alive.
    """
    return ClusterWorkers(root_pids)()


class ClusterWorkers:
    """Finds the workers of the raylets `raylet_pids`, anew at each call and cheaply enough for a sampler.

    A call reads the raylets' own lists of children, not the machine's processes. A worker that is still
    starting has no title yet and is found once it has one.
    """

    def __init__(self, raylet_pids: Iterable[int]) -> None:
        self._raylets: list[psutil.Process] = []
        self._workers: dict[int, psutil.Process] = {}
        self._idle: set[int] = set()
        self._actors: set[int] = set()
        self._given = tuple(raylet_pids)
        for pid in self._given:
            try:
                self._raylets.append(psutil.Process(pid))
            except psutil.NoSuchProcess:
                continue  # a call says so, if no raylet is left at all

    def __call__(self) -> list[psutil.Process]:
        """The workers that are alive now. Raises NoRayletError if none of the raylets is alive."""
        raylets = [raylet for raylet in self._raylets if _alive(raylet)]
        if not raylets:
            raise NoRayletError(
                f"no raylet with process id {', '.join(map(str, self._given))} is alive on this machine"
                if self._given
                else "no raylet is known on this machine; is a Ray cluster running here?"
            )
        workers: dict[int, psutil.Process] = {}
        idle, actors = set(), set()
        for raylet in raylets:
            for pid in _children(raylet):
                worker, title = _worker(pid, self._workers.get(pid))
                if worker is not None:
                    workers[pid] = worker
                    if title.startswith(_IDLE_TITLE):
                        idle.add(pid)
                    if title.startswith(_ACTOR_TITLES):
                        actors.add(pid)
        self._workers, self._idle, self._actors = workers, idle, actors
        return list(workers.values())

    def is_idle(self, worker: psutil.Process) -> bool:
        """Whether it had nothing to do at the last call: what it holds is an earlier task's, then."""
        return worker.pid in self._idle

    def is_actor(self, worker: psutil.Process) -> bool:
        """Whether it was one of Ray Data's actors at the last call."""
        return worker.pid in self._actors


def _alive(process: psutil.Process) -> bool:
    # A raylet that died under the driver which started it stays a zombie, and that counts as running.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _children(parent: psutil.Process) -> list[int]:
    # psutil's children() reads the parent of every process of the machine: 3 times as long as this with
    # 80 processes, and growing with their number.
    if sys.platform == "linux":
        threads = f"/proc/{parent.pid}/task"
        try:
            listed = os.listdir(threads)  # noqa: PTH208 (read plainly: pathlib takes three times as long)
            return [int(pid) for thread in listed for pid in _children_of_thread(f"{threads}/{thread}")]
        except FileNotFoundError:
            pass  # the parent has ended, or the kernel keeps no such list: psutil tells them apart
    try:
        return [child.pid for child in parent.children()]
    except psutil.NoSuchProcess:
        return []


def _children_of_thread(thread: str) -> list[bytes]:
    try:
        with open(f"{thread}/children", "rb", buffering=0) as file:  # noqa: PTH123
            return file.readall().split()
    except FileNotFoundError:
        if Path(thread).exists():
            raise  # a kernel without CONFIG_PROC_CHILDREN
        return []  # the thread has ended
    except ProcessLookupError:
        return []  # it ended between the opening and the reading


def _worker(pid: int, known: psutil.Process | None) -> tuple[psutil.Process | None, str]:
    try:
        # is_running() is false where a dead worker's id was given to another process
        process = known if known is not None and known.is_running() else psutil.Process(pid)
        command = process.cmdline()
    except psutil.NoSuchProcess:
        return None, ""  # it has ended since it was listed
    title = command[0].strip() if command else ""
    # Read at each call: an idle worker becomes an actor, which may be one of ours.
    ours = title in _NOT_WORKERS or title.startswith(_OUR_ACTORS)
    return process if title.startswith(_WORKER_TITLE) and not ours else None, title


@dataclass
class _Seen:
    """One process: its private memory at the peak (bytes; None while it was idle), its CPU seconds at first
    and at last sight; whether it was there at the first sample, and whether it is an actor."""

    peak_memory: int | None
    first_cpu: float
    last_cpu: float
    was_there: bool
    actor: bool = False
    times: int = 1


class SystemMonitor:
    """Samples the memory and CPU time of processes, by hand: `with system_monitor as m: ...; m.summary()`.

    `processes()` gives those to sample and is asked at each sample, every `interval_s` seconds; a process
    that ends between two samples keeps its last reading. `is_idle` says of one that what it holds is not of
    this block: its memory does not count. `is_actor` says that it is an actor. `sampler` makes the sampler
    (tests pass one with a clock of their own), `machine_cpu()` reads the machine's CPU seconds by kind.

    Raises ValueError if `interval_s` is not above 0. An error of psutil or of the system while sampling
    makes every figure None and is kept in `problem`.
    """

    def __init__(
        self,
        processes: Callable[[], Iterable[psutil.Process]],
        interval_s: float = DEFAULT_INTERVAL_S,
        *,
        is_idle: Callable[[psutil.Process], bool] = lambda process: False,
        is_actor: Callable[[psutil.Process], bool] = lambda process: False,
        sampler: Callable[..., Sampler] = Sampler,
        machine_cpu: Callable[[], tuple[float, float]] | None = None,
    ) -> None:
        self._processes = processes
        self._is_idle = is_idle
        self._is_actor = is_actor
        self._machine_cpu = machine_cpu if machine_cpu is not None else _machine_cpu_seconds
        self._sampler = sampler(self._sample, interval_s, (psutil.Error, OSError, NoRayletError))
        self._reset()

    def _reset(self) -> None:
        self._seen: dict[tuple[int, float], _Seen] = {}
        self._total_peak: int | None = None
        self._first_machine: tuple[float, float] | None = None
        self._last_machine: tuple[float, float] | None = None

    @property
    def available(self) -> bool:
        """Whether nothing has kept it from sampling, as far as is known."""
        return self._sampler.problem is None

    @property
    def problem(self) -> str | None:
        """Why figures are missing; None while nothing is wrong."""
        if self._sampler.problem is None and self._sampler.samples and not self._seen:
            return "no process was seen to sample"
        return self._sampler.problem

    def __enter__(self) -> SystemMonitor:
        """Forget the last block and take the first sample. Raises RuntimeError if it samples already."""
        if not self._sampler.running:
            self._reset()
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sampler.stop()

    def summary(self) -> Mapping[str, float | None]:
        """The figures of the last block; all None if sampling broke off or there was no block.

        - `peak_worker_memory`: the most private memory that any one process held, in bytes; of the actors, if
          there were any, else of all; an idle one does not count
        - `reused_workers`: how many of these processes, actors aside, were there at the first sample. Workers
          of tasks live on, with what earlier tasks had them import: which is given a task is chance
        - `total_peak_memory`: the most that all processes held together at one sample, in bytes, likewise
        - `processes`: how many different processes were seen
        - `cpu_seconds`: user and system time that the processes used between the first and the last time
          each was seen; what a process used before it was first seen, or after it was last, is not in it
        - `machine_cpu_utilization`: 0 to 1, the share of the whole machine's CPU time that was not idle
        - `samples`: how many samples were taken
        - `sampler_cpu_seconds`: what the sampling itself cost, in CPU seconds of this process
        """
        seen = list(self._seen.values())
        whole = self._sampler.problem is None and self._sampler.samples > 0
        twice = [process for process in seen if process.times > 1]
        at_work = [process for process in seen if process.peak_memory is not None]
        largest_of = [process for process in at_work if process.actor] or at_work
        figures: dict[str, float | None] = {
            "peak_worker_memory": max(
                (process.peak_memory for process in largest_of if process.peak_memory is not None),
                default=None,
            ),
            # An actor may have been there as well, started beforehand by Ray, but has not run a task.
            "reused_workers": sum(p.was_there and not p.actor for p in largest_of) if largest_of else None,
            "total_peak_memory": self._total_peak,
            "processes": len(seen),
            # Two sights make a difference of CPU times; one makes none, which is not the same as 0.
            "cpu_seconds": sum(one.last_cpu - one.first_cpu for one in twice) if twice else None,
            "machine_cpu_utilization": self._utilization(),
            "samples": self._sampler.samples,
            "sampler_cpu_seconds": self._sampler.cpu_seconds,
        }
        return figures if whole else dict.fromkeys(figures, None)

    def _utilization(self) -> float | None:
        if self._first_machine is None or self._last_machine is None:
            return None
        busy = self._last_machine[0] - self._first_machine[0]
        total = self._last_machine[1] - self._first_machine[1]
        # Each kind of time is counted in ticks by itself: a short span can hold none, or a negative idle.
        return min(max(busy / total, 0.0), 1.0) if total > 0 else None

    def _sample(self) -> None:
        machine = self._machine_cpu()
        first = self._first_machine is None
        total: int | None = None
        for process in self._processes():
            try:
                memory = None if self._is_idle(process) else private_memory(process)
                times = process.cpu_times()
                identity = (process.pid, process.create_time())
            except psutil.NoSuchProcess:
                continue  # it ended since it was listed, and keeps its last reading
            cpu = times.user + times.system
            known = self._seen.get(identity)
            if known is None:
                known = self._seen[identity] = _Seen(memory, cpu, cpu, was_there=first)
            else:
                if memory is not None:
                    known.peak_memory = max(known.peak_memory or 0, memory)
                known.last_cpu = cpu
                known.times += 1
            known.actor = known.actor or self._is_actor(process)
            if memory is not None:
                total = memory + (total or 0)
        if total is not None:
            self._total_peak = max(total, self._total_peak or 0)
        if self._first_machine is None:
            self._first_machine = machine
        self._last_machine = machine


def private_memory(process: psutil.Process) -> int:
    """Bytes of `process` that no other process shares.

    On Linux the resident set also counts the pages of the object store that a worker has mapped, which
    every worker maps and none owns; elsewhere psutil does not tell them apart, and the whole is taken.
    """
    info = process.memory_info()
    # The kernel adds the two up from different counters, which may be some pages apart.
    return max(0, int(info.rss - getattr(info, "shared", 0)))


def _machine_cpu_seconds() -> tuple[float, float]:
    """CPU seconds of the machine since it was started, all CPUs together: (not idle, all).

    Time that the hypervisor gave to others (steal) counts as not idle, as it does for psutil's cpu_percent.
    """
    times = psutil.cpu_times()._asdict()
    # Linux counts guests' time in user and nice already.
    total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
    return total - times["idle"] - times.get("iowait", 0.0), total

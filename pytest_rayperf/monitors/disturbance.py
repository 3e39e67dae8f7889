"""Watches whether something else than the pipeline is at work on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from types import TracebackType

import psutil

from pytest_rayperf.monitors.cpu_account import CpuAccount
from pytest_rayperf.monitors.disturbance_limits import (
    DEFAULT_LIMITS,
    Limits,
    Reading,
    reasons_of,
    undecided_of,
    unseen_of,
)
from pytest_rayperf.monitors.gpu_load import GpuWatch
from pytest_rayperf.monitors.pressure import PressureWatch
from pytest_rayperf.monitors.sampler import Sampler
from pytest_rayperf.monitors.utilization import CpuSpans

INTERVAL_S = 0.4
"""The shortest: a sample reads each process of the cluster and the list of all, 1.5 ms of CPU with 15 of the
cluster on a busy machine of 2 cores (AMD EPYC, kernel 6.18): the sampler then pauses longer. An interval
at whose end an actor has ended is not accounted, so longer ones lose more.
"""


class DisturbanceMonitor:
    """Watches what else is at work on this machine: `with monitor: ...; monitor.reasons()`.

    Args:
        cpu: accounts the CPUs' time; None where that cannot be done.
        limits: what disturbs a round.
        interval_s: seconds between two samples. Waiting and swapping are read at both ends only.
        pressure: reads pressure and memory.
        gpus: looks at the GPUs.
        sampler: makes the sampler; tests pass one with a clock of their own.

    Raises ValueError if `interval_s` is not above 0. A source that cannot be read is not an error: its
    figures are None, and `unseen()` says why.
    """

    def __init__(
        self,
        cpu: CpuAccount | None,
        limits: Limits = DEFAULT_LIMITS,
        interval_s: float = INTERVAL_S,
        *,
        pressure: PressureWatch | None = None,
        gpus: GpuWatch | None = None,
        sampler: Callable[..., Sampler] = Sampler,
    ) -> None:
        self._cpu = cpu
        self._limits = limits
        self._pressure = pressure if pressure is not None else PressureWatch()
        self._gpus = gpus if gpus is not None else GpuWatch()
        self._sampler = sampler(self._sample, interval_s, ())  # each part keeps its own errors
        self._reading: Reading | None = None

    @property
    def available(self) -> bool:
        """Whether nothing has kept it from watching, as far as is known."""
        return self._sampler.problem is None

    @property
    def problem(self) -> str | None:
        """Why there are no figures at all; None while there are. `unseen()` says which are missing."""
        return self._sampler.problem

    @property
    def reading(self) -> Reading | None:
        """What was seen in the last block; None if there was none, or if watching broke off."""
        return self._reading if self._sampler.problem is None else None

    def __enter__(self) -> DisturbanceMonitor:
        """Forget the last block and look for the first time. Raises RuntimeError if it watches already."""
        if self._sampler.running:
            raise RuntimeError(
                "the disturbance monitor runs already; leave its block before entering another"
            )
        self._reading = None
        if self._cpu is not None:
            self._cpu.start()
        self._pressure.start()
        self._gpus.start()
        try:
            self._sampler.start()
        except BaseException:
            self._gpus.stop(None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._sampler.running:
            return
        try:
            self._sampler.stop()
        finally:
            # An account that broke off does not know the processes that came afterwards.
            known = self._cpu is not None and self._cpu.problem is None
            gpus, missing = self._gpus.stop(self._cpu.pids if self._cpu is not None and known else None)
        self._reading = Reading(
            cpu=self._cpu.shares() if self._cpu is not None else None,
            pressure=self._pressure.stop(),
            gpus=gpus,
            gpus_missing=missing,
        )

    def reasons(self) -> tuple[str, ...]:
        """Why the last block was disturbed, a sentence each; empty if it was not, as far as was seen."""
        return () if self.reading is None else reasons_of(self.reading, self._limits)

    def unseen(self) -> tuple[str, ...]:
        """What could not be seen in the last block and why; empty before the first one."""
        if self._sampler.problem is not None:
            return (f"disturbances: {self._sampler.problem}",)
        return () if self._reading is None else unseen_of(self._reading)

    def undecided(self) -> str:
        """Why nobody knows of the last block who had the CPUs, where that is known of others; "" if it is."""
        return "" if self.reading is None else undecided_of(self.reading)

    def over_time(self) -> CpuSpans:
        """How the CPUs were used in the last block; nothing where that was not measured."""
        return CpuSpans() if self._cpu is None or self.reading is None else self._cpu.over_time()

    def summary(self) -> Mapping[str, float | None]:
        """The figures of the last block; None where something was not measured, or there was no block.

        Shares are 0 to 1.

        - `others_cpu_share`: of the CPUs' time, used by processes that are not the cluster's
        - `steal_share`: of the CPUs' time, taken by the hypervisor
        - `cpu_accounted_share`: of the block's time, that `others_cpu_share` was measured in
        - `cpu_stall_share`, `memory_stall_share`, `io_stall_share`: of the block's time, in which at least
          one task of the machine, the pipeline's own among them, waited for that
        - `memory_available_share`: the least at a sample
        - `swapped_in_bytes`
        - `gpu_throttled_share`: of the samples, on the card with the most
        - `samples`: how many samples were taken
        - `sampler_cpu_seconds`: what the sampling itself cost, in CPU seconds of this process
        """
        reading = self.reading
        seen = reading if reading is not None else Reading()
        cpu, pressure = seen.cpu, seen.pressure
        told = cpu is not None and cpu.problem is None and cpu.seconds > 0
        return {
            "others_cpu_share": cpu.others if cpu is not None else None,
            "steal_share": cpu.steal if cpu is not None else None,
            "cpu_accounted_share": cpu.accounted_seconds / cpu.seconds if cpu is not None and told else None,
            "cpu_stall_share": pressure.cpu_stall_share,
            "memory_stall_share": pressure.memory_stall_share,
            "io_stall_share": pressure.io_stall_share,
            "memory_available_share": pressure.memory_available_share,
            "swapped_in_bytes": pressure.swapped_in_bytes,
            "gpu_throttled_share": max(
                (gpu.throttled / gpu.samples for gpu in seen.gpus if gpu.samples), default=None
            ),
            "samples": self._sampler.samples if reading is not None else None,
            "sampler_cpu_seconds": self._sampler.cpu_seconds if reading is not None else None,
        }

    def _sample(self) -> None:
        if self._cpu is not None:
            self._cpu.sample()
        self._pressure.sample()
        self._gpus.sample()


def watch_disturbances(
    gcs_address: str | None, limits: Limits = DEFAULT_LIMITS, *, quota: int | None = None
) -> DisturbanceMonitor:
    """A monitor for which this process and the cluster at `gcs_address` ("host:port") are not others.

    Looks at every process of the machine: call it once for each start of a cluster. `quota` is how many CPUs'
    time a container grants, if it is less than there is.
    """
    roots = {os.getpid(), *(cluster_processes(gcs_address) if gcs_address is not None else ())}
    account = CpuAccount(roots, quota=quota) if sys.platform == "linux" else None
    return DisturbanceMonitor(account, limits)


def cluster_processes(gcs_address: str) -> tuple[int, ...]:
    """Ids of the processes on this machine that were started for the cluster at `gcs_address`, lowest first.

    Its raylets, whose children the workers are, its GCS and its agents; by the address, or the session that
    others of them name, in their command lines.
    """
    commands: dict[int, set[str]] = {}
    for process in psutil.process_iter():
        try:
            commands[process.pid] = set(process.cmdline())
        except psutil.Error:
            continue  # ended just now, or another user's: in neither case ours
    by_address = {pid for pid, words in commands.items() if f"--gcs-address={gcs_address}" in words}
    # The GCS does not name its own address; it and the raylets name the session.
    sessions = {w for pid in by_address for w in commands[pid] if w.startswith("--session-name=")}
    return tuple(sorted(by_address | {pid for pid, words in commands.items() if words & sessions}))

"""What disturbs a round, and what could not be seen of it: figures and limits -> sentences. Pure.

Nothing here looks at how long a round took: it is measured again for what disturbed it, never for being slow.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from pytest_rayperf.monitors.cpu_account import SHORTEST_S, CpuShares
from pytest_rayperf.monitors.gpu_load import GpuReading
from pytest_rayperf.monitors.pressure import Pressure


@dataclass(frozen=True)
class Limits:
    """Above these (below, for available memory) a round is disturbed.

    There is none for waiting for a CPU or for a disk: a pipeline that uses all CPUs, or reads its images
    from a disk, waits for them by its own doing, and the kernel does not tell for whom a task waited. Both
    are reported. Who takes the CPU from a pipeline shows as CPU time of others, or as steal time.

    Attributes:
        others_cpu_share: 0 to 1, of the CPUs that the cluster may use. A process of others on a tenth of the
            CPUs takes up to a tenth of the throughput: as much as the slowdown that counts as a regression
            by default (1.10). What an idle desktop or server does by itself is below it.
        steal_share: 0 to 1, of the same CPUs. Stolen time comes in bursts that hit single rounds, and it
            cools caches, which CPU time of others on another core need not: half the limit of others' CPU.
        memory_stall_share: 0 to 1, of the time. Tasks that reclaim pages use CPU time for it, so that memory
            pressure, other than waiting for a CPU or a disk, changes CPU seconds a row as well: also where
            the pipeline's own size is the cause. As for others' CPU, a tenth.
        memory_available_share: 0 to 1, of the machine's memory. Ray kills workers once 95 % is in use
            (RAY_memory_usage_threshold).
        swapped_in_bytes: bytes in the round. 64 MiB are 16,384 pages of 4 KiB; at 0.1 ms each, the latency
            of a common SSD, 1.6 s of waiting.
        gpu_throttled_share: 0 to 1, of the samples of a card that the cluster computes on.
    """

    others_cpu_share: float = 0.10
    steal_share: float = 0.05
    memory_stall_share: float = 0.10
    memory_available_share: float = 0.05
    swapped_in_bytes: float = 64 * 1024**2
    gpu_throttled_share: float = 0.10


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Reading:
    """What was seen of one round.

    `cpu` is None where the system keeps no such account; `gpus_missing` says what the cards don't tell.
    """

    cpu: CpuShares | None = None
    pressure: Pressure = field(default_factory=Pressure)
    gpus: tuple[GpuReading, ...] = ()
    gpus_missing: tuple[str, ...] = ()


def reasons_of(reading: Reading, limits: Limits = DEFAULT_LIMITS) -> tuple[str, ...]:
    """Why the round is disturbed, a sentence each; empty if it is not, as far as was seen."""
    cpu, pressure = reading.cpu, reading.pressure
    found = []
    if cpu is not None and cpu.others is not None and cpu.others > limits.others_cpu_share:
        share = _percent(cpu.others, limits.others_cpu_share)
        found.append(f"{share} of the CPU was used by others (limit {_percent(limits.others_cpu_share)})")
    if cpu is not None and cpu.steal is not None and cpu.steal > limits.steal_share:
        share = _percent(cpu.steal, limits.steal_share)
        found.append(
            f"{share} of the CPU was stolen by the hypervisor (limit {_percent(limits.steal_share)})"
        )
    stalled = pressure.memory_stall_share
    if stalled is not None and stalled > limits.memory_stall_share:
        share = _percent(stalled, limits.memory_stall_share)
        found.append(
            f"tasks waited for memory in {share} of the time (limit {_percent(limits.memory_stall_share)})"
        )
    available = pressure.memory_available_share
    if available is not None and available < limits.memory_available_share:
        share = _percent(available, limits.memory_available_share)
        found.append(
            f"only {share} of the machine's memory was available (limit "
            f"{_percent(limits.memory_available_share)})"
        )
    swapped = pressure.swapped_in_bytes
    if swapped is not None and swapped > limits.swapped_in_bytes:
        found.append(
            f"{swapped / 1024**2:.0f} MiB were swapped in (limit {limits.swapped_in_bytes / 1024**2:.0f} MiB)"
        )
    for gpu in reading.gpus:
        found += _reasons_of_gpu(gpu, limits)
    return tuple(found)


def _reasons_of_gpu(gpu: GpuReading, limits: Limits) -> list[str]:
    # What happens on a card that the cluster doesn't use is none of its business; where it cannot be told
    # which ones it uses, they all count.
    if gpu.used is False:
        return []
    found = []
    if gpu.samples and gpu.throttled / gpu.samples > limits.gpu_throttled_share:
        kinds = ", ".join(
            f"{kind} ({_percent(n / gpu.samples)} of samples)" for kind, n in gpu.slowed.items()
        )
        found.append(f"GPU {gpu.index} was throttled: {kinds}; limit {_percent(limits.gpu_throttled_share)}")
    if gpu.foreign:
        one = len(gpu.foreign) == 1
        found.append(
            f"{'a process' if one else 'processes'} of others (pid {', '.join(map(str, gpu.foreign))}) "
            f"{'was' if one else 'were'} on GPU {gpu.index}"
        )
    return found


def unseen_of(reading: Reading) -> tuple[str, ...]:
    """What could not be seen of the round and why, a sentence each; empty if all was seen."""
    return (*_unseen_of_cpu(reading.cpu), *reading.pressure.missing, *reading.gpus_missing)


def undecided_of(reading: Reading) -> str:
    """Why it is not known who had the CPUs in this round, where that is known of longer ones; "" if it is."""
    cpu = reading.cpu
    if cpu is None or cpu.problem is not None or cpu.others is not None:
        return ""
    return "; ".join(_unseen_of_cpu(cpu))


def _unseen_of_cpu(cpu: CpuShares | None) -> tuple[str, ...]:
    if cpu is None:
        return (f"CPU time of others and steal time: not accounted on {sys.platform}, only on Linux",)
    if cpu.problem is not None:
        return (f"CPU time of others and steal time: {cpu.problem}",)
    if cpu.seconds < SHORTEST_S:
        return (
            f"CPU time of others and steal time: {cpu.seconds:.2f} s are too short, for the kernel counts in "
            f"steps of 10 ms; {SHORTEST_S:.1f} s are needed",
        )
    blind = cpu.seconds - cpu.accounted_seconds
    if cpu.others is None or blind > cpu.accounted_seconds:
        return (
            f"CPU time of others in {blind:.1f} of {cpu.seconds:.1f} s: processes of the cluster ended, and "
            "nobody keeps what they had used since they were last looked at",
        )
    return ()


def _percent(share: float, limit: float | None = None) -> str:
    """`share` in words; with as many digits as it takes to be told from `limit`."""
    for digits in range(4):
        text = f"{100 * share:.{digits}f} %"
        if limit is None or text != f"{100 * limit:.{digits}f} %":
            break
    return text

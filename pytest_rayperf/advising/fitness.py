"""Is this machine fit to measure on? What was seen of it -> a list of checks. Pure.

A check is `ok`; or a `warning`, where runs say less than they could; or `unfit`, where they would be invalid,
inconclusive or slower than they need be. What is not ok says what to do.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pytest_rayperf.advising.advice import default_object_store, size
from pytest_rayperf.machine import Lap, Probe

Mark = Literal["ok", "warning", "unfit"]

LOWEST_RAY = (2, 51)
"""As in pyproject.toml."""

FEW_SESSIONS = 3
"""With fewer the difference between sessions is believed rather than known."""

LARGE_STORE = 10**10
"""Bytes of an object store that Ray does not put on a disk: it takes less memory then (Ray 2.60,
ray/_private/ray_constants.py: REQUIRE_SHM_SIZE_THRESHOLD)."""

FULL_DISK = 0.95
"""Share of the disk beyond which Ray creates and spills no objects (local_fs_capacity_threshold)."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        mark: whether it is fit.
        found: what was seen.
        remedy: what to do; "" where it is ok.
    """

    name: str
    mark: Mark
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Disk:
    """A file system: where, its size and what is free, in bytes."""

    path: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Facts:
    """What was seen.

    Attributes:
        seconds: how long the machine was watched.
        others_cpu_share: of the CPUs' time, used by other processes, 0 to 1; None where it was not measured.
        steal_share: of the same, taken by the hypervisor.
        disturbed: why a round would have been disturbed meanwhile, a sentence each. All GPUs count: which
            of them a pipeline will use is not known.
        unseen: what could not be seen, and why.
        laps: of the fixed work, one after the other.
        memory_bytes: what this process may use, and is free.
        shared_memory: /dev/shm; None where the system has none.
        scratch: where Ray keeps its session, and spills to; None where that cannot be looked at.
        governors: how the kernel sets the CPUs' clock; empty where it does not say.
        ray: its version; None where it is not installed.
        sessions: of each baseline of this environment, by name, how many it has.
        broken: baselines that cannot be read, and why.
        elsewhere: other environments that have baselines.
    """

    seconds: float
    others_cpu_share: float | None
    steal_share: float | None
    disturbed: tuple[str, ...]
    unseen: tuple[str, ...]
    laps: tuple[Lap, ...]
    memory_bytes: int
    shared_memory: Disk | None
    scratch: Disk | None
    governors: tuple[str, ...]
    ray: str | None
    sessions: Mapping[str, int]
    broken: tuple[str, ...]
    elsewhere: tuple[str, ...]


def checks_of(facts: Facts, max_slowdown: float) -> list[Check]:
    """All that was looked at, for a gate that asks for this threshold."""
    return [
        _software(facts),
        _others(facts),
        *_unseen(facts),
        _speed(facts, max_slowdown),
        *_clock(facts),
        *_shared_memory(facts),
        *_scratch(facts),
        *_baselines(facts),
    ]


def is_fit(checks: list[Check]) -> bool:
    """Whether nothing is unfit."""
    return all(check.mark != "unfit" for check in checks)


def variation(laps: tuple[Lap, ...]) -> float | None:
    """Standard deviation of the log of the fixed work's CPU seconds; None of fewer than two timed laps."""
    probes = [Probe.around(lap) for lap in laps]
    logs = [log for probe in probes if (log := probe.log_slower(probes[0])) is not None]
    return statistics.stdev(logs) if len(logs) == len(laps) > 1 else None


def _software(facts: Facts) -> Check:
    lowest = ".".join(map(str, LOWEST_RAY))
    name, install = "Ray", f"pip install 'ray[data]>={lowest}'"
    if facts.ray is None:
        return Check(name, "unfit", "is not installed", install)
    numbers = re.match(r"(\d+)\.(\d+)", facts.ray)
    known = numbers is not None and (int(numbers[1]), int(numbers[2])) >= LOWEST_RAY
    return Check(name, "ok", facts.ray) if known else Check(name, "unfit", facts.ray, install)


def _others(facts: Facts) -> Check:
    name = "others at work"
    if facts.disturbed:
        return Check(
            name,
            "unfit",
            "; ".join(facts.disturbed),
            "stop what else runs here, or measure elsewhere: rounds like that are measured again, and where "
            "that does not help their benchmark is inconclusive",
        )
    shares = [
        f"{100 * share:.1f} % of the CPU {what}"
        for share, what in ((facts.others_cpu_share, "used by others"), (facts.steal_share, "stolen"))
        if share is not None
    ]
    found = f"{', '.join(shares)}, in {facts.seconds:.0f} s"
    return (
        Check(name, "ok", found) if shares else Check(name, "warning", "not measured", "see what is not seen")
    )


def _unseen(facts: Facts) -> Iterator[Check]:
    for what in facts.unseen:
        yield Check("not seen", "warning", what, "keep it quiet yourself: rounds that it disturbs count")


def _speed(facts: Facts, max_slowdown: float) -> Check:
    name, scatter, threshold = "fixed work", variation(facts.laps), math.log(max_slowdown)
    if scatter is None:
        return Check(
            name,
            "warning",
            "this thread's clock ticks too rarely to time it",
            "go by the counters: times are compared as they are, whatever the machine's speed",
        )
    found = f"took the same CPU time within {100 * scatter:.1f} % (standard deviation of {len(facts.laps)})"
    if scatter <= threshold / 2:
        return Check(name, "ok", found)
    return Check(
        name,
        "unfit" if scatter > threshold else "warning",
        f"{found}, where a slowdown of {max_slowdown:g}x shall be found",
        "measure on a machine that is not shared, or raise --rayperf-max-slowdown",
    )


def _clock(facts: Facts) -> Iterator[Check]:
    if not facts.governors:
        return  # a virtual machine: the host sets the clock
    found, name = ", ".join(facts.governors), "CPU clock"
    if facts.governors == ("performance",):
        yield Check(name, "ok", f"governor {found}")
    else:
        remedy = "sudo cpupower frequency-set --governor performance"
        yield Check(name, "warning", f"governor {found}: the clock follows the load", remedy)


def _shared_memory(facts: Facts) -> Iterator[Check]:
    disk = facts.shared_memory
    if disk is None:
        return
    wanted = default_object_store(facts.memory_bytes)
    found = f"{size(disk.free_bytes)} free in {disk.path}, for an object store of {size(wanted)}"
    remedy = f"make it larger (docker run --shm-size={math.ceil(1.1 * wanted / 1024**3)}g)"
    if disk.free_bytes >= wanted:
        yield Check("shared memory", "ok", found)
    elif disk.free_bytes >= LARGE_STORE:
        yield Check("shared memory", "warning", f"{found}: Ray takes less", remedy)
    else:
        yield Check("shared memory", "unfit", f"{found}: Ray takes the disk for it, which is slow", remedy)


def _scratch(facts: Facts) -> Iterator[Check]:
    disk = facts.scratch
    if disk is None:
        return
    used = 1 - disk.free_bytes / disk.total_bytes if disk.total_bytes else 1.0
    found = f"{size(disk.free_bytes)} free in {disk.path}, {100 * used:.0f} % used"
    if used < FULL_DISK:
        yield Check("disk", "ok", found)
    else:
        limit = f"{100 * FULL_DISK:.0f} %"
        yield Check(
            "disk", "unfit", f"{found}: beyond {limit} Ray spills nothing there", f"free some of {disk.path}"
        )


def _baselines(facts: Facts) -> Iterator[Check]:
    name, record = "baselines", "pytest --rayperf --rayperf-update-baselines"
    for problem in facts.broken:
        yield Check(name, "unfit", problem, "mend it: a run that meets it ends with a usage error")
    if facts.sessions:
        few = sorted(slug for slug, count in facts.sessions.items() if count < FEW_SESSIONS)
        found = f"{len(facts.sessions)} of this environment"
        if few:
            found += f"; with fewer than {FEW_SESSIONS} sessions: {_some(few)}"
            yield Check(name, "warning", found, f"record more, in runs of their own: {record}")
        else:
            yield Check(name, "ok", found)
    elif not facts.broken:
        others = f"; there are of {_some(facts.elsewhere)}" if facts.elsewhere else ""
        yield Check(name, "warning", f"none of this environment{others}", f"record them: {record}")


def _some(names: tuple[str, ...] | list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

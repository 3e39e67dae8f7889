"""How long tasks of the machine waited for CPU, memory or the disk, and how short its memory was."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

_KINDS = ("cpu", "memory", "io")


@dataclass(frozen=True)
class Pressure:
    """Of one span of time; None where it was not measured, and `missing` says why.

    Attributes:
        cpu_stall_share: share of the time (0 to 1) in which at least one task waited for a CPU.
        memory_stall_share: the same for memory: reclaiming it, swapping in, reading back what was evicted.
        io_stall_share: the same for a disk.
        memory_available_share: the least share of the machine's memory, at a sample, that could be had
            without swapping.
        swapped_in_bytes: read back from swap by all processes.
    """

    cpu_stall_share: float | None = None
    memory_stall_share: float | None = None
    io_stall_share: float | None = None
    memory_available_share: float | None = None
    swapped_in_bytes: float | None = None
    missing: tuple[str, ...] = ()


class PressureWatch:
    """Reads the kernel's pressure stall information at both ends of a span, and the memory meanwhile.

    The figures are the whole machine's, in a container too. Of the two that the kernel keeps, "some" (at
    least one task waited) is taken and not "full" (all did): the operators of a pipeline wait for each
    other, so one that stalls slows all, and for the CPU there is no "full" on a whole machine. Source:
    Documentation/accounting/psi.rst of Linux. The totals are used, in microseconds, not the averages, which
    reach into the time before the span.

    Args:
        proc: the process file system; one that is not there counts as a kernel without these figures.
        available_memory: gives the share of the memory that can be had, 0 to 1.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        proc: Path = Path("/proc"),
        *,
        available_memory: Callable[[], float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._proc = proc
        self._available = available_memory if available_memory is not None else _available_memory
        self._clock = clock
        self._reset()

    def _reset(self) -> None:
        self._began: float | None = None
        self._stalls: dict[str, float] = {}
        self._swapped: int | None = None
        self._least: float | None = None
        self._memory_problem: str | None = None
        self._missing: dict[str, str] = {}

    def start(self) -> None:
        """Begin a span."""
        self._reset()
        self._stalls = self._read_stalls()
        self._swapped = self._read_swapped()
        self._began = self._clock()

    def sample(self) -> None:
        """Look at the memory."""
        if self._memory_problem is not None:
            return
        try:
            available = self._available()
        except (OSError, psutil.Error) as error:
            self._memory_problem = f"available memory: {error}"
            return
        self._least = available if self._least is None else min(self._least, available)

    def stop(self) -> Pressure:
        """What the span showed. All None if it was not begun."""
        if self._began is None:
            return Pressure()
        seconds = self._clock() - self._began
        stalls, swapped = self._read_stalls(), self._read_swapped()

        def share(kind: str) -> float | None:
            if kind not in stalls or kind not in self._stalls or seconds <= 0:
                return None
            # The kernel brings its totals up to date at a reading, a moment beside ours.
            return min(max((stalls[kind] - self._stalls[kind]) / seconds, 0.0), 1.0)

        missing = list(self._missing.values())
        if self._memory_problem is not None:
            missing.append(self._memory_problem)
        return Pressure(
            cpu_stall_share=share("cpu"),
            memory_stall_share=share("memory"),
            io_stall_share=share("io"),
            # After a failed sample the least is not known.
            memory_available_share=None if self._memory_problem is not None else self._least,
            swapped_in_bytes=None if swapped is None or self._swapped is None else swapped - self._swapped,
            missing=tuple(missing),
        )

    def _read_stalls(self) -> dict[str, float]:
        """Seconds since the boot by kind. The kinds that cannot be read are left out, and said."""
        folder = self._proc / "pressure"
        if not folder.is_dir():
            self._missing["pressure"] = f"no pressure stall information: this kernel has no {folder}"
            return {}
        found = {}
        for kind in _KINDS:
            try:
                some = (folder / kind).read_text().splitlines()[0]
            except OSError as error:  # masked in a container, or turned off at the boot
                self._missing[kind] = f"no pressure stall information of {kind}: {error}"
            else:
                found[kind] = int(some.rpartition("total=")[2]) / 1e6
        return found

    def _read_swapped(self) -> int | None:
        """Bytes swapped in since the boot."""
        # psutil warns, and gives 0, where it cannot read this.
        try:
            text = (self._proc / "vmstat").read_text()
        except OSError as error:
            self._missing["swap"] = f"bytes swapped in: {error}"
            return None
        for line in text.splitlines():
            if line.startswith("pswpin "):
                return int(line.split()[1]) * _page_size()
        self._missing["swap"] = f"bytes swapped in: not in {self._proc / 'vmstat'}"
        return None


def _page_size() -> int:
    return os.sysconf("SC_PAGE_SIZE") if sys.platform != "win32" else 4096


def _available_memory() -> float:
    memory = psutil.virtual_memory()
    return float(memory.available / memory.total)

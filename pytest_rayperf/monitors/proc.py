"""Reads Linux's process file system: processes and CPUs, and the time that they have used."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK") if sys.platform != "win32" else 100
"""The unit of every time in /proc, rounded down; 100 on all of Linux's common architectures."""


@dataclass(frozen=True)
class ProcessTimes:
    """One process: its parent's id, when it was started (ticks since the boot), and its CPU seconds.

    `cpu_seconds` is the user and system time of all its threads, ended ones too, and of the children that
    it has waited for.
    """

    parent: int
    started: int
    cpu_seconds: float


@dataclass(frozen=True)
class CpuTimes:
    """One CPU's seconds since the boot: without work (waiting for I/O is), in interrupts, and stolen."""

    idle: float
    interrupts: float
    steal: float


class ProcFs:
    """Reads the process file system at `root`; what the fields are is said in proc(5)."""

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = root

    def pids(self) -> set[int]:
        """The processes that there are, zombies too."""
        return {int(name) for name in os.listdir(self._root) if name.isdigit()}  # noqa: PTH208 (3x as fast)

    def process(self, pid: int) -> ProcessTimes | None:
        """What `pid` has used; None if there is no such process any more, or it is hidden (hidepid)."""
        try:
            text = (self._root / str(pid) / "stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return None
        # The second field is the program's name in parentheses, and may hold blanks and parentheses itself.
        fields = text[text.rindex(b")") + 2 :].split()
        ticks = sum(int(value) for value in fields[11:15])  # utime, stime, cutime, cstime
        return ProcessTimes(int(fields[1]), int(fields[19]), ticks / TICKS_PER_SECOND)

    def discards_children(self, pid: int) -> bool:
        """Whether `pid` ignores SIGCHLD: the CPU time of its ended children is then added to nobody's.

        True also if there is no such process any more, or the system hides it.
        """
        try:
            text = (self._root / str(pid) / "status").read_text()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return True
        mask = next((line.split()[1] for line in text.splitlines() if line.startswith("SigIgn:")), "0")
        return bool(int(mask, 16) >> (signal.SIGCHLD - 1) & 1)

    def cpus(self) -> dict[int, CpuTimes]:
        """The times of every CPU that is online, by its number. Raises OSError if they cannot be read."""
        found = {}
        for line in (self._root / "stat").read_text().splitlines():
            name, *values = line.split()
            if name.startswith("cpu") and name != "cpu":
                # user nice system idle iowait irq softirq steal; guests' time is in user and nice already
                times = [int(value) / TICKS_PER_SECOND for value in values[:8]]
                found[int(name[3:])] = CpuTimes(times[3] + times[4], times[5] + times[6], times[7])
        return found

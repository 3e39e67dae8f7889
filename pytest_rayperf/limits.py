"""What of the machine this process may use: cores and memory, and the control groups that limit them."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


def usable_cores() -> int:
    """How many CPUs' time this process can use at once: logical CPUs it may run on, within its quota."""
    if sys.platform == "linux":
        cores = len(os.sched_getaffinity(0))
        quota = _smallest_limit("cpu.max", cpu_quota)
        # Half a CPU more is a thread more, so a quota is rounded up; and no less than one can be used.
        return cores if quota is None else max(1, min(cores, math.ceil(quota)))
    else:
        return os.cpu_count() or 1


def usable_memory() -> int:
    """Bytes of memory of the machine, or of the control group this process is in, if that is less."""
    import psutil

    total = int(psutil.virtual_memory().total)
    limit = _smallest_limit("memory.max", memory_limit) if sys.platform == "linux" else None
    return total if limit is None else min(total, int(limit))


def cpu_quota(text: str) -> float | None:
    """CPUs that a cgroup v2's cpu.max allows ("150000 100000" is 1.5); None if it sets no limit."""
    match = re.fullmatch(r"(\d+)\s+(\d+)", text.strip())
    return int(match[1]) / int(match[2]) if match and int(match[2]) else None


def memory_limit(text: str) -> float | None:
    """Bytes that a cgroup v2's memory.max allows; None if it sets no limit ("max")."""
    return float(text) if text.strip().isdigit() else None


def cgroup_folders(cgroup: str, mountinfo: str) -> list[Path]:
    """The folders of this process's cgroup v2 and of all above it, innermost first.

    Made of the texts of /proc/self/cgroup and /proc/self/mountinfo. Every one of them can set a limit.
    Empty without cgroup v2.
    """
    own = re.search(r"^0::(/.*)$", cgroup, re.MULTILINE)
    mounts = [line.split() for line in mountinfo.splitlines() if " - cgroup2 " in line]
    if own is None or not mounts:
        return []
    root, mount_point = mounts[0][3], Path(mounts[0][4])
    path = Path(own[1])
    # In a container the mount can begin below the host's root; a path outside it cannot be looked at.
    inside = path.relative_to(root) if path.is_relative_to(root) else Path()
    folder = mount_point / inside
    return [folder, *(above for above in folder.parents if above.is_relative_to(mount_point))]


def _smallest_limit(file: str, parse: Callable[[str], float | None]) -> float | None:
    folders = cgroup_folders(
        text_of(Path("/proc/self/cgroup")) or "", text_of(Path("/proc/self/mountinfo")) or ""
    )
    return smallest_limit(folders, file, parse)


def smallest_limit(folders: Sequence[Path], file: str, parse: Callable[[str], float | None]) -> float | None:
    """The smallest limit that `parse` reads from `file` in any of `folders`; None if none sets one."""
    texts = (text_of(folder / file) for folder in folders)
    limits = (parse(text) for text in texts if text is not None)
    return min((limit for limit in limits if limit is not None), default=None)


def text_of(path: Path) -> str | None:
    """What a file of the kernel says; None where there is no such file, or it may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None  # the kernel, or the container, does not show it: there is nothing to read then

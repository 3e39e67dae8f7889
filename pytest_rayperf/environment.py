"""The hardware that figures belong to, and the name of its folder of baselines.

Software is not part of it: an upgrade that slows a pipeline must show, not start afresh.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_rayperf.machine import Environment

_GIB = 1024**3
_MAX_ID = 100


def detect_environment(gpu: Sequence[str] | None = None) -> Environment:
    """The machine that this runs on, as far as this process may use it.

    `gpu` names the GPUs; None asks NVML for them, and where NVML cannot be asked there are none
    (`monitors.gpu.gpu_inventory().problem` says why). Never raises for hardware that does not tell what
    it is: the model is then "unknown".
    """
    if gpu is None:
        from pytest_rayperf.monitors.gpu import gpu_inventory

        gpu = gpu_inventory().names
    system, machine = platform.system(), platform.machine()
    model, cores, memory = cpu_model(), usable_cores(), usable_memory()
    gpu_model = " + ".join(sorted(set(gpu))) if gpu else None
    return Environment(
        id=environment_id(system, machine, model, cores, memory, gpu_model, len(gpu)),
        cpu_model=model,
        cores=cores,
        memory_bytes=memory,
        gpu_model=gpu_model,
        gpu_count=len(gpu),
        system=system,
        machine=machine,
    )


def environment_id(
    system: str, machine: str, cpu: str, cores: int, memory: int, gpu: str | None, gpu_count: int
) -> str:
    """A folder's name for that hardware, of at most 100 of the characters a-z 0-9 _ . and -.

    `memory` is in bytes and is rounded, so that what a kernel reserves for itself, which differs from one
    to the next, does not change the name. A name that would be too long ends in a hash of the whole.
    """
    parts = [system, machine, _short_cpu(cpu), f"{cores}cpu", _short_memory(memory)]
    if gpu and gpu_count:
        parts.append(f"{gpu_count}x-{gpu}")
    slug = "-".join(_slug(part) or "unknown" for part in parts)
    if len(slug) <= _MAX_ID:
        return slug
    digest = hashlib.sha256(slug.encode()).hexdigest()[:8]
    return f"{slug[: _MAX_ID - 9].rstrip('-.')}-{digest}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_.]+", "-", text.lower()).strip("-.")


def _short_cpu(model: str) -> str:
    text = re.sub(r"\((?:r|tm|c)\)|[®™]", " ", model, flags=re.IGNORECASE)
    text = re.sub(r"\b(?:cpu|processor|implementer|part)\b|@", " ", text, flags=re.IGNORECASE)
    text = re.sub(r"\bfamily (\w+)", r"f\1", text)
    text = re.sub(r"\bmodel (\w+)", r"m\1", text)
    return re.sub(r"\bcache (\d+) (\w+)", r"\1\2", text)


def _short_memory(memory: int) -> str:
    gib = memory / _GIB
    if gib >= 8:
        return f"{2 * round(gib / 2)}gib"
    if gib >= 1:
        return f"{round(gib)}gib"
    return f"{round(memory / 1024**2)}mib"


# --- CPU model


def cpu_model() -> str:
    """The processor's name, made distinct where it is generic; "unknown" if the system tells none."""
    name = ""
    if sys.platform == "linux":
        name = cpu_model_from_cpuinfo(_text(Path("/proc/cpuinfo")) or "")
    elif sys.platform == "darwin":
        name = _sysctl("machdep.cpu.brand_string")
    return name or platform.processor() or "unknown"


def cpu_model_from_cpuinfo(text: str) -> str:
    """The processor's name out of the text of /proc/cpuinfo; "" if it holds none.

    Virtual machines often say no more than "AMD EPYC" for several generations; family, model number and
    cache size are then added. ARM's text has no name, but the numbers of the maker and the core's design.
    """
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        values = fields.setdefault(key.strip().lower(), [])
        if colon and value.strip() and value.strip() not in values:
            values.append(value.strip())

    def first(key: str) -> str:
        return next(iter(fields.get(key, ())), "")

    name = " ".join(first("model name").split())
    if name:
        if not _is_generic(name):
            return name
        details = (
            ("family", first("cpu family")),
            ("model", first("model")),
            ("cache", first("cache size")),
        )
        return " ".join([name, *(f"{label} {value}" for label, value in details if value)])
    if first("cpu part"):
        # A processor with fast and slow cores has several parts; in which order they are listed varies.
        return f"ARM implementer {first('cpu implementer')} part {' '.join(sorted(fields['cpu part']))}"
    return ""


def _is_generic(name: str) -> bool:
    if "qemu" in name.lower():
        return True
    # A clock ("Intel(R) Xeon(R) CPU @ 2.20GHz") or a version of a virtual CPU is no model number.
    return not re.search(r"\d", re.sub(r"@\s*[\d.]+\s*[GM]Hz|-v\d+\b", "", name, flags=re.IGNORECASE))


def _sysctl(name: str) -> str:
    try:
        done = subprocess.run(
            ["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""  # the caller has another source
    return done.stdout.strip() if done.returncode == 0 else ""


# --- cores and memory, and the control groups that limit them


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
        _text(Path("/proc/self/cgroup")) or "", _text(Path("/proc/self/mountinfo")) or ""
    )
    return smallest_limit(folders, file, parse)


def smallest_limit(folders: Sequence[Path], file: str, parse: Callable[[str], float | None]) -> float | None:
    """The smallest limit that `parse` reads from `file` in any of `folders`; None if none sets one."""
    texts = (_text(folder / file) for folder in folders)
    limits = (parse(text) for text in texts if text is not None)
    return min((limit for limit in limits if limit is not None), default=None)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None  # the kernel, or the container, does not show it: there is nothing to read then

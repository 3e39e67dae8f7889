"""The hardware that figures belong to, and the name of its folder of baselines.

Software is not part of it: an upgrade that slows a pipeline must show, not start afresh.
"""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_rayperf.limits import text_of, usable_cores, usable_memory
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
        name = cpu_model_from_cpuinfo(text_of(Path("/proc/cpuinfo")) or "")
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

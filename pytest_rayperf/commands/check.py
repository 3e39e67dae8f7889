"""`rayperf check`: is this environment fit to measure on? Starts no Ray."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_rayperf.advising.fitness import Disk, Facts, checks_of, is_fit
from pytest_rayperf.baselines.stored import files_in, read_all
from pytest_rayperf.commands.arguments import a_slowdown, number_within
from pytest_rayperf.commands.outcome import UNFIT, Outcome
from pytest_rayperf.commands.showing import FORMATS, as_json, table
from pytest_rayperf.errors import ConfigurationError
from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.machine import Lap
from pytest_rayperf.reports import safe

if TYPE_CHECKING:
    from pytest_rayperf.monitors.disturbance_limits import Reading

CPUS = Path("/sys/devices/system/cpu")

_LAPS = 160
"""Some 0.6 s: what is over sooner hardly shows in a round."""

_ABOUT = """\
Look at this machine for some seconds, and say whether it is fit to measure on: what else
is at work, how even its speed is, what cannot be seen, whether Ray has the room it needs,
and which baselines there are. Starts no Ray, and changes nothing.
"""

_EXAMPLES = """\
examples:
  rayperf check                             before the first run, and where runs are inconclusive
  rayperf check --seconds 60                a longer look, at what comes and goes
  rayperf check --max-slowdown 1.05         fit for that threshold?
  rayperf check --format json               for a machine to read

exit status: 0 if it is fit, with warnings or without, 1 if not.
"""


def add(commands: Any) -> None:
    """Declare it."""
    parser = commands.add_parser(
        "check",
        help="is this environment fit to measure on",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seconds",
        metavar="S",
        type=number_within(1, 3600, "seconds, from 1 to 3600"),
        default=10.0,
        help="how long to look; default: %(default)g",
    )
    parser.add_argument(
        "--max-slowdown",
        metavar="X",
        type=a_slowdown,
        default=Policy.max_slowdown,
        help="your gate's --rayperf-max-slowdown; default: %(default)g",
    )
    parser.add_argument(
        "--baselines", metavar="DIR", type=Path, default=Path("baselines"), help="default: %(default)s"
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: %(default)s")
    parser.set_defaults(run_command=run)


def run(arguments: argparse.Namespace) -> Outcome:
    """Look, and tell."""
    # Here, for `rayperf --help` shall not wait for it.
    from pytest_rayperf.environment import detect_environment

    environment = detect_environment()
    facts = look_at(arguments.seconds, arguments.baselines, environment.id, environment.memory_bytes)
    checks = checks_of(facts, arguments.max_slowdown)
    fit = is_fit(checks)
    status = 0 if fit else UNFIT
    if arguments.format == "json":
        data = {"fit": fit, "environment": asdict(environment), "checks": [asdict(check) for check in checks]}
        return Outcome(as_json(data), status)
    rows = [(check.name, check.mark, check.found) for check in checks]
    listed = table(("", "", environment.id), rows, arguments.format)
    counts = {mark: sum(check.mark == mark for check in checks) for mark in ("unfit", "warning")}
    remedies = [f"{check.name}: {check.remedy}" for check in checks if check.remedy]
    said = f"not fit to measure on ({counts['unfit']} unfit)" if not fit else "fit to measure on"
    if counts["warning"]:
        said += f", {counts['warning']} warning{'s' if counts['warning'] > 1 else ''}"
    make_safe = safe.markdown if arguments.format == "markdown" else safe.visible
    to_do = "".join(f"- {make_safe(remedy)}\n" for remedy in dict.fromkeys(remedies))
    return Outcome(f"{listed}\n\n{said}\n{to_do}", status)


def look_at(seconds: float, baselines: Path, environment: str, memory_bytes: int) -> Facts:
    """The facts of this machine.

    Args:
        seconds: how long to watch it.
        baselines: the folder of all environments' baselines.
        environment: this one's id.
        memory_bytes: what this process may use.

    Raises:
        ConfigurationError: `baselines` is no folder, or cannot be read.
    """
    import psutil

    from pytest_rayperf.limits import usable_cores
    from pytest_rayperf.monitors.disturbance import watch_disturbances
    from pytest_rayperf.probe import probe
    from pytest_rayperf.software import software_versions

    sessions, broken, elsewhere = _recorded(baselines, environment)
    monitor = watch_disturbances(None, quota=usable_cores())
    laps: list[Lap] = []
    with monitor, _said_on_stderr(f"looking at this machine for {seconds:g} s"):
        end = time.monotonic() + seconds
        while len(laps) < 2 or time.monotonic() < end:
            laps.append(probe(_LAPS))
    summary = monitor.summary()
    return Facts(
        seconds=seconds,
        others_cpu_share=summary["others_cpu_share"],
        steal_share=summary["steal_share"],
        disturbed=disturbed_by(monitor.reading),
        unseen=monitor.unseen(),
        laps=tuple(laps),
        memory_bytes=min(memory_bytes, int(psutil.virtual_memory().available)),
        shared_memory=_disk(Path("/dev/shm")) if sys.platform == "linux" else None,
        scratch=_disk(ray_folder(os.environ)),
        governors=governors_in(CPUS),
        ray=software_versions()["ray"],
        sessions=sessions,
        broken=broken,
        elsewhere=elsewhere,
    )


def disturbed_by(reading: Reading | None) -> tuple[str, ...]:
    """Why a round would have been disturbed, on whichever GPU: none is used while this looks."""
    from pytest_rayperf.monitors.disturbance_limits import reasons_of

    if reading is None:
        return ()
    return reasons_of(replace(reading, gpus=tuple(replace(gpu, used=None) for gpu in reading.gpus)))


def ray_folder(environ: Mapping[str, str]) -> Path:
    """Where Ray keeps its sessions and spills to (2.60, ray._common.utils.get_default_system_temp_dir)."""
    own = environ.get("RAY_TMPDIR") or (environ.get("TMPDIR") if sys.platform == "linux" else None)
    return Path(own or "/tmp")


def governors_in(cpus: Path) -> tuple[str, ...]:
    """The CPUs' governors, each once; none where the kernel does not set the clock (a virtual machine)."""
    found = set()
    for file in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor"):
        try:
            found.add(file.read_text(encoding="ascii", errors="replace").strip())
        except OSError:
            continue  # a CPU that was switched off; or the container does not show it
    return tuple(sorted(found))


def _recorded(folder: Path, environment: str) -> tuple[dict[str, int], tuple[str, ...], tuple[str, ...]]:
    """This environment's baselines with their sessions, those that are broken, and who else has some."""
    try:
        if not folder.exists():
            return {}, (), ()  # before the first recording
    except OSError as error:
        raise ConfigurationError(f"--baselines: {folder}: cannot be looked at ({error.strerror})") from None
    files = files_in(folder)
    elsewhere = sorted({path.parent.name for path in files} - {environment})
    stored, broken = read_all(path for path in files if path.parent.name == environment)
    return {one.slug: len(one.baseline.sessions) for one in stored}, tuple(broken), tuple(elsewhere)


def _disk(path: Path) -> Disk | None:
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return None  # there is none, or it may not be looked at
    return Disk(str(path), usage.total, usage.free)


@contextmanager
def _said_on_stderr(text: str) -> Iterator[None]:
    """Shown to who waits at a terminal, and gone when it is over."""
    if not sys.stderr.isatty():
        yield
        return
    _write(f"{text} ...")
    try:
        yield
    finally:
        _write(f"\r{' ' * (len(text) + 4)}\r")


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()

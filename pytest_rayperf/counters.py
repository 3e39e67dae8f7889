"""Exact counts from inside the workers: model loads, UDF calls, whatever a pipeline wants to count.

Records travel with them: what is not a sum, such as how long each call of a UDF took (`record`).

A UDF calls `count("model_loads")`; the driver's `Tally` has the sums after each round. Each process appends a
line a count to a file of its own, in a folder of its node. So a count takes microseconds
(benchmarks/counting.py), and holds as soon as `count` returned: actors may be killed with SIGKILL once the
last row is out, which the kernel's page cache survives and a buffer of the process would not. The files are
read by `tally.py`.

Whether a measurement is going on, and into which folder, is in one key of Ray's internal key-value store: a
process asks once a job, and where there is no key, `count` does nothing.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

NAMESPACE = b"pytest-rayperf"
"""Of our keys in Ray's internal key-value store."""


def count(name: str, amount: int = 1) -> None:
    """Add `amount` to the counter `name` of the round that is running.

    Cheap enough for every call of a UDF: one short write to a file, which is not synced to the disk. Any
    thread may call it. Outside a Ray worker or driver that is being measured it does nothing.

    Raises:
        OSError: the count could not be written (disk full, folder not writable). It has the file's path.
        ValueError: `name` has a line break in it, or `amount` is no whole number.
    """
    sink = _sink()
    if sink is not None:
        sink.append(name, amount)


def record(kind: str, *fields: Any) -> None:
    """Hand the driver one record of the round that is running: as `count`, but kept each by itself.

    Args:
        kind: tells the reader what the fields are.
        fields: whatever JSON has a form for.

    Raises:
        OSError: as `count` does.
        TypeError, ValueError: JSON has no form for a field.
    """
    sink = _sink()
    if sink is not None:
        sink.append_record(kind, fields)


class Sink:
    """The file of one process that counts are appended to.

    Args:
        path: created where it is not there, with its folder.

    Raises:
        OSError: it cannot be created. It has the path.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cut = False
        make_folder(path.parent)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def __del__(self) -> None:
        # Not earlier: another thread may be in `append`, and another file be given the descriptor's number.
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def append(self, name: str, amount: int) -> None:
        """Add one line.

        One unbuffered write with O_APPEND: the kernel puts the lines of several threads, and of forked
        processes, behind one another.

        Raises:
            OSError: it was not written, or only half of it. It has the path.
            ValueError: as `count` does.
        """
        if "\n" in name:
            raise ValueError(f"a counter's name cannot have a line break in it: {name!r}")
        self._write(f"{amount:d} {name}\n".encode())

    def append_record(self, kind: str, fields: tuple[Any, ...]) -> None:
        """Add one line that is a JSON array: no count begins with a bracket.

        Raises:
            OSError: as `append` does.
            TypeError, ValueError: JSON has no form for a field.
        """
        self._write(json.dumps((kind, *fields), separators=(",", ":"), allow_nan=False).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        if self._cut:
            raise self._failure(errno.EIO, "an earlier line was cut off")
        try:
            written = os.write(self._descriptor, line)
        except OSError as error:
            raise self._failure(error.errno, error.strerror) from error
        if written < len(line):  # the disk was full in the middle of it: nothing may be put behind it
            self._cut = True
            raise self._failure(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _failure(self, number: int | None, cause: str | None) -> OSError:
        message = f"pytest_rayperf.count cannot write, so this round's counts are wrong: {cause}"
        return OSError(number, message, str(self._path))


_known: tuple[str, Sink | None] | None = None
"""What this process knows: a job's id, and where to count in that job (None: it is not measured)."""

_diverted: tuple[Any] | None = None
"""Where all goes instead, while `counting_into` is open."""

_lock = threading.Lock()


def _sink() -> Any:
    """Where this process writes, with a `Sink`'s methods; None where nothing is measured."""
    global _known
    if _diverted is not None:
        return _diverted[0]
    ray = sys.modules.get("ray")  # where nobody imported it, nothing is measured: no reason to import it here
    if ray is None or not ray.is_initialized():
        return None
    job = ray.get_runtime_context().get_job_id()
    known = _known
    if known is None or known[0] != job:
        with _lock:
            if _known is None or _known[0] != job:
                _known = (job, _find_sink(job))
            known = _known
    return known[1]


def _find_sink(job: str) -> Sink | None:
    import ray
    from ray.experimental.internal_kv import _internal_kv_get

    token = _internal_kv_get(key_of(job), namespace=NAMESPACE)
    if token is None:
        return None
    context = ray.get_runtime_context()
    folder = session_folder() / folder_name(token.decode(), context.get_node_id())
    # The worker's id, not the process's: containers may share the folder, and number their processes alike.
    return Sink(folder / context.get_worker_id())


@contextmanager
def counting_into(sink: Any) -> Iterator[None]:
    """While it is open, what this process counts goes to `sink`, and into no round; nowhere, if it is None.

    Args:
        sink: has `append` and `append_record`, as a `Sink` has.
    """
    global _diverted
    before, _diverted = _diverted, (sink,)
    try:
        yield
    finally:
        _diverted = before


def forget() -> None:
    """Ask anew at the next count whether anything is measured."""
    global _known
    with _lock:
        _known = None


def key_of(job: str) -> bytes:
    """What the job's token is found under."""
    return f"counters-{job}".encode()


def folder_name(token: str, node: str) -> str:
    """Where a node's processes count, within `session_folder`."""
    # With the node: two may be on one machine, or have their session's folder on one file system.
    return f"rayperf-counters-{token}-{node}"


def session_folder() -> Path:
    """Ray's folder of this session on this node: workers write there already, whoever runs them.

    The temporary folder of Python would not do: a runtime environment may set another one in the workers.
    """
    import ray

    return Path(ray._private.worker.global_worker.node.get_session_dir_path())


def make_folder(folder: Path) -> None:
    """Make it, with those above it, for whoever counts there.

    Raises:
        OSError: it cannot be made. It has the path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(PermissionError):  # its owner did it
        folder.chmod(0o777)  # as Ray does: the cluster and the driver may be different users'

"""Exact counts from inside the workers: model loads, UDF calls, whatever a pipeline wants to count.

Records travel with them: what is not a sum, such as how long each call of a UDF took (`record`).

A UDF calls `count("model_loads")`; the driver's `Tally` has the sums after each round. Each process appends a
line a count to a file of its own, in a folder of its node. So a count takes microseconds
(benchmarks/counting.py), and holds as soon as `count` returned: actors may be killed with SIGKILL once the
last row is out, which the kernel's page cache survives and a buffer of the process would not. `Tally` reads
the files of this node, and has a task on each other node read those.

Whether a measurement is going on, and into which folder, is in one key of Ray's internal key-value store: a
process asks once a job, and where there is no key, `count` does nothing.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_rayperf.errors import RayperfError

NAMESPACE = b"pytest-rayperf"
"""Of our keys in Ray's internal key-value store."""

READ_TIMEOUT_S = 60.0
"""How long another node has to answer. Ray takes up to half a minute to notice that one died."""

_REMOVE_TIMEOUT_S = 10.0


class CountsLostError(RayperfError):
    """Not all that was counted or recorded is known, so that sums would be too small."""


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
        _make_folder(path.parent)
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

_lock = threading.Lock()


def _sink() -> Sink | None:
    """Where this process writes; None where nothing is measured."""
    global _known
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

    token = _internal_kv_get(_key(job), namespace=NAMESPACE)
    if token is None:
        return None
    context = ray.get_runtime_context()
    folder = _session_folder() / _folder_name(token.decode(), context.get_node_id())
    # The worker's id, not the process's: containers may share the folder, and number their processes alike.
    return Sink(folder / context.get_worker_id())


@contextmanager
def counting_into(sink: Any) -> Iterator[None]:
    """While it is open, what this process counts goes to `sink`, and into no round; nowhere, if it is None.

    Args:
        sink: has `append` and `append_record`, as a `Sink` has.
    """
    global _known
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        yield  # then nothing is counted
        return
    job = ray.get_runtime_context().get_job_id()
    with _lock:
        before = _known
        _known = (job, sink)
    try:
        yield
    finally:
        with _lock:
            _known = before


def _forget() -> None:
    global _known
    with _lock:
        _known = None


@dataclass(frozen=True)
class Taken:
    """What came of a round."""

    counts: dict[str, int]
    """The sums, by name."""
    records: tuple[tuple[Any, ...], ...]
    """Each a kind and its fields. In order within a process; those of several, one process after another."""

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        """The fields of the records of one kind."""
        return [one[1:] for one in self.records if one[0] == kind]


class Tally:
    """The driver's side: the sums of all processes of its job, on all nodes.

    One a job: workers keep the answer that they got when they first counted.

    Args:
        token: names the folders; of this run only, so that what a killed run left is not read.
        job: this driver's job id, in hex.
        node: id of the node that this driver is on, in hex.
        folder: that node's.
    """

    def __init__(self, token: str, job: str, node: str, folder: Path) -> None:
        self._token = token
        self._job = job
        self._node = node
        self._folder = folder
        self._offsets: dict[str, dict[str, int]] = {node: {}}  # node -> file -> bytes that were read
        self._dead: set[str] = set()

    @classmethod
    def start(cls) -> Tally:
        """From here on, what this driver's job counts is kept.

        Raises:
            OSError: this node's folder cannot be made.
        """
        import ray
        from ray.experimental.internal_kv import _internal_kv_put

        context = ray.get_runtime_context()
        job, node = context.get_job_id(), context.get_node_id()
        token = f"{job}-{uuid.uuid4().hex}"
        folder = _session_folder() / _folder_name(token, node)
        _make_folder(folder)
        tally = cls(token, job, node, folder)
        tally._offsets = {alive: {} for alive in tally._survey()}  # who was dead before lost nothing of ours
        _internal_kv_put(_key(job), token, True, namespace=NAMESPACE)
        _forget()  # this process may have asked before there was a token
        return tally

    def take(self) -> dict[str, int]:
        """As `take_all`, and drops the records: the sums, by name."""
        return self.take_all().counts

    def take_all(self) -> Taken:
        """The sums and the records since the last of these calls, or of `discard`.

        Raises:
            CountsLostError: the sums would be too small. Since the last call a node died, a process was
                stopped within a count, or a file was removed: what there is is dropped, and the next call
                starts afresh. Or a node does not answer.
        """
        taken, lost = self._advance()
        if lost:
            causes = "; ".join(lost)
            raise CountsLostError(f"not all that was counted in this round is known: {causes}; run it again")
        return taken

    def discard(self) -> None:
        """Forget what was counted, or lost, so far: what an interrupted round left is not the next one's.

        Raises:
            CountsLostError: a node does not answer, so that what it has would count for the next round.
        """
        self._advance()

    def close(self, *, cluster_ends: bool = False) -> None:
        """End the counting, and remove its files.

        Args:
            cluster_ends: the cluster is about to be shut down. Only this node's files are removed, and
                nothing is asked of it, for it may be half dead: a call that its GCS does not answer ends
                this process.
        """
        import ray
        from ray.experimental.internal_kv import _internal_kv_del

        _forget()
        shutil.rmtree(self._folder, ignore_errors=True)
        if cluster_ends or not ray.is_initialized():
            return
        with suppress(ray.exceptions.RayError, RuntimeError):  # RuntimeError: Ray was shut down just now
            _internal_kv_del(_key(self._job), namespace=NAMESPACE)
            others = [node for node in self._survey() if node != self._node]
            removals = [self._on(node, _remover()) for node in others]
            if removals:
                ray.wait(removals, num_returns=len(removals), timeout=_REMOVE_TIMEOUT_S)

    def _advance(self) -> tuple[Taken, list[str]]:
        """Read on to the end: what there is, and why it is not all, in words."""
        import ray

        alive = self._survey()
        lost = [f"node {n[:12]} died, and its counts with it" for n in sorted(self._offsets.keys() - alive)]
        if not self._folder.is_dir():  # `start` made it; on another node the first count does
            lost.append(f"{self._folder} was removed")
        self._offsets = {node: self._offsets.get(node, {}) for node in alive}
        others = [node for node in alive if node != self._node]
        answers = {node: self._on(node, _remote_reader(), self._offsets[node]) for node in others}
        parts = {self._node: _reader()(str(self._folder), self._offsets[self._node])}
        for node, answer in answers.items():
            try:
                parts[node] = ray.get(answer, timeout=READ_TIMEOUT_S)
            except ray.exceptions.RayError as error:
                cause = (str(error).strip().splitlines() or [type(error).__name__])[-1]
                raise CountsLostError(f"the counts on node {node[:12]} cannot be read: {cause}") from error
        sums: dict[str, int] = {}
        records: list[tuple[Any, ...]] = []
        for node, (part, lines, ends, losses) in parts.items():
            self._offsets[node] = ends
            lost += losses
            records += (tuple(json.loads(line)) for line in lines)
            for name, amount in part.items():
                sums[name] = sums.get(name, 0) + amount
        return Taken(sums, tuple(records)), lost

    def _survey(self) -> set[str]:
        """The nodes that are alive. One that came and died since the last look is put with those of then."""
        import ray

        alive = set()
        for node in ray.nodes():
            if node["Alive"]:
                alive.add(node["NodeID"])
            elif node["NodeID"] not in self._dead:
                self._dead.add(node["NodeID"])
                self._offsets.setdefault(node["NodeID"], {})
        return alive

    def _on(self, node: str, function: Callable[..., Any], *arguments: Any) -> Any:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        pinned = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        task = ray.remote(num_cpus=0, scheduling_strategy=pinned)(function)
        return task.remote(_folder_name(self._token, node), *arguments)


def _key(job: str) -> bytes:
    return f"counters-{job}".encode()


def _folder_name(token: str, node: str) -> str:
    # With the node: two may be on one machine, or have their session's folder on one file system.
    return f"rayperf-counters-{token}-{node}"


def _session_folder() -> Path:
    """Ray's folder of this session on this node: workers write there already, whoever runs them.

    The temporary folder of Python would not do: a runtime environment may set another one in the workers.
    """
    import ray

    return Path(ray._private.worker.global_worker.node.get_session_dir_path())


def _make_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(PermissionError):  # its owner did it
        folder.chmod(0o777)  # as Ray does: the cluster and the driver may be different users'


Read = tuple[dict[str, int], list[bytes], dict[str, int], list[str]]


# The next three are made in functions, and import what they need themselves, for Ray to send them whole: a
# node where nothing is counted needs no pytest_rayperf.


def _reader() -> Callable[[str, dict[str, int]], Read]:
    def read(folder: str, offsets: dict[str, int]) -> Read:
        """Sums and records of the lines behind `offsets`, the new offsets, and what was lost, in words."""
        import time
        from collections import Counter
        from pathlib import Path

        sums: dict[str, int] = {}
        records: list[bytes] = []
        ends: dict[str, int] = {}
        lost = []
        for path in Path(folder).glob("*"):
            start = offsets.get(path.name, 0)
            with path.open("rb") as file:
                file.seek(start)
                data = file.read()
                for _ in range(10):
                    if not data or data.endswith(b"\n"):
                        break
                    time.sleep(0.01)  # a line across two pages of memory shows in two steps
                    data += file.read()
            whole, _, cut = data.rpartition(b"\n")
            if cut:
                lost.append(f"the last count in {path} was cut off")
            lines = whole.split(b"\n")
            records += (line for line in lines if line.startswith(b"["))
            for line, times in Counter(lines).items():
                if line and not line.startswith(b"["):
                    amount, _, name = line.decode().partition(" ")
                    sums[name] = sums.get(name, 0) + times * int(amount)
            ends[path.name] = start + len(data)
        lost += [f"{folder}/{name} was removed" for name in offsets if name not in ends]
        return sums, records, ends, lost

    return read


def _remote_reader() -> Callable[[str, dict[str, int]], Read]:
    read = _reader()

    def read_there(folder_name: str, offsets: dict[str, int]) -> Read:
        import ray

        return read(f"{ray._private.worker.global_worker.node.get_session_dir_path()}/{folder_name}", offsets)

    return read_there


def _remover() -> Callable[[str], None]:
    def remove(folder_name: str) -> None:
        import shutil

        import ray

        session_folder = ray._private.worker.global_worker.node.get_session_dir_path()
        shutil.rmtree(f"{session_folder}/{folder_name}", ignore_errors=True)

    return remove

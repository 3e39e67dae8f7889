"""The driver's side of `counters.py`: what all processes of its job counted in a round, on all nodes.

This node's files are read here, and each other node's by a task there.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_rayperf.counters import NAMESPACE, folder_name, forget, key_of, make_folder, session_folder
from pytest_rayperf.errors import RayperfError

READ_TIMEOUT_S = 60.0
"""How long another node has to answer. Ray takes up to half a minute to notice that one died."""

_REMOVE_TIMEOUT_S = 10.0


class CountsLostError(RayperfError):
    """Not all that was counted or recorded is known, so that sums would be too small."""


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
        folder = session_folder() / folder_name(token, node)
        make_folder(folder)
        tally = cls(token, job, node, folder)
        tally._offsets = {alive: {} for alive in tally._survey()}  # who was dead before lost nothing of ours
        _internal_kv_put(key_of(job), token, True, namespace=NAMESPACE)
        forget()  # this process may have asked before there was a token
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

        forget()
        shutil.rmtree(self._folder, ignore_errors=True)
        if cluster_ends or not ray.is_initialized():
            return
        with suppress(ray.exceptions.RayError, RuntimeError):  # RuntimeError: Ray was shut down just now
            _internal_kv_del(key_of(self._job), namespace=NAMESPACE)
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
        return task.remote(folder_name(self._token, node), *arguments)


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

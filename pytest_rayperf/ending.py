"""Ends what this process has started of Ray: whole, and none of it left behind."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

GRACE_S = 10.0
"""How long Ray's processes have to end by themselves once the cluster is shut down."""


def shut_down(ours: Collection[psutil.Process], hold: Callable[[], None]) -> None:
    """Disconnect from Ray, and end what was started for it here.

    Args:
        ours: the cluster's processes. Those that outlive Ray's own shutdown by `GRACE_S` are killed.
        hold: as `undisturbed` gives it.
    """
    import ray

    with _before_processes_end(hold):
        ray.shutdown()
    hold()
    _, alive = psutil.wait_procs(ours, timeout=GRACE_S)
    _kill(alive)


def end_new_children(before: Collection[psutil.Process]) -> None:
    """Kill what this process started since it had the children `before`: a start of Ray that was broken off.

    `ray.shutdown` does not know them before `ray.init` is through. They are stopped first, one generation
    after another, until none is new: the raylet starts its agents when it gets to it, and an agent that finds
    neither raylet nor GCS waits for them for a minute.
    """
    stopped: set[psutil.Process] = set()
    while new := set(with_descendants(set(psutil.Process().children()) - set(before))) - stopped:
        for process in new:
            with suppress(psutil.NoSuchProcess):  # it has ended
                process.suspend()
        stopped |= new
    _kill(stopped)


def with_descendants(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """These and all that they have started and that still runs."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it ended: what it had started is nobody's child now
            found += [process, *process.children(recursive=True)]
    return found


def _kill(processes: Collection[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it ended just now
            process.kill()
    psutil.wait_procs(processes, timeout=GRACE_S)


@contextmanager
def _before_processes_end(hold: Callable[[], None]) -> Iterator[None]:
    """Have signals held back again before Ray ends its processes, for which it takes the most of a second.

    Ray's core has handed SIGTERM back to the system by then (`RayLog::UninstallSignalAction`), past Python:
    a second one, as from `timeout -k`, or from whoever is impatient, would end this process in the middle.
    Where Ray has the place elsewhere, it is as if this were not here.
    """
    node: Any = getattr(sys.modules.get("ray._private.worker"), "_global_node", None)
    ending = getattr(node, "kill_all_processes", None)
    if ending is None:
        yield
        return

    def held(*arguments: Any, **keywords: Any) -> Any:
        hold()
        return ending(*arguments, **keywords)

    node.kill_all_processes = held
    try:
        yield
    finally:
        del node.kill_all_processes

"""Imported by the workers of our own clusters as they start (Ray's `preload_python_modules`), before any round.

Each actor is a new process, and importing torch and torchvision takes 3 to 5 CPU seconds there: more than the
work of a short round, and none of the pipeline's own. A worker that is started between two rounds and imports
them in advance has that behind it when the round begins (`warm_workers` starts it).

A prepared worker must compute as any other would. Ray sets OMP_NUM_THREADS to the worker's `num_cpus` when its
first task or its actor is created, which OpenMP and BLAS read when they are loaded: here they are loaded
earlier, with as many threads as the machine has cores. So their numbers of threads are set when Ray sets the
variable.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable

TITLE = "ray::IDLE (prepared)"
"""The process title of a prepared worker that has not run anything; Ray changes it with the first task."""


def prepare() -> None:
    """Import what inference needs, and say so in the process title.

    Does nothing where this Ray has no such function: then a worker imports torch when it needs it.
    """
    from ray import _raylet
    from ray._private import utils

    # Looked up before the imports: without it the threads could not be set right later.
    original: Callable[[], bool] = utils.set_omp_num_threads_if_unset

    def set_threads() -> bool:
        changed = original()
        if changed:
            limit_threads(int(os.environ["OMP_NUM_THREADS"]))
        return changed

    for name in ("numpy", "torch", "torchvision", "ray.data"):
        importlib.import_module(name)
    utils.set_omp_num_threads_if_unset = set_threads
    set_title: Callable[[str], None] = vars(_raylet)["setproctitle"]
    set_title(TITLE)


def limit_threads(threads: int) -> None:
    """Have OpenMP, BLAS and torch use `threads` threads in this process, as OMP_NUM_THREADS would."""
    import threadpoolctl
    import torch

    threadpoolctl.threadpool_limits(threads)
    torch.set_num_threads(threads)


if os.environ.get("RAYPERF_PREPARE_WORKERS") == "1":  # set in our own clusters alone: see warm_workers
    prepare()

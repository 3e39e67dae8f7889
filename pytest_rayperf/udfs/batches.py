"""Instruments what a pipeline hands to `map_batches`, without the pipeline's doing.

`Dataset.map_batches` is replaced while the block is open, so that a pipeline is seen too that executes by
itself (a write). Only that: where a function is called once a row (`map`, `flat_map`, `filter`), a record a
call would cost more than many a call does, and a row is not a batch.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from pytest_rayperf.udfs.faults import PutIn
from pytest_rayperf.udfs.instrumenting import Purpose, instrumented, name_of


@dataclass
class _Naming:
    """Of one block: which names it has given. Where there is `only` one name, the others are left alone."""

    purpose: Purpose
    only: str | None = None
    given: Counter[str] = field(default_factory=Counter)

    def __call__(self, udf: Any) -> Any:
        if not callable(udf):
            return udf  # Ray says what is wrong with it
        name = name_of(udf)
        self.given[name] += 1
        times = self.given[name]
        name = name if times == 1 else f"{name}#{times}"
        if self.only not in (None, name):
            return udf
        try:
            return instrumented(udf, name, self.purpose)
        except TypeError:
            # It can be neither subclassed nor copied, or has no `__call__` of its own (Ray's TorchInference):
            # it runs as it is, and has no latency.
            return udf


_naming: ContextVar[_Naming | None] = ContextVar("rayperf_naming", default=None)
"""Of the block that this thread is in. Another thread's pipelines are not those that are measured."""

_putting_in: ContextVar[_Naming | None] = ContextVar("rayperf_putting_in", default=None)
"""The same, of a block that puts a fault in. What is timed around it has the fault in its time."""

_lock = threading.Lock()
_open_blocks = 0
_original: Any = None
_replacement: Any = None


@contextmanager
def instrumented_batches(purpose: Purpose = "time") -> Iterator[None]:
    """While it is open, `map_batches` instruments what it is given, if called in this thread.

    A name that is given twice in one block gets a number (`<lambda>#2`), in the order of the calls: two
    steps with one name would be one distribution.

    It stands in the call's stack: a warning that Ray attributes to the caller of `map_batches` names this
    file. What is executed needs the block no more; datasets made in it stay instrumented.
    """
    with _within(_naming, _Naming(purpose)):
        yield


@contextmanager
def faulty_batches(fault: PutIn, udf: str) -> Iterator[None]:
    """While it is open, `map_batches` puts `fault` into the UDF of that name, if called in this thread.

    It may be within a block that times, and the other way round.

    Args:
        fault: as `FaultWatch` takes it.
        udf: a name that `instrumented_batches` gives, numbers and all.
    """
    with _within(_putting_in, _Naming(fault, udf)):
        yield


@contextmanager
def _within(variable: ContextVar[_Naming | None], naming: _Naming) -> Iterator[None]:
    _replace()
    token = variable.set(naming)
    try:
        yield
    finally:
        variable.reset(token)
        _restore()


def _replace() -> None:
    global _open_blocks, _original, _replacement
    from ray.data import Dataset

    with _lock:
        _open_blocks += 1
        if _open_blocks == 1:
            _original = Dataset.__dict__["map_batches"]
            _replacement = _naming_first(_original)
            Dataset.map_batches = _replacement


def _restore() -> None:
    global _open_blocks, _original, _replacement
    from ray.data import Dataset

    with _lock:
        _open_blocks -= 1
        if _open_blocks:
            return
        # Who replaced it meanwhile calls ours, which hands on: theirs stays.
        if Dataset.__dict__["map_batches"] is _replacement:
            Dataset.map_batches = _original
        _original = _replacement = None


def _naming_first(map_batches: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(map_batches)
    def named(self: Any, fn: Any, *args: Any, **kwargs: Any) -> Any:
        for naming in (_putting_in.get(), _naming.get()):
            fn = fn if naming is None else naming(fn)
        return map_batches(self, fn, *args, **kwargs)

    return named

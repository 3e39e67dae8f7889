"""What torch does within a block: operators called, their floating-point operations, bytes they returned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol


class Pause(Protocol):
    """Something that counts, and has to pass over what counting itself does while `paused` is above 0."""

    paused: int


@dataclass
class TorchWork:
    """calls: of operators; flops: by torch's formulas; bytes: of storages that an operator returned anew."""

    calls: int = 0
    flops: int = 0
    bytes: int = 0


@contextmanager
def counted_torch_work(other: Pause) -> Iterator[TorchWork]:
    """Count until the end of the block what this thread has torch do. Imports torch.

    Below autograd and inference mode, where a composite operator (`conv2d`) has been taken apart into what
    runs (`convolution`). A kernel counts as one operator, whatever it does within.
    """
    work = TorchWork()
    with _mode(work, other):
        yield work


def _mode(work: TorchWork, other: Pause) -> Any:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    class Count(TorchDispatchMode):  # type: ignore[no-untyped-call,unused-ignore]
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            return False  # or torch imports its compiler for us, which takes seconds

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            other.paused += 1
            try:
                return self._count(function, args, kwargs or {})
            finally:
                other.paused -= 1

        def _count(self, function: Any, args: Any, kwargs: Any) -> Any:
            formula = flop_registry.get(function._overloadpacket)
            if formula is None and function is not torch.ops.prim.device.default:
                with self:
                    parts = function.decompose(*args, **kwargs)
                if parts is not NotImplemented:
                    return parts  # each of them was counted on its way
            result = function(*args, **kwargs)
            work.calls += 1
            if formula is not None:
                work.flops += int(formula(*args, **kwargs, out_val=result))
            given = {storage._cdata for storage in _storages(torch, (args, tuple(kwargs.values())))}
            fresh = {s._cdata: s.nbytes() for s in _storages(torch, result) if s._cdata not in given}
            work.bytes += sum(fresh.values())
            return result

    return Count()  # type: ignore[no-untyped-call,unused-ignore]


def _storages(torch: Any, value: Any) -> Iterator[Any]:
    if isinstance(value, torch.Tensor):
        if value.layout == torch.strided:  # others have several, or none that can be asked for
            yield value.untyped_storage()
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _storages(torch, part)

"""Every byte that NumPy allocates for arrays' data, exactly and also where it is freed at once.

NumPy lets a program bring its own allocator for a context (NEP 49, NumPy >= 1.22); this one adds up what is
asked for and hands on to NumPy's. tracemalloc tells what is allocated at a moment, so that the copy of a
batch that is gone by then would be missed, and it tells it for all threads together.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SET_HANDLER, _GET_HANDLER = 304, 305
"""Where `PyDataMem_SetHandler` and `PyDataMem_GetHandler` are in NumPy's table of C functions, which only
grows (numpy/__multiarray_api.h of 1.22 to 2.4)."""

_CAPSULE = b"mem_handler"

# Called by NumPy with or without the GIL: a CFUNCTYPE callback takes it. NumPy's own allocator wants it held,
# for it keeps small blocks in a cache: PYFUNCTYPE keeps it.
_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_size_t
_Malloc = ctypes.CFUNCTYPE(_POINTER, _POINTER, _SIZE)
_Pair = ctypes.CFUNCTYPE(_POINTER, _POINTER, _SIZE, _SIZE)
_Realloc = ctypes.CFUNCTYPE(_POINTER, _POINTER, _POINTER, _SIZE)
_CallMalloc = ctypes.PYFUNCTYPE(_POINTER, _POINTER, _SIZE)
_CallPair = ctypes.PYFUNCTYPE(_POINTER, _POINTER, _SIZE, _SIZE)
_CallRealloc = ctypes.PYFUNCTYPE(_POINTER, _POINTER, _POINTER, _SIZE)


class _Allocator(ctypes.Structure):
    _fields_ = (
        ("context", _POINTER),
        ("malloc", _POINTER),
        ("calloc", _POINTER),
        ("realloc", _POINTER),
        ("free", _POINTER),
    )


class _Handler(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char * 127), ("version", ctypes.c_uint8), ("allocator", _Allocator))


class _Meter:
    """Our allocator, made once a process: arrays that it made may outlive every count."""

    def __init__(self) -> None:
        core = _numpy_core()
        api = ctypes.pythonapi
        api.PyCapsule_GetPointer.restype = ctypes.c_void_p
        api.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
        api.PyCapsule_New.restype = ctypes.py_object
        api.PyCapsule_New.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        table = ctypes.cast(api.PyCapsule_GetPointer(core._ARRAY_API, None), ctypes.POINTER(_POINTER))
        self._set = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(table[_SET_HANDLER] or 0)
        get = ctypes.PYFUNCTYPE(ctypes.py_object)(table[_GET_HANDLER] or 0)
        self.bytes = 0
        self._theirs = get()  # kept: what is behind its pointers must not go
        theirs = _Handler.from_address(api.PyCapsule_GetPointer(self._theirs, _CAPSULE)).allocator
        context = theirs.context
        malloc = _CallMalloc(theirs.malloc)
        calloc = _CallPair(theirs.calloc)
        realloc = _CallRealloc(theirs.realloc)

        def count_malloc(_: int | None, size: int) -> Any:
            self.bytes += size
            return malloc(context, size)

        def count_calloc(_: int | None, number: int, size: int) -> Any:
            self.bytes += number * size
            return calloc(context, number, size)

        def count_realloc(_: int | None, block: int | None, size: int) -> Any:
            self.bytes += size
            return realloc(context, block, size)

        self._callbacks = (_Malloc(count_malloc), _Pair(count_calloc), _Realloc(count_realloc))
        pointers = [ctypes.cast(callback, _POINTER).value for callback in self._callbacks]
        # NumPy's `free` itself, without Python in between: arrays are freed in any thread, at any time.
        self._handler = _Handler(b"pytest-rayperf", 1, _Allocator(context, *pointers, theirs.free))
        self._ours = api.PyCapsule_New(ctypes.addressof(self._handler), _CAPSULE, None)

    @contextmanager
    def installed(self) -> Iterator[None]:
        before = self._set(self._ours)
        try:
            yield
        finally:
            self._set(before)


def _numpy_core() -> Any:
    import numpy

    for name in ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath"):  # of 2, of 1.26
        if name in sys.modules:
            return sys.modules[name]
    raise ImportError(f"NumPy {numpy.__version__} has its C functions elsewhere")


_meter: _Meter | None = None


class NumpyBytes:
    """How many bytes NumPy allocated for arrays within the block, in this thread."""

    total = 0


@contextmanager
def counted_numpy_bytes() -> Iterator[NumpyBytes]:
    """Count until the end of the block; `total` is there after it. One at a time in a process.

    Imports NumPy. Raises ImportError where NumPy keeps its C functions where none of 1.26 to 2.4 did.
    """
    global _meter
    if _meter is None:
        _meter = _Meter()
    result = NumpyBytes()
    before = _meter.bytes
    with _meter.installed():
        try:
            yield result
        finally:
            result.total = _meter.bytes - before

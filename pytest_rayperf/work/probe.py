"""Counts what a block does, in the thread that enters it: exactly, and slowly.

Nothing is timed here, so that counting may be slow: it runs for each Python call and for each torch operator.
"""

from __future__ import annotations

import _thread
import gc
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any

from pytest_rayperf.counters import counting_into
from pytest_rayperf.work.allocations import counted_numpy_bytes
from pytest_rayperf.work.counts import (
    ALLOCATED_BYTES,
    BYTES_READ,
    FILES_OPENED,
    FLOPS,
    KEPT_CALLS,
    PYTHON_CALLS,
    SLEPT_MICROSECONDS,
    TORCH_CALLS,
)
from pytest_rayperf.work.functions import Function
from pytest_rayperf.work.sleeps import Sleeps, counted_sleeps
from pytest_rayperf.work.torch_work import TorchWork, counted_torch_work

_OURS = frozenset(
    {PYTHON_CALLS, TORCH_CALLS, FLOPS, ALLOCATED_BYTES, FILES_OPENED, BYTES_READ, SLEPT_MICROSECONDS}
)
"""The work's own. What a pipeline itself counts under one of these names stays with the round."""

_THREAD_IO = "/proc/thread-self/io"
_NEW_PROCESS = frozenset({"os.fork", "os.forkpty", "os.posix_spawn", "subprocess.Popen"})
# The audit event of a thread is younger than Python 3.10; start_joinable_thread is of 3.13.
_NEW_THREAD = tuple(
    getattr(_thread, name) for name in ("start_new_thread", "start_joinable_thread") if hasattr(_thread, name)
)


@dataclass(frozen=True)
class Counted:
    """What a block did.

    counts: counter -> amount.
    calls: function -> entries, of the `KEPT_CALLS` most entered.
    direct: function -> entries: all functions outside of Python's library and installed packages, with
        the entries, and all that they call, with how often.
    problems: counter -> why it is not in `counts`.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    calls: Mapping[str, int] = field(default_factory=dict)
    direct: Mapping[str, int] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)


class Probe:
    """`with Probe() as probe: ...` once, then `probe.counted`.

    Counted is this thread: `sys.setprofile`, torch's dispatch modes, NumPy's allocator and the kernel's
    figures of a thread are each thread's own; `time.sleep`, which is the process's, asks who calls it. Where
    the block starts threads or processes, what it did is not known: `problems` says so, and of `counts` there
    is only what `pytest_rayperf.count` was told.

    Garbage is collected before the block and not within it, so that no finalizer runs at a moment that
    depends on what was there before.

    `unseen`: why not all of the work can be seen, where that is known before, such as threads that run
    already; as if the block had started them.

    Entering raises RuntimeError if it was used before, if another Probe is open in this process, or a
    profiler is set in this thread.
    """

    def __init__(self, unseen: str | None = None) -> None:
        self.counted = Counted()
        self.paused = 0
        """Above 0 while counting itself is at work."""
        self.thread = 0
        """The thread that entered, as `threading.get_ident` gives it."""
        self.unseen = unseen
        self._amounts: Counter[str] = Counter()
        self._told: dict[str, int] = {}  # a Counter calls Python for what it does not have yet
        self._functions: dict[int, Function] = {}
        self._problems: dict[str, str] = {}
        self._stack = ExitStack()
        self._sleeps = Sleeps()
        self._readers: dict[str, Callable[[], int]] = {}
        self._io: tuple[int, int] | None = None
        self._without_torch = False

    def __enter__(self) -> Probe:
        global _open
        if self.thread:
            raise RuntimeError("a Probe counts one block; make another")
        if _open is not None:
            raise RuntimeError("another Probe is open in this process")
        if sys.getprofile() is not None:
            raise RuntimeError("a profiler is set in this thread; Python calls cannot be counted beside it")
        self.thread = threading.get_ident()
        with ExitStack() as stack:
            stack.enter_context(_garbage_kept())
            self._start_allocations(stack)
            stack.enter_context(counting_into(_Ear(self)))
            self._sleeps = stack.enter_context(counted_sleeps())
            _hear_audits()
            self._io = _read_io()
            if self._io is None:
                self._problems[BYTES_READ] = f"{_THREAD_IO} cannot be read on this system"
            self._stack = stack.pop_all()
        _open = self
        sys.setprofile(self._on_event)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _open
        sys.setprofile(None)
        _open = None
        after = None if self._io is None else _read_io()
        self._stack.close()
        counts = {
            PYTHON_CALLS: sum(function.entries for function in self._functions.values()),
            FILES_OPENED: self._amounts.pop(FILES_OPENED, 0),
            SLEPT_MICROSECONDS: self._sleeps.microseconds,
            **{name: read() for name, read in self._readers.items()},
        }
        if self._io is not None and after is not None:
            # What the first reading read came to the thread's figure after it was written.
            counts[BYTES_READ] = after[0] - self._io[0] - self._io[1]
        if self._sleeps.problem is not None:
            self._problems[SLEPT_MICROSECONDS] = self._sleeps.problem
        if self._without_torch and "torch" in sys.modules:
            why = "torch was imported meanwhile, and not all of its work seen"
            self._problems |= dict.fromkeys((TORCH_CALLS, FLOPS, ALLOCATED_BYTES), why)
        if self.unseen is not None:
            self._problems |= dict.fromkeys(counts, self.unseen)
        counts.update(self._amounts)
        told = {name: amount for name, amount in self._told.items() if name not in _OURS}
        self.counted = Counted(
            counts=told | {name: amount for name, amount in counts.items() if name not in self._problems},
            calls=dict(self._by_name("entries").most_common(KEPT_CALLS)),
            direct=dict(self._by_name("direct")),
            problems=self._problems,
        )

    def add(self, name: str, amount: int = 1) -> None:
        """Count `amount` more of `name`, for what Python's hooks cannot see."""
        self._amounts[name] += amount

    def tell(self, name: str, amount: int) -> None:
        """Count what the block itself has counted, by `pytest_rayperf.count`."""
        self._told[name] = self._told.get(name, 0) + amount

    def see_spawn(self, what: str) -> None:
        """The block has started `what`, whose work is none of this thread's."""
        if self.unseen is None:
            self.unseen = f"it starts {what}, whose work is not seen"

    def _start_allocations(self, stack: ExitStack) -> None:
        torch = TorchWork()
        self._without_torch = "torch" not in sys.modules
        if not self._without_torch:
            torch = stack.enter_context(counted_torch_work(self))
        self._readers = {TORCH_CALLS: lambda: torch.calls, FLOPS: lambda: torch.flops}
        try:
            numpy = stack.enter_context(counted_numpy_bytes())
        except ImportError as error:
            self._problems[ALLOCATED_BYTES] = str(error)
        else:
            self._readers[ALLOCATED_BYTES] = lambda: numpy.total + torch.bytes

    def _on_event(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "call":
            if event == "c_call":
                if argument is self._sleeps.original:
                    self._sleeps.hear(frame)
                elif argument in _NEW_THREAD:
                    self.see_spawn("a thread")
            return
        if self.paused:
            return
        function = self._functions.get(id(frame.f_code)) or self._meet(frame)
        if function.own:
            return
        function.entries += 1
        caller = frame.f_back
        if function.users:
            function.direct += 1
        elif caller is not None and not function.importing:
            function.direct += (self._functions.get(id(caller.f_code)) or self._meet(caller)).users

    def _meet(self, frame: FrameType) -> Function:
        # By identity: code objects compare by content, which would take longer than the call.
        code = frame.f_code
        self._sleeps.meet(frame)
        function = self._functions[id(code)] = Function(code, frame)
        return function

    def _by_name(self, attribute: str) -> Counter[str]:
        """Sums by name, most first, by name where alike: which are cut off must not depend on chance."""
        sums: Counter[str] = Counter()
        for function in self._functions.values():
            amount = getattr(function, attribute)
            if amount and not function.own:
                sums[function.name] += amount
        return Counter(dict(sorted(sums.items())))


class _Ear:
    """Stands where a process's file of counts is."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def append(self, name: str, amount: int) -> None:
        self._probe.tell(name, amount)

    def append_record(self, kind: str, fields: Any) -> None:
        """Records are what is no sum, such as times: nothing of them is counted."""


_open: Probe | None = None
_audited = False


def _hear_audits() -> None:
    """Listen to what Python opens and starts. A listener cannot be removed: there is one, and it can idle."""
    global _audited
    if not _audited:
        sys.addaudithook(_on_audit)
        _audited = True


def _on_audit(event: str, arguments: tuple[Any, ...]) -> None:
    probe = _open
    if probe is None or threading.get_ident() != probe.thread:
        return
    if event == "open":
        if not isinstance(arguments[0], int):  # a descriptor: open already
            probe.add(FILES_OPENED)
    elif event in _NEW_PROCESS:
        probe.see_spawn("a process")


@contextmanager
def _garbage_kept() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _read_io() -> tuple[int, int] | None:
    """Bytes that this thread has read, by the kernel, and how many this very reading was; None without it."""
    try:
        descriptor = os.open(_THREAD_IO, os.O_RDONLY)
    except OSError:  # not Linux, a kernel without it, or a container that forbids it
        return None
    try:
        text = os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
    return int(text.split()[1]), len(text)

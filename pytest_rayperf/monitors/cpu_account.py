"""Whose CPU time it was: the cluster's, that of others on the machine, or the hypervisor's. Linux only."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pytest_rayperf.monitors.proc import CpuTimes, ProcessTimes, ProcFs
from pytest_rayperf.monitors.utilization import CpuSpans, Span

SHORTEST_S = 0.5
"""Less than this much accounted time tells nothing of others.

Each figure in /proc is rounded down to 10 ms. A round's account has two to four of them a CPU and a process
that worked: with 2 CPUs and 6 workers they add up to some 50 ms, which is 5 % of 2 CPUs' half second, and
half of the usual limit of 10 %.
"""

LEAST_S = 0.1
"""A block of which less than this was told apart is not known by those before it either: it would have hardly
any part in what is said of it."""

_ROUNDING = 1e-9
"""Of adding up parts to exactly `SHORTEST_S`."""

RECENT_S = 10.0
"""What was accounted longer ago than this tells nothing of now."""


class ProcessTree:
    """The processes `roots` and all that come of them, and the CPU time that they have used together.

    Once seen in the tree a process belongs to it, also when its parent has ended. Not known is a process
    whose parent ended before it was ever looked at (a daemon that detaches itself within one interval).
    """

    def __init__(self, roots: Iterable[int], proc: ProcFs) -> None:
        self._roots = frozenset(roots)
        self._proc = proc
        self._ours: dict[int, ProcessTimes] = {}
        self._others: set[int] = set()
        self.seen: set[int] = set()
        """The ids of all that were ever seen in it."""

    def look(self) -> tuple[float, bool]:
        """CPU seconds of those in the tree now, and whether none that ended since the last look is missing.

        The time of an ended process is in its parent's if that waits for its children. A raylet does not
        (it ignores SIGCHLD, in 2.51 as in 2.60): what its workers used since the last look is lost, and the
        sum is short of all that they ever used.
        """
        for _ in range(3):
            listed = self._proc.pids()
            now = self._now(listed)
            ended = {pid: one for pid, one in self._ours.items() if not _is_same(one, now.get(pid))}
            # A process that ended while they were read, its parent before it, would be in neither's time.
            if listed.isdisjoint(ended):
                break
        whole = all(
            one.parent in now and not self._proc.discards_children(one.parent) for one in ended.values()
        )
        self._ours = now
        self._others = listed - now.keys()
        self.seen |= now.keys()
        return sum(one.cpu_seconds for one in now.values()), whole

    def _now(self, listed: set[int]) -> dict[int, ProcessTimes]:
        now: dict[int, ProcessTimes] = {}
        unknown: dict[int, ProcessTimes] = {}
        for pid in [*self._ours, *sorted(listed - self._others - self._ours.keys())]:
            times = self._proc.process(pid) if pid in listed else None
            if times is None:
                continue
            if pid in self._roots or _is_same(self._ours.get(pid), times):
                now[pid] = times
            else:
                unknown[pid] = times
        while found := {pid: times for pid, times in unknown.items() if times.parent in now}:
            now.update(found)
            for pid in found:
                del unknown[pid]
        return now


def _is_same(one: ProcessTimes | None, other: ProcessTimes | None) -> bool:
    # An id is given to another process some time after its owner has ended.
    return one is not None and other is not None and one.started == other.started


@dataclass(frozen=True)
class CpuShares:
    """Shares (0 to 1) of the CPUs' time; None where it was not measured.

    Attributes:
        others: used by processes that are not in the tree, in `accounted_seconds`.
        steal: taken by the hypervisor, in all of the time.
        seconds: the time: the block's, and that of those before it that were looked at with it.
        accounted_seconds: that part of it in which all CPU time could be told apart.
        problem: why nothing was measured; None if something was.
    """

    others: float | None
    steal: float | None
    seconds: float
    accounted_seconds: float
    problem: str | None = None


@dataclass
class _Sums:
    """CPU seconds of one block, of the CPUs that may be used; `accounted`: where it could be told apart."""

    ended: float = 0.0
    seconds: float = 0.0
    capacity: float = 0.0
    steal: float = 0.0
    accounted_seconds: float = 0.0
    accounted_capacity: float = 0.0
    others: float = 0.0

    def with_part_of(self, before: _Sums, part: float) -> _Sums:
        """With the same share, 0 to 1, of all that was accounted in an earlier block."""
        return _Sums(
            self.ended,
            self.seconds + part * before.seconds,
            self.capacity + part * before.capacity,
            self.steal + part * before.steal,
            self.accounted_seconds + part * before.accounted_seconds,
            self.accounted_capacity + part * before.accounted_capacity,
            self.others + part * before.others,
        )


class CpuAccount:
    """Accounts the time of the CPUs that the processes `roots` may use, from one `sample()` to the next.

    A block that is too short by itself (`SHORTEST_S`), or in which too little could be told apart, is looked
    at together with as much of those just before as is missing: who has the machine changes by the second,
    not by the round.

    Others' time is what is left of the CPUs' time when their idle time, interrupts, stolen time and the
    time of the tree are taken from it. Idle time is taken, not the sum of busy kinds, for kernels without
    a periodic tick measure it, and guess the other kinds from who runs at a tick. Kernel threads are others.

    An interval at whose end a process is missing whose time nobody keeps (an actor that was ended) is left
    out whole: what that used since the last look would be taken for others'. So CPU time is told apart in
    intervals, and an actor pool that ends with the round costs the last of them. A worker that both
    starts and ends within one is never seen, and its time is others'.

    Each interval is kept besides, for how it went over time: 400 bytes each.

    Args:
        roots: process ids; those that do not exist are passed over.
        proc: where it is read.
        affinity: gives the numbers of the CPUs; by default those that any of `roots` may run on.
        clock: seconds, monotonic: the executor's, which says when a round began.
        quota: how many CPUs' time a container grants; None if as much as there is. Where it is less than the
            CPUs have, others may use the rest without a loss to `roots`, and nothing is accounted.
    """

    def __init__(
        self,
        roots: Iterable[int],
        proc: ProcFs | None = None,
        *,
        affinity: Callable[[], set[int]] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        quota: int | None = None,
    ) -> None:
        self._quota = quota
        self._roots = tuple(roots)
        self._proc = proc if proc is not None else ProcFs()
        self._affinity = affinity if affinity is not None else lambda: _affinity(self._roots)
        self._clock = clock
        self._before: list[_Sums] = []
        self._now = _Sums()
        self.problem: str | None = None
        """Why nothing is accounted; None if it is."""
        self.start()

    def start(self) -> None:
        """Begin a new block."""
        recent = self._clock() - RECENT_S
        known = [] if self.problem is not None else [self._now]
        self._before = [one for one in (*self._before, *known) if one.seconds and one.ended >= recent]
        self._now, self.problem = _Sums(), None
        self._tree = ProcessTree(self._roots, self._proc)
        self._last: tuple[float, float, Mapping[int, CpuTimes]] | None = None
        self._usable: set[int] = set()
        self._ours_over_time: list[Span] = []
        self._others_over_time: list[Span] = []

    @property
    def pids(self) -> set[int]:
        """All processes that were seen in the tree."""
        return self._tree.seen

    def sample(self) -> None:
        """Account the time since the last call. An error of the system is kept in `problem`."""
        if self.problem is not None:
            return
        try:
            self._sample()
        except OSError as error:
            self.problem = f"{type(error).__name__}: {error}"

    def shares(self) -> CpuShares:
        """What was accounted. See `SHORTEST_S` for how little time says nothing."""
        told = self.problem is None
        sums = self._now
        for before in reversed(self._before) if sums.accounted_seconds >= LEAST_S else ():
            missing = SHORTEST_S - sums.accounted_seconds
            if missing > 0 and before.accounted_seconds > 0:
                sums = sums.with_part_of(before, min(1.0, missing / before.accounted_seconds))
        return CpuShares(
            # Below 0 by what the rounding to ticks makes of a machine without others.
            others=min(max(sums.others / sums.accounted_capacity, 0.0), 1.0)
            if told and sums.accounted_seconds >= SHORTEST_S - _ROUNDING
            else None,
            steal=sums.steal / sums.capacity if told and sums.seconds >= SHORTEST_S - _ROUNDING else None,
            seconds=sums.seconds,
            accounted_seconds=sums.accounted_seconds,
            problem=self.problem,
        )

    def over_time(self) -> CpuSpans:
        """The same by interval; nothing where it broke off."""
        if self.problem is not None:
            return CpuSpans()
        return CpuSpans(tuple(self._ours_over_time), tuple(self._others_over_time))

    def _sample(self) -> None:
        if not self._usable:
            self._usable = self._affinity()
            if self._quota is not None and self._quota < len(self._usable):
                self.problem = (
                    f"this container is granted the time of {self._quota} of {len(self._usable)} CPUs: what "
                    "others use is not taken from it"
                )
                return
        ours, whole = self._tree.look()
        now, cpus = self._clock(), self._proc.cpus()
        if self._last is not None:
            self._account(self._last[0], now, ours - self._last[1], self._last[2], cpus, whole)
        self._last = (now, ours, cpus)

    def _account(
        self,
        begin: float,
        end: float,
        ours: float,
        before: Mapping[int, CpuTimes],
        after: Mapping[int, CpuTimes],
        whole: bool,
    ) -> None:
        usable = self._usable & before.keys() & after.keys()
        seconds = end - begin
        capacity = seconds * len(usable)
        steal = sum(after[cpu].steal - before[cpu].steal for cpu in usable)
        now = self._now
        now.ended = end
        now.seconds += seconds
        now.capacity += capacity
        now.steal += steal
        if not whole or before.keys() != after.keys():
            self._keep(begin, end, None, None)
            return  # or a CPU was put on or off meanwhile
        free = sum(
            after[cpu].idle - before[cpu].idle + after[cpu].interrupts - before[cpu].interrupts
            for cpu in usable
        )
        now.accounted_seconds += seconds
        now.accounted_capacity += capacity
        # Not cut at 0 here: ticks that one interval lacks are in its neighbours.
        others = capacity - free - steal - ours
        now.others += others
        if capacity > 0:
            self._keep(begin, end, 100 * ours / capacity, 100 * others / capacity)

    def _keep(self, begin: float, end: float, ours: float | None, others: float | None) -> None:
        self._ours_over_time.append(Span(begin, end, ours))
        self._others_over_time.append(Span(begin, end, others))


def _affinity(roots: Iterable[int]) -> set[int]:
    usable: set[int] = set()
    if sys.platform == "linux":
        for pid in roots:
            try:
                usable |= os.sched_getaffinity(pid)
            except ProcessLookupError:
                continue  # it has ended
    return usable

"""What keeps a GPU from its work: clocks held down, and processes of others. Through NVML."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# NVML itself is a module of functions without types; a fake one stands in for it in tests.
_Nvml = Any
_Handle = Any

SLOWDOWNS = {
    "nvmlClocksThrottleReasonSwThermalSlowdown": "software thermal slowdown",
    "nvmlClocksThrottleReasonHwThermalSlowdown": "hardware thermal slowdown",
    "nvmlClocksThrottleReasonHwPowerBrakeSlowdown": "power brake",
    "nvmlClocksThrottleReasonHwSlowdown": "hardware slowdown",
}
"""What throttles a card, by NVML's name of the bit.

Left out: idleness, clocks that somebody has set, and the software power cap, at which many cards run
whenever they are well used: none of them is an event of one round. The last one listed is set beside the
two before it, and tells something where it is alone.
"""

_INITIAL_PID_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO of Linux, include/linux/proc_ns.h."""


@dataclass(frozen=True)
class GpuReading:
    """What one card showed in one round.

    Attributes:
        index: NVML's.
        samples: how often it told what holds its clocks down; 0 where it does not.
        slowed: by kind, in how many of them it was throttled.
        throttled: in how many of them it was throttled at all.
        foreign: process ids of others that computed on it; None where that isn't known.
        used: whether processes of the cluster computed on it; None where that isn't known.
    """

    index: int
    samples: int = 0
    slowed: Mapping[str, int] = field(default_factory=dict)
    throttled: int = 0
    foreign: tuple[int, ...] | None = None
    used: bool | None = None


@dataclass
class _Card:
    index: int
    handle: _Handle
    samples: int = 0
    throttled: int = 0
    slowed: dict[str, int] = field(default_factory=dict)
    pids: set[int] = field(default_factory=set)
    tells_clocks: bool = True
    tells_processes: bool = True


class GpuWatch:
    """Looks at every card of the machine: `start()`, `sample()` now and then, `stop()`.

    NVML counts processes by the ids of the machine: in a container with ids of its own nobody's can be told
    from the cluster's. Without a GPU there are no readings, and nothing is missing.

    Args:
        nvml: stands in for pynvml in tests.
        same_pids: whether this process sees the machine's process ids.
    """

    def __init__(self, nvml: _Nvml | None = None, *, same_pids: Callable[[], bool] | None = None) -> None:
        self._given = nvml
        self._same_pids = same_pids if same_pids is not None else _sees_the_machines_pids
        self._nvml: _Nvml | None = None
        self._cards: list[_Card] = []
        self._missing: list[str] = []
        self._without_gpu = False

    def start(self) -> None:
        """Begin a round."""
        self._cards, self._missing = [], []
        if self._without_gpu:
            return  # a card does not come to a running machine, and asking costs
        self._nvml = self._loaded()
        nvml = self._nvml
        if nvml is None:
            return
        try:
            for index in range(int(nvml.nvmlDeviceGetCount())):
                self._cards.append(_Card(index, nvml.nvmlDeviceGetHandleByIndex(index)))
        except nvml.NVMLError as error:
            self._missing.append(f"throttling and other processes of the GPUs: {error}")
        if self._cards and not self._same_pids():
            self._missing.append(
                "other processes on the GPUs: NVML counts processes by the machine's ids, and this container "
                "has its own"
            )
            for card in self._cards:
                card.tells_processes = False

    def sample(self) -> None:
        """Ask every card. What one does not tell it is not asked again for in this round."""
        for card in self._cards:
            if card.tells_clocks:
                self._ask(card, "tells_clocks", "throttling", self._look_at_clocks)
            if card.tells_processes:
                self._ask(card, "tells_processes", "other processes", self._look_at_processes)

    def stop(self, ours: Iterable[int] | None) -> tuple[tuple[GpuReading, ...], tuple[str, ...]]:
        """What the cards showed, and what could not be seen and why.

        `ours` are the ids of all processes that the cluster had in the round; None where they aren't known.
        """
        known = None if ours is None else set(ours)
        if known is None and any(card.tells_processes for card in self._cards):
            self._missing.append("other processes on the GPUs: the cluster's own are not known here")
        nvml, self._nvml = self._nvml, None
        if nvml is not None:
            try:
                nvml.nvmlShutdown()
            except nvml.NVMLError as error:
                self._missing.append(f"NVML could not be shut down: {error}")
        cards, self._cards = self._cards, []
        return tuple(_reading(card, known) for card in cards), tuple(self._missing)

    def _loaded(self) -> _Nvml | None:
        nvml = self._given
        if nvml is None:
            try:
                import pynvml
            except ImportError:
                self._without_gpu = True  # the GPU monitor says so; a disturbance it isn't
                return None
            nvml = pynvml
        try:
            nvml.nvmlInit()
        except (nvml.NVMLError_LibraryNotFound, nvml.NVMLError_DriverNotLoaded):
            self._without_gpu = True
            return None
        except nvml.NVMLError as error:
            self._missing.append(f"throttling and other processes of the GPUs: {error}")
            return None
        return nvml

    def _ask(self, card: _Card, told: str, what: str, look: Callable[[_Card], None]) -> None:
        nvml: _Nvml = self._nvml
        try:
            look(card)
        except nvml.NVMLError as error:
            setattr(card, told, False)
            self._missing.append(f"{what} of GPU {card.index}: {error}")

    def _look_at_clocks(self, card: _Card) -> None:
        nvml: _Nvml = self._nvml
        bits: int | None = None
        # The newer name of the same call; drivers before 535 do not have it.
        with suppress(nvml.NVMLError_FunctionNotFound):
            bits = nvml.nvmlDeviceGetCurrentClocksEventReasons(card.handle)
        if bits is None:
            bits = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(card.handle)
        kinds = [words for name, words in SLOWDOWNS.items() if int(bits) & int(getattr(nvml, name))]
        card.samples += 1
        card.throttled += bool(kinds)
        for kind in kinds:
            card.slowed[kind] = card.slowed.get(kind, 0) + 1

    def _look_at_processes(self, card: _Card) -> None:
        nvml: _Nvml = self._nvml
        card.pids |= {int(one.pid) for one in nvml.nvmlDeviceGetComputeRunningProcesses(card.handle)}


def _reading(card: _Card, ours: set[int] | None) -> GpuReading:
    return GpuReading(
        index=card.index,
        # A card that fell silent was seen for an unknown part of the round.
        samples=card.samples if card.tells_clocks else 0,
        slowed=dict(card.slowed) if card.tells_clocks else {},
        throttled=card.throttled if card.tells_clocks else 0,
        foreign=tuple(sorted(card.pids - ours)) if card.tells_processes and ours is not None else None,
        used=bool(card.pids & ours) if card.tells_processes and ours is not None else None,
    )


def _sees_the_machines_pids() -> bool:
    if sys.platform != "linux":
        return True
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == _INITIAL_PID_NAMESPACE
    except OSError:
        return False  # a container that hides even this

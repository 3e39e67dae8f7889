"""Utilization, memory, power and clocks of NVIDIA GPUs, through NVML."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType
from typing import Any

from pytest_rayperf.monitors.sampler import DEFAULT_INTERVAL_S, Sampler
from pytest_rayperf.monitors.utilization import Span, Spans

# NVML itself is a module of functions without types; a fake one stands in for it in tests.
_Nvml = Any
_Handle = Any

_UNKNOWN = "unknown GPU"

_READINGS: Mapping[str, Callable[[_Nvml, _Handle], float]] = {
    "utilization": lambda nvml, card: nvml.nvmlDeviceGetUtilizationRates(card).gpu,
    "memory": lambda nvml, card: nvml.nvmlDeviceGetMemoryInfo(card).used,
    "power": lambda nvml, card: nvml.nvmlDeviceGetPowerUsage(card) / 1000,  # mW
    "clock": lambda nvml, card: nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_SM),
    "temperature": lambda nvml, card: nvml.nvmlDeviceGetTemperature(card, nvml.NVML_TEMPERATURE_GPU),
    "throttled": lambda nvml, card: float(bool(_throttle_reasons(nvml, card))),
}


@dataclass(frozen=True)
class GpuInventory:
    """The names of the machine's GPUs, and why it is not known that there are any."""

    names: tuple[str, ...]
    problem: str | None = None


@dataclass
class _Series:
    """The readings of one figure of one card: enough of them for a mean and a maximum."""

    count: int = 0
    total: float = 0.0
    peak: float | None = None

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.peak = value if self.peak is None else max(self.peak, value)


@dataclass
class GpuDevice:
    """One card's figures over the monitored span; None where the card does not tell.

    Percent for `utilization_*`, bytes, watts, degrees Celsius and MHz; `throttled` is the share of the
    samples (0 to 1) in which something other than idleness held the clocks down. Once `lost`, a card is
    not asked again and its figures end there.
    """

    index: int
    name: str | None
    lost: bool = False
    problem: str | None = None
    _handle: _Handle = field(default=None, repr=False, compare=False)
    _series: dict[str, _Series] = field(default_factory=dict, repr=False, compare=False)
    _untold: set[str] = field(default_factory=set, repr=False, compare=False)
    _at: list[tuple[float, float]] = field(default_factory=list, repr=False, compare=False)
    """When its utilization was read (seconds), and what it was."""

    @property
    def utilization_mean(self) -> float | None:
        """Percent of the time in which a kernel ran, mean over the samples."""
        return _mean([self._told("utilization")])

    @property
    def utilization_max(self) -> float | None:
        """Percent of the time in which a kernel ran, at the busiest sample."""
        return self._told("utilization").peak

    @property
    def memory_peak(self) -> float | None:
        """Bytes of the card's memory in use by all processes, at most."""
        return self._told("memory").peak

    @property
    def power_mean(self) -> float | None:
        """Watts, mean over the samples."""
        return _mean([self._told("power")])

    @property
    def clock_mean(self) -> float | None:
        """MHz of the SM clock, mean over the samples."""
        return _mean([self._told("clock")])

    @property
    def temperature_max(self) -> float | None:
        """Degrees Celsius, at most."""
        return self._told("temperature").peak

    @property
    def throttled(self) -> float | None:
        """Share of the samples (0 to 1) in which the clocks were held down, idleness apart."""
        return _mean([self._told("throttled")])

    def _told(self, figure: str) -> _Series:
        # A figure that failed once has gaps of unknown size, and is missing rather than partly right.
        if figure in self._untold:
            return _Series()
        return self._series.get(figure, _Series())


class GpuMonitor:
    """Samples every NVIDIA GPU of the machine, by hand: `with gpu_monitor as m: ...; m.summary()`.

    NVML is read every `interval_s` seconds. It tells of whole cards: another process on one of them shows
    too. `nvml` stands in for the module pynvml, and `sampler` makes the sampler; both are for tests. `clock`
    gives seconds, monotonic: the executor's, which says when a round began.

    A figure that a card does not support is None for that card only. A card that is lost meanwhile keeps
    the figures it had, and `problem` says which one it was. Raises ValueError if `interval_s` is not
    above 0; of NVML's own errors none is raised.
    """

    def __init__(
        self,
        interval_s: float = DEFAULT_INTERVAL_S,
        nvml: _Nvml | None = None,
        *,
        sampler: Callable[..., Sampler] = Sampler,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock = clock
        self._given = nvml
        self._nvml: _Nvml | None = None
        # NVML's errors are handled card by card, so that one card cannot silence the others.
        self._sampler = sampler(self._sample, interval_s, ())
        self._count: int | None = None
        self._problem: str | None = None
        self._looked = False
        self.devices: list[GpuDevice] = []
        """The cards that the last block watched, by NVML's index."""

    @property
    def available(self) -> bool:
        """Whether NVML sees a GPU that is not lost; asks NVML if no block has done so yet."""
        if not self._looked:
            self._open()
            self._close()
        return bool(self._count) and not all(device.lost for device in self.devices)

    @property
    def problem(self) -> str | None:
        """Why figures are missing, all reasons in one line; None while nothing is wrong."""
        reasons = [self._problem, self._sampler.problem, *(device.problem for device in self.devices)]
        return "; ".join(reason for reason in reasons if reason is not None) or None

    def __enter__(self) -> GpuMonitor:
        """Forget the last block and take the first sample. Raises RuntimeError if it samples already."""
        if self._sampler.running:
            raise RuntimeError("the GPU monitor runs already; leave its block before entering another")
        self._open()
        if self.devices:
            try:
                self._sampler.start()
            except BaseException:
                self._close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._sampler.stop()
        finally:
            self._close()

    def summary(self) -> Mapping[str, float | None]:
        """The figures of the last block over all cards; None where no card told, or there was no block.

        - `gpu_count`: how many cards NVML sees; 0 is measured, None means that NVML could not be asked
        - `gpu_utilization_mean`, `gpu_utilization_max`: percent of the time in which a kernel ran
        - `gpu_memory_peak`: the most memory in use on any one card, in bytes
        - `gpu_power_mean`: watts a card
        - `gpu_power_total`: watts of all cards; None unless all of them told
        - `gpu_temperature_max`: degrees Celsius
        - `gpu_clock_mean`: MHz of the SM clock
        - `gpu_throttled`: share of the samples (0 to 1) in which the clocks were held down, idleness apart
        - `samples`: how often the cards were read
        - `sampler_cpu_seconds`: what the reading itself cost, in CPU seconds of this process

        Means are over time and cards.
        """
        # A sampler that broke off leaves figures of an unknown part of the block.
        devices = [] if self._sampler.problem is not None else self.devices
        sampled = bool(devices) and self._sampler.samples > 0

        def series(figure: str) -> list[_Series]:
            return [device._told(figure) for device in devices]

        return {
            "gpu_count": self._count,
            "gpu_utilization_mean": _mean(series("utilization")),
            "gpu_utilization_max": _peak(series("utilization")),
            "gpu_memory_peak": _peak(series("memory")),
            "gpu_power_mean": _mean(series("power")),
            "gpu_power_total": _total(series("power")),
            "gpu_temperature_max": _peak(series("temperature")),
            "gpu_clock_mean": _mean(series("clock")),
            "gpu_throttled": _mean(series("throttled")),
            "samples": self._sampler.samples if sampled else None,
            "sampler_cpu_seconds": self._sampler.cpu_seconds if sampled else None,
        }

    def over_time(self) -> Mapping[str, Spans]:
        """Percent of the time in which a kernel ran, in the last block, by card: "0 NVIDIA H100 80GB HBM3".

        Each reading stands for the time since the one before it, so the first one stands for none: what NVML
        tells is a mean over the last sixth of a second to the last second, by card. A card is not here if it
        does not tell; the figures of one that was lost end there.
        """
        devices = [] if self._sampler.problem is not None else self.devices
        return {
            f"{device.index} {device.name or _UNKNOWN}": tuple(
                Span(before, now, percent) for (before, _), (now, percent) in pairwise(device._at)
            )
            for device in devices
            if "utilization" not in device._untold and len(device._at) > 1
        }

    def _open(self) -> None:
        self._looked = True
        self._count = None
        self._problem = None
        self.devices = []
        nvml, self._problem = _start(self._given)
        if nvml is None:
            return
        self._nvml = nvml
        try:
            count = int(nvml.nvmlDeviceGetCount())
        except nvml.NVMLError as error:
            self._problem = f"NVML does not tell how many GPUs there are: {error}"
            return
        self._count = count
        if count == 0:
            self._problem = "NVML sees no GPU on this machine"
        self.devices = [_device(nvml, index) for index in range(count)]

    def _close(self) -> None:
        nvml, self._nvml = self._nvml, None
        if nvml is None:
            return
        try:
            nvml.nvmlShutdown()
        except nvml.NVMLError as error:  # the figures are there all the same
            self._problem = self._problem or f"NVML could not be shut down: {error}"

    def _sample(self) -> None:
        for device in self.devices:
            for figure, read in _READINGS.items():
                if not device.lost and figure not in device._untold:
                    self._read(device, figure, read)

    def _read(self, device: GpuDevice, figure: str, read: Callable[[_Nvml, _Handle], float]) -> None:
        nvml: _Nvml = self._nvml
        try:
            value = read(nvml, device._handle)
        except (nvml.NVMLError_GpuIsLost, nvml.NVMLError_GpuNotFound) as error:
            device.lost = True
            device.problem = f"GPU {device.index} was lost at sample {self._sampler.samples + 1}: {error}"
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
            device._untold.add(figure)  # the card's or the driver's nature, not a fault
        except nvml.NVMLError as error:
            device._untold.add(figure)
            reason = f"GPU {device.index} does not tell its {figure}: {error}"
            device.problem = f"{device.problem}; {reason}" if device.problem else reason
        else:
            device._series.setdefault(figure, _Series()).add(float(value))
            if figure == "utilization":
                device._at.append((self._clock(), float(value)))


def gpu_inventory(nvml: _Nvml | None = None) -> GpuInventory:
    """The names of the GPUs that NVML sees; none, with the reason, where it cannot be asked. Never raises.

    A card that does not tell its name is called "unknown GPU". `nvml` stands in for pynvml in tests.
    """
    monitor = GpuMonitor(nvml=nvml)
    names = tuple(device.name or _UNKNOWN for device in monitor.devices) if monitor.available else ()
    return GpuInventory(names, monitor.problem)


def _start(given: _Nvml | None) -> tuple[_Nvml | None, str | None]:
    nvml = given
    if nvml is None:
        try:
            import pynvml
        except ImportError as error:
            return None, f"the package nvidia-ml-py cannot be imported: {error}"
        nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return None, f"NVML cannot be used on this machine: {error}"
    return nvml, None


def _device(nvml: _Nvml, index: int) -> GpuDevice:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError as error:
        return GpuDevice(index, None, lost=True, problem=f"GPU {index} cannot be opened: {error}")
    try:
        name = nvml.nvmlDeviceGetName(handle)
    except nvml.NVMLError as error:
        return GpuDevice(index, None, problem=f"GPU {index} does not tell its name: {error}", _handle=handle)
    # Bytes up to nvidia-ml-py 11.5, which may shadow ours through the old package named pynvml.
    return GpuDevice(index, name.decode() if isinstance(name, bytes) else name, _handle=handle)


def _throttle_reasons(nvml: _Nvml, card: _Handle) -> int:
    """The bits of what holds the clocks down, idleness apart."""
    reasons: int | None = None
    # The newer name of the same call; drivers before 535 do not have it.
    with suppress(nvml.NVMLError_FunctionNotFound):
        reasons = nvml.nvmlDeviceGetCurrentClocksEventReasons(card)
    if reasons is None:
        reasons = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(card)
    return int(reasons) & ~int(nvml.nvmlClocksThrottleReasonGpuIdle)


def _mean(series: list[_Series]) -> float | None:
    count = sum(one.count for one in series)
    return sum(one.total for one in series) / count if count else None


def _total(series: list[_Series]) -> float | None:
    told = bool(series) and all(one.count for one in series)
    return sum(one.total / one.count for one in series) if told else None


def _peak(series: list[_Series]) -> float | None:
    return max((one.peak for one in series if one.peak is not None), default=None)

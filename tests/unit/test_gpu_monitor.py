from __future__ import annotations

import itertools
import sys
from types import SimpleNamespace

import pytest

from pytest_rayperf.monitors.gpu import GpuMonitor, gpu_inventory
from pytest_rayperf.monitors.protocol import Monitor
from pytest_rayperf.monitors.sampler import Sampler
from pytest_rayperf.monitors.utilization import Span

FIGURES = {
    "gpu_count",
    "gpu_utilization_mean",
    "gpu_utilization_max",
    "gpu_memory_peak",
    "gpu_power_mean",
    "gpu_power_total",
    "gpu_temperature_max",
    "gpu_clock_mean",
    "gpu_throttled",
    "samples",
    "sampler_cpu_seconds",
}
IDLE, APPLICATION_CLOCKS, POWER_CAP = 1, 2, 4


class FakeNvml:
    """NVML with cards that read out a script: a list for each call, whose last value stays.

    An exception in a list is raised. `down` is raised by nvmlInit.
    """

    NVML_CLOCK_SM = 1
    NVML_TEMPERATURE_GPU = 0
    nvmlClocksThrottleReasonGpuIdle = IDLE

    class NVMLError(Exception):
        pass

    class NVMLError_LibraryNotFound(NVMLError):
        pass

    class NVMLError_DriverNotLoaded(NVMLError):
        pass

    class NVMLError_NotSupported(NVMLError):
        pass

    class NVMLError_FunctionNotFound(NVMLError):
        pass

    class NVMLError_GpuIsLost(NVMLError):
        pass

    class NVMLError_GpuNotFound(NVMLError):
        pass

    class NVMLError_Unknown(NVMLError):
        pass

    def __init__(self, *cards, down=None):
        self.cards = cards
        self.down = down
        self.opened = 0
        self.calls = []

    def nvmlInit(self):
        if self.down is not None:
            raise self.down
        self.opened += 1

    def nvmlShutdown(self):
        assert self.opened > 0
        self.opened -= 1

    def nvmlDeviceGetCount(self):
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def _next(self, index, what):
        assert self.opened, "NVML is asked while it is shut"
        self.calls.append((index, what))
        script = self.cards[index][what]
        value = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(value, Exception):
            raise value
        return value

    def nvmlDeviceGetName(self, index):
        return self._next(index, "name")

    def nvmlDeviceGetUtilizationRates(self, index):
        return SimpleNamespace(gpu=self._next(index, "utilization"), memory=99)

    def nvmlDeviceGetMemoryInfo(self, index):
        return SimpleNamespace(used=self._next(index, "memory"), total=1 << 40, free=0)

    def nvmlDeviceGetPowerUsage(self, index):
        return self._next(index, "power")

    def nvmlDeviceGetClockInfo(self, index, kind):
        assert kind == self.NVML_CLOCK_SM
        return self._next(index, "clock")

    def nvmlDeviceGetTemperature(self, index, sensor):
        assert sensor == self.NVML_TEMPERATURE_GPU
        return self._next(index, "temperature")

    def nvmlDeviceGetCurrentClocksEventReasons(self, index):
        return self._next(index, "reasons")

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, index):
        return self._next(index, "old reasons")


def card(**script):
    figures = {
        "name": ["NVIDIA H100 80GB HBM3"],
        "utilization": [50],
        "memory": [1000],
        "power": [100_000],
        "clock": [1500],
        "temperature": [40],
        "reasons": [0],
        "old reasons": [FakeNvml.NVMLError_NotSupported()],
    }
    return {**figures, **script}


def monitor(nvml, samples=2):
    """A monitor that takes exactly that many samples."""

    def sampler(sample, interval_s, errors):
        turns = iter([False] * (samples - 2) + [True])
        return Sampler(sample, interval_s, errors, wait=lambda seconds: next(turns))

    # A second passes with each reading of the clock, which each card's utilization has one of.
    return GpuMonitor(nvml=nvml, sampler=sampler, clock=itertools.count(10.0).__next__)


def sampled(nvml, samples=2):
    def is_monitor(m: Monitor) -> Monitor:
        return m

    with is_monitor(monitor(nvml, samples)) as m:
        pass
    assert nvml.opened == 0
    return m


@pytest.mark.parametrize(
    "error",
    [FakeNvml.NVMLError_LibraryNotFound("no library"), FakeNvml.NVMLError_DriverNotLoaded("no driver")],
)
def test_without_a_driver_every_figure_is_missing(error):
    m = sampled(FakeNvml(down=error))
    assert not m.available
    assert str(error) in m.problem
    assert m.summary() == dict.fromkeys(FIGURES, None)
    assert m.devices == []


def test_without_the_library_every_figure_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with GpuMonitor() as m:
        pass
    assert not m.available
    assert "nvidia-ml-py cannot be imported" in m.problem
    assert m.summary() == dict.fromkeys(FIGURES, None)


def test_pynvml_has_all_that_is_asked_of_it():
    pynvml = pytest.importorskip("pynvml")
    asked = [name for name in vars(FakeNvml) if name.lower().startswith("nvml")]
    assert len(asked) > 15
    assert [name for name in asked if not hasattr(pynvml, name)] == []
    assert pynvml.NVML_CLOCK_SM == FakeNvml.NVML_CLOCK_SM
    assert pynvml.NVML_TEMPERATURE_GPU == FakeNvml.NVML_TEMPERATURE_GPU
    assert pynvml.nvmlClocksThrottleReasonGpuIdle == IDLE


def test_no_card_is_a_measured_count_and_nothing_else():
    m = sampled(FakeNvml())
    assert not m.available
    assert m.problem == "NVML sees no GPU on this machine"
    assert m.summary() == {**dict.fromkeys(FIGURES, None), "gpu_count": 0}


def test_a_count_that_nvml_does_not_tell_is_missing():
    nvml = FakeNvml(card())
    error = FakeNvml.NVMLError_Unknown("the driver is upset")

    def count():
        raise error

    nvml.nvmlDeviceGetCount = count
    m = sampled(nvml)
    assert not m.available
    assert "the driver is upset" in m.problem
    assert m.summary() == dict.fromkeys(FIGURES, None)


def test_figures_of_two_cards():
    one = card(
        utilization=[0, 80, 100],
        memory=[10, 5000, 20],
        power=[100_000, 300_500, 200_000],
        clock=[1000, 1200, 1400],
        temperature=[40, 71, 60],
        reasons=[IDLE, POWER_CAP, IDLE | APPLICATION_CLOCKS],
    )
    two = card(name=[b"Tesla T4"], power=[50_000], memory=[4000], temperature=[30])
    m = sampled(FakeNvml(one, two), samples=3)
    assert m.available
    assert m.problem is None
    summary = m.summary()
    assert set(summary) == FIGURES
    assert summary["gpu_count"] == 2
    assert summary["samples"] == 3
    assert summary["gpu_utilization_mean"] == pytest.approx((180 + 150) / 6)
    assert summary["gpu_utilization_max"] == 100
    assert summary["gpu_memory_peak"] == 5000
    assert summary["gpu_power_mean"] == pytest.approx((600.5 + 150) / 6)
    assert summary["gpu_power_total"] == pytest.approx((600.5 + 150) / 3)
    assert summary["gpu_temperature_max"] == 71
    assert summary["gpu_clock_mean"] == pytest.approx((3600 + 4500) / 6)
    assert summary["gpu_throttled"] == pytest.approx(2 / 6)
    assert summary["sampler_cpu_seconds"] > 0

    first, second = m.devices
    assert (first.index, first.name) == (0, "NVIDIA H100 80GB HBM3")
    assert (second.index, second.name) == (1, "Tesla T4")
    assert first.utilization_mean == 60
    assert first.utilization_max == 100
    assert first.memory_peak == 5000
    assert first.power_mean == pytest.approx(600.5 / 3)
    assert first.clock_mean == 1200
    assert first.temperature_max == 71
    assert first.throttled == pytest.approx(2 / 3)
    assert second.power_mean == 50
    assert second.throttled == 0


def test_utilization_over_time():
    one = card(utilization=[90, 0, 80, 100])
    two = card(
        name=[FakeNvml.NVMLError_NotSupported()], utilization=[7, FakeNvml.NVMLError_GpuIsLost("gone")]
    )
    silent = card(utilization=[50, FakeNvml.NVMLError_Unknown("try later"), 50])
    nvml = FakeNvml(one)
    m = sampled(nvml, samples=4)
    # What was told first was of the time before.
    assert m.over_time() == {
        "0 NVIDIA H100 80GB HBM3": (Span(10, 11, 0), Span(11, 12, 80), Span(12, 13, 100))
    }
    assert sampled(FakeNvml(two), samples=3).over_time() == {}
    assert sampled(FakeNvml(silent), samples=3).over_time() == {}
    assert len(nvml.calls) == 1 + 4 * 6  # the name, and the six figures that are read anyway


def test_utilization_of_two_cards_over_time():
    lost = card(
        name=[FakeNvml.NVMLError_NotSupported()], utilization=[1, 2, FakeNvml.NVMLError_GpuIsLost("")]
    )
    both = sampled(FakeNvml(card(), lost), samples=4).over_time()
    assert {name: [span.percent for span in spans] for name, spans in both.items()} == {
        "0 NVIDIA H100 80GB HBM3": [50, 50, 50],
        "1 unknown GPU": [2],
    }


def test_a_measured_0_stays_a_0():
    m = sampled(FakeNvml(card(utilization=[0])))
    assert m.summary()["gpu_utilization_mean"] == 0
    assert m.summary()["gpu_utilization_max"] == 0


def test_what_a_card_does_not_support_is_missing_for_that_card_only():
    nvml = FakeNvml(card(power=[FakeNvml.NVMLError_NotSupported()]), card(power=[70_000]))
    m = sampled(nvml, samples=4)
    assert m.devices[0].power_mean is None
    assert m.devices[0].utilization_mean == 50
    assert m.devices[1].power_mean == 70
    assert m.summary()["gpu_power_mean"] == 70
    assert m.problem is None  # the card's nature, not a fault
    assert nvml.calls.count((0, "power")) == 1
    assert nvml.calls.count((1, "power")) == 4


def test_what_no_card_supports_is_missing():
    no = FakeNvml.NVMLError_NotSupported()
    m = sampled(FakeNvml(card(utilization=[no], reasons=[no])))
    summary = m.summary()
    assert summary["gpu_utilization_mean"] is None
    assert summary["gpu_utilization_max"] is None
    assert summary["gpu_throttled"] is None
    assert summary["gpu_clock_mean"] == 1500


def test_an_old_driver_s_throttle_reasons_are_asked_by_their_old_name():
    old = card(**{"reasons": [FakeNvml.NVMLError_FunctionNotFound()], "old reasons": [POWER_CAP, 0]})
    assert sampled(FakeNvml(old)).summary()["gpu_throttled"] == 0.5


def test_a_figure_that_fails_on_the_way_is_missing_and_says_why():
    nvml = FakeNvml(card(clock=[1500, FakeNvml.NVMLError_Unknown("try later"), 1500]))
    m = sampled(nvml, samples=3)
    assert m.summary()["gpu_clock_mean"] is None
    assert m.summary()["gpu_power_mean"] == 100
    assert m.problem == "GPU 0 does not tell its clock: try later"
    assert m.available


def test_a_card_lost_on_the_way_stops_and_the_other_goes_on():
    lost = FakeNvml.NVMLError_GpuIsLost("fell off the bus")
    nvml = FakeNvml(card(utilization=[30, lost], memory=[7000]), card(utilization=[10, 20, 60]))
    m = sampled(nvml, samples=3)
    assert m.devices[0].lost
    assert m.devices[0].utilization_mean == 30
    assert m.problem == "GPU 0 was lost at sample 2: fell off the bus"
    assert nvml.calls.count((0, "utilization")) == 2  # and it was not asked again
    assert nvml.calls.count((0, "memory")) == 1
    assert m.available
    assert m.devices[1].utilization_mean == 30
    assert m.summary()["samples"] == 3


def test_with_the_last_card_lost_nothing_is_available():
    m = sampled(FakeNvml(card(utilization=[FakeNvml.NVMLError_GpuIsLost("gone")])))
    assert not m.available
    assert m.summary()["gpu_utilization_mean"] is None
    assert m.summary()["gpu_count"] == 1


def test_a_card_that_cannot_be_opened_is_named():
    nvml = FakeNvml(card(), card())

    def handle(index):
        if index == 1:
            raise FakeNvml.NVMLError_Unknown("no permission")
        return index

    nvml.nvmlDeviceGetHandleByIndex = handle
    m = sampled(nvml)
    assert m.problem == "GPU 1 cannot be opened: no permission"
    assert m.devices[1].utilization_mean is None
    assert m.summary()["gpu_utilization_mean"] == 50
    assert m.summary()["gpu_count"] == 2


def test_tells_whether_there_is_a_gpu_before_any_block():
    nvml = FakeNvml(card())
    m = monitor(nvml)
    assert m.available
    assert nvml.opened == 0
    assert m.summary()["gpu_utilization_mean"] is None
    assert m.summary()["samples"] is None
    assert not GpuMonitor(nvml=FakeNvml()).available


def test_the_next_block_starts_from_nothing():
    nvml = FakeNvml(card(memory=[900, 800, 20, 10]))

    def sampler(sample, interval_s, errors):
        return Sampler(sample, interval_s, errors, wait=lambda seconds: True)

    m = GpuMonitor(nvml=nvml, sampler=sampler)
    with m:
        pass
    assert m.summary()["gpu_memory_peak"] == 900
    with m:
        pass
    assert m.summary()["gpu_memory_peak"] == 20
    assert m.summary()["samples"] == 2


def test_nvml_is_shut_when_the_block_fails_and_a_second_block_inside_is_refused():
    nvml = FakeNvml(card())
    m = monitor(nvml)
    with pytest.raises(RuntimeError, match="runs already"), m, m:
        pass
    assert nvml.opened == 0


def test_an_error_of_the_shutdown_is_kept_and_the_figures_too():
    nvml = FakeNvml(card())

    def shutdown():
        raise FakeNvml.NVMLError_Unknown("still busy")

    nvml.nvmlShutdown = shutdown
    with monitor(nvml) as m:
        pass
    assert m.problem == "NVML could not be shut down: still busy"
    assert m.summary()["gpu_utilization_mean"] == 50


def test_inventory_names_the_cards():
    no_name = card(name=[FakeNvml.NVMLError_NotSupported("not told")])
    found = gpu_inventory(FakeNvml(card(), no_name))
    assert found.names == ("NVIDIA H100 80GB HBM3", "unknown GPU")
    assert found.problem == "GPU 1 does not tell its name: not told"


def test_inventory_without_a_driver_is_empty_and_says_why():
    found = gpu_inventory(FakeNvml(down=FakeNvml.NVMLError_DriverNotLoaded("no driver")))
    assert found.names == ()
    assert found.problem == "NVML cannot be used on this machine: no driver"

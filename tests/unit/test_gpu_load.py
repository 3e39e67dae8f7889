from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from test_gpu_monitor import FakeNvml

from pytest_rayperf.monitors.gpu_load import SLOWDOWNS, GpuReading, GpuWatch

IDLE, APPLICATION_CLOCKS, POWER_CAP, HW_SLOWDOWN = 0x1, 0x2, 0x4, 0x8
SW_THERMAL, HW_THERMAL, POWER_BRAKE = 0x20, 0x40, 0x80


class Nvml(FakeNvml):
    nvmlClocksThrottleReasonHwSlowdown = HW_SLOWDOWN
    nvmlClocksThrottleReasonSwThermalSlowdown = SW_THERMAL
    nvmlClocksThrottleReasonHwThermalSlowdown = HW_THERMAL
    nvmlClocksThrottleReasonHwPowerBrakeSlowdown = POWER_BRAKE

    def nvmlDeviceGetComputeRunningProcesses(self, index):
        return [SimpleNamespace(pid=pid, usedGpuMemory=1) for pid in self._next(index, "processes")]


def card(**script):
    return {"reasons": [0], "old reasons": [Nvml.NVMLError_NotSupported()], "processes": [[]], **script}


def watched(nvml, samples=2, ours=(), same_pids=True):
    watch = GpuWatch(nvml, same_pids=lambda: same_pids)
    watch.start()
    for _ in range(samples):
        watch.sample()
    found = watch.stop(ours)
    assert nvml.opened == 0
    return found


def test_pynvml_has_all_that_is_asked_of_it():
    pynvml = pytest.importorskip("pynvml")
    assert hasattr(pynvml, "nvmlDeviceGetComputeRunningProcesses")
    for name in SLOWDOWNS:
        assert getattr(pynvml, name) == getattr(Nvml, name)


def test_a_card_at_work():
    found = watched(Nvml(card(processes=[[], [70], [70, 71]])), samples=3, ours=[70, 71, 1])
    assert found == ((GpuReading(0, samples=3, foreign=(), used=True),), ())


@pytest.mark.parametrize("bits", [IDLE, APPLICATION_CLOCKS, POWER_CAP, IDLE | POWER_CAP])
def test_idleness_settings_and_the_usual_power_cap_are_no_throttling(bits):
    ((reading,), _) = watched(Nvml(card(reasons=[bits])))
    assert (reading.throttled, reading.slowed) == (0, {})


def test_throttling_is_counted_by_kind_and_once_a_sample():
    script = [0, SW_THERMAL, HW_SLOWDOWN | HW_THERMAL | POWER_CAP, POWER_BRAKE, IDLE]
    ((reading,), missing) = watched(Nvml(card(reasons=script)), samples=5)
    assert reading.samples == 5
    assert reading.throttled == 3
    assert reading.slowed == {
        "software thermal slowdown": 1,
        "hardware thermal slowdown": 1,
        "hardware slowdown": 1,
        "power brake": 1,
    }
    assert missing == ()


def test_processes_of_others_at_any_sample():
    cards = card(processes=[[4711], [70]]), card(processes=[[8], []])
    ((first, second), _) = watched(Nvml(*cards), ours=[70])
    assert (first.foreign, first.used) == ((4711,), True)
    assert (second.foreign, second.used) == ((8,), False)


def test_in_a_container_nobody_is_taken_for_another():
    nvml = Nvml(card(processes=[[4711]]))
    ((reading,), missing) = watched(nvml, same_pids=False)
    assert (reading.foreign, reading.used) == (None, None)
    assert "this container has its own" in missing[0]
    assert (0, "processes") not in nvml.calls


def test_where_the_cluster_s_processes_are_unknown_nobody_is_taken_for_another():
    ((reading,), missing) = watched(Nvml(card(processes=[[4711]])), ours=None)
    assert (reading.foreign, reading.used) == (None, None)
    assert missing == ("other processes on the GPUs: the cluster's own are not known here",)


@pytest.mark.parametrize(
    "error", [Nvml.NVMLError_LibraryNotFound("no library"), Nvml.NVMLError_DriverNotLoaded("no driver")]
)
def test_without_a_gpu_nothing_is_seen_and_nothing_is_missing(error):
    nvml = Nvml(down=error)
    assert watched(nvml) == ((), ())
    assert watched(Nvml()) == ((), ())


def test_without_a_gpu_it_is_asked_once():
    asked = []

    class Absent(Nvml):
        def nvmlInit(self):
            asked.append(1)
            raise self.NVMLError_LibraryNotFound("no library")

    watch = GpuWatch(Absent())
    for _ in range(3):
        watch.start()
        watch.stop(())
    assert asked == [1]


def test_without_the_package_nothing_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    watch = GpuWatch()
    watch.start()
    watch.sample()
    assert watch.stop(()) == ((), ())


def test_a_driver_that_does_not_answer_is_said_and_asked_again_next_time():
    nvml = Nvml(card(), down=Nvml.NVMLError_Unknown("version mismatch"))
    assert watched(nvml) == ((), ("throttling and other processes of the GPUs: version mismatch",))
    nvml.down = None
    ((reading,), missing) = watched(nvml)
    assert (reading.samples, missing) == (2, ())


def test_a_card_that_cannot_be_opened_is_said():
    nvml = Nvml(card(), card())

    def handle(index):
        if index == 1:
            raise Nvml.NVMLError_Unknown("no permission")
        return index

    nvml.nvmlDeviceGetHandleByIndex = handle
    ((reading,), missing) = watched(nvml)
    assert reading.index == 0
    assert missing == ("throttling and other processes of the GPUs: no permission",)


def test_what_a_card_does_not_tell_is_missing_alone_and_not_asked_again():
    no = Nvml.NVMLError_NotSupported("not supported")
    nvml = Nvml(card(reasons=[no], processes=[[5]]), card(processes=[no]))
    ((first, second), missing) = watched(nvml, samples=3, ours=[5])
    assert (first.samples, first.used) == (0, True)
    assert (second.samples, second.used, second.foreign) == (3, None, None)
    assert missing == ("throttling of GPU 0: not supported", "other processes of GPU 1: not supported")
    assert nvml.calls.count((0, "reasons")) == 1
    assert nvml.calls.count((1, "processes")) == 1


def test_a_card_lost_on_the_way_has_told_nothing_that_counts():
    lost = Nvml.NVMLError_GpuIsLost("fell off the bus")
    ((reading,), missing) = watched(Nvml(card(reasons=[SW_THERMAL, lost], processes=[[7], lost])), samples=3)
    assert reading == GpuReading(0)
    assert len(missing) == 2
    assert all("fell off the bus" in what for what in missing)


def test_an_old_driver_is_asked_by_the_old_name():
    old = card(**{"reasons": [Nvml.NVMLError_FunctionNotFound()], "old reasons": [SW_THERMAL]})
    ((reading,), _) = watched(Nvml(old))
    assert reading.throttled == 2


def test_an_error_of_the_shutdown_is_said_and_the_figures_stay():
    nvml = Nvml(card())

    def shutdown():
        nvml.opened -= 1
        raise Nvml.NVMLError_Unknown("still busy")

    nvml.nvmlShutdown = shutdown
    ((reading,), missing) = watched(nvml)
    assert reading.samples == 2
    assert missing == ("NVML could not be shut down: still busy",)


def test_a_second_round_starts_from_nothing():
    nvml = Nvml(card(reasons=[SW_THERMAL, 0, 0], processes=[[4], []]))
    watch = GpuWatch(nvml, same_pids=lambda: True)
    found = []
    for _ in range(2):
        watch.start()
        watch.sample()
        ((reading,), _) = watch.stop(())
        found.append((reading.throttled, reading.foreign))
    assert found == [(1, (4,)), (0, ())]

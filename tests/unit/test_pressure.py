from __future__ import annotations

import os
import sys

import psutil
import pytest

from pytest_rayperf.monitors.pressure import Pressure, PressureWatch

# Of a machine with kernel 6.18, two readings 2 s apart; "full" is there to be passed over.
CPU = "some avg10=20.99 avg60=21.43 avg300=15.00 total={}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
OTHER = "some avg10=0.00 avg60=0.21 avg300=2.85 total={}\nfull avg10=0.00 avg60=0.17 avg300=2.69 total=77\n"
VMSTAT = "nr_free_pages 1000\npswpin {}\npswpout 9\n"


class FakeProc:
    """A process file system in a folder, with a clock beside it."""

    def __init__(self, root):
        self.root = root
        self.now = 50.0
        (root / "pressure").mkdir()
        self.write()

    def write(self, cpu=0, memory=0, io=0, pages=0):
        (self.root / "pressure" / "cpu").write_text(CPU.format(cpu))
        (self.root / "pressure" / "memory").write_text(OTHER.format(memory))
        (self.root / "pressure" / "io").write_text(OTHER.format(io))
        (self.root / "vmstat").write_text(VMSTAT.format(pages))

    def watch(self, available=(0.5, 0.5)):
        readings = iter(available)

        def available_memory():
            reading = next(readings)
            if isinstance(reading, Exception):
                raise reading
            return reading

        return PressureWatch(self.root, available_memory=available_memory, clock=lambda: self.now)


@pytest.fixture
def proc(tmp_path):
    return FakeProc(tmp_path)


def test_shares_of_the_span(proc):
    proc.write(cpu=5_978_102_213, memory=299_886_732, io=1_000_000, pages=7)
    watch = proc.watch([0.5, 0.2, 0.4])
    watch.start()
    for _ in range(3):
        watch.sample()
    proc.now += 2
    proc.write(cpu=5_978_502_213, memory=299_986_732, io=2_500_000, pages=10)
    assert watch.stop() == Pressure(
        cpu_stall_share=pytest.approx(0.2),
        memory_stall_share=pytest.approx(0.05),
        io_stall_share=pytest.approx(0.75),
        memory_available_share=0.2,
        swapped_in_bytes=3 * os.sysconf("SC_PAGE_SIZE"),
    )


def test_a_measured_0_stays_a_0(proc):
    watch = proc.watch()
    watch.start()
    watch.sample()
    proc.now += 1
    assert watch.stop() == Pressure(0.0, 0.0, 0.0, 0.5, 0.0)


def test_a_share_is_at_most_the_whole(proc):
    watch = proc.watch()
    watch.start()
    proc.now += 1
    proc.write(cpu=1_000_400)  # the kernel reads its clock after we read ours
    assert watch.stop().cpu_stall_share == 1.0


def test_no_time_makes_no_share(proc):
    watch = proc.watch()
    watch.start()
    assert watch.stop().cpu_stall_share is None


def test_before_a_span_nothing_is_known(proc):
    assert proc.watch().stop() == Pressure()


def test_a_kernel_without_the_figures_is_said_once(tmp_path):
    watch = PressureWatch(tmp_path, available_memory=lambda: 0.5, clock=iter([0.0, 1.0]).__next__)
    watch.start()
    watch.sample()
    found = watch.stop()
    assert found.memory_available_share == 0.5
    assert (found.cpu_stall_share, found.memory_stall_share, found.io_stall_share) == (None, None, None)
    assert found.swapped_in_bytes is None
    pressure, swap = found.missing
    assert pressure == f"no pressure stall information: this kernel has no {tmp_path / 'pressure'}"
    assert swap.startswith("bytes swapped in: ")


def test_what_cannot_be_read_is_missing_alone(proc):
    (proc.root / "pressure" / "io").unlink()
    (proc.root / "pressure" / "io").mkdir()
    watch = proc.watch()
    watch.start()
    proc.now += 1
    found = watch.stop()
    assert found.io_stall_share is None
    assert found.memory_stall_share == 0
    (missing,) = found.missing
    assert missing.startswith("no pressure stall information of io: ")


def test_a_figure_lost_on_the_way_is_missing(proc):
    watch = proc.watch()
    watch.start()
    (proc.root / "pressure" / "cpu").unlink()
    proc.now += 1
    found = watch.stop()
    assert found.cpu_stall_share is None
    assert len(found.missing) == 1


def test_a_kernel_without_swap_counts_is_said(proc):
    (proc.root / "vmstat").write_text("nr_free_pages 1000\n")
    watch = proc.watch()
    watch.start()
    proc.now += 1
    found = watch.stop()
    assert found.swapped_in_bytes is None
    assert found.missing == (f"bytes swapped in: not in {proc.root / 'vmstat'}",)


@pytest.mark.parametrize("error", [OSError("no meminfo"), psutil.Error("no meminfo")])
def test_memory_that_is_not_told_once_is_not_known(proc, error):
    watch = proc.watch([0.1, error, 0.5])
    watch.start()
    for _ in range(3):
        watch.sample()
    proc.now += 1
    found = watch.stop()
    assert found.memory_available_share is None
    (missing,) = found.missing
    assert missing.startswith("available memory: ")


def test_the_next_span_starts_from_nothing(proc):
    watch = proc.watch([0.1, OSError("once"), 0.7])
    watch.start()
    watch.sample()
    watch.sample()
    proc.write(cpu=900_000)
    watch.start()
    watch.sample()
    proc.now += 1
    assert watch.stop() == Pressure(0.0, 0.0, 0.0, 0.7, 0.0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_on_this_machine():
    watch = PressureWatch()
    watch.start()
    watch.sample()
    found = watch.stop()
    assert 0 < found.memory_available_share < 1
    assert (found.swapped_in_bytes is None) == any("swapped" in what for what in found.missing)

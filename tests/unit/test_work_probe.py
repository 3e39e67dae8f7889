"""What a probe counts of a block, without Ray."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from pytest_rayperf.counters import count
from pytest_rayperf.work.counts import KEPT_CALLS
from pytest_rayperf.work.probe import Probe

linux = pytest.mark.skipif(not Path("/proc/thread-self/io").exists(), reason="the kernel does not tell")


def counted(block, *arguments):
    with Probe():  # what the first call imports, and what is made ready for counting, is not the block's
        block(*arguments)
    with Probe() as probe:
        block(*arguments)
    return probe.counted


def counted_beside(work):
    """Of a block that waits while another thread, which was there before, does `work`."""
    begin, done = threading.Event(), threading.Event()

    def other():
        begin.wait()
        work()
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with Probe() as probe:
        begin.set()
        done.wait()
    thread.join()
    return probe.counted


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(10_000))
    return path


class Shape:
    def __init__(self, sides: int) -> None:
        self.sides = sides

    def area(self) -> int:
        return square(self.sides)


def square(number: int) -> int:
    return number * number


def fail() -> None:
    raise ZeroDivisionError(np.empty(10))


class TestPythonCalls:
    def test_each_entry_is_counted_by_function(self):
        def block():
            for sides in range(5):
                Shape(sides).area()

        found = counted(block)
        assert found.counts["python_calls"] == 16
        assert found.calls == {
            f"{__name__}.Shape.__init__": 5,
            f"{__name__}.Shape.area": 5,
            f"{__name__}.square": 5,
            f"{__name__}.TestPythonCalls.test_each_entry_is_counted_by_function.<locals>.block": 1,
        }

    def test_calls_by_the_users_own_code_are_kept_apart(self):
        def block():
            return Path("a") / "b"

        found = counted(block)
        assert any(name.startswith("pathlib") and "__truediv__" in name for name in found.direct)
        indirect = found.calls.keys() - found.direct.keys()
        assert any(name.startswith("pathlib") for name in indirect)

    def test_the_same_block_gives_the_same(self):
        def block():
            return sorted(str(Path(f"{number}") / "x") for number in range(50))

        assert counted(block) == counted(block)

    def test_the_most_called_are_named(self):
        names = {}
        exec("".join(f"def f{i}(): pass\n" for i in range(KEPT_CALLS + 9)), names)

        def block():
            for i in range(KEPT_CALLS + 9):
                for _ in range(i + 1):
                    names[f"f{i}"]()

        calls = counted(block).calls
        assert len(calls) == KEPT_CALLS
        assert min(calls.values()) == 10

    def test_nothing_after_the_block(self):
        with Probe() as probe:
            square(1)
        square(2)
        assert probe.counted.calls[f"{__name__}.square"] == 1


class TestNumpy:
    def test_what_is_freed_at_once_is_counted(self):
        batch = np.zeros((100, 1000), dtype=np.uint8)

        def block():
            for _ in range(3):
                batch.copy()

        assert counted(block).counts["allocated_bytes"] == 300_000

    def test_zeroed_and_grown_arrays(self):
        def block():
            array = np.zeros(1000, dtype=np.uint8)
            array.resize(3000, refcheck=False)

        assert counted(block).counts["allocated_bytes"] == 4000

    def test_views_allocate_nothing(self):
        batch = np.zeros((100, 1000), dtype=np.uint8)
        assert counted(lambda: batch[1:5].T).counts["allocated_bytes"] == 0

    def test_arrays_outlive_the_probe(self):
        with Probe():
            kept = [np.arange(size) for size in range(0, 5000, 50)]
        for size, array in zip(range(0, 5000, 50), kept, strict=True):
            assert array.sum() == size * (size - 1) // 2
            array.resize(size + 10, refcheck=False)
        threads = [threading.Thread(target=kept.pop) for _ in range(len(kept))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gc.collect()

    def test_allocating_in_many_threads_is_safe(self):
        def allocate():
            for size in range(1, 500):
                np.ones(size) * 2

        with Probe() as probe:
            threads = [threading.Thread(target=allocate) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert "starts a thread" in probe.counted.problems["allocated_bytes"]


class TestTorch:
    def test_calls_and_flops_of_a_linear_layer(self):
        torch = pytest.importorskip("torch")
        layer, rows = torch.nn.Linear(20, 30), torch.zeros(7, 20)

        def block():
            with torch.inference_mode():
                layer(rows).relu_()

        counts = counted(block).counts
        assert counts["flops"] == 2 * 7 * 20 * 30
        assert counts["allocated_bytes"] == 7 * 30 * 4
        # The transposed weights, the product and the sum in one, the rectifier.
        assert counts["torch_calls"] == 3

    @pytest.mark.parametrize("mode", ["no_grad", "inference_mode"])
    def test_a_composite_operator_is_what_it_calls(self, mode):
        torch = pytest.importorskip("torch")
        layer, images = torch.nn.Conv2d(3, 8, 3), torch.zeros(2, 3, 10, 10)

        def block():
            with getattr(torch, mode)():
                layer(images)

        counts = counted(block).counts
        assert counts["flops"] == 2 * 2 * 8 * 8 * 8 * 3 * 3 * 3

    def test_the_counting_counts_no_python_calls(self):
        torch = pytest.importorskip("torch")
        numbers = torch.zeros(10)

        def block():
            for _ in range(9):
                torch.add(numbers, 1)  # C, from here down

        found = counted(block)
        assert found.counts["torch_calls"] == 9
        assert found.counts["python_calls"] == 1

    def test_views_and_changes_in_place_allocate_nothing(self):
        torch = pytest.importorskip("torch")
        numbers = torch.zeros(100)

        def block():
            numbers.view(10, 10).t().add_(1)

        assert counted(block).counts["allocated_bytes"] == 0

    def test_torch_that_comes_meanwhile(self):
        script = (
            "import sys\n"
            "from pytest_rayperf.work.probe import Probe\n"
            "assert 'torch' not in sys.modules\n"
            "with Probe() as probe: pass\n"
            "assert probe.counted.counts['torch_calls'] == 0\n"
            "import types\n"
            "with Probe() as probe: sys.modules['torch'] = types.ModuleType('torch')\n"
            "assert 'torch_calls' not in probe.counted.counts\n"
            "assert 'imported' in probe.counted.problems['allocated_bytes']\n"
        )
        subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


class TestFiles:
    def test_opened(self, file):
        def block():
            for _ in range(3):
                with file.open("rb"):
                    pass

        assert counted(block).counts["files_opened"] == 3

    def test_a_descriptor_is_open_already(self, file):
        def block():
            with os.fdopen(os.open(file, os.O_RDONLY), "rb"):
                pass

        assert counted(block).counts["files_opened"] == 1

    @linux
    def test_bytes_read(self, file):
        assert counted(file.read_bytes).counts["bytes_read"] == 10_000

    @linux
    def test_nothing_read_is_0(self):
        assert counted(lambda: None).counts["bytes_read"] == 0

    @linux
    def test_what_another_thread_reads_is_not_counted(self, file):
        found = counted_beside(file.read_bytes)
        assert found.counts["bytes_read"] == 0
        assert found.counts["files_opened"] == 0

    def test_a_kernel_that_does_not_tell(self, monkeypatch, file):
        monkeypatch.setattr("pytest_rayperf.work.probe._THREAD_IO", "/nowhere")
        with Probe() as probe:
            file.read_bytes()
        assert "bytes_read" not in probe.counted.counts
        assert probe.counted.problems == {"bytes_read": "/nowhere cannot be read on this system"}


class TestWhatTheBlockCounts:
    def test_is_counted_and_is_no_work(self):
        def block():
            for _ in range(3):
                count("events", 2)

        found = counted(block)
        assert found.counts["events"] == 6
        assert found.counts["python_calls"] == counted(lambda: None).counts["python_calls"]
        assert found.counts["files_opened"] == 0
        assert not [name for name in found.direct if name.startswith("pytest_rayperf.counters")]

    def test_under_a_name_of_the_works_it_is_left_to_the_round(self, file):
        def block():
            file.read_bytes()
            count("files_opened", 40)

        assert counted(block).counts["files_opened"] == 1

    @linux
    def test_nor_does_it_stand_in_for_what_cannot_be_counted(self, monkeypatch):
        monkeypatch.setattr("pytest_rayperf.work.probe._THREAD_IO", "/nowhere")
        assert "bytes_read" not in counted(lambda: count("bytes_read", 40)).counts


class TestWhatIsNotSeen:
    def test_a_thread_of_the_block(self):
        def block():
            thread = threading.Thread(target=square, args=(3,))
            thread.start()
            thread.join()

        found = counted(block)
        assert found.counts == {}
        assert "starts a thread" in found.problems["python_calls"]

    def test_a_process_of_the_block(self):
        found = counted(lambda: subprocess.run([sys.executable, "-c", ""], check=True))
        assert found.counts == {}
        assert "starts a process" in found.problems["python_calls"]

    def test_what_is_known_before(self):
        with Probe("it has a pool") as probe:
            probe.add("model_loads", 2)
        assert probe.counted.counts == {"model_loads": 2}
        assert probe.counted.problems["flops"] == "it has a pool"


class TestUse:
    def test_once(self):
        probe = Probe()
        with probe:
            pass
        with pytest.raises(RuntimeError, match="one block"), probe:
            pass

    def test_one_at_a_time(self):
        with Probe(), pytest.raises(RuntimeError, match="another Probe"), Probe():
            pass

    def test_beside_a_profiler(self):
        def profiler(*_):
            pass

        sys.setprofile(profiler)
        try:
            with pytest.raises(RuntimeError, match="profiler"), Probe():
                pass
        finally:
            sys.setprofile(None)

    def test_an_error_of_the_block_is_let_through(self):
        gc.enable()
        probe = Probe()
        with pytest.raises(ZeroDivisionError), probe:
            fail()
        assert probe.counted.counts["allocated_bytes"] == 80
        assert sys.getprofile() is None
        assert gc.isenabled()

    def test_garbage_is_not_collected_within(self):
        gc.enable()
        with Probe():
            assert not gc.isenabled()
        gc.disable()
        try:
            with Probe():
                pass
            assert not gc.isenabled()
        finally:
            gc.enable()

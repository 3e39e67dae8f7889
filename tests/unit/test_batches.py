"""What becomes of `map_batches` while a pipeline is called, on a Dataset that is none."""

from __future__ import annotations

import inspect
import sys
import threading
from types import ModuleType

import pytest

from pytest_rayperf.udfs import batches, instrumenting
from pytest_rayperf.udfs.batches import instrumented_batches


@pytest.fixture
def dataset_type(monkeypatch):
    class Dataset:
        def map_batches(self, fn, *, batch_size=None, **ray_remote_args):
            """Apply."""
            return fn

    ray, data = ModuleType("ray"), ModuleType("ray.data")
    data.Dataset = Dataset
    ray.data = data
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", data)
    return Dataset


@pytest.fixture
def records(monkeypatch):
    found = []
    monkeypatch.setattr(instrumenting, "record", lambda kind, *fields: found.append(fields[0]))
    return found


def double(batch):
    return batch * 2


def test_within_the_block_only(dataset_type, records):
    original = dataset_type.__dict__["map_batches"]
    with instrumented_batches():
        assert dataset_type().map_batches(double, batch_size=2)(3) == 6
        assert dataset_type().map_batches(fn=double)(3) == 6
    assert records == ["double", "double#2"]
    assert dataset_type.__dict__["map_batches"] is original
    assert dataset_type().map_batches(double) is double


def test_restored_after_an_error(dataset_type):
    original = dataset_type.__dict__["map_batches"]
    with pytest.raises(ZeroDivisionError), instrumented_batches():
        raise ZeroDivisionError
    assert dataset_type.__dict__["map_batches"] is original


def test_looks_the_same(dataset_type):
    original = dataset_type.map_batches
    with instrumented_batches():
        assert inspect.signature(dataset_type.map_batches) == inspect.signature(original)
        assert dataset_type.map_batches.__doc__ == original.__doc__
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'fn'"):
            dataset_type().map_batches()


def test_names_begin_anew_with_each_block(dataset_type, records):
    for _ in range(2):
        with instrumented_batches():
            for udf in (double, double, lambda batch: batch):
                dataset_type().map_batches(udf)(1)
    assert records == ["double", "double#2", "<lambda>"] * 2


def test_what_the_user_instrumented_keeps_its_name(dataset_type, records):
    by_hand = instrumenting.instrument(double)
    with instrumented_batches():
        assert dataset_type().map_batches(by_hand) is by_hand


@pytest.mark.parametrize("udf", [7, None, "text", len, type("NoCall", (), {})])
def test_what_cannot_be_instrumented_is_left_to_ray(dataset_type, udf):
    with instrumented_batches():
        assert dataset_type().map_batches(udf) is udf


def test_blocks_within_blocks(dataset_type, records):
    original = dataset_type.__dict__["map_batches"]
    with instrumented_batches():
        with instrumented_batches():
            dataset_type().map_batches(double)(1)
        dataset_type().map_batches(double)(1)
    assert records == ["double", "double"]
    assert dataset_type.__dict__["map_batches"] is original


def test_another_thread_is_left_alone(dataset_type):
    found = []
    with instrumented_batches():
        thread = threading.Thread(target=lambda: found.append(dataset_type().map_batches(double)))
        thread.start()
        thread.join()
    assert found == [double]


def test_many_threads_at_once(dataset_type):
    original = dataset_type.__dict__["map_batches"]
    barrier = threading.Barrier(8)
    wrong = []

    def work():
        barrier.wait()
        for _ in range(200):
            with instrumented_batches():
                if dataset_type().map_batches(double) is double:
                    wrong.append("not instrumented")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert dataset_type.__dict__["map_batches"] is original
    assert batches._open_blocks == 0


def test_who_replaced_it_meanwhile_stays(dataset_type):
    with instrumented_batches():
        ours = dataset_type.map_batches
        dataset_type.map_batches = theirs = lambda self, fn: ours(self, fn)
    assert dataset_type.__dict__["map_batches"] is theirs
    assert dataset_type().map_batches(double) is double

"""What is put in: how much, into which UDF, and once a call. No clock of the machine is asserted on."""

from __future__ import annotations

import asyncio
import pickle
import sys
from types import ModuleType

import pytest
from builders import make_round

from pytest_rayperf.results import Call
from pytest_rayperf.udfs import faults, instrumenting
from pytest_rayperf.udfs.batches import faulty_batches, instrumented_batches
from pytest_rayperf.udfs.faults import (
    LEAST_SHARE,
    Calls,
    FaultWatch,
    cpu_fault,
    heaviest,
    trial_waiting,
    waiting_fault,
)

CALLS = Calls("f", 8, 1.0)


def rounds_of(*walls, cpu=0.02):
    return [make_round(64 / wall, cpu) for wall in walls]


class TestCalibration:
    def test_the_heaviest_udf(self):
        rounds = [
            make_round(calls=[Call("read", 0.1), Call("f", 0.5), Call("f", 0.7)]),
            make_round(calls=[Call("read", 0.2), Call("f", 0.5), Call("f", 0.9), Call("once", 99.0)]),
        ]
        assert heaviest(rounds) == Calls("f", 2, pytest.approx(1.3))

    def test_none_where_no_call_was_seen(self):
        assert heaviest([make_round()]) is None
        assert heaviest([]) is None
        assert heaviest([make_round(calls=[Call("f", 1.0)]), make_round()]) is None

    def test_cpu_seconds_grow_by_the_factor(self):
        fault = cpu_fault(rounds_of(1, 1, 1), CALLS, 1.21)
        assert (fault.kind, fault.udf) == ("CPU", "f")
        assert fault.seconds * CALLS.count == pytest.approx(0.21 * 0.02 * 64)

    def test_no_cpu_fault_where_cpu_time_was_not_measured(self):
        assert cpu_fault(rounds_of(1, cpu=None), CALLS, 1.21) is None

    @pytest.mark.parametrize("share", [1.0, 0.5, LEAST_SHARE])
    def test_the_round_grows_by_the_factor_where_a_share_of_the_waiting_shows(self, share):
        plain = rounds_of(4.0, 4.0)
        trial = trial_waiting(plain, CALLS)
        assert trial.seconds * CALLS.count == pytest.approx(4.0)
        (tried,) = rounds_of(4.0 + share * 4.0)
        fault = waiting_fault(plain, CALLS, 1.21, tried)
        assert share * fault.seconds * CALLS.count == pytest.approx(0.21 * 4.0)

    @pytest.mark.parametrize(("wall", "share"), [(3.0, LEAST_SHARE), (4.0, LEAST_SHARE), (40.0, 1.0)])
    def test_a_trial_that_cannot_be_is_cut(self, wall, share):
        fault = waiting_fault(rounds_of(4.0), CALLS, 1.21, *rounds_of(wall))
        assert share * fault.seconds * CALLS.count == pytest.approx(0.21 * 4.0)


@pytest.fixture
def put_in(monkeypatch):
    """Says what was put in, in place of doing it."""
    done = []
    monkeypatch.setattr(FaultWatch, "_put_in", lambda self: done.append((self._kind, self._seconds)))
    return done


class FakeDataset:
    def map_batches(self, fn, **more):
        return fn


@pytest.fixture
def dataset(monkeypatch):
    ray, data = ModuleType("ray"), ModuleType("ray.data")
    data.Dataset = ray.data = FakeDataset
    ray.data = data
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", data)
    return FakeDataset()


@pytest.fixture
def records(monkeypatch):
    found = []
    monkeypatch.setattr(instrumenting, "record", lambda kind, *fields: found.append(fields[0]))
    return found


CPU = ("CPU", 0.25, "", "")


def double(batch):
    return batch * 2


def pieces(batch):
    yield batch
    yield batch


async def later(batch):
    return batch


class Double:
    def __init__(self, times=2):
        self.times = times

    def __call__(self, batch):
        return batch * self.times


class TestPutIn:
    @pytest.mark.parametrize(
        ("udf", "use"),
        [
            (double, lambda fn: fn(3) == 6),
            (pieces, lambda fn: list(fn(3)) == [3, 3]),
            (later, lambda fn: asyncio.run(fn(3)) == 3),
            (Double, lambda fn: fn(times=2)(3) == 6),
            (Double(), lambda fn: fn(3) == 6),
        ],
        ids=["function", "generator", "coroutine", "class", "instance"],
    )
    def test_once_a_call_and_the_result_stays(self, dataset, put_in, records, udf, use):
        name = instrumenting.name_of(udf)
        with instrumented_batches(), faulty_batches(CPU, name):
            made = dataset.map_batches(udf)
        assert instrumenting.name_of(made) == name
        assert use(made)
        assert put_in == [("CPU", 0.25)]
        assert records == [name]  # and timed, with what is put in

    @pytest.mark.parametrize("timed_first", [True, False])
    def test_either_block_may_be_the_outer_one(self, dataset, put_in, records, timed_first):
        blocks = [instrumented_batches(), faulty_batches(CPU, "double")]
        one, other = blocks if timed_first else reversed(blocks)
        with one, other:
            made = dataset.map_batches(double)
        assert made(3) == 6
        assert (put_in, records) == ([("CPU", 0.25)], ["double"])

    def test_into_that_udf_only(self, dataset, put_in, records):
        with instrumented_batches(), faulty_batches(CPU, "double#2"):
            first, second, other = (dataset.map_batches(udf) for udf in (double, double, pieces))
        first(1)
        list(other(1))
        assert put_in == []
        second(1)
        assert put_in == [("CPU", 0.25)]
        assert records == ["double", "pieces", "double#2"]

    def test_nothing_is_left_behind(self, dataset, put_in):
        original = FakeDataset.__dict__["map_batches"]
        with pytest.raises(ZeroDivisionError), faulty_batches(CPU, "double"):
            raise ZeroDivisionError
        assert FakeDataset.__dict__["map_batches"] is original
        assert dataset.map_batches(double) is double

    def test_into_what_the_user_instrumented(self, dataset, put_in, records):
        with instrumented_batches(), faulty_batches(CPU, "double"):
            made = dataset.map_batches(instrumenting.instrument(double))
        assert made(3) == 6
        assert (put_in, records) == ([("CPU", 0.25)], ["double"])

    def test_errors_go_through(self, dataset, put_in):
        def breaks(batch):
            raise KeyError(batch)

        with faulty_batches(CPU, "breaks"):
            made = dataset.map_batches(breaks)
        with pytest.raises(KeyError):
            made(1)

    def test_it_travels(self):
        cloudpickle = pytest.importorskip("ray.cloudpickle")
        for udf, use in ((Double, lambda fn: fn()(3)), (double, lambda fn: fn(3))):
            made = instrumenting.instrumented(udf, "f", ("waiting", 0.0, "", ""))
            assert use(pickle.loads(cloudpickle.dumps(made))) == 6


class TestFaultWatch:
    def test_cpu_time_is_used(self, monkeypatch):
        now = iter(range(100))
        monkeypatch.setattr(faults.time, "thread_time", lambda: next(now))
        FaultWatch("CPU", 5.0, "", "").resume()
        assert next(now) == 6  # asked at the start, and until 5 s were over

    def test_waiting(self, monkeypatch):
        slept = []
        monkeypatch.setattr(faults.time, "sleep", slept.append)
        watch = FaultWatch("waiting", 0.5, "", "")
        for _ in range(3):  # a generator's steps
            watch.resume()
            watch.pause()
        watch.finish(failed=False)
        assert slept == [0.5]

    def test_loads_take_at_most_twice_as_long_as_the_udf(self, monkeypatch):
        """A load takes 10 s and a call 1 s: without a limit a round would take eleven times as long."""
        clock = [0.0]
        monkeypatch.setattr(faults.time, "perf_counter", lambda: clock[0])
        monkeypatch.setattr(faults, "_loading", 0.0)
        monkeypatch.setattr(faults, "_computing", 0.0)
        loaded = []

        def load(model, checkpoint):
            loaded.append((model, checkpoint))
            clock[0] += 10

        for _ in range(100):
            watch = FaultWatch("model load", 0.0, "resnet", "there.pt", load)
            watch.resume()
            clock[0] += 1
            watch.pause()
        assert set(loaded) == {("resnet", "there.pt")}
        assert len(loaded) == 20

    def test_a_cheap_load_is_done_at_every_call(self, monkeypatch):
        clock = [0.0]
        monkeypatch.setattr(faults.time, "perf_counter", lambda: clock[0])
        monkeypatch.setattr(faults, "_loading", 0.0)
        monkeypatch.setattr(faults, "_computing", 0.0)
        loaded = []
        for _ in range(10):
            watch = FaultWatch("model load", 0.0, "m", "c", lambda *which: loaded.append(which))
            watch.resume()
            clock[0] += 1
            watch.pause()
        assert len(loaded) == 10

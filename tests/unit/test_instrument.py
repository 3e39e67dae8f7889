"""What an instrumented function gives, raises and records, without Ray."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import subprocess
import sys
import weakref
from collections import UserDict

import numpy as np
import pytest
from builders import LIGHT
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.udfs import instrumenting as module
from pytest_rayperf.udfs.instrumenting import instrument, name_of, rows_of


def double(batch: dict, by: int = 2) -> dict:
    """Twice as much."""
    return {"id": batch["id"] * by}


class Double:
    """Holds what it multiplies by."""

    def __init__(self, by: int = 2):
        self.by = by

    def __call__(self, batch: dict, plus: int = 0) -> dict:
        return {"id": batch["id"] * self.by + plus}

    def method(self, batch: dict) -> dict:
        return {"id": batch["id"] + self.by}


def halves(batch):
    middle = len(batch["id"]) // 2
    yield {"id": batch["id"][:middle]}
    yield {"id": batch["id"][middle:]}
    return "end"


def batch(rows: int = 4) -> dict:
    return {"id": np.arange(rows)}


@pytest.fixture
def records(monkeypatch):
    found = []
    monkeypatch.setattr(module, "record", lambda kind, *fields: found.append((kind, *fields)))
    return found


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand, in nanoseconds."""

    class Clock:
        now = 0

    monkeypatch.setattr(module, "perf_counter_ns", lambda: Clock.now)
    return Clock


class TestSame:
    @pytest.mark.parametrize(
        "udf",
        [double, Double, Double.__call__, halves, lambda x: x],
        ids=["function", "class", "method", "generator", "lambda"],
    )
    def test_names_signature_and_documentation(self, udf):
        wrapped = instrument(udf)
        assert wrapped is not udf
        for name in ("__name__", "__qualname__", "__module__", "__doc__"):
            assert getattr(wrapped, name) == getattr(udf, name)
        assert inspect.signature(wrapped) == inspect.signature(udf)
        assert type(wrapped) is type(udf)

    @pytest.mark.parametrize(
        "udf",
        [
            double,
            Double,
            Double(),
            Double().method,
            functools.partial(double, by=3),
            functools.partial(Double()),
            halves,
        ],
    )
    def test_twice_is_once(self, udf, records):
        once = instrument(udf)
        twice = instrument(once)
        made = twice() if inspect.isclass(twice) else twice
        result = made(batch())
        if inspect.isgenerator(result):
            list(result)
        assert len(records) == 1
        if not isinstance(udf, functools.partial) and not inspect.ismethod(udf):
            assert twice is once

    def test_kinds_of_functions(self):
        async def coroutine(batch):
            return batch

        async def generator(batch):
            yield batch

        assert inspect.iscoroutinefunction(instrument(coroutine))
        assert inspect.isasyncgenfunction(instrument(generator))
        assert inspect.isgeneratorfunction(instrument(halves))
        assert not inspect.isgeneratorfunction(instrument(double))

    def test_a_class_is_a_subclass_with_its_layout(self, records):
        class Slotted:
            __slots__ = ("by",)

            def __init__(self, by):
                self.by = by

            def __call__(self, batch):
                return batch * self.by

        wrapped = instrument(Slotted)
        assert issubclass(wrapped, Slotted)
        made = wrapped(3)
        assert made(2) == 6
        assert not hasattr(made, "__dict__")
        assert repr(wrapped) == repr(Slotted)

    def test_an_inherited_call_is_recorded_under_the_class_that_was_given(self, records):
        class Triple(Double):
            def __call__(self, batch):
                return super().__call__(batch, plus=1)

        class Heir(Triple):
            pass

        assert instrument(Heir)(3)(batch(1)) == {"id": [1]}
        assert [fields[1] for fields in records] == ["Heir"]

    def test_an_instance_is_copied(self, records):
        original = Double(5)
        wrapped = instrument(original)
        assert isinstance(wrapped, Double)
        assert wrapped(batch(2))["id"].tolist() == [0, 5]
        original(batch())
        assert len(records) == 1
        assert type(original) is Double

    def test_a_bound_method_keeps_its_object(self, records):
        original = Double(5)
        wrapped = instrument(original.method)
        assert wrapped.__self__ is original
        assert wrapped(batch(2))["id"].tolist() == [5, 6]
        assert records[0][1] == "Double.method"

    def test_a_partial_keeps_its_arguments(self, records):
        wrapped = instrument(functools.partial(double, by=7))
        assert (wrapped.args, wrapped.keywords) == ((), {"by": 7})
        assert wrapped(batch(2))["id"].tolist() == [0, 7]
        assert records[0][1] == "double"

    def test_as_a_decorator(self, records):
        @instrument
        def decorated(batch):
            return batch

        @instrument
        class Decorated(Double):
            pass

        assert decorated(1) == 1
        assert Decorated(1)(batch(2))["id"].tolist() == [0, 1]
        assert [fields[1] for fields in records] == ["decorated", "Decorated"]

    @pytest.mark.parametrize("udf", [1, None, {}, object(), len, object, type("NoCall", (), {})])
    def test_refuses_what_it_cannot_instrument(self, udf):
        with pytest.raises(TypeError, match="instrument"):
            instrument(udf)

    @LIGHT
    @given(values=st.lists(st.integers(-(2**40), 2**40), max_size=20), by=st.integers(-3, 3))
    def test_whatever_it_is_given(self, values, by):
        given_batch = {"id": np.array(values, dtype=np.int64)}
        expected = double(given_batch, by)["id"].tolist()
        assert instrument(double)(given_batch, by=by)["id"].tolist() == expected
        assert instrument(Double)(by)(given_batch)["id"].tolist() == expected
        parts = [part["id"].tolist() for part in instrument(halves)(given_batch)]
        assert [value for part in parts for value in part] == values


class TestRecords:
    def test_a_call(self, records, clock):
        def slow(batch):
            clock.now += 250
            return batch

        instrument(slow)(batch(7))
        assert records == [("call", "slow", 250, 7, False)]

    def test_an_error_is_counted_and_raised_as_it_was(self, records, clock):
        error = ZeroDivisionError("on purpose")

        def breaks(batch):
            clock.now += 5
            raise error

        with pytest.raises(ZeroDivisionError) as raised:
            instrument(breaks)(batch())
        assert raised.value is error
        assert records == [("call", "breaks", 5, 4, True)]

    @pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration])
    def test_an_end_that_is_no_generators_is_an_error(self, records, error):
        def breaks(batch):
            raise error

        with pytest.raises(error):
            instrument(breaks)(batch())
        assert [fields[-1] for fields in records] == [True]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_a_call_that_something_else_ends_is_not_recorded(self, records, error):
        def ended(batch):
            raise error

        with pytest.raises(error):
            instrument(ended)(batch())
        assert records == []

    def test_a_record_that_cannot_be_written_is_an_error(self, monkeypatch):
        def full(*fields):
            raise OSError("no space")

        monkeypatch.setattr(module, "record", full)
        with pytest.raises(OSError, match="no space"):
            instrument(double)(batch())

    def test_outside_a_measurement_nothing_is_written(self):
        assert instrument(double)(batch(2))["id"].tolist() == [0, 2]

    def test_without_this_package_the_function_is_just_called(self, monkeypatch, records):
        udfs = [instrument(udf) for udf in (double, Double(), halves)]
        monkeypatch.setitem(sys.modules, "pytest_rayperf.udfs.instrumenting", None)
        one, two, parts = (udf(batch(2)) for udf in udfs)
        assert one["id"].tolist() == two["id"].tolist() == [0, 2]
        assert [part["id"].tolist() for part in parts] == [[0], [1]]
        assert records == []

    def test_without_this_package_asynchronous_ones_are_too(self, monkeypatch, records):
        async def coroutine(batch):
            return batch

        async def generator(batch):
            yield batch

        first, second = instrument(coroutine), instrument(generator)
        monkeypatch.setitem(sys.modules, "pytest_rayperf.udfs.instrumenting", None)

        async def both():
            return [await first(1), *[item async for item in second(2)]]

        assert asyncio.run(both()) == [1, 2]
        assert records == []


class TestGenerators:
    def test_time_inside_it_only(self, records, clock):
        def slow(batch):
            clock.now += 10
            yield batch
            clock.now += 20

        for _ in instrument(slow)(batch()):
            clock.now += 1000  # the caller's
        assert records == [("call", "slow", 30, 4, False)]

    @pytest.mark.parametrize("make", [lambda batch: halves(batch), functools.partial(halves)])
    def test_what_gives_one_without_being_one(self, records, make):
        result = instrument(make)(batch())
        assert inspect.isgenerator(result)  # Ray asks
        assert [part["id"].tolist() for part in result] == [[0, 1], [2, 3]]
        assert len(records) == 1

    def test_is_not_begun_before_it_is_asked(self, records):
        begun = []

        def eager(batch):
            begun.append(batch)
            yield batch

        generator = instrument(eager)(batch())
        assert begun == []
        next(generator)
        assert len(begun) == 1

    def test_all_that_a_generator_can(self, records):
        def talks(batch):
            try:
                got = yield batch
                while True:
                    try:
                        got = yield got
                    except KeyError:
                        got = "caught"
            finally:
                closed.append(True)

        closed = []
        generator = instrument(talks)("batch")
        assert next(generator) == "batch"
        assert generator.send("sent") == "sent"
        assert generator.throw(KeyError()) == "caught"
        generator.close()
        assert closed == [True]
        assert [fields[-1] for fields in records] == [False]  # it was not asked for more

    def test_its_value(self):
        def value():
            found.append((yield from instrument(halves)(batch())))

        found: list[str] = []
        assert len(list(value())) == 2
        assert found == ["end"]

    def test_an_error_after_some_batches(self, records):
        def breaks(batch):
            yield batch
            raise ZeroDivisionError

        generator = instrument(breaks)(batch())
        next(generator)
        with pytest.raises(ZeroDivisionError):
            next(generator)
        assert [fields[-1] for fields in records] == [True]

    def test_a_batch_that_was_handed_on_is_not_kept(self):
        class Batch:
            pass

        def makes(batch):
            yield Batch()
            yield None

        generator = instrument(makes)(batch())
        handed_on = weakref.ref(next(generator))
        gc.collect()
        assert handed_on() is None


class TestAsynchronous:
    def test_a_coroutine(self, records, clock):
        async def slow(batch):
            clock.now += 10
            await asyncio.sleep(0)
            return batch["id"]

        assert asyncio.run(instrument(slow)(batch(2))).tolist() == [0, 1]
        assert records == [("call", "slow", 10, 2, False)]

    def test_a_generator(self, records, clock):
        class Slow:
            async def __call__(self, batch):
                for part in ("a", "b"):
                    clock.now += 10
                    yield part

        async def collect():
            found = []
            async for item in instrument(Slow)()(batch()):
                clock.now += 1000
                found.append(item)
            return found

        assert asyncio.run(collect()) == ["a", "b"]
        assert records == [("call", "Slow", 20, 4, False)]

    def test_errors(self, records):
        async def coroutine(batch):
            raise ZeroDivisionError

        async def generator(batch):
            yield batch
            raise ZeroDivisionError

        async def collect():
            return [item async for item in instrument(generator)(batch())]

        with pytest.raises(ZeroDivisionError):
            asyncio.run(instrument(coroutine)(batch()))
        with pytest.raises(ZeroDivisionError):
            asyncio.run(collect())
        assert [fields[-1] for fields in records] == [True, True]

    def test_a_cancelled_call_is_not_recorded(self, records):
        async def waits(started):
            started.set()
            await asyncio.Event().wait()

        async def cancel():
            started = asyncio.Event()
            task = asyncio.create_task(instrument(waits)(started))
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancel())
        assert records == []

    def test_a_generator_that_is_closed(self, records):
        closed = []

        async def endless(batch):
            try:
                while True:
                    yield batch
            finally:
                closed.append(True)

        async def first():
            generator = instrument(endless)(batch())
            await generator.__anext__()
            await generator.aclose()

        asyncio.run(first())
        assert closed == [True]
        assert [fields[-1] for fields in records] == [False]

    def test_a_batch_that_was_handed_on_is_not_kept(self):
        class Batch:
            pass

        async def makes(batch):
            yield Batch()
            yield None

        async def first():
            generator = instrument(makes)(batch())
            handed_on = weakref.ref(await generator.__anext__())
            gc.collect()
            assert handed_on() is None
            await generator.aclose()

        asyncio.run(first())


class TestPickled:
    """As Ray does it: what cannot be imported goes whole."""

    @pytest.fixture
    def there_and_back(self):
        cloudpickle = pytest.importorskip("ray.cloudpickle")
        return lambda udf: cloudpickle.loads(cloudpickle.dumps(udf))

    @pytest.mark.parametrize(
        "make",
        [lambda udf: udf, lambda udf: functools.partial(udf)],
        ids=["itself", "partial"],
    )
    @pytest.mark.parametrize("udf", [double, Double(), Double().method])
    def test_functions_and_instances(self, there_and_back, records, make, udf):
        back = there_and_back(instrument(make(udf)))
        assert back(batch(3))["id"].tolist() == udf(batch(3))["id"].tolist()
        assert len(records) == 1
        assert instrument(back)(batch(3))["id"].tolist() == udf(batch(3))["id"].tolist()
        assert len(records) == 2  # twice is once there too

    def test_classes(self, there_and_back, records):
        back = there_and_back(instrument(Double))
        assert issubclass(back, Double)
        assert back(3)(batch(2))["id"].tolist() == [0, 3]
        assert len(records) == 1

    def test_classes_of_a_test_module(self, there_and_back, records):
        cloudpickle = pytest.importorskip("ray.cloudpickle")
        this = sys.modules[__name__]
        cloudpickle.register_pickle_by_value(this)
        try:
            back = there_and_back(instrument(Double))
        finally:
            cloudpickle.unregister_pickle_by_value(this)
        assert back(3)(batch(2))["id"].tolist() == [0, 3]
        assert (len(records), back.__name__) == (1, "Double")

    def test_where_this_package_is_missing(self, tmp_path):
        cloudpickle = pytest.importorskip("ray.cloudpickle")
        script = """if True:
            import sys
            sys.modules["pytest_rayperf"] = None
            from ray.cloudpickle import loads
            function, udf = loads(sys.stdin.buffer.read())
            assert function(4) == 5
            assert udf(2)({"id": 3}) == {"id": 6}
        """

        class Plain:
            def __init__(self, by):
                self.by = by

            def __call__(self, batch):
                return {"id": batch["id"] * self.by}

        pickled = cloudpickle.dumps((instrument(lambda x: x + 1), instrument(Plain)))
        done = subprocess.run([sys.executable, "-c", script], input=pickled, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("given_batch", "rows"),
    [
        (batch(3), 3),
        (UserDict(batch(3)), 3),
        ([1, 2], 2),
        ({}, None),
        (np.array(1), None),
        (None, None),
        (object(), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_rows_of_a_batch(given_batch, rows):
    assert rows_of(given_batch) == rows


def test_rows_of_a_frame_and_a_table():
    frames = pytest.importorskip("pandas")
    tables = pytest.importorskip("pyarrow")
    assert rows_of(frames.DataFrame({"a": [1, 2], "b": [1, 2]})) == 2
    assert rows_of(tables.table({"id": [1, 2, 3]})) == 3


@pytest.mark.parametrize(
    ("udf", "name"),
    [
        (double, "double"),
        (Double, "Double"),
        (Double(), "Double"),
        (Double().method, "Double.method"),
        (functools.partial(double, by=3), "double"),
        (functools.partial(functools.partial(Double())), "Double"),
        (lambda x: x, "<lambda>"),
        (len, "builtin_function_or_method"),
    ],
    ids=["function", "class", "object", "method", "partial", "partial-object", "lambda", "builtin"],
)
def test_names(udf, name):
    assert name_of(udf) == name

"""Counts and times the calls of a user's function in the processes that run it, and counts its errors.

A wrapper writes one record a call (`pytest_rayperf.counters.record`), from wherever Ray runs it; it hands on
what the function takes, gives and raises. The wrapper is made of functions that Ray sends whole, and imports
this package when it is called: where the package is missing (another node, a runtime environment of the
user's) the function is called as if there were no wrapper, and is not recorded.

Nothing is recorded, and little is spent, where nothing is measured. What it costs where something is:
benchmarks/instrumenting.py.
"""

from __future__ import annotations

import copy
import functools
import inspect
import types
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from time import perf_counter_ns
from typing import Any, Literal, Protocol, TypeVar

from pytest_rayperf.counters import record
from pytest_rayperf.udfs.faults import PutIn

Udf = TypeVar("Udf", bound=Callable[..., Any])

Purpose = Literal["time", "profile"] | PutIn
"""What is done around a call: it is timed, or a profiler looks at its stack, or the self-test slows it."""

CALL = "call"
"""The kind of a timed call's record: name, nanoseconds, rows (or None), whether it failed."""


def instrument(udf: Udf) -> Udf:
    """The same user's function, whose calls are counted and timed while a round is measured.

    Args:
        udf: what `map_batches` takes: a function, a method, a callable class or an instance of one, a partial
            of these; generators and asynchronous ones too.

    Returns:
        The same kind of thing, with the same name, signature and behaviour: a class is a subclass of it, an
        instance is a shallow copy. What is instrumented already is given back as it is.

    A call's seconds are those in which its caller waited for it: of a generator the time inside it, not that
    between its batches; of an asynchronous function the time until it has its result, other calls' included.
    A call that raises an `Exception` is an error. One that something else ends (an exit, a cancellation) is
    not recorded: it has neither failed nor come to its end.

    Raises:
        TypeError: `udf` is not callable, or of a type that can be neither subclassed nor copied.

    Where it is called, it raises what `udf` raises, and besides OSError where the record cannot be written,
    as `pytest_rayperf.count` does.
    """
    return instrumented(udf, name_of(udf), "time")


def name_of(udf: Callable[..., Any]) -> str:
    """What Ray Data calls it within an operator's name: `Classifier` of `MapBatches(Classifier)`."""
    if inspect.ismethod(udf):
        return f"{type(udf.__self__).__name__}.{udf.__name__}"
    if isinstance(udf, functools.partial):
        return str(getattr(udf.func, "__name__", type(udf.func).__name__))
    if inspect.isclass(udf) or inspect.isfunction(udf):
        return udf.__name__
    return type(udf).__name__


def instrumented(udf: Udf, name: str, purpose: Purpose) -> Udf:
    """As `instrument`, under a name of the caller's choice, and for either purpose.

    Raises:
        TypeError: as `instrument` does.
    """
    result: Any
    if inspect.isclass(udf):
        result = _class(udf, name, purpose)
    elif isinstance(udf, functools.partial):
        result = type(udf)(instrumented(udf.func, name, purpose), *udf.args, **udf.keywords)
        vars(result).update(vars(udf))
    elif inspect.ismethod(udf):
        result = types.MethodType(_function(udf.__func__, name, purpose, batch_at=1), udf.__self__)
    elif inspect.isfunction(udf):
        result = _function(udf, name, purpose, batch_at=0)
    else:
        result = _instance(udf, name, purpose)
    return result  # type: ignore[no-any-return]


def _class(udf: type, name: str, purpose: Purpose) -> type:
    # Not `udf.__call__`: of a class that has none, that is how its metaclass makes an instance.
    found = next((vars(base)["__call__"] for base in udf.__mro__ if "__call__" in vars(base)), None)
    if not inspect.isfunction(found):
        raise TypeError(f"{udf.__qualname__} cannot be instrumented: it has no method __call__")
    call = _function(found, name, purpose, batch_at=1)
    if call is found:
        return udf
    body = {
        "__module__": udf.__module__,
        "__qualname__": udf.__qualname__,
        "__doc__": udf.__doc__,
        "__slots__": (),  # an instance keeps its layout
        "__call__": call,
    }
    return types.new_class(udf.__name__, (udf,), {}, lambda namespace: namespace.update(body))


def _instance(udf: Any, name: str, purpose: Purpose) -> Any:
    if not callable(udf):
        raise TypeError(f"only what can be called can be instrumented, not {type(udf).__name__}")
    subclass = _class(type(udf), name, purpose)
    if subclass is type(udf):
        return udf
    result = copy.copy(udf)
    if result is udf:
        raise TypeError(f"an instance of {type(udf).__qualname__} cannot be instrumented: a copy is itself")
    result.__class__ = subclass
    return result


def _function(function: Any, name: str, purpose: Purpose, batch_at: int) -> Any:
    """A wrapper of the same kind: plain, generator, coroutine or asynchronous generator function."""
    mark = f"__rayperf_{purpose if isinstance(purpose, str) else 'fault'}__"
    if getattr(function, mark, False):
        return function
    # No name of this module may be used inside a wrapper: Ray sends what it uses along, by name.
    wrapper: Any
    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        async def async_generator(*args: Any, **kwargs: Any) -> Any:
            try:
                from pytest_rayperf.udfs.instrumenting import _around_async_generator as around
            except ImportError:
                batches = function(*args, **kwargs)
            else:
                batches = around(name, purpose, batch_at, function(*args, **kwargs), args)
            try:
                while True:
                    yield await batches.__anext__()  # into no variable: nothing here keeps a batch alive
            except StopAsyncIteration:
                return
            finally:
                await batches.aclose()

        wrapper = async_generator

    elif inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            try:
                from pytest_rayperf.udfs.instrumenting import _around_coroutine as around
            except ImportError:
                return await function(*args, **kwargs)
            return await around(name, purpose, batch_at, function, args, kwargs)

        wrapper = coroutine

    elif inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Any:
            try:
                from pytest_rayperf.udfs.instrumenting import _around_generator as around
            except ImportError:
                return (yield from function(*args, **kwargs))
            return (yield from around(name, purpose, batch_at, function(*args, **kwargs), args))

        wrapper = generator

    else:

        @functools.wraps(function)
        def plain(*args: Any, **kwargs: Any) -> Any:
            try:
                from pytest_rayperf.udfs.instrumenting import _around_call as around
            except ImportError:
                return function(*args, **kwargs)
            return around(name, purpose, batch_at, function, args, kwargs)

        wrapper = plain
    setattr(wrapper, mark, True)
    return wrapper


class Watch(Protocol):
    """What stands beside one call: told when the function runs, and when it does not."""

    def resume(self) -> None:
        """The function is entered."""

    def pause(self) -> None:
        """It is left, for good or to hand on a batch."""

    def finish(self, *, failed: bool) -> None:
        """The call is over."""


class _Stopwatch:
    """Times one call, and records it."""

    __slots__ = ("_name", "_nanoseconds", "_rows", "_since")

    def __init__(self, name: str, rows: int | None) -> None:
        self._name = name
        self._rows = rows
        self._nanoseconds = 0
        self._since = 0

    def resume(self) -> None:
        self._since = perf_counter_ns()

    def pause(self) -> None:
        self._nanoseconds += perf_counter_ns() - self._since

    def finish(self, *, failed: bool) -> None:
        record(CALL, self._name, self._nanoseconds, self._rows, failed)


def _watch(name: str, purpose: Purpose, batch_at: int, args: tuple[Any, ...]) -> Watch:
    if isinstance(purpose, tuple):
        from pytest_rayperf.udfs.faults import FaultWatch

        return FaultWatch(*purpose)
    if purpose == "profile":
        from pytest_rayperf.udfs.stacks import StackWatch

        return StackWatch(name)
    return _Stopwatch(name, rows_of(args[batch_at]) if len(args) > batch_at else None)


def rows_of(batch: Any) -> int | None:
    """How many rows a batch of any of Ray Data's formats has; None where that is not known at once."""
    if isinstance(batch, Mapping):  # column name -> values
        batch = next(iter(batch.values()), None)
    try:
        return len(batch)
    except TypeError:  # it has none: an array of no dimensions, say
        return None


def _around_call(
    name: str,
    purpose: Purpose,
    batch_at: int,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    watch = _watch(name, purpose, batch_at, args)
    result = _step(watch, lambda: function(*args, **kwargs), ends=())
    if isinstance(result, types.GeneratorType):  # a function may give one without being a generator function
        return _handed_on(_Steps(result, watch))
    watch.finish(failed=False)
    return result


def _around_generator(
    name: str, purpose: Purpose, batch_at: int, batches: Generator[Any, Any, Any], args: tuple[Any, ...]
) -> _Steps:
    return _Steps(batches, _watch(name, purpose, batch_at, args))


def _step(
    watch: Watch, enter: Callable[[], Any], ends: tuple[type[Exception], ...] = (StopIteration,)
) -> Any:
    """Let the function run until it returns, hands on a batch, ends (one of `ends`) or fails."""
    watch.resume()
    try:
        result = enter()
    except ends:
        watch.pause()
        raise
    except Exception:
        watch.pause()
        watch.finish(failed=True)
        raise
    except BaseException:
        watch.pause()
        raise
    watch.pause()
    return result


def _handed_on(steps: _Steps) -> Generator[Any, Any, Any]:
    return (yield from steps)


class _Steps:
    """What `yield from` drives: each of its steps is a step of a user's generator, watched.

    A generator that is closed before its end was not asked for more: what it did is a call without an error.
    """

    def __init__(self, batches: Generator[Any, Any, Any], watch: Watch) -> None:
        self._batches = batches
        self._watch = watch

    def __iter__(self) -> _Steps:
        return self

    def __next__(self) -> Any:
        return self._until_it_ends(lambda: next(self._batches))

    def send(self, value: Any) -> Any:
        return self._until_it_ends(lambda: self._batches.send(value))

    def throw(self, error: BaseException, *rest: Any) -> Any:
        return self._until_it_ends(lambda: self._batches.throw(error, *rest))

    def close(self) -> None:
        _step(self._watch, self._batches.close)
        self._watch.finish(failed=False)

    def _until_it_ends(self, enter: Callable[[], Any]) -> Any:
        try:
            return _step(self._watch, enter)
        except StopIteration:
            self._watch.finish(failed=False)
            raise


async def _around_coroutine(
    name: str,
    purpose: Purpose,
    batch_at: int,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    watch = _watch(name, purpose, batch_at, args)
    result = await _async_step(watch, lambda: function(*args, **kwargs), ends=())
    watch.finish(failed=False)
    return result


def _around_async_generator(
    name: str, purpose: Purpose, batch_at: int, batches: AsyncGenerator[Any, Any], args: tuple[Any, ...]
) -> _AsyncSteps:
    return _AsyncSteps(batches, _watch(name, purpose, batch_at, args))


async def _async_step(
    watch: Watch, enter: Callable[[], Any], ends: tuple[type[Exception], ...] = (StopAsyncIteration,)
) -> Any:
    watch.resume()
    try:
        result = await enter()
    except ends:
        watch.pause()
        raise
    except Exception:
        watch.pause()
        watch.finish(failed=True)
        raise
    except BaseException:
        watch.pause()
        raise
    watch.pause()
    return result


class _AsyncSteps:
    """As `_Steps`, of an asynchronous generator, as far as `async for` goes."""

    def __init__(self, batches: AsyncGenerator[Any, Any], watch: Watch) -> None:
        self._batches = batches
        self._watch = watch
        self._over = False

    async def __anext__(self) -> Any:
        try:
            return await _async_step(self._watch, self._batches.__anext__)
        except StopAsyncIteration:
            self._over = True
            self._watch.finish(failed=False)
            raise
        except BaseException:
            self._over = True
            raise

    async def aclose(self) -> None:
        if self._over:
            return
        self._over = True
        await _async_step(self._watch, self._batches.aclose)
        self._watch.finish(failed=False)

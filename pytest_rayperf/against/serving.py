"""The far side itself: its tests run up to their pipelines, which are executed when the near side asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import pytest

from pytest_rayperf.against.wire import PROTOCOL, Channel, Message, SideLost, execution_to_json
from pytest_rayperf.errors import RayperfError, ServedElsewhere
from pytest_rayperf.interrupts import collect_garbage
from pytest_rayperf.measurement import AfterRound, Executor, Pipeline, release, with_figures
from pytest_rayperf.udfs.instrumenting import instrument
from pytest_rayperf.usage import by_name
from pytest_rayperf.work.counts import WorkUncountable, work_to_json
from pytest_rayperf.wrong import gist


class Server:
    """Answers the near side.

    Args:
        channel: to it.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._next: Message | None = None
        self._number: object = None
        """Of the question that is being answered."""

    @classmethod
    def at(cls, descriptor: int) -> Server:
        """At the socket with this number, which the near side has left open."""
        return cls(Channel(Connection(descriptor)))

    def loop(
        self,
        items: Mapping[str, pytest.Item],
        software: Mapping[str, str | None],
        run: Callable[[pytest.Item], str | None],
        broken: Mapping[str, str],
    ) -> None:
        """Run the tests that are asked for, until the near side closes or ends.

        Args:
            items: by the id that the near side knows them by.
            software: the versions here.
            run: runs one; says why it failed, or was skipped, and None otherwise.
            broken: what could not be collected, and why.
        """
        try:
            self._channel.send(
                "hello",
                protocol=PROTOCOL,
                items=sorted(items),
                software=dict(software),
                broken=dict(broken),
            )
            while (message := self._take())["kind"] != "close":
                self._open(message, items, run)
        except SideLost:
            return  # there is nobody to answer; pytest clears up as ever

    def serve(
        self, executor: Executor, pipelines: Mapping[str | None, Pipeline], after_round: AfterRound
    ) -> NoReturn:
        """Within a test: execute these pipelines, by variant, until another test is asked for.

        Raises:
            ServedElsewhere: once it is.
        """
        self._say("opened", variants=list(pipelines))
        while (message := self._hear())["kind"] in ("round", "work"):
            try:
                self._say("answer", **self._answer(message, executor, pipelines, after_round))
            except SideLost:
                raise
            except Exception as error:  # noqa: BLE001 - told to the near side, whose test fails with it
                release(error)
                self._say("error", text=f"the pipeline raised {type(error).__name__}: {gist(error)}")
            collect_garbage()  # before the near side's round: an actor pool may live in a cycle of references
        self._next = message
        raise ServedElsewhere

    def _take(self) -> Message:
        """The message that ended a test, or the next one."""
        message, self._next = self._next, None
        return message if message is not None else self._hear()

    def _hear(self) -> Message:
        message = self._channel.receive()
        self._number = message.get("number")
        return message

    def _say(self, kind: str, **body: Any) -> None:
        """Answer the question that was heard last."""
        self._channel.send(kind, number=self._number, **body)

    def _open(
        self, message: Message, items: Mapping[str, pytest.Item], run: Callable[[pytest.Item], str | None]
    ) -> None:
        item = items.get(str(message.get("item")))
        if message["kind"] != "open" or item is None:
            self._say("error", text="its test has ended there, or was never there", ended=True)
            return
        problem = run(item)
        if self._next is None:
            # It has ended before another was asked for: skipped or failed, perhaps within a pipeline.
            text = problem or "the test measures nothing"
            self._say("error", text=f"{message['item']}: {text}", ended=True)

    def _answer(
        self,
        message: Message,
        executor: Executor,
        pipelines: Mapping[str | None, Pipeline],
        after_round: AfterRound,
    ) -> dict[str, Any]:
        variant = message.get("variant")
        pipeline = pipelines.get(variant)
        if pipeline is None:
            raise RayperfError(f"there is no variant {variant!r} in this test")
        if message["kind"] == "work":
            try:
                return {"work": work_to_json(executor.count_work(pipeline, anew=bool(message.get("anew"))))}
            except WorkUncountable as reason:
                return {"uncountable": str(reason)}
        execution = executor.run(
            pipeline,
            keep_outputs=bool(message.get("keep_outputs")),
            on_rows=lambda rows: self._say("rows", rows=rows),
        )
        return execution_to_json(with_figures(execution, after_round(variant or "")))


class ServedRayPerf:
    """What the `rayperf` fixture gives to a test of the far side: it has `RayPerf`'s methods.

    Args:
        server: who is asked.
        executor: runs the pipelines.
    """

    def __init__(self, server: Server, executor: Executor) -> None:
        self._server = server
        self._executor = executor

    def __call__(self, pipeline: Pipeline, **_: Any) -> NoReturn:
        """Serve it."""
        self._server.serve(self._executor, {None: pipeline}, lambda name: None)

    def duel(
        self, *, antipattern: Pipeline, fix: Pipeline, after_round: AfterRound | None = None, **_: Any
    ) -> NoReturn:
        """Serve both."""
        pipelines: dict[str | None, Pipeline] = {"antipattern": antipattern, "fix": fix}
        self._server.serve(self._executor, pipelines, after_round or (lambda name: None))

    def ladder(
        self, rungs: Mapping[Any, Pipeline], *, after_round: AfterRound | None = None, **_: Any
    ) -> NoReturn:
        """Serve the last rung: what has a baseline is compared."""
        rungs = by_name("ladder", rungs)
        last = list(rungs)[-1]
        given = after_round or (lambda name: None)
        self._server.serve(self._executor, {None: rungs[last]}, lambda name: given(last))

    def sweep(self, *_: Any, **__: Any) -> NoReturn:
        """Nothing to serve: a sweep has no verdict."""
        raise ServedElsewhere

    raises = warns = is_silent = sweep

    instrument = staticmethod(instrument)


def problem_of(reports: list[pytest.TestReport]) -> str | None:
    """Why a test did not come to its pipelines: of its reports the first that did not pass, in a line."""
    for report in reports:
        if report.passed:
            continue
        found = report.longrepr
        crash = getattr(found, "reprcrash", None)  # of a traceback; what was skipped has a tuple
        text = found[-1] if isinstance(found, tuple) else crash.message if crash else report.longreprtext
        line = next(iter(str(text).strip().splitlines()), "")
        return f"{'skipped' if report.skipped else 'failed'} there: {line}"
    return None


def last_line(text: str) -> str:
    """Of a traceback: what was raised."""
    lines = [line.removeprefix("E").strip() for line in text.splitlines() if line.strip()]
    raised = [line for line in lines if "Error" in line.partition(":")[0] and ": " in line]
    return (raised or lines or ["it fails"])[-1]

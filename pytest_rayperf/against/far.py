"""The far side as the near one sees it: a pytest in a process of its own that executes rounds when asked."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pytest_rayperf.against.packages import environment_with
from pytest_rayperf.against.revision import checked_out
from pytest_rayperf.against.wire import PROTOCOL, Channel, Message, SideLost, execution_from_json
from pytest_rayperf.errors import BaselineError, ConfigurationError, RayperfError
from pytest_rayperf.interrupts import undisturbed
from pytest_rayperf.measurement import Execution
from pytest_rayperf.results import Variant
from pytest_rayperf.work.counts import Work, WorkUncountable, work_from_json

OPTION = "--rayperf-far-side"
"""Hidden: the number of the socket that the far side is asked through."""

_GRACE_S = 30.0
_SHOWN_LINES = 12

# As `pytest` does it and not `python -m pytest`: its folder is not put before what PYTHONPATH has.
_RUN = "import sys; sys.path[:1] == [''] and sys.path.pop(0); import pytest; raise SystemExit(pytest.main())"


class FarSideError(RayperfError):
    """The far side cannot do what it was asked for; the text says what happened there."""


@dataclass(frozen=True)
class FarPipeline:
    """One pipeline of a test, on the far side. It stands among the near side's own, and is executed there."""

    far: FarSide
    item: str
    variant: Variant | None

    def __call__(self) -> object:
        """Not here."""
        raise FarSideError("a pipeline of the far side was executed on the near one")

    def run(self, on_rows: Callable[[int], None], *, keep_outputs: bool = False) -> Execution:
        """Execute it once, there; what it would keep of the outputs it does keep, and then drops.

        Raises:
            FarSideError: it raised there, or the far side has ended.
        """
        self.far.open(self.item)
        answer = self.far.ask("round", on_rows, variant=self.variant, keep_outputs=keep_outputs)
        try:
            return execution_from_json(answer, self.far.name)
        except BaselineError as error:
            raise FarSideError(str(error)) from error

    def count_work(self, *, anew: bool) -> Work:
        """Count its work, there.

        Raises:
            WorkUncountable: it cannot be counted.
            FarSideError: as of `run`.
        """
        self.far.open(self.item)
        answer = self.far.ask("work", variant=self.variant, anew=anew)
        if "uncountable" in answer:
            raise WorkUncountable(str(answer["uncountable"]))
        return work_from_json(answer.get("work"), self.far.name)


class FarSide:
    """A revision, or other packages, or both, with its own pytest and its own Ray.

    Args:
        project: the project's folder.
        revision: of git; None for the files as they are.
        packages: requirements that pip installs for it.
        arguments: of its pytest, besides the test files.
        note: shows what is being waited for.
        cache: whether its pytest has a cache, which is then one of its own.
    """

    def __init__(
        self,
        project: Path,
        revision: str | None,
        packages: Sequence[str],
        arguments: Sequence[str],
        note: Callable[[str], None] = lambda text: None,
        cache: bool = True,
    ) -> None:
        self._project = project
        self._revision = revision
        self._packages = tuple(packages)
        self._arguments = tuple(arguments)
        self._note = note
        self._cache = cache
        self._number = 0
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._log = Path(os.devnull)
        self._open: str | None = None
        self._variants: tuple[str | None, ...] = ()
        self.commit: str | None = None
        self.software: Mapping[str, str | None] = {}
        self.items: frozenset[str] = frozenset()
        """The node ids of its performance tests, relative to the project's folder."""

    @property
    def name(self) -> str:
        """`main (1a2b3c4d5e6f)`, `main (1a2b3c4d5e6f) with ray==2.58.1`, `this tree with ray==2.58.1`."""
        told = "this tree" if self._revision is None else self._revision
        told += f" ({self.commit[:12]})" if self.commit and self._revision is not None else ""
        return f"{told} with {' '.join(self._packages)}" if self._packages else told

    def start(self, files: Sequence[str]) -> None:
        """Check out, install, and start its pytest on those of these test files that it has.

        Args:
            files: relative to the project's folder, as node ids have them.

        Raises:
            ConfigurationError: any of that is impossible, or its pytest ends at once.
        """
        try:
            self._start(files)
        except BaseException:
            self.close()
            raise

    def _start(self, files: Sequence[str]) -> None:
        scratch = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="rayperf-far-")))
        folder, python = self._project, Path(sys.executable)
        near = far = None  # tops of both trees
        if self._revision is not None:
            self._note(f"checking out {self._revision}")
            revision = self._stack.enter_context(
                checked_out(self._project, self._revision, scratch / "worktree")
            )
            folder, self.commit = revision.folder, revision.commit
            near, far = revision.near_top, revision.far_top
        if self._packages:
            self._note(f"installing {' '.join(self._packages)} for the far side")
            python = environment_with(self._packages, scratch / "venv")
        there = [file for file in dict.fromkeys(files) if (folder / file).exists()]
        if not there:
            return  # none of its tests can be asked for anything
        self._note(f"starting the far side, {self.name}")
        self._log = scratch / "far-side.log"
        path = import_path(sys.path, folder, near, far)
        cache = ["-o", f"cache_dir={scratch / 'cache'}"] if self._cache else []
        ours, theirs = socket.socketpair()
        with theirs, self._log.open("wb") as log:
            self._channel = Channel(Connection(ours.detach()), self._is_alive)
            self._process = subprocess.Popen(
                [str(python), "-c", _RUN, f"{OPTION}={theirs.fileno()}", *self._arguments, *cache, *there],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C is for the near side, which then ends this one in order
            )
        try:
            hello = self._channel.receive()
        except SideLost:
            raise ConfigurationError(
                f"{self._option}: its pytest ended before it began:\n{self._said()}"
            ) from None
        if hello.get("protocol") != PROTOCOL:
            raise ConfigurationError(
                f"{self._option}: pytest-rayperf there is another version than here, and cannot be asked "
                "for rounds"
            )
        if broken := hello.get("broken"):
            told = "; ".join(f"{file}: {text}" for file, text in broken.items())
            raise ConfigurationError(f"{self._option}: its tests cannot be collected: {told}")
        self.items = frozenset(map(str, hello["items"]))
        self.software = {str(k): None if v is None else str(v) for k, v in hello["software"].items()}

    @property
    def _option(self) -> str:
        return (
            f"--rayperf-against {self._revision}" if self._revision is not None else "--rayperf-against-env"
        )

    def open(self, item: str) -> tuple[str | None, ...]:
        """Have its test reach the point at which its pipelines are asked for; the one before is ended.

        Returns:
            The variants that it has: None of a test that measures one pipeline.

        Raises:
            FarSideError: it fails before, or asks for nothing that can be measured.
        """
        if self._open != item:
            self._open = None
            self._variants = tuple(self.ask("open", item=item)["variants"])
            self._open = item
        return self._variants

    def ask(self, kind: str, on_rows: Callable[[int], None] = lambda rows: None, **body: Any) -> Message:
        """Ask, and wait for the answer.

        Raises:
            FarSideError: there is none, or it is an error.
        """
        channel = self._channel
        if channel is None:
            raise FarSideError(f"{self.name}: it does not run")
        self._number = number = self._number + 1
        try:
            channel.send(kind, number=number, **body)
            while True:
                answer = channel.receive()
                if answer.get("number") != number:
                    continue  # to a question whose asker was interrupted
                if answer["kind"] != "rows":
                    break
                on_rows(int(answer["rows"]))
        except SideLost:
            raise FarSideError(f"{self.name} has ended:\n{self._said()}") from None
        if answer["kind"] == "error":
            self._open = None if answer.get("ended") else self._open
            raise FarSideError(f"{self.name}: {answer['text']}")
        return answer

    def close(self) -> None:
        """End it, its Ray too, and remove what was made for it. A Ctrl-C waits for that."""
        with undisturbed():
            try:
                self._end()
            finally:
                self._stack.close()

    def _end(self) -> None:
        channel, self._channel = self._channel, None
        process, self._process = self._process, None
        if process is not None:
            with suppress(OSError):  # a terminal that was closed
                self._note("ending the far side")
        if channel is not None:
            with suppress(SideLost):
                channel.send("close")
            channel.close()
        if process is not None:
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _is_alive(self) -> bool:
        return self._process is None or self._process.poll() is None

    def _said(self) -> str:
        with suppress(OSError):
            lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return "\n".join(lines[-_SHOWN_LINES:])
        return "(it said nothing)"


def import_path(
    given: Sequence[str], folder: Path, near: Path | None = None, far: Path | None = None
) -> list[str]:
    """The far side's PYTHONPATH: what this side imports from its tree, that one finds in its own.

    Its workers have it, too. An editable installation would give it this side's code: PYTHONPATH goes before.

    Args:
        given: this side's `sys.path`.
        folder: the project's, there.
        near, far: the tops of both trees; None where they are one.
    """
    source = folder / "src"
    path = [source] if source.is_dir() else []
    path.append(folder)
    for entry in (Path(one).absolute() for one in given if one):
        if near is None or far is None or not entry.resolve().is_relative_to(near):
            continue  # the interpreter has it by itself
        moved = far / entry.resolve().relative_to(near)
        if moved.is_dir():  # a virtual environment in the tree is in no revision
            path.append(moved)
    elsewhere = [Path(one) for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    path += [one for one in elsewhere if near is None or not one.resolve().is_relative_to(near)]
    return list(dict.fromkeys(map(str, path)))

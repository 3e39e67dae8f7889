"""What Ray Data's own writers put into folders of this machine in a round: files and their bytes.

Every `Dataset.write_*` hands a datasink to `Dataset.write_datasink`, which is replaced while a `WriteMonitor`
is open; so is what Ray Data tells a sink of files once all is written. After the clock has stopped the sinks'
folders are looked at: what was last written since the monitor was opened is the round's. No time is compared
with another machine's: it is the kernel's own of this one.
"""

from __future__ import annotations

import functools
import inspect
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from pytest_rayperf.metrics import BYTES_WRITTEN, FILES_WRITTEN


class WriteMonitor:
    """Hears of every write that begins while it is open: `with monitor as m: ...; m.written()`.

    Args:
        one_machine: whether all that is written to a local folder lies on this one.
        clock: nanoseconds since the epoch, by which files are stamped.
    """

    def __init__(self, one_machine: bool, clock: Callable[[], int] = time.time_ns) -> None:
        self._one_machine = one_machine
        self._clock = clock
        self._sinks: list[Any] = []
        self._began = 0
        self._replaced = ExitStack()
        self.problem: str | None = None
        """Why nothing is heard of the last block; None if it was."""
        self.rows: list[int] = []
        """What each write of files in the last block told of its rows, once it was complete."""

    def __enter__(self) -> WriteMonitor:
        """Forget the last block, and listen."""
        self._sinks, self.rows, self.problem = [], [], None
        try:
            from ray.data import Dataset
            from ray.data.datasource.file_datasink import _FileDatasink

            self._replaced.enter_context(_replaced(Dataset, "write_datasink", self._sinks.append))
            self._replaced.enter_context(_replaced(_FileDatasink, "on_write_complete", self._completed))
        except (ImportError, KeyError, IndexError) as error:
            self._replaced.close()
            self.problem = f"this Ray's writes are not where they were ({error!r})"
        self._began = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._replaced.close()

    def _completed(self, result: Any) -> None:
        rows = getattr(result, "num_rows", None)
        if rows is not None:
            self.rows.append(int(rows))

    def written(self) -> Mapping[str, int]:
        """Bytes and files of the last block, by the counter's name.

        Nothing where nothing was written, where a sink is no folder of this machine, and where a folder holds
        nothing of the block any more: whoever removed it knows what was there, and this does not.
        """
        folders = [_local_folder(sink) for sink in self._sinks]
        if not folders or not self._one_machine or self.problem is not None:
            return {}
        sizes: dict[Path, int] = {}
        for folder in folders:
            found = {} if folder is None else _written_since(self._began, folder)
            if not found:
                return {}
            sizes |= found
        return {BYTES_WRITTEN.name: sum(sizes.values()), FILES_WRITTEN.name: len(sizes)}


@contextmanager
def _replaced(owner: type, name: str, hear: Callable[[Any], object]) -> Iterator[None]:
    """While it is open, `hear` is told of the first argument of each call of the method, named or not."""
    original = owner.__dict__[name]
    first = list(inspect.signature(original).parameters)[1]

    @functools.wraps(original)
    def heard(self: Any, *args: Any, **kwargs: Any) -> Any:
        if args or first in kwargs:  # else it is the method's to complain
            hear(args[0] if args else kwargs[first])
        return original(self, *args, **kwargs)

    setattr(owner, name, heard)
    try:
        yield
    finally:
        # Who replaced it meanwhile calls ours, which hands on: theirs stays.
        if owner.__dict__[name] is heard:
            setattr(owner, name, original)


def _local_folder(sink: Any) -> Path | None:
    """Where the sink writes its files; None where that is no folder of this machine."""
    from pyarrow.fs import LocalFileSystem  # type: ignore[import-untyped]

    files: Any = getattr(sink, "filesystem", None)
    path = getattr(sink, "path", None)
    if hasattr(files, "unwrap"):  # Ray's, which tries again
        files = files.unwrap()
    return Path(path) if isinstance(files, LocalFileSystem) and isinstance(path, str) else None


def _written_since(began: int, folder: Path) -> dict[Path, int]:
    """The sizes of the folder's files, those in its partitions too, that were written since `began`."""
    sizes = {}
    # What cannot be listed, for it is being removed, is passed over.
    for place, _, names in os.walk(folder.resolve()):
        for name in names:
            with suppress(OSError):
                state = (file := Path(place, name)).stat()
                if stat.S_ISREG(state.st_mode) and state.st_mtime_ns >= began:
                    sizes[file.resolve()] = state.st_size
    return sizes

"""What Ray Data's own writers put into folders of this machine in a round: files and their bytes.

Every `Dataset.write_*` hands a datasink to `Dataset.write_datasink`, which is replaced while a `WriteMonitor`
is open. Once the clock has stopped the sinks' folders are looked at: what was last written since the monitor
was opened is the round's. No time is compared with another machine's: it is the kernel's own of this one.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
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
        self._original: Any = None
        self._replacement: Any = None
        self._began = 0

    def __enter__(self) -> WriteMonitor:
        """Forget the last block, and listen."""
        from ray.data import Dataset

        self._sinks = []
        self._original = Dataset.__dict__["write_datasink"]
        self._replacement = _heard(self._original, self._sinks)
        Dataset.write_datasink = self._replacement
        self._began = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from ray.data import Dataset

        # Who replaced it meanwhile calls ours, which hands on: theirs stays.
        if Dataset.__dict__["write_datasink"] is self._replacement:
            Dataset.write_datasink = self._original

    def written(self) -> Mapping[str, int]:
        """Bytes and files of the last block, by the counter's name.

        Nothing where nothing was written, where a sink is no folder of this machine, and where a folder holds
        nothing of the block any more: whoever removed it knows what was there, and this does not.
        """
        folders = [_local_folder(sink) for sink in self._sinks]
        if not folders or not self._one_machine:
            return {}
        sizes: dict[Path, int] = {}
        for folder in folders:
            found = {} if folder is None else _written_since(self._began, folder)
            if not found:
                return {}
            sizes |= found
        return {BYTES_WRITTEN.name: sum(sizes.values()), FILES_WRITTEN.name: len(sizes)}


def _heard(write_datasink: Callable[..., Any], sinks: list[Any]) -> Callable[..., Any]:
    @functools.wraps(write_datasink)
    def heard(self: Any, datasink: Any, *args: Any, **kwargs: Any) -> Any:
        sinks.append(datasink)
        return write_datasink(self, datasink, *args, **kwargs)

    return heard


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
    for file in folder.rglob("*"):
        try:
            state = file.stat()
        except OSError:  # it is being removed
            continue
        if file.is_file() and state.st_mtime_ns >= began:
            sizes[file.resolve()] = state.st_size
    return sizes

"""Writes a file whole or not at all: a reader sees the old text or the new one, never half of it."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write beside `path` and rename over it: a full disk leaves the old file as it was.

    Who may read and write it stays as it is; of a new file that is what the umask leaves.

    Raises:
        OSError: it cannot be written.
    """
    if path.exists() and not path.is_file():  # a named pipe, /dev/stdout: there is nothing to rename over
        path.write_text(text, encoding="utf-8")
        return
    path = path.resolve()  # of a link the file that it leads to
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="\n", dir=path.parent, prefix=".rayperf-", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(_mode(path))  # a temporary file is the owner's alone
        temporary.replace(path)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def unwritable(path: Path) -> str | None:
    """Why `write_whole` could not write there now, in a line; None if it could. Nothing is left behind."""
    try:
        if path.exists() and not path.is_file():
            return None if os.access(path, os.W_OK) else os.strerror(errno.EACCES)
        with tempfile.TemporaryFile(dir=path.resolve().parent, prefix=".rayperf-"):
            return None
    except OSError as error:
        return error.strerror or str(error)


def _mode(path: Path) -> int:
    """The permissions that `open(path, "w")` would leave it with."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        umask = os.umask(0o077)  # it can be read only by setting it
        os.umask(umask)
        return 0o666 & ~umask

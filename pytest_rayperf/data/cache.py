"""Where made or downloaded files are kept between runs, and how each is made once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import platformdirs
from filelock import FileLock

from pytest_rayperf.errors import ConfigurationError

CACHE_VARIABLE = "RAYPERF_CACHE_DIR"
"""The environment variable that names another cache folder."""

_PARTIAL = ".partial"


def cache_root() -> Path:
    """The folder of everything cached: `$RAYPERF_CACHE_DIR`, or else the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    return (
        Path(named).expanduser().absolute() if named else Path(platformdirs.user_cache_dir("pytest-rayperf"))
    )


def make_once(folder: Path, make: Callable[[Path], None], complete: Callable[[Path], bool]) -> Path:
    """Return `folder`, first having it made if it is not there or not `complete`.

    `make` fills an empty folder beside it, which is renamed at the end, so `folder` is whole or missing.
    Sets that lie in one parent folder are made by one process at a time; the others wait, and find it made.
    That the lock covers all siblings means that whatever partial folder its holder meets is the remains of
    a killed run: it is removed.

    Raises ConfigurationError where the cache cannot be written to.
    """
    try:
        if complete(folder):  # without the lock: a cache that is full but read-only does too
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / ".lock"):
            if complete(folder):
                return folder
            for remains in folder.parent.glob(f"*{_PARTIAL}"):
                shutil.rmtree(remains)
            partial = folder.with_name(folder.name + _PARTIAL)
            partial.mkdir()
            try:
                make(partial)
                if (
                    folder.exists()
                ):  # files of a complete set were deleted since, by a cleaner of old files say
                    shutil.rmtree(folder)
                partial.rename(folder)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {folder} in the cache: {error.strerror or error}; "
            f"free or unlock that place, or set {CACHE_VARIABLE} to a folder that can be written to"
        ) from error
    return folder

"""The versions of what a figure was measured with. Recorded beside it, never part of its environment."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pytest_rayperf._version import __version__

_PACKAGES = (
    "ray",
    "torch",
    "torchvision",
    "numpy",
    "pandas",
    "pyarrow",
    "pillow",
    "pytest",
    "pytest-benchmark",
)
_GIT_TIME_LIMIT_S = 10.0
# Set while git runs a hook, and stronger than -C: they would name the hook's repository, not the folder's.
_GIT_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")


def software_versions() -> dict[str, str | None]:
    """Version by name, of Python, the packages that a figure depends on, and the kernel.

    None for what is not installed. Read from the packages' metadata; none of them is imported.
    """
    versions: dict[str, str | None] = {"python": platform.python_version()}
    versions.update((package, _version(package)) for package in _PACKAGES)
    # Run from a source tree it has no metadata, but it is certainly here.
    versions["pytest-rayperf"] = _version("pytest-rayperf") or __version__
    versions["kernel"] = platform.release() or None
    return versions


def git_commit(folder: str | os.PathLike[str], time_limit_s: float = _GIT_TIME_LIMIT_S) -> str | None:
    """The commit checked out in `folder`, with "+dirty" if tracked files differ from it.

    None outside a repository, in one without a commit, without git, and if git takes longer than
    `time_limit_s` seconds. Files that git does not track do not count: a run's own reports are such.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _GIT_VARIABLES}

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                # A look must not rewrite the index, which another git may be at work on.
                ["git", "--no-optional-locks", "-C", Path(folder), *arguments],
                capture_output=True,
                text=True,
                timeout=time_limit_s,
                check=False,
                env=environment,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "--verify", "HEAD")
    if not commit:
        return None
    changes = git("status", "--porcelain", "--untracked-files=no")
    if changes is None:
        return None
    return f"{commit}+dirty" if changes else commit


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

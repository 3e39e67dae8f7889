"""The versions of what a figure was measured with. Recorded beside it, never part of its environment."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from pytest_rayperf._version import __version__
from pytest_rayperf.git import TIME_LIMIT_S, ask_git

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


def git_commit(folder: str | os.PathLike[str], time_limit_s: float = TIME_LIMIT_S) -> str | None:
    """The commit checked out in `folder`, with "+dirty" if tracked files differ from it.

    None outside a repository, in one without a commit, without git, and if git takes longer than
    `time_limit_s` seconds. Files that git does not track do not count: a run's own reports are such.
    """

    def git(*arguments: str) -> str | None:
        said = ask_git(folder, *arguments, time_limit_s=time_limit_s)
        return None if said is None else said.decode(errors="replace").strip()

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

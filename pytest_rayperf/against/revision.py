"""A git revision's files in a folder of their own, beside the ones at work on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytest_rayperf.errors import ConfigurationError
from pytest_rayperf.git import ask_git

CHECKOUT_LIMIT_S = 300.0


@dataclass(frozen=True)
class Revision:
    """A revision, checked out.

    name: as it was asked for.
    commit: its full hash.
    folder: the project's folder, at that revision.
    near_top, far_top: the tops of the tree at work on, and of this one.
    """

    name: str
    commit: str
    folder: Path
    near_top: Path
    far_top: Path


@contextmanager
def checked_out(project: Path, revision: str, folder: Path) -> Iterator[Revision]:
    """The project at `revision`, in a git worktree in `folder`, which is removed afterwards.

    Args:
        project: the project's folder, anywhere in its repository.
        revision: whatever git takes for a commit: a branch, a tag, `HEAD~3`, a hash.
        folder: where; it must not be there yet.

    Raises:
        ConfigurationError: no repository, no such revision, or it cannot be written.
    """
    option = f"--rayperf-against {revision}"
    top = _line(ask_git(project, "rev-parse", "--show-toplevel"))
    if top is None:
        raise ConfigurationError(f"{option}: {project} is in no git repository that git can read")
    commit = _line(
        ask_git(project, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    )
    if commit is None:
        raise ConfigurationError(
            f"{option}: git knows no such revision in {top}; fetch it (in CI: a checkout with its history), "
            "or name a branch, a tag or a commit that is there"
        )
    # Neither hooks nor a password that a filter may want: a look must not do what a commit does.
    quiet = ("-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false")
    try:
        made = ask_git(
            project,
            *(*quiet, "worktree", "add", "--detach", str(folder), commit),
            time_limit_s=CHECKOUT_LIMIT_S,
            fetches=True,
        )
        if made is None:
            raise ConfigurationError(
                f"{option}: git could not check {commit[:12]} out into {folder}; does "
                f"`git worktree add --detach {folder} {commit[:12]}` work there?"
            )
        near_top = Path(top).resolve()
        yield Revision(
            revision, commit, folder / project.resolve().relative_to(near_top), near_top, folder.resolve()
        )
    finally:
        # Twice: it is locked where git was ended while it made it. Not pruned: others' may be out of sight.
        removal = ("worktree", "remove", "--force", "--force", str(folder))
        ask_git(project, *removal, time_limit_s=CHECKOUT_LIMIT_S)
        shutil.rmtree(folder, ignore_errors=True)


def _line(said: bytes | None) -> str | None:
    return None if said is None else said.decode(errors="surrogateescape").strip() or None

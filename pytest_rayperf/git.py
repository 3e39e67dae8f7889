"""Asks git, without changing anything and without waiting for long."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

TIME_LIMIT_S = 10.0

# Set while git runs a hook, and stronger than -C: they would name the hook's repository, not the folder's.
_OF_A_HOOK = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
)
# A look asks nobody for a password, and fetches nothing that a partial clone left out.
_QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}


def ask_git(
    folder: str | os.PathLike[str],
    *arguments: str,
    given: bytes | None = None,
    time_limit_s: float = TIME_LIMIT_S,
    fetches: bool = False,
) -> bytes | None:
    """What git prints when it is run in `folder`.

    None where that fails: no repository, no git, or longer than `time_limit_s` seconds.

    Args:
        folder: any within the repository.
        arguments: of git.
        given: what it reads from its standard input.
        time_limit_s: seconds after which it is ended.
        fetches: whether it may fetch what a partial clone left out.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
    try:
        done = subprocess.run(
            # A look must not rewrite the index, which another git may be at work on.
            ["git", "--no-optional-locks", "--literal-pathspecs", "-C", Path(folder), *arguments],
            capture_output=True,
            input=given or b"",
            timeout=time_limit_s,
            check=False,
            env=environment | _QUIET | ({"GIT_NO_LAZY_FETCH": "0"} if fetches else {}),
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):  # ValueError: a null byte in a name
        return None
    return done.stdout if done.returncode == 0 else None

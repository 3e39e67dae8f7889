"""Which baselines are to go, or to lose sessions, and doing it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pytest_rayperf.baselines.format import Baseline, Session
from pytest_rayperf.baselines.store import remove, rewrite
from pytest_rayperf.baselines.stored import Stored
from pytest_rayperf.errors import ConfigurationError
from pytest_rayperf.judging.reference import ANCHORS, RECENT


@dataclass(frozen=True)
class Pruning:
    """What is to become of a baseline.

    Attributes:
        stored: which one.
        why: in words.
        keep: how many of its newest sessions stay (`shortened`); None where the file goes.
    """

    stored: Stored
    why: str
    keep: int | None = None


def gone_tests(stored: Sequence[Stored], root: Path) -> list[Pruning]:
    """The baselines whose test file is not there any more.

    Args:
        stored: the baselines.
        root: the folder that node ids are relative to.

    Raises:
        ConfigurationError: not one of the files is there: then `root` is the wrong folder.
    """
    files = {one.baseline.id.partition("::")[0] for one in stored}
    missing = {file for file in files if not _exists(root / file)}
    if files and missing == files:
        raise ConfigurationError(
            f"{root}: has none of the baselines' tests, such as {min(files)}; name the folder that test ids "
            "begin in (pytest's rootdir) with --root"
        )
    return [
        Pruning(one, f"{file} is gone")
        for one in stored
        if (file := one.baseline.id.partition("::")[0]) in missing
    ]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def long_ones(stored: Sequence[Stored], keep: int) -> list[Pruning]:
    """The baselines that have more sessions than the `keep` newest and those that `shortened` keeps besides.

    Raises:
        ConfigurationError: so few would leave less than a run is compared with.
    """
    if keep < RECENT:
        raise ConfigurationError(
            f"--keep-sessions {keep}: must be {RECENT} or more, for a run is compared with the last {RECENT}"
        )
    prunings = []
    for one in stored:
        sessions = one.baseline.sessions
        dropped = len(sessions) - len(shortened(one.baseline, keep).sessions)
        if dropped:
            between = f"between the oldest {ANCHORS} and the newest {keep}"
            why = f"{dropped} of {len(sessions)} sessions are {between}"
            prunings.append(Pruning(one, why, keep))
    return prunings


def shortened(baseline: Baseline, keep: int) -> Baseline:
    """With its `keep` newest sessions, the oldest, by which creep is found, and those with counted work."""
    sessions = baseline.sessions
    # Of each software the last one.
    last = {tuple(sorted(s.work.software.items())): s for s in sessions if s.work is not None}

    def stays(index: int, session: Session) -> bool:
        return (
            index < ANCHORS or index >= len(sessions) - keep or any(session is one for one in last.values())
        )

    return replace(baseline, sessions=tuple(s for i, s in enumerate(sessions) if stays(i, s)))


def prune(prunings: Iterable[Pruning]) -> None:
    """Do it.

    Raises:
        BaselineError: at the first file that cannot be changed; those before it are.
    """
    for one in prunings:
        if one.keep is None:
            remove(one.stored.path, one.stored.shown)
        else:
            rewrite(one.stored.path, one.stored.shown, partial(shortened, keep=one.keep))

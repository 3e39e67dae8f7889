"""Every session that baselines ever had, out of git's history of their files, in few processes of git.

A baseline keeps its sessions until a change is accepted that makes them history; then git alone has them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path, PurePosixPath
from statistics import median

from pytest_rayperf.baselines.format import Baseline, Session, parse_baseline
from pytest_rayperf.errors import BaselineError
from pytest_rayperf.git import TIME_LIMIT_S, ask_git
from pytest_rayperf.metrics import CPU_PER_ROW, THROUGHPUT
from pytest_rayperf.results import Round, Subject
from pytest_rayperf.run import Accepted

NEWEST = 50
"""Sessions of a benchmark that are kept: what a picture of its history has room for."""

_BLOBS_AT_ONCE = 256
_FEW = 20  # files that are named to git; of more the whole folder is asked for


@dataclass(frozen=True)
class History:
    """What was found.

    Attributes:
        sessions: by slug, oldest first; of what the newest one measured, for other speeds do not compare.
        unreadable: files of old commits that are no baselines, or none that can be read any more.
        others: sessions that measured something else than the newest one of their file, and are left out.
        complete: whether git answered within the time limit, everything that it was asked.
        from_git: whether git had anything to say; else the sessions are those of the files as they are.
    """

    sessions: Mapping[str, tuple[Accepted, ...]] = field(default_factory=dict)
    unreadable: int = 0
    others: int = 0
    complete: bool = True
    from_git: bool = True

    def notes(self) -> list[str]:
        """What is to be said of it beside the sessions, a line each."""
        lines = []
        if self.unreadable:
            lines.append(
                f"{self.unreadable} files of older commits cannot be read any more, and are left out"
            )
        if self.others:
            lines.append(
                f"{self.others} sessions measured other data, another model or profile, and are left out"
            )
        if not self.complete:
            lines.append("git took too long: the oldest sessions are missing")
        elif not self.from_git:
            lines.append("git has no history of it: the sessions are those of the file as it is")
        return lines


def read_history(
    folder: Path,
    environment_id: str,
    slugs: Collection[str] | None = None,
    time_limit_s: float = TIME_LIMIT_S,
    clock: Callable[[], float] = time.monotonic,
) -> History:
    """The sessions that baselines ever had, by slug, the oldest of the `NEWEST` first; and what was left out.

    Where there is no git, or no history of that folder, those that the files have now. Never raises for what
    is in them.

    Args:
        folder: of the baselines of all environments.
        environment_id: whose.
        slugs: of which benchmarks; None for all.
        time_limit_s: after which what is not read yet is left out.
        clock: seconds, monotonic.
    """
    if not _is_name(environment_id) or not folder.is_dir():
        return History()
    deadline = clock() + time_limit_s

    def git(*arguments: str, given: bytes | None = None) -> bytes | None:
        left = deadline - clock()
        return ask_git(folder, *arguments, given=given, time_limit_s=left) if left > 0 else None

    said = _listed(git, environment_id, slugs)
    listed = said or {}
    now = _in_working_tree(folder / environment_id, slugs)
    found = {slug: _Sessions() for slug in (*now, *listed)}
    unreadable = sum(not found[slug].add(text) for slug, text in now.items())
    complete = said is not None or clock() < deadline  # no repository is not too slow a git
    for wanted in _in_turns(listed, found):
        contents = _contents(git, [blob for _, blob in wanted])
        if contents is None:
            complete = False
            break
        for slug, blob in wanted:
            unreadable += not found[slug].add(contents.get(blob))
    return History(
        sessions={slug: accepted for slug, one in found.items() if (accepted := one.accepted())},
        unreadable=unreadable,
        others=sum(one.others for one in found.values()),
        complete=complete,
        from_git=bool(listed),
    )


def _in_working_tree(folder: Path, slugs: Collection[str] | None) -> dict[str, bytes | None]:
    """By slug, its file as it is now, committed or not."""
    found: dict[str, bytes | None] = {}
    for path in sorted(folder.glob("*.json")):
        if slugs is None or path.stem in slugs:
            try:
                found[path.stem] = path.read_bytes()
            except OSError:
                found[path.stem] = None
    return found


_Key = tuple[str, str | None, tuple[float, ...]]


def _key(session: Session) -> _Key:
    """What makes a session itself, in whichever version of its file: two may end within one second."""
    return session.recorded_at, session.commit, tuple(r.wall_seconds for r in session.rounds)


class _Sessions:
    """The sessions of one slug, of whichever version of its file."""

    def __init__(self) -> None:
        self._found: dict[_Key, tuple[Session, Subject]] = {}
        self._order: dict[_Key, tuple[int, int]] = {}
        self._versions = 0
        self._subject: Subject | None = None

    def add(self, text: bytes | None) -> bool:
        """Those of a version of the file, the newest version first; whether it could be read."""
        baseline = None if text is None else _baseline(text)
        if baseline is None:
            return False
        self._subject = self._subject or baseline.subject
        self._versions += 1
        for place, session in enumerate(baseline.sessions):
            key = _key(session)
            self._found.setdefault(key, (session, baseline.subject))
            self._order.setdefault(key, (-self._versions, place))
        return True

    @property
    def enough(self) -> bool:
        """Whether there are as many as are kept."""
        return sum(1 for _, subject in self._found.values() if subject == self._subject) >= NEWEST

    @property
    def others(self) -> int:
        """How many measured something else than the newest version of the file."""
        return sum(1 for _, subject in self._found.values() if subject != self._subject)

    def accepted(self) -> tuple[Accepted, ...]:
        """The newest ones, the oldest of them first."""
        own = [session for session, subject in self._found.values() if subject == self._subject]
        # Where a clock stood still, as they stand in the files.
        own.sort(key=lambda session: (_age(session), self._order[_key(session)]))
        return tuple(map(accepted_of, own[-NEWEST:]))


def accepted_of(session: Session) -> Accepted:
    """A session as a point of its benchmark's history."""
    return Accepted(
        recorded_at=session.recorded_at,
        commit=session.commit,
        throughput=median_of(session.rounds, THROUGHPUT.name),
        cpu_seconds_per_row=median_of(session.rounds, CPU_PER_ROW.name),
    )


def median_of(rounds: Sequence[Round], metric: str) -> float | None:
    """Median over rounds; None where one of them lacks the metric."""
    figures = [r.metric(metric) for r in rounds]
    known = [figure for figure in figures if figure is not None]
    return median(known) if known and len(known) == len(figures) else None


def _age(session: Session) -> float:
    """Seconds since 1970; 0 for what is no date."""
    try:
        when = datetime.fromisoformat(session.recorded_at.replace("Z", "+00:00"))
        when = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
        return when.timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _baseline(text: bytes) -> Baseline | None:
    try:
        return parse_baseline(text.decode("utf-8"), "")
    except (BaselineError, UnicodeDecodeError):
        return None


def _is_name(text: str) -> bool:
    """Whether it can be the name of a folder, and of nothing above it."""
    return text not in ("", ".", "..") and "/" not in text and "\0" not in text


# --- what git says

_Git = Callable[..., "bytes | None"]


def _listed(git: _Git, environment_id: str, slugs: Collection[str] | None) -> dict[str, list[str]] | None:
    """By slug, the blobs that its file ever was, the newest first; None where git says nothing."""
    paths = [environment_id]
    if slugs is not None and len(slugs) <= _FEW:
        paths = [f"{environment_id}/{slug}.json" for slug in slugs if _is_name(slug)]
    if not paths:
        return {}
    said = git(
        # As little as can be of what a user's configuration may change.
        *("log", "--format=", "--raw", "--no-abbrev", "--no-renames", "--no-show-signature", "-z"),
        *("--relative", "--diff-filter=AMT", "--", *paths),
    )
    if said is None:
        return None
    found: dict[str, list[str]] = {}
    for blob, path in _changes(said):
        name = PurePosixPath(path)
        known = name.suffix == ".json" and len(name.parts) == 2 and (slugs is None or name.stem in slugs)
        if known and blob not in (blobs := found.setdefault(name.stem, [])):
            blobs.append(blob)
    return found


def _changes(said: bytes) -> Iterator[tuple[str, str]]:
    """The blob and the path of each change, out of `:100644 100644 OLD NEW M NUL path NUL`."""
    fields = [field.lstrip(b"\n") for field in said.split(b"\0")]
    for meta, path in pairwise(fields):
        parts = meta.split(b" ")
        if meta.startswith(b":") and len(parts) == 5:
            yield parts[3].decode("ascii", "replace"), path.decode("utf-8", "surrogateescape")


def _in_turns(
    listed: Mapping[str, Sequence[str]], found: Mapping[str, _Sessions]
) -> Iterator[list[tuple[str, str]]]:
    """Which blobs to read next, of each slug the newest; until it has sessions enough, or no more blobs."""
    left = {slug: list(blobs[:NEWEST]) for slug, blobs in listed.items()}
    while left := {slug: blobs for slug, blobs in left.items() if blobs and not found[slug].enough}:
        slugs = list(left)
        for start in range(0, len(slugs), _BLOBS_AT_ONCE):
            some = slugs[start : start + _BLOBS_AT_ONCE]
            share = _BLOBS_AT_ONCE // len(some)
            yield [(slug, blob) for slug in some for blob in left[slug][:share]]
            for slug in some:
                del left[slug][:share]


def _contents(git: _Git, blobs: Iterable[str]) -> dict[str, bytes] | None:
    """By blob, what is in it, without those that a partial clone left out; None where git says nothing."""
    said = git("cat-file", "--batch", given="".join(f"{blob}\n" for blob in blobs).encode())
    if said is None:
        return None
    found: dict[str, bytes] = {}
    at = 0
    while at < len(said):
        end = said.find(b"\n", at)
        header = said[at : end if end >= 0 else len(said)].split(b" ")
        if end < 0:
            break
        at = end + 1
        if len(header) == 3 and header[2].isdigit():
            size = int(header[2])
            found[header[0].decode("ascii", "replace")] = said[at : at + size]
            at += size + 1
    return found

"""The folder of baselines in figures: a row a file, a row a session. Texts for a table, or JSON's types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pytest_rayperf.baselines.history import History, accepted_of, median_of
from pytest_rayperf.baselines.pruning import Pruning, shortened
from pytest_rayperf.baselines.stored import Stored
from pytest_rayperf.metrics import PEAK_MEMORY
from pytest_rayperf.reports.rows import MISSING
from pytest_rayperf.run import Accepted

Cells = list[list[str]]

FILE_HEADERS = ("baseline", "sessions", "rounds", "recorded", "commit", "also in", "test", "variant")
"""The last two say what the first one does, in other words: a terminal does without them."""
SESSION_HEADERS = ("recorded", "commit", "rounds", "rows/s", "CPU ms/row", "MiB", "software changed")
HISTORY_HEADERS = ("recorded", "commit", "rows/s", "CPU ms/row")

_SHOWN_OF_COMMIT = 10


def file_of(one: Stored, all_: Sequence[Stored]) -> dict[str, Any]:
    """One file, as JSON has it. `environments`: all that have a baseline of the same test and variant."""
    baseline = one.baseline
    last = baseline.sessions[-1]
    same = {
        s.environment for s in all_ if (s.baseline.id, s.baseline.variant) == (baseline.id, baseline.variant)
    }
    return {
        "file": one.shown,
        "environment": one.environment,
        "slug": one.slug,
        "id": baseline.id,
        "variant": baseline.variant,
        "sessions": len(baseline.sessions),
        "rounds": sum(len(session.rounds) for session in baseline.sessions),
        "recorded_at": last.recorded_at,
        "commit": last.commit,
        "environments": sorted(same),
    }


def file_cells(files: Iterable[Mapping[str, Any]]) -> Cells:
    """The rows of `FILE_HEADERS`."""
    return [
        [
            f["slug"],
            str(f["sessions"]),
            str(f["rounds"]),
            day(f["recorded_at"]),
            commit(f["commit"]),
            ", ".join(e for e in f["environments"] if e != f["environment"]) or MISSING,
            f["id"],
            f["variant"] or MISSING,
        ]
        for f in files
    ]


def sessions_of(one: Stored) -> list[dict[str, Any]]:
    """The sessions of a file, oldest first, as JSON has them; medians over the rounds of each."""
    found = []
    for session in one.baseline.sessions:
        found.append(
            {
                **asdict(accepted_of(session)),
                "peak_worker_memory": median_of(session.rounds, PEAK_MEMORY.name),
                "rounds": len(session.rounds),
                "counters": session.rounds[-1].all_counters(),
                "probe_s": None if session.probe is None else session.probe.seconds,
                "work_counted": session.work is not None,
                "software": dict(session.software),
            }
        )
    return found


def session_cells(sessions: Sequence[Mapping[str, Any]]) -> Cells:
    """The rows of `SESSION_HEADERS`."""
    before: Mapping[str, str | None] | None = None
    cells = []
    for session in sessions:
        memory = session["peak_worker_memory"]
        cells.append(
            [
                day(session["recorded_at"]),
                commit(session["commit"]),
                str(session["rounds"]),
                figure(session["throughput"]),
                figure(session["cpu_seconds_per_row"], 1000),
                figure(memory, 1 / 1024**2),
                changed(before, session["software"]),
            ]
        )
        before = session["software"]
    return cells


def changed(before: Mapping[str, str | None] | None, now: Mapping[str, str | None]) -> str:
    """`ray 2.58.1 -> 2.60.0`: what is of another version than in the session before."""
    if before is None:
        return MISSING
    # A name that one of them does not know was not recorded then: that is no change.
    names = [name for name in now if name in before and before[name] != now[name]]
    return ", ".join(f"{n} {before[n] or 'none'} -> {now[n] or 'none'}" for n in sorted(names)) or "nothing"


def history_cells(sessions: Iterable[Accepted]) -> Cells:
    """The rows of `HISTORY_HEADERS`."""
    return [
        [
            day(session.recorded_at),
            commit(session.commit),
            figure(session.throughput),
            figure(session.cpu_seconds_per_row, 1000),
        ]
        for session in sessions
    ]


def history_to_json(one: Stored, sessions: Sequence[Accepted], history: History) -> dict[str, Any]:
    """A file's history, as JSON has it."""
    return {
        **identity(one),
        "history": [asdict(session) for session in sessions],
        "unreadable": history.unreadable,
        "of_other_subjects": history.others,
        "complete": history.complete,
    }


def identity(one: Stored) -> dict[str, Any]:
    """Which file it is, and whose."""
    return {
        "file": one.shown,
        "environment": one.environment,
        "slug": one.slug,
        "id": one.baseline.id,
        "variant": one.baseline.variant,
    }


def pruning_of(pruning: Pruning) -> dict[str, Any]:
    """What is to become of a file, as JSON has it; `sessions_after` 0 where it goes."""
    baseline, keep = pruning.stored.baseline, pruning.keep
    after = 0 if keep is None else len(shortened(baseline, keep).sessions)
    return {
        **identity(pruning.stored),
        "why": pruning.why,
        "sessions": len(baseline.sessions),
        "sessions_after": after,
    }


def day(recorded_at: str) -> str:
    """`2025-01-02 03:04`."""
    return recorded_at[:16].replace("T", " ")


def commit(name: str | None) -> str:
    """Its beginning, and whether files differed from it."""
    if not name:
        return MISSING
    head, plus, dirty = name.partition("+")
    return f"{head[:_SHOWN_OF_COMMIT]}{plus}{dirty}"


def figure(value: float | None, scale: float = 1) -> str:
    """In three digits."""
    return MISSING if value is None else f"{value * scale:.3g}"

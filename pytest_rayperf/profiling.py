"""Where the UDFs of a pipeline spend their time: a flame graph each, and Ray's timeline.

The pipeline is executed once more, untimed. In the workers pyinstrument looks at the stack of each call of
a UDF, once a millisecond, in the very thread that runs it; what it saw comes back as a record a call, so
that an actor may be killed at any time. py-spy would see native frames too, but has to attach to the
workers (ptrace), which containers and Yama mostly forbid, and sees Ray's own threads beside the UDF.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pytest_rayperf.reports.flame_graph import flame_graph
from pytest_rayperf.results import Profile
from pytest_rayperf.tally import Tally
from pytest_rayperf.udfs.batches import instrumented_batches
from pytest_rayperf.udfs.stacks import INTERVAL_S, STACKS, Frame, Stacks

_TIMELINE_LOOKS = 5
"""Workers send events once a second (`task_events_report_interval_ms`), and `ray.timeline` waits as long."""


def profile_pipeline(pipeline: Callable[[], Any], folder: Path, slug: str, tally: Tally) -> Profile:
    """Execute a pipeline once, and write what was seen into a folder.

    `<slug>-<UDF>.html` is a flame graph of all calls in all processes, `<slug>.timeline.json` the timeline.

    Args:
        pipeline: as `RayExecutor.run` takes it. What it returns is consumed, and dropped.
        folder: made if it is not there.
        slug: what the files' names begin with.
        tally: of the cluster. What it has so far is discarded, and what this execution counts is taken.

    Returns:
        The files, and what is missing. A file that cannot be written is a problem, not an error.

    Raises:
        CountsLostError: a node, and what was seen there, was lost.
        Exception: whatever the pipeline or Ray raised.
    """
    tally.discard()
    start = time.time()
    with instrumented_batches("profile"):
        _consume(pipeline())
    end = time.time()
    problems: list[str] = []
    flame_graphs: dict[str, Path] = {}
    by_udf = merged(tally.take_all().of(STACKS))
    if not by_udf:
        problems.append("no flame graph: no function that was given to map_batches was called")
    names = file_names(by_udf)
    for udf, stacks in by_udf.items():
        path = folder / f"{slug}-{names[udf]}.html"
        if not stacks:
            problems.append(f"no flame graph of {udf}: none of its calls took {INTERVAL_S * 1000:g} ms")
        elif _written(path, flame_graph(f"{slug}: {udf}", stacks), problems):
            flame_graphs[udf] = path
    timeline = folder / f"{slug}.timeline.json"
    events = _events_between(start, end)
    if not events:
        problems.append("no timeline: Ray has no events; it was started without RAY_PROFILING=1")
    has_timeline = bool(events) and _written(timeline, json.dumps(events), problems)
    return Profile(flame_graphs, timeline if has_timeline else None, tuple(problems))


def _consume(result: Any) -> None:
    from ray.data import Dataset

    if isinstance(result, Dataset):
        for _ in result.iter_internal_ref_bundles():
            pass


def merged(records: Iterable[Sequence[Any]]) -> dict[str, Stacks]:
    """The seconds of each stack by UDF, over all calls; a UDF that was never seen at work has none.

    Args:
        records: each a name and pairs of frames and seconds: `Taken.of(STACKS)`.
    """
    by_udf: dict[str, dict[tuple[Frame, ...], float]] = {}
    for udf, stacks in records:
        totals = by_udf.setdefault(udf, {})
        for frames, seconds in stacks:
            stack = tuple((name, file, line) for name, file, line in frames)
            totals[stack] = totals.get(stack, 0.0) + seconds
    return dict(sorted(by_udf.items()))


def file_names(udfs: Iterable[str]) -> dict[str, str]:
    """UDF -> the part of a file's name that stands for it, each another one, also if case is ignored."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for udf in udfs:
        plain = re.sub(r"[^A-Za-z0-9_.]+", "-", udf).strip("-.")[:80] or "udf"
        name, number = plain, 1
        while name.lower() in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name.lower())
        names[udf] = name
    return names


def _written(path: Path, text: str, problems: list[str]) -> bool:
    """Whether the file is there now, whole; if not, why is among the problems."""
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_text(text, encoding="utf-8")
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        problems.append(f"{path} cannot be written: {error.strerror or error}")
        return False
    return True


def _events_between(start: float, end: float) -> list[dict[str, Any]]:
    """The timeline's events that overlap this interval (Unix time), once no more of them arrive."""
    import ray

    found: list[dict[str, Any]] = []
    for _ in range(_TIMELINE_LOOKS):
        events = cut(ray.timeline() or [], start, end)
        if found and len(events) <= len(found):
            break
        found = events
    return found


def cut(events: Iterable[dict[str, Any]], start: float, end: float) -> list[dict[str, Any]]:
    """The events that overlap an interval, and those that name what is in their rows.

    Args:
        events: in Chrome's trace format: `ts` and `dur` in microseconds.
        start: Unix time in seconds.
        end: likewise.

    Returns:
        Nothing if no event overlaps: names alone are no timeline.
    """
    kept = [
        event
        for event in events
        if "ts" not in event or (event["ts"] < end * 1e6 and event["ts"] + event.get("dur", 0) > start * 1e6)
    ]
    return kept if any("ts" in event for event in kept) else []

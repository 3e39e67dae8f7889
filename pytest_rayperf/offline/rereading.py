"""A run's report -> what the verdict was made of: rounds, subject, work, probe of each benchmark. Pure.

What a report does not hold is not there: the calls of UDFs (`latency` sums them up), and in a report that has
the keys of the contract alone (DESIGN, section 5) the operators and the counters of single rounds, the work,
and the probe. Where a report contradicts itself the contract's keys have the say, `rounds` and `counters`:
what was added to it later tells the same in more detail.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import PurePath
from typing import Any

from pytest_rayperf.errors import BaselineError, ConfigurationError
from pytest_rayperf.judging.policy import MOST_ROUNDS
from pytest_rayperf.machine import Lap, Probe
from pytest_rayperf.metrics import CPU_PER_ROW, METRICS, PEAK_MEMORY, TASKS, THROUGHPUT, WALL
from pytest_rayperf.reports.schema import rounds_in
from pytest_rayperf.results import Operator, Round, Subject
from pytest_rayperf.work.counts import Work, work_from_json

Report = Mapping[str, Any]

_MOST_COMPARISONS = 10**6


@dataclass(frozen=True)
class Reread:
    """One benchmark of a report.

    Attributes:
        id, variant: they name it, together.
        rounds: as they were measured; none where it broke before its first one ended.
        subject: what was measured; None where nothing of it is compared.
        inferred: whether the report has no subject of this benchmark, and that of the run stands for it: what
            the run did not tell is "" there, or 0.
        work, probe, limits, timed, looks, comparisons: as a run's `Benchmark` has them.
        rows_unknown: whether nothing tells how many rows a round gave. Then each has one, until `with_rows`
            gives it what it is compared with.
        verdict: as the report has it.
    """

    id: str
    variant: str | None
    rounds: tuple[Round, ...]
    subject: Subject | None
    inferred: bool
    work: Work | None
    probe: Probe | None
    limits: Mapping[str, float]
    timed: bool
    looks: tuple[int, ...] | None
    comparisons: int | None
    rows_unknown: bool
    verdict: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str | None]:
        """What names it in every report and baseline: a duel of one test has two of its id."""
        return self.id, self.variant


def reread(report: Report, name: str) -> list[Reread]:
    """The benchmarks of a report that `runfile.read_run` has read, in its order.

    Args:
        report: the report.
        name: how messages call it.

    Raises:
        ConfigurationError: a benchmark's rounds cannot be made of what the report says of them.
    """
    inferred = _subject_of_run(report)
    return [
        _reread(benchmark, inferred, f"{name}: benchmarks[{index}]")
        for index, benchmark in enumerate(report["benchmarks"])
    ]


def _reread(benchmark: Mapping[str, Any], of_run: Subject, where: str) -> Reread:
    given = benchmark["subject"]
    # A report of before `subject` has no list of counters by round either.
    old = given is None and not benchmark["counters_by_round"]
    try:
        work = None if benchmark["work"] is None else work_from_json(benchmark["work"], f"{where}.work")
    except BaselineError as error:
        raise ConfigurationError(str(error)) from None
    probe = benchmark["probe"]
    count = rounds_in(benchmark)
    unknown = count > 0 and all(_rows(benchmark, index) is None for index in range(count))
    return Reread(
        id=benchmark["id"],
        variant=benchmark["variant"],
        rounds=tuple(_round(benchmark, index, where, unknown) for index in range(count)),
        subject=of_run if old else None if given is None else Subject(**_of(Subject, given)),
        inferred=old,
        work=work,
        probe=None if probe is None else _probe(probe),
        limits=benchmark["limits"],
        timed=benchmark["timed"],
        looks=_looks(benchmark["looks"], where),
        comparisons=_comparisons(benchmark["comparisons"], where),
        rows_unknown=unknown,
        verdict=benchmark["verdict"],
    )


def _probe(data: Mapping[str, Any]) -> Probe:
    laps = tuple(Lap(**_of(Lap, lap)) for lap in data["between"])
    return replace(Probe(**_of(Probe, data)), between=laps)


def _of(kind: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a dataclass's fields, without what a newer version added."""
    return {field.name: data[field.name] for field in fields(kind) if field.name in data}


def _subject_of_run(report: Report) -> Subject:
    """What the run as a whole measured: as `Resources` makes it of a benchmark's images and model."""
    data, model = report["data"], report["model"]
    return Subject(
        profile=report["profile"],
        data=PurePath(data["name"] or "").name,
        data_fingerprint=data["fingerprint"] or "",
        images=data["images"] or 0,
        model=model["name"] or "",
        weights=model.get("fingerprint") or "",
    )


def as_known(inferred: Subject, known: Subject) -> Subject:
    """The run's subject as far as this benchmark may have had to do with it.

    A test that reads no image, or loads no model, has none in its subject, whatever the run has; and what the
    run does not tell cannot be shown to differ.
    """
    parts = (("data", "data_fingerprint", "images"), ("model", "weights"))
    unused = {name for part in parts if not getattr(known, part[0]) for name in part}
    untold = {field.name for field in fields(Subject) if not getattr(inferred, field.name)}
    return replace(inferred, **{name: getattr(known, name) for name in unused | untold})


def _looks(given: Sequence[int] | None, where: str) -> tuple[int, ...] | None:
    if given is None:
        return None
    looks = tuple(given)
    if list(looks) != sorted(set(looks)) or len(looks) > MOST_ROUNDS:
        raise ConfigurationError(
            f"{where}: looks must be ascending, and at most {MOST_ROUNDS}; make the report anew with: "
            "pytest --rayperf --rayperf-json RUN.json"
        )
    return looks


def _comparisons(given: int | None, where: str) -> int | None:
    if given is not None and given > _MOST_COMPARISONS:
        raise ConfigurationError(
            f"{where}: comparisons must be at most {_MOST_COMPARISONS}, found {given!r:.60}; make the report "
            "anew with: pytest --rayperf --rayperf-json RUN.json"
        )
    return given


# --- rounds


def with_rows(rounds: Sequence[Round], rows: int) -> tuple[Round, ...]:
    """Rounds of `rows` rows each, as fast as these."""
    return tuple(
        replace(r, rows=rows, wall_seconds=rows / speed if (speed := r.throughput) else r.wall_seconds)
        for r in rounds
    )


def _round(benchmark: Mapping[str, Any], index: int, where: str, rows_unknown: bool) -> Round:
    figures = _figures(benchmark, index)
    speed = figures.get(THROUGHPUT.name)
    rows = _rows(benchmark, index)
    if rows is None and rows_unknown and speed:
        rows = 1
    if rows is None:
        raise ConfigurationError(
            f"{where}: how many rows a round gave is not told, neither by counters.rows nor by "
            "rounds.throughput and rounds.wall_seconds; make the report anew with: pytest --rayperf "
            "--rayperf-json RUN.json"
        )
    wall = figures.get(WALL.name)
    if speed is not None and (not wall or _differ(rows / wall, speed)):
        wall = rows / speed if speed > 0 else None
    memory = figures.get(PEAK_MEMORY.name)
    counters = _counters(benchmark, index)
    counters.pop("rows", None)
    made = Round(
        rows=rows,
        wall_seconds=math.nan if wall is None else wall,
        # By row of nobody knows how many they say nothing.
        operators=() if rows_unknown else tuple(_operators(benchmark, index)),
        counters=counters,
        peak_worker_memory=None if memory is None else int(memory),
        disturbed=_at(benchmark["disturbed"], index) or "",
        unseen=_at(benchmark["unseen"], index) or "",
    )
    if _differ(figures.get(CPU_PER_ROW.name), made.cpu_seconds_per_row):
        made = replace(made, operators=tuple(replace(one, cpu_s=None) for one in made.operators))
    if _differ(figures.get(TASKS.name), made.tasks):
        made = replace(made, operators=tuple(replace(one, tasks=None) for one in made.operators))
    # What is computed of the above is not written down twice.
    return replace(made, figures={n: v for n, v in figures.items() if getattr(made, n, None) is None})


def _differ(told: float | None, computed: float | None) -> bool:
    return told is not None and computed is not None and not math.isclose(told, computed, rel_tol=1e-9)


def _figures(benchmark: Mapping[str, Any], index: int) -> dict[str, float]:
    given = {name: _at(benchmark["rounds"].get(name), index) for name in METRICS}
    return {name: value for name, value in given.items() if value is not None}


def _rows(benchmark: Mapping[str, Any], index: int) -> int | None:
    """How many rows a round gave; None where that is not told."""
    rows = _counters(benchmark, index).get("rows")
    figures = _figures(benchmark, index)
    wall, speed = figures.get(WALL.name), figures.get(THROUGHPUT.name)
    if rows is None and wall is not None and speed is not None:
        rows = round(wall * speed)
    return rows


def _counters(benchmark: Mapping[str, Any], index: int) -> dict[str, int]:
    by_round, last = benchmark["counters_by_round"], benchmark["counters"]
    if last and last != _counters_in(by_round, -1):
        return {**_rows_in(by_round, index), **last}
    return _counters_in(by_round, index)


def _counters_in(by_round: Mapping[str, Sequence[int | None]], index: int) -> dict[str, int]:
    counts = {name: _at(values, index) for name, values in by_round.items()}
    return {name: count for name, count in counts.items() if count is not None}


def _rows_in(by_round: Mapping[str, Sequence[int | None]], index: int) -> dict[str, int]:
    return {name: n for name, n in _counters_in(by_round, index).items() if name == "rows"}


def _operators(benchmark: Mapping[str, Any], index: int) -> Sequence[Operator]:
    return [Operator(**_of(Operator, one)) for one in _at(benchmark["operators_by_round"], index) or ()]


def _at(values: Sequence[Any] | None, index: int) -> Any:
    """The entry of a round; None where that version wrote none."""
    return values[index] if values else None

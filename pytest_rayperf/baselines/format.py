"""One baseline as JSON text: written with sorted keys, read strictly.

Raw rounds are kept, not summaries, and each accepted session apart. Format history:

1. `id`, `variant`, `environment`, `subject`, `sessions` (`recorded_at`, `commit`, `software`, `rounds`). What
   came later, and readers of before 0.2 pass over: a round may have `figures` (metric name -> number), an
   operator `blocks`, `bytes_in`, `scheduling_s`, `backpressure_s`, `actors` and `actor_utilization`; of each
   software the last session that counted work has `work` (`pytest_rayperf/work/counts.py`); a session may
   have `probe` (`before_s`, `after_s`, and `memory_before_s`, `memory_after_s` where they were measured;
   `between`, a list of `compute_s` and `memory_s`, where there were laps between its rounds).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from pytest_rayperf.errors import BaselineError
from pytest_rayperf.machine import Environment, Lap, Probe
from pytest_rayperf.results import Operator, Round, Subject
from pytest_rayperf.work.counts import LARGEST, Work, work_from_json, work_to_json

SCHEMA_VERSION = 1

_MOST = 1e18
"""No machine measures more of anything (bytes are the most); what is computed of it stays finite."""

_WALL = (1e-9, 1e12)
"""Seconds that a round can take: a tick of the finest clock to thirty thousand years."""

_MEMORY = ("memory_before_s", "memory_after_s")
"""Of a probe; sessions from before it was measured lack them."""

_MEND = "restore it from git, or delete it and record it anew with --rayperf-update-baselines"


@dataclass(frozen=True)
class Session:
    """One accepted run of one benchmark."""

    recorded_at: str
    commit: str | None
    software: Mapping[str, str | None]
    rounds: tuple[Round, ...]
    work: Work | None = None
    """What the pipeline's work was counted to be; None where it was not."""
    probe: Probe | None = None
    """How fast the machine was at fixed work; None where that was not measured."""


@dataclass(frozen=True)
class Baseline:
    """The contents of one file."""

    id: str
    variant: str | None
    environment: Environment
    subject: Subject
    sessions: tuple[Session, ...]


def to_json(baseline: Baseline) -> str:
    """The text of the file: sorted keys, one value a line, so that git merges and diffs it well."""
    data = {"schema_version": SCHEMA_VERSION, **asdict(replace(baseline, sessions=()))}
    data["sessions"] = [
        {
            "recorded_at": session.recorded_at,
            "commit": session.commit,
            "software": dict(session.software),
            "rounds": [round_to_json(round_) for round_ in session.rounds],
            **({} if session.work is None else {"work": work_to_json(session.work)}),
            **({} if session.probe is None else {"probe": _probe_to_json(session.probe)}),
        }
        for session in baseline.sessions
    ]
    return json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _probe_to_json(probe: Probe) -> dict[str, Any]:
    """What was measured of it."""
    ends, between = asdict(replace(probe, between=())), [_known(asdict(lap)) for lap in probe.between]
    return _known({**ends, "between": between or None})


def _known(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value is not None}


def round_to_json(round_: Round) -> dict[str, Any]:
    """A round as JSON's types."""
    figures = {"figures": dict(round_.figures)} if round_.figures else {}
    return {
        "rows": round_.rows,
        "wall_seconds": round_.wall_seconds,
        "peak_worker_memory": round_.peak_worker_memory,
        "counters": dict(round_.counters),
        **figures,
        "operators": [asdict(operator) for operator in round_.operators],
    }


def round_from_json(data: object, shown: str) -> Round:
    """A round of what `round_to_json` made.

    Raises:
        BaselineError: a part is missing or of a wrong type; `shown` is how the message names its source.
    """
    return _Reader(shown, "is it another version of pytest-rayperf?").round(data, "round")


def read_baseline(path: Path, shown: str) -> Baseline:
    """Read one file.

    Args:
        path: the file.
        shown: how messages name it.

    Raises:
        BaselineError: it cannot be read, is truncated, has a newer schema, or a value of a wrong type.
    """
    if path.exists() and not path.is_file():
        raise BaselineError(f"{shown}: is no file; move it away")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BaselineError(f"{shown}: cannot be read ({error})") from error
    except UnicodeDecodeError as error:
        raise BaselineError(f"{shown}: is not whole JSON ({error}); {_MEND}") from error
    return parse_baseline(text, shown)


def parse_baseline(text: str, shown: str) -> Baseline:
    """Read the text of one file.

    Args:
        text: all of it.
        shown: how messages name it.

    Raises:
        BaselineError: it is truncated, has a newer schema, or a value of a wrong type.
    """
    try:
        data = json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:  # JSONDecodeError; nested too deep
        raise BaselineError(f"{shown}: is not whole JSON ({error}); {_MEND}") from error
    reader = _Reader(shown, _MEND)
    top = reader.mapping(data, "the file")
    version = reader.integer(top.get("schema_version"), "schema_version")
    if version < 1:
        raise reader.fail("schema_version", "1 or more", version)
    if version > SCHEMA_VERSION:
        raise BaselineError(
            f"{shown}: has schema_version {version}, this pytest-rayperf reads up to {SCHEMA_VERSION}; "
            "upgrade pytest-rayperf"
        )
    return reader.baseline(top)


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys stand in it once: of two, left by a merge, one would be lost without a word.

    Raises:
        ValueError: one stands in it twice. It is named.
    """
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"{twice!r} stands in it twice")
    return made


class _Reader:
    """Turns parsed JSON into dataclasses, and says where it cannot."""

    def __init__(self, shown: str, mend: str) -> None:
        self._shown, self._mend = shown, mend

    def fail(self, where: str, wanted: str, found: object) -> BaselineError:
        return BaselineError(f"{self._shown}: {where} must be {wanted}, found {found!r:.60}; {self._mend}")

    def mapping(self, value: object, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.fail(where, "an object", value)
        return value

    def items(self, value: object, where: str) -> list[Any]:
        if not isinstance(value, list) or not value:
            raise self.fail(where, "a list that is not empty", value)
        return value

    def text(self, value: object, where: str) -> str:
        if not isinstance(value, str):
            raise self.fail(where, "a text", value)
        return value

    def integer(self, value: object, where: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.fail(where, "a whole number, 0 or more", value)
        if value > LARGEST:
            raise self.fail(where, "below 2**63", value)
        return value

    def number(self, value: object, where: str) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
            raise self.fail(where, "a number, 0 or more", value)
        if value > _MOST:
            raise self.fail(where, f"at most {_MOST:g}", value)
        return float(value)

    def seconds(self, value: object, where: str) -> float:
        """Of something that took some time."""
        seconds, (least, most) = self.number(value, where), _WALL
        if seconds <= 0:
            raise self.fail(where, "above 0", seconds)
        if not least <= seconds <= most:
            raise self.fail(where, f"from {least:g} to {most:g}", seconds)
        return seconds

    def maybe_text(self, value: object, where: str) -> str | None:
        return None if value is None else self.text(value, where)

    def maybe_integer(self, value: object, where: str) -> int | None:
        return None if value is None else self.integer(value, where)

    def maybe_number(self, value: object, where: str) -> float | None:
        return None if value is None else self.number(value, where)

    def baseline(self, top: dict[str, Any]) -> Baseline:
        sessions = self.items(top.get("sessions"), "sessions")
        return Baseline(
            id=self.text(top.get("id"), "id"),
            variant=self.maybe_text(top.get("variant"), "variant"),
            environment=Environment(**self.record(Environment, top, "environment")),
            subject=Subject(**self.record(Subject, top, "subject")),
            sessions=tuple(self.session(s, f"sessions[{i}]") for i, s in enumerate(sessions)),
        )

    def session(self, value: object, where: str) -> Session:
        data = self.mapping(value, where)
        software = self.mapping(data.get("software"), f"{where}.software")
        rounds = self.items(data.get("rounds"), f"{where}.rounds")
        return Session(
            recorded_at=self.text(data.get("recorded_at"), f"{where}.recorded_at"),
            commit=self.maybe_text(data.get("commit"), f"{where}.commit"),
            software={k: self.maybe_text(v, f"{where}.software.{k}") for k, v in software.items()},
            rounds=tuple(self.round(r, f"{where}.rounds[{i}]") for i, r in enumerate(rounds)),
            work=self.work(data.get("work"), f"{where}.work"),
            probe=self.probe(data.get("probe"), f"{where}.probe"),
        )

    def probe(self, value: object, where: str) -> Probe | None:
        if value is None:
            return None
        data = self.mapping(value, where)
        names, of_lap = ["before_s", "after_s"], ["compute_s"]
        if any(data.get(name) is not None for name in _MEMORY):
            names += _MEMORY  # one of the two alone is as wrong as a missing `after_s`
            of_lap.append("memory_s")
        ends = self.all_seconds(data, names, where)
        laps = [] if data.get("between") is None else data["between"]
        if not isinstance(laps, list):
            raise self.fail(f"{where}.between", "a list", laps)
        between = [
            Lap(**self.all_seconds(self.mapping(lap, at), of_lap, at))
            for i, lap in enumerate(laps)
            for at in [f"{where}.between[{i}]"]
        ]
        return Probe(**ends, between=tuple(between))

    def all_seconds(self, data: Mapping[str, Any], names: Iterable[str], where: str) -> dict[str, float]:
        return {name: self.seconds(data.get(name), f"{where}.{name}") for name in names}

    def work(self, value: object, where: str) -> Work | None:
        return None if value is None else work_from_json(value, f"{self._shown}: {where}")

    def round(self, value: object, where: str) -> Round:
        data = self.mapping(value, where)
        counters = self.mapping(data.get("counters"), f"{where}.counters")
        figures = self.mapping(data.get("figures", {}), f"{where}.figures")
        operators = data.get("operators")
        if not isinstance(operators, list):
            raise self.fail(f"{where}.operators", "a list", operators)
        wall = self.seconds(data.get("wall_seconds"), f"{where}.wall_seconds")
        return Round(
            rows=self.integer(data.get("rows"), f"{where}.rows"),
            wall_seconds=wall,
            peak_worker_memory=self.maybe_integer(
                data.get("peak_worker_memory"), f"{where}.peak_worker_memory"
            ),
            counters={k: self.integer(v, f"{where}.counters.{k}") for k, v in counters.items()},
            figures={k: self.number(v, f"{where}.figures.{k}") for k, v in figures.items()},
            operators=tuple(self.operator(o, f"{where}.operators[{i}]") for i, o in enumerate(operators)),
        )

    def operator(self, value: object, where: str) -> Operator:
        return Operator(**self.record(Operator, {"it": value}, "it", where))

    _BY_ANNOTATION: Mapping[str, str] = {
        "str": "text",
        "str | None": "maybe_text",
        "int": "integer",
        "int | None": "maybe_integer",
        "float | None": "maybe_number",
    }

    def record(
        self, kind: type[Any], parent: dict[str, Any], key: str, where: str | None = None
    ) -> dict[str, Any]:
        """The fields of the flat dataclass `kind`, checked by their annotations."""
        where = where or key
        data = self.mapping(parent.get(key), where)
        return {
            field.name: getattr(self, self._BY_ANNOTATION[str(field.type)])(
                data.get(field.name), f"{where}.{field.name}"
            )
            for field in fields(kind)
        }

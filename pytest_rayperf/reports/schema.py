"""A parsed report, checked by the schema in the package, with what older reports lack filled in.

What reads reports can then rely on every key and every type. Written for the few words that
`report.schema.json` uses: the package that knows them all is not worth a dependency.

Filled in are null where the schema has that, empty lists and objects, and what is in `_MAY_LACK`: the keys
that the design's contract names must be there. A null in the place of a list or an object is as if it were
not there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any

from pytest_rayperf.errors import BaselineError
from pytest_rayperf.results import STATUSES
from pytest_rayperf.slugs import slug_of
from pytest_rayperf.work.counts import work_from_json

Check = Callable[[Any], Any]
"""Takes a value, and gives it with what it lacked. Raises Unfit."""

LARGEST = 1e100
"""No machine has a figure beyond it, and what is computed of several stays finite."""

_DEEPEST = 40  # levels of an object that the schema leaves open

_MAY_LACK: Mapping[str, Mapping[str, Any]] = {
    "environment": {
        "cpu_model": "",
        "system": "",
        "machine": "",
        "gpu_count": None,
        "cores": None,
        "memory_bytes": None,
    },
    "benchmark": {"slug": None, "timed": True},  # the slug follows from the id
    "duel": {"reason": ""},
    "summary": dict.fromkeys(STATUSES),  # counted
}
"""By name of the object: what it may lack although the schema wants it, and what is then put there."""


_MUST_HAVE: Mapping[str, frozenset[str]] = {
    "report": frozenset({"benchmarks"}),
    "benchmark": frozenset({"rounds"}),
}
"""The lists and objects that no report can do without."""


class Unfit(ValueError):
    """What is wrong, and where; `text()` says both."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self._problem = problem
        self._path: list[str] = []

    def within(self, step: str) -> Unfit:
        """The same, seen from one level further up."""
        self._path.append(step)
        return self

    def text(self) -> str:
        """`benchmarks[0].rounds.throughput must be a list, found '40'`."""
        return f"{''.join(reversed(self._path)).removeprefix('.') or 'the report'} {self._problem}"


def conform(report: object) -> dict[str, Any]:
    """The report with every key that the schema wants.

    Raises:
        Unfit: a key of the contract is missing, or a value is of another type than the schema says.
    """
    checked: dict[str, Any] = _report()(report)
    benchmarks: list[dict[str, Any]] = checked["benchmarks"]
    for index, benchmark in enumerate(benchmarks):
        problem = _uneven(benchmark) or _not_work(benchmark["work"])
        if problem:
            raise Unfit(problem).within(f".benchmarks[{index}]")
    times_measured = Counter(b["id"] for b in benchmarks)
    counted = Counter(b["verdict"]["status"] for b in benchmarks)
    for b in benchmarks:
        if b["slug"] is None:
            of_two = times_measured[b["id"]] > 1 and b["variant"]
            b["slug"] = slug_of(b["id"]) + (f"-{b['variant']}" if of_two else "")
    summary = checked["summary"]
    checked["summary"] = {s: counted[s] if summary[s] is None else summary[s] for s in STATUSES}
    return checked


def rounds_in(benchmark: Mapping[str, Any]) -> int:
    """How many rounds a benchmark of a report has."""
    return max(map(len, _by_round(benchmark).values()), default=0)


def _by_round(benchmark: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The lists that have an entry a round; what is empty was not written by that version."""
    lists = {f"rounds.{name}": figures for name, figures in benchmark["rounds"].items()}
    lists |= {f"counters_by_round.{name}": c for name, c in benchmark["counters_by_round"].items()}
    lists |= {name: benchmark[name] for name in ("operators_by_round", "disturbed", "unseen", "nodes")}
    return {name: entries for name, entries in lists.items() if entries}


def _uneven(benchmark: Mapping[str, Any]) -> str | None:
    lists = _by_round(benchmark)
    if len({len(entries) for entries in lists.values()}) > 1:
        counts = {len(entries): name for name, entries in lists.items()}
        told = " and ".join(f"{count} in {name}" for count, name in sorted(counts.items()))
        return f"has not one number of rounds: {told}"
    seen = benchmark["utilization"]
    if seen is not None:
        tracks = [seen["cpu"], seen["others"], *seen["gpus"].values()]
        if any(len(track) != len(seen["seconds"]) for track in tracks):
            return "has a utilization with more or fewer figures than seconds"
        if seen["round"] >= max(1, rounds_in(benchmark)):
            return f"has the utilization of round {seen['round']}, which is none of its rounds"
    return None


def _not_work(work: object) -> str | None:
    """Why it cannot be what `work_to_json` wrote; that has the say in what it looks like."""
    try:
        if work is not None:
            work_from_json(work, "has work:")
    except BaselineError as error:
        return str(error).partition(";")[0]
    return None


# --- the schema, as functions


@lru_cache(maxsize=1)
def _report() -> Check:
    schema = json.loads(
        files("pytest_rayperf.reports").joinpath("report.schema.json").read_text(encoding="utf-8")
    )
    return _Compiler(schema["$defs"]).check_of(schema, "report")


class _Compiler:
    """Turns parts of the schema into functions.

    Args:
        definitions: `$defs`.
    """

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._made: dict[str, Check] = {}

    def check_of(self, schema: Mapping[str, Any], name: str) -> Check:
        """The check of what is called `name`."""
        if "$ref" in schema:
            return self._defined(schema["$ref"].rpartition("/")[2])
        if "anyOf" in schema:  # something, or null
            return _or_null(self.check_of(schema["anyOf"][0], name))
        if "enum" in schema:
            return _one_of(schema["enum"])
        if "const" in schema:
            return _one_of([schema["const"]])
        kinds = _kinds(schema)
        if kinds == ["object"]:
            return self._object(schema, name)
        if kinds == ["array"]:
            least, most = schema.get("minItems", 0), schema.get("maxItems")
            return _list_of(self.check_of(schema.get("items", {}), name), least, most)
        if "object" in kinds:
            return _or_null(_anything)
        return _plain(kinds, schema.get("minimum"), schema.get("exclusiveMinimum"))

    def _defined(self, name: str) -> Check:
        if name not in self._made:
            self._made[name] = self.check_of(self._definitions[name], name)
        return self._made[name]

    def _object(self, schema: Mapping[str, Any], name: str) -> Check:
        of_each = schema.get("additionalProperties")
        if of_each is not None:
            return _mapping_of(self.check_of(of_each, name))
        known = schema.get("properties")
        if known is None:
            return _anything
        checks = {key: self.check_of(one, key) for key, one in known.items()}
        wanted = set(schema.get("required", ()))
        may_lack = _MAY_LACK.get(name, {})
        absent = {key: _absent(self._resolved(known[key]), checks[key]) for key in wanted - may_lack.keys()}
        absent |= dict.fromkeys(_MUST_HAVE.get(name, ()), _missing)

        def check(value: Any) -> dict[str, Any]:
            if not isinstance(value, dict):
                raise _unlike("an object", value)
            found = dict(value)
            for key, one in checks.items():
                given = value.get(key)
                try:
                    if given is not None or (key in value and key not in absent and key not in may_lack):
                        found[key] = one(given)
                    elif key in absent:
                        found[key] = absent[key]()
                    elif key in may_lack:
                        found[key] = may_lack[key]
                except Unfit as unfit:
                    raise unfit.within(f".{key}") from None
            return found

        return check

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in schema:
            schema = self._definitions[schema["$ref"].rpartition("/")[2]]
        return schema


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _absent(schema: Mapping[str, Any], check: Check) -> Callable[[], Any]:
    """What is put where nothing is, or null."""
    if "anyOf" in schema or "null" in _kinds(schema) or None in schema.get("enum", ()):
        return lambda: None
    if _kinds(schema) == ["array"] and not schema.get("minItems"):
        return list
    if _kinds(schema) == ["object"]:
        return lambda: check({})  # which may in turn want something

    return _missing


def _missing() -> Any:
    raise Unfit("is missing")


def _unlike(wanted: str, found: object) -> Unfit:
    return Unfit(f"must be {wanted}, found {found!r:.60}")


def _or_null(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _one_of(values: list[Any]) -> Check:
    wanted = "one of " + ", ".join("null" if value is None else str(value) for value in values)

    def check(value: Any) -> Any:
        if isinstance(value, bool | list | dict | float) or value not in values:
            raise _unlike(wanted, value)
        return value

    return check


def _list_of(check_one: Check, least: int, most: int | None) -> Check:
    def check(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise _unlike("a list", value)
        if len(value) < least or (most is not None and len(value) > most):
            raise _unlike(f"a list of {least}", value)
        found = []
        for one in value:
            try:
                found.append(check_one(one))
            except Unfit as unfit:
                raise unfit.within(f"[{len(found)}]") from None
        return found

    return check


def _mapping_of(check_one: Check) -> Check:
    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _unlike("an object", value)
        found = {}
        for key, one in value.items():
            try:
                found[key] = check_one(one)
            except Unfit as unfit:
                raise unfit.within(f".{key}") from None
        return found

    return check


def _anything(value: Any) -> Any:
    """An object that the schema leaves open."""
    if not isinstance(value, dict):
        raise _unlike("an object", value)
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return value
    raise Unfit(f"has more than {_DEEPEST} levels")


_WORDS = {
    "string": "a text",
    "boolean": "true or false",
    "number": "a number",
    "integer": "a whole number",
    "null": "null",
}


def _plain(kinds: list[str], least: float | None, above: float | None) -> Check:
    words = [_WORDS[kind] for kind in kinds]
    limits = [f"{least:g} or more"] if least is not None else []
    limits += [f"above {above:g}"] if above is not None else []
    wanted = " or ".join(words) + "".join(f", {limit}" for limit in limits)
    texts, switches, nulls = ("string" in kinds), ("boolean" in kinds), ("null" in kinds)
    numbers, whole = ("number" in kinds or "integer" in kinds), ("number" not in kinds)

    def check(value: Any) -> Any:
        kind = type(value)
        if kind is float or kind is int:
            if numbers and not -LARGEST < value < LARGEST:
                raise _unlike(f"within {LARGEST:g}", value)
            if not numbers or (whole and value != int(value)):
                raise _unlike(wanted, value)
            if (least is not None and value < least) or (above is not None and value <= above):
                raise _unlike(wanted, value)
            return int(value) if whole else value
        fits = (kind is str and texts) or (kind is bool and switches) or (value is None and nulls)
        if not fits:
            raise _unlike(wanted, value)
        return value

    return check

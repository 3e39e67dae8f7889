"""Reports with something wrong in them, anywhere: what the tests of their readers share."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Path = tuple[Any, ...]

_INSTEAD = (
    None,
    True,
    0,
    -1,
    2,
    0.5,
    1e99,
    1e-300,
    1e308,
    10**40,
    "",
    "x",
    "\ud800",
    [],
    [1],
    [None],
    {},
    {"a": 1},
)


_CONTRACT = {
    "run": "schema_version started_at duration_s environment software profile data model policy benchmarks "
    "duels summary",
    "benchmark": "id antipattern variant rounds metrics counters operators verdict baseline",
    "verdict": "status metric ratio ci threshold mde reason",
    "operator": "name wall_s cpu_s udf_s rows bytes tasks",
    "duel": "antipattern metric ratio ci floor outputs_equal status",
    "environment": "id cpu_model cores",
}


def contract_alone(report: Any) -> Any:
    """What the design's contract names, and not a key more."""

    def only(data: Any, part: str) -> Any:
        return {key: data[key] for key in _CONTRACT[part].split()}

    made = only(copy.deepcopy(report), "run")
    made["environment"] = only(made["environment"], "environment")
    made["benchmarks"] = [only(benchmark, "benchmark") for benchmark in made["benchmarks"]]
    for benchmark in made["benchmarks"]:
        benchmark["verdict"] = only(benchmark["verdict"], "verdict")
        benchmark["operators"] = [only(operator, "operator") for operator in benchmark["operators"]]
    made["duels"] = [only(duel, "duel") for duel in made["duels"]]
    return made


def paths_in(value: Any, here: Path = ()) -> Iterator[Path]:
    """The place of everything in it."""
    if here:
        yield here
    if isinstance(value, dict):
        for key, one in value.items():
            yield from paths_in(one, (*here, key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from paths_in(one, (*here, index))


class Mutation:
    """A report with what is at `path` removed, or something else instead."""

    def __init__(self, report: Any, path: Path, remove: bool, instead: Any) -> None:
        self.report, self.path, self.remove, self.instead = report, path, remove, instead

    def __repr__(self) -> str:
        return f"{self.path}: {'removed' if self.remove else self.instead!r}"

    def made(self) -> Any:
        """The changed report; what is beside the path is shared with the other."""
        made = at = copy.copy(self.report)
        for step in self.path[:-1]:
            at[step] = copy.copy(at[step])
            at = at[step]
        if self.remove:
            del at[self.path[-1]]
        else:
            at[self.path[-1]] = self.instead
        return made


def mutations_of(report: Any) -> st.SearchStrategy[Mutation]:
    """Reports that differ from this one in one place.

    Each kind of place (whichever the index) is as likely as any other: else nearly all of them would be
    figures of rounds.
    """
    plain = json.loads(json.dumps(report))
    kinds: dict[Path, list[Path]] = {}
    for path in paths_in(plain):
        kinds.setdefault(tuple("*" if isinstance(step, int) else step for step in path), []).append(path)
    places = st.sampled_from(sorted(kinds, key=str)).flatmap(lambda kind: st.sampled_from(kinds[kind]))
    # Not `st.builds`, which would show the whole report of each example that fails.
    return st.tuples(places, st.booleans(), st.sampled_from(_INSTEAD)).map(lambda one: Mutation(plain, *one))

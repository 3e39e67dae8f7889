"""What a pipeline's operators did for their rows, counted: torch calls, FLOPs, Python calls, bytes, sleep.

The data that counting makes and comparing reads, and its JSON. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_rayperf.errors import BaselineError, RayperfError

PYTHON_CALLS = "python_calls"
"""Entries into Python functions, each resumption of a generator too; not into functions written in C."""

TORCH_CALLS = "torch_calls"
"""Calls of torch operators, composite ones taken apart into what they call."""

FLOPS = "flops"
"""Floating-point operations, by the formulas of `torch.utils.flop_counter`: multiply and add are two."""

ALLOCATED_BYTES = "allocated_bytes"
"""Bytes of NumPy's arrays, and of the storages of what torch operators return. Not what they use within, and
neither Arrow's, Pillow's nor Python's own objects: the first two do not tell, the last vary."""

FILES_OPENED = "files_opened"
"""Files opened by Python (its audit event `open`) or by Ray Data's file readers."""

BYTES_READ = "bytes_read"
"""Bytes that `read` calls of the UDF's thread returned (Linux's `rchar`), from cache or disk alike."""

SLEPT_MICROSECONDS = "slept_microseconds"
"""What `time.sleep` was asked for by the UDF's thread. Not what it waits for otherwise: a lock, a socket."""

DEVICE = "device"
"""Beside the software: "gpu" where the pipeline claims one. A model that moves there calls torch for it."""

GATING_SOFTWARE = (
    *("python", "ray", "torch", "torchvision", "numpy", "pandas", "pyarrow", "pillow", "machine"),
    DEVICE,
)
"""Where one of these differs, counts differ without anybody's doing."""

LARGEST = 2**63 - 1
"""Nothing counts beyond it, and what is computed of such numbers stays a float."""

KEPT_CALLS = 60
"""How many functions `OperatorWork.calls` names, the most called first."""


class WorkUncountable(RayperfError):
    """A pipeline's work cannot be counted in one pass; the text says why."""


@dataclass(frozen=True)
class OperatorWork:
    """What one operator did in one pass.

    name: Ray Data's, unfused (`MapBatches(Classifier)`); a second one of that name has ` #2` behind it.
    rows: that went in; of a read, that came out.
    construction: counter -> amount while the UDF's class was constructed, once; empty for a function.
    counts: counter -> amount over all `rows`.
    calls: function -> entries over all `rows`, of the `KEPT_CALLS` most entered, of a construction none.
    direct: the same of the user's own functions, which are in neither Python's library nor an installed
        package, and of what they call themselves. All of them.
    """

    name: str
    rows: int
    construction: Mapping[str, int]
    counts: Mapping[str, int]
    calls: Mapping[str, int]
    direct: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What a pipeline did in one pass.

    operators: in the order of the pipeline.
    software: versions that counts depend on, by name (`GATING_SOFTWARE`); what is not there is not in it.
    undetermined: what was left out, each with its reason, in words (`left_out`).
    """

    operators: tuple[OperatorWork, ...]
    software: Mapping[str, str]
    undetermined: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows of the data the pass was over; 0 where there is no operator.

        Counts of other rows are none of the same: what is done once a block is shared by more, or by fewer.
        """
        # What lists files gets paths; the read behind it gives the rows.
        return next((one.rows for one in self.operators if one.name != "ListFiles"), 0)

    def tells_of(self, counter: str) -> bool:
        """Whether any operator has it, or it is said why one has not."""
        return any(counter in one.counts or counter in one.construction for one in self.operators) or any(
            f": {counter}: " in note for note in self.undetermined
        )


def left_out(operator: str, counter: str, why: str, *, construction: bool = False) -> str:
    """That a counter of an operator, or of its UDF's construction, is not told."""
    return f"{operator}{', construction' if construction else ''}: {counter}: {why}"


def work_to_json(work: Work) -> dict[str, Any]:
    """As JSON's types; `work_from_json` makes an equal one of it."""
    return {
        "operators": [
            {
                "name": operator.name,
                "rows": operator.rows,
                "construction": dict(operator.construction),
                "counts": dict(operator.counts),
                "calls": dict(operator.calls),
                "direct": dict(operator.direct),
            }
            for operator in work.operators
        ],
        "software": dict(work.software),
        "undetermined": list(work.undetermined),
    }


def work_from_json(data: object, where: str = "work") -> Work:
    """Read what `work_to_json` made.

    Args:
        data: parsed JSON.
        where: how messages name it.

    Raises:
        BaselineError: a part is missing or of a wrong type; the text says which.
    """
    top = _mapping(data, where)
    operators = _list(top.get("operators"), f"{where}.operators")
    software = _mapping(top.get("software"), f"{where}.software")
    notes = _list(top.get("undetermined"), f"{where}.undetermined")
    return Work(
        operators=tuple(_operator(each, f"{where}.operators[{i}]") for i, each in enumerate(operators)),
        software={name: _text(value, f"{where}.software.{name}") for name, value in software.items()},
        undetermined=tuple(_text(note, f"{where}.undetermined[{i}]") for i, note in enumerate(notes)),
    )


def merge_passes(passes: Sequence[Work]) -> Work:
    """One `Work` of several passes over the same rows: what all of them agree on.

    A counter that differs is left out and named in `undetermined` with its values. Of a function whose
    entries differ the fewest are kept, for they explain and do not gate.

    Raises:
        WorkUncountable: the passes differ in their operators, or in the rows that these got.
        ValueError: there is no pass.
    """
    if not passes:
        raise ValueError("there is no pass to merge")
    first, *others = passes
    shape = [(operator.name, operator.rows) for operator in first.operators]
    for other in others:
        found = [(operator.name, operator.rows) for operator in other.operators]
        if found != shape:
            raise WorkUncountable(
                f"two passes over the same rows had different operators or rows: {_shown(shape)} and "
                f"{_shown(found)}; does a UDF drop rows at random?"
            )
    notes = list(dict.fromkeys(note for one in passes for note in one.undetermined))
    operators = []
    for same in zip(*(one.operators for one in passes), strict=True):
        name = same[0].name
        construction, varying = _agreed([operator.construction for operator in same])
        notes += [left_out(name, *one, construction=True) for one in varying.items()]
        counts, varying = _agreed([operator.counts for operator in same])
        notes += [left_out(name, *one) for one in varying.items()]
        calls = _fewest([operator.calls for operator in same])
        direct = _fewest([operator.direct for operator in same])
        operators.append(OperatorWork(name, same[0].rows, construction, counts, calls, direct))
    return Work(tuple(operators), first.software, tuple(notes))


def _agreed(versions: Sequence[Mapping[str, int]]) -> tuple[dict[str, int], dict[str, str]]:
    """The entries that all versions have alike, and the others' values in words."""
    agreed, varying = {}, {}
    for key in sorted(set().union(*versions)):
        values = [version.get(key) for version in versions]
        if len(set(values)) == 1 and values[0] is not None:
            agreed[key] = values[0]
        else:
            shown = dict.fromkeys("not counted" if value is None else str(value) for value in values)
            varying[key] = " or ".join(shown)
    return agreed, varying


def _fewest(versions: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {
        key: min(version[key] for version in versions if key in version)
        for key in sorted(set().union(*versions))
    }


def _shown(shape: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {rows} rows" for name, rows in shape) or "none"


def _operator(data: object, where: str) -> OperatorWork:
    top = _mapping(data, where)
    return OperatorWork(
        name=_text(top.get("name"), f"{where}.name"),
        rows=_whole(top.get("rows"), f"{where}.rows"),
        construction=_amounts(top.get("construction"), f"{where}.construction"),
        counts=_amounts(top.get("counts"), f"{where}.counts"),
        calls=_amounts(top.get("calls"), f"{where}.calls"),
        direct=_amounts(top.get("direct"), f"{where}.direct"),
    )


def _amounts(data: object, where: str) -> dict[str, int]:
    return {name: _whole(value, f"{where}.{name}") for name, value in _mapping(data, where).items()}


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    return value


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(where, "a list", value)
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong(where, "a text", value)
    return value


def _whole(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _wrong(where, "a whole number, 0 or more", value)
    if value > LARGEST:
        raise _wrong(where, "below 2**63", value)
    return value


def _wrong(where: str, wanted: str, found: object) -> BaselineError:
    return BaselineError(f"{where} must be {wanted}, found {found!r:.60}; record it anew")

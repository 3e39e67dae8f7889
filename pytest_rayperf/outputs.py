"""Whether two variants computed the same: the same rows, in any order."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_rayperf.measurement import Outputs

RELATIVE = 1e-3
ABSOLUTE = 1e-5
"""Floats may differ by rounding: a convolution sums in another order for another batch size."""

_FLOATS = " (its floats)"
_LONG = 160


def difference(
    one: Outputs,
    other: Outputs,
    columns: tuple[str, ...] | None = None,
    *,
    sides: tuple[str, str] = ("the anti-pattern", "the fix"),
    tolerance: float = RELATIVE,
    label_tolerance: float = 0.0,
) -> str | None:
    """The first difference in words, None where there is none.

    Integers, booleans, texts, bytes and times must be equal, but for a share `label_tolerance` of an integer
    column's rows; floats, those in lists, dicts and ragged tensors too, within a relative `tolerance` and an
    absolute 1e-5; of tensors the shape as well. Rows are matched by their exact
    columns (the text with most values in common first, so by path), floats breaking ties.

    Args:
        one, other: column name -> array of N rows (any trailing shape).
        columns: compare these only; by default all, and both must have the same ones.
        sides: what the two are called in the text.
        tolerance: relative, of floats.
        label_tolerance: share of the rows, 0 to 1, that may have another integer: where two classes are
            nearly tied, rounding says which is the larger.
    """
    names = columns or tuple(sorted(set(one) | set(other)))
    for name in names:
        if name not in one or name not in other:
            side = sides[0] if name not in one else sides[1]
            return f"column {name!r} is missing in {side} (columns to compare: outputs=(...))"
    counts = [len(next(iter(side.values()), ())) for side in (one, other)]
    if counts[0] != counts[1]:
        return f"{counts[0]} rows in {sides[0]}, {counts[1]} in {sides[1]}"
    for name in names:
        a, b = (np.asarray(side[name]) for side in (one, other))
        if counts[0] and object not in (a.dtype, b.dtype) and a.shape[1:] != b.shape[1:]:
            return f"column {name!r} has shape {a.shape[1:]} a row in {sides[0]}, {b.shape[1:]} in {sides[1]}"
    flat = [{name: _flatten(np.asarray(side[name])) for name in names} for side in (one, other)]
    _part_floats(flat)
    order = sorted(flat[0], key=lambda name: _sureness(name, flat[0][name], flat[1][name]))
    left, right = (_canonical({name: side[name] for name in order}) for side in flat)
    for name in order:
        text = _column_difference(name, left, right, sides, tolerance, label_tolerance)
        if text:
            return text
    return None


def _sureness(name: str, left: NDArray[Any], right: NDArray[Any]) -> tuple[int, int, str]:
    """Texts first, and of those the one with the most values that both sides have: a path before a label."""
    rank = _rank(left)
    countable = rank < 2 and left.dtype.kind == right.dtype.kind
    return rank, -len(np.intersect1d(left, right)) if countable else 0, name


def _canonical(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The columns with their rows sorted, by the first column first."""
    keys = [_sort_key(values) for values in reversed(columns.values())]
    floats = [key for key in keys if key.dtype.kind == "f"]
    # Rounded, so that two floats that count as equal do not order their rows differently; what then still
    # ties is ordered by the floats themselves. (np.round overflows above the limits.)
    rounded = [np.round(np.clip(key, -1e300, 1e300), 2) if key.dtype.kind == "f" else key for key in keys]
    order = np.lexsort([*floats, *rounded]) if keys else slice(None)
    return {name: values[order] for name, values in columns.items()}


def _part_floats(sides: list[dict[str, NDArray[Any]]]) -> None:
    """Of columns of objects (lists, dicts, ragged tensors): a column of what is exact, and one of the floats.

    The latter has a row's floats, in order, as an array; how many there are is exact.
    """
    for name in list(sides[0]):
        objects = [side for side in sides if side[name].dtype == object]
        floats = [_take_floats(side, name) for side in objects]
        if len(objects) == len(sides) and any(len(row) for rows in floats for row in rows):
            for side, rows in zip(sides, floats, strict=True):
                side[name + _FLOATS] = np.empty(len(rows), dtype=object)
                for index, row in enumerate(rows):  # at once, rows of one length would become a matrix
                    side[name + _FLOATS][index] = row


def _take_floats(side: dict[str, NDArray[Any]], name: str) -> list[NDArray[Any]]:
    """The floats of each row; the column becomes what is left."""
    texts, floats = [], []
    for value in side[name]:
        own: list[float] = []
        texts.append(_shortened(_parted(value, own)))
        floats.append(np.array(own, dtype=np.float64))
    side[name] = np.array(texts, dtype=str)
    return floats


def _shortened(text: str) -> str:
    """A long one by its beginning and a hash: an array of texts has room for the longest in each row."""
    if len(text) <= _LONG:
        return text
    return f"{text[:_LONG]}... {hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()}"


def _parted(value: Any, floats: list[float]) -> str:
    """What is exact of `value`, as text; its floats go into `floats`."""
    if isinstance(value, str):
        return value
    if isinstance(value, float | np.floating):
        floats.append(float(value))
        return "~"
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f":
            floats.extend(value.ravel().tolist())
            return f"floats{value.shape}"
        if value.dtype != object:
            return f"{value.dtype}{value.shape}{value.tolist()!r}"
        return f"array{value.shape}[{', '.join(_inner(each, floats) for each in value.ravel())}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {_inner(each, floats)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}[{', '.join(_inner(each, floats) for each in value)}]"
    return repr(value)


def _inner(value: Any, floats: list[float]) -> str:
    return repr(value) if isinstance(value, str) else _parted(value, floats)


def _flatten(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype == object:
        return values
    if values.ndim == 1:
        return values
    rows = values.reshape(len(values), math.prod(values.shape[1:]))  # -1 fails where there are no rows
    if rows.dtype.kind == "f":
        return rows
    if rows.dtype.kind in "iub":
        rows = rows.astype(np.int64)  # of equal values the width does not matter, as in plain columns
    texts = [_shortened(f"{values.shape[1:]} {row.tobytes().hex()}") for row in rows]
    return np.array(texts, dtype=str)


def _rank(values: NDArray[Any]) -> int:
    return {"U": 0, "S": 0, "f": 2, "O": 2}.get(values.dtype.kind, 1)


def _sort_key(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype == object:
        factors = np.random.default_rng(0).standard_normal(max(map(len, values), default=0))
        with np.errstate(all="ignore"):
            return np.array([(row * factors[: len(row)]).sum() for row in values])
    if values.dtype.kind != "f":
        return values
    numbers = values.astype(np.float64)
    if values.ndim > 1:
        # One number a row. Not its sum: that is 1 for any row of probabilities.
        weights = np.random.default_rng(0).standard_normal(values.shape[1])
        with np.errstate(all="ignore"):  # infinities make it NaN, which sorts too
            numbers = (numbers * weights).sum(axis=1)
    return numbers


def _column_difference(
    name: str,
    left: dict[str, NDArray[Any]],
    right: dict[str, NDArray[Any]],
    sides: tuple[str, str],
    tolerance: float,
    label_tolerance: float,
) -> str | None:
    a, b = left[name], right[name]
    if a.dtype == object:  # ragged; the lengths are equal, for what is exact is
        pairs = zip(a, b, strict=True)
        same = np.array([bool(_close(one, other, tolerance).all()) for one, other in pairs])
    elif a.dtype.kind == "f" and b.dtype.kind == "f":
        near = _close(a, b, tolerance)
        same = near if near.ndim == 1 else np.asarray(near.all(axis=1))
    elif (a.dtype.kind in "US") != (b.dtype.kind in "US"):
        return f"column {name!r} is {a.dtype} in {sides[0]}, {b.dtype} in {sides[1]}"
    else:
        same = np.asarray(a == b)
        if a.dtype.kind == b.dtype.kind and a.dtype.kind in "mM":
            same |= np.isnat(a) & np.isnat(b)
    labels = a.dtype.kind in "iu" and b.dtype.kind in "iu"
    if (~same).sum() <= (label_tolerance * len(same) if labels else 0):
        return None
    row = int(np.flatnonzero(~same)[0])
    within = {name, name.removesuffix(_FLOATS)}
    where = next((f" of {left[n][row]}" for n in left if n not in within and _rank(left[n]) == 0), "")
    return (
        f"column {name!r} differs in {int((~same).sum())} of {len(same)} rows, first{where}: "
        f"{_brief(a[row])} in {sides[0]}, {_brief(b[row])} in {sides[1]}"
    )


def _close(one: NDArray[Any], other: NDArray[Any], tolerance: float) -> NDArray[np.bool_]:
    with np.errstate(over="ignore"):
        return np.asarray(np.isclose(one, other, rtol=tolerance, atol=ABSOLUTE, equal_nan=True))


def _brief(value: Any) -> str:
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 60 else text[:57] + "..."

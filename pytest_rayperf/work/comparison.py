"""Two counts of one pipeline's work -> what it does more of, or less, a row, and through which functions.

Counts have no noise: what differs, differs. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from pytest_rayperf.work.counts import (
    ALLOCATED_BYTES,
    GATING_SOFTWARE,
    KEPT_CALLS,
    PYTHON_CALLS,
    OperatorWork,
    Work,
)

MARGINS: Mapping[str, float] = {ALLOCATED_BYTES: 0.005, PYTHON_CALLS: 0.01}
"""Relative differences that say nothing; 0 for all other counters.

A helper that is taken out of a function, or a comprehension in place of a loop, is a Python call more each
time, and makes nothing slow. Who calls something costly in it is told by what that does, or by the times.

Texts in NumPy's arrays are as wide as the longest: images in a folder with a longer name allocate more bytes
for their paths. A path of 300 characters is 1.2 kB, 0.2 % of a decoded 500 x 375 image."""

OPERATORS = "operators"
"""As a change's counter: there is one operator more, or less."""

_LABELS = {
    PYTHON_CALLS: "Python calls",
    "torch_calls": "torch calls",
    "flops": "FLOPs",
    ALLOCATED_BYTES: "allocated bytes",
    "files_opened": "files opened",
    "bytes_read": "bytes read",
    "slept_microseconds": "microseconds slept",
    "model_loads": "model loads",
}
_NAMED_FUNCTIONS = 4


@dataclass(frozen=True)
class WorkChange:
    """One counter of one operator that changed.

    operator: its name now; in the earlier count where it is no longer there.
    counter: `flops`, `python_calls`, ... or a UDF's own; `rows` (the operator got more or fewer of them), or
        `operators`.
    unit: what `now` and `then` are of: `a row`, `a construction` of the UDF, `a pass`.
    now, then: amounts; None where one side does not have the operator.
    gates: whether it is a fault of the pipeline's: False where the software differs, or the rows.
    explanation: the change in words, with the functions whose calls changed most.
    """

    operator: str
    counter: str
    unit: str
    now: float | None
    then: float | None
    gates: bool
    explanation: str

    @property
    def ratio(self) -> float | None:
        """`now` over `then`; None where `then` is 0 or one of them is None."""
        return None if self.now is None or not self.then else self.now / self.then

    @property
    def regression(self) -> bool:
        """More work than before. Less is an improvement."""
        return (self.now or 0) > (self.then or 0)


def compare_work(now: Work, then: Work) -> tuple[WorkChange, ...]:
    """What changed, by operator in the pipeline's order; empty where nothing did.

    Amounts a row are compared, exactly but for `MARGINS`. A counter that one side does not have is passed
    over; `not_compared` names it. Passes over other rows do not gate: what is done once a block makes more
    or less a row then.
    """
    differences = list(software_differences(now, then))
    aside = f" (with other software: {', '.join(differences)})" if differences else ""
    if now.rows != then.rows:
        aside += f" (of other rows: {then.rows} -> {now.rows})"
    gates = not aside
    changes: list[WorkChange] = []
    for new, old in _pairs(now.operators, then.operators):
        if new is None or old is None:
            changes.append(_one_sided(new, old, gates, aside))
            continue
        changes += _changes(new, old, gates, aside)
    return tuple(changes)


def rows_to_count_again(now: Work, then: Work) -> int | None:
    """How many rows of the data `now` must be counted over to be compared with `then`; None if it was.

    It is counted as it was when that was recorded, first: asked for as many rows as a short data set has, a
    pass would not come to the end of the data, which is work too.
    """
    return then.rows if 0 < then.rows != now.rows else None


def counts_more(now: Work, then: Work) -> bool:
    """Whether `now` has a counter of which `then` tells nothing: it was not counted then."""
    counters = {name for operator in now.operators for name in (*operator.counts, *operator.construction)}
    return not all(then.tells_of(counter) for counter in counters)


def same_code(one: Work, other: Work) -> bool:
    """Whether the user's own functions were called as often a row, in the same operators.

    So that what was counted with other software is of the code that there is now, as far as that shows.
    """
    return [_own_calls(operator) for operator in one.operators] == [
        _own_calls(operator) for operator in other.operators
    ]


def _own_calls(operator: OperatorWork) -> tuple[str, dict[str, Fraction]]:
    rows = max(1, operator.rows)
    return operator.name, {name: Fraction(calls, rows) for name, calls in operator.direct.items()}


def not_compared(now: Work, then: Work) -> tuple[str, ...]:
    """The counters that only one of the two has, in words, such as those left out as undetermined."""
    missing = []
    for new, old in _pairs(now.operators, then.operators):
        if new is None or old is None:
            continue
        for kind in ("construction", "counts"):
            ours: Mapping[str, int] = getattr(new, kind)
            theirs: Mapping[str, int] = getattr(old, kind)
            for counter in sorted(ours.keys() ^ theirs.keys()):
                side = "now" if counter in theirs else "then"
                of = "a construction's " if kind == "construction" else ""
                missing.append(f"{new.name}: {of}{label(counter)} not counted {side}")
    return tuple(missing)


def software_differences(now: Work, then: Work) -> tuple[str, ...]:
    """What counts depend on and is not the same: ("torch 2.6.0 -> 2.7.0", ...)."""
    return tuple(
        f"{name} {then.software.get(name, 'none')} -> {now.software.get(name, 'none')}"
        for name in GATING_SOFTWARE
        if now.software.get(name) != then.software.get(name)
    )


def label(counter: str) -> str:
    """How a counter is called in a sentence."""
    return _LABELS.get(counter, counter.replace("_", " "))


def _pairs(
    now: tuple[OperatorWork, ...], then: tuple[OperatorWork, ...]
) -> Iterator[tuple[OperatorWork | None, OperatorWork | None]]:
    """Operators by name; of the rest, if they are as many, the first was renamed to the first, and so on."""
    by_name = {operator.name: operator for operator in then}
    names = {operator.name for operator in now}
    rest = [operator for operator in then if operator.name not in names]
    renamed = len(rest) == len([operator for operator in now if operator.name not in by_name])
    for operator in now:
        if operator.name in by_name:
            yield operator, by_name[operator.name]
        elif renamed:
            yield operator, rest.pop(0)
        else:
            yield operator, None
    for operator in rest:
        yield None, operator


def _one_sided(new: OperatorWork | None, old: OperatorWork | None, gates: bool, aside: str) -> WorkChange:
    one = new if new is not None else old
    assert one is not None
    what = "is new, with all its work" if new is not None else "is gone, with all its work"
    return WorkChange(
        operator=one.name,
        counter=OPERATORS,
        unit="a pass",
        now=None if new is None else 1,
        then=None if old is None else 1,
        gates=gates,
        explanation=f"{one.name} {what}{aside}",
    )


def _changes(new: OperatorWork, old: OperatorWork, gates: bool, aside: str) -> Iterator[WorkChange]:
    renamed = "" if new.name == old.name else f" (was {old.name})"

    def change(counter: str, unit: str, now: float, then: float, why: str = "") -> WorkChange:
        text = f"{new.name}{renamed}: {label(counter)} {unit} {_times(now, then)}{why}{aside}"
        return WorkChange(new.name, counter, unit, now, then, gates, text)

    if new.rows != old.rows:
        yield change("rows", "a pass", new.rows, old.rows)
    if new.rows and old.rows:
        for counter in _common(new.counts, old.counts):
            # Multiplied crosswise: whole numbers compare exactly, quotients do not.
            ours, theirs = new.counts[counter] * old.rows, old.counts[counter] * new.rows
            if _differ(counter, ours, theirs):
                now, then = new.counts[counter] / new.rows, old.counts[counter] / old.rows
                yield change(counter, "a row", now, then, _functions(new, old, more=now > then))
    for counter in _common(new.construction, old.construction):
        if _differ(counter, new.construction[counter], old.construction[counter]):
            yield change(counter, "a construction", new.construction[counter], old.construction[counter])


def _common(ours: Mapping[str, int], theirs: Mapping[str, int]) -> list[str]:
    return sorted(ours.keys() & theirs.keys())


def _differ(counter: str, ours: int, theirs: int) -> bool:
    return abs(ours - theirs) > MARGINS.get(counter, 0.0) * max(ours, theirs)


def _functions(new: OperatorWork, old: OperatorWork, *, more: bool) -> str:
    """The functions whose calls a row moved most the way that the counter did, the user's own calls first."""
    named: dict[str, str] = {}
    for ours, theirs, whole in ((new.direct, old.direct, True), (new.calls, old.calls, False)):
        moves = []
        for function in ours.keys() | theirs.keys():
            now, then = _rate(function, ours, new.rows, whole), _rate(function, theirs, old.rows, whole)
            if now is not None and then is not None and now != then and (now > then) == more:
                moves.append((-abs(now - then), function, then, now))
        for _, function, then, now in sorted(moves):
            if function not in named and len(named) < _NAMED_FUNCTIONS:
                named[function] = f"{function} called {_figure(then)} -> {_figure(now)} times a row"
    return f": {'; '.join(named.values())}" if named else ""


def _rate(function: str, calls: Mapping[str, int], rows: int, whole: bool) -> float | None:
    """Calls a row; None where the list was cut off before `function`, so that it may be called or not."""
    if function in calls:
        return calls[function] / rows
    return 0.0 if whole or len(calls) < KEPT_CALLS else None


def _times(now: float, then: float) -> str:
    figures = f"{_figure(then)} -> {_figure(now)}"
    if not then:
        return figures
    ratio = now / then
    # Two digits hide a change of one forward pass in a thousand.
    shown = f"{ratio:.2f}" if abs(ratio - 1) >= 0.005 else f"{ratio:.6g}"
    return f"{shown}x ({figures})"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"

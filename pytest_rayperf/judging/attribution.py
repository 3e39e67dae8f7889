"""Which operator a slowdown comes from, and whether it computes more, waits more, or moves more bytes. Pure.

A task's wall time is CPU time and waiting. What it waits for (a disk, a lock, a sleep) shows as growth of the
first without growth of the second. Yet an operator that computes more also makes its neighbours on the same
cores wait: so growth of CPU time comes first, and waiting is the cause only where it outweighs that by far.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from pytest_rayperf.results import Attribution, Change, Kind, Operator, Round

_CERTAIN = 0.05
"""An operator whose CPU seconds a row grew by this share of all operators' computes more."""

_ECHO = 3.0
"""Waiting that grew by up to so many times the share that CPU seconds grew by is the echo of that: on cores
that are in use, everybody stands in line longer."""

_MANY = 9.0
"""More waiting than this, as a share of what it was, is not told in figures: it tells nobody anything."""

_UNCHANGED = 0.03
"""An operator that grew by less than this share of the whole is called unchanged: round-to-round noise."""


def attribute(now: Sequence[Round], before: Sequence[Round]) -> Attribution | None:
    """What changed between the rounds `before` and those of `now`; None where no operator was measured."""
    cpu, old_cpu = _by_operator(now, _cpu), _by_operator(before, _cpu)
    # Standing in line for a core is waiting too, differs from round to round, and only adds: so the least.
    waits, old_waits = _by_operator(now, _waiting, min), _by_operator(before, _waiting, min)
    size, old_size = _by_operator(now, _bytes), _by_operator(before, _bytes)
    if not cpu or not sum(old_cpu.values()):
        return None
    walls = sum(_by_operator(before, _wall).values()) or sum(old_cpu.values())
    kept = [name for name in cpu if name in old_cpu]
    computes = max((cpu[name] - old_cpu[name] for name in kept), default=0.0) / sum(old_cpu.values())
    timed = [name for name in kept if name in waits and name in old_waits]
    waits_more = max((waits[name] - old_waits[name] for name in timed), default=0.0) / walls
    echo = computes >= _CERTAIN and waits_more <= _ECHO * computes
    waited = waits_more > max(_UNCHANGED, computes) and not echo
    changes = []
    for name in kept:
        change = _change(name, "CPU", cpu, old_cpu, sum(old_cpu.values()))
        if waited:
            change = _change(name, "waiting", waits, old_waits, walls) or change
        moved = _change(name, "bytes", size, old_size, sum(old_size.values()))
        if moved and moved.share > _UNCHANGED and (change is None or abs(change.share) < _UNCHANGED):
            change = moved
        if change is not None:
            changes.append(change)
    # Bytes explain only what time does not.
    changes.sort(key=lambda change: (change.kind != "bytes", change.share), reverse=True)
    return Attribution(
        changes=tuple(changes),
        new=tuple(name for name in cpu if name not in old_cpu),
        waiting=(sum(waits.values()) - sum(old_waits.values())) / walls if waits and old_waits else None,
    )


def tell(found: Attribution) -> str:
    """`MapBatches(Classifier) +24% CPU (+20% of the whole); ReadImage unchanged; waiting +0%`."""
    parts = [f"{name} is new" for name in found.new]
    for change in found.changes:
        if abs(change.share) < _UNCHANGED:
            parts.append(f"{change.operator} unchanged")
        else:
            of_whole = f" ({change.share:+.0%} of the whole)" if len(found.changes) > 1 else ""
            parts.append(f"{change.operator} {_grown(change)}{of_whole}")
    if found.waiting is not None:
        parts.append(f"waiting {_signed(found.waiting)}")
    return "; ".join(parts)


def _grown(change: Change) -> str:
    if change.own is None:
        return f"{change.kind} from 0"
    if change.kind == "waiting" and change.own > _MANY:  # there was next to none
        return f"over {1 + _MANY:.0f}x the waiting"
    return f"{change.own:+.0%} {change.kind}"


def _signed(share: float) -> str:
    text = f"{share:+.0%}"
    return "+0%" if text == "-0%" else text


def _change(
    name: str, kind: Kind, now: Mapping[str, float], before: Mapping[str, float], whole: float
) -> Change | None:
    if name not in now or name not in before or whole <= 0:
        return None
    grown = now[name] - before[name]
    own = grown / before[name] if before[name] > 0 else None
    return Change(name, kind, own, grown / whole)


def _by_operator(
    rounds: Iterable[Round],
    figure: Callable[[Operator], float | None],
    of_rounds: Callable[[Iterable[float]], float] = statistics.median,
) -> dict[str, float]:
    """By row of the rounds' output, each operator that has the figure in all of them."""
    found: dict[str, list[float | None]] = {}
    for round_ in rounds:
        own: dict[str, float | None] = {}
        for operator in round_.operators:  # a name may stand for several stages
            value = figure(operator)
            known = own.get(operator.name, 0.0)
            own[operator.name] = None if value is None or known is None else known + value
        for name, value in own.items():
            per_row = None if value is None else value / max(1, round_.rows)
            found.setdefault(name, []).append(per_row)
    return {
        name: of_rounds([value for value in values if value is not None])
        for name, values in found.items()
        if None not in values
    }


def _cpu(operator: Operator) -> float | None:
    return operator.cpu_s


def _wall(operator: Operator) -> float | None:
    return operator.wall_s


def _bytes(operator: Operator) -> float | None:
    return operator.bytes


def _waiting(operator: Operator) -> float | None:
    # Where a task computes on several threads its CPU time is above its wall time: it does not wait.
    if operator.wall_s is None or operator.cpu_s is None:
        return None
    return max(0.0, operator.wall_s - operator.cpu_s)

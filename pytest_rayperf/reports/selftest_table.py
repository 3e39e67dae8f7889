"""A self-test's entry of the report as a table for HTML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_rayperf.reports.rows import MISSING, number
from pytest_rayperf.reports.tables import LIMITS, Column, Table
from pytest_rayperf.reports.units import factor


def selftest_table(one: Mapping[str, Any]) -> Table:
    """A row a condition: what was put in, how often the gate found it."""
    rows = []
    for condition in one["conditions"]:
        slowdown, rounds = condition["slowdown"], condition["rounds"]
        rows.append(
            (
                f"{condition['name']} {condition['put_in']}".rstrip(),
                condition["metric"],
                factor(None if slowdown is None else slowdown["ratio"]),
                "" if slowdown is None else f"[{slowdown['low']:.2f}, {slowdown['high']:.2f}]",
                *_rate(condition["regressed"]),
                *_rate(condition["passed"]),
                MISSING if rounds is None else number(rounds["median"]),
                factor(condition["found_90_percent"]),
                "yes" if condition["judged"] else "no",
                condition["problem"] or MISSING,
            )
        )
    columns = (
        Column("Put in", "name"),
        Column("Metric", "text"),
        Column("Slowdown"),
        LIMITS,
        Column("Called regressed"),
        LIMITS,
        Column("Passed"),
        LIMITS,
        Column("Rounds"),
        Column("90 % found from"),
        Column("Held to", "text"),
        Column("Problem", "text"),
    )
    return Table(f"The gate, played on measured pairs of {one['name']}", columns, tuple(rows))


def _rate(found: Mapping[str, Any] | None) -> tuple[str, str]:
    if found is None:
        return MISSING, ""
    low, high = (f"{100 * limit:.3g}" for limit in found["ci"])
    return f"{100 * found['share']:.3g} %", f"[{low}, {high}]"

"""What a reviewer reads of each benchmark, out of the report: one row each, worst first. No layout.

The terminal's, Markdown's and HTML's tables are made of these rows, so that they say the same. Numbers are
those of the report; how long they are written is decided here too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_rayperf.metrics import CPU_PER_ROW, METRICS, PEAK_MEMORY, THROUGHPUT
from pytest_rayperf.results import STATUSES

MISSING = "-"

_SHORT = {CPU_PER_ROW.name: "CPU/row", THROUGHPUT.name: "rows/s", PEAK_MEMORY.name: "memory"}

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True)
class Figure:
    """A number with its interval, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None

    def scaled(self, factor: float) -> Figure:
        """In another unit."""
        limits = (None if limit is None else limit * factor for limit in (self.low, self.high))
        return Figure(self.value * factor, *limits)

    def written(self) -> str:
        """`34.9 [27.9, 43.6]`."""
        if self.low is None or self.high is None:
            return number(self.value)
        return f"{number(self.value)} [{number(self.low)}, {number(self.high)}]"

    def limits(self) -> str:
        """`[27.9, 43.6]`, for a column of its own; "" where there are none."""
        return "" if self.low is None or self.high is None else f"[{number(self.low)}, {number(self.high)}]"


@dataclass(frozen=True)
class Ratio:
    """How many times as much as something else, of which metric; `exact` where that has no noise."""

    figure: Figure
    metric: str
    exact: bool

    def written(self) -> str:
        """`0.80x [0.77, 0.83] rows/s`, or `2.00x exact allocated_bytes`."""
        return f"{self.times()} {self.limits()} {short(self.metric)}"

    def times(self) -> str:
        """`0.80x`."""
        return f"{self.figure.value:.2f}x"

    def limits(self) -> str:
        """`[0.77, 0.83]`, or `exact`."""
        if self.exact or self.figure.low is None or self.figure.high is None:
            return "exact"
        return f"[{self.figure.low:.2f}, {self.figure.high:.2f}]"


@dataclass(frozen=True)
class Row:
    """One benchmark. None is "not measured", or "does not apply".

    Attributes:
        benchmark: what the report has of it.
        index: its place among the report's benchmarks.
        name: the anti-pattern, or the test's name.
        variant: `antipattern`, `fix`, or "" for a test of one pipeline.
        status: the verdict.
        throughput: rows/s.
        cpu: CPU milliseconds a row.
        against: the metric that decided, against the baseline.
        mde: slowdowns above it are ruled out.
        finds: slowdowns from it on would be called regressed, nine times in ten.
        better: of a fix, how many times better it is than its anti-pattern.
        better_note: what else is to be said of that: `no effect on CPU`, `none left`, ...; "" if nothing.
        cost: USD for a million rows.
        saving: of a fix, the share of its anti-pattern's cost that it saves, as a factor of 1.
        reasons: the verdict's reason, a line a metric, none of them empty.
    """

    benchmark: Mapping[str, Any]
    index: int
    name: str
    variant: str
    status: str
    throughput: Figure | None
    cpu: Figure | None
    against: Ratio | None
    mde: float | None
    finds: float | None
    better: Ratio | None
    better_note: str
    cost: Figure | None
    saving: Figure | None
    reasons: tuple[str, ...]

    @property
    def title(self) -> str:
        """Name and variant."""
        return f"{self.name} {self.variant}".rstrip()


def number(value: float) -> str:
    """Three digits, or the thousands as they are, without an exponent where they are many: `12.3k`."""
    if not 999.5 <= abs(value) < 999.5e12:
        return f"{value:.3g}"
    if abs(value) < 9999.5:
        return f"{value:.0f}"
    # Rounded first: 999,960 is 1M, and not 1e+03k.
    rounded = float(f"{value:.3g}")
    unit, letter = next((unit, letter) for unit, letter in _UNITS if abs(rounded) >= unit)
    return f"{rounded / unit:.3g}{letter}"


def rows_of(report: Mapping[str, Any]) -> list[Row]:
    """A row a benchmark: the worst verdict first, of equal ones the largest slowdown, then as measured."""
    hardware = hardware_of(report)
    rows = [_row(benchmark, index, hardware) for index, benchmark in enumerate(report["benchmarks"])]
    order: dict[str, int] = {status: place for place, status in enumerate(STATUSES)}
    return sorted(rows, key=lambda row: (order.get(row.status, -1), -_slowdown(row), row.index))


def hardware_of(report: Mapping[str, Any]) -> str:
    """`GPU` or `CPU`: what an effect was, or was not, found on."""
    return "GPU" if report["environment"].get("gpu_count") else "CPU"


def counts_of(report: Mapping[str, Any]) -> dict[str, int]:
    """How many benchmarks have each verdict, worst first, without those that none has."""
    return {status: count for status, count in report["summary"].items() if count}


def selftests_of(report: Mapping[str, Any]) -> str:
    """`1 self-test not fit, 2 self-tests fit`; empty where the gate was not tested."""
    counts = Counter(one["status"] for one in report.get("selftest") or ())
    return ", ".join(
        f"{count} self-test{'s' * (count > 1)} {status}"
        for status in ("not fit", "inconclusive", "fit")
        if (count := counts[status])
    )


def headline(report: Mapping[str, Any]) -> str:
    """`1 of 22 slower; 2 inconclusive`: the most important first."""
    counts = counts_of(report)
    total = len(report["benchmarks"])
    if not total:
        return selftests_of(report) or "nothing measured"
    said = {"regressed": "slower", "improved": "faster"}
    worse = [f"{n} {said.get(s, s)}" for s, n in counts.items() if s not in ("unchanged", "improved")]
    better = [f"{counts['improved']} faster"] if "improved" in counts else []
    if not worse and not better:
        return f"all {total} unchanged" if total > 1 else "unchanged"
    first, *others = [*worse, *better]
    count, _, word = first.partition(" ")
    return "; ".join([f"{count} of {total} {word}", *others])


def short(metric: str | None) -> str:
    """A metric's name as tables have it."""
    return _SHORT.get(metric or "", metric or "")


def unit_of(metric: str) -> str:
    """Its unit; of a counter, its name."""
    return METRICS[metric].unit if metric in METRICS else metric


def figure_of(metric: Mapping[str, Any] | None) -> Figure | None:
    """A metric's median with its interval, out of the report's `metrics`; None where it was not measured."""
    if metric is None or metric.get("median") is None:
        return None
    low, high = metric.get("ci") or (None, None)
    return Figure(metric["median"], low, high)


def ratio_of(found: Mapping[str, Any] | None, metric: str | None) -> Ratio | None:
    """What the report has as `ratio` and `ci`; without limits, or with equal ones, it is exact."""
    if found is None or found.get("ratio") is None:
        return None
    low, high = found.get("ci") or (None, None)
    return Ratio(Figure(found["ratio"], low, high), metric or "", low is None or low == high)


def duel_note(duel: Mapping[str, Any], hardware: str) -> str:
    """What the ratio of a duel leaves unsaid."""
    status = duel["status"]
    if status == "effect":
        return "" if duel["ratio"] is not None else "none left"
    return f"{status} on {hardware}" if status == "no effect" else str(status)


def _row(benchmark: Mapping[str, Any], index: int, hardware: str) -> Row:
    verdict, duel = benchmark["verdict"], benchmark.get("duel")
    metrics = benchmark.get("metrics") or {}
    cpu = figure_of(metrics.get(CPU_PER_ROW.name))
    cost, saving = benchmark.get("cost"), benchmark.get("saving")
    return Row(
        benchmark=benchmark,
        index=index,
        name=benchmark.get("antipattern") or benchmark["id"].rpartition("::")[2],
        variant=benchmark.get("variant") or "",
        status=verdict["status"],
        throughput=figure_of(metrics.get(THROUGHPUT.name)),
        cpu=None if cpu is None else cpu.scaled(1000),
        against=ratio_of(verdict, verdict.get("metric")),
        mde=verdict.get("mde"),
        finds=verdict.get("finds"),
        better=None if duel is None else ratio_of(duel, duel["metric"]),
        better_note="" if duel is None else duel_note(duel, hardware),
        cost=None if cost is None else Figure(cost["usd_per_million_rows"], *(cost["ci"] or (None, None))),
        saving=None if saving is None else Figure(saving["share"], *saving["share_ci"]),
        reasons=tuple(_lines(verdict["status"], verdict.get("reason") or "")),
    )


def _lines(status: str, reason: str) -> Iterable[str]:
    """The verdict's reason, which begins with the verdict."""
    first, *others = [line for line in reason.splitlines() if line.strip()] or [""]
    yield first if first.startswith(status) else f"{status}: {first}".removesuffix(": ")
    yield from others


def _slowdown(row: Row) -> float:
    """By what factor it got worse, for the order; 1 where that is not known."""
    if row.against is None or row.against.figure.value <= 0:
        return 1.0
    metric, value = row.against.metric, row.against.figure.value
    higher = metric in METRICS and METRICS[metric].better == "higher"
    return 1 / value if higher else value

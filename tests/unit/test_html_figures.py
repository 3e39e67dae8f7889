"""Every figure in the HTML report's tables is the JSON's: all tables are walked, cell for cell.

The cells are read back and compared with the report; what the page made of them is not asked again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import pytest
from big import large_report
from builders import make_round, make_rounds
from page import Node, caption, heads, parse, rows
from reported import FULL, full_run, report_of

from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.metrics import CPU_PER_ROW, METRICS
from pytest_rayperf.reports.html import render
from pytest_rayperf.results import Step
from pytest_rayperf.selftest import SAME, Condition, Finding, Selftest, examine

SUFFIXES = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "CPU ms/row": 1e-3}
MISSING = "-"


def value_of(text: str) -> float:
    """The number that is written: `12,345`, `12.3k`, `0.80x`, `+24.0 %`."""
    plain = text.replace(",", "").replace("x", "").replace("%", "").strip()
    suffix = SUFFIXES.get(plain[-1], 1.0)
    return float(plain.rstrip("".join(SUFFIXES))) * suffix


@dataclass(frozen=True)
class Is:
    """A cell that must have this figure, in `unit` of it, up to the last of its digits."""

    figure: float | None
    unit: float = 1.0
    digits: float = 0.0
    """How much the last digit is worth, where a fixed number of them is written."""

    def fits(self, cell: str) -> bool:
        if self.figure is None or cell == MISSING:
            return self.figure is None and cell == MISSING
        wanted = self.figure / self.unit
        allowed = max(self.digits / 2, 0.0 if self.digits else abs(wanted) * 0.005)
        return abs(value_of(cell) - wanted) <= allowed * (1 + 1e-9) + 1e-12


@dataclass(frozen=True)
class Limits:
    """A cell that must have both limits, or say that they have none."""

    ci: list[float] | None
    unit: float = 1.0
    digits: float = 0.0

    def fits(self, cell: str) -> bool:
        if self.ci is None:
            return cell in ("exact", "")
        found = re.fullmatch(r"\[(\S+), (\S+)\]", cell)
        if found is None:  # equal limits are exact
            return cell == "exact" and self.ci[0] == self.ci[1]
        return all(
            Is(limit, self.unit, self.digits).fits(text)
            for limit, text in zip(self.ci, found.groups(), strict=True)
        )


@dataclass(frozen=True)
class Each:
    """A cell that has several figures, in turn."""

    figures: list[float | None]
    unit: float = 1.0
    digits: float = 0.0
    between: str = "; "

    def fits(self, cell: str) -> bool:
        parts = cell.split(self.between)
        return len(parts) == len(self.figures) and all(
            Is(figure, self.unit, self.digits).fits(text)
            for figure, text in zip(self.figures, parts, strict=True)
        )


Cell = str | Is | Limits | Each


def ratio(found, digits: float = 0.01) -> list[Cell]:
    return [Is(found["ratio"], digits=digits), Limits(found["ci"], digits=digits)]


def unit(label: str) -> float:
    """What a head, or a cell, says its figures are in."""
    return next((size for name, size in UNITS.items() if re.search(rf"\b{name}\b", label)), 1.0)


def metric_of(head: str, among: Iterable[str]) -> str:
    """Which of these metrics or counters a head names."""
    units = {"rows/s": "throughput", "CPU ms/row": "cpu_seconds_per_row"}
    named = (name for name in among if head.startswith((name, name.replace("_", " "))))
    return units.get(head) or next(named)


def check(table: Node, wanted: list[list[Cell]]) -> None:
    found = rows(table)
    assert len(found) == len(wanted), caption(table)
    for cells, expected in zip(found, wanted, strict=True):
        assert len(cells) == len(expected), (caption(table), cells)
        for cell, one in zip(cells, expected, strict=True):
            where = (caption(table), cells, cell, one)
            assert cell == one if isinstance(one, str) else one.fits(cell), where


def figures_of(benchmark, metric: str) -> list[float | None]:
    return benchmark["rounds" if metric in METRICS else "counters_by_round"].get(metric, [])


def median_of(benchmark, metric: str):
    if metric not in METRICS:
        return benchmark["counters"].get(metric), None
    return benchmark["metrics"][metric]["median"], benchmark["metrics"][metric]["ci"]


class Walk:
    """Checks one page's tables and counts which it knew."""

    def __init__(self, report) -> None:
        self.report = report
        self.page = parse(render(report))
        self.walked: set[int] = set()

    def take(self, table: Node, wanted: list[list[Cell]]) -> None:
        check(table, wanted)
        self.walked.add(id(table))

    def named(self, root: Node, text: str) -> list[Node]:
        return [table for table in root.all("table") if caption(table) == text]

    def only(self, root: Node, text: str, wanted: list[list[Cell]]) -> None:
        found = self.named(root, text)
        assert len(found) == bool(wanted), text
        for table in found:
            self.take(table, wanted)

    def section(self, section: Node, benchmarks: list) -> None:
        """One test's: `benchmarks` by how they are called there."""
        sides = {
            {"antipattern": "anti-pattern", None: ""}.get(b["variant"], b["variant"]): b for b in benchmarks
        }
        self.duels(section, sides)
        self.metrics(section, sides)
        counters = dict.fromkeys(name for b in sides.values() for name in b["counters"])
        self.only(
            section,
            "Counters, in the last round",
            [[name, *(Is(b["counters"].get(name), digits=1) for b in sides.values())] for name in counters],
        )
        self.rounds(section, sides)
        for side, benchmark in sides.items():
            of_side = f" of the {side}" if side else ""
            self.operators(section, f"Operators{of_side}, medians a round", benchmark)
            self.utilization(section, of_side, benchmark)
            self.history(section, of_side, benchmark)
        parts = section.all("details", class_="part")
        more = [part for part in parts if part.one("summary").text.startswith("More")]
        for part, benchmark in zip(more, sides.values(), strict=True):
            self.part(part, benchmark)

    def duels(self, section: Node, sides) -> None:
        name = next(iter(sides.values()))["antipattern"]
        duels = [d for d in self.report["duels"] if name is not None and d["antipattern"] == name]
        equal = {True: "equal", False: "differ", None: "not compared"}
        why = any(d["reason"] for d in duels)
        wanted = [
            [
                d["metric"],
                *ratio(d),
                Is(d["floor"], digits=0.01),
                d["status"],
                equal[d["outputs_equal"]],
                *([d["reason"] or MISSING] * why),
            ]
            for d in duels
        ]
        signals = [b["duel"]["metric"] for b in sides.values() if b["duel"]]
        wanted.sort(key=lambda row: row[0] not in signals)
        self.only(section, "Fix against anti-pattern, measured in turn", wanted)
        for table in [t for t in section.all("table") if caption(t).endswith("of both variants")]:
            said = caption(table).removesuffix(" of both variants")
            metric = metric_of(said, [d["metric"] for d in duels])
            size = unit(said)
            wanted = [
                [side, Is(median, size), Limits(ci, size), Each(figures_of(b, metric), size)]
                for side, b in sides.items()
                for median, ci in [median_of(b, metric)]
            ]
            self.take(table, wanted)

    def metrics(self, section: Node, sides) -> None:
        found = self.named(section, "Metrics, medians over the rounds")
        measured = [
            name for name in METRICS if any(b["metrics"][name]["median"] is not None for b in sides.values())
        ]
        assert len(found) == bool(measured)
        for table in found:
            units = [row[1] for row in rows(table)]
            wanted = [
                [
                    name,
                    label,
                    *(
                        cell
                        for b in sides.values()
                        for median, ci in [median_of(b, name)]
                        for cell in (Is(median, unit(label)), Limits(ci, unit(label)))
                    ),
                ]
                for name, label in zip(measured, units, strict=True)
            ]
            self.take(table, wanted)

    def rounds(self, section: Node, sides) -> None:
        for table in self.named(section, "Rounds, in turn"):
            columns = []
            for head in heads(table)[1:]:
                said, _, side = head.rpartition(", ") if "" not in sides else (head, "", "")
                benchmark = sides[side]
                if said == "Disturbed":
                    seen = zip(benchmark["disturbed"], benchmark["unseen"], strict=True)
                    columns.append([why or ("not known" if blind else "no") for why, blind in seen])
                    continue
                metric = metric_of(said, (*METRICS, *benchmark["counters"]))
                columns.append([Is(v, unit(said)) for v in figures_of(benchmark, metric)])
            count = max(map(len, columns))
            wanted = [
                [str(n + 1), *(column[n] if n < len(column) else MISSING for column in columns)]
                for n in range(count)
            ]
            self.take(table, wanted)

    def operators(self, section: Node, text: str, benchmark) -> None:
        keys = {
            "Rows": ("rows", 1),
            "Tasks": ("tasks", 1),
            "Blocks": ("blocks", 1),
            "CPU, s": ("cpu_s", 1),
            "Wall, s": ("wall_s", 1),
            "In functions, s": ("udf_s", 1),
            "Scheduling, s": ("scheduling_s", 1),
            "Backpressure, s": ("backpressure_s", 1),
            "Actors": ("actors", 1),
            "Actors busy, %": ("actor_utilization", 0.01),
            "Failed blocks": ("errored_blocks", 1),
        }
        for table in self.named(section, text):
            columns = []
            for head in heads(table)[1:]:
                word, _, label = head.partition(", ")
                sizes = {"In": "bytes_in", "Out": "bytes"}
                columns.append(keys.get(head) or (sizes[word], unit(label)))
            shown = {key for key, _ in columns}
            for operator in benchmark["operators"]:
                assert {k for k, v in operator.items() if v is not None} <= {*shown, "name"}
            wanted = [
                [operator["name"], *(Is(operator[key], size) for key, size in columns)]
                for operator in benchmark["operators"]
            ]
            self.take(table, wanted)

    def utilization(self, section: Node, of_side: str, benchmark) -> None:
        found = benchmark["utilization"]
        if found is None:
            return
        text = f"Round {found['round'] + 1}{of_side}, in each row 10 points in turn"
        series = [found["cpu"], found["others"], *found["gpus"].values()]
        wanted: list[list[Cell]] = []
        for first in range(0, len(found["seconds"]), 10):
            seconds = found["seconds"][first : first + 10]
            cells = [Each(s[first : first + 10], digits=1, between=" ") for s in series]
            wanted.append([Each([seconds[0], seconds[-1]], digits=0.1, between=" to "), *cells])
        (table,) = self.named(section, text)
        names = ["Seconds", "CPU: cluster and driver, %", "CPU: other processes, %"]
        assert heads(table) == [*names, *(f"GPU {card}, %" for card in found["gpus"])]
        self.take(table, wanted)

    def history(self, section: Node, of_side: str, benchmark) -> None:
        speed, cpu = median_of(benchmark, "throughput")[0], median_of(benchmark, "cpu_seconds_per_row")[0]
        points = [
            (one["recorded_at"][:10], one["commit"], one["throughput"], one["cpu_seconds_per_row"])
            for one in benchmark["history"] or ()
        ]
        wanted: list[list[Cell]] = [
            [
                when,
                (commit or MISSING)[:7] + "+dirty" * str(commit).endswith("+dirty"),
                Is(one),
                Is(other, 1e-3),
            ]
            for when, commit, one, other in [*points, ("this run", self.report["commit"], speed, cpu)]
        ]
        self.only(section, f"Medians{of_side} by commit, oldest first", wanted if points else [])

    def part(self, part: Node, benchmark) -> None:
        verdict = benchmark["verdict"]
        compared = self.named(part, "Compared with the baseline")
        assert len(compared) == bool(verdict["comparisons"])
        for table in compared:
            wanted = [
                [
                    c["metric"],
                    c["status"],
                    Is(c["reference"], unit(label)),
                    Is(c["current"], unit(label)),
                    label,
                    *ratio(c),
                    Is(c["threshold"], digits=0.01),
                    Is(c["mde"], digits=0.01),
                    Is(c["finds"], digits=0.01),
                    MISSING,
                ]
                for c, label in zip(verdict["comparisons"], (row[4] for row in rows(table)), strict=True)
            ]
            self.take(table, wanted)
        found = verdict["attribution"] or {"operators": [], "new": [], "waiting": None}
        changes: list[list[Cell]] = [
            [c["operator"], c["kind"], Is(c["own"], 0.01, 0.1), Is(c["share"], 0.01, 0.1)]
            for c in found["operators"]
        ]
        changes += [[name, "new", MISSING, MISSING] for name in found["new"]]
        if found["waiting"] is not None:
            changes.append(["all operators", "waiting", MISSING, Is(found["waiting"], 0.01, 0.1)])
        self.only(part, "Where it comes from: operators since the baseline", changes)
        calls = [
            [
                one["udf"],
                Is(one["count"], digits=1),
                *(Is(one[key], 1e-3) for key in ("p50_s", "p95_s", "p99_s")),
                Is(one["errors"], digits=1),
                Is(one["error_rate"], 0.01),
            ]
            for one in benchmark["latency"]
        ]
        self.only(part, "Calls of the functions, over all rounds", calls)
        work = [
            [operator["name"], counter, during, Is(count, digits=1), Is(operator["rows"], digits=1)]
            for operator in (benchmark["work"] or {"operators": []})["operators"]
            for during, counts in (
                ("construction", operator["construction"]),
                ("its rows", operator["counts"]),
            )
            for counter, count in counts.items()
        ]
        self.only(part, "Work, counted in a short pass that is not timed", work)
        last = len(benchmark["nodes"])
        if last and benchmark["nodes"][-1]:
            (table,) = self.named(part, f"Nodes, in round {last}")
            cells = [
                (node, metric, value)
                for node, figures in benchmark["nodes"][-1].items()
                for metric, value in figures.items()
            ]
            labels = [row[3] for row in rows(table)]
            self.take(
                table,
                [
                    [node, metric, Is(value, unit(label)), label]
                    for (node, metric, value), label in zip(cells, labels, strict=True)
                ],
            )

    def overview(self) -> None:
        table = self.page.one("table", class_="overview")
        by_name = {}
        for benchmark in self.report["benchmarks"]:
            name = benchmark["antipattern"] or benchmark["id"].rpartition("::")[2]
            called = {"antipattern": " anti-pattern", "fix": " fix", None: ""}[benchmark["variant"]]
            by_name[name + called] = benchmark
        priced = self.report["cost_per_hour_usd"] is not None
        found = rows(table)
        assert sorted(row[0] for row in found) == sorted(by_name)
        for row in found:
            benchmark = by_name[row[0]]
            verdict, duel = benchmark["verdict"], benchmark["duel"]
            speed, cpu = (median_of(benchmark, m) for m in ("throughput", "cpu_seconds_per_row"))
            saving, cost = benchmark["saving"], benchmark["cost"]
            words = r" .*"
            against, better = (re.sub(r"(\]|exact)" + words, r"\1", row[place]) for place in (3, 12))
            told = [*row[:3], against, *row[4:12], better, *row[13:]]
            wanted: list[Cell] = [
                row[0],
                verdict["status"],
                Is(verdict["ratio"], digits=0.01),
                Limits(verdict["ci"], digits=0.01),
                "",
                Is(verdict["mde"], digits=0.01),
                Is(verdict["finds"], digits=0.01),
                Is(speed[0]),
                Limits(speed[1]),
                Is(cpu[0], 1e-3),
                Limits(cpu[1], 1e-3),
                Is(duel and duel["ratio"], digits=0.01),
                Limits(duel and duel["ci"], digits=0.01) if duel and duel["ratio"] is not None else better,
            ]
            if priced:
                wanted += [
                    Is(cost and cost["usd_per_million_rows"]),
                    Is(saving and saving["share"], 0.01, 1),
                    Limits(saving and saving["share_ci"], 0.01, 1),
                ]
            for cell, one in zip(told, wanted, strict=True):
                assert cell == one if isinstance(one, str) else one.fits(cell), (row, cell, one)
        self.walked.add(id(table))

    def ladders(self) -> None:
        for ladder in self.report["ladders"]:
            (table,) = self.named(self.page, f"Rungs of {ladder['antipattern']}")
            metric, size = ladder["metric"], unit(heads(table)[1])
            wanted: list[list[Cell]] = [
                [
                    rung["name"],
                    Is(rung["metrics"][metric]["median"], size),
                    Limits(rung["metrics"][metric]["ci"], size),
                    *ratio(rung),
                    rung["status"],
                ]
                for rung in ladder["rungs"]
            ]
            self.take(table, [*wanted, ["in total", "", "", *ratio(ladder["total"]), ""]])
        for sweep in self.report["sweeps"]:
            (table,) = self.named(self.page, f"Settings of {sweep['name']}")
            metric, size = sweep["metric"], unit(heads(table)[1])
            self.take(
                table,
                [
                    [
                        one["name"],
                        Is(one["metrics"][metric]["median"], size),
                        Limits(one["metrics"][metric]["ci"], size),
                        *ratio(one),
                        one["status"],
                        Each(one["rounds"][metric], size),
                    ]
                    for one in sweep["settings"]
                ],
            )
        final = self.report["final"]
        if final is not None:
            (table,) = self.named(self.page, f"From the first to the best rung of {final['ladder']}")
            first, best = final["first"], final["best"]
            self.take(
                table,
                [
                    *(
                        [f"{word} throughput", rung["name"], Is(speed["median"]), Limits(speed["ci"])]
                        for word, rung in (("baseline", first), ("best", best))
                        for speed in [rung["throughput"]]
                    ),
                    ["total improvement", "", *ratio(final["total"])],
                ],
            )
            text = self.page.one("section", id="final").text
            assert f"Best configuration: {' + '.join(final['configuration'])}" in text
            assert f"Pipelines measured: {final['experiments']}" in text

    def selftests(self) -> None:
        for one in self.report["selftest"]:
            (table,) = self.named(self.page, f"The gate, played on measured pairs of {one['name']}")
            wanted: list[list[Cell]] = []
            for c in one["conditions"]:
                slowdown, counts = c["slowdown"], c["rounds"]
                rates: list[Cell] = []
                for rate in (c["regressed"], c["passed"]):
                    rates += [Is(rate and rate["share"], 0.01), Limits(rate and rate["ci"], 0.01)]
                wanted.append(
                    [
                        f"{c['name']} {c['put_in']}".strip(),
                        c["metric"],
                        Is(slowdown and slowdown["ratio"], digits=0.01),
                        Limits(slowdown and [slowdown["low"], slowdown["high"]], digits=0.01),
                        *rates,
                        Is(counts and counts["median"]),
                        Is(c["found_90_percent"], digits=0.01),
                        "yes" if c["judged"] else "no",
                        c["problem"] or MISSING,
                    ]
                )
            self.take(table, wanted)

    def software(self) -> None:
        before = {c["name"]: ", ".join(c["from"]) for c in self.report["software_changes"] or ()}
        same = MISSING if self.report["software_changes"] is None else "same"
        versions = self.report["software"].items()
        self.only(
            self.page,
            "Versions, now and in the baselines",
            [[name, now, before.get(name, same)] for name, now in versions],
        )

    def all(self) -> None:
        groups: dict[str, list] = {}
        for benchmark in self.report["benchmarks"]:
            name = benchmark["antipattern"] or benchmark["id"].rpartition("::")[2]
            groups.setdefault(name, []).append(benchmark)
        sections = {s.one("h3").text: s for s in self.page.all("section", class_="test")}
        assert sections.keys() == groups.keys()
        for name, section in sections.items():
            self.section(section, groups[name])
        for walk in (self.overview, self.ladders, self.selftests, self.software):
            walk()
        missed = [caption(t) for t in self.page.all("table") if id(t) not in self.walked]
        assert missed == []


def other_ladder():
    run = full_run()
    (ladder,) = run.ladders
    (sweep,) = run.sweeps
    counted = replace(
        ladder,
        name="counted",
        metric="peak_worker_memory",
        steps=tuple(
            Step(f"rung {n}", make_rounds(memory=memory), None, "invalid")
            for n, memory in enumerate((3 * 2**30, None, 2**20))
        ),
        total=None,
    )
    return replace(run, ladders=(ladder, counted), sweeps=(replace(sweep, metric="cpu_seconds_per_row"),))


def examined(slowdown: float, *, name: str = "CPU", pairs: int = 8) -> Finding:
    """What a self-test finds of a slowdown that was put in."""
    rounds = tuple(
        (make_round(40 + n % 3, 0.02), make_round((40 + n % 4) / slowdown, 0.02 * slowdown))
        for n in range(pairs)
    )
    return examine(Condition(name, "2 ms", CPU_PER_ROW, slowdown, rounds), Policy(), 40, search=False)


REPORTS: dict[str, Callable[[], dict]] = {
    "of everything": lambda: FULL,
    "without a price, history, duels": lambda: report_of(
        full_run(cost_per_hour=None, history=None, ladders=(), sweeps=())
    ),
    "of rounds that differ": lambda: large_report(13, rounds=7, points=23, sessions=5),
    "of a long one": lambda: large_report(2, rounds=20),
    "of other metrics": lambda: report_of(other_ladder()),
    "of self-tests": lambda: report_of(
        full_run(
            selftests=(
                Selftest(
                    "test_it.py::test_pipe",
                    "pipe",
                    Policy(),
                    (
                        examined(1.0, name=SAME),
                        replace(examined(1.21), findable=1.1537, judged=True, problem="it is not fit"),
                        examined(1.21, pairs=2),
                    ),
                ),
            )
        )
    ),
}


@pytest.mark.parametrize("which", REPORTS)
def test_every_figure_is_the_reports(which):
    Walk(REPORTS[which]()).all()


@pytest.mark.parametrize(
    ("cell", "figure", "more", "fits"),
    [
        ("34.9", 34.94, {}, True),
        ("34.9", 35.2, {}, False),
        ("12.3k", 12_345, {}, True),
        ("12,345", 12_345, {"digits": 1}, True),
        ("12,346", 12_345, {"digits": 1}, False),
        ("20", 0.02, {"unit": 1e-3}, True),
        ("-", None, {}, True),
        ("0", None, {}, False),
        ("-", 0, {}, False),
        ("0.80x", 0.8049, {"digits": 0.01}, True),
        ("0.80x", 0.8149, {"digits": 0.01}, False),
        ("+24.0 %", 0.24, {"unit": 0.01, "digits": 0.1}, True),
    ],
)
def test_the_walk_sees_what_is_wrong(cell, figure, more, fits):
    assert Is(figure, **more).fits(cell) is fits

"""What a run ends with on the terminal."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import golden
import pytest
from builders import ENVIRONMENT, LIGHT, make_benchmark, make_round, make_rounds, make_run
from hypothesis import given
from hypothesis import strategies as st
from reported import FULL, HOSTILE, full_run, report_of, with_verdicts
from wcwidth import wcswidth

from pytest_rayperf.judging.reference import STALE
from pytest_rayperf.reports.lines import COLUMNS
from pytest_rayperf.reports.table import MOST_UNCHANGED
from pytest_rayperf.reports.terminal import Line, lines_of
from pytest_rayperf.results import (
    STATUSES,
    Duel,
    Interval,
    Ladder,
    Profile,
    Step,
    Sweep,
    Verdict,
)

ANY = st.text(st.characters(codec="utf-8"), max_size=300) | st.sampled_from(HOSTILE)
COLUMN_NAMES = ["test", "rows/s", "CPU ms/row", "vs baseline", "sees", "finds", "fix is better by", "verdict"]


SLOWER = "cpu_seconds_per_row 0.0099 -> 0.1003 s, 10.10x [7.80, 11.73]"
OPERATOR = "operator Map(F) +909% CPU"
SEEN = "cpu 1.20x [0.97, 1.33]; slowdowns above 1.47x are ruled out; of throughput those above 1.93x"
HELP = "what would help: more baseline sessions (there are 2), more rounds"


def verdict(status, **more):
    return Verdict(status, f"{status}: because", **more)


def named(name, status="unchanged", **more):
    """A benchmark of one pipeline."""
    return make_benchmark(verdict(status), id=f"t.py::{name}", antipattern=None, variant=None, **more)


def texts(run_or_report, accepted=()):
    report = run_or_report if isinstance(run_or_report, dict) else report_of(run_or_report)
    return [line.text for line in lines_of(report, accepted)]


def section(run, title):
    """The lines of one section, as far as its blank line."""
    lines = texts(run)
    if f"{title}:" not in lines:
        return []
    start = lines.index(f"{title}:") + 1
    return lines[start : lines.index("", start)]


def closing(run):
    """What stands after the last blank line."""
    lines = texts(run)
    return lines[len(lines) - lines[::-1].index("") :]


def table_of(run_or_report):
    """The table's rows as dictionaries, by where its rule has dashes; the lines between them as `reason`."""
    lines = texts(run_or_report)
    at = next(index for index, line in enumerate(lines) if set(line) == {"-", " "})
    spans, start = [], 0
    for dashes in lines[at].split("  "):
        spans.append(slice(start, start + len(dashes)))
        start += len(dashes) + 2
    spans[-1] = slice(spans[-1].start, None)
    head = [" ".join(line[span].strip() for line in lines[:at]).strip() for span in spans]
    rows = []
    for line in lines[at + 1 : lines.index("")]:
        if line.startswith("  "):
            rows[-1]["reason"] = line.strip()
        elif line[spans[-1]] in STATUSES:
            rows.append(dict(zip(head, (line[span].strip() for span in spans), strict=True)))
    return rows


def three(value):
    return f"{value:.3g}"


def expected_spread(metric, scale=1.0):
    if metric["median"] is None:
        return "-"
    text = three(metric["median"] * scale)
    if metric["ci"] is None:
        return text
    low, high = metric["ci"]
    return f"{text} ±{max((high - metric['median']), (metric['median'] - low)) / metric['median']:.0%}"


class TestNumbers:
    def test_of_each_cell_are_those_of_the_json(self):
        # Names short enough, and no price, so that nothing is left out for their sake.
        data = json.loads(json.dumps(FULL).replace("spilled_bytes", "kB").replace("model_loads", "loads"))
        data["cost_per_hour_usd"] = None
        for index, benchmark in enumerate(data["benchmarks"]):
            benchmark["antipattern"] = f"a{index}"
        rows = table_of(data)
        by_name = {b["antipattern"]: b for b in data["benchmarks"]}
        assert len(rows) == len(by_name) == 8
        for row in rows:
            name, _, variant = row["test"].partition(" ")
            b = by_name[name]
            assert {"": None, "anti": "antipattern"}.get(variant, variant) == b["variant"]
            assert row["rows/s"] == expected_spread(b["metrics"]["throughput"])
            assert row["CPU ms/row"] == expected_spread(b["metrics"]["cpu_seconds_per_row"], 1000)
            found = b["verdict"]
            metric = {"cpu_seconds_per_row": "CPU", "throughput": "rows/s"}.get(
                found["metric"], found["metric"]
            )
            if found["ratio"] is None:
                assert row["vs baseline"] == "-"
            elif found["ci"] is None:
                assert row["vs baseline"] == f"{found['ratio']:.2f}x exact {metric}"
            else:
                low, high = found["ci"]
                assert row["vs baseline"] == f"{found['ratio']:.2f}x {low:.2f}-{high:.2f} {metric}"
            assert row["sees"] == ("-" if found["mde"] is None else f"{found['mde']:.2f}x")
            assert row["finds"] == ("-" if found["finds"] is None else f"{found['finds']:.2f}x")
            duel = b["duel"]
            if duel is None:
                assert row["fix is better by"] == "-"
            elif duel["ratio"] is None:
                assert row["fix is better by"] == "none left kB"
            else:
                said = {"effect": "CPU"}.get(duel["status"], duel["status"])
                assert row["fix is better by"] == f"{duel['ratio']:.2f}x {said}"
            assert row["verdict"] == found["status"]

    def test_of_the_costs_are_those_of_the_json(self):
        data = json.loads(json.dumps(FULL))
        for index, benchmark in enumerate(data["benchmarks"]):
            benchmark["antipattern"] = f"a{index}"
        costs = {b["antipattern"]: b["cost"] for b in data["benchmarks"]}
        for row in table_of(data):
            cost = costs[row["test"].partition(" ")[0]]
            assert row["USD/M rows"] == ("-" if cost is None else three(cost["usd_per_million_rows"]))

    def test_where_it_is_narrow_the_limits_stand_for_what_is_ruled_out(self):
        assert "sees" not in table_of(FULL)[0]
        assert not [line for line in texts(FULL) if "sees:" in line]
        assert "finds" in table_of(FULL)[0]

    def test_of_the_sections_are_those_of_the_json(self):
        duels = section(FULL, "duels")
        assert duels[:3] == [
            f"  {d['antipattern']}: fix better by {d['ratio']:.2f}x {limits} {metric}{more}; outputs equal"
            for d, limits, metric, more in zip(
                FULL["duels"],
                ("[2.70, 3.28]", "exact", "[0.88, 1.19]"),
                ("CPU/row", "model_loads", "rows/s"),
                (", floor 1.05x", ", floor 6x", ", no effect on CPU"),
                strict=False,
            )
        ]
        rungs = section(FULL, "ladder")[1:]
        for line, rung in zip(rungs, FULL["ladders"][0]["rungs"], strict=False):
            median, (low, high) = (rung["metrics"]["throughput"][key] for key in ("median", "ci"))
            assert f"{three(median)} [{three(low)}, {three(high)}] rows/s" in line
            assert line.startswith(f"    {rung['name']} ")
            if rung["ratio"] is not None:
                assert f"  {rung['ratio']:.2f}x [{rung['ci'][0]:.2f}, {rung['ci'][1]:.2f}]" in line
        final = FULL["final"]
        low, high = final["total"]["ci"]
        assert section(FULL, "from old to new") == [
            "  baseline throughput  10 [10, 10] rows/s (everything wrong)",
            "  best throughput      30 [30, 30] rows/s (write Parquet)",
            f"  total improvement    {final['total']['ratio']:.2f}x [{low:.2f}, {high:.2f}]",
            f"  best configuration   {', '.join(final['configuration'])}",
            f"  experiments          {final['experiments']}",
        ]
        savings = section(FULL, "savings at 3.6 USD an hour")
        saving = next(b["saving"] for b in FULL["benchmarks"] if b["slug"] == "model_loading-fix")
        share, usd = saving["share_ci"], saving["ci"]
        assert (
            f"  model_loading: the fix saves {saving['share']:.0%} [{share[0]:.0%}, {share[1]:.0%}], "
            f"{three(saving['usd_per_million_rows'])} [{three(usd[0])}, {three(usd[1])}] USD a million rows"
        ) in savings

    def test_a_small_spread_has_a_digit_more(self):
        rounds = [make_round(1000 + i) for i in range(3)]
        (row,) = table_of(make_run([named("a", rounds=rounds)]))
        assert row["rows/s"].startswith("1001 ±0.")

    @pytest.mark.parametrize(
        ("figures", "shown"), [([60, 100, 150], "100 ±47%"), ([50, 100, 300], "100 ±>99%")]
    )
    def test_a_spread_that_would_reach_below_0_is_no_number(self, figures, shown):
        rounds = [make_round(figure) for figure in figures for _ in range(3)]
        (row,) = table_of(make_run([named("a", rounds=rounds)]))
        assert row["rows/s"] == shown

    def test_large_ratios_have_three_digits(self):
        duel = Duel("a", "loads", Interval(12345, 12345, 12345), None, True, "effect")
        (row,) = table_of(make_run([named("a", duel=duel)]))
        assert row["fix is better by"] == "12.3kx loads"

    def test_missing_is_a_dash(self):
        (row,) = table_of(make_run([named("a", "no-baseline", rounds=[make_round(cpu=None)])]))
        assert (row["rows/s"], row["verdict"]) == ("40", "no-baseline")
        assert {row[name] for name in ("CPU ms/row", "vs baseline", "sees", "finds", "fix is better by")} == {
            "-"
        }

    def test_no_rounds(self):
        (row,) = table_of(make_run([named("a", "invalid", rounds=())]))
        assert (row["rows/s"], row["verdict"]) == ("-", "invalid")

    def test_nothing_measured(self):
        lines = texts(make_run())
        assert lines[-2].startswith("nothing measured; profile quick")
        assert [line for line in lines if "verdict" in line]

    def test_a_cost_only_where_there_is_a_price(self):
        assert list(table_of(make_run([named("a")]))[0]) == COLUMN_NAMES
        priced = make_run([named("a")], cost_per_hour=3.6)
        assert table_of(priced)[0]["USD/M rows"] == "25"


class TestRows:
    def test_worst_first(self):
        found = [named(status, status) for status in reversed(STATUSES)]
        assert [row["verdict"] for row in table_of(make_run(found))] == list(STATUSES)

    def test_the_reason_stands_below_each_that_is_not_unchanged(self):
        rows = table_of(make_run([named(status, status) for status in STATUSES]))
        assert [row["verdict"] for row in rows if "reason" in row] == [
            s for s in STATUSES if s != "unchanged"
        ]
        assert {row["reason"] for row in rows if "reason" in row} == {"because"}

    @pytest.mark.parametrize(
        ("status", "reason", "shown"),
        [
            ("invalid", "gone", "gone"),
            ("invalid", "invalid: gone", "gone"),
            ("invalid", "", None),
            ("regressed", "regressed: a\nregressed: b\nregressed: c", "a (+2 more)"),
            ("regressed", f"regressed: {'very ' * 40}slow", f"{'very ' * 19}ve…"),
            ("regressed", f"regressed: {SLOWER}, threshold 1/1.10; {OPERATOR}; baseline b.json; accept it",
             f"{SLOWER}; {OPERATOR}; baseline…"),
            ("inconclusive", f"inconclusive: {SEEN}; {HELP}", f"{SEEN.partition('; ')[0]}; {HELP}"),
            ("inconclusive", f"inconclusive: {SEEN}; {HELP}, or a quieter machine",
             f"…; {HELP}, or a quieter machine"),
            ("improved", f"improved: {SEEN.replace('; of', f'; {STALE}; of')}", f"…; {STALE}"),
            ("improved", "improved: cpu 0.80x [0.7, 0.9]", "cpu 0.80x [0.7, 0.9]"),
            ("inconclusive", f"inconclusive: {'noise ' * 40}", f"{'noise ' * 16}n…"),
        ],
    )  # fmt: skip
    def test_a_reason_in_one_line(self, status, reason, shown):
        (row,) = table_of(make_run([make_benchmark(Verdict(status, reason))]))
        assert row.get("reason") == shown

    def test_the_same_reason_is_said_once(self):
        lines = texts(make_run([named(name, "no-baseline") for name in "abc"]))
        assert lines.count("  all 3: because") == 1
        assert lines.count("  because") == 0

    def test_the_variant_is_abbreviated_only_where_it_must_be(self):
        (row,) = table_of(make_run([make_benchmark(antipattern="a", variant="antipattern")]))
        assert row["test"] == "a antipattern"
        long = make_benchmark(
            verdict("inconclusive", metric="throughput", ratio=1.0, ci=(0.9, 1.1), mde=1.2),
            [make_round(40 + 3 * i, 0.02 + i / 500) for i in range(3)],
            antipattern="columns_of_lists",
            variant="antipattern",
            duel=Duel("m", "throughput", Interval(1.05, 1.0, 1.1), None, True, "no effect"),
        )
        (row,) = table_of(make_run([long]))
        assert row["test"] == "columns_of_lists anti"
        assert "anti: antipattern" in " ".join(texts(make_run([long])))

    def test_many_unchanged_are_summed_up(self):
        def some(count, mde):
            found = [named(f"t{i}", "unchanged") for i in range(count)]
            return [replace(b, verdict=replace(b.verdict, mde=mde + i / 1000)) for i, b in enumerate(found)]

        few = make_run(some(MOST_UNCHANGED, 1.05))
        assert len(table_of(few)) == MOST_UNCHANGED
        assert not [line for line in texts(few) if "more unchanged" in line]
        many = make_run([*some(MOST_UNCHANGED + 30, 1.05), named("slow", "regressed")])
        assert [row["verdict"] for row in table_of(many)] == ["regressed"] + ["unchanged"] * MOST_UNCHANGED
        line = next(line for line in texts(many) if "more unchanged" in line)
        assert line == "and 30 more unchanged; slowdowns above 1.15x to 1.18x are ruled out"

    def test_many_unchanged_that_saw_nothing(self):
        lines = texts(make_run([named(f"t{i}") for i in range(MOST_UNCHANGED + 1)]))
        assert "and 1 more unchanged" in lines

    def test_many_duels_are_cut_to_those_that_say_most(self):
        good = [Duel(f"d{i}", "loads", Interval(2, 2, 2), None, True, "effect") for i in range(200)]
        bad = Duel("bad", "loads", Interval(1, 1, 1), 2.0, True, "below-floor", "too little")
        lines = section(make_run([named("a")], duels=[*good, bad]), "duels")
        assert len(lines) == 101
        assert lines[-2].startswith("  bad: fix better by 1.00x exact loads, below-floor, floor 2x")
        assert lines[-1] == "  and 101 lines more"


class TestStyles:
    @pytest.mark.parametrize(
        ("status", "style"),
        [
            ("regressed", "bad"),
            ("invalid", "bad"),
            ("inconclusive", "doubtful"),
            ("incomparable", "doubtful"),
            ("no-baseline", "doubtful"),
            ("improved", "good"),
            ("unchanged", ""),
        ],
    )
    def test_of_a_row_its_reason_and_the_closing_line(self, status, style):
        lines = lines_of(report_of(make_run([named("it", status)])))
        assert next(line for line in lines if line.text.startswith("it ")).style == style
        assert lines[-1].style == style
        if status != "unchanged":
            assert Line("  because", style) in lines

    def test_headings(self):
        titles = [line.text for line in lines_of(FULL) if line.style == "heading"]
        assert titles[2:] == [
            "duels:", "ladder:", "sweeps:", "profiles:", "from old to new:", "savings at 3.6 USD an hour:"
        ]  # fmt: skip

    def test_a_duel_below_its_floor(self):
        duel = Duel("a", "loads", Interval(1, 1, 1), 2.0, True, "below-floor", "too little")
        lines = lines_of(report_of(make_run(duels=[duel])))
        assert next(line for line in lines if "fix better by" in line.text).style == "bad"


def widths(lines):
    """Of all but those with a path."""
    return [wcswidth(line) for line in lines if "rayperf-profiles/" not in line and "baselines/" not in line]


class TestWidth:
    def test_of_everything(self):
        assert max(widths(texts(FULL))) <= COLUMNS

    @pytest.mark.parametrize("name", HOSTILE)
    def test_a_hostile_name_is_one_row(self, name):
        found = [
            replace(b, id=name, antipattern=None if i % 2 else name)
            for i, b in enumerate(full_run().benchmarks)
        ]
        report = report_of(full_run(benchmarks=found))
        lines = texts(report)
        assert max(widths(lines)) <= COLUMNS
        assert not [line for line in lines if any(unicodedata.category(c) == "Cc" for c in line)]
        ends = [line.rsplit(maxsplit=1)[-1] for line in lines[3 : lines.index("")] if line[:1] != " "]
        assert [end for end in ends if end in STATUSES] == sorted(
            (b["verdict"]["status"] for b in report["benchmarks"]), key=STATUSES.index
        )

    @given(ANY, ANY, ANY)
    @LIGHT
    def test_whatever_others_chose(self, name, metric, reason):
        duels = [
            Duel(name, metric, Interval(1234567, 3, 1e9), 1.5, None, "inconclusive", reason),
            Duel(name, metric, None, None, False, "invalid", reason),
        ]
        steps = (
            Step(name, make_rounds(n=2), None, "first"),
            Step(name, (), Interval(1, 0.5, 2e6), "inconclusive"),
        )
        verdicts = [
            Verdict(status, reason, metric=metric, ratio=12345.6, ci=(1e-9, 1e12), mde=1e5)
            for status in STATUSES
        ]  # fmt: skip
        rounds = [make_round(1e7, 12.0), make_round(2.0, 1e-7), make_round(3e9)]
        duel = duels[0]
        run = make_run(
            [
                make_benchmark(found, rounds, id=name, antipattern=antipattern, variant=variant, duel=duel)
                for found in verdicts
                for antipattern, variant in ((None, None), (name, "antipattern"), (name, "fix"))
            ],
            duels,
            ladders=[Ladder(name, "throughput", steps, None)],
            sweeps=[Sweep(name, "throughput", steps, name, (name, name), reason)],
            cost_per_hour=1234.5,
            data={"name": name, "images": 10**9},
            model={"name": name},
            environment=replace(ENVIRONMENT, id=name),
            software={"ray": name, "torch": None},
        )  # fmt: skip
        lines = texts(run)
        assert max(map(wcswidth, lines)) <= COLUMNS
        assert min(map(wcswidth, lines)) >= 0  # below 0 where one would move the cursor
        assert not any("\n" in line for line in lines)
        if not re.search(r"[\\\u2060-\u206f]", name + metric + reason):
            assert "\\u206" not in "".join(lines)  # our own marks around what is right to left

    @given(ANY)
    @LIGHT
    def test_of_verdicts_of_a_file(self, text):
        lines = texts(with_verdicts(FULL, text))
        assert max(widths(lines)) <= COLUMNS
        assert min(widths(lines)) >= 0

    def test_a_path_stays_whole(self):
        path = Path("/".join(["deep"] * 40)) / "a.html"
        run = make_run([replace(named("a"), profile=Profile({"F": path}, path, ("no events " * 20,)))])
        lines = section(run, "profiles")
        assert lines[0] == f"  a: F: {path}"
        assert lines[1] == f"  a: timeline: {path}"
        assert len(lines) == 5
        assert f"baseline written: {path}" in texts(run, [str(path)])

    @pytest.mark.parametrize("name", ["1e5", "007", "nan", "%s {x}", "\\n", "[red]", "None", "a|b", "-"])
    def test_a_name_is_no_number(self, name):
        assert table_of(make_run([named(name)]))[0]["test"] == name


class TestDuels:
    @pytest.mark.parametrize(
        ("duel", "cell"),
        [
            (Duel("m", "throughput", Interval(5.2, 4.8, 5.6), 2.0, True, "effect"), "5.20x rows/s"),
            (Duel("m", "loads", Interval(8, 8, 8), None, True, "effect"), "8.00x loads"),
            (Duel("m", "loads", Interval(1, 1, 1), None, True, "no effect"), "1.00x no effect"),
            (Duel("m", "loads", None, None, True, "effect"), "none left loads"),
            (Duel("m", "loads", None, None, True, "no effect"), "no effect"),
            (Duel("m", "loads", None, None, True, "reversed"), "reversed"),
            (Duel("m", "loads", None, None, True, "invalid"), "invalid"),
            (None, "-"),
        ],
    )
    def test_stand_with_their_fix(self, duel, cell):
        run = make_run([make_benchmark(antipattern="a", variant="antipattern"), make_benchmark(duel=duel)])
        rows = table_of(run)
        assert [row["fix is better by"] for row in rows] == ["-", cell]

    def test_of_another_file_by_the_same_name_are_not_taken(self):
        duel = Duel("model_loading", "throughput", Interval(5.2, 4.8, 5.6), 2.0, True, "effect")
        run = make_run([make_benchmark(antipattern="model_loading")], [duel])
        assert table_of(run)[0]["fix is better by"] == "-"

    @pytest.mark.parametrize(
        ("duel", "line"),
        [
            (
                Duel("model_loading", "throughput", Interval(5.2, 4.8, 5.6), 2.0, True, "effect"),
                "model_loading: fix better by 5.20x [4.80, 5.60] rows/s, floor 2x; outputs equal",
            ),
            (
                Duel("a", "loads", Interval(1, 1, 1), None, None, "no effect", "no effect in loads"),
                "a: fix better by 1.00x exact loads, no effect on CPU; outputs not compared",
            ),
            (
                Duel("a", "loads", None, 2.0, True, "effect", "loads does not happen"),
                "a: fix better by none left loads, floor 2x; outputs equal (loads does not happen)",
            ),
            (
                Duel("a", "loads", None, None, True, "no effect", "no effect in loads: it is 0"),
                "a: fix better by - loads, no effect on CPU; outputs equal (no effect in loads: it is 0)",
            ),
            (
                Duel("a", "loads", None, None, False, "invalid", "the two variants' outputs differ"),
                "a: fix better by -; outputs differ (the two variants' outputs differ)",
            ),
        ],
    )
    def test_a_line_each(self, duel, line):
        assert section(make_run(duels=[duel]), "duels") == [f"  {line}"]

    def test_no_effect_is_said_of_the_hardware(self):
        duel = Duel("m", "throughput", Interval(1.05, 1.0, 1.1), None, True, "no effect", "no effect")
        on_gpu = replace(ENVIRONMENT, gpu_count=1, gpu_model="H100")
        (line,) = section(make_run(duels=[duel], environment=on_gpu), "duels")
        assert line.endswith("rows/s, no effect on GPU; outputs equal")


LADDER = Ladder(
    "all_at_once",
    "throughput",
    (
        Step("naive", make_rounds(10), None, "first"),
        Step("pool", make_rounds(40, counters={"model_loads": 1}), Interval(4, 3.6, 4.4), "effect"),
        Step("batch size", make_rounds(40), Interval(1, 0.95, 1.05), "no effect"),
    ),
    Interval(4.0, 3.5, 4.5),
)
COUNTED = Ladder(
    "counted",
    "model_loads",
    (
        Step("naive", make_rounds(n=2, counters={"model_loads": 8}), None, "first"),
        Step("pool", make_rounds(n=2, counters={"model_loads": 0}), None, "effect"),
    ),
    None,
)
SWEEP = Sweep(
    "batch_size",
    "throughput",
    (
        Step("8", make_rounds(10), Interval(0.25, 0.22, 0.28), "worse"),
        Step("16", make_rounds(40), None, "best"),
        Step("32", make_rounds(39.6), Interval(0.99, 0.9, 1.1), "plateau"),
    ),
    "16",
    ("32",),
    "out of memory at 64: CUDA out of memory",
)


class TestLadders:
    def test_a_line_a_rung_in_order(self):
        assert section(make_run(ladders=[LADDER]), "ladder") == [
            "  all_at_once:",
            "    naive       10 [10, 10] rows/s",
            "    pool        40 [40, 40] rows/s  4.00x [3.60, 4.40]",
            "    batch size  40 [40, 40] rows/s  1.00x [0.95, 1.05], no effect",
            "    in total    4.00x [3.50, 4.50]",
        ]

    def test_none_left_of_a_counter(self):
        assert section(make_run(ladders=[COUNTED]), "ladder") == [
            "  counted:",
            "    naive     8 model_loads",
            "    pool      0 model_loads  none left",
            "    in total  -",
        ]

    def test_a_rung_that_was_not_measured(self):
        steps = (Step("a", make_rounds(cpu=None), None, "first"), Step("b", (), None, "invalid"))
        lines = section(make_run(ladders=[Ladder("bare", "cpu_seconds_per_row", steps, None)]), "ladder")
        assert lines[1:] == ["    a         - s", "    b         - s  invalid", "    in total  -"]

    def test_several_are_told_apart(self):
        lines = section(make_run(ladders=[LADDER, replace(LADDER, name="another")]), "ladder")
        assert [line for line in lines if line[2] != " "] == ["  all_at_once:", "  another:"]

    def test_final_figures_of_one_that_brought_nothing(self):
        worse = replace(LADDER, steps=LADDER.steps[::-1], total=None)
        lines = section(make_run(ladders=[worse]), "from old to new")
        assert "  total improvement    -" in lines
        assert "  best configuration   batch size (nothing mended)" in lines

    def test_none(self):
        assert section(make_run(), "ladder") == section(make_run(), "from old to new") == []


class TestSweeps:
    def test_best_first_and_a_line_a_setting(self):
        assert section(make_run(sweeps=[SWEEP]), "sweeps") == [
            f"  batch_size: best at 16; not told apart from it: 32; ended: {SWEEP.ended}",
            "     8  10 [10, 10] rows/s  0.25x [0.22, 0.28] of the best, worse",
            "    16  40 [40, 40] rows/s  best",
            "    32  39.6 [39.6, 39.6] rows/s  0.99x [0.90, 1.10] of the best, plateau",
        ]

    def test_neither_a_plateau_nor_an_end(self):
        sweep = replace(SWEEP, plateau=(), ended="")
        assert section(make_run(sweeps=[sweep]), "sweeps")[0] == "  batch_size: best at 16"

    def test_in_a_counter(self):
        sweep = Sweep("s", "model_loads", COUNTED.steps, "pool", ())
        assert section(make_run(sweeps=[sweep]), "sweeps")[1] == "    naive  8 model_loads  first"

    def test_none(self):
        assert section(make_run(), "sweeps") == []


class TestClosing:
    def test_counts_and_subject_in_one_line_where_it_fits(self):
        found = [make_benchmark(baseline=None), make_benchmark(), make_benchmark(verdict("regressed"))]
        run = make_run(found, data={"name": "s", "images": 64}, model={"name": "mobilenet"})
        assert closing(run) == [
            "1 regressed, 2 unchanged; profile quick, s (64 images), model mobilenet; environment cpu-2; 12 s"
        ]

    def test_broken_between_its_parts(self):
        run = make_run(
            [named("a"), named("b", "regressed")], environment=replace(ENVIRONMENT, id="linux-" * 8)
        )
        assert closing(run) == [
            "1 regressed, 1 unchanged; profile quick, synthetic (64 images), model mobilenet_v3_small;",
            f"  environment {'linux-' * 8}; 12 s",
        ]

    def test_very_many_of_each_verdict_are_within_the_columns_too(self):
        found = [named(f"{status}{i}", status) for status in STATUSES for i in range(143)]
        lines = closing(make_run(found))
        assert all(len(line) <= COLUMNS for line in lines)
        told = " ".join(map(str.strip, lines))
        assert all(f"143 {status}" in told for status in STATUSES)

    def test_nothing(self):
        (line,) = closing(make_run(data={}, model={}))
        assert line == "nothing measured; profile quick, no images, model none; environment cpu-2; 12 s"

    @pytest.mark.parametrize(
        ("then", "now", "said"),
        [
            (None, {"ray": "2"}, "12 s"),
            ({}, {"ray": "2"}, "12 s"),
            ({"ray": "2"}, {}, "12 s"),
            ({"ray": "2"}, {"ray": "2", "torch": "1"}, "software as in the baselines"),
            ({"ray": "2.58.1"}, {"ray": "2.60.0", "torch": "2"}, "ray 2.58.1 -> 2.60.0, torch same"),
            ({"ray": "1", "torch": None, "numpy": "1"}, {"ray": "1", "torch": "2", "numpy": None},
             "ray same, torch none -> 2, numpy 1 -> none"),
        ],
    )  # fmt: skip
    def test_software_that_changed(self, then, now, said):
        run = make_run([replace(make_benchmark(), baseline_software=then)], software=now)
        assert " ".join(map(str.strip, closing(run))).endswith(f"; {said}")

    def test_software_of_several_baselines(self):
        found = [replace(make_benchmark(), baseline_software={"ray": ray}) for ray in ("1", "2", "3")]
        assert closing(make_run(found, software={"ray": "3"}))[-1].endswith("ray 1 or 2 -> 3")
        found = [replace(make_benchmark(), baseline_software={"ray": str(ray)}) for ray in range(9)]
        assert closing(make_run(found, software={"ray": "0"}))[-1].endswith(
            "ray 1 or 2 or 3 or 5 others -> 0"
        )

    def test_much_software(self):
        then = {f"package{i:02}": "1" for i in range(20)}
        run = make_run([replace(make_benchmark(), baseline_software=then)], software=dict.fromkeys(then, "2"))
        assert " ".join(map(str.strip, closing(run))).endswith("package11 1 -> 2, 8 more changed")

    def test_files_written(self):
        lines = texts(make_run([named("a")]), ["baselines/a.json", "baselines/b\n.json"])
        assert lines[-4:-2] == ["baseline written: baselines/a.json", r"baseline written: baselines/b\n.json"]


def test_golden():
    text = "".join(f"{line.style or '-':>9} | {line.text}".rstrip() + "\n" for line in lines_of(FULL))
    golden.check("terminal.txt", text)

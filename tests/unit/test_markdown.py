"""The report as Markdown, read back by a parser of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import golden
import pytest
from builders import ENVIRONMENT, LIGHT, make_benchmark, make_run
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from reported import FULL, HOSTILE, full_round, full_run, report_of, with_verdicts
from test_html_figures import examined

from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.reports import safe
from pytest_rayperf.reports.markdown import LIMIT, render
from pytest_rayperf.results import (
    STATUSES,
    Attribution,
    Call,
    Change,
    Duel,
    Interval,
    Ladder,
    Operator,
    Profile,
    Step,
    Sweep,
    Verdict,
)
from pytest_rayperf.selftest import SAME, Selftest

ANY = st.text(st.characters(codec="utf-8"), max_size=300) | st.sampled_from(HOSTILE)
PLAIN = {"text", "strong_open", "strong_close", "em_open", "em_close"}
"""What may be in a line: no link, picture, code or HTML."""
APART = "\u200b"
"""What stands within names that GitHub would make links of; the text is intact apart from it."""
LINKS = (
    "@user", "@org/team", "a#12", "\\#12", "#12", "o/r#1", "GH-7", "gh-7",
    "www.x.org", "http://x.org", "me@x.org",
)  # fmt: skip
LINKED = re.compile(r"@[\w-]|#\d|\bgh-\d|www\.|://", re.IGNORECASE)
"""What GitHub makes links of in the text that comes of Markdown, without its entities and backslashes."""


@dataclass
class Table:
    head: list[str]
    rows: list[list[str]]

    def records(self):
        return [dict(zip(self.head, row, strict=True)) for row in self.rows]


class Read(HTMLParser):
    """What GitHub's reader would see: tables, list items, headings, and the folded parts' titles."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tables, self.items, self.headings, self.summaries, self.tags = [], [], [], [], []
        self.paragraphs, self.said = [], []
        before = tag = ""
        for token in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text):
            if token.type == "html_block":
                self.feed(token.content)
            elif token.type == "table_open":
                self.tables.append(Table([], []))
            elif token.type == "tr_open" and self.tables[-1].head:
                self.tables[-1].rows.append([])
            elif token.type == "inline":
                assert {child.type for child in token.children} <= PLAIN, token.content
                self.said.append("".join(child.content for child in token.children))
                said = self.said[-1].replace(APART, "")
                {
                    "th": lambda said: self.tables[-1].head.append(said),
                    "td": lambda said: self.tables[-1].rows[-1].append(said),
                    "li": self.items.append,
                    "h2": self.headings.append,
                    "h3": self.headings.append,
                    "p": self.paragraphs.append,
                }["li" if before == "list_item_open" else tag](said)
            assert token.type not in ("fence", "code_block", "hr", "blockquote_open", "ordered_list_open")
            if token.type.endswith("_open"):
                if token.type != "paragraph_open" or before != "list_item_open":
                    before = token.type
                tag = token.tag
        assert self.tags.count("details") == self.tags.count("/details") == len(self.summaries)

    def handle_starttag(self, tag, attrs):
        assert tag in ("details", "summary")
        assert not attrs
        self.tags.append(tag)
        if tag == "summary":
            self.summaries.append("")

    def handle_endtag(self, tag):
        assert tag in ("details", "summary")
        self.tags.append(f"/{tag}")

    def handle_data(self, data):
        if self.tags[-1] == "summary":
            self.said.append(data)
            self.summaries[-1] += data.replace(APART, "")
        else:
            assert not data.strip()

    def handle_comment(self, data):
        raise AssertionError(data)


def read(run_or_report):
    report = run_or_report if isinstance(run_or_report, dict) else report_of(run_or_report)
    return Read(render(report))


def three(value):
    return f"{value:.3g}"


def with_limits(metric, scale=1.0):
    if metric["median"] is None:
        return "-"
    text = three(metric["median"] * scale)
    return text if metric["ci"] is None else f"{text} [{', '.join(three(x * scale) for x in metric['ci'])}]"


def ratio(found):
    if found["ratio"] is None:
        return "-"
    return f"{found['ratio']:.2f}x [{found['ci'][0]:.2f}, {found['ci'][1]:.2f}]"


SHORT = {"cpu_seconds_per_row": "CPU/row", "throughput": "rows/s"}


class TestNumbers:
    data = json.loads(json.dumps(FULL))

    def test_of_each_cell_of_the_table(self):
        records = read(FULL).tables[0].records()
        benchmarks = {
            f"{b['antipattern'] or b['id'].rpartition('::')[2]} {b['variant'] or ''}".rstrip(): b
            for b in self.data["benchmarks"]
        }
        assert len(records) == len(benchmarks) == 8
        for record in records:
            b = benchmarks[record["test"]]
            found, duel, cost, saving = b["verdict"], b["duel"], b["cost"], b["saving"]
            assert record["rows/s"] == with_limits(b["metrics"]["throughput"])
            assert record["CPU ms/row"] == with_limits(b["metrics"]["cpu_seconds_per_row"], 1000)
            metric = SHORT.get(found["metric"], found["metric"])
            if found["ci"] is None and found["ratio"] is not None:
                assert record["vs baseline"] == f"{found['ratio']:.2f}x exact {metric}"
            else:
                assert record["vs baseline"] == (f"{ratio(found)} {metric}" if found["ratio"] else "-")
            assert record["sees"] == ("-" if found["mde"] is None else f"{found['mde']:.2f}x")
            assert record["finds"] == ("-" if found["finds"] is None else f"{found['finds']:.2f}x")
            if duel is None:
                assert record["fix is better by"] == "-"
            else:
                said = ratio(duel) if duel["ratio"] else "none left"
                note = ", no effect on CPU" if duel["status"] == "no effect" else ""
                said = f"{said} {SHORT.get(duel['metric'], duel['metric'])}{note}"
                assert record["fix is better by"] == said
            if cost is None:
                assert record["USD/M rows"] == "-"
            else:
                low, high = cost["ci"]
                usd = cost["usd_per_million_rows"]
                assert record["USD/M rows"] == f"{three(usd)} [{three(low)}, {three(high)}]"
            if saving is None:
                assert record["fix saves"] == "-"
            else:
                low, high = saving["share_ci"]
                assert record["fix saves"] == f"{saving['share']:.0%} [{low:.0%}, {high:.0%}]"
            assert record["verdict"] == found["status"]

    def test_of_the_details(self):
        tables = read(FULL).tables
        b = next(b for b in self.data["benchmarks"] if b["slug"] == "model_loading-fix")
        comparisons = next(t for t in tables if t.head[0] == "metric").records()
        for record, c in zip(comparisons, b["verdict"]["comparisons"], strict=True):
            unit = b["metrics"][c["metric"]]["unit"]
            assert record == {
                "metric": c["metric"],
                "verdict": c["status"],
                "baseline": f"{three(c['reference'])} {unit}",
                "now": f"{three(c['current'])} {unit}",
                "ratio": ratio(c),
                "threshold": f"{c['threshold']:.2f}x",
                "sees": f"{c['mde']:.2f}x",
                "finds": f"{c['finds']:.2f}x",
            }
        operators = [t for t in tables if "since the baseline" in t.head]
        assert len(operators) == 1
        keys = {"wall s": "wall_s", "CPU s": "cpu_s", "UDF s": "udf_s", "scheduling s": "scheduling_s",
                "backpressure s": "backpressure_s", "rows": "rows", "tasks": "tasks", "blocks": "blocks",
                "actors": "actors"}  # fmt: skip
        for record, operator in zip(operators[0].records(), b["operators"], strict=True):
            assert record["operator"] == operator["name"]
            for title, key in keys.items():
                assert record[title] == ("-" if operator[key] is None else three(operator[key]))
        ours = operators[0].records()[1]
        assert (ours["bytes in"], ours["bytes out"], ours["actors busy"]) == ("12.6M", "4096", "80%")
        assert ours["since the baseline"] == "CPU +24%, +20% of the whole"
        latency = next(t for t in tables if t.head[0] == "UDF").records()[0]
        assert latency == {
            "UDF": "Classify", "calls": "6", "p50 ms": "110", "p95 ms": "-", "p99 ms": "-", "errors": "0"
        }  # fmt: skip
        assert "Counters: model_loads 1, rows 64" in read(FULL).paragraphs

    def test_of_ladder_sweep_duels_and_final(self):
        tables = {table.head[0]: table for table in read(FULL).tables}
        ladder = self.data["ladders"][0]
        assert [row[:3] for row in tables["ladder"].rows[:-1]] == [
            ["ladder", rung["name"], f"{with_limits(rung['metrics']['throughput'])} rows/s"]
            for rung in ladder["rungs"]
        ]
        assert [row[3] for row in tables["ladder"].rows] == [
            "", ratio(ladder["rungs"][1]), f"{ratio(ladder['rungs'][2])}, no effect",
            ratio(ladder["rungs"][3]), ratio(ladder["total"]),
        ]  # fmt: skip
        assert tables["sweep"].rows == [
            [
                "batch_size", s["name"], f"{with_limits(s['metrics']['throughput'])} rows/s",
                f"{ratio(s)} of the best, {s['status']}" if s["ratio"] else s["status"],
            ]
            for s in self.data["sweeps"][0]["settings"]
        ]  # fmt: skip
        for row, duel in zip(tables["duel"].rows, self.data["duels"], strict=True):
            assert row[0] == duel["antipattern"]
            assert row[2] == ("-" if duel["floor"] is None else f"{duel['floor']:g}x")
            assert row[4].partition(";")[0] == duel["status"]
        assert tables["duel"].rows[0][1] == f"{ratio(self.data['duels'][0])} CPU/row"
        facts = {
            row[0]: row[1] for t in read(FULL).tables if t.head == ["what", "measured"] for row in t.rows
        }
        assert facts["total improvement"] == ratio(self.data["final"]["total"])
        assert facts["experiments"] == str(self.data["final"]["experiments"])
        assert facts["best throughput"] == (
            f"{with_limits(self.data['final']['best']['throughput'])} rows/s (write Parquet)"
        )

    def test_without_a_price_there_is_no_cost(self):
        head = read(full_run(cost_per_hour=None)).tables[0].head
        assert not {"USD/M rows", "fix saves"} & set(head)


class TestReads:
    def test_headline_and_what_it_belongs_to(self):
        found = read(FULL)
        assert (
            found.headings[0] == "rayperf: 2 of 8 slower; 1 invalid; 1 inconclusive; 1 no-baseline; 1 faster"
        )
        assert found.paragraphs[0] == (
            "2 regressed, 1 invalid, 1 inconclusive, 1 no-baseline, 1 improved, 2 unchanged; profile quick, "
            "synthetic (64 images), model mobilenet_v3_small; environment cpu-2; 12 s; "
            "ray 2.50.0 -> 2.51.1, torch same"
        )

    def test_reasons_of_all_that_is_neither_unchanged_nor_improved(self):
        reasons = [item for item in read(FULL).items if item.partition(", ")[0] in STATUSES]
        assert [reason.partition(", ")[0] for reason in reasons] == [
            "regressed", "regressed", "invalid", "inconclusive", "no-baseline"
        ]  # fmt: skip
        assert reasons[1].startswith(
            "regressed, model_loading fix: throughput 41.2 -> 33 rows/s, 0.80x [0.77"
        )

    def test_the_same_reason_is_said_once(self):
        same = [make_benchmark(Verdict("no-baseline", "none here"), id=f"t::{n}") for n in "abc"]
        assert read(make_run(same)).items[0] == "no-baseline, 3 tests: none here"

    def test_details_of_all_in_the_table_s_order(self):
        found = read(FULL)
        assert found.summaries == [
            *(f"{record['test']}: {record['verdict']}" for record in found.tables[0].records()),
            "Duels",
            "Environment, software and policy",
        ]

    def test_what_a_benchmark_was_measured_under(self):
        rounds = [full_round(disturbed="others used 38 %"), full_round(unseen="too short"), full_round()]
        made = replace(
            make_benchmark(rounds=rounds),
            repeated=("others used 50 %",),
            work_problem="the plan has a shuffle",
            profile=Profile({"F": Path("p/f.html")}, Path("p/t.json"), ("no events",)),
            limits={"min_throughput": 100.0},
        )
        items = read(make_run([made])).items
        assert items[1:] == [
            "round 1 was disturbed: others used 38 %",
            "of 1 of 3 rounds it is not known what disturbed them: too short",
            "measured again: others used 50 %",
            "work was not counted: the plan has a shuffle",
            "flame graph of F: p/f.html",
            "timeline: p/t.json",
            "profile: no events",
            "limits of its own: min_throughput 100",
            "baseline: baselines/cpu-2/model_loading-fix.json",
        ]

    def test_self_tests_of_very_many_pipelines_are_cut(self):
        findings = (examined(1.0, name=SAME), replace(examined(1.21), problem="it is not fit " * 40))
        tested = [Selftest(f"test_it.py::test_{n}", f"pipe {n}", Policy(), findings) for n in range(200)]
        text = render(report_of(full_run(selftests=tuple(tested), benchmarks=())))
        assert len(text) < LIMIT
        assert text.startswith("## rayperf: 200 self-tests not fit\n")
        tables, told = text.count("| Put in | Metric |"), text.count(": not fit for a threshold of 1")
        assert tables == told >= 10
        assert re.search(r"^and 1\d\d more$", text, re.MULTILINE)

    def test_nothing_measured(self):
        found = read(make_run())
        assert found.headings == ["rayperf: nothing measured"]
        assert found.summaries == ["Environment, software and policy"]

    def test_no_rounds(self):
        (record,) = read(make_run([make_benchmark(Verdict("invalid", "broken"), ())])).tables[0].records()
        assert (record["rows/s"], record["CPU ms/row"], record["verdict"]) == ("-", "-", "invalid")

    def test_facts(self):
        facts = dict(read(full_run()).tables[-1].rows)
        assert facts["commit"] == "c" * 40
        assert (facts["id"], facts["cores"], facts["ray"], facts["alpha"]) == ("cpu-2", "2", "2.51.1", "0.01")
        assert "gpu_model" not in facts


def hostile_run(text):
    """Whatever others name is named `text`."""
    operators = (Operator(text, cpu_s=1.0, rows=64), Operator("B", cpu_s=2.0))
    calls = (Call(text, 0.1, 3),) * 9
    made = replace(full_round(), operators=operators, counters={text: 1}, calls=calls, disturbed=text)
    rounds = (made,) * 3
    attribution = Attribution((Change(text, "CPU", 0.2, 0.1),), (text,), 0.0)
    base = Verdict("regressed", text, metric=text, ratio=1.5, mde=1.1, attribution=attribution)
    named = {
        "duel": Duel(text, text, Interval(1, 1, 1), None, None, "invalid", text),
        "work_problem": text,
        "repeated": (text,),
        "baseline": text,
        "limits": {text: 1.0},
        "baseline_software": {"ray": text, text: "1"},
        "profile": Profile({text: Path(text or "x")}, None, (text,)),
    }
    found = [
        replace(make_benchmark(replace(base, status=status), rounds, id=f"t.py::{variant}{text}"), **named,
                antipattern=text if variant else None, variant=variant)
        for status in ("regressed", "inconclusive", "unchanged")
        for variant in (None, "fix")
    ]  # fmt: skip
    steps = (Step(text, rounds, None, "first"), Step(text, rounds, Interval(2, 1.5, 3), "effect"))
    return make_run(
        found,
        [Duel(text, text, None, None, False, "invalid", text)],
        ladders=[Ladder(text, "throughput", steps, None)],
        sweeps=[Sweep(text, text, steps, text, (text,), text)],
        environment=replace(ENVIRONMENT, id=text, cpu_model=text),
        software={"ray": "2", text: text},
        data={"name": text, "fingerprint": text},
        model={"name": text},
        profile=text,
        policy={text: text},
        commit=text,
        cost_per_hour=1.0,
        warnings=(text, text),
    )


class TestHostileNames:
    @given(ANY)
    @LIGHT
    def test_break_nothing(self, text):
        report = report_of(hostile_run(text))
        found = read(report)
        width = len(found.tables[0].head)
        assert [len(row) for row in found.tables[0].rows] == [width] * len(report["benchmarks"])
        for table in found.tables:
            assert {len(row) for row in table.rows} <= {len(table.head)}
        assert len(found.tables[0].rows) == len(report["benchmarks"])
        assert len(render(report)) < LIMIT

    @given(ANY)
    @LIGHT
    def test_nor_do_verdicts_of_a_file(self, text):
        found = read(with_verdicts(FULL, text))
        assert [len(row) for row in found.tables[0].rows] == [len(found.tables[0].head)] * 8
        assert len(found.summaries) == 10

    @pytest.mark.parametrize(
        "text", [*HOSTILE, "- a", "1. a", "+ a", "===", "a\u2028b", "~~~", "\ud800", "---|---"]
    )
    def test_are_read_as_they_are(self, text):
        found = read(hostile_run(text))
        shown = safe.isolated(safe.visible(safe.shortened(f"{text} fix", 120)))
        records = [r for r in found.tables[0].records() if r["test"] == shown.strip()]
        assert [record["verdict"] for record in records] == ["regressed", "inconclusive", "unchanged"]
        operators = [t for t in found.tables if t.head[0] == "operator"]
        whole = safe.isolated(safe.visible(safe.shortened(text, 120)))
        assert {table.rows[0][0] for table in operators} == {whole.strip()}
        prose = safe.isolated(safe.visible(text)).strip()
        assert f"measured again: {prose}" in found.items
        assert safe.isolated(safe.visible(safe.shortened(f"{text} fix: regressed", 120))) in found.summaries


class TestLinks:
    @given(ANY | st.sampled_from(LINKS) | st.lists(st.sampled_from([*LINKS, "&#64;", "\\"])).map("".join))
    @LIGHT
    def test_nothing_is_left_that_github_makes_a_link_of(self, text):
        assert [said for said in read(hostile_run(text)).said if LINKED.search(said)] == []

    @pytest.mark.parametrize("text", LINKS)
    def test_a_zero_width_space_is_an_entity(self, text):
        for written in (safe.markdown(text), safe.summary(text)):
            assert written.isascii()
            assert written.count("&#8203;") == 1

    @pytest.mark.parametrize("text", ["test_x[2]", "a # b", "#x", "py::test", "www", "agh-1"])
    def test_other_names_have_none(self, text):
        for written in (safe.markdown(text), safe.summary(text)):
            assert "&#8203;" not in written


def many(**counts):
    """A report with so many benchmarks of each verdict; FULL's, again and again."""
    kinds = {}
    for benchmark in FULL["benchmarks"]:
        kinds.setdefault(benchmark["verdict"]["status"], benchmark)
    benchmarks = [
        {**kinds[status], "id": f"t.py::test_{status}_{i}", "antipattern": None}
        for status, count in counts.items()
        for i in range(count)
    ]
    return {**FULL, "benchmarks": benchmarks, "summary": dict.fromkeys(STATUSES, 0) | counts}


COUNTS = st.fixed_dictionaries({}, optional={s: st.integers(0, 600) for s in STATUSES if s != "incomparable"})


class TestSize:
    @given(COUNTS)
    @settings(LIGHT, max_examples=20)
    def test_is_under_the_limit_and_what_is_left_out_is_said(self, counts):
        report = many(**counts)
        text = render(report)
        assert len(text) < LIMIT
        found = Read(text)
        rows = [row[-1] for row in found.tables[0].rows] if report["benchmarks"] else []
        details = [s for s in found.summaries if s.rpartition(": ")[2] in STATUSES]
        total = len(report["benchmarks"])
        # In order, and nothing less interesting where something more interesting was left out.
        assert rows == sorted(rows, key=STATUSES.index)
        worse = total - counts.get("unchanged", 0)
        bad = counts.get("regressed", 0) + counts.get("invalid", 0)
        if "unchanged" in rows:
            assert len([row for row in rows if row != "unchanged"]) == worse
            assert len(details) >= bad
        if len(details) > bad:
            assert len(rows) == total
        told = [d.rpartition(": ")[2] for d in details]
        assert told == sorted(told, key=STATUSES.index)
        said = next((p for p in found.paragraphs if p.startswith("Left out, ")), "")
        assert bool(said) == (len(rows) < total or len(details) < total)
        if len(rows) < total:
            left = {s: n - rows.count(s) for s, n in counts.items() if n > rows.count(s)}
            assert all(f"{n} {s}" in said for s, n in left.items())
        if len(details) < total:
            assert f"the details of {total - len(details)} of {total} benchmarks" in said

    def test_of_the_suite_leaves_nothing_out(self):
        text = render(many(regressed=2, inconclusive=6, unchanged=14))
        assert "Left out" not in text

    def test_emoji_count_twice(self):
        name = "\U0001f600" * 110
        report = many(regressed=900)
        for benchmark in report["benchmarks"]:
            benchmark["antipattern"] = name
        text = render(report)
        assert len(text.encode("utf-16-le")) // 2 < LIMIT
        assert "Left out" in text

    @given(st.integers(0, 400), ANY)
    @settings(LIGHT, max_examples=20)
    def test_of_long_sections(self, count, text):
        rung = {**FULL["ladders"][0]["rungs"][1], "name": text}
        report = {
            **many(regressed=3, unchanged=3),
            "ladders": [{**FULL["ladders"][0], "antipattern": text, "rungs": [rung] * count}] * 3,
            "sweeps": [{**FULL["sweeps"][0], "name": text, "settings": [rung] * count}] * 3,
            "duels": [{**FULL["duels"][0], "antipattern": text}] * count,
            "warnings": [text] * count,
            "summary": {f"{text}{i}": 1 for i in range(count)},
            "software": {f"{text}{i}": text for i in range(count)},
            "software_changes": [
                {"name": f"{text}{i}", "from": [text] * count, "to": None} for i in range(count)
            ],
        }  # fmt: skip
        written = render(report)
        assert len(written.encode("utf-16-le")) // 2 < LIMIT
        found = Read(written)
        assert len(found.tables[0].rows) == 6
        if count == 400:
            assert "and " in written


def test_golden():
    golden.check("report.md", render(report_of(full_run(benchmarks=full_run().benchmarks[1:4]))))

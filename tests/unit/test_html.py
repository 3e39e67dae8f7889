"""The HTML report as a page: what is on it, that nothing in it can run, and how large it gets."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import golden
import pytest
from big import EVIL, hostile_run, large_report
from builders import make_benchmark, make_run
from page import Node, caption, heads, parse, rows
from reported import FULL, full_round, full_run, report_of

from pytest_rayperf.reports.html import MOST, render
from pytest_rayperf.reports.rows import headline, rows_of
from pytest_rayperf.reports.safe import visible
from pytest_rayperf.results import STATUSES, Duel, Interval

PAGE = render(FULL)
ROOT = parse(PAGE)
CSS = files("pytest_rayperf.reports").joinpath("report.css").read_text("utf-8")

TAGS = {
    *("html", "head", "meta", "title", "style", "body", "a", "header", "main", "footer", "nav", "section"),
    *("h1", "h2", "h3", "h4", "p", "b", "br", "bdi", "span", "ul", "li", "div", "dl", "dt", "dd"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "details", "summary"),
    *("svg", "defs", "symbol", "use", "desc", "text", "rect", "path", "g"),
}
ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "href", "id", "scope"),
    *("aria-labelledby", "aria-label", "aria-hidden", "role", "tabindex"),
    *("viewbox", "x", "y", "width", "height", "d"),
}
EMPTY = report_of(make_run())
UNMEASURED = report_of(make_run([make_benchmark(rounds=[], variant=None, antipattern=None, baseline=None)]))


def elements(root: Node) -> list[Node]:
    return root.everything()


class TestStructure:
    def test_it_is_a_page_in_english_with_one_heading(self):
        assert PAGE.startswith("<!DOCTYPE html>\n")
        assert ROOT.one("html").attributes["lang"] == "en"
        assert [h.text for h in ROOT.all("h1")] == [headline(FULL)]
        assert ROOT.one("head").one("title").text == f"{headline(FULL)} - pytest-rayperf"

    def test_it_has_landmarks_and_a_link_that_skips_to_the_table(self):
        for tag in ("header", "nav", "main", "footer"):
            assert len(ROOT.all(tag)) == 1
        first = next(node for node in elements(ROOT.one("body")) if node.tag == "a")
        assert first.attributes["href"] == "#overview"

    @pytest.mark.parametrize("report", [FULL, EMPTY, UNMEASURED, large_report(6, rounds=2)])
    def test_headings_skip_no_level(self, report):
        levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", render(report))]
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))

    def test_every_link_within_the_page_has_its_end(self):
        ids = [n.attributes["id"] for n in elements(ROOT) if "id" in n.attributes]
        assert len(ids) == len(set(ids))
        ends = {n.attributes["href"] for n in elements(ROOT) if n.attributes.get("href", "").startswith("#")}
        assert {end[1:] for end in ends} <= set(ids)
        named = {n.attributes["aria-labelledby"] for n in elements(ROOT) if "aria-labelledby" in n.attributes}
        assert named <= set(ids)

    def test_every_table_has_a_caption_and_heads_with_a_scope(self):
        tables = ROOT.all("table")
        assert len(tables) > 20
        for table in tables:
            assert table.one("caption").text
            assert {h.attributes.get("scope") for h in table.one("thead").all("th")} == {"col"}
            assert all(head for head in heads(table))
            assert {h.attributes.get("scope") for h in table.one("tbody").all("th")} <= {"row"}
            first = {row.everything()[0].tag for row in table.one("tbody").all("tr")}
            assert first == ({"td"} if heads(table)[0] == "Round" else {"th"})
            widths = {len([c for c in row.children if isinstance(c, Node)]) for row in table.all("tr")}
            assert len(widths) == 1

    def test_every_picture_has_a_name_a_description_and_a_table_behind_it(self):
        figures = ROOT.all("figure")
        assert len(figures) > 10
        for figure in figures:
            (picture,) = figure.all("svg", role="img")
            title, description = (picture.all(tag)[0] for tag in ("title", "desc"))
            assert title.parent is description.parent is picture
            assert title.text
            assert description.text
            assert figure.one("figcaption").text
            assert figure.one("details").all("table")

    def test_other_drawings_are_hidden_from_screen_readers(self):
        for drawing in ROOT.all("svg"):
            assert (drawing.attributes.get("role") == "img") is (drawing.parent.tag == "figure")
            if drawing.parent.tag != "figure":
                assert drawing.attributes.get("aria-hidden") == "true"

    def test_every_legend_is_of_a_shape_that_is_drawn(self):
        symbols = {s.attributes["id"] for s in ROOT.all("symbol")}
        used = {u.attributes["href"][1:] for u in ROOT.all("use")}
        assert used <= symbols
        for figure in ROOT.all("figure"):
            (picture,) = figure.all("svg", role="img")
            drawn = {frozenset((n.attributes.get("class") or "").split()) for n in picture.everything()}
            for use in figure.all("use"):
                kind = set(use.attributes["href"].removeprefix("#like-").split("-"))
                assert any(kind <= classes for classes in drawn), kind

    def test_every_class_of_the_page_has_a_style(self):
        used = {name for n in elements(ROOT) for name in (n.attributes.get("class") or "").split()}
        assert not {name for name in used if not re.search(rf"\.{re.escape(name)}\b", CSS)}


class TestContent:
    def test_the_overview_has_every_benchmark_the_worst_first(self):
        table = ROOT.one("table", class_="overview")
        found = [row.all("a")[0].text for row in table.one("tbody").all("tr")]
        assert found == [row.name for row in rows_of(FULL)]
        verdicts = [row.all("td")[0].text for row in table.one("tbody").all("tr")]
        assert verdicts == [row.status for row in rows_of(FULL)]

    def test_every_benchmark_has_its_verdict_and_its_reason_in_words(self):
        text = ROOT.one("main").text
        for benchmark in FULL["benchmarks"]:
            verdict = benchmark["verdict"]
            assert benchmark["id"] in text
            for line in verdict["reason"].splitlines():
                assert line.removeprefix(f"{verdict['status']}: ") in text

    def test_links_lead_from_the_folder_of_the_page(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        of = {
            folder: [
                a.attributes["href"]
                for a in parse(render(FULL, folder)).all("a")
                if "#" not in a.attributes["href"]
            ]
            for folder in (None, Path(), Path("out/html"))
        }
        graph, timeline = "model_loading-fix-Classify.html", "model_loading-fix.trace.json"
        assert of[None] == of[Path()] == [f"rayperf-profiles/{graph}", f"rayperf-profiles/{timeline}"]
        assert of[Path("out/html")][0] == f"../../rayperf-profiles/{graph}"

    def test_what_was_said_of_the_run_is_there(self):
        text = ROOT.text
        for said in (
            "ray 2.50.0 -> 2.51.1",
            "PSI is not to be seen here",
            "Some CPU",
            "mobilenet_v3_small",
            "1 round measured again: 38 % of the CPU was used by others",
            "bytes_read of ReadImage: 10 and 12",
            "no timeline",
            "max_slowdown=1.05",
            "3.6 USD an hour",
            "out of memory at 64",
        ):
            assert said in text

    def test_what_disturbed_the_rounds_and_of_which_that_is_not_known(self):
        measured = [full_round(disturbed="others used 38 %"), full_round(unseen="too short"), full_round()]
        page = parse(render(report_of(make_run([make_benchmark(rounds=measured)]))))
        (table,) = (t for t in page.all("table") if caption(t) == "Rounds, in turn")
        place = heads(table).index("Disturbed, fix")
        assert [row[place] for row in rows(table)] == ["others used 38 %", "not known", "no"]
        assert "1 of 3 rounds disturbed: others used 38 %" in page.text
        assert "of 1 of 3 rounds it is not known what disturbed them: too short" in page.text

    def test_what_it_costs_and_saves_is_there_with_its_interval(self):
        (fix,) = (b for b in FULL["benchmarks"] if b["saving"] and b["antipattern"] == "model_loading")
        said = {d.one("dt").text: d.one("dd").text for d in ROOT.all("dl")[3].all("div")}
        for word, found in (("costs", fix["cost"]), ("saves", fix["saving"])):
            usd, (low, high) = found["usd_per_million_rows"], found["ci"]
            assert said[word] == f"{usd:.3g} [{low:.3g}, {high:.3g}] USD a million rows"

    def test_nothing_measured(self):
        root = parse(render(EMPTY))
        assert root.one("h1").text == "nothing measured"
        assert not root.all("figure")
        assert "Nothing was measured." in root.one("main").text

    def test_no_round_is_no_zero(self):
        root = parse(render(UNMEASURED))
        (row,) = root.one("table", class_="overview").one("tbody").all("tr")
        cells = [cell.text for cell in row.all("td")]
        assert cells[1] == "-"
        assert not any(re.search(r"\b0\b", cell) for cell in cells)
        assert not root.all("figure")

    def test_without_a_price_there_is_no_column_for_it(self):
        plain = parse(render(report_of(full_run(cost_per_hour=None))))
        assert "Saves" in heads(ROOT.one("table", class_="overview"))
        assert "Saves" not in heads(plain.one("table", class_="overview"))

    def test_a_report_of_an_earlier_version_has_less(self):
        newer = ("duels", "ladders", "sweeps", "selftest", "final", "warnings", "cost_per_hour_usd")
        old = {key: value for key, value in FULL.items() if key not in (*newer, "software_changes")}
        keys = ("utilization", "history", "cost", "saving", "latency", "nodes", "profile", "work", "limits")
        old["benchmarks"] = [
            {key: value for key, value in benchmark.items() if key not in keys}
            for benchmark in FULL["benchmarks"]
        ]
        root = parse(render(old))
        assert root.one("h1").text == headline(FULL)

    def test_two_tests_of_the_same_name_have_a_section_each(self):
        one = make_benchmark(id="a.py::test_x[fix]")
        other = make_benchmark(id="b.py::test_x[fix]")
        root = parse(render(report_of(make_run([one, other]))))
        assert len(root.all("section", class_="test")) == 2

    def test_each_of_them_has_its_own_duels(self):
        def pair(file, ratio):
            duel = Duel("x", "throughput", Interval(ratio, ratio, ratio), None, True, "effect")
            floor = replace(duel, metric="model_loads", floor=2.0)
            bad, fix = (
                make_benchmark(id=f"{file}.py::test_x[{variant}]", antipattern="x", variant=variant)
                for variant in ("antipattern", "fix")
            )
            return [bad, replace(fix, duel=duel)], [duel, floor]

        (a, of_a), (b, of_b) = pair("a", 2.0), pair("b", 3.0)

        def shown(benchmarks, duels):
            sections = parse(render(report_of(make_run(benchmarks, duels)))).all("section", class_="test")
            tables = [[t for t in s.all("table") if caption(t).startswith("Fix against")] for s in sections]
            return [[row[:2] for t in of for row in rows(t)] for of in tables]

        # The report's duels do not say of which file they are; the benchmark's own does.
        assert shown([*a, *b], [*of_a, *of_b]) == [[["throughput", "2.00x"]], [["throughput", "3.00x"]]]
        assert shown(a, of_a) == [[["throughput", "2.00x"], ["model_loads", "2.00x"]]]

    @pytest.mark.parametrize(
        ("lacks", "told"),
        [
            ({"cores": None, "gpu_count": None, "gpu_model": None}, ("-", "-")),
            ({"cores": 2, "gpu_count": 0, "gpu_model": None}, ("2", "none")),
            ({"cores": 2, "gpu_count": 2, "gpu_model": "H100"}, ("2", "2 x H100")),
            ({"cores": 2, "gpu_count": 2, "gpu_model": None}, ("2", "2 x -")),
        ],
    )
    def test_what_is_not_known_of_the_machine_is_said_to_be_missing(self, lacks, told):
        root = parse(render({**FULL, "environment": {**FULL["environment"], **lacks}}))
        said = {d.one("dt").text: d.one("dd").text for of in root.all("dl") for d in of.all("div")}
        assert (said["cores"], said["GPU"]) == told

    def test_a_small_report_is_the_golden_one(self):
        run = full_run()
        small = replace(run, benchmarks=run.benchmarks[:2], duels=run.duels[:2], ladders=(), sweeps=())
        text = re.sub(
            r"<style>.*?</style>", "<style>(report.css)</style>", render(report_of(small)), flags=re.S
        )
        golden.check("report.html", re.sub(r"sha256-[^']*", "sha256-(of report.css)", text))


SCHEMA = json.loads(files("pytest_rayperf.reports").joinpath("report.schema.json").read_text("utf-8"))


def nulled(value, schema, chosen, key=""):
    """`value` with null wherever the schema allows it and `chosen` is true of the key it stands under."""
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        known, nothing = schema["anyOf"]
        assert nothing == {"type": "null"}
        return None if chosen(key) else nulled(value, known, chosen, key)
    if "null" in schema.get("type", ()) and chosen(key):
        return None
    if isinstance(value, dict):
        names, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        return {name: nulled(one, names.get(name, others), chosen, name) for name, one in value.items()}
    if isinstance(value, list):
        return [nulled(one, schema.get("items", {}), chosen, key) for one in value]
    return value


def nullable() -> list[str]:
    """Keys of the full report under which null could be where something is."""
    found: set[str] = set()
    nulled(FULL, SCHEMA, lambda key: bool(found.add(key)))
    return [name for name in sorted(found) if nulled(FULL, SCHEMA, name.__eq__) != FULL]


class TestNotMeasured:
    @pytest.mark.parametrize("name", nullable())
    def test_nothing_of_that_name_was(self, name):
        report = nulled(FULL, SCHEMA, name.__eq__)
        root = parse(render(report))
        assert root.one("h1").text == headline(report)
        assert not {"None", "null", "nan"} & set(re.findall(r"\w+", root.one("main").text))

    def test_nothing_at_all_was(self):
        root = parse(render(nulled(FULL, SCHEMA, lambda key: True)))
        assert not root.all("figure")
        cells = [cell.text for cell in root.one("table", class_="overview").one("tbody").all("td")]
        assert {"-", ""} < set(cells)
        assert not any(re.search(r"\d", cell) for cell in cells)


class TestNothingRuns:
    def test_the_policy_allows_its_own_style_and_nothing_else(self):
        (policy,) = (
            m for m in ROOT.all("meta") if m.attributes.get("http-equiv") == "Content-Security-Policy"
        )
        style = ROOT.one("style").text
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert policy.attributes["content"].split("; ") == [
            "default-src 'none'",
            f"style-src 'sha256-{digest}'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
        assert style == CSS
        assert "<" not in CSS
        assert "url(" not in CSS
        assert "@import" not in CSS

    @pytest.mark.parametrize("evil", EVIL)
    def test_hostile_names_stay_texts(self, evil):
        run = hostile_run(evil)
        root = parse(render(report_of(run)))
        assert {n.tag for n in elements(root)} <= TAGS
        assert {name for n in elements(root) for name in n.attributes} <= ATTRIBUTES
        hrefs = {n.attributes["href"] for n in elements(root) if "href" in n.attributes}
        assert {h for h in hrefs if not h.startswith("#")} == {"p/x.html", "javascript%3Aalert%281%29"}
        shown = visible(evil)
        assert sum(shown in n.text for n in root.all("td") + root.all("th")) > 5
        assert shown in root.one("section", class_="warnings").text
        assert any(shown in title.text for title in root.all("desc"))

    @pytest.mark.parametrize("evil", EVIL)
    def test_hostile_names_change_nothing_of_the_page_but_texts(self, evil):
        def shape(root):
            return [
                (n.tag, n.attributes.get("class")) for n in elements(root) if n.tag not in ("bdi", "title")
            ]

        line = " ".join(evil.splitlines())  # a reason of two lines is two lines
        found, plain = (
            shape(parse(render(report_of(hostile_run(name))))) for name in (line, "x" * len(line))
        )
        assert found == plain

    @pytest.mark.parametrize("evil", EVIL)
    def test_words_of_ours_that_a_file_has_changed_stay_texts(self, evil):
        text = json.dumps(FULL)
        for word in (*STATUSES, "effect", "plateau", "CPU", "throughput", "antipattern", "higher"):
            text = text.replace(f': "{word}"', f": {json.dumps(evil)}")
        report = json.loads(text)
        report["summary"] = {evil: 8}
        root = parse(render(report))
        assert {n.tag for n in elements(root)} <= TAGS
        assert {name for n in elements(root) for name in n.attributes} <= ATTRIBUTES
        assert visible(evil) in root.one("header").text

    @pytest.mark.parametrize("evil", ["\x1b[31m", "\u202etluafed\u202c", "\ud800", "a\x00b", "\u2028"])
    def test_nothing_invisible_is_left_in_it(self, evil):
        text = render(report_of(hostile_run(evil)))
        assert evil not in text
        text.encode("utf-8")
        assert visible(evil) in text

    @pytest.mark.parametrize(
        ("path", "href"),
        [
            ("//evil.example/x", "/evil.example/x"),
            ("https://evil.example/x", "https%3A//evil.example/x"),
            ("a b/\u05e9?x#y.html", "a%20b/%D7%A9%3Fx%23y.html"),
        ],
    )
    def test_a_link_is_a_path(self, path, href):
        report = {**FULL, "benchmarks": [dict(FULL["benchmarks"][1])]}
        report["benchmarks"][0]["profile"] = {"flame_graphs": {"f": path}, "timeline": None, "problems": []}
        root = parse(render(report))
        assert href in {a.attributes["href"] for a in root.all("a")}

    def test_right_to_left_letters_are_isolated(self):
        root = parse(render(report_of(hostile_run("\u05e9\u05dc\u05d5\u05dd"))))
        for node in elements(root):
            own = "".join(child for child in node.children if isinstance(child, str))
            if "\u05e9" in own:
                # A description is read out, in the order in which it is written.
                assert node.tag == "bdi" or "\u2068" in own or node.tag == "desc", own


class TestSize:
    def test_the_full_suite_is_under_a_megabyte_with_all_its_pictures(self):
        text = render(large_report(63))
        assert len(text.encode()) < 1_000_000
        assert "Without its pictures" not in text

    def test_more_leave_out_pictures_of_what_changed_least_and_say_so(self):
        report = large_report(80)
        text = render(report)
        assert len(text.encode()) <= MOST
        sections = parse(text).all("section", class_="test")
        pictured = [bool(section.all("figure")) for section in sections]
        assert 20 < sum(pictured) < len(sections)
        assert pictured == sorted(pictured, reverse=True)
        for section, has in zip(sections, pictured, strict=True):
            assert ("Without its pictures" in section.text) is not has
            assert "Metrics, medians over the rounds" in section.text


def variables() -> dict[str, dict[str, str]]:
    light, dark = re.findall(r":root \{(.*?)\}", CSS, flags=re.S)
    read = lambda block: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))  # noqa: E731
    return {"light": read(light), "dark": read(dark)}


def luminance(colour: str) -> float:
    """Relative luminance, by WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


class TestColours:
    def test_both_schemes_have_every_colour(self):
        found = variables()
        assert found["light"].keys() == found["dark"].keys()
        assert set(re.findall(r"var\(--([\w-]+)\)", CSS)) == found["light"].keys()

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("ground", ["paper", "wash"])
    def test_texts_and_shapes_stand_out(self, scheme, ground):
        colours = variables()[scheme]
        for name in colours.keys() - {"paper", "wash", "line"}:
            assert contrast(colours[name], colours[ground]) >= 4.5, name

    def test_paper_is_light_and_shows_what_is_folded(self):
        (printed,) = re.findall(r"@media print \{(.*)\}", CSS, flags=re.S)
        assert "::details-content" in printed
        assert "@media screen and (prefers-color-scheme: dark)" in CSS
        assert CSS.count("prefers-color-scheme") == 1

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from builders import (
    ENVIRONMENT,
    LIGHT,
    SUBJECT,
    make_benchmark,
    make_reference,
    make_round,
    make_rounds,
    make_run,
)
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.policy import Policy
from pytest_rayperf.reports import json as json_report
from pytest_rayperf.reports import terminal
from pytest_rayperf.results import (
    METRICS,
    STATUSES,
    Attribution,
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
from pytest_rayperf.verdict import judge

REGRESSED = Verdict(
    "regressed",
    "regressed: throughput 41.2 -> 33 rows/s\nregressed: cpu_seconds_per_row 1 -> 2 s",
    metric="throughput",
    ratio=0.8,
    ci=(0.77, 0.83),
    threshold=1.1,
    mde=1.15,
)
DUEL = Duel("model_loading", "throughput", Interval(5.2, 4.8, 5.6), 2.0, True, "effect")

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


def verdict(status, **more):
    return Verdict(status, f"{status}: because", **more)


def rendered(run):
    return json_report.render(json_report.report_on(run))


def report(*benchmarks, **more):
    return json.loads(rendered(make_run(benchmarks, **more)))


def lines_of(run):
    return terminal.table(run).splitlines()


class TestJsonKeys:
    @pytest.mark.parametrize("benchmark_count", [0, 1, 3])
    def test_are_the_same_however_little_was_measured(self, benchmark_count):
        full = report(make_benchmark(REGRESSED), duels=[DUEL])
        assert set(report(*[make_benchmark(rounds=())] * benchmark_count)) == set(full)
        if benchmark_count:
            found = report(make_benchmark(rounds=()))["benchmarks"][0]
            assert set(found) == set(full["benchmarks"][0])
            assert set(found["verdict"]) == set(full["benchmarks"][0]["verdict"])


class TestJsonValues:
    def test_version(self):
        assert report()["schema_version"] == 1

    def test_facts_of_the_run(self):
        run = make_run()
        data = json.loads(rendered(run))
        assert (data["started_at"], data["duration_s"], data["profile"]) == (run.started_at, 12.3, "quick")
        assert data["environment"]["id"] == "cpu-2"
        assert data["environment"]["gpu_model"] is None
        assert data["software"] == dict(run.software)
        assert data["data"] == dict(run.data)
        assert data["model"] == dict(run.model)
        assert data["policy"] == dict(run.policy)
        assert data["warnings"] == []

    def test_raw_rounds(self):
        rounds = [
            make_round(10.0, 0.5, memory=7, figures={"spilled_bytes": 0.0}),
            make_round(20.0, 0.25, memory=9, figures={"spilled_bytes": 5.0}),
        ]
        (benchmark,) = report(make_benchmark(rounds=rounds))["benchmarks"]
        assert benchmark["rounds"] == {
            **{name: [None, None] for name in METRICS},
            "throughput": pytest.approx([10, 20]),
            "cpu_seconds_per_row": pytest.approx([0.5, 0.25]),
            "peak_worker_memory": [7, 9],
            "wall_seconds": pytest.approx([6.4, 3.2]),
            "spilled_bytes": [0, 5],
        }

    @pytest.mark.parametrize(("figures", "median"), [([10], 10), ([10, 30], 20), ([5, 10, 40], 10)])
    def test_medians(self, figures, median):
        (benchmark,) = report(make_benchmark(rounds=[make_round(f) for f in figures]))["benchmarks"]
        metric = benchmark["metrics"]["throughput"]
        assert metric["median"] == pytest.approx(median)
        if len(figures) < 3:
            assert metric["ci"] is None
        else:
            assert metric["ci"][0] < median < metric["ci"][1]

    def test_units_and_directions(self):
        metrics = report(make_benchmark())["benchmarks"][0]["metrics"]
        assert {name: (m["unit"], m["direction"]) for name, m in metrics.items()} == {
            "throughput": ("rows/s", "higher"),
            "cpu_seconds_per_row": ("s", "lower"),
            "peak_worker_memory": ("bytes", "lower"),
            "reused_workers": ("workers", "lower"),
            "wall_seconds": ("s", "lower"),
            "object_store_written": ("bytes", "lower"),
            "object_store_peak": ("bytes", "lower"),
            "spilled_bytes": ("bytes", "lower"),
            "driver_memory_growth": ("bytes", "lower"),
            "bytes_written": ("bytes", "lower"),
            "files_written": ("files", "lower"),
            "tasks": ("tasks", "lower"),
            "startup_seconds": ("s", "lower"),
            "steady_throughput": ("rows/s", "higher"),
            "worker_cpu_seconds": ("s", "lower"),
            "total_worker_memory": ("bytes", "lower"),
            "driver_cpu_seconds": ("s", "lower"),
            "sampler_cpu_seconds": ("s", "lower"),
            "gpu_utilization_mean": ("percent", "higher"),
            "gpu_memory_peak": ("bytes", "lower"),
            "gpu_power_total": ("W", "lower"),
            "gpu_clock_mean": ("MHz", "higher"),
            "gpu_temperature_max": ("degrees Celsius", "lower"),
            "gpu_throttled": ("share of the time", "lower"),
            "joules_per_row": ("J", "lower"),
            "rows_per_second_per_watt": ("rows/s/W", "higher"),
        }

    def test_verdict(self):
        (benchmark,) = report(make_benchmark(REGRESSED))["benchmarks"]
        assert benchmark["verdict"] == {
            "status": "regressed",
            "metric": "throughput",
            "ratio": 0.8,
            "ci": [0.77, 0.83],
            "threshold": 1.1,
            "mde": 1.15,
            "reason": REGRESSED.reason,
            "attribution": None,
            "comparisons": [],
        }

    def test_attribution(self):
        found = Attribution((Change("MapBatches(Classifier)", "CPU", 0.24, 0.2),), ("Write",), 0.05)
        (benchmark,) = report(make_benchmark(replace(REGRESSED, attribution=found)))["benchmarks"]
        assert benchmark["verdict"]["attribution"] == {
            "operators": [{"operator": "MapBatches(Classifier)", "kind": "CPU", "own": 0.24, "share": 0.2}],
            "new": ["Write"],
            "waiting": 0.05,
        }

    def test_a_profile(self):
        graphs = {"Classifier": Path("rayperf-profiles/a-Classifier.html")}
        profile = Profile(graphs, None, ("no timeline: Ray has no events",))
        run = make_run([replace(make_benchmark(), profile=profile)])
        (benchmark,) = json.loads(rendered(run))["benchmarks"]
        assert benchmark["profile"] == {
            "flame_graphs": {"Classifier": "rayperf-profiles/a-Classifier.html"},
            "timeline": None,
            "problems": ["no timeline: Ray has no events"],
        }
        assert terminal.profile_lines(run) == [
            "test_model_loading[fix]: Classifier: rayperf-profiles/a-Classifier.html",
            "test_model_loading[fix]: no timeline: Ray has no events",
        ]

    def test_rounds_that_something_disturbed(self):
        rounds = [make_round(), make_round(disturbed="others used 38 %")]
        made = replace(make_benchmark(rounds=rounds), repeated=("others used 50 %",))
        (benchmark,) = report(made)["benchmarks"]
        assert benchmark["disturbed"] == [None, "others used 38 %"]
        assert benchmark["repeated"] == ["others used 50 %"]

    def test_nodes(self):
        round_ = replace(make_round(), nodes={"a": {"cpu_seconds": 2.0}, "b": {}})
        (benchmark,) = report(make_benchmark(rounds=[round_, make_round()]))["benchmarks"]
        assert benchmark["nodes"] == [{"a": {"cpu_seconds": 2.0}, "b": {}}, {}]

    def test_duel(self):
        (duel,) = report(duels=[DUEL])["duels"]
        assert (duel["ratio"], duel["ci"], duel["floor"]) == (5.2, [4.8, 5.6], 2.0)
        assert (duel["metric"], duel["outputs_equal"], duel["status"]) == ("throughput", True, "effect")

    def test_ladder(self):
        (ladder,) = report(ladders=[LADDER])["ladders"]
        assert (ladder["antipattern"], ladder["metric"]) == ("all_at_once", "throughput")
        assert ladder["total"] == {"ratio": 4.0, "ci": [3.5, 4.5]}
        assert [rung["name"] for rung in ladder["rungs"]] == ["naive", "pool", "batch size"]
        first, second, third = ladder["rungs"]
        assert (first["status"], first["ratio"], first["ci"]) == ("first", None, None)
        assert (second["status"], second["ratio"], second["ci"]) == ("effect", 4.0, [3.6, 4.4])
        assert third["status"] == "no effect"
        assert second["rounds"] == {"throughput": pytest.approx([40] * 3)}
        assert second["metrics"]["throughput"]["median"] == pytest.approx(40)
        assert second["metrics"]["throughput"]["unit"] == "rows/s"
        assert second["counters"] == {"rows": 64, "model_loads": 1}

    def test_sweep(self):
        (sweep,) = report(sweeps=[SWEEP])["sweeps"]
        assert (sweep["name"], sweep["metric"], sweep["best"]) == ("batch_size", "throughput", "16")
        assert (sweep["plateau"], sweep["ended"]) == (["32"], "out of memory at 64: CUDA out of memory")
        assert [s["status"] for s in sweep["settings"]] == ["worse", "best", "plateau"]
        assert [s["ratio"] for s in sweep["settings"]] == [0.25, None, 0.99]
        assert sweep["settings"][0]["rounds"] == {"throughput": pytest.approx([10] * 3)}

    def test_a_ladder_in_a_counter(self):
        (ladder,) = report(ladders=[COUNTED])["ladders"]
        first, second = ladder["rungs"]
        assert (first["rounds"], second["rounds"]) == ({"model_loads": [8, 8]}, {"model_loads": [0, 0]})
        assert first["metrics"]["model_loads"] == {
            "unit": "",
            "direction": "lower",
            "median": 8,
            "ci": None,
        }

    def test_operators_are_medians_by_name_in_order(self):
        def one(cpu, tasks):
            return make_round(operators=[Operator("B", cpu_s=cpu, tasks=tasks), Operator("A", wall_s=cpu)])

        (benchmark,) = report(make_benchmark(rounds=[one(1, 2), one(5, 2), one(2, None)]))["benchmarks"]
        assert [o["name"] for o in benchmark["operators"]] == ["B", "A"]
        assert (benchmark["operators"][0]["cpu_s"], benchmark["operators"][0]["tasks"]) == (2, 2)
        assert (benchmark["operators"][1]["cpu_s"], benchmark["operators"][1]["wall_s"]) == (None, 2)

    def test_counters_hold_the_rows(self):
        (benchmark,) = report(make_benchmark(rounds=make_rounds(counters={"loads": 2})))["benchmarks"]
        assert benchmark["counters"] == {"rows": 64, "loads": 2}

    @pytest.mark.parametrize("counts", [{}, {"unchanged": 2}, dict.fromkeys(STATUSES, 1)])
    def test_counts_by_verdict(self, counts):
        benchmarks = [make_benchmark(verdict(status)) for status, n in counts.items() for _ in range(n)]
        assert report(*benchmarks)["summary"] == {**dict.fromkeys(STATUSES, 0), **counts}

    def test_a_real_verdict(self):
        found = judge(make_rounds(15, 0.05), SUBJECT, make_reference(), Policy())
        (benchmark,) = report(make_benchmark(found, make_rounds(15, 0.05)))["benchmarks"]
        assert benchmark["verdict"]["ratio"] == found.ratio
        assert benchmark["verdict"]["reason"] == found.reason


class TestJsonMissing:
    def test_null_and_never_zero(self):
        rounds = make_rounds(40, None)
        (benchmark,) = report(make_benchmark(verdict("no-baseline"), rounds, baseline=None))["benchmarks"]
        assert benchmark["baseline"] is None
        for name in ("cpu_seconds_per_row", "peak_worker_memory"):
            assert benchmark["rounds"][name] == [None] * 3
            assert benchmark["metrics"][name]["median"] is None
            assert benchmark["metrics"][name]["ci"] is None
        for name in ("metric", "ratio", "ci", "threshold", "mde"):
            assert benchmark["verdict"][name] is None
        assert benchmark["operators"][0]["cpu_s"] is None

    def test_a_metric_that_some_rounds_lack_has_no_median(self):
        rounds = [make_round(memory=5), make_round(memory=6), make_round()]
        (benchmark,) = report(make_benchmark(rounds=rounds))["benchmarks"]
        assert benchmark["rounds"]["peak_worker_memory"] == [5, 6, None]
        assert benchmark["metrics"]["peak_worker_memory"]["median"] is None

    def test_a_measured_zero_is_zero(self):
        (benchmark,) = report(make_benchmark(rounds=make_rounds(cpu=0.0)))["benchmarks"]
        assert benchmark["metrics"]["cpu_seconds_per_row"]["median"] == 0
        assert benchmark["metrics"]["cpu_seconds_per_row"]["ci"] is None

    def test_no_rounds(self):
        (benchmark,) = report(make_benchmark(verdict("invalid"), ()))["benchmarks"]
        assert benchmark["rounds"] == {name: [] for name in METRICS}
        assert (benchmark["counters"], benchmark["operators"]) == ({}, [])
        assert {m["median"] for m in benchmark["metrics"].values()} == {None}

    def test_a_step_without_the_metric(self):
        bare = Step("a", make_rounds(cpu=None), None, "invalid")
        sweep = Sweep("s", "cpu_seconds_per_row", (bare, Step("b", (), None, "invalid")), "a", ())
        one, other = report(sweeps=[sweep])["sweeps"][0]["settings"]
        assert one["rounds"] == {"cpu_seconds_per_row": [None] * 3}
        assert one["metrics"]["cpu_seconds_per_row"]["median"] is None
        assert (other["rounds"], other["counters"]) == ({"cpu_seconds_per_row": []}, {})

    def test_a_duel_without_a_ratio(self):
        (duel,) = report(duels=[Duel("a", "throughput", None, None, None, "invalid", "not measured")])[
            "duels"
        ]
        assert duel["ratio"] is duel["ci"] is duel["floor"] is duel["outputs_equal"] is None

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_no_json_that_is_none(self, bad):
        with pytest.raises(ValueError, match="JSON"):
            rendered(make_run([make_benchmark(verdict("regressed", ratio=bad))]))

    @given(st.text(), st.text(), st.text())
    @LIGHT
    def test_any_names(self, id, antipattern, reason):
        data = report(make_benchmark(Verdict("invalid", reason), id=id, antipattern=antipattern))
        (benchmark,) = data["benchmarks"]
        assert (benchmark["id"], benchmark["antipattern"]) == (id, antipattern)
        assert benchmark["verdict"]["reason"] == reason


class TestTable:
    def test_columns(self):
        assert list(terminal.frame(make_run()).columns) == [
            "anti-pattern",
            "variant",
            "rows/s",
            "CPU ms/row",
            "vs baseline",
            "fix is better by",
            "verdict",
        ]

    def test_holds_the_numbers_of_the_json(self):
        rounds = [make_round(r, c) for r, c in ((38.1, 0.021), (40.3, 0.0223), (43.9, 0.0254))]
        run = make_run([make_benchmark(REGRESSED, rounds, duel=DUEL)], [DUEL])
        data = json.loads(rendered(run))
        (benchmark,) = data["benchmarks"]
        (row,) = terminal.frame(run).to_dict("records")
        speed, cpu = (benchmark["metrics"][name] for name in ("throughput", "cpu_seconds_per_row"))
        low, high = speed["ci"]
        assert row["rows/s"] == f"{speed['median']:.3g} [{low:.3g}, {high:.3g}]"
        low, high = cpu["ci"]
        assert row["CPU ms/row"] == f"{1000 * cpu['median']:.3g} [{1000 * low:.3g}, {1000 * high:.3g}]"
        assert row["vs baseline"] == "0.80x [0.77, 0.83] rows/s"
        assert row["fix is better by"] == "5.20x [4.80, 5.60] rows/s"
        assert row["verdict"] == benchmark["verdict"]["status"]
        text = terminal.table(run)
        assert all(cell in text for cell in row.values())

    def test_numbers_keep_their_zeros(self):
        run = make_run([make_benchmark(verdict("improved", ratio=1.5, ci=(1.2, 1.9), metric="throughput"))])
        assert "1.50x [1.20, 1.90] rows/s" in terminal.table(run)

    def test_missing_is_a_dash(self):
        bare = make_benchmark(verdict("no-baseline"), [make_round(cpu=None)], antipattern=None, variant=None)
        (row,) = terminal.frame(make_run([bare])).to_dict("records")
        assert row["anti-pattern"] == "test_model_loading[fix]"
        assert row["rows/s"] == "40"
        assert {row[name] for name in ("variant", "CPU ms/row", "vs baseline", "fix is better by")} == {"-"}

    def test_no_rounds(self):
        (row,) = terminal.frame(make_run([make_benchmark(verdict("invalid"), ())])).to_dict("records")
        assert (row["rows/s"], row["verdict"]) == ("-", "invalid")

    @pytest.mark.parametrize(
        ("found", "cell"),
        [
            ({"metric": "model_loads", "ratio": 2.0}, "2.00x exact model_loads"),
            ({"metric": "cpu_seconds_per_row", "ratio": 1.2, "ci": (1.1, 1.3)}, "1.20x [1.10, 1.30] CPU/row"),
            ({"metric": "throughput", "threshold": 100.0}, "-"),
        ],
    )
    def test_against_the_baseline(self, found, cell):
        (row,) = terminal.frame(make_run([make_benchmark(verdict("regressed", **found))])).to_dict("records")
        assert row["vs baseline"] == cell

    @pytest.mark.parametrize(
        ("duel", "cell"),
        [
            (DUEL, "5.20x [4.80, 5.60] rows/s"),
            (Duel("model_loading", "loads", Interval(8, 8, 8), None, True, "effect"), "8.00x exact loads"),
            (
                Duel("model_loading", "loads", Interval(1, 1, 1), None, True, "no effect"),
                "1.00x exact loads, no effect on CPU",
            ),
            (Duel("model_loading", "loads", None, None, True, "effect"), "none left loads"),
            (Duel("model_loading", "loads", None, None, True, "no effect"), "- loads, no effect on CPU"),
            (Duel("model_loading", "loads", None, None, True, "reversed"), "- loads, reversed"),
            (Duel("model_loading", "loads", None, None, True, "invalid"), "-"),
            (None, "-"),
        ],
    )
    def test_the_duel_stands_with_its_fix(self, duel, cell):
        run = make_run([make_benchmark(variant="antipattern"), make_benchmark(duel=duel)])
        assert list(terminal.frame(run)["fix is better by"]) == ["-", cell]

    def test_no_effect_is_said_of_the_hardware(self):
        duel = Duel("m", "throughput", Interval(1.05, 1.0, 1.1), None, True, "no effect", "no effect")
        on_gpu = replace(ENVIRONMENT, gpu_count=1, gpu_model="H100")
        run = make_run([make_benchmark(duel=duel)], [duel], environment=on_gpu)
        assert list(terminal.frame(run)["fix is better by"]) == [
            "1.05x [1.00, 1.10] rows/s, no effect on GPU"
        ]
        assert terminal.duel_lines(run)[0].endswith("rows/s, no effect on GPU; outputs equal")

    def test_a_duel_of_another_file_by_the_same_name_is_not_taken(self):
        run = make_run([make_benchmark(antipattern="model_loading")], [DUEL])
        assert list(terminal.frame(run)["fix is better by"]) == ["-"]

    def test_one_row_a_benchmark_in_order(self):
        run = make_run([make_benchmark(antipattern=name) for name in ("b", "a", "c")])
        assert list(terminal.frame(run)["anti-pattern"]) == ["b", "a", "c"]
        assert len(lines_of(run)) == 2 + 3

    def test_nothing_measured(self):
        assert "anti-pattern" in terminal.table(make_run())

    @pytest.mark.parametrize(
        "name",
        [
            "a|b",
            "1e5",
            "007",
            "nan",
            "<b>",
            "ünïcode",
            "日本",
            "%s {x}",
            "\\n",
            "",
            " ",
            "[red]",
            "None",
            "a" * 300,
        ],
    )
    def test_a_hostile_name_is_one_line(self, name):
        run = make_run([make_benchmark(antipattern=name or None, id=f"t.py::{name}"), make_benchmark()])
        lines = lines_of(run)
        assert len(lines) == 4
        assert lines[2].startswith(name.strip())
        assert lines[2].endswith("unchanged")


class TestReasons:
    def test_a_line_each_worst_first(self):
        benchmarks = [make_benchmark(verdict(status), id=f"t.py::{status}") for status in reversed(STATUSES)]
        lines = terminal.reasons(make_run(benchmarks))
        assert [line.split(": ")[1] for line in lines] == [s for s in STATUSES if s != "unchanged"]

    def test_a_line_a_metric(self):
        lines = terminal.reasons(make_run([make_benchmark(REGRESSED)]))
        assert lines == [
            "test_model_loading[fix]: regressed: throughput 41.2 -> 33 rows/s",
            "test_model_loading[fix]: regressed: cpu_seconds_per_row 1 -> 2 s",
        ]

    @pytest.mark.parametrize(
        ("reason", "line"), [("gone", "invalid: gone"), ("invalid: gone", "invalid: gone"), ("", "invalid: ")]
    )
    def test_the_status_is_said_once(self, reason, line):
        run = make_run([make_benchmark(Verdict("invalid", reason), id="t.py::test_a", variant=None)])
        assert terminal.reasons(run) == [f"test_a: {line}"]

    def test_the_variant_is_said_once(self):
        found = [
            make_benchmark(verdict("invalid"), id=id)
            for id in ("t.py::test_a", "t.py::test_a[fix]", "t.py::test_a[2-fix]")
        ]
        labels = [line.split(": ")[0] for line in terminal.reasons(make_run(found))]
        assert labels == ["test_a fix", "test_a[fix]", "test_a[2-fix]"]

    def test_nothing_to_tell(self):
        assert terminal.reasons(make_run([make_benchmark()])) == []


class TestDuelLines:
    @pytest.mark.parametrize(
        ("duel", "line"),
        [
            (DUEL, "model_loading: fix better by 5.20x [4.80, 5.60] rows/s, floor 2x; outputs equal"),
            (
                Duel("a", "loads", Interval(1, 1, 1), None, None, "no effect", "no effect in loads"),
                "a: fix better by 1.00x exact loads, no effect on CPU; outputs not compared",
            ),
            (
                Duel("a", "loads", None, 2.0, True, "effect", "loads does not happen in the fix at all"),
                "a: fix better by none left loads, floor 2x; outputs equal "
                "(loads does not happen in the fix at all)",
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
        assert terminal.duel_lines(make_run(duels=[duel])) == [line]


class TestLadderLines:
    def test_a_line_a_rung_in_order(self):
        assert terminal.ladder_lines(make_run(ladders=[LADDER])) == [
            "all_at_once:",
            "  naive       10 [10, 10] rows/s",
            "  pool        40 [40, 40] rows/s  4.00x [3.60, 4.40]",
            "  batch size  40 [40, 40] rows/s  1.00x [0.95, 1.05], no effect",
            "  in total    4.00x [3.50, 4.50]",
        ]

    def test_none_left_of_a_counter(self):
        assert terminal.ladder_lines(make_run(ladders=[COUNTED])) == [
            "counted:",
            "  naive     8 model_loads",
            "  pool      0 model_loads  none left",
            "  in total  -",
        ]

    def test_a_rung_that_was_not_measured(self):
        steps = (Step("a", make_rounds(cpu=None), None, "first"), Step("b", (), None, "invalid"))
        ladder = Ladder("bare", "cpu_seconds_per_row", steps, None)
        lines = terminal.ladder_lines(make_run(ladders=[ladder]))
        assert lines[1:] == ["  a         - s", "  b         - s  invalid", "  in total  -"]

    def test_several_are_told_apart(self):
        other = replace(LADDER, name="another")
        lines = terminal.ladder_lines(make_run(ladders=[LADDER, other]))
        assert [line for line in lines if not line.startswith(" ")] == ["all_at_once:", "another:"]

    def test_none(self):
        assert terminal.ladder_lines(make_run()) == []


class TestSweepLines:
    def test_best_first_and_a_line_a_setting(self):
        assert terminal.sweep_lines(make_run(sweeps=[SWEEP])) == [
            "batch_size: best at 16; not told apart from it: 32; "
            "ended: out of memory at 64: CUDA out of memory",
            "   8  10 [10, 10] rows/s  0.25x [0.22, 0.28] of the best, worse",
            "  16  40 [40, 40] rows/s  best",
            "  32  39.6 [39.6, 39.6] rows/s  0.99x [0.90, 1.10] of the best, plateau",
        ]

    def test_neither_a_plateau_nor_an_end(self):
        sweep = replace(SWEEP, plateau=(), ended="")
        assert terminal.sweep_lines(make_run(sweeps=[sweep]))[0] == "batch_size: best at 16"

    def test_in_a_counter(self):
        sweep = Sweep("s", "model_loads", COUNTED.steps, "pool", ())
        assert terminal.sweep_lines(make_run(sweeps=[sweep]))[1] == "  naive  8 model_loads  first"

    def test_none(self):
        assert terminal.sweep_lines(make_run()) == []


class TestClosing:
    def test_counts_and_subject(self):
        run = make_run([make_benchmark(), make_benchmark(), make_benchmark(REGRESSED)])
        assert terminal.closing(run) == (
            "1 regressed, 2 unchanged; profile quick, synthetic (64 images), model mobilenet_v3_small; "
            "environment cpu-2; 12 s"
        )

    def test_nothing(self):
        text = terminal.closing(make_run(data={}, model={}))
        assert text.startswith("nothing measured; profile quick, no images, model none;")

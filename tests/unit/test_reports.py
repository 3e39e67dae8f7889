from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import golden
import pytest
from builders import (
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

from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.metrics import METRICS
from pytest_rayperf.reports import json as json_report
from pytest_rayperf.reports.figures import operators_of
from pytest_rayperf.results import (
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
    finds=1.4,
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
            "finds": 1.4,
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

    def test_experiments_are_the_pipelines_measured(self):
        ladder, sweep, alone, unmeasured = (
            make_benchmark(rounds=rounds, variant=None) for rounds in (make_rounds(), make_rounds(), None, ())
        )
        found = report(ladder, sweep, alone, unmeasured, ladders=[LADDER], sweeps=[SWEEP])
        # The ladder's test is its last rung, the sweep's its best setting.
        assert found["final"]["experiments"] == len(LADDER.steps) + len(SWEEP.steps) + 1

    def test_savings_are_of_the_same_test(self):
        def pair(file, speed):
            for variant, throughput in (("antipattern", 10), ("fix", speed)):
                id = f"{file}.py::test_pair[{variant}]"
                yield make_benchmark(rounds=make_rounds(throughput), id=id, variant=variant)

        found = report(*pair("a", 20), *pair("b", 40), cost_per_hour=1.0)["benchmarks"]
        shares = [b["saving"] and b["saving"]["share"] for b in found]
        assert shares == [None, pytest.approx(0.5), None, pytest.approx(0.75)]
        other = report(*list(pair("a", 20))[:1], *list(pair("b", 40))[1:], cost_per_hour=1.0)
        assert [b["saving"] for b in other["benchmarks"]] == [None, None]

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
        for name in ("metric", "ratio", "ci", "threshold", "mde", "finds"):
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


def test_golden():
    made = make_benchmark(REGRESSED, make_rounds(n=1, memory=7), duel=DUEL)
    golden.check("report.json", rendered(make_run([made], [DUEL])))


def test_operators_of_one_name_are_several():
    """Two reads of a union; an average of both would be none of them."""
    small, large = (Operator("ReadRange", rows=rows, tasks=4) for rows in (100, 200))
    rounds = [make_round(operators=[large, small]), make_round(operators=[large, small])]
    assert [(o["name"], o["rows"], o["tasks"]) for o in operators_of(rounds)] == [
        ("ReadRange", 200, 4),
        ("ReadRange", 100, 4),
    ]

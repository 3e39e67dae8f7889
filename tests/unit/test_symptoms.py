from __future__ import annotations

import json

import pytest
from builders import make_benchmark, make_round, make_run

from pytest_rayperf.advising.symptoms import symptoms
from pytest_rayperf.reports import json as json_report
from pytest_rayperf.reports.advice import render
from pytest_rayperf.results import Operator

MIB, GIB = 1024**2, 1024**3
NAMES = {
    "GPU under 50 % busy",
    "spilling",
    "backpressure",
    "model loaded too often",
    "many tiny tasks",
    "one task for everything",
    "most time outside the functions",
    "workers' memory",
    "driver's memory",
}
CATALOGUE = {
    f"test_{name}.py"
    for name in (
        "model_loading",
        "resource_allocation",
        "block_size",
        "batch_size",
        "output_format",
        "memory_management",
        "compute_strategy",
        "return_format",
        "data_transfer",
        "preprocessing",
        "api_version",
    )
}


def operator(name="MapBatches(Classify)", wall_s=8.0, udf_s=7.0, tasks=4, rows=64, **more):
    return {"name": name, "wall_s": wall_s, "udf_s": udf_s, "tasks": tasks, "rows": rows, **more}


def report(*, metrics=None, counters=None, operators=(), environment=None, id="t.py::test_a[fix]"):
    return {
        "environment": {"cores": 2, "memory_bytes": 8 * GIB, "gpu_count": 0, **(environment or {})},
        "benchmarks": [
            {
                "id": id,
                "metrics": {name: {"median": value} for name, value in (metrics or {}).items()},
                "counters": counters or {},
                "operators": list(operators),
            }
        ],
    }


def look(name, **figures):
    [found] = [symptom for symptom in symptoms(report(**figures)) if symptom.symptom == name]
    return found


def state(name, **figures):
    return look(name, **figures).state


def test_every_symptom_is_listed_for_every_benchmark():
    found = symptoms(report())
    assert {symptom.symptom for symptom in found} == NAMES
    assert {symptom.benchmark for symptom in found} == {"t.py::test_a[fix]"}
    assert all(symptom.cause and symptom.remedy for symptom in found)
    assert {symptom.shown_by for symptom in found} <= CATALOGUE


def test_what_was_not_measured_is_never_called_absent():
    assert {symptom.state for symptom in symptoms(report())} == {"not measured"}
    null = dict.fromkeys(
        ("gpu_utilization", "spilled_bytes", "wall_seconds", "peak_worker_memory", "peak_driver_memory")
    )
    nothing = operator(wall_s=None, udf_s=None, tasks=None, rows=None, backpressure_s=None)
    found = symptoms(report(metrics=null, operators=[nothing]))
    assert {symptom.state for symptom in found} == {"not measured"}
    assert all(symptom.measured.startswith("no figure for") for symptom in found)


def test_a_zero_that_was_measured_is_one():
    assert state("spilling", metrics={"spilled_bytes": 0}) == "not seen"
    assert state("GPU under 50 % busy", metrics={"gpu_utilization": 0.0}) == "seen"
    assert state("model loaded too often", counters={"model_loads": 0}) == "not seen"


def test_gpu():
    assert state("GPU under 50 % busy", metrics={"gpu_utilization": 0.49}) == "seen"
    assert state("GPU under 50 % busy", metrics={"gpu_utilization": 0.50}) == "not seen"
    assert look("GPU under 50 % busy", metrics={"gpu_utilization": 0.31}).measured == "GPU 31% busy"
    assert look("GPU under 50 % busy").measured.endswith("the machine has no GPU")
    assert look("GPU under 50 % busy", environment={"gpu_count": 1}).measured.endswith("GPU utilization")


def test_a_gpus_percent_are_no_fraction():
    run = report()
    run["benchmarks"][0]["metrics"]["gpu_utilization_mean"] = {"unit": "percent", "median": 31.0}
    found = next(symptom for symptom in symptoms(run) if symptom.symptom == "GPU under 50 % busy")
    assert (found.state, found.measured) == ("seen", "GPU 31% busy")


def test_spilling():
    found = look("spilling", metrics={"spilled_bytes": 3 * MIB, "peak_object_store": GIB})
    assert (found.state, found.measured) == ("seen", "3 MiB spilled a round, object store 1 GiB at most")


def test_backpressure_matters_from_a_regressions_share_of_the_round_on():
    def held(seconds, wall=10.0):
        return state(
            "backpressure",
            metrics={"wall_seconds": wall},
            operators=[operator(backpressure_s=seconds), operator("Last")],
        )

    # 1 - 1 / 1.10 of 10 s
    assert held(0.90) == "not seen"
    assert held(0.92) == "seen"
    assert held(0.92, wall=None) == "not measured"
    operators = [operator("ReadImage", backpressure_s=5.0), operator(backpressure_s=None)]
    found = look("backpressure", metrics={"wall_seconds": 10.0}, operators=operators)
    assert (found.state, found.measured) == ("seen", "ReadImage held back 5 s of 10 s")
    # The last one has no stage after it that could be given more CPUs.
    operators = [operator("ReadImage", backpressure_s=0.1), operator(backpressure_s=5.0)]
    found = look("backpressure", metrics={"wall_seconds": 10.0}, operators=operators)
    assert (found.state, found.measured) == ("not seen", "ReadImage held back 0.1 s of 10 s")
    found = look("backpressure", metrics={"wall_seconds": 10.0}, operators=operators[1:])
    assert (found.state, found.measured) == ("not seen", "MapBatches(Classify) has no stage after it")


def test_more_model_loads_than_cpus_and_gpus():
    assert state("model loaded too often", counters={"model_loads": 2}) == "not seen"
    assert state("model loaded too often", counters={"model_loads": 3}) == "seen"
    gpu = {"gpu_count": 1}
    assert state("model loaded too often", counters={"model_loads": 3}, environment=gpu) == "not seen"
    assert state("model loaded too often", counters={"rows": 3}) == "not measured"


def test_many_tiny_tasks_are_brief_and_many():
    assert state("many tiny tasks", operators=[operator(wall_s=0.9, tasks=100)]) == "seen"
    assert state("many tiny tasks", operators=[operator(wall_s=1.1, tasks=100)]) == "not seen"
    assert state("many tiny tasks", operators=[operator(wall_s=0.01, tasks=4)]) == "not seen"
    found = look("many tiny tasks", operators=[operator("ReadImage", wall_s=0.9, tasks=100, rows=150)])
    assert found.measured == "ReadImage: 100 tasks of 9 ms, 1.5 rows each"


def test_one_task_for_everything():
    assert state("one task for everything", operators=[operator(tasks=1)]) == "seen"
    assert state("one task for everything", operators=[operator(tasks=2)]) == "not seen"
    assert state("one task for everything", operators=[operator(tasks=1, rows=1)]) == "not seen"
    one = {"cores": 1}
    assert state("one task for everything", operators=[operator(tasks=1)], environment=one) == "not seen"


def test_most_time_outside_the_functions():
    name = "most time outside the functions"
    assert state(name, operators=[operator(wall_s=8.0, udf_s=3.9)]) == "seen"
    assert state(name, operators=[operator(wall_s=8.0, udf_s=4.1)]) == "not seen"
    reads = operator("ReadImage->Map(f)", wall_s=80.0, udf_s=1.0)
    assert state(name, operators=[reads]) == "not measured"
    little = operator("Map(g)", wall_s=0.5, udf_s=0.0)
    assert state(name, operators=[reads, little]) == "not seen"


def test_memory():
    assert state("workers' memory", metrics={"peak_worker_memory": 4 * GIB}) == "not seen"
    assert state("workers' memory", metrics={"peak_worker_memory": 4 * GIB + 1}) == "seen"
    assert state("driver's memory", metrics={"driver_memory_growth": 2 * GIB}) == "not seen"
    assert state("driver's memory", metrics={"peak_driver_memory": 2 * GIB + 1}) == "seen"


def test_reads_the_report_that_is_written():
    often = make_round(
        counters={"model_loads": 16},
        operators=[Operator("MapBatches(Loads)", wall_s=4.0, cpu_s=4.0, udf_s=3.9, rows=64, tasks=4)],
    )
    written = json.loads(
        json_report.render(json_report.report_on(make_run([make_benchmark(rounds=[often])])))
    )
    states = {symptom.symptom: symptom.state for symptom in symptoms(written)}
    assert states["model loaded too often"] == "seen"
    assert states["many tiny tasks"] == "not seen"
    assert states["one task for everything"] == "not seen"
    assert states["most time outside the functions"] == "not seen"
    assert states["spilling"] == "not measured"


def test_a_benchmark_without_rounds_measured_nothing():
    written = json.loads(json_report.render(json_report.report_on(make_run([make_benchmark(rounds=[])]))))
    assert {symptom.state for symptom in symptoms(written)} == {"not measured"}


class TestText:
    LOADS = report(counters={"model_loads": 16}, metrics={"spilled_bytes": 0})

    def text(self, run, form="table", width=110):
        return render(None, [], symptoms(run), form, width)

    def test_tells_what_is_seen_what_not_and_what_nobody_knows(self):
        table, healthy, unknown = self.text(self.LOADS).split("\n\n")
        assert "16 model loads" in table
        assert "perf_tests/" in table
        assert "spilling" not in table
        assert healthy == "not seen:\n- spilling (in 1 of 1 benchmark)"
        assert unknown.splitlines()[:2] == [
            "not measured:",
            "- GPU under 50 % busy (in 1 of 1 benchmark): "
            "no figure for GPU utilization: the machine has no GPU",
        ]

    def test_fits_its_width(self):
        table = self.text(self.LOADS).partition("\n\n")[0]
        assert max(map(len, table.splitlines())) <= 110

    def test_markdown(self):
        run = report(counters={"model_loads": 16}, id="t.py::test_a[x|y]")
        row = self.text(run, "markdown").splitlines()[2]
        assert "test\\_a\\[x&#124;y\\]: 16 model loads a round on 2 CPUs" in row
        assert "(shown by perf_tests/test_model_loading.py)" in row

    @pytest.mark.parametrize("form", ["table", "markdown"])
    def test_what_others_chose_is_harmless(self, form):
        """Operators' names, too, which the figures are told with."""
        hostile = "<img src=x>\x1b[31m\u202e`"
        operators = [operator(f"Map({hostile})", backpressure_s=9.0), operator()]
        for bad in (report(counters={"model_loads": 16}, id=f"t.py::test_a[{hostile}]"),
                    report(metrics={"wall_seconds": 10.0}, operators=operators)):  # fmt: skip
            text = self.text(bad, form)
            assert not {"\x1b", "\u202e"} & set(text)
            assert form == "table" or "<img" not in text

    def test_the_benchmarks_of_a_duel_in_one_test_are_two(self):
        run = report(counters={"model_loads": 16})
        (one,) = run["benchmarks"]
        run["benchmarks"] = [
            {**one, "id": "t.py::test_a", "variant": variant} for variant in ("antipattern", "fix")
        ]
        text = self.text(run, width=200)
        assert "test_a antipattern:" in text
        assert "test_a fix:" in text
        assert "(in 2 of 2 benchmarks)" in text
        (found,) = report(id="t.py::test_b[fix-2]")["benchmarks"]
        run["benchmarks"] = [{**found, "variant": "fix", "counters": {"model_loads": 16}}]
        assert "test_b[fix-2]:" in self.text(run, width=200)

    def test_nothing_seen_and_nothing_measured_are_two_things(self):
        assert self.text(report(metrics={"spilled_bytes": 0})).startswith("no symptom seen\n")
        assert self.text({"benchmarks": []}) == "the run measured no benchmark\n"

    def test_json_has_all_of_them(self):
        data = json.loads(self.text(self.LOADS, "json"))
        assert {item["symptom"]: item["state"] for item in data["symptoms"]}["spilling"] == "not seen"
        assert len(data["symptoms"]) == len(NAMES)
        assert data["situation"] is None


@pytest.mark.parametrize("figures", [{}, {"benchmarks": None}, {"benchmarks": [{"id": "a"}]}])
def test_parts_may_be_missing(figures):
    assert all(symptom.state == "not measured" for symptom in symptoms(figures))

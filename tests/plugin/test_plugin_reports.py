"""The JSON report, an interrupted run, and pytest-benchmark's files of our rounds."""

import json
import subprocess
import sys
from importlib.resources import files

import jsonschema
import pytest

SCHEMA = json.loads(files("pytest_rayperf.reports").joinpath("report.schema.json").read_text("utf-8"))

KEYS = [
    "schema_version", "started_at", "duration_s", "environment", "software", "profile", "data", "model",
    "policy", "benchmarks", "duels", "summary", "selftest",
]  # fmt: skip
BENCHMARK = [
    "id", "antipattern", "variant", "rounds", "metrics", "counters", "operators", "verdict", "baseline"
]  # fmt: skip


def test_the_json_report_holds_its_contract(project, images):
    project.tests("""
        import pytest

        def test_pipe(rayperf, imagenette):
            rayperf(lambda: {"memory": None})

        def test_pair(rayperf):
            rayperf.duel(antipattern=lambda: {"seconds": 4.0}, fix=lambda: {}, floors={"throughput": 1.5})
    """)
    folder = images("photos")
    data = f"--rayperf-data={folder}"
    result, report = project.report(data)
    assert result.ret == 0
    jsonschema.validate(report, SCHEMA)
    assert set(KEYS) <= set(report)
    assert report["schema_version"] == 1
    assert report["duration_s"] > 0
    assert {"id", "cpu_model", "cores", "memory_bytes", "gpu_model", "gpu_count"} <= set(
        report["environment"]
    )
    assert report["software"]["pytest"] == pytest.__version__
    assert set(report["data"]) == {"name", "fingerprint", "images", "bytes"}
    assert report["data"]["images"] == 3
    assert report["data"]["bytes"] == sum(path.stat().st_size for path in folder.iterdir())
    assert report["model"] == {"name": None, "weights": None, "fingerprint": None}
    assert report["summary"]["no-baseline"] == 3
    assert sum(report["summary"].values()) == 3

    assert report["selftest"] == []
    first, bad, fix = report["benchmarks"]
    for benchmark in (first, bad, fix):
        assert set(BENCHMARK) <= set(benchmark)
        assert benchmark["baseline"] is None
    assert (first["antipattern"], first["variant"]) == (None, None)
    assert (bad["antipattern"], bad["variant"], fix["variant"]) == ("pair", "antipattern", "fix")
    assert [one["comparisons"] for one in (first, bad, fix)] == [2, 4, 4]  # two tests; one measures two
    assert first["counters"] == {"rows": 64, "model_loads": 1}
    rounds = first["rounds"]
    assert len(rounds["throughput"]) == len(rounds["wall_seconds"]) == 3
    assert rounds["throughput"] == [64 / wall for wall in rounds["wall_seconds"]]
    # What was not measured is null, never 0.
    assert rounds["peak_worker_memory"] == [None] * 3
    assert first["metrics"]["peak_worker_memory"] == {
        "unit": "bytes", "direction": "lower", "median": None, "ci": None
    }  # fmt: skip
    throughput = first["metrics"]["throughput"]
    assert (throughput["unit"], throughput["direction"]) == ("rows/s", "higher")
    assert throughput["median"] == sorted(rounds["throughput"])[1]
    assert throughput["ci"][0] < throughput["median"] < throughput["ci"][1]
    assert [operator["name"] for operator in first["operators"]] == ["ReadImages", "MapBatches(Classify)"]
    for operator in first["operators"]:
        assert {"name", "wall_s", "cpu_s", "udf_s", "rows", "bytes", "tasks"} <= set(operator)
        assert operator["cpu_s"] > 0
        assert (operator["wall_s"], operator["udf_s"], operator["bytes"], operator["tasks"]) == (None,) * 4
    (duel,) = report["duels"]
    assert {"antipattern", "metric", "ratio", "ci", "floor", "outputs_equal", "status"} <= set(duel)
    assert (duel["antipattern"], duel["metric"], duel["floor"]) == ("pair", "throughput", 1.5)

    project.record(3, data)
    project.script(cpu={"ReadImages": 0.002, "MapBatches(Classify)": 0.014})
    result, report = project.report(data, "-k", "pipe")
    verdict = report["benchmarks"][0]["verdict"]
    assert (verdict["status"], verdict["metric"], verdict["threshold"]) == (
        "regressed", "cpu_seconds_per_row", 1.1
    )  # fmt: skip
    assert verdict["ci"][0] < verdict["ratio"] < verdict["ci"][1]
    assert verdict["mde"] > 1.1
    assert verdict["reason"].startswith("regressed: cpu_seconds_per_row ")
    assert report["benchmarks"][0]["baseline"].endswith("/it.pipe.json")


INTERRUPTED = """
    def test_first(rayperf):
        rayperf(lambda: {})

    def test_second(rayperf):
        rayperf(lambda: {})

    def test_third(rayperf):
        rayperf(lambda: {})
"""


def test_an_interrupted_run_says_what_it_measured(project):
    project.tests(INTERRUPTED)
    project.script(interrupt_at=4 + 3)  # in the second round of the second test
    result = project.run_apart("--rayperf", "--rayperf-update-baselines", "--rayperf-json=run.json")
    text = result.stdout.str()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "INTERNALERROR" not in text + result.stderr.str()
    assert project.rounds == 7
    result.stdout.fnmatch_lines(["*= rayperf =*", "*1 inconclusive, 1 no-baseline*"])
    lines = result.stdout.lines
    (row,) = [number for number, line in enumerate(lines) if line.startswith("test_second  ")]
    assert lines[row].endswith("  inconclusive")
    assert lines[row + 1] == "  interrupted after 1 round"
    assert "test_third" not in text
    report = json.loads((project.path / "run.json").read_text(encoding="utf-8"))
    assert [(b["id"], len(b["rounds"]["throughput"])) for b in report["benchmarks"]] == [
        ("test_it.py::test_first", 3),
        ("test_it.py::test_second", 1),
    ]
    assert [path.name for path in project.baselines()] == ["it.first.json"]
    assert [path.name for path in project.baseline().parent.iterdir()] == ["it.first.json"]
    assert (project.path / "closed").exists()  # the session's fixtures were finalized
    assert project.run("--rayperf", "--rayperf-max-rounds=3", "-k", "first").ret == 0  # short of the script's


def test_an_interrupted_duel_says_what_it_measured(project):
    project.tests("""
        import pytest

        @pytest.mark.parametrize("variant", ["antipattern", "fix"])
        def test_pair(rayperf, variant):
            rayperf.duel(antipattern=lambda: {}, fix=lambda: {})
    """)
    project.script(interrupt_at=2 + 4)
    result = project.run_apart("--rayperf", "--rayperf-update-baselines", "--rayperf-json=run.json")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    report = json.loads((project.path / "run.json").read_text(encoding="utf-8"))
    assert [(b["id"], b["variant"], len(b["rounds"]["throughput"])) for b in report["benchmarks"]] == [
        ("test_it.py::test_pair[antipattern]", "antipattern", 1),
        ("test_it.py::test_pair[fix]", "fix", 2),
    ]
    assert project.baselines() == []
    assert (project.path / "closed").exists()


def test_an_interrupt_before_any_round(project):
    project.tests()
    project.script(interrupt_at=1)
    result = project.run_apart("--rayperf", "--rayperf-json=run.json")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    report = json.loads((project.path / "run.json").read_text(encoding="utf-8"))
    assert report["benchmarks"][0]["verdict"]["reason"] == "interrupted after 0 rounds"
    assert report["benchmarks"][0]["metrics"]["throughput"]["median"] is None


def test_exitfirst_writes_the_report_too(project):
    project.tests(INTERRUPTED)
    result, report = project.report("--rayperf-gate", "-x")
    assert result.ret == 1
    assert [b["id"] for b in report["benchmarks"]] == ["test_it.py::test_first"]


# pytest-benchmark


def test_benchmark_json_has_our_rounds(project):
    project.tests()
    result, report = project.report("--benchmark-json=bench.json")
    assert result.ret == 0
    bench = json.loads((project.path / "bench.json").read_text(encoding="utf-8"))
    (one,) = bench["benchmarks"]
    assert one["fullname"] == "test_it.py::test_pipe"
    rounds = report["benchmarks"][0]["rounds"]
    assert one["stats"]["data"] == pytest.approx(rounds["wall_seconds"])
    assert one["stats"]["rounds"] == 3
    assert one["extra_info"] == {"throughput_rows_per_s": rounds["throughput"], "rows": 64}


def test_both_items_of_a_duel_hand_on_their_own_rounds(project):
    project.tests("""
        import pytest

        @pytest.mark.parametrize("variant", ["antipattern", "fix"])
        def test_pair(rayperf, variant):
            rayperf.duel(antipattern=lambda: {"seconds": 4.0}, fix=lambda: {})
    """)
    _, report = project.report("--benchmark-json=bench.json")
    bench = json.loads((project.path / "bench.json").read_text(encoding="utf-8"))
    for theirs, ours in zip(bench["benchmarks"], report["benchmarks"], strict=True):
        assert theirs["fullname"] == ours["id"]
        assert theirs["stats"]["data"] == pytest.approx(ours["rounds"]["wall_seconds"])


def test_its_table_is_quiet_until_it_is_asked_for_something(project):
    project.tests()
    assert "benchmark: 1 tests" not in project.measure().stdout.str()
    assert "benchmark: 1 tests" in project.measure("--benchmark-columns=min,max").stdout.str()
    assert "benchmark: 1 tests" in project.measure("--benchmark-verbose").stdout.str()


def test_a_mark_of_its_own_is_kept(project):
    project.tests("""
        import pytest

        @pytest.mark.benchmark(group="mine")
        def test_pipe(rayperf):
            rayperf(lambda: {})
    """)
    assert project.measure("--benchmark-json=bench.json").ret == 0
    bench = json.loads((project.path / "bench.json").read_text(encoding="utf-8"))
    assert bench["benchmarks"][0]["group"] == "mine"
    assert len(bench["benchmarks"][0]["stats"]["data"]) == 3


@pytest.mark.parametrize("option", ["--benchmark-autosave", "--benchmark-json=store/it/bench.json"])
def test_its_own_compare_reads_our_rounds(project, tmp_path_factory, option):
    project.tests()
    (project.path / "store" / "it").mkdir(parents=True)
    result = project.measure(option, "--benchmark-storage=store")
    assert result.ret == 0, result.stdout.str() + result.stderr.str()
    (saved,) = (project.path / "store").glob("*/*.json")
    compared = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", str(saved)],
        cwd=tmp_path_factory.mktemp("elsewhere"),  # it imports a conftest.py before pytest's own preparations
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert compared.returncode == 0, compared.stderr
    assert "test_pipe" in compared.stdout + compared.stderr


def test_autosave_is_compared_with(project):
    project.tests()
    assert project.measure("--benchmark-autosave", "--benchmark-storage=store").ret == 0
    again = project.measure("--benchmark-compare", "--benchmark-storage=store")
    assert again.ret == 0
    assert "test_pipe (0001_" in again.stdout.str()


def test_histogram(project):
    project.tests()
    # pygal brings importlib_metadata, which takes the finding of plugins away from importlib.metadata.
    result = project.run_apart("--rayperf", "--benchmark-histogram=drawn")
    assert result.ret == 0
    assert list(project.path.glob("drawn*.svg"))


def test_a_failing_test_is_no_warning(project):
    project.tests("""
        def test_before(rayperf):
            assert False, "before"

        def test_raising(rayperf):
            rayperf(lambda: {"raises": "broken"})

        def test_unexpected(rayperf):
            rayperf(lambda: {}, expected_rows=1)
    """)
    result = project.measure("-W", "error")
    assert result.ret == 1
    result.assert_outcomes(failed=3, errors=0, warnings=0)
    assert "PytestBenchmarkWarning" not in result.stdout.str() + result.stderr.str()


def test_disabling_its_benchmarks_leaves_ours(project):
    project.tests()
    result, report = project.report("--benchmark-disable")
    assert result.ret == 0
    assert len(report["benchmarks"][0]["rounds"]["throughput"]) == 3


def test_without_it_other_tests_run_and_ours_are_refused(project):
    project.tests("""
        def test_plain():
            pass

        def test_pipe(rayperf):
            rayperf(lambda: {})
    """)
    result = project.run("-p", "no:benchmark", "--strict-markers")
    assert result.ret == 0
    result.assert_outcomes(passed=1, skipped=1)
    error = project.refused("-p", "no:benchmark")
    assert error.startswith("-p no:benchmark: performance tests hand their rounds to pytest-benchmark; leave")


class TestProfile:
    def test_each_benchmark_has_its_files_beside_the_report(self, project, find_line):
        project.tests()
        (project.path / "out").mkdir()
        path = project.path / "out" / "run.json"
        result = project.measure("--rayperf-profile-udf", f"--rayperf-json={path}")
        assert result.ret == 0
        (benchmark,) = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
        (file,) = benchmark["profile"]["flame_graphs"].values()
        assert file == (project.path / "out" / "rayperf-profiles" / "it.pipe-Classify.html").as_posix()
        find_line(result.stdout.str(), r"test_pipe: Classify: .*rayperf-profiles.it\.pipe-Classify\.html")

    def test_nothing_unless_asked(self, project):
        project.tests()
        _, report = project.report()
        assert report["benchmarks"][0]["profile"] is None
        assert not list(project.path.rglob("rayperf-profiles"))

    def test_by_the_ini_file_into_the_current_folder(self, project):
        project.ini("rayperf_profile_udf = true")
        project.tests()
        assert project.measure().ret == 0
        assert [p.name for p in (project.path / "rayperf-profiles").iterdir()] == ["it.pipe-Classify.html"]


def test_a_place_that_cannot_be_written_is_refused_before_anything_runs(project):
    """/proc is a folder that is there, for root too, and takes no file."""
    project.tests()
    for option in ("json", "markdown", "html"):
        error = project.refused(f"--rayperf-{option}=/proc/report")
        assert error.startswith(f"--rayperf-{option} /proc/report: cannot be written (")


def test_what_has_ended_is_in_the_file_before_the_next_test(project):
    """Ray's core ends a process whose cluster has died."""
    path = project.path / "run.json"
    project.tests(f"""
        import json
        from pathlib import Path

        def test_first(rayperf):
            rayperf(lambda: {{}})

        def test_second(rayperf):
            (first,) = json.loads(Path({str(path)!r}).read_text())["benchmarks"]
            assert first["id"] == "test_it.py::test_first"
            rayperf(lambda: {{}})
    """)
    result, report = project.report()
    result.assert_outcomes(passed=2)
    assert len(report["benchmarks"]) == 2


def test_what_is_no_file_gets_one_report(project):
    import os
    import threading

    os.mkfifo(project.path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((project.path / "pipe").read_text()))
    reader.start()
    project.tests("""
        def test_first(rayperf): rayperf(lambda: {})
        def test_second(rayperf): rayperf(lambda: {})
    """)
    project.measure(f"--rayperf-json={project.path / 'pipe'}").assert_outcomes(passed=2)
    reader.join()
    assert len(json.loads(read[0])["benchmarks"]) == 2

"""Which tests run with and without --rayperf, and what --help, --markers and --fixtures tell."""

import pytest

MIXED = """
    import pytest

    def test_plain():
        pass

    @pytest.mark.rayperf(max_slowdown=1.2)
    def test_marked():
        pass

    def test_measured(rayperf):
        rayperf(lambda: {})
"""


def test_without_the_switch_they_are_skipped_and_say_why(project):
    project.tests(MIXED)
    result = project.run("-rs")
    assert result.ret == 0
    result.assert_outcomes(passed=1, skipped=2)
    assert "performance test: runs with --rayperf" in result.stdout.str()
    assert "= rayperf =" not in result.stdout.str()
    assert project.rounds == 0


def test_with_the_switch_only_they_run(project):
    project.tests(MIXED)
    result = project.measure("-v")
    assert result.ret == 0
    result.assert_outcomes(passed=2, deselected=1)
    result.stdout.fnmatch_lines(["*::test_marked PASSED*", "*::test_measured*", "*= rayperf =*"])
    assert "test_plain" not in result.stdout.str()


def test_the_switch_in_the_ini_file(project):
    project.ini("rayperf = true")
    project.tests(MIXED)
    result = project.run()
    result.assert_outcomes(passed=2, deselected=1)
    assert project.rounds > 0


def test_a_whole_class_and_a_marked_module(project):
    project.tests("""
        import pytest

        pytestmark = pytest.mark.rayperf

        class TestPipe:
            def test_inside(self, rayperf):
                rayperf(lambda: {})

        def test_no_fixture():
            pass
    """)
    project.run().assert_outcomes(skipped=2)
    project.measure().assert_outcomes(passed=2)


def test_no_performance_tests_at_all(project):
    project.tests("def test_plain(): pass")
    project.run().assert_outcomes(passed=1)
    result = project.measure()
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "1 deselected" in result.stdout.str()


def test_neither_ray_nor_torch_is_imported_without_the_switch(project):
    project.tests("""
        import sys

        def test_light():
            heavy = {"ray", "torch", "torchvision", "pandas", "scipy", "numpy", "pynvml"} & set(sys.modules)
            assert not heavy

        def test_measured(rayperf):
            rayperf(lambda: {})
    """)
    (project.path / "conftest.py").unlink()
    result = project.run_apart()
    result.assert_outcomes(passed=1, skipped=1)


@pytest.mark.parametrize("flag", ["--rayperf-gate", "--rayperf-update-baselines"])
def test_a_flag_without_the_switch_is_refused(project, flag):
    project.tests(MIXED)
    error = project.usage_error(project.run(flag))
    assert error == f"{flag}: does nothing without --rayperf; add that"


def test_ini_twins_of_flags_wait_for_the_switch(project):
    project.ini("rayperf_gate = true", "rayperf_strict = true")
    project.tests(MIXED)
    project.run().assert_outcomes(passed=1, skipped=2)
    project.tests(name="test_it")
    result = project.measure()
    assert result.ret == 1
    assert "no-baseline: " in result.stdout.str()


def test_ini_twins_of_values_and_the_command_line_wins(project):
    project.ini("rayperf_max_slowdown = 1.5", "rayperf_min_rounds = 4", "rayperf_profile = standard")
    project.tests()
    _, report = project.report()
    assert report["policy"]["max_slowdown"] == 1.5
    assert report["policy"]["min_rounds"] == 4
    assert len(report["benchmarks"][0]["rounds"]["throughput"]) == 4
    assert report["profile"] == "standard"
    _, report = project.report("--rayperf-max-slowdown", "1.2", "--rayperf-profile=quick")
    assert report["policy"]["max_slowdown"] == 1.2
    assert report["policy"]["min_rounds"] == 4
    assert report["profile"] == "quick"


def test_a_path_in_the_ini_file_is_relative_to_its_folder(project, monkeypatch):
    project.ini("rayperf_baselines = kept/here")
    project.tests()
    inner = project.path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    result = project.measure("--rayperf-update-baselines", "..")
    assert result.ret == 0
    assert len(list((project.path / "kept" / "here").glob("*/it.pipe.json"))) == 1
    # That of the command line is relative to where pytest was started.
    assert project.measure("--rayperf-update-baselines", "--rayperf-baselines=mine", "..").ret == 0
    assert len(list((inner / "mine").glob("*/it.pipe.json"))) == 1


def test_baselines_are_beside_the_ini_file_wherever_pytest_is_started(project, monkeypatch):
    project.tests()
    project.record()
    (project.path / "inner").mkdir()
    monkeypatch.chdir(project.path / "inner")
    _, report = project.report("..")
    assert report["benchmarks"][0]["baseline"] == project.baseline().relative_to(project.path).as_posix()


def test_collecting_only_measures_nothing(project):
    project.tests(MIXED)
    result = project.measure("--co", "-q", "--rayperf-json=run.json")
    assert result.ret == 0
    assert "test_it.py::test_measured" in result.stdout.lines
    assert "test_it.py::test_plain" not in result.stdout.lines
    assert "= rayperf =" not in result.stdout.str()
    assert project.rounds == 0
    assert not (project.path / "run.json").exists()


def test_worker_processes_are_refused(project):
    project.tests()
    result = project.run_apart("--rayperf", "-n", "2")
    error = project.usage_error(result)
    assert error.startswith("-n 2: performance tests share the machine's cores")
    assert "-n 0 or -p no:xdist" in error
    assert project.run_apart("--rayperf", "-n", "0").ret == 0


def test_worker_processes_run_the_other_tests(project):
    project.tests(MIXED)
    result = project.run_apart("-n", "2")
    assert result.ret == 0
    result.assert_outcomes(passed=1, skipped=2)


DEFAULTS = {
    "--rayperf": "",
    "--rayperf-gate": "",
    "--rayperf-strict": "",
    "--rayperf-fail-on-improvement": "",
    "--rayperf-selftest": "",
    "--rayperf-update-baselines": "",
    "--rayperf-profile": "quick (default",
    "--rayperf-images": "profile's number",
    "--rayperf-model": "profile's",
    "--rayperf-data": "synthetic (default",
    "--rayperf-weights": "random (default",
    "--rayperf-address": "Default: start a local one",
    "--rayperf-baselines": "Default: baselines",
    "--rayperf-against": "instead of with the baselines",
    "--rayperf-against-env": "may be given several times",
    "--rayperf-max-slowdown": "Default: 1.10",
    "--rayperf-alpha": "Default: 0.01",
    "--rayperf-min-rounds": "Default: 3",
    "--rayperf-max-rounds": "Default: 20",
    "--rayperf-max-time": "Default: 120",
    "--rayperf-json": "Write the report",
    "--rayperf-markdown": "Write the report",
    "--rayperf-html": "Write the report",
    "--rayperf-cost-per-hour": "What the cluster costs",
    "--rayperf-profile-udf": "",
}


def test_help_lists_every_option_with_its_default(project):
    result = project.run("--help")
    assert result.ret == 0
    text = " ".join(result.stdout.str().split())
    assert "performance tests of Ray Data batch inference: --rayperf " in text
    for option, default in DEFAULTS.items():
        _, found, rest = text.partition(f" {option} " if not default else f" {option}=")
        assert found, option
        assert default in rest.partition(" --rayperf")[0], option
        twin = option.removeprefix("--").replace("-", "_")
        assert f"As {option}." in text.partition(f" {twin} (")[2][:80], twin
    listed = {word.partition("=")[0] for word in text.split() if word.startswith("--rayperf")}
    own = {word.rstrip(".:;,") for word in listed}
    assert own <= set(DEFAULTS), "an option that this test does not know: add it with its default"


def test_markers_and_fixtures_are_described(project, find_line):
    line = find_line(project.run("--markers").stdout.str(), r"^@pytest\.mark\.rayperf\(max_slowdown, min_thr")
    assert "default: --rayperf-max-slowdown" in line
    result = project.run("--fixtures")
    assert result.ret == 0
    result.stdout.fnmatch_lines_random(
        [
            "rayperf -- *",
            "*Measures a Ray Data pipeline and fails the test when it got slower.",
            "ray_cluster [[]session scope[]] -- *",
            "imagenette [[]session scope[]] -- *",
            "*The images named by --rayperf-data, *",
            "features [[]session scope[]] -- *",
            "classifier [[]session scope[]] -- *",
            "*The model named by --rayperf-model, *",
            "gpu_monitor -- *",
            "system_monitor -- *",
        ]
    )
    assert "_rayperf_executor" not in result.stdout.str()


def test_strict_markers_know_the_mark(project):
    project.tests(MIXED)
    project.run("--strict-markers", "--strict-config").assert_outcomes(passed=1, skipped=2)


@pytest.mark.parametrize("arguments", [(), ("--collect-only",), ("--rayperf", "--collect-only")])
def test_a_mark_that_is_wrong_is_found_whenever_tests_are_collected(project, arguments):
    project.tests("""
        import pytest

        @pytest.mark.rayperf(min_troughput=1)
        def test_pipe(rayperf): pass
    """)
    error = project.usage_error(project.run(*arguments))
    assert error.startswith(
        "test_it.py::test_pipe: @pytest.mark.rayperf does not know 'min_troughput'; it knows"
    )

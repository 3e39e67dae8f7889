"""The reports that a run writes: JSON, Markdown and HTML; a price; the step's summary; JUnit."""

import json
import xml.etree.ElementTree as ET

import pytest

# Imported before any run: pytester forgets what a run imports, and another copy would be patched.
from pytest_rayperf.baselines import history

PAIR = """
    import pytest

    @pytest.mark.parametrize("variant", ["antipattern", "fix"])
    def test_pair(rayperf, variant):
        rayperf.duel(antipattern=lambda: {"seconds": 4.0}, fix=lambda: {})
"""
FILES = ("run.json", "run.md", "run.html")
WRITTEN = ("--rayperf-json=run.json", "--rayperf-markdown=run.md", "--rayperf-html=run.html")


def read(project, name):
    return (project.path / name).read_text(encoding="utf-8")


def test_all_of_them_of_a_run_that_fails(project):
    project.tests()
    project.record(3)
    project.script(cpu={"ReadImages": 0.002, "MapBatches(Classify)": 0.016})
    result = project.measure(*WRITTEN)
    assert result.ret == 1
    reason = json.loads(read(project, "run.json"))["benchmarks"][0]["verdict"]["reason"]
    assert reason.startswith("regressed: cpu_seconds_per_row")
    assert "1 of 1 slower" in read(project, "run.md")
    assert "1 of 1 slower" in read(project, "run.html")
    for name in ("run.md", "run.html"):
        assert "MapBatches" in read(project, name)
    assert sorted(
        p.name for p in project.path.iterdir() if p.name.startswith((".rayperf", "run."))
    ) == sorted(FILES)


def test_all_of_them_of_a_run_that_was_interrupted(project):
    project.tests("""
        def test_first(rayperf):
            rayperf(lambda: {})

        def test_second(rayperf):
            rayperf(lambda: {})
    """)
    project.script(interrupt_at=4 + 3)
    result = project.run_apart("--rayperf", *WRITTEN)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert len(json.loads(read(project, "run.json"))["benchmarks"]) == 2
    for name in ("run.md", "run.html"):
        assert "test_first" in read(project, name)
        assert "interrupted after 1 round" in read(project, name)


def test_the_step_summary_is_appended_to(project, monkeypatch):
    summary = project.path / "summary.md"
    summary.write_text("# Lint\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    project.tests()
    assert project.measure("--rayperf-markdown=run.md").ret == 0
    assert read(project, "summary.md").startswith("# Lint\n\n\n## ")
    assert "test\\_pipe" in read(project, "summary.md")
    assert "test\\_pipe" in read(project, "run.md")


def test_a_step_summary_that_cannot_be_written_fails_nothing(project, monkeypatch):
    """The runner's setting, and not an option of this run."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "none" / "summary.md"))
    project.tests()
    result = project.measure()
    assert result.ret == 0
    assert "summary.md: cannot be written (No such file or directory)" in result.stdout.str()


def test_without_rayperf_the_step_summary_is_left_alone(project, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "summary.md"))
    project.tests()
    project.run()
    assert not (project.path / "summary.md").exists()


def test_a_report_that_cannot_be_written_fails_the_run_and_no_other_report(project):
    project.tests()
    (project.path / "out").mkdir()
    project.tests(
        name="test_removes",
        text="""
        import shutil

        def test_it(rayperf):
            shutil.rmtree("out")
            rayperf(lambda: {})
    """,
    )
    result = project.measure("--rayperf-markdown=out/run.md", "--rayperf-json=run.json")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert "run.md: cannot be written (No such file or directory)" in result.stdout.str()
    assert len(json.loads(read(project, "run.json"))["benchmarks"]) == 2


def test_a_usage_error_leaves_the_old_reports(project):
    project.tests()
    for name in FILES:
        (project.path / name).write_text("old", encoding="utf-8")
    (project.path / "baselines" / "x").mkdir(parents=True)
    (project.path / "baselines" / "x" / "it.pipe.json").write_text("{")
    project.refused(*WRITTEN)
    assert [read(project, name) for name in FILES] == ["old"] * 3


def test_a_price(project, find_line):
    project.tests(PAIR)
    result, report = project.report("--rayperf-cost-per-hour=3.6", "--rayperf-markdown=run.md")
    assert result.ret == 0
    assert report["cost_per_hour_usd"] == 3.6
    bad, fix = report["benchmarks"]
    for benchmark in (bad, fix):
        throughput = benchmark["metrics"]["throughput"]
        assert benchmark["cost"]["usd_per_million_rows"] == pytest.approx(1000 / throughput["median"])
        assert benchmark["cost"]["ci"] == pytest.approx(
            [1000 / throughput["ci"][1], 1000 / throughput["ci"][0]]
        )
    assert bad["saving"] is None
    assert fix["saving"]["share"] == pytest.approx(0.5, abs=0.02)
    low, high = fix["saving"]["share_ci"]
    assert low < fix["saving"]["share"] < high
    assert "USD" in result.stdout.str()
    assert "USD" in read(project, "run.md")


def test_without_a_price_no_cost(project):
    project.tests(PAIR)
    result, report = project.report()
    assert [b["cost"] for b in report["benchmarks"]] == [None, None]
    assert "USD" not in result.stdout.str()


def test_junit_has_the_figures(project):
    project.tests(PAIR)
    _, report = project.report("--junit-xml=junit.xml")
    cases = ET.parse(project.path / "junit.xml").getroot().iter("testcase")
    for case, benchmark in zip(cases, report["benchmarks"], strict=True):
        variant = benchmark["variant"]
        found = {p.get("name"): p.get("value") for p in case.iter("property")}
        median = benchmark["metrics"]["throughput"]["median"]
        assert float(found[f"rayperf_throughput_{variant}"]) == median
        assert found[f"rayperf_counter_model_loads_{variant}"] == "1"
        assert found[f"rayperf_verdict_{variant}"] == "no-baseline"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_at_the_very_end_stops_nothing(project, name):
    project.tests()
    project.pytester.makepyfile(
        signalling=f"""
        import signal

        def pytest_sessionfinish():
            signal.raise_signal(signal.{name})

        def pytest_terminal_summary():
            signal.raise_signal(signal.{name})
    """
    )
    result = project.run_apart("-p", "signalling", "--rayperf", "--rayperf-json=run.json")
    assert result.ret == 0
    assert "1 no-baseline" in result.stdout.str()
    assert len(json.loads(read(project, "run.json"))["benchmarks"]) == 1


class TestHistory:
    def test_of_baselines_that_git_does_not_track(self, project):
        project.tests()
        project.record(2)
        _, report = project.report()
        (benchmark,) = report["benchmarks"]
        # Outside of a repository the sessions in the file are all there is.
        assert [set(point) for point in benchmark["history"]] == [
            {"recorded_at", "commit", "throughput", "cpu_seconds_per_row"}
        ] * 2
        assert report["warnings"] == []

    def test_this_run_is_not_its_own_history(self, project):
        project.tests()
        project.record(2)
        _, report = project.report("--rayperf-update-baselines")
        assert len(report["benchmarks"][0]["history"]) == 2
        assert project.sessions() == 3

    def test_nobody_looks_where_no_report_has_it(self, project, monkeypatch):
        project.tests()
        monkeypatch.setattr(history, "read_history", None)
        assert project.measure("--rayperf-markdown=run.md").ret == 0

    def test_an_interrupt_costs_the_history_and_no_report(self, project, monkeypatch):
        def interrupted(*_):
            raise KeyboardInterrupt

        project.tests()
        monkeypatch.setattr(history, "read_history", interrupted)
        result, report = project.report()
        assert result.ret == 0
        assert report["benchmarks"][0]["history"] is None
        assert report["warnings"] == ["history of the baselines: interrupted"]


def test_the_terminal_and_the_files_say_the_same_seconds(project, find_line):
    project.tests()
    result, report = project.report("--rayperf-html=run.html")
    assert find_line(result.stdout.str(), rf"; {report['duration_s']:.0f} s$")


def test_a_usage_error_after_something_was_measured(project):
    project.tests("""
        import pytest

        def test_first(rayperf):
            rayperf(lambda: {})

        @pytest.fixture
        def late():
            from pytest_rayperf.errors import ConfigurationError

            raise ConfigurationError("no such cluster")

        def test_second(rayperf, late):
            rayperf(lambda: {})
    """)
    result = project.run_apart("--rayperf", "--rayperf-json=run.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [b["id"] for b in json.loads(read(project, "run.json"))["benchmarks"]] == [
        "test_it.py::test_first"
    ]

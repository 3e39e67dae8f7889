"""`rayperf compare` says of a run's report what the run itself said."""

import json

import pytest

from pytest_rayperf.cli import main

PAIR = """
    def test_pair(rayperf):
        rayperf.duel(antipattern=lambda: {"seconds": 4.0}, fix=lambda: {})
"""
COUNTED = """
    def test_pair(rayperf):
        rayperf.duel(
            antipattern=lambda: {"counters": {"model_loads": 8}},
            fix=lambda: {},
            metric="model_loads",
            timed=False,
        )
"""
ONE = """
    def test_pipe(rayperf):
        rayperf(lambda: {})
"""
FEW = """
    def test_pipe(rayperf):
        rayperf(lambda: {}, rounds=4)
"""
MARKED = """
    import pytest

    @pytest.mark.rayperf(max_slowdown=1.5, min_throughput=1.0)
    def test_pipe(rayperf):
        rayperf(lambda: {})
"""


@pytest.fixture
def compare(project, capsys, monkeypatch):
    """Compares in the project's folder: exit status and report."""

    def compare(old, new):
        monkeypatch.chdir(project.path)
        capsys.readouterr()
        status = main(["compare", str(old), str(new), "--format", "json"])
        out, err = capsys.readouterr()
        assert err == ""
        return status, json.loads(out)

    return compare


SLOW = {"seconds": 3.0}
BUSY = {"cpu": {"ReadImages": 0.002, "MapBatches(Classify)": 0.02}}
LOADS = {"counters": {"model_loads": 2}}


@pytest.mark.parametrize(
    ("tests", "then", "now"),
    [
        (ONE, {}, {}),
        (ONE, {}, SLOW),
        (ONE, {}, BUSY),
        (ONE, BUSY, {}),
        (ONE, {}, LOADS),
        (ONE, {}, {"rows": 60}),
        (PAIR, {}, BUSY),
        (COUNTED, {}, SLOW),
        (COUNTED, {}, LOADS),
        (MARKED, {}, {"seconds": 70.0}),
        (FEW, {}, SLOW),
    ],
)
def test_against_the_baselines_it_is_what_the_run_said(project, compare, tests, then, now):
    project.tests(tests)
    project.script(**then)
    project.record(2)
    project.script(**now)
    result, report = project.report()
    status, compared = compare("baselines", "run.json")
    said = [benchmark["verdict"] for benchmark in compared["benchmarks"]]
    assert said == [benchmark["verdict"] for benchmark in report["benchmarks"]]
    assert [b["baseline"] for b in compared["benchmarks"]] == [b["baseline"] for b in report["benchmarks"]]
    assert compared["summary"] == report["summary"]
    assert compared["software_changes"] == report["software_changes"]
    assert status == result.ret


def test_two_runs(project, compare):
    project.tests(ONE)
    _, first = project.report()
    (project.path / "run.json").rename(project.path / "old.json")
    project.script(seconds=9.0)
    project.report()
    status, compared = compare("old.json", "run.json")
    assert status == 1
    assert compared["benchmarks"][0]["verdict"]["status"] == "regressed"
    assert first["summary"]["no-baseline"] == 1


def test_another_environments_baselines(project, compare):
    project.tests(ONE)
    project.record(2)
    (folder,) = (project.path / "baselines").iterdir()
    elsewhere = folder.rename(folder.with_name("elsewhere"))
    _, report = project.report()
    status, compared = compare("baselines", "run.json")
    assert status == 0
    assert compared["benchmarks"] == report["benchmarks"]
    assert "counters equal baselines/elsewhere/" in report["benchmarks"][0]["verdict"]["reason"]
    _, compared = compare(elsewhere, "run.json")
    assert compared["benchmarks"][0]["verdict"]["status"] == "incomparable"

"""`--rayperf-selftest` on scripted rounds: what is tested, what it says, and when it fails."""

import json

import pytest

from pytest_rayperf import selftest
from pytest_rayperf.harness import selftesting
from pytest_rayperf.reports import markdown, terminal


@pytest.fixture
def tested(project, monkeypatch):
    """Runs the self-test in few plays, on a pipeline whose UDF is called 8 times a round."""
    monkeypatch.setattr(selftest, "PLAYS", 400)
    monkeypatch.setattr(selftest, "SEARCH_PLAYS", 20)
    monkeypatch.setattr(selftesting, "INTERRUPTED_PLAYS", 40)
    project.script(calls=8)
    project.tests()

    def run(*arguments):
        path = project.path / "run.json"
        result = project.measure("--rayperf-selftest", f"--rayperf-json={path}", *arguments)
        return result, json.loads(path.read_text(encoding="utf-8"))

    return run


def test_a_quiet_machine_is_fit(project, tested, find_line):
    result, report = tested("--rayperf-max-rounds=10", "--rayperf-max-slowdown=1.4")
    text = result.stdout.str()
    assert result.ret == 0, text
    result.assert_outcomes(passed=1)
    assert "pipe: threshold 1.4, alpha 0.01 for 1 benchmark, 3 to 10 rounds" in text
    assert "measured: 10 pairs of each, with this put into each batch of Classify:" in text
    assert "\nfit for a threshold of 1.4\n" in text
    lines = text.partition("rayperf self-test")[2].splitlines()[1:-1]
    assert all(len(line) <= 100 for line in lines)
    for start in ("nothing  ", r"CPU [\d.]+ ms  ", r"waiting [\d.]+ ms  ", "model load  "):
        assert "%" in find_line("\n".join(lines), f"^{start}")

    (one,) = report["selftest"]
    assert report["benchmarks"] == []
    assert one["status"] == "fit"
    shown = markdown.render(report)
    assert shown.startswith("## rayperf: 1 self-test fit\n\n1 self-test fit; profile quick")
    assert "### Self-test of the gate\n\npipe: fit for a threshold of 1.4\n\n| Put in | Metric |" in shown
    assert "\n| same | " in shown
    told = [line.text for line in terminal.lines_of(report)]
    assert not any("rows/s" in line for line in told)  # there is no table
    assert told[told.index("self-test:") + 1] == "  pipe: fit for a threshold of 1.4"
    assert told[-2].startswith("1 self-test fit; profile quick")
    same, cpu, waiting, load = one["conditions"]
    assert same["regressed"]["share"] == 0
    assert same["plays"] == 400
    assert [c["name"] for c in one["conditions"]] == ["same", "CPU", "waiting", "model load"]
    for condition in (cpu, waiting):
        assert condition["slowdown"]["low"] < 1.96 < condition["slowdown"]["high"]
        assert condition["regressed"]["share"] > 0.9
        assert 1.4 < condition["found_90_percent"] < 1.96
        assert set(condition["rounds"]) == {"median", "p5", "p95"}
        assert len(condition["pairs"]["plain"]["throughput"]) == 10
    assert waiting["metric"] == "throughput"
    assert load["slowdown"]["ratio"] > 1.5
    # A warm-up, two plain rounds, a trial of waiting; then each of seven in turn, ten times.
    assert project.rounds == 4 + 7 * 10


def test_waiting_is_found_as_well_as_work(project, tested):
    """CPU time is called unchanged after a few rounds; that it is does not speak for the benchmark."""
    _, report = tested("--rayperf-max-rounds=10")
    waiting = report["selftest"][0]["conditions"][2]
    assert waiting["passed"]["share"] < 0.05
    assert waiting["regressed"]["share"] > 0.9


def test_a_noisy_machine_is_not(project, tested):
    project.script(calls=8, noise=0.2)
    result, report = tested()
    text = result.stdout.str()
    assert result.ret == 1
    result.assert_outcomes(failed=1)
    assert "not fit for a threshold of 1.1: CPU: a slowdown of " in text
    assert "--rayperf-max-slowdown" in text
    assert "a machine that does nothing else" in text
    assert "Traceback" not in text
    assert report["selftest"][0]["status"] == "not fit"
    assert [c["problem"] is None for c in report["selftest"][0]["conditions"]][1] is False


def test_the_marks_threshold_is_the_one_that_is_tested(project, tested):
    project.tests("""
        import pytest

        @pytest.mark.rayperf(max_slowdown=2.0)
        def test_pipe(rayperf):
            rayperf(lambda: {})
    """)
    result, report = tested("--rayperf-max-rounds=6")
    assert result.ret == 0
    (one,) = report["selftest"]
    assert one["max_slowdown"] == 2.0
    assert one["conditions"][1]["slowdown"]["ratio"] == pytest.approx(4.0, rel=0.1)


def test_alpha_is_dealt_to_all_that_were_collected(project, tested):
    project.tests("""
        import pytest

        @pytest.mark.parametrize("n", range(5))
        def test_pipe(rayperf, n):
            rayperf(lambda: {})

        def test_without():
            pass
    """)
    result, report = tested("--rayperf-max-rounds=6", "--rayperf-max-slowdown=1.5", "-k", "pipe and 3")
    result.assert_outcomes(passed=1, deselected=5)
    (one,) = report["selftest"]
    assert one["comparisons"] == 5
    assert one["name"] == "pipe 3"


def test_what_of_a_test_is_tested(project, tested):
    project.tests("""
        import pytest

        @pytest.mark.parametrize("variant", ["antipattern", "fix"])
        def test_pair(rayperf, variant):
            rayperf.duel(antipattern=lambda: {"rows": 1}, fix=lambda: {}, expected_rows=64, after_round=look)
            raise AssertionError("no results to ask for")

        def look(variant):
            assert variant in ("fix", "best")

        def test_duel(rayperf):
            rayperf.duel(antipattern=lambda: {"rows": 1}, fix=lambda: {})

        def test_ladder(rayperf):
            rayperf.ladder({"worst": lambda: {"rows": 1}, "best": lambda: {}}, after_round=look)

        def test_sweep(rayperf):
            rayperf.sweep({"1": lambda: {}, "2": lambda: {}})

        def test_raises(rayperf):
            rayperf.raises(lambda: {}, ValueError, "x")
    """)
    result, report = tested("--rayperf-max-rounds=6", "--rayperf-max-slowdown=1.5", "-rs")
    result.assert_outcomes(passed=3, skipped=3)
    assert [one["name"] for one in report["selftest"]] == ["pair", "duel", "ladder"]
    text = result.stdout.str()
    assert "--rayperf-selftest: its anti-pattern is there to be slow" in text
    assert "--rayperf-selftest: a sweep has no verdict" in text
    assert "--rayperf-selftest: what is expected of this pipeline is no speed" in text


def test_a_pipeline_without_a_udf_is_inconclusive(project, tested):
    project.script(calls=0)
    result, report = tested()
    assert result.ret == 1
    text = result.stdout.str()
    assert "inconclusive: no call of a UDF of map_batches was seen" in text
    assert project.rounds == 3
    assert report["selftest"][0]["conditions"] == []


def test_too_little_time_is_said_before_it_is_spent(project, tested):
    result, _ = tested("--rayperf-max-time=5")
    assert result.ret == 1
    text = result.stdout.str()
    assert "inconclusive: 6 pairs of 4 conditions take 90 s or more here, and there are 20 s" in text
    assert "--rayperf-max-time 23" in " ".join(text.split())
    assert project.rounds == 3


def test_what_is_put_in_and_does_not_show_is_inconclusive(project, tested):
    project.script(calls=8, hides=True)
    result, report = tested("--rayperf-max-rounds=6")
    assert result.ret == 1
    assert "inconclusive: nothing that was put in slowed the pipeline" in result.stdout.str()
    assert [c["judged"] for c in report["selftest"][0]["conditions"]] == [True, False, False, False]


def test_lost_rows_are_no_self_test(project, tested):
    project.tests("""
        def test_pipe(rayperf):
            rayperf(lambda: {}, expected_rows=65)
    """)
    result, report = tested()
    assert result.ret == 1
    assert "invalid: 64 rows, expected 65" in result.stdout.str()
    assert report["selftest"] == []


def test_a_pipeline_that_breaks_fails_with_its_error(project, tested):
    project.script(calls=8, raises="no such column")
    result, report = tested()
    assert result.ret == 1
    assert "ValueError: no such column" in result.stdout.str()
    assert report["selftest"] == []


@pytest.mark.parametrize(("at", "pairs"), [(3, None), (4 + 7 * 7, 6)])
def test_after_ctrl_c_what_there_is_is_printed(project, at, pairs):
    project.script(calls=8, interrupt_at=at)
    project.tests()
    result = project.run_apart("--rayperf", "--rayperf-selftest", "--rayperf-json=run.json")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    assert "inconclusive: interrupted" in result.stdout.str()
    (one,) = json.loads((project.path / "run.json").read_text(encoding="utf-8"))["selftest"]
    found = [len(c["pairs"]["plain"]["throughput"]) for c in one["conditions"]]
    if pairs is None:
        assert found == []
    else:
        assert set(found) <= {pairs, pairs + 1}
        assert one["conditions"][0]["regressed"]["share"] == 0


def test_each_benchmark_by_itself(project, tested):
    """Two tests: two tables, and one of them failing does not hide the other."""
    project.tests("""
        def test_one(rayperf):
            rayperf(lambda: {})

        def test_other(rayperf):
            rayperf(lambda: {"calls": 0})
    """)
    result, report = tested("--rayperf-max-rounds=6", "--rayperf-max-slowdown=1.5")
    result.assert_outcomes(passed=1, failed=1)
    assert [one["status"] for one in report["selftest"]] == ["fit", "inconclusive"]


def test_from_the_ini_file(project, tested):
    project.ini("rayperf_selftest = true", "rayperf_max_rounds = 6", "rayperf_max_slowdown = 1.5")
    result = project.measure()
    result.assert_outcomes(passed=1)
    assert "rayperf self-test" in result.stdout.str()
    assert project.baselines() == []


def test_does_nothing_without_the_switch(project):
    project.tests()
    error = project.usage_error(project.run("--rayperf-selftest"))
    assert error == "--rayperf-selftest: does nothing without --rayperf; add that"


def test_progress_is_shown(project, tested):
    result, _ = tested("--rayperf-max-rounds=6")
    text = result.stdout.str()
    assert "rayperf: [1/1] pipe plain, round 1 of 6" in text
    assert "rayperf: [1/1] pipe CPU, round 1 of 6" in text
    assert "rayperf: [1/1] pipe trial of waiting, round 1 of 1" in text
    assert "playing the gate" in text

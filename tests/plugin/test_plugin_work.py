"""Counted work: recorded with a baseline, compared exactly, and looked at twice before anything is said."""

import json

import pytest

COUNTED = """
    def test_pipe(rayperf):
        rayperf(lambda: {"work": WORK, "figures": {"startup_seconds": 1.0}})
"""


@pytest.fixture
def counted(project):
    """Writes the test so that its work is `work`."""

    def write(**work):
        project.tests(COUNTED.replace("WORK", repr(work or None)))

    return write


def passes(project):
    log = project.path / "work.log"
    return log.read_text(encoding="utf-8").split() if log.exists() else []


def rows_asked(project):
    return (project.path / "work_rows.log").read_text(encoding="utf-8").split()


def test_the_same_pipeline_is_counted_as_it_was_when_it_was_recorded(project, counted):
    """Not of as many rows as were read: of a data set with fewer than are wanted the end is seen, too."""
    counted(python_calls=320)
    project.record(2)
    assert project.measure("--rayperf-gate").ret == 0
    counted(python_calls=640)
    assert project.measure("--rayperf-gate").ret == 1
    assert rows_asked(project) == ["None"] * 5


def test_more_work_is_a_regression_on_the_first_run(project, counted):
    counted(python_calls=320, flops=1000)
    project.record()
    assert passes(project) == ["anew"]
    counted(python_calls=640, flops=1000)
    result, report = project.report("--rayperf-gate")
    assert result.ret == 1
    result.assert_outcomes(failed=1)
    (benchmark,) = report["benchmarks"]
    assert (benchmark["verdict"]["status"], benchmark["verdict"]["metric"]) == ("regressed", "python_calls")
    assert benchmark["verdict"]["ratio"] == 2
    reason = benchmark["verdict"]["reason"]
    assert reason.startswith("regressed: MapBatches(Classify): Python calls a row 2.00x (10 -> 20) (exact); ")
    assert reason.endswith("pipe.json; accept with --rayperf-update-baselines")
    assert passes(project)[1:] == ["kept", "anew"]


def test_the_same_work_is_counted_once_in_the_kept_process(project, counted):
    counted(python_calls=320)
    project.record(3)
    result, report = project.report("--rayperf-gate")
    assert result.ret == 0
    assert report["benchmarks"][0]["work"]["operators"][0]["counts"] == {"python_calls": 320}
    assert passes(project)[3:] == ["kept"]


@pytest.mark.parametrize("window", [16, 64])
def test_other_batches_are_counted_over_the_baseline_s_rows(project, window):
    """Twice the rows in a pass, for the batches are larger, are not twice the work."""
    pipe = {"work": {"python_calls": 320}, "figures": {"startup_seconds": 1.0}}
    project.tests(f"def test_pipe(rayperf): rayperf(lambda: {pipe})")
    project.record(3)
    project.tests(f"def test_pipe(rayperf): rayperf(lambda: {pipe | {'window': window}})")
    result, report = project.report("--rayperf-gate")
    assert result.ret == 0, result.stdout.str()
    assert report["benchmarks"][0]["work"]["operators"][0]["rows"] == 32
    assert passes(project)[3:] == ["kept", "kept"]
    assert rows_asked(project)[3:] == ["None", "32"]
    project.tests(
        f"def test_pipe(rayperf): rayperf(lambda: {pipe | {'window': window, 'work': {'python_calls': 640}}})"
    )
    result, report = project.report("--rayperf-gate")
    assert "Python calls a row 2.00x (10 -> 20)" in report["benchmarks"][0]["verdict"]["reason"]
    project.record()
    recorded = json.loads(project.baseline().read_text(encoding="utf-8"))["sessions"][-1]["work"]
    assert recorded["operators"][0]["rows"] == window, "what is recorded is the pipeline's own choice"


def test_less_work_is_an_improvement(project, counted):
    counted(python_calls=320)
    project.record()
    counted(python_calls=32)
    result, report = project.report("--rayperf-gate")
    assert result.ret == 0
    assert report["benchmarks"][0]["verdict"]["status"] == "improved"


def test_a_change_is_accepted(project, counted):
    counted(python_calls=320)
    project.record(2)
    counted(python_calls=640)
    project.record()
    assert project.measure("--rayperf-gate").ret == 0


def test_only_the_last_session_keeps_the_work(project, counted):
    counted(python_calls=320)
    project.record(3)
    sessions = json.loads(project.baseline().read_text(encoding="utf-8"))["sessions"]
    assert ["work" in session for session in sessions] == [False, False, True]


def test_what_cannot_be_counted_is_said_and_fails_nothing(project, counted):
    counted()
    result, report = project.report("--rayperf-update-baselines")
    assert result.ret == 0
    (benchmark,) = report["benchmarks"]
    assert (benchmark["work"], benchmark["work_problem"]) == (None, "the script has no work")
    assert project.measure("--rayperf-gate").ret == 0


def test_nothing_is_counted_where_nothing_asks_for_it(project, counted):
    counted(python_calls=320)
    result, report = project.report()
    assert result.ret == 0
    assert passes(project) == []
    assert (report["benchmarks"][0]["work"], report["benchmarks"][0]["work_problem"]) == (None, None)


def test_a_pipeline_that_executes_by_itself_is_not_executed_once_more(project):
    project.tests("""
        def test_pipe(rayperf):
            rayperf(lambda: {"work": {"python_calls": 1}})
    """)
    project.record()
    assert passes(project) == []


def test_of_a_duel_the_fix_is_counted(project):
    project.tests("""
        import pytest

        @pytest.mark.parametrize("variant", ["antipattern", "fix"])
        def test_pair(rayperf, variant):
            pipe = {"work": {"flops": 5}, "figures": {"startup_seconds": 1.0}}
            rayperf.duel(antipattern=lambda: pipe, fix=lambda: pipe)
    """)
    project.record()
    assert passes(project) == ["anew"]
    _, report = project.report()
    assert [b["variant"] for b in report["benchmarks"] if b["work"]] == ["fix"]
    assert passes(project) == ["anew", "kept"]


def test_what_was_recorded_is_counted_once_more_and_stays(project, counted):
    counted(python_calls=320)
    project.record(2)
    assert passes(project) == ["anew", "kept"]
    (session,) = [
        s for s in json.loads(project.baseline().read_text(encoding="utf-8"))["sessions"] if "work" in s
    ]
    assert session["work"]["operators"][0]["counts"] == {"python_calls": 320}
    counted(python_calls=640)
    project.record()
    assert passes(project)[2:] == ["kept", "anew"]


def test_a_counter_that_was_not_counted_then_is_recorded_with_the_next_session(project, counted):
    """An earlier version did not count it; else nothing would gate it until something else changes."""
    counted(python_calls=320)
    project.record(2)
    counted(python_calls=320, files_opened=0)
    project.record()
    assert passes(project)[2:] == ["kept", "anew"]
    counted(python_calls=320, files_opened=64)
    result, report = project.report("--rayperf-gate")
    assert result.ret == 1
    reason = report["benchmarks"][0]["verdict"]["reason"]
    assert "files opened a row 0 -> 2 (exact)" in reason


SLEEPS = """
    import pytest

    MARK
    def test_pipe(rayperf):
        tasks = {"MapBatches(Classify)": 1.5}
        # Eight calls, of which a pass has four.
        pipe = {"calls": 8, "walls": tasks, "figures": {"startup_seconds": 1.0}}
        pipe["seconds"] = 2 + 2 * SLEPT / 1e6
        rayperf(lambda: {**pipe, "work": {"slept_microseconds": SLEPT}})
"""


@pytest.mark.parametrize(
    ("mark", "slept", "metric"),
    [
        ("", 4 * 60_000, "slept_microseconds"),  # 2.48 seconds a round, 1.24x of what it would take
        ("", 4 * 10_000, None),
        ("@pytest.mark.rayperf(max_slowdown=1.03)", 4 * 10_000, "slept_microseconds"),
        ("@pytest.mark.rayperf(max_slowdown=1.5)", 4 * 60_000, None),
    ],
)
def test_more_sleep_than_the_threshold_is_a_regression_on_the_first_run(project, mark, slept, metric):
    test = SLEEPS.replace("MARK", mark)
    project.tests(test.replace("SLEPT", "0"))
    project.record()
    project.tests(test.replace("SLEPT", str(slept)))
    result, report = project.report("--rayperf-gate")
    verdict = report["benchmarks"][0]["verdict"]
    assert result.ret == (1 if metric else 0), result.stdout.str()
    if metric:
        assert (verdict["status"], verdict["metric"]) == ("regressed", metric)
        assert "microseconds slept a row 0 -> " in verdict["reason"]
    else:
        assert "slept" not in verdict["reason"]


def test_nothing_is_counted_of_what_its_counters_fail(project):
    test = """
        def test_pipe(rayperf):
            work = {"work": {"python_calls": 1}, "figures": {"startup_seconds": 1.0}}
            rayperf(lambda: {**work, "counters": COUNTERS})
    """
    project.tests(test.replace("COUNTERS", "{'model_loads': 1}"))
    project.record()
    project.tests(test.replace("COUNTERS", "{'model_loads': 5}"))
    result, report = project.report()
    assert result.ret == 1
    assert report["benchmarks"][0]["verdict"]["metric"] == "model_loads"
    assert passes(project) == ["anew"]

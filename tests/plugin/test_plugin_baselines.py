"""The life of a baseline: made, held, broken, accepted anew; and what is said when a test is gone."""

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

SLOWER = {"ReadImages": 0.002, "MapBatches(Classify)": 0.014}

WITH_IMAGES = """
    def test_pipe(rayperf, imagenette):
        rayperf(lambda: {})
"""


def test_life_of_a_baseline(project, images, find_line):
    project.tests(WITH_IMAGES)
    # Of 1.10x three sessions are too few to call anything unchanged, however alike they are.
    data = (f"--rayperf-data={images('one')}", "--rayperf-max-slowdown=1.2")

    # There is none.
    result = project.measure(*data)
    assert result.ret == 0
    assert "1 no-baseline" in result.stdout.str()
    result = project.measure("--rayperf-gate", *data)
    assert result.ret == 1
    find_line(result.stdout.str(), r"^no-baseline: no baseline for .*; record one with --rayperf-update-base")
    assert project.baselines() == []

    # Three accepted sessions; the same speed passes.
    result = project.measure("--rayperf-update-baselines", *data)
    assert result.ret == 0
    assert "record one" not in result.stdout.str()  # that was done
    find_line(result.stdout.str(), r"^  no baseline for this environment$")
    for sessions in (2, 3):
        project.record(1, *data)
        assert project.sessions() == sessions
    result = project.measure("--rayperf-gate", *data)
    assert result.ret == 0
    assert "1 unchanged" in result.stdout.str()
    assert project.sessions() == 3

    # One operator got slower: a failed item, one line, also in JUnit's XML, and with or without the gate.
    project.script(cpu=SLOWER)
    result = project.measure("--rayperf-gate", "--junitxml", "junit.xml", *data)
    assert result.ret == 1
    result.assert_outcomes(failed=1)
    shown = project.baseline().relative_to(project.path).as_posix()
    pattern = (
        r"^regressed: cpu_seconds_per_row 0\.0[01]\d* -> 0\.01[56]\d* s, 1\.[56]\dx \[1\.\d\d, [12]\.\d\d\], "
        r"threshold 1\.20; operator MapBatches\(Classify\) \+7\d% CPU \(\+6\d% of the whole\); "
        r"ReadImages unchanged; baseline " + shown + "; accept with --rayperf-update-baselines$"
    )
    message = find_line(result.stdout.str(), pattern)
    suite = ElementTree.parse(project.path / "junit.xml").getroot().find("testsuite")
    assert (suite.get("failures"), suite.get("errors"), suite.get("tests")) == ("1", "0", "1")
    assert suite.find("testcase/failure").get("message") == f"Failed: {message}"
    properties = {p.get("name"): p.get("value") for p in suite.iter("property")}
    assert properties["rayperf_verdict"] == "regressed"
    assert project.measure(*data).ret == 1

    # Accepted: a new start, for the old speed is history.
    result = project.measure("--rayperf-update-baselines", *data)
    assert result.ret == 0
    assert f"baseline written: {shown}" in result.stdout.str()
    assert project.sessions() == 1
    project.record(2, *data)
    result = project.measure("--rayperf-gate", *data)
    assert result.ret == 0
    assert "1 unchanged" in result.stdout.str()

    # Other images: not to be compared.
    other = (f"--rayperf-data={images('other', shade=200)}",)
    result = project.measure(*other)
    assert result.ret == 0
    assert "1 incomparable" in result.stdout.str()
    result = project.measure("--rayperf-gate", *other)
    assert result.ret == 1
    line = find_line(result.stdout.str(), rf"^incomparable: {shown} measured something else \(")
    assert "data 'one' -> 'other'" in line
    assert "data_fingerprint" in line

    # A counter grew.
    project.script(cpu=SLOWER, counters={"model_loads": 4})
    result = project.measure("--rayperf-gate", *data)
    assert result.ret == 1
    find_line(result.stdout.str(), rf"^regressed: model_loads 1 -> 4 a round \(exact\); baseline {shown};")

    # Rows are missing: wrong, whoever asks.
    project.script(cpu=SLOWER, rows=63)
    result = project.measure(*data)
    assert result.ret == 1
    find_line(result.stdout.str(), r"^invalid: rows 64 -> 63 a round \(exact\); baseline")
    assert project.sessions() == 3


def test_a_regression_that_is_less_than_the_threshold_passes(project):
    project.tests()
    project.record(3)
    project.script(cpu=SLOWER)
    assert project.measure("--rayperf-max-slowdown", "3").ret == 0
    assert project.measure("--rayperf-max-slowdown", "1.2").ret == 1


def test_each_regressed_metric_is_a_line(project, find_line):
    project.tests()
    project.record(3)
    project.script(cpu=SLOWER, seconds=6.0)
    result = project.measure()
    assert result.ret == 1
    text = result.stdout.str().partition("= FAILURES =")[2].partition("= rayperf =")[0]
    find_line(text, r"^regressed: cpu_seconds_per_row .* threshold 1\.10;")
    find_line(text, r"^regressed: throughput .* rows/s, 0\.\d\dx \[.*\], threshold 1/1\.10;")


def test_faster_is_improved_and_passes(project):
    project.tests()
    project.record(3)
    project.script(cpu={"ReadImages": 0.002, "MapBatches(Classify)": 0.002})
    result, report = project.report("--rayperf-gate")
    assert result.ret == 0
    assert report["benchmarks"][0]["verdict"]["status"] == "improved"
    project.record()
    assert project.sessions() == 1


def test_rows_that_changed_can_be_accepted(project):
    project.tests()
    project.record(2)
    project.script(rows=32)
    assert project.measure().ret == 1
    project.record()
    assert project.sessions() == 1
    result, report = project.report("--rayperf-gate")
    assert result.ret == 0
    assert report["benchmarks"][0]["counters"]["rows"] == 32


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"cpu": SLOWER}, "regressed"),
        ({"cpu": {"ReadImages": 0.002, "MapBatches(Classify)": 0.002}}, "improved"),
        ({"rows": 32}, "invalid"),
        ({"counters": {"model_loads": 9}}, "regressed"),
    ],
)
def test_who_records_is_not_told_to_record(project, change, status):
    project.tests()
    project.record(3)
    project.script(**change)
    _, judged = project.report()
    assert "--rayperf-update-baselines" in judged["benchmarks"][0]["verdict"]["reason"]
    result, report = project.report("--rayperf-update-baselines")
    assert result.ret == 0
    verdict = report["benchmarks"][0]["verdict"]
    assert verdict["status"] == status
    assert "--rayperf-update-baselines" not in verdict["reason"]


def test_rows_that_were_expected_and_are_missing_are_never_accepted(project):
    project.tests("""
        def test_pipe(rayperf):
            rayperf(lambda: {}, expected_rows=65)
    """)
    result = project.measure("--rayperf-update-baselines")
    assert result.ret == 1
    assert "invalid: 64 rows, expected 65; the pipeline loses or doubles rows" in result.stdout.str()
    assert project.baselines() == []


def test_no_rows_at_all_are_invalid(project):
    project.tests()
    project.script(rows=0)
    result = project.measure()
    assert result.ret == 1
    assert "invalid: a round gave no rows" in result.stdout.str()


def test_another_profile_is_incomparable(project):
    project.tests()
    project.record()
    result = project.measure("--rayperf-gate", "--rayperf-profile", "standard")
    assert result.ret == 1
    assert "measured something else (profile 'quick' -> 'standard')" in result.stdout.str()


def test_inconclusive_passes_unless_strict(project, find_line):
    project.tests()
    project.record()  # of one session it is not known how much sessions differ
    for arguments in ((), ("--rayperf-gate",)):
        result, report = project.report(*arguments)
        assert result.ret == 0
        assert "1 inconclusive" in result.stdout.str()
        reason = report["benchmarks"][0]["verdict"]["reason"]
        assert re.match(r"inconclusive: cpu_seconds_per_row .*; slowdowns above 1\.", reason)
        assert "more baseline sessions (there are 1)" in reason
        find_line(result.stdout.str(), r"^test_pipe  .*  1\.\d\dx  .* inconclusive$")
        find_line(result.stdout.str(), r"^  …; what would help: more baseline sessions \(there are 1\), ")
    result = project.measure("--rayperf-gate", "--rayperf-strict")
    assert result.ret == 1
    result.assert_outcomes(failed=1)
    find_line(result.stdout.str(), r"^inconclusive: cpu_seconds_per_row")


def test_counters_carry_over_from_another_environment(project, find_line):
    project.tests()
    project.record()
    folder = project.baseline().parent
    folder.rename(folder.with_name("linux-another-machine"))
    result = project.measure()
    assert result.ret == 0
    assert "no baseline for this environment, counters equal baselines/linux-another" in result.stdout.str()
    project.script(counters={"model_loads": 2})
    result = project.measure()
    assert result.ret == 1
    find_line(result.stdout.str(), r"^regressed: model_loads 1 -> 2 a round \(exact\); baseline baselines/")


def test_min_throughput_of_a_mark_needs_no_baseline(project):
    project.tests("""
        import pytest

        @pytest.mark.rayperf(min_throughput=20)
        def test_reached(rayperf):
            rayperf(lambda: {})

        @pytest.mark.rayperf(min_throughput=1000)
        def test_missed(rayperf):
            rayperf(lambda: {})
    """)
    result = project.measure()
    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.re_match_lines([r"regressed: throughput at most 3\d\.\d rows/s .*min_throughput=1000$"])


def test_max_slowdown_of_a_mark_wins(project):
    project.tests("""
        import pytest

        @pytest.mark.rayperf(max_slowdown=3)
        def test_pipe(rayperf):
            rayperf(lambda: {})
    """)
    project.record(3)
    project.script(cpu=SLOWER)
    result, report = project.report("--rayperf-max-slowdown", "1.05")
    assert result.ret == 0
    assert report["benchmarks"][0]["verdict"]["threshold"] == 3


def test_files_are_whole_sorted_and_alone_in_their_folder(project):
    project.tests()
    project.record(2)
    path = project.baseline()
    assert path.name == "it.pipe.json"
    assert [p.name for p in path.parent.iterdir()] == ["it.pipe.json"]
    data = json.loads(path.read_text(encoding="utf-8"))
    assert json.dumps(data, indent=1, sort_keys=True) + "\n" == path.read_text(encoding="utf-8")
    assert data["schema_version"] == 1
    assert data["id"] == "test_it.py::test_pipe"
    assert data["environment"]["id"] == path.parent.name
    for session in data["sessions"]:
        assert len(session["rounds"]) >= 3
        assert session["software"]["pytest"] == pytest.__version__


def test_two_items_have_two_files(project):
    project.tests("""
        import pytest

        @pytest.mark.parametrize("size", [1, 2])
        def test_pipe(rayperf, size):
            rayperf(lambda: {})
    """)
    project.record()
    assert [path.name for path in project.baselines()] == ["it.pipe-1.json", "it.pipe-2.json"]


GONE = "baseline without a test: "


def test_a_baseline_without_its_test_is_said_after_a_whole_run(project, find_line):
    project.tests("""
        def test_pipe(rayperf):
            rayperf(lambda: {})

        def test_old(rayperf):
            rayperf(lambda: {})
    """)
    project.tests(name="test_other")
    project.record()
    assert GONE not in project.measure().stdout.str()

    project.tests()
    result = project.measure()
    assert result.ret == 0
    assert "it.old.json; delete it, or restore the test" in find_line(result.stdout.str(), GONE)
    for part in (
        ("-k", "pipe"),
        ("test_it.py::test_pipe",),
        ("-m", "not slow"),
        ("--deselect", "test_other.py::test_pipe"),
    ):
        assert GONE not in project.measure(*part).stdout.str()
    assert GONE not in project.measure("test_other.py").stdout.str()

    (project.path / "test_other.py").unlink()
    gone = [line for line in project.measure().stdout.lines if GONE in line]
    assert [line.split("/")[-1].split(";")[0] for line in gone] == ["it.old.json", "other.pipe.json"]


FAILS_BY_ITSELF = """
    def test_pipe(rayperf):
        result = rayperf(lambda: {})
        assert result.counters["rows"] == 63
"""


def test_what_fails_by_its_own_assertion_is_no_baseline(project, find_line):
    project.tests(FAILS_BY_ITSELF)
    result = project.measure("--rayperf-update-baselines")
    result.assert_outcomes(failed=1)
    assert project.baselines() == []
    find_line(result.stdout.str(), "^it.pipe: not a baseline, for its test did not pass$")


def test_nor_does_it_take_the_others_along(project):
    project.tests(
        FAILS_BY_ITSELF
        + """
    def test_other(rayperf):
        rayperf(lambda: {})
    """
    )
    project.measure("--rayperf-update-baselines").assert_outcomes(failed=1, passed=1)
    assert [path.name for path in project.baselines()] == ["it.other.json"]


@pytest.mark.parametrize("where", ["before", "after"])
def test_nor_is_what_its_fixtures_reject(project, where):
    """In the setup that measures, or in the teardown that checks; and the next test has nothing of it."""
    broken = {"before": ('raise ValueError("no")', "pass"), "after": ("pass", 'raise ValueError("no")')}[
        where
    ]
    project.tests(f"""
        import pytest

        @pytest.fixture
        def measured(rayperf):
            rayperf(lambda: {{}})
            {broken[0]}
            yield
            {broken[1]}

        def test_pipe(measured, rayperf): pass

        def test_other(rayperf):
            rayperf(lambda: {{}})
    """)
    result = project.measure("--rayperf-update-baselines")
    result.assert_outcomes(errors=1, passed=1 if where == "before" else 2)
    assert [path.name for path in project.baselines()] == ["it.other.json"]


BREAKS = """
    import pytest

    def test_pipe(rayperf):
        with pytest.raises(ValueError):
            rayperf(lambda: {"raises": "broken"})
"""


def test_with_the_gate_a_failure_that_the_test_keeps_to_itself_is_one(project, find_line):
    project.tests(BREAKS)
    project.measure().assert_outcomes(passed=1)
    result = project.measure("--rayperf-gate")
    result.assert_outcomes(failed=1)
    find_line(result.stdout.str(), "^invalid: the pipeline raised ValueError: broken$")


def test_a_regression_that_the_test_keeps_to_itself_is_one(project, find_line):
    project.tests("""
        import pytest

        def test_pipe(rayperf):
            try:
                rayperf(lambda: {})
            except Exception:
                pass
    """)
    project.record()
    project.script(counters={"model_loads": 2})
    result = project.measure()
    result.assert_outcomes(failed=1)
    find_line(result.stdout.str(), "^regressed: model_loads 1 -> 2 a round")


def test_a_file_in_place_of_the_environments_folder(project):
    project.tests()
    project.record()
    folder = project.baseline().parent
    project.baseline().unlink()
    folder.rmdir()
    folder.write_text("")
    assert project.refused().endswith("is a file, not a folder of baselines; move it away")


def test_a_file_of_another_machine_in_this_ones_folder(project):
    project.tests()
    project.record()
    text = project.baseline().read_text()
    found = json.loads(text)["environment"]["id"]
    project.baseline().write_text(text.replace(f'"id": "{found}"', '"id": "elsewhere"'))
    error = project.refused()
    assert "was measured on 'elsewhere', by what is in it; move it to the folder of that name" in error


def test_sessions_that_a_merge_left_twice(project):
    project.tests()
    project.record()
    text = project.baseline().read_text()
    project.baseline().write_text(text.replace('"schema_version"', '"sessions": [], "schema_version"', 1))
    assert "is not whole JSON ('sessions' stands in it twice)" in project.refused()


@pytest.mark.parametrize(
    "measured",
    [
        "rayperf(lambda: {})",
        'rayperf.duel(antipattern=lambda: {"seconds": 9.0}, fix=lambda: {})',
        'rayperf.ladder({"bad": lambda: {"seconds": 9.0}, "good": lambda: {}})',
    ],
)
def test_what_would_be_found_is_by_the_rounds_that_there_was_time_for(project, measured):
    project.tests(f"""
        def test_pipe(rayperf):
            {measured}
    """)
    project.record(2)
    _, hurried = project.report("--rayperf-max-time=0.0001")
    _, whole = project.report()
    for short, long in zip(hurried["benchmarks"], whole["benchmarks"], strict=True):
        assert short["verdict"]["finds"] > long["verdict"]["finds"] > 1.1

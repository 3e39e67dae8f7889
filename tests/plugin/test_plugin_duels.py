"""Duels, expected errors, and a fixture that is used in a way it doesn't allow."""

import json

import pytest

PAIR = """
    import pytest

    @pytest.mark.parametrize("variant", ["antipattern", "fix"])
    def test_pair(rayperf, variant):
        rayperf.duel(
            antipattern=lambda: {"cpu": {"Map(Slow)": 0.03}},
            fix=lambda: {"cpu": {"Map(Fast)": 0.01}},
            metric="cpu_seconds_per_row",
            floors={"cpu_seconds_per_row": 2},
        )
"""


def test_two_items_are_measured_once_and_both_reported(project, find_line):
    project.tests(PAIR)
    result, report = project.report("-v")
    assert result.ret == 0
    result.assert_outcomes(passed=2)
    assert [(b["id"], b["variant"], b["antipattern"]) for b in report["benchmarks"]] == [
        ("test_it.py::test_pair[antipattern]", "antipattern", "pair"),
        ("test_it.py::test_pair[fix]", "fix", "pair"),
    ]
    (duel,) = report["duels"]
    assert duel["status"] == "effect"
    assert 2.8 < duel["ratio"] < 3.2
    assert duel["ci"][0] < duel["ratio"] < duel["ci"][1]
    assert (duel["floor"], duel["outputs_equal"], duel["metric"]) == (2, True, "cpu_seconds_per_row")
    rounds = len(report["benchmarks"][0]["rounds"]["wall_seconds"])
    assert rounds >= 3
    assert project.rounds == 2 * (rounds + 1)  # a warm-up and the rounds, of each variant, once
    line = find_line(result.stdout.str(), r"^  pair: fix better by ")
    assert line.endswith("CPU/row, floor 2x; outputs equal")


def test_the_variants_take_turns(project):
    project.tests(PAIR)
    project.measure()
    log = (project.path / "rounds.log").read_text(encoding="utf-8").splitlines()
    assert ["A" if "Slow" in line else "B" for line in log] == list("AB" + "ABBAAB")


def test_without_warm_ups_the_first_round_is_compared(project):
    project.tests(PAIR.replace("floors=", "warm_ups=0, floors="))
    result, report = project.report()
    assert result.ret == 0
    assert project.rounds == 2 * len(report["benchmarks"][0]["rounds"]["wall_seconds"]) == 6
    assert [duel["outputs_equal"] for duel in report["duels"]] == [True]
    unequal = PAIR.replace("0.03}", '0.03}, "outputs": {"a": [1]}')
    project.tests(unequal.replace("floors=", "warm_ups=0, floors="))
    result = project.measure()
    assert result.ret == 1
    assert "invalid: the variants compute different outputs" in result.stdout.str()


def test_as_many_rounds_as_the_test_says(project):
    project.tests(PAIR.replace("floors=", "rounds=2, floors="))
    project.record(3)
    before = project.rounds
    assert project.measure("--rayperf-gate").ret == 0
    assert project.rounds - before == 2 * (1 + 2)


@pytest.mark.parametrize(
    "call", ["rayperf.duel(antipattern=dict, fix=dict, rounds=0)", "rayperf(dict, rounds=-1)"]
)
def test_no_rounds_are_an_error(project, call):
    project.tests(f"""
        def test_pair(rayperf):
            {call}
    """)
    result = project.measure()
    assert result.ret == 1
    assert "must be a whole number, 1 or more" in result.stdout.str()
    assert project.rounds == 0


COUNTED = PAIR.replace('metric="cpu_seconds_per_row"', 'metric="model_loads", timed=False').replace(
    '{"cpu_seconds_per_row": 2}', '{"model_loads": 4}'
)


def test_untimed_each_variant_is_executed_once_and_counters_gate(project):
    loads = '"counters": {"model_loads": 8}'
    project.tests(COUNTED.replace("0.03}", f"0.03}}, {loads}"))
    result, report = project.report("--rayperf-update-baselines")
    assert result.ret == 0, result.stdout.str()
    assert project.rounds == 2
    assert [(d["ratio"], d["floor"], d["outputs_equal"]) for d in report["duels"]] == [(8, 4, True)]
    # A tenth more CPU time: one execution says nothing of it.
    project.tests(COUNTED.replace("0.03}", f"0.033}}, {loads}").replace("0.01", "0.011"))
    result, report = project.report("--rayperf-gate")
    assert result.ret == 0, result.stdout.str()
    assert [b["verdict"]["status"] for b in report["benchmarks"]] == ["unchanged"] * 2
    assert "executed once: only a large slowdown shows" in report["benchmarks"][0]["verdict"]["reason"]
    twice = COUNTED.replace("0.01}}", '0.01}, "counters": {"model_loads": 2}}')
    project.tests(twice.replace("0.03}", f"0.03}}, {loads}"))
    result = project.measure("--rayperf-gate")
    assert result.ret == 1
    assert "regressed: model_loads 1 -> 2" in result.stdout.str()


def test_untimed_what_looks_slow_is_measured_on_and_fails_if_it_stays(project, find_line):
    counted = COUNTED.replace("0.03}", '0.03}, "counters": {"model_loads": 8}')
    project.tests(counted)
    project.record(3)
    before = project.rounds
    project.tests(counted.replace("0.01}", "0.1}"))
    result = project.measure("--rayperf-gate")
    assert result.ret == 1
    assert project.rounds - before == 2 * 4
    result.assert_outcomes(passed=1, failed=1)
    find_line(result.stdout.str(), r"^pair fix .* CPU .* 8\.00x model_loads  regressed$")
    find_line(result.stdout.str(), r"^  cpu_seconds_per_row 0\.0\d* -> 0\.\d+ s, .*; operator Map\(Fast\) \+")


def test_one_variant_alone(project):
    project.tests(PAIR)
    result, report = project.report("-k", "fix")
    assert result.ret == 0
    result.assert_outcomes(passed=1, deselected=1)
    assert [b["variant"] for b in report["benchmarks"]] == ["fix"]
    assert [d["status"] for d in report["duels"]] == ["effect"]


def test_each_variant_has_its_baseline(project, find_line):
    project.tests(PAIR)
    project.record(3)
    assert [path.name for path in project.baselines()] == ["it.pair-antipattern.json", "it.pair-fix.json"]
    assert [json.loads(path.read_text())["variant"] for path in project.baselines()] == ["antipattern", "fix"]
    result = project.measure("--rayperf-gate")
    assert result.ret == 0
    project.tests(PAIR.replace("0.01", "0.014"), name="test_it")
    result = project.measure("--rayperf-gate")
    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=1)
    message = find_line(result.stdout.str(), r"^regressed: cpu_seconds_per_row")
    assert "it.pair-fix.json" in message
    assert "Map(Fast) +" in message


def test_one_item_reports_both_variants(project):
    project.tests("""
        def test_pair(rayperf):
            result = rayperf.duel(antipattern=lambda: {"seconds": 4.0}, fix=lambda: {"seconds": 2.0})
            assert result.antipattern.median("throughput") < 20 < result.fix.median("throughput")
            assert result.fix.counters["rows"] == 64
            assert result.duels[0].status == "effect"
    """)
    result, report = project.report("--rayperf-update-baselines", "--junitxml=junit.xml")
    assert result.ret == 0, result.stdout.str()
    assert [b["variant"] for b in report["benchmarks"]] == ["antipattern", "fix"]
    assert [d["metric"] for d in report["duels"]] == ["throughput"]
    assert [path.name for path in project.baselines()] == ["it.pair-antipattern.json", "it.pair-fix.json"]
    junit = (project.path / "junit.xml").read_text(encoding="utf-8")
    assert 'name="rayperf_verdict_antipattern" value="no-baseline"' in junit
    assert 'name="rayperf_verdict_fix" value="no-baseline"' in junit
    assert "baseline without a test" not in project.measure().stdout.str()


UNEQUAL = """
    import pytest

    @pytest.mark.parametrize("variant", ["antipattern", "fix"])
    def test_pair(rayperf, variant):
        rayperf.duel(antipattern=lambda: {}, fix=lambda: {"outputs": {"prediction": [1] * 64}})
"""


def test_unequal_outputs_fail_both_items_and_nothing_is_timed(project):
    project.tests(UNEQUAL)
    result, report = project.report()
    assert result.ret == 1
    result.assert_outcomes(failed=2)
    assert project.rounds == 2  # the warm-ups
    for benchmark in report["benchmarks"]:
        assert benchmark["verdict"]["status"] == "invalid"
        assert (
            "the variants compute different outputs: column 'prediction' differs in 63 of 64"
            in (benchmark["verdict"]["reason"])
        )
        assert benchmark["rounds"]["wall_seconds"] == []
        assert benchmark["metrics"]["throughput"]["median"] is None
    (duel,) = report["duels"]
    assert (duel["outputs_equal"], duel["status"], duel["ratio"]) == (False, "invalid", None)


def test_unequal_outputs_are_never_accepted(project):
    project.tests(UNEQUAL)
    assert project.measure("--rayperf-update-baselines").ret == 1
    assert project.baselines() == []


def test_unequal_row_counts_of_writes(project):
    project.tests("""
        def test_pair(rayperf):
            rayperf.duel(antipattern=lambda: {"outputs": None}, fix=lambda: {"outputs": None, "rows": 60})
    """)
    result = project.measure()
    assert result.ret == 1
    assert "different outputs: rows [64] in the anti-pattern, [60] in the fix" in result.stdout.str()


def test_a_missed_floor_fails_the_fix(project, find_line):
    project.tests(PAIR.replace('"cpu_seconds_per_row": 2', '"cpu_seconds_per_row": 6'))
    result, report = project.report("-rA")
    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=1)
    find_line(result.stdout.str(), r"^FAILED test_it.py::test_pair\[fix\]")
    find_line(result.stdout.str(), r"^invalid: the fix is [23]\.\d\dx \[.*\] better in cpu_.* floor is 6x$")
    assert report["duels"][0]["status"] == "below-floor"


def test_a_floor_of_a_counter_is_exact(project):
    project.tests("""
        import pytest

        @pytest.mark.parametrize("floor", [8, 8.1])
        def test_pair(rayperf, floor):
            rayperf.duel(
                antipattern=lambda: {"counters": {"model_loads": 8}},
                fix=lambda: {"counters": {"model_loads": 1}},
                floors={"model_loads": floor},
            )
    """)
    result = project.measure()
    result.assert_outcomes(passed=1, failed=1)
    assert "the fix is 8.00x [8.00, 8.00] better in model_loads, its floor is 8.1x" in result.stdout.str()


def test_a_raising_pipeline_fails_both_items_with_its_error(project):
    project.tests("""
        import pytest

        @pytest.mark.parametrize("variant", ["antipattern", "fix"])
        def test_pair(rayperf, variant):
            rayperf.duel(antipattern=lambda: {}, fix=lambda: {"raises": "image 7 is broken"})
    """)
    result, report = project.report()
    assert result.ret == 1
    result.assert_outcomes(failed=2)
    assert result.stdout.str().count("E   ") >= 2
    assert [b["verdict"]["status"] for b in report["benchmarks"]] == ["invalid", "invalid"]
    assert report["benchmarks"][0]["verdict"]["reason"] == (
        "invalid: the pipeline raised ValueError: image 7 is broken"
    )
    assert project.rounds == 2
    result = project.measure("-k", "fix")
    assert result.ret == 1
    result.assert_outcomes(failed=1, deselected=1)
    assert "ValueError: image 7 is broken" in result.stdout.str()


def test_a_raising_pipeline_leaves_no_baseline(project):
    project.tests("""
        def test_pipe(rayperf):
            rayperf(lambda: {"raises": "image 7 is broken"})
    """)
    result = project.measure("--rayperf-update-baselines")
    assert result.ret == 1
    assert "image 7 is broken" in result.stdout.str()
    assert project.baselines() == []


def test_numpys_numbers_may_be_given(project):
    project.tests("""
        import numpy as np

        def test_pipe(rayperf):
            pipelines = {"antipattern": lambda: {"seconds": 9.0}, "fix": lambda: {}}
            floors = {"throughput": np.float32(1.5)}
            numbers = {"rounds": np.int64(2), "warm_ups": np.int64(0), "expected_rows": np.int64(64)}
            rayperf.duel(**pipelines, **numbers, floors=floors)
    """)
    result, report = project.report()
    assert result.ret == 0
    assert len(report["benchmarks"][0]["rounds"]["throughput"]) == 2


def test_a_second_use_is_an_error(project):
    project.tests("""
        def test_pipe(rayperf):
            rayperf(lambda: {})
            rayperf(lambda: {})
    """)
    result = project.measure()
    assert result.ret == 1
    assert "rayperf was used twice in one test" in result.stdout.str()
    assert "Traceback" not in result.stdout.str()


def test_expected_errors(project, find_line):
    project.tests("""
        import pytest

        def test_raised(rayperf):
            error = rayperf.raises(lambda: {"raises": "not allowed: 3"}, ValueError, r"allowed: \\d")
            assert isinstance(error, ValueError)

        def test_nothing(rayperf):
            rayperf.raises(lambda: {}, ValueError, "not allowed")

        def test_other_text(rayperf):
            rayperf.raises(lambda: {"raises": "disk full"}, ValueError, "not allowed")

        def test_other_type(rayperf):
            rayperf.raises(lambda: {"raises": "not allowed"}, KeyError, "not allowed")

        def test_no_pattern(rayperf):
            rayperf.raises(lambda: {"raises": "not allowed"}, ValueError, "not (allowed")
    """)
    result, report = project.report("--rayperf-gate")
    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=4)
    text = result.stdout.str()
    find_line(text, r"^invalid: ValueError \('not allowed'\) was not raised; the pipeline ran and gave 64")
    find_line(
        text, r"^invalid: raised ValueError: disk full; its text has nothing that .* 'not allowed' finds$"
    )
    find_line(text, r"^UsageInTestError: rayperf.raises: match='not \(allowed': must be a regular expression")
    find_line(text, r"^invalid: raised another error than KeyError .*: ValueError: not allowed$")
    statuses = {b["id"].partition("::test_")[2]: b["verdict"]["status"] for b in report["benchmarks"]}
    assert statuses == {
        "raised": "unchanged",
        "nothing": "invalid",
        "other_text": "invalid",
        "other_type": "invalid",
    }


def test_a_failing_test_body_is_a_failure_and_its_rounds_are_reported(project):
    project.tests("""
        def test_pipe(rayperf):
            result = rayperf(lambda: {})
            assert result.counters["rows"] == 65
    """)
    result, report = project.report()
    assert result.ret == 1
    result.assert_outcomes(failed=1)
    assert report["benchmarks"][0]["verdict"]["status"] == "no-baseline"


def test_an_unused_fixture_is_warned_of(project, find_line):
    """A call that was forgotten would never be gated; what turns warnings into errors fails it."""
    project.tests("def test_pipe(rayperf): pass")
    project.ini("    default::pytest_rayperf.errors.RayperfWarning")
    result = project.measure()
    result.assert_outcomes(passed=1, warnings=1)
    find_line(
        result.stdout.str(), "RayperfWarning: test_it.py::test_pipe measured nothing: it did not call its"
    )
    assert project.rounds == 0


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ('floors={"throughput": -1}', "must be a factor above 0, such as 1.5"),
        ("warm_ups=-1", "warm_ups=-1: must be a whole number, 0 or more"),
        ("rounds=1.5", "rounds=1.5: must be a whole number, 1 or more"),
        ('timed="no"', "timed='no': must be True or False"),
    ],
)
def test_what_no_duel_can_do_is_refused_at_once(project, argument, told):
    project.tests(f"""
        def test_pipe(rayperf):
            rayperf.duel(antipattern=lambda: {{}}, fix=lambda: {{}}, {argument})
    """)
    result = project.measure()
    result.assert_outcomes(failed=1)
    assert told in result.stdout.str()
    assert project.rounds == 0


def test_a_signal_that_is_no_metric_fails(project, find_line):
    project.tests("""
        def test_pipe(rayperf):
            rayperf.duel(antipattern=lambda: {}, fix=lambda: {}, metric="throughputt")
    """)
    result = project.measure()
    result.assert_outcomes(failed=1)
    find_line(
        result.stdout.str(),
        "^fix: invalid: metric='throughputt' is no metric, and no variant has counted it; metrics: cpu_sec",
    )


def test_a_signal_that_this_machine_lacks_does_not(project):
    project.tests("""
        def test_pipe(rayperf):
            rayperf.duel(antipattern=lambda: {}, fix=lambda: {}, metric="gpu_utilization_mean")
    """)
    project.measure().assert_outcomes(passed=1)


@pytest.mark.parametrize("call", ["rayperf({})", "rayperf.duel(antipattern=lambda: {}, fix={})"])
def test_what_is_no_function_is_refused_at_once(project, call):
    project.tests(f"def test_pipe(rayperf): {call}")
    result = project.measure()
    result.assert_outcomes(failed=1)
    assert " is a dict, and must be a function that takes nothing" in result.stdout.str()
    assert project.rounds == 0

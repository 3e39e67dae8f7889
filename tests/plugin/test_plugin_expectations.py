"""Warnings that must come, and silence that must be kept. Expected errors are in test_plugin_duels.py."""

import pytest

# What the inner pipelines say, as Ray does: by `warnings`, and by a logger that passes nothing on.
SAYING = """
    import logging
    import warnings

    import pytest

    ray_data = logging.getLogger("ray.data")
    read_api = logging.getLogger("ray.data.read_api")

    @pytest.fixture(autouse=True)
    def quietened():
        ray_data.propagate = False
        ray_data.setLevel(logging.ERROR)  # as the plugin does where it starts Ray
        yield
        assert ray_data.level == logging.ERROR
        ray_data.propagate = True
        ray_data.setLevel(logging.NOTSET)

    def warning():
        warnings.warn("`old` is deprecated; use `new`", DeprecationWarning)
        return {}

    def logging_it():
        read_api.warning("The argument ``old`` is deprecated in Ray %s", "2.10")
        return {}

    def silent():
        return {}

    def failing():
        raise ValueError("`old` is gone")
"""


@pytest.fixture
def outcome(project):
    """Runs one inner test; gives pytest's result, the verdict's reason, and the whole benchmark."""

    def run(body):
        project.tests(SAYING + f"\n    def test_call(rayperf):\n        {body}\n")
        result, report = project.report("--rayperf-gate")
        (benchmark,) = report["benchmarks"]
        return result, benchmark["verdict"]["reason"], benchmark

    return run


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            'assert rayperf.warns(warning, "use `new`") == "`old` is deprecated; use `new`"',
            "heard DeprecationWarning: `old` is deprecated; use `new`, as it must",
        ),
        (
            'rayperf.warns(warning, "deprecated", DeprecationWarning)',
            "heard DeprecationWarning: `old` is deprecated; use `new`, as it must",
        ),
        (
            'rayperf.warns(logging_it, r"deprecated in Ray 2\\.\\d+")',
            "heard WARNING of ray.data.read_api: The argument ``old`` is deprecated in Ray 2.10, as it must",
        ),
        ("rayperf.is_silent(silent, expected_rows=64)", "ran in silence, as it must; 64 rows"),
        ("rayperf.is_silent(silent)", "ran in silence, as it must; 64 rows"),
    ],
)
def test_what_must_come_comes(project, outcome, body, reason):
    result, said, benchmark = outcome(body)
    result.assert_outcomes(passed=1)
    assert said == reason
    assert benchmark["verdict"]["status"] == "unchanged"
    assert benchmark["rounds"]["wall_seconds"] == []
    assert project.rounds == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            'rayperf.warns(silent, "deprecated")',
            "invalid: no warning or log record ('deprecated') was heard, but nothing; the pipeline ran and "
            "gave 64 rows; if Ray is silent now, the anti-pattern is history: say so in its test",
        ),
        (
            'rayperf.warns(warning, "removed")',
            "invalid: no warning or log record ('removed') was heard, but DeprecationWarning: `old` is "
            "deprecated; use `new`; the pipeline ran",
        ),
        (
            'rayperf.warns(warning, "deprecated", FutureWarning)',
            "invalid: no FutureWarning ('deprecated') was heard, but DeprecationWarning: `old` is",
        ),
        (
            'rayperf.warns(logging_it, "deprecated", DeprecationWarning)',
            "invalid: no DeprecationWarning ('deprecated') was heard, but WARNING of ray.data.read_api: The",
        ),
        (
            'rayperf.warns(failing, "deprecated")',
            "invalid: raised ValueError: `old` is gone; a warning or log record ('deprecated') was expected, "
            "and that it runs; if Ray refuses it now, expect that with rayperf.raises",
        ),
        (
            "rayperf.is_silent(warning)",
            "invalid: not silent: heard DeprecationWarning: `old` is deprecated; use `new`; if Ray warns of "
            "it now, replace the call, or expect that with rayperf.warns",
        ),
        (
            "rayperf.is_silent(lambda: warning() | warning() | logging_it())",
            "invalid: not silent: heard DeprecationWarning: `old` is deprecated; use `new`; WARNING of "
            "ray.data.read_api: The argument ``old`` is deprecated in Ray 2.10; if Ray warns",
        ),
        (
            "rayperf.is_silent(failing)",
            "invalid: raised ValueError: `old` is gone; it must run, and in silence; if Ray refuses it now",
        ),
        (
            "rayperf.is_silent(silent, expected_rows=65)",
            "invalid: 64 rows, expected 65; the pipeline loses or doubles rows",
        ),
    ],
)
def test_what_does_not_come_fails_the_test_and_is_told(outcome, body, reason):
    result, said, benchmark = outcome(body)
    assert result.ret == 1
    result.assert_outcomes(failed=1)
    assert said.startswith(reason)
    assert said in result.stdout.str().splitlines()  # the message is the whole of what pytest prints
    assert benchmark["verdict"]["status"] == "invalid"


def test_the_load_of_the_machine_breaks_no_silence(outcome):
    result, _, _ = outcome(
        "rayperf.is_silent(lambda: logging.getLogger('ray.data._internal.execution.x').warning('busy') or {})"
    )
    result.assert_outcomes(passed=1)


def test_a_report_row_has_its_anti_pattern_and_its_variant(project):
    project.tests(
        SAYING
        + """
    @pytest.mark.parametrize("variant", ["antipattern", "fix"])
    @pytest.mark.parametrize("call", ["old"])
    def test_call(rayperf, call, variant):
        if variant == "antipattern":
            rayperf.warns(warning, "deprecated")
        else:
            rayperf.is_silent(silent)
    """
    )
    result, report = project.report()
    result.assert_outcomes(passed=2)
    assert [(b["antipattern"], b["variant"]) for b in report["benchmarks"]] == [
        ("call old", "antipattern"),
        ("call old", "fix"),
    ]


def test_an_expectation_is_never_accepted_as_a_baseline(project):
    project.tests(SAYING + "\n    def test_call(rayperf):\n        rayperf.is_silent(warning)\n")
    assert project.measure("--rayperf-update-baselines").ret == 1
    assert project.baselines() == []


def test_a_second_use_is_an_error(project):
    body = "rayperf.is_silent(silent); rayperf.warns(warning, 'deprecated')"
    project.tests(SAYING + f"\n    def test_call(rayperf):\n        {body}\n")
    result = project.measure()
    assert result.ret == 1
    assert "rayperf was used twice in one test" in result.stdout.str()


@pytest.mark.parametrize(
    "call",
    [
        "rayperf(broken)",
        "rayperf.duel(antipattern=broken, fix=broken)",
        'rayperf.ladder({"a": broken, "b": broken})',
    ],
)
def test_the_traceback_of_a_pipeline_is_its_own(project, call):
    """Nobody who looks for a mistake in a pipeline reads how it is measured."""
    project.tests(f"""
        def broken():
            raise KeyError("mine")

        def test_pipe(rayperf):
            {call}
    """)
    result = project.measure()
    assert result.ret == 1
    text = result.stdout.str()
    assert "test_it.py" in text
    assert "broken" in text
    for file in ("rayperf.py", "workbench.py", "dueling.py", "measurement.py"):
        assert f"{file}:" not in text
    assert "measurement.py:" in project.measure("--full-trace").stdout.str()

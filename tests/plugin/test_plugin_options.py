"""Bad options and bad marks are usage errors that name the option and the mend, before anything runs."""

import pytest

FACTOR = "must be a factor above 1 and up to 100, such as 1.10"
PROBABILITY = "must be a probability above 0 and up to 0.5"
WHOLE = "must be a whole number, 1 or more"
ROUNDS = "must be a whole number, 1 to 1000"
SECONDS = "must be seconds, above 0"
DOLLARS = "must be US dollars, above 0, such as 3.06"

BAD = [
    *[("max-slowdown", value, FACTOR) for value in ("1", "0.9", "-2", "100.5", "nan", "inf", "fast", "1,1")],
    *[("max-slowdown", value, FACTOR) for value in ("1_1", "\u0661.\u0665")],
    *[("alpha", value, PROBABILITY) for value in ("0", "0.51", "-0.1", "nan", "often")],
    *[("images", value, WHOLE) for value in ("0", "-1", "1.5", "many", "1e3")],
    *[("min-rounds", value, ROUNDS) for value in ("0", "-3", "2.5", "few", "1001")],
    *[("max-rounds", value, ROUNDS) for value in ("0", "-3", "2.5", "lots", "1001", "10000000")],
    *[("max-time", value, SECONDS) for value in ("0", "-1", "nan", "inf", "1m")],
    *[("cost-per-hour", value, DOLLARS) for value in ("0", "-3", "nan", "inf", "3$")],
    *[("profile", value, "must be one of quick, standard, full") for value in ("huge", "Quick")],
]


@pytest.mark.parametrize(("name", "value", "mend"), BAD)
def test_bad_value(project, name, value, mend):
    project.tests()
    assert project.refused(f"--rayperf-{name}={value}") == f"--rayperf-{name} {value!r}: {mend}"


@pytest.mark.parametrize(
    ("name", "value", "mend"),
    [
        ("max-slowdown", "0.9", FACTOR),
        ("alpha", "1", PROBABILITY),
        ("images", "none", WHOLE),
        ("min-rounds", "0", ROUNDS),
        ("max-rounds", "x", ROUNDS),
        ("max-time", "-1", SECONDS),
        ("cost-per-hour", "-1", DOLLARS),
        ("profile", "huge", "must be one of quick, standard, full"),
    ],
)
def test_bad_value_in_the_ini_file(project, name, value, mend):
    twin = "rayperf_" + name.replace("-", "_")
    project.ini(f"{twin} = {value}")
    project.tests()
    assert project.refused() == f"ini option {twin} {value!r}: {mend}"


@pytest.mark.parametrize(
    "twin", ["rayperf", "rayperf_gate", "rayperf_strict", "rayperf_update_baselines", "rayperf_selftest"]
)
def test_bad_switch_in_the_ini_file(project, twin):
    project.ini(f"{twin} = maybe")
    project.tests()
    error = project.usage_error(project.run())
    assert error == f"ini option {twin}: must be true or false (invalid truth value 'maybe')"


def test_a_good_value_on_the_command_line_covers_a_bad_one_in_the_ini_file(project):
    project.ini("rayperf_max_slowdown = 0.5")
    project.tests()
    assert project.measure("--rayperf-max-slowdown=1.5").ret == 0


@pytest.mark.parametrize(
    "name",
    [
        "profile",
        "images",
        "model",
        "data",
        "weights",
        "address",
        "baselines",
        "alpha",
        "json",
        "markdown",
        "html",
        "cost-per-hour",
    ],
)
def test_empty_value(project, name):
    project.tests()
    assert project.refused(f"--rayperf-{name}=") == f"--rayperf-{name}: needs a value, got an empty one"


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (
            ["--rayperf-min-rounds=5", "--rayperf-max-rounds=4"],
            "--rayperf-min-rounds 5: must not be above --rayperf-max-rounds 4",
        ),
        (
            ["--rayperf-min-rounds=21"],
            "--rayperf-min-rounds 21: must not be above --rayperf-max-rounds 20",
        ),
        (
            ["--rayperf-selftest", "--rayperf-gate"],
            "--rayperf-selftest: cannot go with --rayperf-gate: a self-test compares nothing with a "
            "baseline; drop one of them",
        ),
        (
            ["--rayperf-selftest", "--rayperf-update-baselines"],
            "--rayperf-selftest: cannot go with --rayperf-update-baselines: a self-test compares nothing "
            "with a baseline; drop one of them",
        ),
        (
            ["--rayperf-selftest", "--rayperf-profile-udf"],
            "--rayperf-selftest: cannot go with --rayperf-profile-udf: a self-test profiles nothing; drop "
            "one of them",
        ),
        (["--rayperf-strict"], "--rayperf-strict: goes with --rayperf-gate; add that"),
        (
            ["--rayperf-gate", "--rayperf-update-baselines"],
            "--rayperf-update-baselines: cannot go with --rayperf-gate: one accepts what the other checks; "
            "drop one of them",
        ),
    ],
)
def test_options_that_exclude_each_other(project, arguments, wanted):
    project.tests()
    assert project.refused(*arguments) == wanted


def test_options_of_both_places_that_exclude_each_other(project):
    project.ini("rayperf_gate = true", "rayperf_min_rounds = 30")
    project.tests()
    error = project.refused()
    assert error == "ini option rayperf_min_rounds 30: must not be above --rayperf-max-rounds 20"
    error = project.refused("--rayperf-min-rounds=3", "--rayperf-update-baselines")
    assert error.startswith("--rayperf-update-baselines: cannot go with ini option rayperf_gate: ")
    assert error.endswith("; drop one of them (-o rayperf_gate=false does, for one run)")
    given = ["--rayperf-min-rounds=3", "--rayperf-update-baselines", "-o", "rayperf_gate=false"]
    assert project.measure(*given).ret == 0


def test_strict_in_the_ini_file_is_of_a_gate_if_there_is_one(project):
    project.ini("rayperf_strict = true")
    project.tests()
    project.script(noise=0.5)
    assert project.measure("--rayperf-update-baselines").ret == 0
    assert project.measure().ret == 0
    result = project.measure("--rayperf-gate")
    assert result.ret == 1
    assert "inconclusive" in result.stdout.str()
    assert project.run().ret == 0


def test_an_unknown_option_is_no_other_one(project):
    project.tests()
    result = project.measure("--rayperf-max-slow=2")
    assert result.ret == 4
    assert "unrecognized arguments: --rayperf-max-slow=2" in result.stderr.str()
    assert project.rounds == 0


MARK = "test_it.py::test_pipe: @pytest.mark.rayperf"


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (
            "max_slowness=2",
            " does not know 'max_slowness'; it knows max_slowdown, min_throughput, max_batch_latency_p95, "
            "max_error_rate",
        ),
        ("1.2", " takes keywords only: max_slowdown, min_throughput, max_batch_latency_p95, max_error_rate"),
        ("max_slowdown=1", f"(max_slowdown=1): {FACTOR}"),
        ("max_slowdown='1.2'", f"(max_slowdown='1.2'): {FACTOR}"),
        ("max_slowdown=True", f"(max_slowdown=True): {FACTOR}"),
        ("max_slowdown=None", f"(max_slowdown=None): {FACTOR}"),
        ("max_slowdown=float('nan')", f"(max_slowdown=nan): {FACTOR}"),
        ("max_error_rate=1.5", "(max_error_rate=1.5): must be a share, 0 to 1"),
        ("max_batch_latency_p95=0", "(max_batch_latency_p95=0): must be seconds, above 0"),
        ("min_throughput=0", "(min_throughput=0): must be rows/s, above 0"),
        ("min_throughput=float('inf')", "(min_throughput=inf): must be rows/s, above 0"),
    ],
)
def test_bad_mark(project, arguments, wanted):
    project.tests(f"""
        import pytest

        def test_before(rayperf):
            rayperf(lambda: {{}})

        @pytest.mark.rayperf({arguments})
        def test_pipe(rayperf):
            rayperf(lambda: {{}})
    """)
    assert project.refused() == MARK + wanted


def test_the_closest_mark_wins(project):
    project.tests("""
        import pytest

        pytestmark = pytest.mark.rayperf(min_throughput=1000, max_slowdown=1.5)

        @pytest.mark.rayperf(min_throughput=1)
        def test_pipe(rayperf):
            rayperf(lambda: {})
    """)
    assert project.measure().ret == 0

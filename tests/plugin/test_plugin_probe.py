"""How fast the machine is at fixed work: kept with each session, and what comes of another machine."""

import json

import pytest

from pytest_rayperf.judging.policy import PROBE_LIMIT

LAPS = [0.002, 0.003, 0.003, 0.004]
"""Around three rounds."""

COMPUTING = {"before_s": 0.002, "after_s": 0.004, "between": [{"compute_s": 0.003}] * 2}
REPORTED = {
    **COMPUTING,
    "memory_before_s": None,
    "memory_after_s": None,
    "between": [{"compute_s": 0.003, "memory_s": None}] * 2,
}
THREE = "--rayperf-max-rounds=3"
BEYOND = 0.003 * PROBE_LIMIT * 1.02


def probes(project):
    return [s.get("probe") for s in json.loads(project.baseline().read_text(encoding="utf-8"))["sessions"]]


def rewrite(project, change):
    """Change each session of the baseline's file."""
    path = project.baseline()
    data = json.loads(path.read_text(encoding="utf-8"))
    for session in data["sessions"]:
        change(session)
    path.write_text(json.dumps(data), encoding="utf-8")


class TestRecorded:
    def test_before_between_and_after_the_rounds(self, project):
        project.tests()
        project.script(probe=LAPS)
        project.record(1, THREE)
        assert probes(project) == [COMPUTING]
        result, report = project.report(THREE)
        assert result.ret == 0
        assert report["benchmarks"][0]["probe"] == REPORTED

    def test_of_memory_too(self, project):
        project.tests()
        project.script(probe=[[0.001 * n, 0.002 * n] for n in (1, 2, 3, 4)])
        project.record(1, THREE)
        inner = [{"compute_s": 0.001 * n, "memory_s": 0.002 * n} for n in (2, 3)]
        ends = {"before_s": 0.001, "after_s": 0.004, "memory_before_s": 0.002, "memory_after_s": 0.008}
        assert probes(project) == [{**ends, "between": inner}]
        _, report = project.report(THREE)
        assert report["benchmarks"][0]["probe"] == {**ends, "between": inner}

    def test_each_session_has_its_own(self, project):
        project.tests()
        project.script(probe=[*LAPS, 0.003, 0.0031, 0.0032, 0.0033])
        project.record(2, THREE)
        inner = [{"compute_s": 0.0031}, {"compute_s": 0.0032}]
        other = {"before_s": 0.003, "after_s": 0.0033, "between": inner}
        assert probes(project) == [COMPUTING, other]

    def test_of_many_short_rounds_not_between_each_two(self, project):
        project.tests()
        project.script(probe=0.003)
        project.record(1, "--rayperf-min-rounds=9")
        (found,) = probes(project)
        assert len(found["between"]) == 3

    def test_between_all_rounds_where_time_goes_by(self, project):
        project.tests()
        project.script(probe=0.003, hours=1)
        project.record(1, "--rayperf-min-rounds=9")
        (found,) = probes(project)
        assert len(found["between"]) == 8

    def test_a_slow_hour_between_quiet_ones_is_taken_off(self, project):
        """Before and after it is as fast as ever: two laps would know nothing of it."""
        project.tests()
        project.script(probe=0.002)
        project.record(3, THREE)
        (project.path / "probes.log").unlink()
        slow = {"ReadImages": 0.003, "MapBatches(Classify)": 0.012}
        project.script(probe=[0.002, 0.0035, 0.0035, 0.002], cpu=slow, seconds=3.0)
        assert "1 regressed" not in project.measure(THREE).stdout.str()
        project.script(probe=0.002, cpu=slow, seconds=3.0)
        assert "1 regressed" in project.measure(THREE).stdout.str()

    def test_of_rounds_whose_times_decide_only_where_they_look_slow(self, project):
        project.tests("""
            import pytest

            @pytest.mark.parametrize("variant", ["antipattern", "fix"])
            def test_pipe(rayperf, variant):
                rayperf.duel(antipattern=lambda: {}, fix=lambda: {}, metric="udf_calls", timed=False)
        """)
        project.script(probe=[0.002, 0.003, 0.004])
        _, report = project.report()
        assert report["benchmarks"][0]["probe"] == {**REPORTED, "between": REPORTED["between"][:1]}

    def test_of_a_sweep_none_between(self, project):
        project.tests("""
            def test_all(rayperf):
                rayperf.sweep({"a": lambda: {}, "b": lambda: {}})
        """)
        project.measure()
        assert (project.path / "probes.log").read_text() == "probe\n" * 2

    def test_of_a_duel_both_variants_have_the_one(self, project):
        project.tests("""
            import pytest

            @pytest.mark.parametrize("variant", ["antipattern", "fix"])
            def test_pipe(rayperf, variant):
                rayperf.duel(antipattern=lambda: {"seconds": 4.0}, fix=lambda: {}, rounds=1)
        """)
        project.script(probe=[0.002, 0.003, 0.004])
        _, report = project.report()
        of_pair = {**REPORTED, "between": REPORTED["between"][:1]}
        assert [b["probe"] for b in report["benchmarks"]] == [of_pair] * 2

    def test_of_a_ladder(self, project):
        project.tests("""
            def test_all(rayperf):
                rayperf.ladder({"a": lambda: {"seconds": 8.0}, "b": lambda: {}}, rounds=1)
        """)
        project.script(probe=[0.002, 0.003, 0.004])
        _, report = project.report()
        assert report["benchmarks"][0]["probe"] == {**REPORTED, "between": REPORTED["between"][:1]}

    def test_the_real_one_in_a_run(self, project, monkeypatch):
        monkeypatch.setenv("SCRIPTED_PROBE", "no")
        project.tests()
        _, report = project.report("--rayperf-update-baselines")
        (found,) = probes(project)
        assert report["benchmarks"][0]["probe"] == found
        ends = {name: seconds for name, seconds in found.items() if name != "between"}
        assert ends.keys() == REPORTED.keys() - {"between"}
        inner = [seconds for lap in found["between"] for seconds in lap.values()]
        assert len(inner) >= 2 * min(3, len(report["benchmarks"][0]["rounds"]["throughput"]) - 1)
        assert all(0 < seconds < 10 for seconds in (*ends.values(), *inner))

    @pytest.mark.parametrize("probe", [[0.0, 0.003], [0.003, 0.0], [0.0, 0.0]])
    def test_what_a_slow_clock_gives_is_none(self, project, probe):
        project.tests()
        project.script(probe=probe)
        project.record()
        assert probes(project) == [None]
        result, report = project.report()
        assert result.ret == 0  # and the file can be read
        assert report["benchmarks"][0]["probe"] is None

    def test_what_a_slow_clock_gives_for_memory_is_none(self, project):
        project.tests()
        project.script(probe=[[0.002, 0.0], [0.003, 0.001], [0.003, 0.001], [0.004, 0.001]])
        project.record(1, THREE)
        assert probes(project) == [COMPUTING]
        result, _ = project.report()
        assert result.ret == 0

    def test_of_what_broke_there_is_none(self, project):
        project.tests()
        project.script(raises="it broke")
        result, report = project.report()
        assert result.ret == 1
        assert report["benchmarks"][0]["probe"] is None


class TestAnotherMachine:
    def test_is_incomparable_and_fails_the_gate(self, project, find_line):
        project.tests()
        project.record(3)
        project.script(probe=BEYOND, cpu={"ReadImages": 0.02})  # slower too, and that says nothing
        result = project.measure()
        assert result.ret == 0
        assert "1 incomparable" in result.stdout.str()
        result, report = project.report("--rayperf-gate")
        assert result.ret == 1
        result.assert_outcomes(failed=1)
        shown = project.baseline().relative_to(project.path).as_posix()
        line = find_line(result.stdout.str(), r"^incomparable: for fixed work this machine takes ")
        assert f"takes {PROBE_LIMIT * 1.02:.2f}x the CPU time that it took when {shown} was recorded" in line
        assert line.endswith("record it here with --rayperf-update-baselines")
        verdict = report["benchmarks"][0]["verdict"]
        assert (verdict["status"], verdict["ratio"]) == ("incomparable", None)

    def test_within_the_limit_it_is_judged_by_what_the_probe_does_not_explain(self, project):
        project.tests()
        project.record(3)
        slower = PROBE_LIMIT / 1.02
        cpu = {"ReadImages": 0.002 * slower, "MapBatches(Classify)": 0.008 * slower}
        project.script(probe=0.003 * slower, cpu=cpu, seconds=2.0 * slower)
        result = project.measure("--rayperf-gate", "--rayperf-max-slowdown=1.2")
        assert result.ret == 0
        assert "1 unchanged" in result.stdout.str()
        project.script(cpu=cpu)
        assert "1 regressed" in project.measure().stdout.str()

    def test_its_counters_are_compared_all_the_same(self, project, find_line):
        project.tests()
        project.record(3)
        project.script(probe=BEYOND, counters={"model_loads": 4})
        result = project.measure("--rayperf-gate")
        assert result.ret == 1
        find_line(result.stdout.str(), r"^regressed: model_loads 1 -> 4 a round \(exact\)")

    def test_sessions_of_before_the_probe_are_compared(self, project):
        project.tests()
        project.record(3)
        rewrite(project, lambda session: session.pop("probe"))
        project.script(probe=BEYOND)
        result = project.measure("--rayperf-gate", "--rayperf-max-slowdown=1.3")
        assert result.ret == 0
        assert "1 unchanged" in result.stdout.str()

    def test_what_is_not_timed_is_unchanged(self, project):
        project.tests("""
            def test_pipe(rayperf):
                rayperf.duel(
                    antipattern=lambda: {"counters": {"model_loads": 9}}, fix=lambda: {},
                    metric="model_loads", timed=False,
                )
        """)
        project.record(3)
        project.script(probe=BEYOND)
        result = project.measure("--rayperf-gate")
        assert result.ret == 0
        assert "2 unchanged" in result.stdout.str()

    def test_one_that_is_recorded_is_held_from_then_on(self, project):
        project.tests()
        project.record(3)
        project.script(probe=0.1)
        project.record(1)
        assert project.sessions() == 4


@pytest.mark.parametrize(
    ("probe", "told"),
    [
        ({"before_s": 0.003}, "probe.after_s must be a number, 0 or more, found None"),
        ({"before_s": 0, "after_s": 0.003}, "probe.before_s must be above 0, found 0.0"),
        ("fast", "probe must be an object, found 'fast'"),
    ],
)
def test_a_bad_one_in_a_file_is_a_usage_error(project, probe, told):
    project.tests()
    project.record()
    rewrite(project, lambda session: session.update(probe=probe))
    before = project.rounds
    error = project.usage_error(project.measure(), before)
    shown = project.baseline().relative_to(project.path).as_posix()
    assert error.startswith(f"{shown}: sessions[0].{told}; restore it from git, or delete it and record it")

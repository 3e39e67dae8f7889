"""A baseline that got stale because things got faster: what is said, and when it fails."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

FASTER = {"ReadImages": 0.002, "MapBatches(Classify)": 0.002}
STALE = "the baseline is stale and hides the next slowdown: update it with --rayperf-update-baselines"


@pytest.fixture
def faster(project):
    """A project whose pipeline got faster since three sessions were accepted."""
    project.tests()
    project.record(3)
    project.script(cpu=FASTER)
    return project


class TestFailOnImprovement:
    def test_fails_under_the_gate_and_says_what_to_do(self, faster, find_line):
        result = faster.measure("--rayperf-gate", "--rayperf-fail-on-improvement", "--junitxml", "junit.xml")
        assert result.ret == 1
        result.assert_outcomes(failed=1)
        line = find_line(
            result.stdout.str(), r"^improved: cpu_seconds_per_row 0\.\d+x \[.*\]; slowdowns above"
        )
        assert f"; {STALE}" in line
        suite = ElementTree.parse(faster.path / "junit.xml").getroot().find("testsuite")
        assert (suite.get("failures"), suite.get("errors")) == ("1", "0")
        assert suite.find("testcase/failure").get("message") == f"Failed: {line}"

    def test_the_ini_twin(self, faster):
        faster.ini("rayperf_fail_on_improvement = true")
        assert faster.measure().ret == 0
        result = faster.measure("--rayperf-gate")
        assert result.ret == 1
        assert "improved: " in result.stdout.str()

    @pytest.mark.parametrize("arguments", [(), ("--rayperf-gate",), ("--rayperf-fail-on-improvement",)])
    def test_without_either_it_passes_and_says_it_too(self, faster, find_line, arguments):
        result = faster.measure(*arguments)
        assert result.ret == 0
        assert "1 improved" in result.stdout.str()
        find_line(result.stdout.str(), r"^test_pipe  .*0\.\d\dx 0\.\d\d-0\.\d\d CPU .* improved$")
        assert find_line(result.stdout.str(), STALE) == f"  …; {STALE}"

    def test_a_counter_that_fell_fails_too(self, project, find_line):
        project.tests()
        project.script(counters={"model_loads": 4})
        project.record(3)
        project.script(counters={"model_loads": 1})
        assert project.measure("--rayperf-gate").ret == 0
        result = project.measure("--rayperf-gate", "--rayperf-fail-on-improvement")
        assert result.ret == 1
        line = find_line(result.stdout.str(), r"^improved: model_loads 4 -> 1 a round \(exact\)")
        assert line.endswith(STALE)

    def test_the_same_speed_does_not(self, project):
        project.tests()
        project.record(3)
        assert project.measure("--rayperf-gate", "--rayperf-fail-on-improvement").ret == 0

    def test_an_update_is_accepted_and_ends_it(self, faster):
        faster.record(3, "--rayperf-fail-on-improvement")
        assert faster.sessions() == 3  # a new start: the first of them dropped the slow ones
        result = faster.measure(
            "--rayperf-gate", "--rayperf-fail-on-improvement", "--rayperf-max-slowdown=1.2"
        )
        assert result.ret == 0
        assert "1 unchanged" in result.stdout.str()

    def test_without_the_switch_it_is_refused_as_the_others_are(self, project):
        project.tests()
        result = project.run("--rayperf-fail-on-improvement")
        assert result.ret == 4
        assert "--rayperf-fail-on-improvement" in result.stderr.str()

    def test_it_is_described(self, project):
        text = " ".join(project.run("--help").stdout.str().split())
        assert "--rayperf-fail-on-improvement With --rayperf-gate: improved fails as well" in text
        assert "rayperf_fail_on_improvement" in text


class TestSharedError:
    def test_what_was_found_slower_leaves_its_part_to_the_rest(self, project):
        """So the last one's interval is that of a run of its own."""
        one = """
            def test_z_last(rayperf):
                rayperf(lambda: {})
        """
        project.tests(one, name="test_z")
        project.tests(
            """
            import pytest

            @pytest.mark.parametrize("n", range(5))
            def test_slow(rayperf, n):
                rayperf(lambda: {})
            """,
            name="test_a",
        )
        project.script(noise=0.0)
        project.record(3)

        def last_limits(*arguments):
            _, report = project.report("--rayperf-max-rounds=3", *arguments)
            (benchmark,) = (b for b in report["benchmarks"] if b["id"].startswith("test_z.py"))
            return benchmark["verdict"]["ci"]

        six, alone = last_limits(), last_limits("test_z.py")
        assert six[0] < alone[0]
        assert six[1] == pytest.approx(alone[1])
        slow = '{"cpu": {"ReadImages": 0.09}}'
        text = (project.path / "test_a.py").read_text(encoding="utf-8")
        (project.path / "test_a.py").write_text(text.replace("{}", slow), encoding="utf-8")
        assert last_limits() == pytest.approx(alone)


def test_the_json_says_what_was_asked(faster):
    for arguments, wanted in ((("--rayperf-fail-on-improvement",), True), ((), False)):
        _, report = faster.report("--rayperf-gate", *arguments)
        assert report["policy"]["fail_on_improvement"] is wanted
        json.dumps(report, allow_nan=False)

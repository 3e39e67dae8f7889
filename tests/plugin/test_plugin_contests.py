"""Ladders, sweeps, and duels of pipelines that execute by themselves."""

import json
import re

import pytest

LADDER = """
    def rungs():
        return {
            "naive": lambda: {"seconds": 8.0, "counters": {"model_loads": 8}, "cpu": {"Map(Naive)": 0.01}},
            "pool": lambda: {"seconds": 2.0, "cpu": {"Map(Pool)": 0.01}},
            "batch size": lambda: {"seconds": 1.0, "cpu": {"Map(Batch)": 0.01}},
        }

    def test_all(rayperf):
        ladder = rayperf.ladder(rungs())
        assert [step.name for step in ladder.steps] == ["naive", "pool", "batch size"]
        assert 7 < ladder.total.ratio < 9
"""


class TestLadder:
    def test_passes_and_reports_its_rungs_in_order(self, project, find_line):
        project.tests(LADDER)
        result, report = project.report()
        assert result.ret == 0, result.stdout.str()
        (ladder,) = report["ladders"]
        assert (ladder["antipattern"], ladder["metric"]) == ("all", "throughput")
        assert [rung["name"] for rung in ladder["rungs"]] == ["naive", "pool", "batch size"]
        assert [rung["status"] for rung in ladder["rungs"]] == ["first", "effect", "effect"]
        assert [rung["ratio"] for rung in ladder["rungs"]] == [
            None,
            pytest.approx(4, rel=0.1),
            pytest.approx(2, rel=0.1),
        ]
        assert ladder["total"]["ratio"] == pytest.approx(8, rel=0.1)
        assert ladder["rungs"][0]["counters"]["model_loads"] == 8
        rounds = [len(rung["rounds"]["throughput"]) for rung in ladder["rungs"]]
        assert rounds == [3, 3, 3]
        assert project.rounds == 3 * (3 + 1)
        text = result.stdout.str()
        find_line(text, r"^  all:$")
        find_line(text, r"^    pool        .* rows/s  [34]\.\d\dx \[.*\]$")
        find_line(text, r"^    in total    [78]\.\d\dx \[.*\]$")

    def test_its_benchmark_is_the_last_rung(self, project):
        project.tests(LADDER)
        _, report = project.report()
        (benchmark,) = report["benchmarks"]
        assert (benchmark["id"], benchmark["variant"]) == ("test_it.py::test_all", None)
        assert benchmark["rounds"]["throughput"] == report["ladders"][0]["rungs"][2]["rounds"]["throughput"]
        assert [operator["name"] for operator in benchmark["operators"]] == ["Map(Batch)"]

    def test_the_rungs_take_turns(self, project):
        project.tests(LADDER)
        project.measure()
        log = (project.path / "rounds.log").read_text(encoding="utf-8").splitlines()
        order = "".join(re.search(r"Map\((.)", line).group(1) for line in log)
        assert order == "NPB" + "NPBBPNNPB"

    def test_the_baseline_of_the_last_rung_gates(self, project, find_line):
        project.tests(LADDER)
        project.record(3)
        assert json.loads(project.baseline().read_text())["id"] == "test_it.py::test_all"
        assert project.measure("--rayperf-gate").ret == 0
        slower_below = LADDER.replace('"Map(Pool)": 0.01', '"Map(Pool)": 0.03')
        project.tests(slower_below)
        assert project.measure("--rayperf-gate").ret == 0
        project.tests(LADDER.replace('"Map(Batch)": 0.01', '"Map(Batch)": 0.03'))
        result = project.measure("--rayperf-gate")
        assert result.ret == 1
        find_line(result.stdout.str(), r"^regressed: cpu_seconds_per_row .*Map\(Batch\) \+\d+% CPU")

    def test_under_the_gate_it_needs_a_baseline(self, project):
        project.tests(LADDER)
        result = project.measure("--rayperf-gate")
        assert result.ret == 1
        assert "no-baseline" in result.stdout.str()

    def test_unequal_outputs_are_invalid_and_nothing_is_timed(self, project):
        project.tests("""
            def test_all(rayperf):
                rayperf.ladder({
                    "a": lambda: {},
                    "b": lambda: {},
                    "c": lambda: {"outputs": {"prediction": [1] * 64}},
                })
        """)
        result, report = project.report("--rayperf-update-baselines")
        assert result.ret == 1
        assert project.rounds == 3  # the warm-ups
        (benchmark,) = report["benchmarks"]
        assert benchmark["verdict"]["status"] == "invalid"
        reason = benchmark["verdict"]["reason"]
        assert reason.startswith("invalid: the variants compute different outputs: column 'prediction'")
        assert reason.endswith("0 in rung 'a', 1 in rung 'c'")
        assert report["ladders"] == []
        assert project.baselines() == []

    @pytest.mark.parametrize(
        ("rung", "told"),
        [
            (
                '{"outputs": None, "rows": 60}',
                r"different outputs: rows \[64\] in rung 'a', \[60\] in rung 'b'",
            ),
            ('{"outputs": None}', r"invalid: 64 rows, expected 65"),
            ("{}", r"different outputs: rung 'b' gives rows, rung 'a' none to compare them with"),
        ],
    )
    def test_lost_rows_are_invalid(self, project, rung, told):
        project.tests(f"""
            def test_all(rayperf):
                a, b = (lambda: {{"outputs": None}}), (lambda: {rung})
                rayperf.ladder({{"a": a, "b": b}}, expected_rows={65 if "expected" in told else 64})
        """)
        result, report = project.report()
        assert result.ret == 1
        assert re.search(told, result.stdout.str())
        assert report["ladders"] == []

    @pytest.mark.parametrize("rungs", ["{}", '{"only": lambda: {}}'])
    def test_fewer_than_two_rungs_are_an_error(self, project, rungs):
        project.tests(f"""
            def test_all(rayperf):
                rayperf.ladder({rungs})
        """)
        result = project.measure()
        assert result.ret == 1
        assert "UsageInTestError: rayperf.ladder needs two rungs or more" in result.stdout.str()
        assert project.rounds == 0

    def test_an_error_in_a_rung_is_told(self, project):
        project.tests("""
            def test_all(rayperf):
                breaks = lambda: {"raises": "no memory", "error": "MemoryError"}
                rayperf.ladder({"a": lambda: {}, "b": breaks})
        """)
        result, report = project.report()
        assert result.ret == 1
        (benchmark,) = report["benchmarks"]
        assert benchmark["verdict"]["reason"] == "invalid: the pipeline raised MemoryError: no memory"
        assert report["ladders"] == []

    def test_in_a_counter(self, project, find_line):
        project.tests("""
            def test_all(rayperf):
                rungs = {
                    "naive": lambda: {"counters": {"model_loads": 8}},
                    "pool": lambda: {"counters": {"model_loads": 2}},
                    "none": lambda: {"counters": {"model_loads": 0}},
                }
                rayperf.ladder(rungs, metric="model_loads")
        """)
        result, report = project.report()
        assert result.ret == 0, result.stdout.str()
        rungs = report["ladders"][0]["rungs"]
        assert [rung["rounds"]["model_loads"] for rung in rungs] == [[8] * 3, [2] * 3, [0] * 3]
        assert [rung["ratio"] for rung in rungs] == [None, 4, None]
        find_line(result.stdout.str(), r"^    none      0 model_loads  none left$")


SWEEP = """
    def test_batch_size(rayperf):
        def at(seconds, **more):
            return lambda: {"seconds": seconds, "cpu": {f"Map({seconds:g})": 0.01}, **more}

        sweep = rayperf.sweep({"1": at(8.0), "8": at(2.0), "64": at(2.001), "512": BEYOND})
        print("best", sweep.best)
"""


def sweep(beyond):
    return SWEEP.replace("BEYOND", beyond)


OUT_OF_MEMORY = 'at(9.0, raises="CUDA out of memory. Tried to allocate 2 GiB", error="RuntimeError")'


class TestSweep:
    def test_best_and_plateau_are_in_the_report_and_on_the_terminal(self, project, find_line):
        project.tests(sweep("at(4.0)"))
        result, report = project.report("--rayperf-gate")
        assert result.ret == 0, result.stdout.str()
        (found,) = report["sweeps"]
        assert (found["name"], found["metric"], found["ended"]) == ("batch_size", "throughput", "")
        assert {found["best"], *found["plateau"]} == {"8", "64"}
        assert [s["name"] for s in found["settings"]] == ["1", "8", "64", "512"]
        statuses = {s["name"]: s["status"] for s in found["settings"]}
        assert (statuses["1"], statuses["512"]) == ("worse", "worse")
        assert {statuses["8"], statuses["64"]} == {"best", "plateau"}
        assert found["settings"][0]["ratio"] == pytest.approx(1 / 4, rel=0.1)
        text = result.stdout.str()
        other = {"8": "64", "64": "8"}[found["best"]]
        find_line(text, rf"^  batch_size: best at {found['best']}; not told apart from it: {other}$")
        find_line(text, r"^      1  .* rows/s  0\.2\dx \[.*\] of the best, worse$")
        (benchmark,) = report["benchmarks"]
        assert benchmark["verdict"]["status"] == "unchanged"
        assert benchmark["verdict"]["reason"] == f"best at {found['best']}"

    def test_it_has_no_baseline(self, project):
        project.tests(sweep("at(4.0)"))
        assert project.measure("--rayperf-update-baselines").ret == 0
        assert project.baselines() == []

    def test_out_of_memory_ends_it_in_words(self, project, find_line):
        project.tests(sweep(OUT_OF_MEMORY))
        result, report = project.report()
        assert result.ret == 0, result.stdout.str()
        (found,) = report["sweeps"]
        assert [s["name"] for s in found["settings"]] == ["1", "8", "64"]
        ended = "out of memory at 512: CUDA out of memory. Tried to allocate 2 GiB"
        assert found["ended"] == ended
        text = result.stdout.str().replace("\n    ", " ")  # a long line goes on below
        find_line(text, rf"^  batch_size: best at .*; ended: {re.escape(ended)}  ")
        assert project.rounds == 4 + 3 * 3  # the warm-ups, of which one broke, and the rounds of the others

    def test_out_of_memory_in_a_later_round_leaves_out_those_above(self, project):
        project.tests("""
            executions = []

            def test_batch_size(rayperf):
                def breaks():
                    executions.append(1)
                    return {"raises": "none left", "error": "MemoryError"} if len(executions) == 3 else {}

                rayperf.sweep({"1": lambda: {}, "8": breaks, "64": lambda: {}})
        """)
        result, report = project.report("--rayperf-min-rounds=2", "--rayperf-max-rounds=2")
        assert result.ret == 0, result.stdout.str()
        (found,) = report["sweeps"]
        assert [s["name"] for s in found["settings"]] == ["1"]
        assert (found["best"], found["ended"]) == ("1", "out of memory at 8: none left")

    def test_out_of_memory_at_the_first_setting_fails(self, project):
        project.tests("""
            def test_batch_size(rayperf):
                breaks = lambda: {"raises": "none left", "error": "MemoryError"}
                rayperf.sweep({"1": breaks, "8": lambda: {}})
        """)
        result, report = project.report()
        assert result.ret == 1
        assert "MemoryError: none left" in result.stdout.str()
        assert report["sweeps"] == []
        assert report["benchmarks"][0]["verdict"]["status"] == "invalid"

    def test_any_other_error_fails(self, project):
        project.tests(sweep('at(9.0, raises="image 7 is broken")'))
        result, report = project.report()
        assert result.ret == 1
        assert "ValueError: image 7 is broken" in result.stdout.str()
        assert report["sweeps"] == []
        assert (
            report["benchmarks"][0]["verdict"]["reason"]
            == "invalid: the pipeline raised ValueError: image 7 is broken"
        )

    def test_unequal_outputs_fail_and_nothing_is_timed(self, project):
        project.tests(sweep('at(4.0, outputs={"prediction": [1] * 64})'))
        result, report = project.report()
        assert result.ret == 1
        assert "column 'prediction' differs in 63 of 64 rows" in result.stdout.str()
        assert "0 in batch_size 1, 1 in batch_size 512" in result.stdout.str()
        assert project.rounds == 4
        assert report["sweeps"] == []

    def test_settings_are_named_as_they_are_written(self, project):
        project.tests("""
            def test_batch_size(rayperf):
                sweep = rayperf.sweep({8: lambda: {}, 16: lambda: {"seconds": 4.0}})
                assert sweep.best == "8"
        """)
        result, report = project.report()
        assert result.ret == 0
        assert [setting["name"] for setting in report["sweeps"][0]["settings"]] == ["8", "16"]

    @pytest.mark.parametrize("settings", ["{}", '{"1": lambda: {}}'])
    def test_fewer_than_two_settings_are_an_error(self, project, settings):
        project.tests(f"""
            def test_batch_size(rayperf):
                rayperf.sweep({settings})
        """)
        result = project.measure()
        assert result.ret == 1
        assert "UsageInTestError: rayperf.sweep needs two settings or more" in result.stdout.str()
        assert project.rounds == 0

    @pytest.mark.parametrize("metric", ["spilled_bytes", "udf_calls"])
    def test_a_metric_that_was_not_measured_fails(self, project, metric):
        project.tests(f"""
            def test_batch_size(rayperf):
                rayperf.sweep({{"1": lambda: {{}}, "8": lambda: {{}}}}, metric="{metric}")
        """)
        result, report = project.report()
        assert result.ret == 1
        assert f"invalid: {metric} was not measured" in result.stdout.str()
        assert report["sweeps"] == []

    def test_in_a_metric_that_is_better_when_lower(self, project):
        project.tests("""
            def test_batch_size(rayperf):
                def at(spilled):
                    return lambda: {"figures": {"spilled_bytes": spilled}}

                rayperf.sweep({"1": at(0), "8": at(0), "64": at(1e6)}, metric="spilled_bytes")
        """)
        result, report = project.report()
        assert result.ret == 0, result.stdout.str()
        (found,) = report["sweeps"]
        assert (found["best"], found["plateau"]) == ("1", ["8"])
        assert [s["status"] for s in found["settings"]] == ["best", "plateau", "worse"]


WRITES = """
    import json

    import numpy as np
    import pytest

    from pytest_rayperf import Inspection

    asked = []

    def wrote(variant):
        asked.append(variant)
        return Inspection(
            {"bytes_written": {"antipattern": 500, "fix": 100}[variant]},
            {"label": np.array(LABELS[variant])},
        )

    @pytest.mark.parametrize("variant", ["antipattern", "fix"])
    def test_pair(rayperf, variant):
        rayperf.duel(
            antipattern=lambda: {"outputs": None},
            fix=lambda: {"outputs": None},
            metric="bytes_written",
            floors={"bytes_written": 3},
            after_round=wrote,
        )
        assert asked == ["antipattern", "fix", "antipattern", "fix", "fix", "antipattern"] + [
            "antipattern", "fix"
        ]
"""


class TestAfterRound:
    def write(self, project, good):
        project.tests(WRITES.replace("LABELS", f'{{"antipattern": [1, 2], "fix": {good}}}'))

    def test_what_was_written_is_compared_and_reported(self, project):
        self.write(project, [2, 1])
        result, report = project.report()
        assert result.ret == 0, result.stdout.str()
        result.assert_outcomes(passed=2)
        (duel,) = report["duels"]
        assert (duel["status"], duel["outputs_equal"]) == ("effect", True)
        assert duel["ratio"] == pytest.approx(5)
        figures = [b["rounds"]["bytes_written"] for b in report["benchmarks"]]
        assert figures == [[500] * 3, [100] * 3]

    def test_what_it_counted_is_in_the_baseline(self, project):
        self.write(project, [2, 1])
        project.record(1)
        bad, good = (json.loads(path.read_text()) for path in project.baselines())
        for baseline, expected in ((bad, 500), (good, 100)):
            for round_ in baseline["sessions"][0]["rounds"]:
                assert round_["counters"]["bytes_written"] == expected
        # One session does not decide, and the inner test knows of three rounds.
        assert project.measure("--rayperf-gate", "--rayperf-max-rounds=3").ret == 0

    def test_what_was_written_differs(self, project):
        self.write(project, [2, 3])
        result, report = project.report()
        assert result.ret == 1
        result.assert_outcomes(failed=2)
        assert "1 in the anti-pattern, 2 in the fix" in result.stdout.str()
        assert project.rounds == 2
        assert report["duels"][0]["outputs_equal"] is False

    def test_nothing_is_left_in_the_fix(self, project, find_line):
        project.tests("""
            def test_pair(rayperf):
                rayperf.duel(
                    antipattern=lambda: {"figures": {"spilled_bytes": 900}},
                    fix=lambda: {"figures": {"spilled_bytes": 0}},
                    metric="spilled_bytes",
                    floors={"spilled_bytes": 2},
                )
        """)
        result, report = project.report()
        assert result.ret == 0, result.stdout.str()
        (duel,) = report["duels"]
        assert (duel["status"], duel["ratio"], duel["ci"]) == ("effect", None, None)
        find_line(
            result.stdout.str(), r"^  pair: fix better by none left spilled_bytes, floor 2x; outputs eq"
        )

    def test_tolerance(self, project):
        project.tests("""
            import pytest

            @pytest.mark.parametrize("tolerance", [0.001, 0.05])
            def test_pair(rayperf, tolerance):
                rayperf.duel(
                    antipattern=lambda: {"outputs": {"p": [0.50] * 64}},
                    fix=lambda: {"outputs": {"p": [0.51] * 64}},
                    tolerance=tolerance,
                )
        """)
        project.measure().assert_outcomes(passed=1, failed=1)

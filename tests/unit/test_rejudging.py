from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
from builders import (
    ENVIRONMENT,
    FILE,
    LIGHT,
    PROBE,
    SOFTWARE,
    SUBJECT,
    make_baseline,
    make_benchmark,
    make_round,
    make_run,
    make_session,
)
from hypothesis import given, settings
from mutated import contract_alone, mutations_of
from reported import FULL, WORK, full_round
from test_rereading import through_json

from pytest_rayperf.baselines.stored import Stored
from pytest_rayperf.errors import ConfigurationError
from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.offline import rejudging as offline
from pytest_rayperf.offline.rejudging import compare, failed, old_baselines, old_run, policy_of
from pytest_rayperf.reports import json as json_report
from pytest_rayperf.reports.json import report_on
from pytest_rayperf.reports.schema import Unfit, conform
from pytest_rayperf.results import STATUSES, Operator, Verdict
from pytest_rayperf.work.counts import OperatorWork, Work

OTHER = replace(ENVIRONMENT, id="gpu-8")
UPGRADED = {**SOFTWARE, "ray": "2.60.0"}


def near(throughput=40.0, cpu=0.02, n=6, **more):
    """Rounds that differ a little."""
    return [full_round(throughput * (1 + i / 500), cpu * (1 - i / 500), **more) for i in range(n)]


def benchmark(rounds=None, test="a", variant=None, **more):
    made = make_benchmark(
        more.pop("verdict", None),
        near() if rounds is None else rounds,
        id=f"tests/test_{test}.py::test_{test}",
        slug=test,
        variant=variant,
        baseline=None,
        probe=more.pop("probe", PROBE),
    )
    return replace(made, **{"subject": SUBJECT, **more})


def report(*benchmarks, **more):
    return through_json(report_on(make_run(benchmarks or [benchmark()], **more)))


def compared(old, new, **policy):
    """Two reports."""
    given = {"max_slowdown": None, "alpha": None, **policy}
    return compare(new, "new.json", old_run(old, "old.json"), policy_of(new, "new.json", **given))


def verdict(old, new, **policy):
    """On the one benchmark of `new`."""
    (found,) = compared(old, new, **policy)["benchmarks"]
    return found["verdict"]


class TestTwoRuns:
    def test_the_same_is_no_regression(self):
        result = compared(report(), report(), max_slowdown=1.5)
        assert result["benchmarks"][0]["verdict"]["status"] == "unchanged"
        assert not failed(result)

    def test_a_slowdown_names_the_operator_and_the_run_and_no_mend_for_baselines(self):
        result = compared(report(), report(benchmark(near(20, 0.06))))
        said = result["benchmarks"][0]["verdict"]
        assert said["status"] == "regressed"
        assert said["metric"] == "cpu_seconds_per_row"
        assert "operator MapBatches(Classify) +2" in said["reason"]
        assert said["reason"].splitlines()[0].endswith("; against old.json")
        assert "--rayperf-update-baselines" not in said["reason"]
        assert failed(result)

    def test_a_far_side_has_no_part_in_it(self):
        """It is what the run itself was compared with."""
        beside = replace(benchmark(), against="main (1a2b3c4)", then=tuple(near(20, 0.06)))
        new = report(beside, against="main (1a2b3c4)")
        assert new["against"] == "main (1a2b3c4)"
        result = compared(report(), new, max_slowdown=1.5)
        (found,) = result["benchmarks"]
        assert (result["against"], found["against"], found["then"]) == (None, None, None)
        assert found["verdict"]["status"] == "unchanged"

    def test_an_improvement_is_none_of_a_stale_baseline(self):
        said = verdict(report(benchmark(near(20, 0.06))), report())
        assert said["status"] == "improved"
        assert "baseline" not in said["reason"]

    def test_counters_are_exact(self):
        said = verdict(report(), report(benchmark(near(loads=8))))
        assert (said["status"], said["metric"], said["ratio"]) == ("regressed", "model_loads", 8.0)

    def test_so_is_counted_work(self):
        more = replace(WORK.operators[0], counts={"flops": 2 * WORK.operators[0].counts["flops"]})
        said = verdict(
            report(benchmark(work=WORK)),
            report(benchmark(work=Work((more,), WORK.software))),
        )
        assert (said["status"], said["metric"]) == ("regressed", "flops")

    def test_so_is_what_a_pipeline_of_one_udf_sleeps(self):
        """Which calls there were is not in a report, and how many is."""
        name = "MapBatches(Classify)"

        def slept(microseconds):
            work = Work(
                (OperatorWork(name, 32, {}, {"slept_microseconds": microseconds}, {}),), WORK.software
            )
            rounds = [
                replace(
                    one,
                    wall_seconds=2.0 + 2 * microseconds / 1e6,
                    operators=(Operator("ReadRange", rows=64), Operator(name, wall_s=2.0, rows=64, tasks=8)),
                    counters={"udf_calls": 8},
                )
                for one in near()
            ]
            return report(benchmark(rounds, work=work))

        said = verdict(slept(0), slept(4 * 60_000))
        assert (said["status"], said["metric"]) == ("regressed", "slept_microseconds")
        assert "(exact), 1.24x the time, threshold 1.10, 0.81x the rows/s; against old.json" in said["reason"]
        assert verdict(slept(0), slept(4 * 10_000))["metric"] != "slept_microseconds"

    def test_other_images_are_incomparable(self):
        other = replace(SUBJECT, images=96)
        said = verdict(report(benchmark(subject=other)), report())
        assert said["status"] == "incomparable"
        assert "measured something else (images 96 -> 64)" in said["reason"]
        assert "--rayperf" not in said["reason"]

    def test_variants_of_one_id_are_two_benchmarks(self):
        old = report(benchmark(variant="antipattern"), benchmark(near(80, 0.01), variant="fix"))
        new = report(benchmark(near(80, 0.01), variant="fix"), benchmark(variant="antipattern"))
        statuses = [b["verdict"]["status"] for b in compared(old, new, max_slowdown=1.5)["benchmarks"]]
        assert statuses == ["unchanged", "unchanged"]

    def test_one_that_is_only_new_has_no_baseline(self):
        said = compared(report(benchmark(test="b")), report(benchmark(), benchmark(test="b")))
        assert said["benchmarks"][0]["verdict"]["status"] == "no-baseline"
        assert said["benchmarks"][0]["verdict"]["reason"] == "no-baseline: old.json has no such benchmark"
        assert said["benchmarks"][0]["baseline"] is None
        assert said["benchmarks"][1]["baseline"] == "old.json"
        assert said["warnings"] == []

    def test_one_that_is_only_old_is_said_to_be_gone(self):
        result = compared(report(benchmark(), benchmark(test="b", variant="fix")), report())
        assert result["warnings"] == [
            "gone: tests/test_b.py::test_b (fix) is in old.json, and not in new.json"
        ]
        assert len(result["benchmarks"]) == 1

    def test_of_very_many_that_are_gone_some_are_named(self):
        old = report(*(benchmark(near(n=1), test=f"t{i}") for i in range(30)))
        lines = compared(old, report())["warnings"]
        assert len(lines) == 21
        assert lines[-1] == "gone: 10 more of old.json"

    def test_the_result_is_a_report_of_this_comparison(self):
        new = report(benchmark(near(20, 0.06)), benchmark(test="b"), software=UPGRADED, warnings=("hot",))
        result = compared(report(), new, max_slowdown=1.2, alpha=0.05)
        assert result["summary"] == {**dict.fromkeys(STATUSES, 0), "regressed": 1, "no-baseline": 1}
        assert result["software_changes"] == [{"name": "ray", "from": ["2.51.1"], "to": "2.60.0"}]
        assert (result["policy"]["max_slowdown"], result["policy"]["alpha"]) == (1.2, 0.05)
        assert result["warnings"] == ["hot"]
        assert conform(json.loads(json_report.render(result))) == result
        unlike = {key for key in new if new[key] != result[key]}
        assert unlike == {"policy", "software_changes", "benchmarks", "summary"}

    def test_nothing_given_is_changed(self):
        old, new = report(), report(benchmark(near(20, 0.06)))
        before = copy.deepcopy((old, new))
        compared(old, new)
        assert (old, new) == before


class TestFiguresOfTheContract:
    """A report may be made or mended by another program: what it says in the contract's keys is compared."""

    def changed(self, **changes):
        made = report()
        (one,) = made["benchmarks"]
        one["rounds"].update(changes.pop("rounds", {}))
        one.update(changes)
        return conform(made)

    def test_of_a_throughput(self):
        slow = [speed / 3 for speed in report()["benchmarks"][0]["rounds"]["throughput"]]
        said = verdict(report(), self.changed(rounds={"throughput": slow}))
        assert (said["status"], said["metric"]) == ("regressed", "throughput")

    def test_of_cpu_seconds(self):
        more = [3 * cpu for cpu in report()["benchmarks"][0]["rounds"]["cpu_seconds_per_row"]]
        new = self.changed(rounds={"cpu_seconds_per_row": more})
        said = verdict(report(), new)
        assert (said["status"], said["metric"]) == ("regressed", "cpu_seconds_per_row")
        assert verdict(new, report())["status"] == "improved"

    def test_of_counters(self):
        said = verdict(report(), self.changed(counters={"rows": 64, "model_loads": 5}))
        assert (said["status"], said["metric"], said["ratio"]) == ("regressed", "model_loads", 5.0)

    @pytest.mark.parametrize("which", ["old", "new", "both"])
    @pytest.mark.parametrize(("factor", "status"), [(1, "unchanged"), (3, "regressed")])
    def test_of_a_throughput_and_nothing_else(self, which, factor, status):
        weights = {"model": {"name": SUBJECT.model, "weights": "random", "fingerprint": SUBJECT.weights}}

        def alone(given):
            made = contract_alone(given)
            (one,) = made["benchmarks"]
            one.update(counters={}, operators=[], rounds={"throughput": one["rounds"]["throughput"]})
            return conform(made)

        old, new = report(**weights), report(benchmark(near(40 / factor)), **weights)
        old = alone(old) if which != "new" else old
        new = alone(new) if which != "old" else new
        said = verdict(old, new, max_slowdown=1.6)
        assert (said["status"], said["metric"]) == (status, "throughput")


class TestWhatRoundsCannotShow:
    def test_a_wrong_output_stays_wrong(self):
        wrong = Verdict("invalid", "invalid: outputs differ", metric=None, wrong=True)
        said = verdict(report(), report(benchmark(verdict=wrong)))
        assert (said["status"], said["reason"]) == ("invalid", "invalid: outputs differ")

    def test_so_does_what_broke_before_its_first_round(self):
        broken = Verdict("invalid", "invalid: it broke", wrong=True)
        result = compared(report(), report(benchmark([], verdict=broken)))
        assert result["summary"]["invalid"] == 1
        assert failed(result)

    @pytest.mark.parametrize("metric", ["error_rate", "batch_latency_p95"])
    def test_a_target_of_calls_that_was_missed_stays_missed(self, metric):
        missed = Verdict("regressed", "regressed: too many", metric=metric, threshold=0.1)
        said = verdict(report(), report(benchmark(verdict=missed, limits={"max_error_rate": 0.1})))
        assert said["metric"] == metric

    def test_unless_worse_is_found(self):
        missed = Verdict("regressed", "regressed: too many", metric="error_rate", threshold=0.1)
        assert verdict(report(), report(benchmark(near(loads=2), verdict=missed)))["metric"] == "model_loads"

    def test_a_target_of_throughput_is_judged_anew(self):
        said = verdict(report(), report(benchmark(limits={"min_throughput": 100.0})))
        assert (said["status"], said["metric"]) == ("regressed", "throughput")
        said = verdict(report(benchmark(test="b")), report(benchmark(limits={"min_throughput": 100.0})))
        assert "target min_throughput=100" in said["reason"]

    def test_one_that_is_compared_with_nothing_keeps_its_verdict(self):
        best = Verdict("unchanged", "best at 16")
        said = verdict(report(), report(benchmark(subject=None, verdict=best)))
        assert said["reason"] == "best at 16"

    def test_rows_that_the_baseline_did_not_have_are_judged_anew(self):
        other_rows = Verdict("invalid", "invalid: rows 60 -> 64", metric="rows", wrong=True)
        assert verdict(report(), report(benchmark(verdict=other_rows)))["status"] != "invalid"
        fewer = [make_round(rows=60)] * 3
        said = verdict(report(), report(benchmark(fewer)))
        assert (said["status"], said["metric"]) == ("invalid", "rows")


class TestOldThatIsNoReference:
    @pytest.mark.parametrize(
        ("old", "why"),
        [
            (benchmark(verdict=Verdict("invalid", "invalid: outputs differ")), "it was invalid"),
            (benchmark([]), "it has no rounds"),
            (benchmark([make_round(), make_round(rows=60)]), "its rounds have lost rows"),
            (benchmark([make_round(rows=0)]), "its rounds have lost rows"),
            (benchmark(subject=None), "nothing of it is compared"),
        ],
    )
    def test_is_said(self, old, why):
        said = verdict(report(old), report())
        assert (said["status"], said["reason"]) == ("no-baseline", f"no-baseline: {why} in old.json")

    def test_unless_it_was_measured_again_and_well(self):
        broken = benchmark(verdict=Verdict("invalid", "invalid: workers died"))
        for old in (report(broken, benchmark()), report(benchmark(), broken)):
            assert verdict(old, report(), max_slowdown=1.5)["status"] == "unchanged"

    def test_rounds_that_were_disturbed_say_nothing_of_times(self):
        old = benchmark(near(80, 0.01, disturbed="38 % of the CPU was used by others"))
        said = verdict(report(old), report())
        assert said["status"] == "inconclusive"
        assert "rounds of old.json were disturbed: 38 % of the CPU" in said["reason"]

    def test_but_of_counters_they_do(self):
        old = benchmark(near(disturbed="38 % of the CPU was used by others"))
        assert verdict(report(old), report(benchmark(near(loads=8))))["metric"] == "model_loads"


class TestTwoEnvironments:
    def test_times_are_incomparable_and_it_is_said_of_which(self):
        said = verdict(report(environment=OTHER), report(benchmark(near(20, 0.06))))
        assert said["status"] == "incomparable"
        assert "another environment, gpu-8, and this run of cpu-2" in said["reason"]
        assert said["reason"].endswith("its counters were compared, and none is worse")

    def test_counters_carry_over(self):
        said = verdict(report(environment=OTHER), report(benchmark(near(loads=8))))
        assert (said["status"], said["metric"]) == ("regressed", "model_loads")

    def test_with_other_software_they_do_not(self):
        old = report(environment=OTHER, software=UPGRADED)
        said = verdict(old, report(benchmark(near(loads=8))))
        assert said["status"] == "incomparable"
        assert said["reason"].endswith("the software differs (ray 2.60.0 -> 2.51.1)")

    def test_another_subject_is_said_first(self):
        old = report(benchmark(subject=replace(SUBJECT, images=96)), environment=OTHER)
        assert "measured something else" in verdict(old, report())["reason"]


@pytest.fixture
def policies(monkeypatch):
    """Those that benchmarks are judged by, in order."""
    seen = []
    real = offline.judge

    def recorded(rounds, subject, reference, policy, *more):
        seen.append(policy)
        return real(rounds, subject, reference, policy, *more)

    monkeypatch.setattr(offline, "judge", recorded)
    return seen


class TestPolicy:
    def test_is_that_of_the_run(self):
        given = report(policy={"max_slowdown": 1.3, "alpha": 0.02, "min_rounds": 4, "max_rounds": 6})
        policy = policy_of(given, "new.json", None, None)
        assert policy == Policy(max_slowdown=1.3, alpha=0.02, looks=(4, 5, 6))

    def test_or_what_was_asked_for(self):
        policy = policy_of(report(), "new.json", 1.5, 0.5)
        assert (policy.max_slowdown, policy.alpha) == (1.5, 0.5)

    def test_or_the_default(self):
        assert policy_of(report(policy={}), "new.json", None, None) == Policy()

    @pytest.mark.parametrize(
        "policy",
        [{"max_slowdown": 1}, {"max_slowdown": "x"}, {"alpha": 0}, {"alpha": True}, {"max_rounds": 0}],
    )
    def test_or_refused(self, policy):
        (name,) = policy
        with pytest.raises(ConfigurationError, match=f"^new.json: policy.{name} must be a number from "):
            policy_of(report(policy=policy), "new.json", None, None)

    def test_very_many_rounds_are_not_as_many_looks(self):
        assert len(policy_of(report(policy={"max_rounds": 10**9}), "x", None, None).looks) == 998

    def test_the_mark_goes_before_what_was_asked_for(self):
        slower = near(30, 0.0267)
        marked = report(benchmark(slower, limits={"max_slowdown": 2.0}))
        assert verdict(report(), marked, max_slowdown=1.05)["threshold"] == 2.0
        assert verdict(report(), report(benchmark(slower)), max_slowdown=1.05)["threshold"] == 1.05

    def test_a_mark_that_nobody_can_have_given_is_refused(self):
        with pytest.raises(
            ConfigurationError, match=r"^new\.json: max_slowdown in the limits of tests/test_a\.py"
        ):
            compared(report(), report(benchmark(limits={"max_slowdown": 0.0})))

    def test_an_untimed_benchmark_is_not_judged_by_small_differences(self):
        old, new = report(benchmark(timed=False)), report(benchmark(near(38, 0.021), timed=False))
        assert "executed 6 times: only a large slowdown shows" in verdict(old, new)["reason"]

    def test_looks_are_those_that_the_run_had(self, policies):
        new = report(benchmark(looks=(6,)), benchmark(test="b"), policy={"max_rounds": 4})
        compared(report(), new)
        assert [policy.looks for policy in policies] == [(6,), (3, 4)]

    def test_all_benchmarks_share_the_error_and_what_is_slower_leaves_its_part(self, policies):
        old = report(*(benchmark(test=f"t{i}") for i in range(4)))
        new = report(
            benchmark(test="t0"),
            benchmark(near(10, 0.08), test="t1"),
            benchmark(near(loads=2), test="t2"),  # by a counter, which has no error
            benchmark(test="t3"),
        )
        compared(old, new)
        assert [policy.comparisons for policy in policies] == [4, 4, 3, 3]
        policies.clear()
        pair = [benchmark(near(10, 0.08), variant=variant) for variant in ("antipattern", "fix")]
        compared(
            report(*(replace(one, rounds=tuple(near())) for one in pair)), report(*pair, benchmark(test="b"))
        )
        # Two tests, of which one measures two.
        assert [policy.comparisons for policy in policies] == [4, 4, 1]

    def test_what_the_run_dealt_is_dealt_again(self, policies):
        """Tests that report no benchmark have a part of the error as well: a report does not show them."""
        old = report(*(benchmark(test=f"t{i}") for i in range(3)))
        slow = near(10, 0.08)
        first = report(
            *(benchmark(r, test=f"t{i}", comparisons=30) for i, r in enumerate([slow, near(), slow]))
        )
        compared(old, first)
        assert [policy.comparisons for policy in policies] == [30, 29, 29]
        # The run had found the first one slower, and had dealt its part to the others.
        regressed = conform(compared(old, first))
        assert [one["comparisons"] for one in regressed["benchmarks"]] == [30, 29, 29]
        policies.clear()
        compared(old, regressed)
        assert [policy.comparisons for policy in policies] == [30, 29, 29]
        policies.clear()
        compared(regressed, regressed)  # against which it is not slower
        assert [policy.comparisons for policy in policies] == [30, 30, 30]

    def test_the_share_decides(self):
        """A slowdown that is certain enough for one benchmark, and not for a thousand."""
        slower = near(33, 0.0243)
        alone, of_many = (report(benchmark(slower, comparisons=n)) for n in (1, 1000))
        limits = [verdict(report(), new, max_slowdown=1.05)["ci"][0] for new in (alone, of_many)]
        assert limits[0] > limits[1]


def stored(
    environment="cpu-2", *, sessions=None, id="tests/test_a.py::test_a", variant=None, subject=SUBJECT
):
    made = sessions or [make_session(near(), probe=PROBE) for _ in range(3)]
    baseline = replace(make_baseline(*made, id=id, subject=subject), variant=variant)
    return Stored(Path(FILE), f"baselines/{environment}/a.json", environment, baseline)


def against(found, new, environment="cpu-2"):
    old = old_baselines(found, environment, "baselines")
    return compare(new, "new.json", old, policy_of(new, "new.json", None, None))


class TestBaselines:
    def test_a_regression_names_the_file_and_the_mend(self):
        result = against([stored()], report(benchmark(near(20, 0.06))))
        said = result["benchmarks"][0]["verdict"]
        assert said["status"] == "regressed"
        assert "baseline baselines/cpu-2/a.json; accept with --rayperf-update-baselines" in said["reason"]
        assert result["benchmarks"][0]["baseline"] == "baselines/cpu-2/a.json"

    def test_software_is_compared_with_the_last_sessions(self):
        result = against([stored()], report(software=UPGRADED))
        assert result["software_changes"] == [{"name": "ray", "from": ["2.51.1"], "to": "2.60.0"}]

    def test_another_environments_counters_carry_over(self):
        said = against([stored("gpu-8")], report())["benchmarks"][0]
        assert said["verdict"]["status"] == "no-baseline"
        assert "counters equal baselines/gpu-8/a.json" in said["verdict"]["reason"]
        assert said["baseline"] is None
        said = against([stored("gpu-8")], report(benchmark(near(loads=8))))["benchmarks"][0]["verdict"]
        assert (said["status"], said["metric"]) == ("regressed", "model_loads")

    def test_another_environments_folder_is_incomparable(self):
        said = against([stored("gpu-8")], report(), "gpu-8")["benchmarks"][0]["verdict"]
        assert said["status"] == "incomparable"
        assert "another environment, gpu-8, and this run of cpu-2" in said["reason"]

    def test_those_that_were_not_measured_are_counted(self):
        found = [stored(), stored(id="b"), stored(id="b", variant="fix"), stored("gpu-8", id="c")]
        lines = against(found, report())["warnings"]
        assert lines == ["2 of 3 baselines of baselines were not measured in new.json"]

    def test_none_at_all(self):
        said = against([], report())
        reason = "no-baseline: baselines has no such benchmark; record it with --rayperf-update-baselines"
        assert said["benchmarks"][0]["verdict"]["reason"] == reason
        assert said["software_changes"] is None


class TestContractAlone:
    """Reports without subjects, counters by round, operators by round, probes."""

    def contract(self, *benchmarks, **more):
        return conform(contract_alone(report(*benchmarks, **more)))

    @pytest.mark.parametrize("which", ["old", "new", "both"])
    def test_is_compared_with_whole_ones(self, which):
        weights = {"model": {"name": SUBJECT.model, "weights": "random", "fingerprint": SUBJECT.weights}}
        old, slow = [benchmark()], [benchmark(near(10, 0.08))]
        for rounds, status in ((old, "unchanged"), (slow, "regressed")):
            first = self.contract(*old, **weights) if which != "new" else report(*old, **weights)
            second = self.contract(*rounds, **weights) if which != "old" else report(*rounds, **weights)
            assert verdict(first, second, max_slowdown=1.6)["status"] == status

    def test_counters_are_compared(self):
        said = verdict(self.contract(), self.contract(benchmark(near(loads=8))))
        assert (said["status"], said["metric"]) == ("regressed", "model_loads")

    @pytest.mark.parametrize("which", ["old", "new"])
    def test_a_test_without_images_is_compared(self, which):
        own = benchmark(subject=replace(SUBJECT, data="", data_fingerprint="", images=0, weights="w"))
        old, new = report(own), report(own)
        if which == "old":
            old = self.contract(own)
        else:
            new = self.contract(own)
        assert verdict(old, new, max_slowdown=1.5)["status"] == "unchanged"

    def test_with_baselines_too(self):
        assert against([stored()], self.contract())["benchmarks"][0]["verdict"]["status"] != "incomparable"

    def test_other_images_are_incomparable(self):
        data = {"name": "synthetic", "fingerprint": "f00d", "images": 96, "bytes": 1}
        said = verdict(self.contract(data=data), self.contract())
        assert said["status"] == "incomparable"


def fits(report):
    """Read, or None."""
    try:
        return conform(report)
    except Unfit:
        return None


SMALL = json.loads(
    json_report.render(
        {**FULL, "benchmarks": [b for b in FULL["benchmarks"] if b["slug"].startswith(("model", "ladder"))]}
    )
)


def result_of(old, new):
    """The comparison, or why there is none."""
    try:
        return compared(old, new)
    except ConfigurationError as error:
        return str(error)


def check(changed):
    read = fits(changed.made())
    if read is None:
        return
    for old, new in ((read, SMALL), (SMALL, read)):
        result = result_of(old, new)
        if isinstance(result, str):
            assert result.startswith(("old.json: ", "new.json: "))
        else:
            assert sum(result["summary"].values()) == len(new["benchmarks"])
            assert json_report.render(result)


@given(mutations_of(SMALL))
@settings(LIGHT, max_examples=150)
def test_whatever_is_changed_it_is_compared_or_refused(changed):
    check(changed)


@given(mutations_of(contract_alone(SMALL)))
@settings(LIGHT, max_examples=100)
def test_of_the_contract_alone_too(changed):
    check(changed)

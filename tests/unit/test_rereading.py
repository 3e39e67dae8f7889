from __future__ import annotations

import json
import math
from dataclasses import fields, replace

import pytest
from builders import LIGHT, PROBE, SOFTWARE, SUBJECT, make_benchmark, make_reference, make_round, make_run
from hypothesis import given
from hypothesis import strategies as st
from mutated import contract_alone
from reported import FULL, WORK, full_round, full_run
from test_report_schema import SCHEMA

from pytest_rayperf.errors import ConfigurationError
from pytest_rayperf.judging.policy import GATED, Policy
from pytest_rayperf.machine import Lap, Probe
from pytest_rayperf.metrics import METRICS
from pytest_rayperf.offline.rereading import as_known, reread, with_rows
from pytest_rayperf.reports import json as json_report
from pytest_rayperf.reports.json import report_on
from pytest_rayperf.reports.schema import conform
from pytest_rayperf.results import Operator, Subject
from pytest_rayperf.verdict import judge


def through_json(report):
    """As it is read back from a file."""
    return conform(json.loads(json_report.render(report)))


def reread_run(run):
    return reread(through_json(report_on(run)), "new.json")


class TestWhole:
    def test_every_round_has_every_metric_and_counter_that_it_had(self):
        run = full_run()
        for one, was in zip(reread_run(run), run.benchmarks, strict=True):
            assert len(one.rounds) == len(was.rounds)
            for now, then in zip(one.rounds, was.rounds, strict=True):
                assert {n: now.metric(n) for n in METRICS} == {n: then.metric(n) for n in METRICS}
                assert now.all_counters() == then.all_counters()
                assert now.operators == then.operators
                assert (now.disturbed, now.unseen) == (then.disturbed, then.unseen)
                assert now.peak_worker_memory == then.peak_worker_memory
                assert now.calls == ()

    def test_what_else_the_verdict_is_made_of(self):
        run = full_run()
        for one, was in zip(reread_run(run), run.benchmarks, strict=True):
            assert (one.id, one.variant) == (was.id, was.variant) == one.key
            assert (one.work, one.probe, one.timed, one.looks) == (was.work, was.probe, was.timed, was.looks)
            assert one.comparisons == was.comparisons
            assert one.limits == was.limits
            assert one.verdict["status"] == was.verdict.status
            assert not one.inferred or not one.rounds

    def test_a_figure_that_an_operator_does_not_explain_is_kept_as_one(self):
        round_ = make_round(cpu=None, figures={"cpu_seconds_per_row": 0.5, "tasks": 7.0})
        benchmark = replace(make_benchmark(rounds=[round_]), subject=SUBJECT)
        (one,) = reread_run(make_run([benchmark]))
        assert one.rounds[0].cpu_seconds_per_row is None
        assert one.rounds[0].metric("cpu_seconds_per_row") == 0.5
        assert one.rounds[0].metric("tasks") == 7.0

    def test_where_nothing_is_compared_there_is_no_subject(self):
        (one,) = reread_run(make_run([make_benchmark()]))
        assert one.subject is None
        assert not one.inferred

    def test_what_broke_before_its_first_round_has_none(self):
        (one,) = reread_run(make_run([make_benchmark(rounds=[])]))
        assert one.rounds == ()


class TestContractAlone:
    def read(self):
        return reread(conform(contract_alone(FULL)), "old.json")

    def test_the_metrics_are_figures_and_the_counters_those_of_the_last_round(self):
        for one, was in zip(self.read(), full_run().benchmarks, strict=True):
            for now, then in zip(one.rounds, was.rounds, strict=True):
                assert {n: now.metric(n) for n in METRICS} == {n: then.metric(n) for n in METRICS}
                assert now.all_counters() == was.rounds[-1].all_counters()
                assert now.operators == ()

    def test_the_subject_is_the_runs(self):
        one = self.read()[0]
        assert one.inferred
        assert one.subject == Subject("quick", "synthetic", "f00d", 64, "mobilenet_v3_small", "")

    def test_of_a_folder_the_subject_has_its_name(self):
        report = contract_alone(FULL)
        report["data"]["name"] = "/home/me/photos"
        assert reread(conform(report), "x")[0].subject.data == "photos"

    def test_rows_are_computed_where_they_are_not_told(self):
        report = contract_alone(FULL)
        for benchmark in report["benchmarks"]:
            benchmark["counters"] = {}
        assert {r.rows for one in reread(conform(report), "x") for r in one.rounds} == {64}

    def test_the_wall_time_is_computed_where_it_is_not_told(self):
        report = contract_alone(FULL)
        for benchmark in report["benchmarks"]:
            del benchmark["rounds"]["wall_seconds"]
        rounds = reread(conform(report), "x")[0].rounds
        assert [r.wall_seconds for r in rounds] == pytest.approx([64 / 33, 64 / 32, 64 / 34])

    def test_without_either_times_are_not_measured(self):
        report = contract_alone(FULL)
        benchmark = report["benchmarks"][0]
        benchmark["rounds"] = {"cpu_seconds_per_row": [0.5]}
        (round_,) = reread(conform(report), "x")[0].rounds
        assert round_.throughput is None
        assert math.isnan(round_.wall_seconds)
        assert round_.metric("cpu_seconds_per_row") == 0.5

    def test_without_rows_it_is_said_which_benchmark_and_what_to_do(self):
        report = contract_alone(FULL)
        report["benchmarks"][2].update(counters={}, rounds={"cpu_seconds_per_row": [0.5]})
        with pytest.raises(
            ConfigurationError, match=r"^x: benchmarks\[2\]: how many rows .* make the report anew"
        ):
            reread(conform(report), "x")


class TestContradictions:
    """Of `rounds` and `counters` with what was added to the contract: those of the contract stand."""

    def read(self, change):
        report = through_json(
            report_on(make_run([replace(make_benchmark(rounds=self.ROUNDS), subject=SUBJECT)]))
        )
        change(report["benchmarks"][0])
        return reread(conform(report), "x")[0].rounds

    ROUNDS = (full_round(40, 0.02), full_round(41, 0.021))

    def test_of_throughput_with_rows_and_wall_time(self):
        def change(one):
            one["rounds"]["throughput"] = [speed / 3 for speed in one["rounds"]["throughput"]]

        rounds = self.read(change)
        assert [r.metric("throughput") for r in rounds] == pytest.approx([40 / 3, 41 / 3], rel=1e-12)
        assert [r.cpu_seconds_per_row for r in rounds] == [r.cpu_seconds_per_row for r in self.ROUNDS]

    @pytest.mark.parametrize("speed", [0.0, -1.0])
    def test_a_throughput_that_is_none_is_not_made_good(self, speed):
        rounds = self.read(lambda one: one["rounds"].update(throughput=[speed] * 2))
        assert [r.metric("throughput") for r in rounds] == [speed] * 2

    @pytest.mark.parametrize("name", ["cpu_seconds_per_row", "tasks"])
    def test_of_what_operators_sum_up_to(self, name):
        def change(one):
            one["rounds"][name] = [3 * figure for figure in one["rounds"][name]]

        for now, then in zip(self.read(change), self.ROUNDS, strict=True):
            assert now.metric(name) == 3 * then.metric(name)
            assert [one.name for one in now.operators] == [one.name for one in then.operators]
            others = METRICS.keys() - {name}
            assert {n: now.metric(n) for n in others} == {n: then.metric(n) for n in others}

    @pytest.mark.parametrize("counters", [{"rows": 64, "model_loads": 5}, {"model_loads": 5}])
    def test_of_the_counters_with_those_by_round(self, counters):
        for round_ in self.read(lambda one: one.update(counters=counters)):
            assert round_.all_counters() == {"rows": 64, "model_loads": 5}

    def test_without_counters_those_by_round_stand(self):
        rounds = self.read(lambda one: one.update(counters={}))
        assert [r.all_counters() for r in rounds] == [r.all_counters() for r in self.ROUNDS]

    def test_counters_that_vary_are_no_contradiction(self):
        rounds = [full_round(40, 0.02, loads=n) for n in (8, 1)]
        (one,) = reread_run(make_run([replace(make_benchmark(rounds=rounds), subject=SUBJECT)]))
        assert [r.counters["model_loads"] for r in one.rounds] == [8, 1]


class TestRowsUnknown:
    def read(self, **rounds):
        report = contract_alone(FULL)
        report["benchmarks"][0].update(counters={}, rounds=rounds)
        return reread(conform(report), "x")[0]

    def test_a_throughput_alone_is_read(self):
        one = self.read(throughput=[33.0, 32.0])
        assert one.rows_unknown
        assert [r.throughput for r in one.rounds] == pytest.approx([33.0, 32.0])
        again = with_rows(one.rounds, 64)
        assert [(r.rows, r.throughput) for r in again] == [(64, pytest.approx(s)) for s in (33.0, 32.0)]

    @pytest.mark.parametrize(
        "rounds",
        [
            {"throughput": [33.0, None]},
            {"throughput": [33.0, 0.0]},
            {"throughput": [33.0, 32.0], "wall_seconds": [2.0, None]},
            {"wall_seconds": [2.0, 2.0]},
        ],
    )
    def test_else_it_is_refused(self, rounds):
        with pytest.raises(ConfigurationError, match="how many rows a round gave is not told"):
            self.read(**rounds)


def test_work_that_is_none_names_its_place():
    report = through_json(FULL)
    report["benchmarks"][1]["work"]["operators"][0]["rows"] = "many"
    with pytest.raises(
        ConfigurationError, match=r"^new.json: benchmarks\[1\].work.operators\[0\].rows must be"
    ):
        reread(report, "new.json")


@pytest.mark.parametrize("looks", [[3, 3], [4, 3], list(range(1, 2000))])
def test_looks_that_no_run_has_are_refused(looks):
    report = through_json(FULL)
    report["benchmarks"][1]["looks"] = looks
    with pytest.raises(ConfigurationError, match=r"^new.json: benchmarks\[1\]: looks must be ascending"):
        reread(report, "new.json")


def test_more_comparisons_than_any_run_has_are_refused():
    report = through_json(FULL)
    report["benchmarks"][1]["comparisons"] = 10**9
    with pytest.raises(ConfigurationError, match=r"^new.json: benchmarks\[1\]: comparisons must be at most"):
        reread(report, "new.json")


class TestAsKnown:
    RUN = Subject("quick", "synthetic", "f00d", 64, "resnet18", "")

    def test_what_the_run_does_not_tell_is_as_known(self):
        assert as_known(self.RUN, replace(self.RUN, weights="abc")) == replace(self.RUN, weights="abc")

    def test_images_that_a_test_does_not_read_are_not_in_its_subject(self):
        known = replace(self.RUN, data="", data_fingerprint="", images=0)
        assert as_known(self.RUN, known) == known

    def test_a_model_that_it_does_not_load_neither(self):
        assert as_known(self.RUN, replace(self.RUN, model="")) == replace(self.RUN, model="")

    @pytest.mark.parametrize("change", [{"profile": "full"}, {"data": "x"}, {"images": 9}, {"model": "m"}])
    def test_what_differs_differs(self, change):
        known = replace(self.RUN, **change)
        assert as_known(self.RUN, known) == self.RUN != known


# --- the verdict of a run read back is the run's own

seconds = st.floats(1e-6, 1e4)
operators = st.builds(
    Operator,
    name=st.sampled_from(["ReadImage", "MapBatches(A)", "MapBatches(B)"]),
    wall_s=st.none() | seconds,
    cpu_s=st.none() | seconds,
    udf_s=st.none() | seconds,
    rows=st.none() | st.integers(0, 10**6),
    bytes=st.none() | st.integers(0, 10**12),
    tasks=st.none() | st.integers(0, 1000),
    actor_utilization=st.none() | st.floats(0, 1),
)
names = sorted(METRICS.keys() - {"throughput", "wall_seconds", "peak_worker_memory"})
rounds_ = st.builds(
    lambda throughput, rows, memory, counters, figures, operators, disturbed, unseen: make_round(
        throughput,
        rows=rows,
        memory=memory,
        counters=counters,
        figures=figures,
        operators=operators,
        disturbed=disturbed,
        unseen=unseen,
    ),
    throughput=st.floats(0.1, 1e5),
    rows=st.sampled_from([64, 64, 64, 65]),
    memory=st.none() | st.integers(1, 2**53),
    counters=st.dictionaries(st.sampled_from(["model_loads", "calls"]), st.integers(0, 3)),
    figures=st.dictionaries(st.sampled_from(names), st.floats(0, 1e12), max_size=3),
    operators=st.lists(operators, max_size=3),
    disturbed=st.sampled_from(["", "", "", "38 % of the CPU was used by others"]),
    unseen=st.sampled_from(["", "", "0.21 s are too short"]),
)
several = st.lists(rounds_, min_size=1, max_size=6)
lap_seconds = st.floats(1e-3, 1e-2)
laps = st.lists(st.builds(Lap, lap_seconds, st.none() | lap_seconds), max_size=3).map(tuple)
probes = st.none() | st.builds(Probe, lap_seconds, lap_seconds, between=laps)


@given(
    several, st.lists(several, min_size=1, max_size=3), probes, st.booleans(), st.sampled_from([None, WORK])
)
@LIGHT
def test_the_verdict_on_rounds_read_back_is_that_on_the_rounds(rounds, sessions, probe, timed, work):
    benchmark = replace(
        make_benchmark(rounds=rounds, probe=probe), subject=SUBJECT, timed=timed, work=work, limits={}
    )
    (one,) = reread_run(make_run([benchmark]))
    reference = make_reference(*sessions, software=SOFTWARE, probe=PROBE)
    policy = Policy(timed=timed, min_throughput=100.0)
    for known, elsewhere in ((reference, None), (None, reference)):
        said = judge(one.rounds, one.subject, known, policy, elsewhere, one.work, one.probe)
        assert said == judge(rounds, SUBJECT, known, policy, elsewhere, work, probe)


def test_the_property_is_about_verdicts_that_differ():
    """Of rounds that are alike, so that times decide, and of others."""
    quick = [full_round(40 + i / 10, 0.02 + i / 1e4) for i in range(4)]
    slow = [full_round(20 + i / 10, 0.04 + i / 1e4) for i in range(4)]
    reference = make_reference(quick, quick, quick)
    policy = Policy(max_slowdown=1.5)
    found = set()
    for rounds in (quick, slow, [*quick, make_round(rows=0)]):
        (one,) = reread_run(make_run([replace(make_benchmark(rounds=rounds), subject=SUBJECT)]))
        said = judge(one.rounds, SUBJECT, reference, policy, probe=PROBE)
        assert said == judge(rounds, SUBJECT, reference, policy, probe=PROBE)
        found.add(said.status)
    assert found == {"unchanged", "regressed", "invalid"}


def test_what_decides_is_listed_by_round():
    assert {metric.name for metric in GATED} <= set(METRICS)
    listed = SCHEMA["$defs"]["operator_in_round"]["properties"]
    assert {field.name for field in fields(Operator)} == set(listed)

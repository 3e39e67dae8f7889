from __future__ import annotations

import dataclasses
import tempfile
from datetime import datetime

import pytest
from builders import (
    ENVIRONMENT,
    ID,
    SOFTWARE,
    SUBJECT,
    make_baseline,
    make_benchmark,
    make_options,
    make_round,
    make_session,
)

from pytest_rayperf.baselines.format import to_json
from pytest_rayperf.errors import GateFailure
from pytest_rayperf.harness.session import Provenance, RunRecord
from pytest_rayperf.judging.policy import GATED
from pytest_rayperf.machine import Probe
from pytest_rayperf.metrics import CPU_PER_ROW
from pytest_rayperf.results import STATUSES, Comparison, Interval, Verdict

COMPARISON = Comparison(CPU_PER_ROW, "regressed", 0.02, 0.04, Interval(2.0, 1.8, 2.2), 1.1, 1.1, 1.3)
SLOWER = Verdict("regressed", "regressed: it is", metric="cpu_seconds_per_row", comparisons=(COMPARISON,))
ROWS_CHANGED = "invalid: rows 64 -> 65 a round (exact); accept with --rayperf-update-baselines"


@pytest.fixture(autouse=True)
def own_locks(tmp_path, monkeypatch):
    (tmp_path / "locks").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "locks"))


@pytest.fixture
def record_with(tmp_path):
    def make(clock=lambda: 0.0, **options):
        provenance = Provenance(ENVIRONMENT, SOFTWARE, "abc123")
        return RunRecord(make_options(tmp_path / "baselines", **options), provenance, tmp_path, clock)

    return make


def fails(record, verdict):
    try:
        record.enforce(verdict)
    except GateFailure as failure:
        return str(failure)
    return None


class TestEnforce:
    @pytest.mark.parametrize("status", STATUSES)
    @pytest.mark.parametrize(
        ("options", "failing"),
        [
            ({}, {"regressed", "invalid"}),
            ({"gate": True}, {"regressed", "invalid", "no-baseline", "incomparable"}),
            (
                {"gate": True, "strict": True},
                {"regressed", "invalid", "no-baseline", "incomparable", "inconclusive"},
            ),
            ({"update_baselines": True}, set()),
            ({"fail_on_improvement": True}, {"regressed", "invalid"}),
            (
                {"gate": True, "fail_on_improvement": True},
                {"regressed", "invalid", "no-baseline", "incomparable", "improved"},
            ),
            ({"update_baselines": True, "fail_on_improvement": True}, set()),
        ],
        ids=["plain", "gate", "strict", "update", "improvement", "improvement, gate", "improvement, update"],
    )
    def test_what_fails(self, record_with, options, failing, status):
        text = fails(record_with(**options), Verdict(status, f"{status}: because"))
        assert text == (f"{status}: because" if status in failing else None)

    @pytest.mark.parametrize("options", [{}, {"gate": True}, {"update_baselines": True}])
    def test_what_is_wrong_always_fails(self, record_with, options):
        assert fails(record_with(**options), Verdict("invalid", "invalid: rows lost", wrong=True))

    def test_changed_rows_may_be_accepted(self, record_with):
        verdict = Verdict("invalid", ROWS_CHANGED, wrong=True, acceptable=True)
        assert fails(record_with(), verdict) == ROWS_CHANGED
        assert fails(record_with(update_baselines=True), verdict) is None

    def test_rounds_that_differ_may_not(self, record_with):
        verdict = Verdict("invalid", "invalid: rounds gave 3, 4", metric="rows", wrong=True)
        assert fails(record_with(update_baselines=True), verdict)

    def test_the_status_is_said_once(self, record_with):
        record = record_with(gate=True)
        assert fails(record, Verdict("no-baseline", "none here")) == "no-baseline: none here"
        assert (
            fails(record, Verdict("regressed", "regressed: a\nregressed: b")) == "regressed: a\nregressed: b"
        )


class TestAdd:
    def sessions(self, record):
        baseline = record.store.load("model_loading-fix")
        return None if baseline is None else [s.commit for s in baseline.sessions]

    def before(self, record, subject=SUBJECT):
        path = record.store.path("model_loading-fix")
        path.parent.mkdir(parents=True)
        path.write_text(to_json(make_baseline(make_session(commit="old"), subject=subject)))

    def test_writes_nothing_unless_asked(self, record_with):
        record = record_with()
        record.add(make_benchmark(), SUBJECT)
        record.accept()
        assert len(record.benchmarks) == 1
        assert self.sessions(record) is None
        assert record.accepted == []

    @pytest.mark.parametrize("status", ["unchanged", "inconclusive", "no-baseline"])
    def test_adds_to_what_is_alike(self, record_with, status):
        record = record_with(update_baselines=True)
        self.before(record)
        record.add(make_benchmark(Verdict(status, "")), SUBJECT)
        record.accept()
        assert self.sessions(record) == ["old", "abc123"]
        assert record.accepted == ["baselines/cpu-2/model_loading-fix.json"]

    @pytest.mark.parametrize("status", ["regressed", "improved"])
    def test_an_accepted_change_starts_anew(self, record_with, status):
        record = record_with(update_baselines=True)
        self.before(record)
        record.add(make_benchmark(Verdict(status, "")), SUBJECT)
        record.accept()
        assert self.sessions(record) == ["abc123"]

    def test_accepted_rows_start_anew(self, record_with):
        record = record_with(update_baselines=True)
        self.before(record)
        record.add(make_benchmark(Verdict("invalid", ROWS_CHANGED, wrong=True, acceptable=True)), SUBJECT)
        record.accept()
        assert self.sessions(record) == ["abc123"]

    def test_incomparable_replaces(self, record_with):
        record = record_with(update_baselines=True)
        self.before(record, dataclasses.replace(SUBJECT, model="resnet50"))
        record.add(make_benchmark(Verdict("incomparable", "")), SUBJECT)
        record.accept()
        assert self.sessions(record) == ["abc123"]

    @pytest.mark.parametrize(
        "broken",
        [
            make_benchmark(Verdict("invalid", "invalid: rows lost", metric="rows", wrong=True)),
            make_benchmark(Verdict("invalid", "invalid: broke")),
            make_benchmark(rounds=()),
        ],
        ids=["wrong", "invalid", "no rounds"],
    )
    def test_never_accepts_what_is_broken(self, record_with, broken):
        record = record_with(update_baselines=True)
        self.before(record)
        record.add(broken, SUBJECT)
        assert self.sessions(record) == ["old"]
        assert record.accepted == []
        assert record.benchmarks == [broken]

    def test_only_what_its_test_accepts(self, record_with):
        record = record_with(update_baselines=True)
        record.add(make_benchmark(), SUBJECT)
        assert record.accepted == []
        record.reject()
        record.accept()  # the next test's
        assert (record.accepted, self.sessions(record)) == ([], None)
        assert record.notes == ["model_loading-fix: not a baseline, for its test did not pass"]

    def test_a_failing_verdict_that_nobody_raised(self, record_with):
        record = record_with(gate=True)
        record.add(make_benchmark(Verdict("unchanged", "")), SUBJECT)
        record.accept()
        record.add_unfinished(make_benchmark(Verdict("invalid", "invalid: broke")))
        with pytest.raises(GateFailure, match="invalid: broke"):
            record.enforce_all()
        record.reject()
        record.enforce_all()  # it was that test's, and is not the next one's

    def test_disturbed_rounds_are_no_baseline(self, record_with):
        record = record_with(update_baselines=True)
        rounds = [make_round(), make_round(disturbed="others used 38 %")]
        record.add(make_benchmark(rounds=rounds), SUBJECT)
        record.accept()
        assert (record.accepted, list(record.store.all())) == ([], [])
        assert record.notes == [
            "model_loading-fix: not a baseline, for its rounds were disturbed: others used 38 %"
        ]

    def test_unfinished_is_kept_for_the_report_alone(self, record_with):
        record = record_with(update_baselines=True)
        record.add_unfinished(make_benchmark())
        assert len(record.benchmarks) == 1
        assert self.sessions(record) is None

    def test_the_session_says_where_it_comes_from(self, record_with):
        record = record_with(update_baselines=True)
        record.add(make_benchmark(), SUBJECT)
        record.accept()
        (session,) = record.store.load("model_loading-fix").sessions
        assert (session.commit, session.software) == ("abc123", SOFTWARE)
        assert datetime.fromisoformat(session.recorded_at).utcoffset().total_seconds() == 0

    @pytest.mark.parametrize("probe", [None, Probe(0.003, 0.004)])
    def test_the_session_says_how_fast_the_machine_was(self, record_with, probe):
        record = record_with(update_baselines=True)
        record.add(make_benchmark(probe=probe), SUBJECT)
        record.accept()
        (session,) = record.store.load("model_loading-fix").sessions
        assert session.probe == probe
        assert record.store.reference("model_loading-fix", ID).sessions[0].probe == probe


class TestPolicy:
    def test_of_the_options(self, record_with):
        policy = record_with(max_slowdown=1.2, alpha=0.05, min_rounds=2, max_rounds=5).policy()
        assert (policy.max_slowdown, policy.alpha, policy.looks) == (1.2, 0.05, (2, 3, 4, 5))
        assert policy.min_throughput is None

    def test_limits_of_the_mark(self, record_with):
        policy = record_with().policy({"max_slowdown": 1.05, "min_throughput": 100})
        assert (policy.max_slowdown, policy.min_throughput) == (1.05, 100)

    @pytest.mark.parametrize(("selected", "benchmarks"), [(1, 1), (22, 1), (11, 2)])
    def test_the_run_shares_alpha(self, record_with, selected, benchmarks):
        record = record_with()
        record.selected = selected
        assert record.policy(benchmarks=benchmarks).comparisons == selected * benchmarks

    def test_a_duel_of_two_shares_its_tests_part(self, record_with):
        record = record_with()
        record.selected = 3
        record.add(make_benchmark(SLOWER), SUBJECT)
        assert record.policy(benchmarks=2).comparisons == 5

    def test_what_was_found_slower_leaves_its_part_to_the_rest(self, record_with):
        """Holm's steps down: n, n - 1, n - 2 ... share the error."""
        record = record_with()
        record.selected = 4
        parts = []
        for _ in range(6):
            parts.append(record.policy().comparisons)
            record.add(make_benchmark(SLOWER), SUBJECT)
        assert parts == [4, 3, 2, 1, 1, 1]

    @pytest.mark.parametrize("status", sorted(set(STATUSES) - {"regressed"}))
    def test_what_was_not_found_slower_keeps_it(self, record_with, status):
        record = record_with()
        record.selected = 4
        record.add(make_benchmark(dataclasses.replace(SLOWER, status=status)), SUBJECT)
        assert record.policy().comparisons == 4

    def test_what_has_no_noise_had_no_part_to_leave(self, record_with):
        """A counter that grew, a target that was missed: regressed, and no comparison was made."""
        record = record_with()
        record.selected = 4
        record.add(make_benchmark(Verdict("regressed", "regressed: model_loads 1 -> 2")), SUBJECT)
        assert record.policy().comparisons == 4

    def test_all_errors_that_it_grants_are_at_most_the_runs(self, record_with):
        """If every one but the last is slower, only the last can be a false alarm: it has all."""
        record = record_with(alpha=0.02)
        record.selected = 22
        for _ in range(21):
            record.add(make_benchmark(SLOWER), SUBJECT)
        policy = record.policy()
        assert sum(policy.alpha_for(m.name) for m in GATED) == pytest.approx(0.02)

    def test_a_run_that_accepts_what_it_measures_has_no_target(self, record_with):
        policy = record_with(update_baselines=True).policy({"min_throughput": 100})
        assert policy.min_throughput is None


class TestWarn:
    def test_says_a_thing_once(self, record_with):
        record = record_with()
        for text in ("busy", "busy", "late"):
            record.warn(text)
        assert record.run({}, {}).warnings == ("busy", "late")


class TestGone:
    FILE = "perf_tests/test_model_loading.py"

    @pytest.mark.parametrize(
        ("collected", "exists", "gone"),
        [
            ([ID], True, False),
            ([f"{FILE}::test_other"], True, True),  # the file was collected, the test is not in it
            (["perf_tests/test_x.py::test_x"], True, False),  # another file was run
            (["perf_tests/test_x.py::test_x"], False, True),
            ([], False, True),
            ([], True, False),
        ],
    )
    def test_when_the_test_is(self, record_with, collected, exists, gone):
        record = record_with()
        path = record.store.path("model_loading-fix")
        path.parent.mkdir(parents=True)
        path.write_text(to_json(make_baseline()))
        asked = []
        found = record.gone(collected, lambda file: asked.append(file) or exists)
        assert found == (["baselines/cpu-2/model_loading-fix.json"] if gone else [])
        assert set(asked) <= {self.FILE}

    def test_no_baselines(self, record_with):
        assert record_with().gone([ID], lambda _: False) == []


class TestRun:
    def test_holds_everything(self, record_with):
        times = iter([100.0, 130.5])
        record = record_with(clock=lambda: next(times), gate=True)
        record.add(make_benchmark(), SUBJECT)
        record.notes.append("a note")
        run = record.run({"name": "synthetic"}, {"name": "resnet50"})
        assert run.duration_s == 30.5
        assert run.benchmarks == (make_benchmark(),)
        assert run.warnings == ("a note",)
        assert (run.environment, run.software, run.profile) == (ENVIRONMENT, SOFTWARE, "quick")
        assert run.policy == {
            "max_slowdown": 1.10,
            "alpha": 0.01,
            "min_rounds": 3,
            "max_rounds": 20,
            "max_time_s": 120.0,
            "gate": True,
            "strict": False,
            "fail_on_improvement": False,
        }
        assert datetime.fromisoformat(run.started_at).tzinfo is not None

    def test_what_comes_later_is_not_in_it(self, record_with):
        record = record_with()
        run = record.run({}, {})
        record.add(make_benchmark(), SUBJECT)
        assert run.benchmarks == ()

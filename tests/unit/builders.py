"""Makers of the core's data for tests: rounds, references, runs, with little to say for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypothesis import settings

from pytest_rayperf.baselines.format import Baseline, Session
from pytest_rayperf.judging.reference import Reference, ReferenceSession
from pytest_rayperf.machine import Environment, Probe
from pytest_rayperf.options import PROFILES, Options
from pytest_rayperf.results import Benchmark, Call, Duel, Operator, Round, Subject, Verdict
from pytest_rayperf.run import Run

LIGHT = settings(max_examples=60, deadline=None, database=None, derandomize=True)
"""For property tests: cheap, and the same examples every time."""

SUBJECT = Subject(
    profile="quick",
    data="synthetic",
    data_fingerprint="f00d",
    images=64,
    model="mobilenet_v3_small",
    weights="random",
)
ENVIRONMENT = Environment(id="cpu-2", cpu_model="Some CPU", cores=2, memory_bytes=8 * 1024**3)
SOFTWARE = {"python": "3.11.9", "ray": "2.51.1", "torch": "2.9.0"}
PROBE = Probe(0.003, 0.003)
FILE = "baselines/cpu-2/model_loading-fix.json"
ID = "perf_tests/test_model_loading.py::test_model_loading[fix]"


def make_round(
    throughput: float | None = 40.0,
    cpu: float | None = 0.02,
    *,
    rows: int = 64,
    memory: int | None = None,
    counters: dict[str, int] | None = None,
    operators: Sequence[Operator] | None = None,
    figures: dict[str, float] | None = None,
    disturbed: str = "",
    unseen: str = "",
    calls: Sequence[Call] = (),
) -> Round:
    """A round with these figures; `cpu` seconds a row go to one operator, None makes it unmeasured."""
    if operators is None:
        seconds = None if cpu is None else cpu * rows
        operators = (Operator("MapBatches(Classifier)", cpu_s=seconds, rows=rows),)
    return Round(
        rows=rows,
        wall_seconds=1.0 if throughput is None else rows / throughput,
        operators=tuple(operators),
        counters=counters or {},
        peak_worker_memory=memory,
        figures=figures or {},
        disturbed=disturbed,
        unseen=unseen,
        calls=tuple(calls),
    )


def make_rounds(throughput: float = 40.0, cpu: float | None = 0.02, n: int = 3, **more) -> tuple[Round, ...]:
    """`n` equal rounds."""
    return tuple(make_round(throughput, cpu, **more) for _ in range(n))


def make_reference(
    *sessions: Sequence[Round],
    subject: Subject = SUBJECT,
    name: str = FILE,
    software: dict[str, str | None] | None = None,
    probe: Probe | None = PROBE,
) -> Reference:
    """A baseline of these sessions, of three equal ones where none is given."""
    given = sessions or (make_rounds(),) * 3
    return Reference(
        name, subject, tuple(ReferenceSession(tuple(s), software or {}, probe=probe) for s in given)
    )


def make_session(
    rounds: Sequence[Round] | None = None, commit: str | None = "abc123", probe: Probe | None = None
) -> Session:
    return Session("2025-01-02T03:04:05+00:00", commit, SOFTWARE, tuple(rounds or make_rounds()), probe=probe)


def make_baseline(*sessions: Session, id: str = ID, subject: Subject = SUBJECT) -> Baseline:
    return Baseline(id, "fix", ENVIRONMENT, subject, sessions or (make_session(),))


def make_benchmark(
    verdict: Verdict | None = None,
    rounds: Sequence[Round] | None = None,
    *,
    id: str = ID,
    slug: str = "model_loading-fix",
    antipattern: str | None = "model_loading",
    variant="fix",
    baseline: str | None = FILE,
    duel: Duel | None = None,
    probe: Probe | None = None,
) -> Benchmark:
    return Benchmark(
        id=id,
        slug=slug,
        rounds=make_rounds() if rounds is None else tuple(rounds),
        verdict=verdict or Verdict("unchanged", "unchanged: it is"),
        antipattern=antipattern,
        variant=variant,
        baseline=baseline,
        duel=duel,
        probe=probe,
    )


def make_run(benchmarks: Sequence[Benchmark] = (), duels: Sequence[Duel] = (), **more) -> Run:
    facts = {
        "started_at": "2025-01-02T03:04:05+00:00",
        "duration_s": 12.3,
        "environment": ENVIRONMENT,
        "software": SOFTWARE,
        "profile": "quick",
        "data": {"name": "synthetic", "fingerprint": "f00d", "images": 64, "bytes": 1234},
        "model": {"name": "mobilenet_v3_small", "weights": "random"},
        "policy": {"max_slowdown": 1.1, "alpha": 0.01},
    }
    return Run(**{**facts, **more}, benchmarks=tuple(benchmarks), duels=tuple(duels))


def make_options(baselines: Path = Path("baselines"), **more) -> Options:
    facts = {
        "active": True,
        "gate": False,
        "strict": False,
        "fail_on_improvement": False,
        "profile": PROFILES["quick"],
        "images": None,
        "model": "mobilenet_v3_small",
        "data": "synthetic",
        "weights": "random",
        "address": None,
        "baselines": baselines,
        "update_baselines": False,
        "selftest": False,
        "max_slowdown": 1.10,
        "alpha": 0.01,
        "min_rounds": 3,
        "max_rounds": 20,
        "max_time": 120.0,
        "json": None,
        "markdown": None,
        "html": None,
        "cost_per_hour": None,
        "profile_udf": None,
    }
    return Options(**{**facts, **more})

"""What the executor does around a round; rounds themselves need Ray (tests/integration)."""

from __future__ import annotations

import gc
import warnings
from types import SimpleNamespace

import pytest

from pytest_rayperf.errors import PipelineError
from pytest_rayperf.execution import RayExecutor, _start_apart
from pytest_rayperf.measurement import Spoiled
from pytest_rayperf.monitors.utilization import CpuSpans, Span
from pytest_rayperf.results import Utilization
from pytest_rayperf.tally import CountsLostError, Taken
from pytest_rayperf.watch import Watch


@pytest.fixture
def executor_on():
    """An executor on a cluster that does nothing; what it warned of."""

    def make(is_idle, problem=None, take=lambda: Taken({"calls": 2}, ()), **watch):
        made = Watch(monitors=[Monitor(problem)], **watch)
        warned = []
        tally = SimpleNamespace(discard=lambda: None, take_all=take)
        cluster = SimpleNamespace(
            tally=tally,
            wait_until_idle=lambda: is_idle,
            starts=1,
            restore=lambda: None,
            what_died=lambda: None,
            cpu_seconds=lambda: None,
            taken=lambda: None,
            started_here=True,
            num_cpus=2,
            nodes=1,
        )
        clock = iter(range(100)).__next__
        return RayExecutor(cluster, lambda: made, warned.append, clock=clock), warned

    return make


class Monitor:
    def __init__(self, problem=None, reasons=(), unseen=(), losses=(), **figures):
        self.problem = problem
        self.figures = figures
        self.reasons = lambda: reasons
        self.unseen = lambda: unseen
        self.undecided = lambda: "; ".join(unseen)
        self.losses = lambda: losses

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        pass

    def summary(self):
        return {"peak_worker_memory": None, **self.figures}

    def over_time(self):
        return CpuSpans()


@pytest.mark.parametrize("is_idle", [True, False])
def test_says_when_the_cluster_was_busy(executor_on, is_idle):
    executor, warned = executor_on(is_idle)
    execution = executor.run(lambda: 7, keep_outputs=True, on_rows=lambda _: None)
    assert (execution.round.rows, execution.round.wall_seconds) == (7, 1)
    assert execution.round.counters == {"calls": 2}
    assert execution.round.peak_worker_memory is None
    assert execution.outputs is None
    assert [("in use by something else" in text) for text in warned] == [True] * (not is_idle)


def test_a_monitor_that_broke_is_said(executor_on):
    executor, warned = executor_on(True, "no raylet is alive")
    executor.run(lambda: 7, keep_outputs=False, on_rows=lambda _: None)
    assert warned == ["figures are missing: no raylet is alive"]


def run(executor):
    return executor.run(lambda: 7, keep_outputs=False, on_rows=lambda _: None)


@pytest.mark.parametrize(
    ("watch", "spoiled"),
    [
        ({}, None),
        ({"disturbance": Monitor(), "losses": Monitor()}, None),
        ({"disturbance": Monitor(reasons=("others", "stalls"))}, Spoiled("others; stalls")),
        ({"losses": Monitor(losses=("worker 2", "node b"))}, Spoiled("worker 2; node b", lost=True)),
        (
            {"disturbance": Monitor(reasons=("others",)), "losses": Monitor(losses=("worker 2",))},
            Spoiled("worker 2", lost=True),
        ),
    ],
)
def test_what_spoils_a_round(executor_on, watch, spoiled):
    executor, warned = executor_on(True, **watch)
    assert run(executor).spoiled == spoiled
    assert warned == []


def test_counts_that_were_lost_spoil_the_round(executor_on):
    def take():
        raise CountsLostError("a node died")

    executor, _ = executor_on(True, take=take)
    execution = run(executor)
    assert execution.spoiled == Spoiled("a node died", lost=True)
    assert execution.round.counters == {}


def test_what_could_not_be_seen_is_said(executor_on):
    watch = Monitor(unseen=("no /proc/pressure", "CPU time of others in 0.4 of 1.2 s"))
    executor, warned = executor_on(True, disturbance=watch)
    run(executor)
    watch.unseen = lambda: ("CPU time of others in 0.9 of 1.1 s",)
    watch.undecided = lambda: "0.1 s are too short"
    assert run(executor).round.unseen == "0.1 s are too short"
    assert warned == [
        "whether rounds were disturbed is not known whole: no /proc/pressure",
        "whether rounds were disturbed is not known whole: CPU time of others in 0.4 of 1.2 s",
    ]


def test_figures_are_those_that_are_reported(executor_on):
    more = Monitor(cpu_seconds=2.5, total_peak_memory=100, processes=3, sampler_cpu_seconds=0.25)
    executor, _ = executor_on(True, losses=more, disturbance=Monitor(sampler_cpu_seconds=0.5))
    assert run(executor).round.figures == {
        "worker_cpu_seconds": 2.5,
        "total_worker_memory": 100,
        "sampler_cpu_seconds": 0.75,
    }


def test_how_busy_the_machine_was_is_the_round_s(executor_on):
    """From the call of the pipeline (0 by this clock) to its last row (1), by the clock of the monitors."""
    cpus, card = Monitor(), Monitor()
    cpus.over_time = lambda: CpuSpans((Span(-0.1, 0.6, 50.0), Span(0.6, 1.2, 100.0)), (Span(-0.1, 0.6, 3.0),))
    card.over_time = lambda: {"0 T4": (Span(-0.2, 1.4, 80.0),)}
    executor, _ = executor_on(True, disturbance=cpus, gpu=card)
    assert run(executor).round.utilization == Utilization(
        (0.6, 1.0), (50.0, 100.0), (pytest.approx(3.0), None), {"0 T4": (80.0, pytest.approx(80.0))}
    )


def test_what_nobody_watched_was_not_idle(executor_on):
    assert run(executor_on(True)[0]).round.utilization is None
    assert run(executor_on(True, disturbance=Monitor())[0]).round.utilization is None


def test_energy(executor_on):
    executor, _ = executor_on(True, losses=Monitor(gpu_power_total=350.0))
    figures = run(executor).round.figures  # 7 rows in 1 s
    assert figures["joules_per_row"] == pytest.approx(50)
    assert figures["rows_per_second_per_watt"] == pytest.approx(0.02)


@pytest.mark.parametrize("power", [None, 0.0])
def test_no_energy_where_no_power_is_told(executor_on, power):
    executor, _ = executor_on(True, losses=Monitor(gpu_power_total=power))
    assert not {"joules_per_row", "rows_per_second_per_watt"} & set(run(executor).round.figures)


@pytest.mark.parametrize(
    ("startup", "first", "later", "rows", "wall", "figures"),
    [
        (4.0, 16, 3, 64, 7.0, {"startup_seconds": 4.0, "steady_throughput": 16.0}),
        (4.0, 32, 2, 64, 6.0, {"startup_seconds": 4.0, "steady_throughput": 16.0}),
        (4.0, 32, 1, 64, 4.01, {"startup_seconds": 4.0}),  # 3,200 rows/s nobody has
        (4.0, 64, 0, 64, 7.0, {"startup_seconds": 4.0}),
        (4.0, 64, 2, 64, 7.0, {"startup_seconds": 4.0}),  # later outputs were empty
        (None, 0, 0, 64, 7.0, {}),
    ],
)
def test_the_start_apart(startup, first, later, rows, wall, figures):
    assert _start_apart(startup, first, later, rows, wall) == figures


def test_a_coroutine_is_no_dataset_and_nobody_is_warned_of_it(executor_on):
    async def pipeline():
        """Nothing awaits it."""

    executor, _ = executor_on(True)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(PipelineError, match=r"returned coroutine, not a ray\.data\.Dataset"):
            executor.run(pipeline, keep_outputs=False, on_rows=lambda _: None)
        gc.collect()
    assert [str(one.message) for one in said if one.category is RuntimeWarning] == []

"""Ray Data's figures by operator, from what its executors look like: that of 2.60, and that of 2.51."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pytest_rayperf.monitors import operators
from pytest_rayperf.monitors.operators import OperatorMonitor, operators_of


class InputDataBuffer:
    """Ray's name for what is no operator of the user's."""

    def get_autoscaling_actor_pools(self):
        return []


class Fake:
    """An operator; `running` says how many actors it has at each look."""

    def __init__(self, *running):
        self.running = list(running)

    def get_autoscaling_actor_pools(self):
        if not self.running:
            return []
        count = self.running.pop(0) if len(self.running) > 1 else self.running[0]
        return [SimpleNamespace(num_running_actors=lambda: count)]


def sums(value, count=1):
    return SimpleNamespace(sum=value, count=count)


def old_sums(value, count=1):
    return {"sum": value, "count": count}


METRICS = {
    "num_task_outputs_generated": 4,
    "bytes_task_inputs_processed": 500,
    "task_scheduling_time_s": 0.25,
    "task_submission_backpressure_time": 0.5,
    "task_output_backpressure_time": 1.0,
    "num_tasks_failed": 1,
}


def stats(name="MapBatches(Classifier)", make=sums, body="function_body_time", **more):
    facts = {
        "operator_name": name,
        "wall_time": make(2.0),
        "cpu_time": make(3.5),
        body: make(1.5),
        "output_num_rows": make(64),
        "output_size_bytes": make(1000),
        "task_rows": make(64, count=8),
    }
    return SimpleNamespace(**{**facts, **more})


def summary(*of, parents=(), metrics=None):
    return SimpleNamespace(operators_stats=list(of), parents=list(parents), extra_metrics=metrics or {})


def executor(final, *topology):
    return SimpleNamespace(
        _topology=[InputDataBuffer(), *topology],
        get_stats=lambda: SimpleNamespace(to_summary=lambda: final),
    )


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class TestFigures:
    def test_of_the_newest_ray(self):
        one = executor(summary(stats(), metrics=METRICS), Fake())
        with OperatorMonitor() as monitor:
            monitor.end(one)
        (operator,) = monitor.operators
        assert monitor.problem is None
        assert (operator.name, operator.wall_s, operator.cpu_s, operator.udf_s) == (
            "MapBatches(Classifier)",
            2.0,
            3.5,
            1.5,
        )
        assert (operator.rows, operator.bytes, operator.tasks) == (64, 1000, 8)
        assert (operator.blocks, operator.bytes_in) == (4, 500)
        assert (operator.scheduling_s, operator.backpressure_s) == (0.25, 1.5)
        assert (operator.actors, operator.actor_utilization) == (None, None)
        assert operator.errored_blocks == 1

    def test_of_the_lowest_ray(self):
        metrics = {name: value for name, value in METRICS.items() if name != "task_scheduling_time_s"}
        one = executor(summary(stats(make=old_sums, body="udf_time"), metrics=metrics), Fake())
        with OperatorMonitor() as monitor:
            monitor.end(one)
        (operator,) = monitor.operators
        assert (operator.wall_s, operator.udf_s, operator.tasks) == (2.0, 1.5, 8)
        assert (operator.scheduling_s, operator.backpressure_s) == (None, 1.5)

    def test_in_order(self):
        first = summary(stats("ReadImage"))
        one = executor(summary(stats("Write"), parents=[first]), Fake(), Fake())
        with OperatorMonitor() as monitor:
            monitor.end(one)
        assert [operator.name for operator in monitor.operators] == ["ReadImage", "Write"]

    def test_what_was_executed_before_is_not_this_execution(self):
        materialized = summary(stats("ReadImage"))
        one = executor(summary(stats("Write"), parents=[materialized]), Fake())
        with OperatorMonitor() as monitor:
            monitor.end(one)
        assert [operator.name for operator in monitor.operators] == ["Write"]

    def test_two_executions_of_a_round(self):
        with OperatorMonitor() as monitor:
            monitor.end(executor(summary(stats("A")), Fake()))
            monitor.end(executor(summary(stats("B")), Fake()))
        assert ([o.name for o in monitor.operators], monitor.executions) == (["A", "B"], 2)

    def test_the_next_block_begins_anew(self):
        monitor = OperatorMonitor()
        for name in ("A", "B"):
            with monitor:
                monitor.end(executor(summary(stats(name)), Fake()))
        assert ([o.name for o in monitor.operators], monitor.executions) == (["B"], 1)

    def test_stages_of_one_operator_share_no_metrics(self):
        one = executor(summary(stats("ShuffleMap"), stats("ShuffleReduce"), metrics=METRICS), Fake())
        with OperatorMonitor() as monitor:
            monitor.end(one)
        assert [(o.name, o.bytes_in) for o in monitor.operators] == [
            ("ShuffleMap", None),
            ("ShuffleReduce", None),
        ]

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("HashShuffleReduce(keys=('g',), partitions=2)->MapBatches(group)", False),
            ("SortShuffleReduce(partitions=2)", False),
            ("JoinShuffleReduce(num_partitions=2)", False),
            ("DiskHashAggregateReduce(key_columns=('k',), num_partitions=2)", False),
            ("HashShuffleMap(keys=('g',), partitions=2)", True),
            ("MapBatches(ShuffleReduce)", True),
        ],
    )
    def test_the_second_half_of_a_shuffle_has_no_times(self, name, told):
        """What Ray tells of it is a fraction of what is fused with it alone."""
        with OperatorMonitor() as monitor:
            monitor.end(executor(summary(stats(name)), Fake()))
        (operator,) = monitor.operators
        assert (operator.wall_s, operator.cpu_s, operator.udf_s) == (
            (2.0, 3.5, 1.5) if told else (None, None, None)
        )
        assert (operator.name, operator.rows, operator.bytes, operator.tasks) == (name, 64, 1000, 8)

    def test_an_operator_that_did_nothing(self):
        one = executor(summary(stats(wall_time=None)), Fake())
        with OperatorMonitor() as monitor:
            monitor.end(one)
        assert (monitor.operators, monitor.problem) == ((), None)


class TestActors:
    def watch(self, running, seconds):
        """An operator that is looked at every `seconds`, with 2 s of computing in all."""
        clock = Clock()
        pool = Fake(*running)
        one = executor(summary(stats(), metrics=METRICS), pool)
        with OperatorMonitor(clock) as monitor:
            for _ in running:
                monitor.step(one)
                clock.now += seconds
            monitor.end(one)
        return monitor.operators[0]

    def test_the_most_at_once(self):
        assert self.watch([0, 1, 3, 2], 1.0).actors == 3

    def test_how_busy_they_were(self):
        assert self.watch([0, 1, 2, 2], 1.0).actor_utilization == pytest.approx(2.0 / 5)

    def test_not_above_all_of_their_time(self):
        assert self.watch([0, 1], 1.0).actor_utilization == 1.0

    def test_a_pool_that_never_ran(self):
        operator = self.watch([0, 0], 1.0)
        assert (operator.actors, operator.actor_utilization) == (None, None)

    def test_not_looked_at_in_each_turn(self):
        assert self.watch([1] * 100, 0.001).actors == 1
        pool = Fake(*[1] * 100)
        clock = Clock()
        with OperatorMonitor(clock) as monitor:
            for _ in range(100):
                monitor.step(executor_of(pool))
                clock.now += 0.001
        assert len(pool.running) == 100 - 2


_EXECUTORS: dict[int, SimpleNamespace] = {}


def executor_of(pool):
    return _EXECUTORS.setdefault(id(pool), executor(summary(stats()), pool))


class TestAnotherRay:
    @pytest.mark.parametrize(
        "one",
        [
            SimpleNamespace(),
            SimpleNamespace(_topology=[Fake()], get_stats=lambda: SimpleNamespace()),
            executor(SimpleNamespace(parents=[], operators_stats=[stats()]), Fake()),
            executor(summary(stats()), Fake(), Fake()),
        ],
    )
    def test_figures_are_missing_and_the_round_goes_on(self, one):
        with OperatorMonitor() as monitor:
            monitor.end(one)
        assert monitor.operators == ()
        assert not monitor.available
        assert monitor.problem.startswith("this Ray's figures by operator are not where they were (")

    def test_pools(self):
        with OperatorMonitor() as monitor:
            monitor.step(SimpleNamespace(_topology=[SimpleNamespace()]))
        assert "get_autoscaling_actor_pools" in monitor.problem

    def test_the_next_block_tries_again(self):
        monitor = OperatorMonitor()
        with monitor:
            monitor.end(SimpleNamespace())
        with monitor:
            monitor.end(executor(summary(stats()), Fake()))
        assert (len(monitor.operators), monitor.problem) == (1, None)


def test_nobody_listens_outside_of_a_block():
    with OperatorMonitor() as monitor:
        assert operators._listening is monitor
    assert operators._listening is None


@pytest.mark.parametrize("name", ["get_stats_summary", "_get_stats_summary"])
def test_of_a_dataset(name):
    final = summary(stats("Write"), parents=[summary(stats("ReadImage"))], metrics=METRICS)
    dataset = SimpleNamespace(**{name: lambda: final})
    assert [operator.name for operator in operators_of(dataset)] == ["ReadImage", "Write"]

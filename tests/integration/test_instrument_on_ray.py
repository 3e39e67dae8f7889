"""What instrumented UDFs report on a real Ray: each test is a script of its own; Ray starts once a process.

The figures are checked against what the UDFs count themselves, and against the rows that come out.
"""

from __future__ import annotations

import textwrap

import pytest

pytestmark = pytest.mark.integration

START = """
import functools
import sys

import numpy as np
import ray
from ray import cloudpickle
from ray.data import ActorPoolStrategy, DataContext

from pytest_rayperf import count
from pytest_rayperf.udfs.batches import instrumented_batches
from pytest_rayperf.tally import Tally
from pytest_rayperf.udfs.instrumenting import CALL, instrument
from pytest_rayperf.latency import calls_of, latencies

ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False)
DataContext.get_current().enable_progress_bars = False
tally = Tally.start()


def rows(blocks=4):
    return ray.data.range(100, override_num_blocks=blocks)


def ids(dataset):
    return sorted(row["id"] for row in dataset.take_all())


def taken():
    \"\"\"The counters, and the calls by UDF.\"\"\"
    all_of_it = tally.take_all()
    calls = calls_of(all_of_it.of(CALL))
    return all_of_it.counts, {one.udf: one for one in latencies(calls)}, calls


class Plus:
    def __init__(self, plus=0):
        self.plus = plus

    def __call__(self, batch):
        count("plus")
        return {"id": batch["id"] + self.plus}

    def method(self, batch):
        return self(batch)


class Halves:
    def __call__(self, batch):
        count("halves")
        middle = len(batch["id"]) // 2
        yield {"id": batch["id"][:middle]}
        yield {"id": batch["id"][middle:]}


class Streams:
    async def __call__(self, batch):
        count("streams")
        yield {"id": batch["id"]}


class Waits:
    async def __call__(self, batch):
        count("waits")
        return {"id": batch["id"]}


def plus_one(batch, plus=1):
    count("plus_one")
    return {"id": batch["id"] + plus}


def breaks_once(batch):
    if 7 in batch["id"]:
        raise ZeroDivisionError("on purpose")
    return batch


POOL = ActorPoolStrategy(size=2)
"""

END = "\ntally.close()\nray.shutdown()\nprint('held')\n"


@pytest.fixture
def holds(run_script):
    """Run a script in a process of its own; each of its asserts must hold."""
    return lambda body, start=START: run_script(start + textwrap.dedent(body) + END)


def test_every_kind_of_udf(holds) -> None:
    holds(
        """
        async_pool = ActorPoolStrategy(size=1)
        for udf, name, counter, plus, more in [
            (plus_one, "plus_one", "plus_one", 1, {}),
            (plus_one, "plus_one", "plus_one", 5, {"fn_kwargs": {"plus": 5}}),
            (plus_one, "plus_one", "plus_one", 6, {"fn_args": (6,)}),
            (functools.partial(plus_one, plus=3), "plus_one", "plus_one", 3, {}),
            (Plus(4).method, "Plus.method", "plus", 4, {}),
            (Plus(4), "Plus", "plus", 4, {}),
            (lambda batch: batch, "<lambda>", None, 0, {}),
            (Plus, "Plus", "plus", 2, {"compute": POOL, "fn_constructor_args": (2,)}),
            (Plus, "Plus", "plus", 2, {"compute": POOL, "fn_constructor_kwargs": {"plus": 2}}),
            (Halves, "Halves", "halves", 0, {"compute": POOL}),
            (Waits, "Waits", "waits", 0, {"compute": async_pool}),
            (Streams, "Streams", "streams", 0, {"compute": async_pool}),
        ]:
            plain = rows().map_batches(udf, batch_size=10, **more)
            with instrumented_batches():
                watched = rows().map_batches(udf, batch_size=10, **more)
            assert repr(watched) == repr(plain), (watched, plain)
            assert ids(plain) == [i + plus for i in range(100)]
            counts, found, calls = taken()
            assert found == {}, name
            assert ids(watched) == [i + plus for i in range(100)]
            watched_counts, found, calls = taken()
            assert watched_counts == counts
            assert list(found) == [name]
            one = found[name]
            assert one.errors == 0
            if counter is not None:
                assert one.count == watched_counts[counter], (name, one, watched_counts)
            assert sum(call.rows for call in calls) == 100
            assert all(call.seconds > 0 for call in calls)
            assert one.p50_s > 0 and one.p99_s is None
        """
    )


def test_a_pipeline_that_executes_by_itself_and_several_udfs(holds) -> None:
    holds(
        """
        import tempfile

        with instrumented_batches(), tempfile.TemporaryDirectory() as folder:
            dataset = rows().map_batches(plus_one, batch_size=25).map_batches(plus_one, batch_size=25)
            dataset.map_batches(instrument(Plus), batch_size=25, compute=POOL).write_parquet(folder)
        counts, found, calls = taken()
        assert {name: one.count for name, one in found.items()} == {"plus_one": 4, "plus_one#2": 4, "Plus": 4}
        assert counts == {"plus_one": 8, "plus": 4}
        """
    )


def test_of_a_module_that_travels_whole(holds) -> None:
    holds(
        """
        import types

        module = types.ModuleType("nowhere")
        exec("class Absent:\\n    def __call__(self, batch):\\n        return batch", vars(module))
        sys.modules["nowhere"] = module
        cloudpickle.register_pickle_by_value(module)
        with instrumented_batches():
            dataset = rows().map_batches(module.Absent, batch_size=10, compute=POOL)
        assert "MapBatches(Absent)" in repr(dataset)
        assert ids(dataset) == list(range(100))
        _, found, _ = taken()
        assert {name: one.count for name, one in found.items()} == {"Absent": 12}  # 4 blocks of 25 rows
        """
    )


def test_errors_that_ray_forgives(holds) -> None:
    holds(
        """
        DataContext.get_current().max_errored_blocks = 1
        with instrumented_batches():
            dataset = rows().map_batches(breaks_once, batch_size=25)
        assert ids(dataset) == list(range(25, 100))  # a block of 25 rows was lost, and nothing raised
        _, found, _ = taken()
        one = found["breaks_once"]
        assert (one.count, one.errors, one.error_rate) == (4, 1, 0.25)
        summary = getattr(dataset, "get_stats_summary", None) or dataset._get_stats_summary
        failed = []

        def collect(stats):
            for parent in stats.parents:
                collect(parent)
            failed.append(stats.extra_metrics.get("num_tasks_failed"))

        collect(summary())
        assert sum(number for number in failed if number is not None) == 1, failed
        """
    )


def test_an_error_that_ends_the_pipeline(holds) -> None:
    holds(
        """
        with instrumented_batches():
            dataset = rows().map_batches(breaks_once, batch_size=25)
        try:
            dataset.materialize()
            raise AssertionError("it was not raised")
        except Exception as error:
            assert "on purpose" in str(error) and "ZeroDivisionError" in str(error)
        _, found, _ = taken()
        assert found["breaks_once"].errors == 1
        """
    )


def test_killed_actors_lose_nothing(holds) -> None:
    holds(
        """
        import os, signal

        @ray.remote(num_cpus=0)
        class Actor:
            def work(self, times):
                udf = instrument(Plus)()
                for _ in range(times):
                    udf({"id": np.arange(3)})
                return os.getpid()

        actor = Actor.remote()
        os.kill(ray.get(actor.work.remote(50)), signal.SIGKILL)
        counts, found, calls = taken()
        assert (counts["plus"], found["Plus"].count, sum(call.rows for call in calls)) == (50, 50, 150)
        """
    )


def test_nothing_is_recorded_where_nothing_is_measured(holds) -> None:
    holds(
        """
        tally.close()
        assert ids(rows().map_batches(instrument(plus_one))) == list(range(1, 101))
        tally = Tally.start()
        assert taken() == ({}, {}, ())
        """
    )


def test_a_profile(holds) -> None:
    pytest.importorskip("pyinstrument")
    holds(
        """
        import json
        import time
        from pathlib import Path
        from pytest_rayperf.profiling import profile_pipeline

        class Works:
            def __call__(self, batch):
                return {"id": self.turns(batch["id"])}

            def turns(self, values):
                for _ in range(100000):  # of Python calls: enough for a sample on any machine
                    values = self.turn(values)
                return values

            def turn(self, values):
                return values[::-1]

        class Streams(Works):
            async def __call__(self, batch):
                yield {"id": self.turns(batch["id"])}

        def pipeline():
            works = rows().map_batches(Works, batch_size=25, compute=POOL)
            return works.map_batches(Streams, batch_size=25, compute=ActorPoolStrategy(size=1))

        ids(rows().map_batches(Plus, compute=POOL))  # what was before is not in the timeline
        before = time.time()
        profile = profile_pipeline(pipeline, Path("profiles"), "s-fix", tally)
        assert profile.problems == ()
        assert sorted(profile.flame_graphs) == ["Streams", "Works"]
        for path in profile.flame_graphs.values():
            page = path.read_text()
            assert "Works.turns" in page or "Streams.turns" in page
            assert "_around_call" not in page and "<thread>" not in page
        events = json.loads(profile.timeline.read_text())
        assert "task:execute" in {event["name"] for event in events}
        assert min(event["ts"] + event["dur"] for event in events) > before * 1e6
        """,
        "import os\nos.environ['RAY_PROFILING'] = '1'\n" + START,
    )

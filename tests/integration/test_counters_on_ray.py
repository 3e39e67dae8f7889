"""What becomes of a count on a real Ray: each test is a script of its own, for Ray starts once a process."""

from __future__ import annotations

import textwrap

import pytest

pytestmark = pytest.mark.integration

START = """
import ray
from ray.experimental.internal_kv import _internal_kv_exists
from pytest_rayperf import count
from pytest_rayperf.counters import NAMESPACE, folder_name, key_of, session_folder, record
from pytest_rayperf.tally import CountsLostError, Tally


@ray.remote(num_cpus=0, max_concurrency=4)
class Counter:
    def count(self, name, times=1):
        for _ in range(times):
            count(name)

    def record(self, *fields):
        record(*fields)

    def count_in_threads(self, name, threads, times):
        import threading

        many = [threading.Thread(target=self.count, args=(name, times)) for _ in range(threads)]
        for thread in many:
            thread.start()
        for thread in many:
            thread.join()


def folders():
    return sorted(session_folder().glob("rayperf-counters-*"))
"""

ONE_NODE = START + 'ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)\n'

SEVERAL_NODES = (
    START
    + """
import time
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
ray.init(cluster.address, log_to_driver=False)  # while there is one node: any of this machine's would do
others = [cluster.add_node(num_cpus=1) for _ in range(NODES)]


def counter_on(node):
    pinned = NodeAffinitySchedulingStrategy(node_id=node.node_id, soft=False)
    for _ in range(100):  # a node that is alive can be scheduled on a moment later
        actor = Counter.options(scheduling_strategy=pinned).remote()
        try:
            ray.get(actor.count.remote("nothing", 0))
            return actor
        except ray.exceptions.ActorUnschedulableError:
            time.sleep(0.1)
    raise AssertionError("the node cannot be scheduled on")


def remove(node):
    cluster.remove_node(node)
    while any(n["Alive"] and n["NodeID"] == node.node_id for n in ray.nodes()):
        time.sleep(0.1)
"""
)

END = "\nray.shutdown()\nprint('held')\n"


@pytest.fixture
def holds(run_script):
    """Run a script in a process of its own; each of its asserts must hold."""
    return lambda *parts: run_script("".join(parts[:-1]) + textwrap.dedent(parts[-1]) + END)


def test_counts_of_actors_threads_and_the_driver(holds) -> None:
    holds(
        ONE_NODE,
        """
        count("before")  # nothing is measured yet; this process asks again once something is
        tally = Tally.start()
        assert tally.take() == {}

        actor = Counter.remote()
        ray.get(actor.count.remote("calls", 3))
        ray.kill(actor, no_restart=True)
        assert tally.take() == {"calls": 3}  # killed, and counted
        assert tally.take() == {}  # once

        actors = [Counter.remote() for _ in range(2)]
        ray.get([actor.count_in_threads.remote("calls", 8, 100) for actor in actors])
        ray.get(actors[0].count.remote("loads"))
        count("rows", 20)
        assert tally.take() == {"calls": 1600, "loads": 1, "rows": 20}

        ray.get(actors[0].count.remote("calls"))
        tally.discard()
        ray.get(actors[0].count.remote("calls", 2))
        assert tally.take() == {"calls": 2}

        ray.get([actor.record.remote("call", "f", 1.5, None) for actor in actors])
        taken = tally.take_all()
        assert (taken.counts, taken.of("call")) == ({}, [("f", 1.5, None)] * 2)
        assert tally.take_all().records == ()

        assert len(folders()) == 1
        tally.close()
        assert folders() == []
        assert not _internal_kv_exists(key_of(ray.get_runtime_context().get_job_id()), namespace=NAMESPACE)
        count("calls")
        ray.get(Counter.remote().count.remote("calls"))
        assert folders() == []
        """,
    )


def test_nothing_is_counted_where_nothing_is_measured(holds) -> None:
    holds(
        ONE_NODE,
        """
        count("calls")
        ray.get(Counter.remote().count.remote("calls"))
        assert folders() == []
        """,
    )


def test_what_a_killed_run_left_is_not_read(holds) -> None:
    holds(
        ONE_NODE,
        """
        left = Tally.start()
        ray.get(Counter.remote().count.remote("calls", 3))
        tally = Tally.start()  # as the next run does
        ray.get(Counter.remote().count.remote("calls"))
        assert tally.take() == {"calls": 1}
        tally.close()
        assert len(folders()) == 1  # the other run's
        left.close()
        """,
    )


def test_a_count_that_cannot_be_written_is_an_error(holds) -> None:
    holds(
        ONE_NODE,
        """
        tally = Tally.start()
        (folder,) = folders()
        folder.rmdir()
        folder.touch()
        actor = Counter.remote()
        for _ in range(2):  # each time
            try:
                ray.get(actor.count.remote("calls"))
                raise AssertionError("it was not raised")
            except OSError as error:
                assert str(folder) in str(error), error
        try:
            tally.take()
            raise AssertionError("it was not raised")
        except CountsLostError as error:
            assert f"{folder} was removed" in str(error), error
        """,
    )


def test_closing_with_the_cluster(holds) -> None:
    holds(
        ONE_NODE,
        """
        import psutil

        tally = Tally.start()
        ray.get(Counter.remote().count.remote("calls", 3))
        (gcs,) = (p for p in psutil.Process().children(recursive=True) if p.name() == "gcs_server")
        gcs.kill()  # half dead: asking it anything would end this process after a minute
        tally.close(cluster_ends=True)
        assert folders() == []
        ray.shutdown()
        tally.close()  # of a cluster that is gone
        """,
    )


def test_counts_of_another_node(holds) -> None:
    holds(
        SEVERAL_NODES.replace("NODES", "1"),
        """
        tally = Tally.start()
        here, there = counter_on(cluster.head_node), counter_on(others[0])
        ray.get([here.count.remote("calls", 2), there.count.remote("calls", 3), there.count.remote("loads")])
        ray.kill(there, no_restart=True)
        assert tally.take() == {"calls": 5, "loads": 1}
        assert tally.take() == {}

        ray.get([here.record.remote("call", 1), counter_on(others[0]).record.remote("call", 2)])
        assert sorted(tally.take_all().of("call")) == [(1,), (2,)]

        ray.get(counter_on(others[0]).count.remote("calls"))
        assert tally.take() == {"calls": 1}

        late = cluster.add_node(num_cpus=1)
        ray.get(counter_on(late).count.remote("calls", 4))
        assert tally.take() == {"calls": 4}

        assert len(folders()) == 3  # the nodes are one machine's
        tally.close()
        assert folders() == []
        """,
    )


def test_a_node_that_died_took_its_counts_along(holds) -> None:
    holds(
        SEVERAL_NODES.replace("NODES", "3"),
        """
        remove(others[0])
        tally = Tally.start()
        assert tally.take() == {}  # it died before

        ray.get(counter_on(others[1]).count.remote("calls"))
        remove(others[1])
        count("calls")
        try:
            tally.take()
            raise AssertionError("it was not raised")
        except CountsLostError as error:
            assert f"node {others[1].node_id[:12]} died, and its counts with it" in str(error), error
        count("calls")
        assert tally.take() == {"calls": 1}  # of the next round, nothing is lost

        remove(others[2])
        tally.discard()  # the last round's loss is not this one's
        assert tally.take() == {}

        brief = cluster.add_node(num_cpus=1)
        remove(brief)
        try:
            tally.take()
            raise AssertionError("it was not raised")
        except CountsLostError as error:
            assert brief.node_id[:12] in str(error), error
        tally.close()
        """,
    )


def test_a_node_needs_no_rayperf_where_nothing_is_counted(holds) -> None:
    holds(
        """
        import subprocess, sys
        from ray import cloudpickle
        from pytest_rayperf.tally import _reader, _remote_reader, _remover

        load = '''if True:
            import sys
            sys.modules["pytest_rayperf"] = None
            from ray import cloudpickle
            reader, *_ = cloudpickle.loads(sys.stdin.buffer.read())
            assert reader("nowhere", {}) == ({}, [], {}, [])
        '''
        pickled = cloudpickle.dumps((_reader(), _remote_reader(), _remover()))
        subprocess.run([sys.executable, "-W", "ignore", "-c", load], input=pickled, check=True)
        import ray
        """,
    )

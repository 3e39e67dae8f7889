"""Starting a cluster anew, without one (tests/integration has real ones)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import psutil
import pytest

from pytest_rayperf import cluster as module
from pytest_rayperf import ending
from pytest_rayperf.cluster import Cluster
from pytest_rayperf.errors import ConfigurationError


def make_cluster(size=None, started_here=True):
    return Cluster(
        address="127.0.0.1:1",
        started_here=started_here,
        resources={"CPU": 2.0, "object_store_memory": size or 1000},
        nodes=1,
        raylet_pids=(1,),
        tally=None,
    )


@pytest.fixture
def log(monkeypatch):
    """What was started and closed; one with 7 bytes cannot be started."""
    done = []

    def open_cluster(address, size):
        done.append(("open", size))
        if size == 7:
            raise ValueError("too small")
        return make_cluster(size)

    monkeypatch.setattr(module, "open_cluster", open_cluster)
    monkeypatch.setattr(module, "close_cluster", lambda cluster: done.append("close"))
    return done


class TestWithObjectStore:
    def test_is_another_cluster_and_then_one_as_before(self, log):
        cluster = make_cluster()
        with cluster.with_object_store(80):
            assert (cluster.resources["object_store_memory"], cluster.starts) == (80, 2)
        assert (cluster.resources["object_store_memory"], cluster.starts) == (1000, 3)
        assert log == ["close", ("open", 80), "close", ("open", None)]

    @pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
    def test_also_after_an_error(self, log, error):
        cluster = make_cluster()
        with pytest.raises(error), cluster.with_object_store(80):
            raise error
        assert cluster.resources["object_store_memory"] == 1000

    def test_also_where_the_small_one_cannot_be_started(self, log):
        cluster = make_cluster()
        with pytest.raises(ValueError, match="too small"), cluster.with_object_store(7):
            pytest.fail("not reached")
        assert log[-1] == ("open", None)
        assert (cluster.resources["object_store_memory"], cluster.starts) == (1000, 2)

    def test_an_attached_one_is_left_alone(self, log):
        with (
            pytest.raises(ConfigurationError, match=r"127\.0\.0\.1:1 was attached to"),
            make_cluster(started_here=False).with_object_store(80),
        ):
            pytest.fail("not reached")
        assert log == []


class TestCloseCluster:
    @pytest.fixture
    def shutdowns(self, monkeypatch):
        """Ray that is running, and how often it was shut down."""
        calls = []
        ray = SimpleNamespace(is_initialized=lambda: True, shutdown=lambda: calls.append("shutdown"))
        monkeypatch.setitem(sys.modules, "ray", ray)
        monkeypatch.setattr(ending, "GRACE_S", 0.2)
        return calls

    def test_kills_what_it_started_and_nothing_else(self, shutdowns):
        """The test process has children of its own while the cluster is started anew in a session."""
        with sleeper() as own, sleeper() as other:
            cluster = make_cluster()
            cluster.tally = SimpleNamespace(close=lambda cluster_ends: None)
            cluster.processes = (psutil.Process(own.pid),)
            module.close_cluster(cluster)
            assert own.poll() is not None
            assert other.poll() is None
        assert shutdowns == ["shutdown"]

    def test_a_ctrl_c_meanwhile_comes_when_all_is_ended(self, shutdowns, monkeypatch):
        monkeypatch.setattr(sys.modules["ray"], "shutdown", lambda: signal.raise_signal(signal.SIGINT))
        with sleeper() as own:
            cluster = make_cluster()
            cluster.tally = SimpleNamespace(close=lambda cluster_ends: None)
            cluster.processes = (psutil.Process(own.pid),)
            with pytest.raises(KeyboardInterrupt):
                module.close_cluster(cluster)
            assert own.poll() is not None

    @pytest.mark.parametrize("taken", ["before its processes end", "in the end", "nowhere known"])
    def test_a_sigterm_for_which_ray_has_taken_the_handler_away_comes_then_too(
        self, shutdowns, monkeypatch, taken
    ):
        """As its core does in 2.60: the system's own, which ends the process."""

        class Node:
            def kill_all_processes(self, wait):
                assert wait
                signal.raise_signal(signal.SIGTERM)
                heard.append("held back")

        node = Node()
        worker = SimpleNamespace(_global_node=None if taken == "nowhere known" else node)
        monkeypatch.setitem(sys.modules, "ray._private.worker", worker)
        heard = []

        def shutdown():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if taken == "before its processes end":
                node.kill_all_processes(wait=True)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)

        monkeypatch.setattr(sys.modules["ray"], "shutdown", shutdown)
        monkeypatch.setattr(
            psutil, "wait_procs", lambda *_, **__: signal.raise_signal(signal.SIGTERM) or ([], [])
        )
        before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append("heard"))
        try:
            cluster = make_cluster()
            cluster.tally = SimpleNamespace(close=lambda cluster_ends: None)
            module.close_cluster(cluster)
        finally:
            signal.signal(signal.SIGTERM, before)
        assert heard == ["held back"] * (taken == "before its processes end") + ["heard"]
        assert vars(node) == {}

    def test_what_ended_before_is_passed_over(self, shutdowns):
        with sleeper() as own:
            cluster = make_cluster()
            cluster.tally = SimpleNamespace(close=lambda cluster_ends: None)
            cluster.processes = (psutil.Process(own.pid),)
            own.kill()
            own.wait()
            module.close_cluster(cluster)
        assert shutdowns == ["shutdown"]


class TestABrokenStart:
    @pytest.fixture
    def started(self, monkeypatch):
        """Ray that starts a process with a child, and then breaks; gives both processes."""
        found = []
        own = []
        parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"

        def init(**options):
            own.append(subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE))
            process = psutil.Process(own[0].pid)
            while not process.children():
                time.sleep(0.01)
            found.extend([process, *process.children()])
            raise self.error

        ray = SimpleNamespace(is_initialized=lambda: False, init=init)
        monkeypatch.setitem(sys.modules, "ray", ray)
        monkeypatch.setitem(sys.modules, "ray.job_config", SimpleNamespace(JobConfig=dict))
        monkeypatch.setattr(module, "_check_reachable", lambda address: None)
        monkeypatch.setattr(module, "_ready_to_attach", lambda address: address)
        yield found
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for process in own:
            process.stdin.close()
            process.wait()

    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
    def test_leaves_nothing_that_it_started(self, started, error):
        self.error = error
        with sleeper() as other:
            with pytest.raises(error):
                module.open_cluster(None)
            assert len(started) == 2
            assert not any(map(runs, started))
            assert other.poll() is None

    def test_what_is_started_meanwhile_is_ended_too(self, started, monkeypatch):
        """As the raylet starts its agents: the child is there only once its parent was listed."""
        self.error = KeyboardInterrupt
        listed = []

        def with_descendants(processes):
            processes = list(processes)
            listed.append(processes)
            return processes if len(listed) == 1 else real(processes)

        real = ending.with_descendants
        monkeypatch.setattr(ending, "with_descendants", with_descendants)
        with pytest.raises(KeyboardInterrupt):
            module.open_cluster(None)
        assert len(listed) == 3  # the parent; with its child; nothing new
        assert not any(map(runs, started))

    def test_a_second_ctrl_c_does_not_stop_the_clearing_up(self, started, monkeypatch):
        self.error = KeyboardInterrupt
        real = ending.with_descendants

        def impatient(processes):
            os.kill(os.getpid(), signal.SIGINT)
            return real(processes)

        monkeypatch.setattr(ending, "with_descendants", impatient)
        before = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            module.open_cluster(None)
        assert not any(map(runs, started))
        assert signal.getsignal(signal.SIGINT) is before

    def test_also_in_another_thread(self, started):
        self.error = RuntimeError
        with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError):
            pool.submit(module.open_cluster, None).result()
        assert not any(map(runs, started))

    def test_of_attaching_ends_nothing(self, started):
        self.error = KeyboardInterrupt
        with pytest.raises(KeyboardInterrupt):
            module.open_cluster("127.0.0.1:1")
        assert all(map(runs, started))


def runs(process):
    """Whether it runs: a zombie waits only for its parent, which may be an init that reaps nothing."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def sleeper():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


class TestAddedToPath:
    def test_what_pytest_has_added_in_its_order(self, tmp_path):
        tests, source = tmp_path / "tests", tmp_path / "src"
        for folder in (tests, source):
            folder.mkdir()
        path = [str(tests), *sys.path[-1:], str(source), str(tests)]
        found = module.added_to_path(path)
        assert [one for one in found if one.startswith(str(tmp_path))] == [str(tests), str(source)]

    def test_nothing_of_the_interpreters_own(self):
        code = "import sys; print(*filter(None, sys.path), sep=chr(10))"
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
        )
        assert module.added_to_path(done.stdout.splitlines()) == []

    def test_nor_what_is_no_folder(self, tmp_path):
        assert module.added_to_path(["", str(tmp_path / "python.zip")]) == []


class TestDied:
    def test_who_ended_is_named(self):
        with sleeper() as process:
            cluster = SimpleNamespace(vital={psutil.Process(process.pid): "raylet"})
            assert module.Cluster.what_died(cluster) is None
            process.kill()  # a zombie, until it is waited for
            while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)
            assert module.Cluster.what_died(cluster) == "the cluster's raylet ended"
        assert module.Cluster.what_died(cluster) == "the cluster's raylet ended"


class TestTaken:
    @pytest.mark.parametrize(
        ("cpus", "free", "said"),
        [
            (2, {"CPU": 2.0}, None),
            (2, {"CPU": 1.0}, None),
            (2, {"CPU": 0.5}, "all 2 CPUs are taken"),  # a task wants a whole one
            (2, {}, "all 2 CPUs are taken"),  # so Ray has it where none is free
            (1, {"memory": 1.0}, "the only CPU is taken"),
            (0, {}, None),  # a cluster that has none has none to give
        ],
    )
    def test_where_no_cpu_is_free_they_are_said_to_be_taken(self, monkeypatch, cpus, free, said):
        monkeypatch.setattr("ray.available_resources", lambda: free)
        assert module.Cluster.taken(SimpleNamespace(num_cpus=cpus)) == said

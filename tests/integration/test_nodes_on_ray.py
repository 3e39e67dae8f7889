"""A cluster of two nodes, both on this machine, that a run attaches to."""

from __future__ import annotations

import textwrap

import pytest

pytestmark = pytest.mark.integration

SUITE = """
    import ray

    def work(batch):
        import numpy as np

        # Some two seconds: a sampler that keeps its cost down may look but every second.
        for _ in range(1000):
            np.linalg.svd(np.random.default_rng(0).random((100, 100)))
        return batch

    def test_both(rayperf):
        # One task on each node at a time: a task wants all the CPUs that a node has.
        rayperf(
            lambda: ray.data.range(40, override_num_blocks=4).map_batches(work, batch_size=10, num_cpus=1),
            expected_rows=40,
        )
"""

SCRIPT = """
import json
import pathlib
import subprocess
import sys
import time

import ray
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
ray.init(cluster.address, log_to_driver=False)
cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
done = subprocess.run(
    [
        sys.executable, "-m", "pytest", "--rayperf", "-p", "no:cacheprovider", "--rayperf-max-rounds=3",
        f"--rayperf-address={cluster.address}", "--rayperf-json=report.json",
    ],
    capture_output=True, text=True, timeout=200,
)
assert done.returncode == 0, done.stdout + done.stderr
(benchmark,) = json.loads(pathlib.Path("report.json").read_text())["benchmarks"]
alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
assert len(alive) == 2, "it was left running, whole"
for nodes in benchmark["nodes"]:
    assert set(nodes) == alive
    for figures in nodes.values():
        assert figures["processes"] >= 1
        assert figures["total_peak_memory"] > 1e6
rounds = benchmark["rounds"]
for together, nodes in zip(rounds["total_worker_memory"], benchmark["nodes"], strict=True):
    assert together == sum(figures["total_peak_memory"] for figures in nodes.values())


# Were it another machine, this process, which is not of that node, would be another there.
from pytest_rayperf.monitors import nodes

nodes.machine_id = lambda: "another machine"
(other,) = nodes.other_nodes()
sampler = nodes.RemoteSampler(other, 0.5, cluster.address)
sampler.start()
burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
try:
    time.sleep(3)
finally:
    burner.kill()
    burner.wait()
report = sampler.stop()
assert any("CPU" in reason for reason in report.disturbed), report
assert report.figures["others_cpu_share"] > 0.1, report
print("held")
"""


def test_both_nodes_are_measured_and_left_running(run_script, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_both=SUITE)
    run_script(textwrap.dedent(SCRIPT))

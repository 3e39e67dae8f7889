"""Sweep: how many actors are best on this machine, as far as the cluster has CPUs for them.

Each actor claims half a CPU, so that twice as many as CPUs fit, less one CPU that is left to making the rows.
More actors than cores only wait for one another; each costs a process and a copy of the model.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

SIZES = (1, 2, 4, 8, 16, 32)
ROWS, BATCH_SIZE = 8192, 64
CPUS_AN_ACTOR = 0.5


class Dense:
    """Two layers of torch, 512 -> 1024 -> 10."""

    def __init__(self):
        import torch

        generator = torch.Generator().manual_seed(0)
        self.first = torch.randn(512, 1024, generator=generator) / 16
        self.second = torch.randn(1024, 10, generator=generator) / 16

    def __call__(self, batch):
        import torch

        with torch.inference_mode():
            hidden = (torch.from_numpy(np.array(batch["features"])) @ self.first).relu()
            return {"id": batch["id"], "prediction": (hidden @ self.second).argmax(dim=1).numpy()}


def classify(features, pool_size):
    from ray.data import ActorPoolStrategy

    pool = ActorPoolStrategy(size=pool_size)
    rows = features.read(override_num_blocks=32)
    return rows.map_batches(Dense, batch_size=BATCH_SIZE, compute=pool, num_cpus=CPUS_AN_ACTOR)


@pytest.mark.sweep
def test_concurrency_sweep(rayperf, features, ray_cluster):
    most = (ray_cluster.num_cpus - 1) / CPUS_AN_ACTOR
    sizes = [size for size in SIZES if size <= most]
    if len(sizes) < 2:
        pytest.skip(f"{ray_cluster.num_cpus} CPUs have room for one pool size only")
    rows = replace(features, num_rows=ROWS)
    rayperf.sweep({str(size): partial(classify, rows, size) for size in sizes}, expected_rows=ROWS)

"""Sweep: which batch size is best on this machine, and which cannot be told apart from it.

The model is a small dense one on 512 features, which costs microseconds a row: the price of a call shows.
Where the curve is flat, take the smallest batch of the plateau: it needs the least memory.
"""

from functools import partial

import numpy as np
import pytest

SIZES = (1, 8, 16, 32, 64, 128, 256, 512, 1024)
ROWS = 4096


class Dense:
    """Two layers of torch, 512 -> 256 -> 10."""

    def __init__(self):
        import torch

        generator = torch.Generator().manual_seed(0)
        self.first = torch.randn(512, 256, generator=generator) / 16
        self.second = torch.randn(256, 10, generator=generator) / 16

    def __call__(self, batch):
        import torch

        with torch.inference_mode():
            hidden = (torch.from_numpy(np.array(batch["features"])) @ self.first).relu()
            return {"id": batch["id"], "prediction": (hidden @ self.second).argmax(dim=1).numpy()}


def classify(features, batch_size):
    from ray.data import ActorPoolStrategy

    pool = ActorPoolStrategy(size=1)
    return features.read(override_num_blocks=8).map_batches(
        Dense, batch_size=batch_size, compute=pool, num_cpus=1
    )


@pytest.mark.sweep
def test_batch_size_sweep(rayperf, features):
    from dataclasses import replace

    rows = replace(features, num_rows=ROWS)
    rayperf.sweep({str(size): partial(classify, rows, size) for size in SIZES}, expected_rows=ROWS)

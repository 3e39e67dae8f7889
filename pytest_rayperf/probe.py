"""How fast this machine is at fixed work, in CPU seconds: computing, and reading and writing memory.

Two machines of one name need not be equally fast, nor one machine from one hour to the next. The probe's work
is the same everywhere and always, so that its time tells of the machine alone. It runs in this process, on
one thread, while no round does.

There are two kinds of work, for neighbours take two things away: the time of a core (decoding and resizing
a photograph, and arithmetic: a core's own caches hold that), and what all cores share, the last cache and the
memory (arrays of the size of a batch's activations). A pipeline feels both, and so does their mean
(`machine.Probe`).
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from functools import lru_cache
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pytest_rayperf.machine import Lap

LAPS = 100
"""Some 0.3 s of computing and 0.1 s of memory. What slows a lap comes and goes within seconds, and the rounds
of a pipeline have their part of it: so the mean of many laps, not the quickest one or the median, and as many
once more between the rounds (`harness/laps.py`)."""

ACTIVATIONS = 2 * 1024 * 1024
"""Numbers in each of three float32 arrays, 24 MiB together: a small model's first layer of 32 images."""

_SIZE, _RESIZED = (500, 375), (256, 256)


def probe(laps: int = LAPS, clock: Callable[[], float] = time.thread_time) -> Lap:
    """CPU seconds of one lap of each kind of fixed work: the mean of `laps`, after one that warms the caches.

    Neither kind may change, or figures in baselines would be compared with those of other work.

    Args:
        laps: how many, at least 1.
        clock: CPU seconds of this thread.

    Raises:
        ValueError: `laps` is below 1.
    """
    if laps < 1:
        raise ValueError(f"probe(laps={laps}): at least 1")
    photograph, weights = _material()
    compute_s = _mean_of(laps, lambda: _compute(photograph, weights), clock)
    # Not kept: the driver's memory is a metric.
    source, factor, target = (np.full(ACTIVATIONS, value, np.float32) for value in (1.0, 0.5, 0.0))
    return Lap(compute_s, _mean_of(laps, lambda: _stream(source, factor, target), clock))


def _mean_of(laps: int, work: Callable[[], object], clock: Callable[[], float]) -> float:
    work()
    times = []
    for _ in range(laps):
        start = clock()
        work()
        times.append(clock() - start)
    return fmean(times)


def _compute(photograph: bytes, weights: NDArray[np.float32]) -> float:
    with Image.open(io.BytesIO(photograph)) as image:
        pixels = np.asarray(image.convert("RGB").resize(_RESIZED, Image.Resampling.BILINEAR), np.float32)
    # einsum without `optimize` calls no BLAS, which would use threads of its own and another code a machine.
    features = np.einsum("ij,jk->ik", pixels.reshape(-1, 256)[:192], weights)
    return float(np.maximum(features, 0).sum())


def _stream(source: NDArray[np.float32], factor: NDArray[np.float32], target: NDArray[np.float32]) -> None:
    """Scale, add, and cut off below 0, as a layer does, each number read once in a step."""
    np.multiply(source, factor, out=target)
    np.add(target, source, out=target)
    np.maximum(target, 0, out=target)


@lru_cache(maxsize=1)
def _material() -> tuple[bytes, NDArray[np.float32]]:
    """A JPEG of 500x375 with detail at all scales, and float32 weights of shape (256, 64)."""
    random = np.random.default_rng(0)
    width, height = _SIZE
    pixels = np.zeros((height, width, 3))
    for cell in (1, 5, 25, 125):
        coarse = random.uniform(0, 64, (-(-height // cell), -(-width // cell), 3))
        pixels += coarse.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width]
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue(), random.standard_normal((256, 64)).astype(np.float32)

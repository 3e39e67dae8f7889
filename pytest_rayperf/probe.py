"""How fast this machine is at fixed work, in CPU seconds: decoding and resizing a photograph, and arithmetic.

Two machines of one name need not be equally fast, nor one machine from one hour to the next. The probe's work
is the same everywhere and always, so that its time tells of the machine alone. It runs in this process, on
one thread, while no round does.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from functools import lru_cache
from statistics import fmean

import numpy as np
from PIL import Image

VERSION = 1
"""Of the work: figures of different versions are not compared."""

LAPS = 160
"""Some 0.5 s of work. What slows a lap comes and goes within seconds, and a pipeline's rounds have their part
of it: so the mean of many laps, not the quickest one or the median."""

_SIZE, _RESIZED = (500, 375), (256, 256)


def probe(laps: int = LAPS, clock: Callable[[], float] = time.thread_time) -> float:
    """CPU seconds of one lap of the fixed work: the mean of `laps`, after one that warms the caches.

    Args:
        laps: how many, at least 1.
        clock: CPU seconds of this thread.

    Raises:
        ValueError: `laps` is below 1.
    """
    if laps < 1:
        raise ValueError(f"probe(laps={laps}): at least 1")
    photograph, weights = _material()
    _lap(photograph, weights)
    times = []
    for _ in range(laps):
        start = clock()
        _lap(photograph, weights)
        times.append(clock() - start)
    return fmean(times)


def _lap(photograph: bytes, weights: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> float:
    with Image.open(io.BytesIO(photograph)) as image:
        pixels = np.asarray(image.convert("RGB").resize(_RESIZED, Image.Resampling.BILINEAR), np.float32)
    # einsum without `optimize` calls no BLAS, which would use threads of its own and another code a machine.
    features = np.einsum("ij,jk->ik", pixels.reshape(-1, 256)[:192], weights)
    return float(np.maximum(features, 0).sum())


@lru_cache(maxsize=1)
def _material() -> tuple[bytes, np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
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

"""Seeded synthetic photographs: what reading them costs is what reading ImageNet's costs.

The sizes, the JPEG settings and the amount of detail are dealt so that every set from a few dozen images on
has the spread of ImageNet's. `benchmarks/synthetic_images.py` holds the figures against real photographs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image

from pytest_rayperf.data.cache import cache_root, make_once
from pytest_rayperf.errors import ConfigurationError

VERSION = 2
"""Of the generator: whatever changes a single pixel raises it, as figures of others are incomparable."""

CLASSES = (
    "n01440764",
    "n02102040",
    "n02979186",
    "n03000684",
    "n03028079",
    "n03394916",
    "n03417042",
    "n03425413",
    "n03445777",
    "n03888257",
)
"""Imagenette's classes by their WordNet ids, which are the names of the class folders."""

_Plane = npt.NDArray[np.int32]


@dataclass(frozen=True)
class _Kind:
    """A kind of picture: `count` of every 64 are such, with sides in pixels between the two limits."""

    count: int
    long_side: tuple[int, int]
    short_side: tuple[int, int]
    quality: int
    subsampling: int
    """Pillow's: 0 is 4:4:4, 2 is 4:2:0."""
    detail: tuple[int, int]
    """Strength of the finest noise, in 1/256ths: it sets the bytes a pixel."""


# By area, least first. ImageNet is two populations: pictures shrunk to 500 pixels by a photo site and saved
# at quality 96 without subsampling (two thirds), and pictures of all sizes off the web, most of them
# compressed harder.
_KINDS = (
    _Kind(1, (75, 75), (56, 56), 80, 2, (10, 60)),
    _Kind(3, (120, 170), (110, 120), 78, 2, (10, 60)),
    _Kind(4, (220, 250), (160, 185), 90, 0, (5, 70)),
    _Kind(4, (300, 350), (200, 237), 86, 2, (10, 60)),
    _Kind(5, (400, 450), (290, 315), 86, 2, (10, 60)),
    _Kind(12, (500, 500), (320, 340), 96, 0, (3, 77)),
    _Kind(3, (500, 500), (355, 373), 96, 0, (3, 77)),
    _Kind(24, (500, 500), (375, 375), 96, 0, (3, 77)),
    _Kind(4, (500, 500), (376, 400), 96, 0, (3, 77)),
    _Kind(2, (580, 600), (420, 450), 96, 0, (10, 60)),
    _Kind(1, (640, 640), (480, 480), 96, 0, (10, 60)),
    _Kind(1, (2400, 2400), (1600, 1600), 75, 2, (0, 8)),
)
_DEAL = tuple(kind for kind in _KINDS for _ in range(kind.count))
_FIRST = 23  # which image of every 64 is the tiny one; the huge one is then the 40th

# Steps of additive low-discrepancy sequences (fractions of 2**32: of the golden ratio, of the square roots of
# 2 and 3), by which every run of images gets its share of detail, of portraits and of greys.
_DETAIL_STEP, _PORTRAIT_STEP, _GREY_STEP = 2654435769, 1779033703, 3144134277
_PORTRAITS, _GREYS = 0.23, 0.03


class _Random:
    """Bytes of a PCG64 stream.

    NumPy promises that a bit generator's raw stream never changes, and does not for `Generator`'s methods.
    """

    def __init__(self, seed: int, index: int) -> None:
        self._bits = np.random.PCG64([seed, index])

    def plane(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """Uniform noise, uint8 of shape (height, width)."""
        words = self._bits.random_raw(-(-height * width // 8))
        return np.asarray(words).astype("<u8").view(np.uint8)[: height * width].reshape(height, width)

    def between(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return low + int(self._bits.random_raw()) % (high - low + 1)


def make_synthetic(
    num_images: int,
    cache_dir: Path | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Make, or find in the cache, a folder of `num_images` JPEG photographs; return it.

    The images lie in ten class folders, dealt in turn: image i is `<class>/<class>_<i, six digits>.JPEG` in
    the class i mod 10. Image i depends on `seed` and i alone, so a set is the beginning of every larger one;
    its bytes are the same wherever Pillow's version is. A set is made by one process at a time and is
    complete or not there.

    num_images: at least 1.
    cache_dir: the cache to use in place of `cache_root()`.
    progress: called in this thread with (images made, images to make); not called where the set is cached.

    Raises ConfigurationError for a number below 1, a negative seed, or a cache that cannot be written to.
    """
    if num_images < 1:
        raise ConfigurationError(f"--rayperf-images {num_images}: at least 1 image is needed")
    if seed < 0:
        raise ConfigurationError(f"seed {seed} of the synthetic images: it must not be negative")
    root = cache_root() if cache_dir is None else cache_dir
    name = f"v{VERSION}-seed{seed}-pillow{PIL.__version__}-{num_images}"

    def make(folder: Path) -> None:
        _fill(folder, num_images, seed, progress)

    def complete(folder: Path) -> bool:
        return sum(1 for _ in folder.glob("*/*.JPEG")) == num_images

    return make_once(root / "synthetic" / name, make, complete)


def relative_path(index: int) -> Path:
    """Where image `index` lies in its set."""
    folder = CLASSES[index % len(CLASSES)]
    return Path(folder) / f"{folder}_{index:06d}.JPEG"


def _fill(folder: Path, num_images: int, seed: int, progress: Callable[[int, int], None] | None) -> None:
    for index in range(min(num_images, len(CLASSES))):
        (folder / relative_path(index)).parent.mkdir()
    # Threads, as Pillow and NumPy release the GIL where the time goes.
    pool = ThreadPoolExecutor(max_workers=os.cpu_count())
    try:
        futures = [pool.submit(_write, folder / relative_path(i), seed, i) for i in range(num_images)]
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            if progress is not None:
                progress(done, num_images)
    finally:
        pool.shutdown(cancel_futures=True)


def _write(path: Path, seed: int, index: int) -> None:
    image, kind = _image(seed, index)
    # Everything that changes the bytes is named here, so that no default of Pillow's decides it.
    image.save(
        path,
        format="JPEG",
        quality=kind.quality,
        subsampling=kind.subsampling,
        optimize=False,
        progressive=False,
    )


def _kind(index: int) -> _Kind:
    # Bits reversed, 64 consecutive numbers are each place of the deal once, and every shorter run is spread
    # evenly over it.
    return _DEAL[int(f"{(index % 64) ^ _FIRST:06b}"[::-1], 2)]


def _fraction(index: int, step: int) -> float:
    return (index * step % 2**32) / 2**32


def _image(seed: int, index: int) -> tuple[Image.Image, _Kind]:
    """Image `index`: mode YCbCr (which JPEG stores as it is, and a reader gets as RGB) or L."""
    kind, random = _kind(index), _Random(seed, index)
    width, height = random.between(*kind.long_side), random.between(*kind.short_side)
    if _fraction(index, _PORTRAIT_STEP) < _PORTRAITS:
        width, height = height, width
    low, high = kind.detail
    # Squared, as most pictures have little detail and a few have much.
    detail = low + round((high - low) * _fraction(index, _DETAIL_STEP) ** 2)

    light = _clouds(random, height, width, 45, finest=4)
    # Shapes: where a smooth field is above a level, the tone changes within a few pixels, as at the outline
    # of an object in focus.
    level = 128 + random.between(-15, 15)
    inside = np.clip((_clouds(random, height, width, 40, finest=32) - level) * 24, 0, 256)
    light += (inside * random.between(5, 50)) >> 8
    light -= random.between(10, 60)
    # Grass here, sky there: the finest noise is strong where another field is bright.
    strength = _clouds(random, height, width, 60, finest=16)
    # The sum of two bytes is nearer to the grain of a sensor than one is.
    grain = random.plane(height, width).astype(np.int32) + random.plane(height, width) - 255
    light += (grain * strength * detail) >> 16
    if _fraction(index, _GREY_STEP) < _GREYS:
        return _to_image(light), kind
    planes = [_to_image(light)]
    for _ in range(2):
        tint = _clouds(random, height, width, 20, finest=8)
        tint += (inside * random.between(-30, 30)) >> 8
        # A camera's colours are noisy too, though less.
        tint += ((random.plane(height, width).astype(np.int32) - 128) * strength * detail) >> 18
        planes.append(_to_image(tint))
    return Image.merge("YCbCr", planes), kind


def _clouds(random: _Random, height: int, width: int, contrast: int, finest: int) -> _Plane:
    """Noise equally strong at every scale, as photographs have, down to `finest` pixels: about 128, int32.

    All in integers, those of Pillow's resizing included, so that no processor rounds in its own way.
    """
    scale = max(finest, 1 << (max(height, width) - 1).bit_length() - 2)
    field = np.full((2, 2), 128, np.uint8)
    while scale >= finest:
        rows, columns = -(-height // scale) + 1, -(-width // scale) + 1
        coarse = Image.fromarray(field).resize((columns, rows), resample=Image.Resampling.BILINEAR)
        noise = random.plane(rows, columns).astype(np.int32) - 128
        field = np.clip(np.asarray(coarse) + ((noise * contrast) >> 8), 0, 255).astype(np.uint8)
        scale //= 2
    smooth = Image.fromarray(field).resize((width, height), resample=Image.Resampling.BICUBIC)
    return np.asarray(smooth).astype(np.int32)


def _to_image(plane: _Plane) -> Image.Image:
    return Image.fromarray(np.clip(plane, 0, 255).astype(np.uint8))

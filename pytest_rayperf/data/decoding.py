"""Finds images that don't decode, before a round does."""

from __future__ import annotations

import hashlib
import io
import os
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFile, UnidentifiedImageError

from pytest_rayperf.errors import ConfigurationError


@dataclass(frozen=True)
class CheckedImage:
    """What was learnt of an image's file while it was read: its bytes and its hash in hex digits."""

    num_bytes: int
    sha256: str


def check_images(paths: Sequence[Path]) -> list[CheckedImage]:
    """Read and decode each image once, on all cores.

    Raises ConfigurationError naming the first, in the order of `paths`, that Ray could not read as RGB.
    """
    tolerant = ImageFile.LOAD_TRUNCATED_IMAGES
    # If someone set it here, it is still not set in Ray's workers, where the image would fail.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    pool = ThreadPoolExecutor(max_workers=os.cpu_count())
    try:
        return list(pool.map(_check, paths))
    finally:
        pool.shutdown(cancel_futures=True)
        ImageFile.LOAD_TRUNCATED_IMAGES = tolerant


def _check(path: Path) -> CheckedImage:
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            # JPEG at an eighth of its size: every byte is still read, most of the arithmetic is left out.
            image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
            image.load()
            # Some modes of TIFF have no way to RGB.
            image.resize((1, 1), resample=Image.Resampling.NEAREST).convert("RGB")
    # What Pillow's decoders raise for broken files: no common base, see `Image.open` and `ImageFile.load`.
    except (
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        LookupError,
        EOFError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "no image format that Pillow knows"
        raise ConfigurationError(
            f"--rayperf-data: {path} does not decode: {reason}; repair it or take it out of the folder"
        ) from error
    return CheckedImage(len(data), hashlib.sha256(data).hexdigest())

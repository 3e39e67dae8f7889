"""Are the synthetic photographs as dear to read as real ones? One table; exit status 1 if not.

    python benchmarks/synthetic_images.py --real FOLDER_OF_PHOTOGRAPHS

Reading is what `ray.data.read_images(size=(256, 256), mode="RGB")` does with a file's bytes. Its CPU time is
taken of both sets in turn, several times over, on one thread.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pytest_rayperf.data.synthetic import make_synthetic

TOLERANCE = 0.15


@dataclass(frozen=True)
class Sample:
    """An encoded image: its bytes, height and width in pixels, and whether it is grayscale."""

    data: bytes
    height: int
    width: int
    grey: bool


def load(paths: list[Path]) -> list[Sample]:
    """Read the files into memory, so that no disk is timed."""
    samples = []
    for path in paths:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            samples.append(Sample(data, image.height, image.width, image.mode == "L"))
    return samples


def cpu_milliseconds(samples: list[Sample]) -> float:
    """CPU time of decoding and resizing an image, in milliseconds, as the mean over `samples`."""
    start = time.process_time()
    for sample in samples:
        # The order of Ray's ImageDatasource: resized in the file's own mode, then converted.
        image = Image.open(io.BytesIO(sample.data)).resize((256, 256), resample=Image.Resampling.BILINEAR)
        np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    return (time.process_time() - start) * 1e3 / len(samples)


def describe(samples: list[Sample]) -> list[str]:
    """The columns of the table that are not timed."""
    by_area = sorted(samples, key=lambda sample: sample.height * sample.width)
    sizes = [len(sample.data) / 1e3 for sample in samples]
    height = statistics.median(sample.height for sample in samples)
    width = statistics.median(sample.width for sample in samples)
    return [
        str(len(samples)),
        f"{height:.0f}x{width:.0f}",
        f"{by_area[0].height}x{by_area[0].width}",
        f"{by_area[-1].height}x{by_area[-1].width}",
        f"{statistics.median(sizes):.0f}",
        f"{statistics.mean(sizes):.0f}",
        f"{100 * statistics.mean(sample.grey for sample in samples):.1f}",
    ]


def main() -> int:
    """Print the table; 0 if every synthetic set is within the tolerance, 1 if one isn't."""
    repository = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = repository.parent / "shared" / "data" / "imagenet_samples"
    parser.add_argument("--real", type=Path, default=default, help="folder of JPEG photographs")
    parser.add_argument("--images", type=int, nargs="+", default=[64, 109], help="sizes of synthetic sets")
    parser.add_argument("--repetitions", type=int, default=7, help="how often each set is read")
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic images")
    options = parser.parse_args()
    real = sorted(path for path in options.real.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg"))
    if not real:
        parser.error(f"--real {options.real}: no JPEG files there")

    sets = {"real": load(real)}
    with (
        tempfile.TemporaryDirectory() as scratch
    ):  # never the cache: what is measured is what the code makes now
        for count in options.images:
            folder = make_synthetic(count, cache_dir=Path(scratch), seed=options.seed)
            sets[f"synthetic {count}"] = load(sorted(folder.rglob("*.JPEG")))

    times: dict[str, list[float]] = {name: [] for name in sets}
    for _ in range(options.repetitions):
        for name, samples in sets.items():
            times[name].append(cpu_milliseconds(samples))

    header = ["set", "images", "median h x w", "min", "max", "median KB", "mean KB", "gray %", "CPU ms/image"]
    rows = [[*header, "ratio", f"within {TOLERANCE:.0%}"]]
    good = True
    for name, samples in sets.items():
        milliseconds = statistics.median(times[name])
        ratio = statistics.median(
            ours / theirs for ours, theirs in zip(times[name], times["real"], strict=True)
        )
        within = abs(ratio - 1) <= TOLERANCE
        good = good and within
        verdict = ["", ""] if name == "real" else [f"{ratio:.3f}", "yes" if within else "NO"]
        rows.append([name, *describe(samples), f"{milliseconds:.2f}", *verdict])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

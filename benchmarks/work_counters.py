"""Whether the work counters find small changes of a user's code, and nothing where nothing changed.

    python benchmarks/work_counters.py
    python benchmarks/work_counters.py --write work.json      # on one machine
    python benchmarks/work_counters.py --against work.json    # on another one of the same software

The pipeline reads synthetic photographs, resizes them and classifies them with mobilenet_v3_small, random
weights. Its work is counted as a baseline, in two passes; then unchanged, and with each of five changes put
in. Each run is a pass in a process of its own. A change counts as found where the counter that it moves is
among the changes of its operator, and as named where the explanation has the function too.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pytest_rayperf.data.synthetic import make_synthetic
from pytest_rayperf.work.comparison import compare_work, not_compared, software_differences
from pytest_rayperf.work.counts import Work, work_from_json, work_to_json
from pytest_rayperf.work.single_pass import count_work

IMAGES = 40
BATCH = 16
OPERATOR = "MapBatches(Classify)"
CHANGES = {
    "one more forward pass on a tenth of the rows": ("forward", "flops", "Module."),
    "a transform built per image": ("transform", "python_calls", "Compose.__init__"),
    "a copy of the batch": ("copy", "allocated_bytes", ""),
    "a second decode": ("decode", "files_opened", "PIL.Image.open"),
    "a sleep of a millisecond": ("sleep", "slept_microseconds", ""),
}
"""What is done -> its name, the counter that it moves, and a part of a function that it calls (none: C)."""


class Classify:
    """Resizes and classifies images of a batch; `change` puts one of `CHANGES` in."""

    def __init__(self, change: str | None) -> None:
        import torch
        from torchvision.models import mobilenet_v3_small

        torch.manual_seed(0)
        self.change = change
        self.model = mobilenet_v3_small(weights=None).eval()
        self.transform = self.make_transform()

    def make_transform(self) -> Callable[[Any], Any]:
        """The transform of one image."""
        import torch
        from torchvision import transforms

        return transforms.Compose(
            [
                transforms.Resize(72, antialias=True),
                transforms.CenterCrop(64),
                transforms.ConvertImageDtype(torch.float32),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """`image`, uint8 of shape (N, H, W, 3), and `path` -> `label`, int64 of shape (N,)."""
        import torch
        from PIL import Image

        if self.change == "copy":
            batch = {name: column.copy() for name, column in batch.items()}
        if self.change == "sleep":
            time.sleep(0.001)
        if self.change == "decode":
            for path in batch["path"]:
                np.asarray(Image.open(path).convert("RGB"))
        inputs = []
        for image in batch["image"]:
            transform = self.make_transform() if self.change == "transform" else self.transform
            inputs.append(transform(torch.from_numpy(image).permute(2, 0, 1)))
        stacked = torch.stack(inputs)
        with torch.inference_mode():
            if self.change == "forward":
                self.model(stacked[: max(1, len(stacked) // 10)])
            return {"label": self.model(stacked).argmax(dim=1).numpy()}


def pipeline(folder: Path, change: str | None) -> Callable[[], Any]:
    """Makes the lazy dataset."""

    def make() -> Any:
        import ray

        images = ray.data.read_images(str(folder), mode="RGB", size=(128, 128), include_paths=True)
        return images.map_batches(
            Classify,
            fn_constructor_args=(change,),
            batch_size=BATCH,
            compute=ray.data.ActorPoolStrategy(size=1),
        )

    return make


def show(work: Work) -> None:
    """What is counted, a row."""
    for operator in work.operators:
        figures = ", ".join(
            f"{name} {amount / operator.rows:,.2f}" for name, amount in operator.counts.items()
        )
        print(f"  {operator.name}, {operator.rows} rows, a row: {figures}")
        if operator.construction:
            figures = ", ".join(f"{name} {amount:,}" for name, amount in operator.construction.items())
            print(f"    its construction: {figures}")
    for note in work.undetermined:
        print(f"  not determined: {note}")


def main() -> int:
    """Print what was found; 1 where something was missed, or something found where nothing is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--unchanged", type=int, default=50, help="runs of the unchanged pipeline")
    parser.add_argument("--changed", type=int, default=10, help="runs of each change")
    parser.add_argument("--write", type=Path, help="write the baseline there")
    parser.add_argument("--against", type=Path, help="take this file's baseline, another machine's")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    import ray

    folder = make_synthetic(IMAGES)
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    seconds: list[float] = []

    def count(change: str | None) -> Work:
        start = time.perf_counter()
        work = count_work(pipeline(folder, change), repeats=1)
        seconds.append(time.perf_counter() - start)
        return work

    try:
        if options.against:
            baseline = work_from_json(json.loads(options.against.read_text()), str(options.against))
        else:
            baseline = count_work(pipeline(folder, None))
        if options.write:
            options.write.write_text(json.dumps(work_to_json(baseline), indent=1, sort_keys=True) + "\n")
        show(baseline)
        failed = False
        moved: Counter[str] = Counter()
        for _ in range(options.unchanged):
            work = count(None)
            for difference in software_differences(work, baseline):
                moved[f"other software: {difference}"] += 1
            for change in compare_work(work, baseline):
                moved[change.explanation] += 1
            for missing in not_compared(work, baseline):
                moved[missing] += 1
        failed |= bool(moved)
        print(f"\nunchanged, {options.unchanged} runs: {sum(moved.values())} differences")
        for text, times in moved.most_common():
            print(f"  {times} times: {text}")
        for what, (change_name, counter, function) in CHANGES.items():
            found = named = 0
            example = ""
            for _ in range(options.changed):
                changes = compare_work(count(change_name), baseline)
                hits = [c for c in changes if (c.operator, c.counter) == (OPERATOR, counter) and c.regression]
                found += bool(hits)
                named += bool(hits) and function in hits[0].explanation
                example = "\n  ".join(c.explanation for c in changes)
            failed |= not found == named == options.changed
            print(f"\n{what}: found {found} of {options.changed}, named {named}\n  {example}")
        if seconds:
            low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
            print(f"\na pass takes {middle:.1f} s ({low:.1f} to {high:.1f})")
    finally:
        ray.shutdown()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

"""Four pipelines whose noise is recorded: actors, tasks that keep a model, preprocessing, a write."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pytest_rayperf.data.features import make_rows
from pytest_rayperf.data.sources import ImageSource
from pytest_rayperf.models.classifier import Classifier

ROWS, CLASSES = 4000, 1000


class Classify:
    """The model, loaded once an actor."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.model = classifier.load()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The classes of one batch."""
        return {"prediction": self.classifier.predict(self.model, batch["image"])}


@lru_cache(maxsize=1)
def loaded(classifier: Classifier) -> Any:
    """The model, once a worker process."""
    return classifier.load()


def classify_in_task(batch: dict[str, Any], classifier: Classifier) -> dict[str, Any]:
    """The classes of one batch, by the model that this worker keeps."""
    return {"prediction": classifier.predict(loaded(classifier), batch["image"])}


def scale(batch: dict[str, Any]) -> dict[str, Any]:
    """Pixels as float32 of mean 0, and what is left of them: one mean a channel."""
    pixels = batch["image"].astype(np.float32) / 127.5 - 1
    return {"mean": pixels.mean(axis=(1, 2)), "sd": pixels.std(axis=(1, 2))}


def probabilities(batch: dict[str, Any]) -> dict[str, Any]:
    """A dense layer and a softmax: 1000 probabilities a row."""
    weights = (np.random.default_rng(0).standard_normal((512, CLASSES)) / 16).astype(np.float32)
    exponentials = np.exp(make_rows(batch)["features"] @ weights)
    return {"id": batch["id"], "probability": exponentials / exponentials.sum(axis=1, keepdims=True)}


def pipelines(images: ImageSource, classifier: Classifier, folder: Path) -> dict[str, Callable[[], Any]]:
    """By name; each takes one to six seconds on two cores."""

    def actors() -> Any:
        from ray.data import ActorPoolStrategy

        return (
            images.repeat(3)
            .read(override_num_blocks=8)
            .map_batches(
                Classify,
                fn_constructor_args=(classifier,),
                batch_size=32,
                compute=ActorPoolStrategy(size=1),
                num_cpus=1,
            )
        )

    def tasks() -> Any:
        return single_core(images.repeat(3), classifier, workers=2)

    def preprocessing() -> Any:
        return images.repeat(8).read(override_num_blocks=16).map_batches(scale, batch_size=32)

    def write() -> int:
        import pyarrow.parquet as parquet
        import ray.data

        shutil.rmtree(folder, ignore_errors=True)
        rows = ray.data.range(ROWS, override_num_blocks=16).map_batches(probabilities, batch_size=None)
        rows.write_parquet(str(folder))
        return sum(parquet.read_metadata(file).num_rows for file in folder.glob("*.parquet"))

    return {"actors": actors, "tasks": tasks, "preprocessing": preprocessing, "write": write}


def single_core(images: ImageSource, classifier: Classifier, workers: int = 1) -> Any:
    """Read and classify in tasks that are fused, so that each of `workers` uses one core."""
    from ray.data import TaskPoolStrategy

    return images.read(override_num_blocks=12).map_batches(
        classify_in_task,
        fn_kwargs={"classifier": classifier},
        batch_size=16,
        compute=TaskPoolStrategy(size=workers),
        num_cpus=1,
    )

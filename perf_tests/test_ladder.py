"""The ladder: a pipeline with every mistake in it that can run, mended one by one down to the good one.

Each rung is measured beside the one above it, and all compute the same. The order is that of a tutorial:
first what is done for nothing (a model a batch), then how much is done at once (the batch, the blocks), then
what travels (floats, columns) and how it is kept (JSON, Parquet). A different order would give each fix
another share: what a fix brings depends on what is still wrong beside it. The total does not.
"""

import shutil
from functools import partial

import numpy as np
import pytest

FIXES = {
    "everything wrong": {},
    "load the model once": {"load_once": True},
    "32 images a batch": {"batch_size": 32},
    "2 x CPUs blocks": {"blocks": None},
    "uint8 between stages": {"uint8": True},
    "needed columns only": {"slim": True},
    "write Parquet": {"parquet": True},
}
WRONG = {"load_once": False, "batch_size": 2, "blocks": 1, "uint8": False, "slim": False, "parquet": False}


class Classify:
    def __init__(self, classifier, load_once, slim):
        self.classifier = classifier
        self.model = classifier.load() if load_once else None
        self.slim = slim

    def __call__(self, batch):
        model = self.model or self.classifier.load()
        images = batch["small"]
        if images.dtype != np.uint8:
            images = (images * 255).round().astype(np.uint8)
        found = {"path": batch["path"], "prediction": self.classifier.predict(model, images)}
        return found if self.slim else {**found, "small": batch["small"][:, ::16, ::16]}


def shrink(batch, uint8, slim):
    small = batch["image"] if uint8 else batch["image"].astype(np.float32) / 255
    return {"path": batch["path"], "small": small} if slim else {**batch, "small": small}


class Climb:
    """One rung: a pipeline that writes its predictions, and what it wrote."""

    def __init__(self, images, classifier, folder, cpus):
        self.images, self.classifier, self.folder, self.cpus = images, classifier, folder, cpus
        self.inspected = set()

    def run(self, load_once, batch_size, blocks, uint8, slim, parquet):
        from pyarrow.parquet import read_metadata
        from ray.data import ActorPoolStrategy

        dataset = self.images.read(override_num_blocks=blocks or 2 * self.cpus)
        dataset = dataset.map_batches(shrink, fn_kwargs={"uint8": uint8, "slim": slim}, batch_size=None)
        dataset = dataset.map_batches(
            Classify,
            fn_constructor_args=(self.classifier, load_once, slim),
            batch_size=batch_size,
            compute=ActorPoolStrategy(size=1),
            num_cpus=0.5,
            **self.classifier.resources,
        )
        if not parquet:
            dataset.write_json(str(self.folder))
            return sum(file.read_bytes().count(b"\n") for file in self.folder.iterdir())
        dataset.write_parquet(str(self.folder))
        return sum(read_metadata(file).num_rows for file in self.folder.iterdir())

    def inspect(self, rung):
        import pandas

        from pytest_rayperf import Inspection

        outputs = None
        if rung not in self.inspected:
            self.inspected.add(rung)
            parts = [
                pandas.read_json(file, lines=True) if file.suffix == ".json" else pandas.read_parquet(file)
                for file in self.folder.iterdir()
            ]
            rows = pandas.concat(parts)
            outputs = {name: rows[name].to_numpy() for name in ("path", "prediction")}
        shutil.rmtree(self.folder)
        return Inspection(outputs=outputs)


def test_ladder(rayperf, imagenette, classifier, label_tolerance, ray_cluster, tmp_path):
    if ray_cluster.nodes > 1:
        pytest.skip("writes to a local folder: needs a cluster of one node")
    climb = Climb(imagenette, classifier, tmp_path / "written", ray_cluster.num_cpus)
    rungs, settings = {}, WRONG
    for name, mend in FIXES.items():
        settings = {**settings, **mend}
        rungs[name] = partial(climb.run, **settings)
    rayperf.ladder(
        rungs,
        outputs=("path", "prediction"),
        label_tolerance=label_tolerance,
        after_round=climb.inspect,
        expected_rows=imagenette.num_images,
        warm_ups=0,
        rounds=2,
    )

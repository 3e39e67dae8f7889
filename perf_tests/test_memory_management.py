"""Anti-pattern: `materialize()` or `take_all()` of more than memory holds - it is spilled, or in the driver.

A Dataset is lazy and streams: a block is read, used, and gone. `materialize()` keeps every block in the
object store, and what does not fit there is written to disk and read back. `take_all()` brings every row
to the driver, which is one process on one machine, whatever the size of the cluster, and holds all of them in
the object store at once. (The driver's own memory hardly grows: arrays are read in place.)

`materialize` is measured on a cluster of its own, whose object store is smaller than the images.
"""

import numpy as np
import pytest

BATCH_SIZE = 32


def describe(batch):
    thumbnails = batch["image"].reshape(-1, 8, 32, 8, 32, 3).mean(axis=(2, 4))
    return {"path": batch["path"], "prediction": thumbnails.reshape(len(thumbnails), -1).argmax(axis=1)}


def read(images):
    return images.read(override_num_blocks=16)


def materialize_first(images):
    return read(images).materialize().map_batches(describe, batch_size=None)


def stream(images):
    return read(images).map_batches(describe, batch_size=None)


class TakeAll:
    """Describes images in the driver; keeps the predictions of the last round for the comparison."""

    def __init__(self):
        self.outputs = {}

    def __call__(self, images):
        rows = read(images).take_all()
        batches = [rows[start : start + BATCH_SIZE] for start in range(0, len(rows), BATCH_SIZE)]
        parts = [
            describe(
                {"path": np.array([r["path"] for r in batch]), "image": np.stack([r["image"] for r in batch])}
            )
            for batch in batches
        ]
        self.outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return len(rows)


# Before the one with the small store: there `take_all` of more than the store holds was seen to go on without
# an end (Ray 2.60), restoring from disk what it spilled a moment ago.
@pytest.mark.parametrize("variant", ["antipattern", "fix"])
def test_take_all(rayperf, imagenette, variant):
    from pytest_rayperf import Inspection

    take_all = TakeAll()
    rayperf.duel(
        antipattern=lambda: take_all(imagenette),
        fix=lambda: stream(imagenette),
        metric="object_store_written",
        floors={"object_store_written": 10},  # every decoded image against paths and numbers: 154 here
        after_round=lambda variant: (
            Inspection(outputs=take_all.outputs) if variant == "antipattern" else None
        ),
        expected_rows=imagenette.num_images,
        timed=False,
    )


@pytest.mark.parametrize("variant", ["antipattern", "fix"])
def test_materialize(rayperf, images_of_stores, variant):
    images = images_of_stores(1.5)
    rayperf.duel(
        antipattern=lambda: materialize_first(images),
        fix=lambda: stream(images),
        metric="spilled_bytes",
        floors={"spilled_bytes": 2, "object_store_written": 10},  # none spilled in the fix; 547 here
        expected_rows=images.num_images,
        timed=False,
    )

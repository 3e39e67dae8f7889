"""Anti-pattern: columns that nobody needs any more, floats where bytes do, a large object in a closure.

What a stage returns is written to the object store and read from there by the next. A column that is
carried along is written again by each stage, and a float32 tensor is four times the uint8 image that it was
made of: normalize where the model is, not before.

A large object that a function refers to is pickled with it, and Ray puts the pickled function into the
object store: once for each operator, each time that a pipeline is executed. Put there once by `ray.put` and
fetched in `__init__`, it is there for all of them. (The workers' memory is not the harm: an array is read in
place either way.)
"""

import numpy as np
import pytest

from pytest_rayperf.data.features import make_rows

BATCH_SIZE = 32
BLOCKS, ROWS = 8, 400
GALLERY_ROWS = 20_000  # of 512 float32: 41 MB
MEAN, SCALE = 120.0, 58.0
WEIGHTS = np.random.default_rng(0).standard_normal((3 * 16 * 16, 10)).astype(np.float32)


def shrink(images):
    """uint8 (N, 256, 256, 3) -> uint8 (N, 128, 128, 3)."""
    return images[:, ::2, ::2, :]


def normalize(images):
    return (images.astype(np.float32) - MEAN) / SCALE


def predict(inputs):
    """A linear classifier on 16 x 16 means, so that what is compared is the way of the data."""
    pooled = inputs.reshape(-1, 16, 8, 16, 8, 3).mean(axis=(2, 4)).reshape(len(inputs), -1)
    return (pooled @ WEIGHTS).argmax(axis=1)


def shrink_and_carry(batch):
    return {**batch, "small": shrink(batch["image"])}


def shrink_only(batch):
    return {"path": batch["path"], "small": shrink(batch["image"])}


def shrink_and_normalize(batch):
    return {"path": batch["path"], "small": normalize(shrink(batch["image"]))}


class Predict:
    def __call__(self, batch):
        inputs = batch["small"]
        if inputs.dtype == np.uint8:
            inputs = normalize(inputs)
        return {"path": batch["path"], "prediction": predict(inputs)}


def predict_from(prepare, images):
    """Preparing is fused with the read; an actor with other resources, as one with a GPU, is apart."""
    from ray.data import ActorPoolStrategy

    prepared = images.read(override_num_blocks=4).map_batches(prepare, batch_size=None)
    pool = ActorPoolStrategy(size=1)
    return prepared.map_batches(Predict, batch_size=BATCH_SIZE, compute=pool, num_cpus=0.5)


@pytest.mark.parametrize("variant", ["antipattern", "fix"])
@pytest.mark.parametrize("what", ["carried_image", "float_tensor"])
def test_between_stages(rayperf, imagenette, what, variant):
    wrong = {"carried_image": shrink_and_carry, "float_tensor": shrink_and_normalize}[what]
    # Bytes a row between the stages: 256x256x3 + 128x128x3 against 128x128x3, exactly 5; float32, exactly 4.
    floor = {"carried_image": 4.5, "float_tensor": 3.6}[what]
    rayperf.duel(
        antipattern=lambda: predict_from(wrong, imagenette),
        fix=lambda: predict_from(shrink_only, imagenette),
        metric="object_store_written",
        floors={"object_store_written": floor},
        expected_rows=imagenette.num_images,
        timed=False,
    )


def nearest(gallery, features):
    """The row of the gallery with the largest inner product, for each row of features."""
    return (features @ gallery.T).argmax(axis=1)


def classify_rows(udf):
    import ray.data
    from ray.data import ActorPoolStrategy

    rows = ray.data.range(ROWS, override_num_blocks=BLOCKS)
    return rows.map_batches(udf, batch_size=None, compute=ActorPoolStrategy(size=2), num_cpus=0.5)


def with_object_in_closure(gallery):
    class Nearest:
        def __call__(self, batch):
            return {"id": batch["id"], "prediction": nearest(gallery, make_rows(batch)["features"])}

    return classify_rows(Nearest)


def with_object_fetched(reference):
    import ray

    class Nearest:
        def __init__(self):
            self.gallery = ray.get(reference)

        def __call__(self, batch):
            return {"id": batch["id"], "prediction": nearest(self.gallery, make_rows(batch)["features"])}

    return classify_rows(Nearest)


@pytest.mark.parametrize("variant", ["antipattern", "fix"])
def test_closure(rayperf, variant):
    import ray

    gallery = np.random.default_rng(1).standard_normal((GALLERY_ROWS, 512)).astype(np.float32)
    reference = ray.put(gallery)
    rayperf.duel(
        antipattern=lambda: with_object_in_closure(gallery),
        fix=lambda: with_object_fetched(reference),
        metric="object_store_written",
        floors={"object_store_written": 10},  # 41 MB and the predictions, against the predictions: 755 here
        expected_rows=ROWS,
        timed=False,
    )

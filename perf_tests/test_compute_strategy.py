"""Anti-pattern: a stateful model in tasks, or a stateless function in actors - the wrong one of the two.

A task remembers nothing: a function that needs a model loads it each time it is called, at the best once a
block (`batch_size=None`). An actor keeps it (`compute=ActorPoolStrategy(...)` and a callable class).

The other way round, a pool is a price without a gain: each actor is a new process that has to start, holds
its CPUs as long as the pipeline runs, and does one batch after another. Ray Data fuses the read into a pool
that asks for the same resources and takes whole blocks (`batch_size=None`), and then a pool of one reads by
itself. A plain function runs as tasks on whatever CPU is free.
"""

import pytest

BLOCKS = 8


class ClassifyInActor:
    def __init__(self, classifier):
        self.classifier = classifier
        self.model = classifier.load()

    def __call__(self, batch):
        return {"path": batch["path"], "prediction": self.classifier.predict(self.model, batch["image"])}


def classify_in_task(batch, classifier):
    model = classifier.load()
    return {"path": batch["path"], "prediction": classifier.predict(model, batch["image"])}


def brightness(batch):
    return {"path": batch["path"], "prediction": batch["image"].max(axis=(1, 2, 3))}


class BrightnessInActor:
    def __call__(self, batch):
        return brightness(batch)


def in_tasks(images, function, batch_size=None, **arguments):
    return images.read(override_num_blocks=BLOCKS).map_batches(function, batch_size=batch_size, **arguments)


def in_actors(images, udf, batch_size=None, **arguments):
    from ray.data import ActorPoolStrategy

    blocks = images.read(override_num_blocks=BLOCKS)
    pool = ActorPoolStrategy(size=1)
    return blocks.map_batches(udf, batch_size=batch_size, compute=pool, num_cpus=1, **arguments)


@pytest.mark.parametrize("variant", ["antipattern", "fix"])
def test_model_in_tasks(rayperf, imagenette, classifier, label_tolerance, variant):
    gpu = dict(classifier.resources)
    if gpu:  # Ray Data wants to know how much goes to a GPU at once: a block again
        gpu["batch_size"] = imagenette.num_images // BLOCKS
    duel = rayperf.duel(
        antipattern=lambda: in_tasks(
            imagenette, classify_in_task, fn_kwargs={"classifier": classifier}, **gpu
        ),
        fix=lambda: in_actors(imagenette, ClassifyInActor, fn_constructor_args=(classifier,), **gpu),
        metric="model_loads",
        floors={"model_loads": BLOCKS},  # exactly one a block against one
        label_tolerance=label_tolerance,
        expected_rows=imagenette.num_images,
        timed=False,
    )
    assert duel.fix.counters["model_loads"] == 1


@pytest.mark.parametrize("variant", ["antipattern", "fix"])
def test_function_in_actors(rayperf, imagenette, variant):
    rayperf.duel(
        antipattern=lambda: in_actors(imagenette, BrightnessInActor),
        fix=lambda: in_tasks(imagenette, brightness),
        metric="throughput",
        floors={"throughput": 1.1},  # 1.6x to 2.4x on 2 cores: a process starts beside a second of work
        expected_rows=imagenette.num_images,
        rounds=2,
    )

"""Anti-pattern: actors that claim every CPU, or more threads than cores - a standstill, or a crowd.

`starved_read`: an actor of the pool holds its CPUs for as long as it lives. A pool that claims all of them
leaves none to the tasks that read, so the actors wait for images that nobody decodes. Nothing fails; Ray
Data gives up after `execution_no_progress_timeout_s`, by default 30 minutes.

`crowded_cores`: Ray sets OMP_NUM_THREADS to the actor's `num_cpus`, so that actors and cores come out even.
`torch.set_num_threads(os.cpu_count())` in each of them undoes that: their threads wait for one another at
the end of every layer, and they wait by spinning.

`hidden_gpu`: without `num_gpus` Ray hides the GPUs from the actor, and the model runs on the CPU.
"""

import os

import pytest

BATCH_SIZE = 32
NO_PROGRESS_S = 8


class Classify:
    def __init__(self, classifier):
        self.classifier = classifier
        self.model = classifier.load()

    def __call__(self, batch):
        return {"path": batch["path"], "prediction": self.classifier.predict(self.model, batch["image"])}


class ClassifyOnAllCores(Classify):
    def __init__(self, classifier):
        import torch

        torch.set_num_threads(os.cpu_count())
        super().__init__(classifier)


class ClassifyOnDevice(Classify):
    def __init__(self, classifier):
        import torch

        super().__init__(classifier)
        self.model.to("cuda" if torch.cuda.is_available() else "cpu")


def classify_with(udf, pool_size, images, classifier, **resources):
    from ray.data import ActorPoolStrategy

    return images.read(override_num_blocks=4).map_batches(
        udf,
        fn_constructor_args=(classifier,),
        batch_size=BATCH_SIZE,
        compute=ActorPoolStrategy(size=pool_size),
        **resources,
    )


def giving_up_early(dataset):
    dataset.context.execution_no_progress_timeout_s = NO_PROGRESS_S
    return dataset


@pytest.mark.parametrize("variant", ["antipattern", "fix"])
def test_starved_read(rayperf, imagenette, classifier, ray_cluster, variant):
    if ray_cluster.num_cpus < 2:
        pytest.skip("needs 2 CPUs: with one, no pool leaves any to reading")
    if variant == "antipattern":
        from ray.data import DataContext, exceptions

        if not hasattr(DataContext.get_current(), "execution_no_progress_timeout_s"):
            pytest.skip("this Ray never gives up on a standstill: the pipeline would hang")
        rayperf.raises(
            lambda: giving_up_early(
                classify_with(Classify, ray_cluster.num_cpus, imagenette, classifier, num_cpus=1)
            ),
            exceptions.ExecutionTimeoutError,
            match="made no progress",
        )
    else:
        rayperf.is_silent(
            lambda: classify_with(Classify, ray_cluster.num_cpus - 1, imagenette, classifier, num_cpus=1),
            expected_rows=imagenette.num_images,
        )


@pytest.mark.parametrize("variant", ["antipattern", "fix"])
def test_crowded_cores(rayperf, imagenette, classifier, ray_cluster, variant):
    if ray_cluster.num_cpus < 2:
        pytest.skip("needs 2 CPUs: on one core there is one thread either way")
    # An actor a core, each claiming half of one, so that the rest is left to reading.
    rayperf.duel(
        antipattern=lambda: classify_with(
            ClassifyOnAllCores, ray_cluster.num_cpus, imagenette, classifier, num_cpus=0.5
        ),
        fix=lambda: classify_with(Classify, ray_cluster.num_cpus, imagenette, classifier, num_cpus=0.5),
        metric="throughput",
        expected_rows=imagenette.num_images,
        warm_ups=0,
    )


@pytest.mark.parametrize("variant", ["antipattern", "fix"])
def test_hidden_gpu(rayperf, imagenette, classifier, ray_cluster, variant):
    if ray_cluster.num_gpus < 1:
        pytest.skip("needs a GPU: without one there is nothing to hide")
    rayperf.duel(
        antipattern=lambda: classify_with(ClassifyOnDevice, 1, imagenette, classifier),
        fix=lambda: classify_with(ClassifyOnDevice, 1, imagenette, classifier, num_gpus=1),
        metric="throughput",
        floors={"throughput": 1.5},
        expected_rows=imagenette.num_images,
    )

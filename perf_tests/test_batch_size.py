"""Anti-pattern: one image a batch, or all of them in one - per-call overhead, or no pipelining at all.

Each call of the function costs the same some hundred microseconds (slicing the block, building the output,
PyTorch's dispatch of every layer), whether it gets one image or 32. At the other end, `map_batches` waits
until a whole batch is there: with all rows in one batch inference begins when the last image is decoded,
nothing overlaps, and the batch and its activations are in memory at once.

On a CPU a large convolutional net gains next to nothing from batching, for one image fills the cores; a
small one shows the per-call overhead. On a GPU a batch of one leaves the card idle.
"""

import pytest

BATCH_SIZE = 32


class Classify:
    def __init__(self, classifier):
        self.classifier = classifier
        self.model = classifier.load()

    def __call__(self, batch):
        return {"path": batch["path"], "prediction": self.classifier.predict(self.model, batch["image"])}


def classify_in_batches(batch_size, images, classifier):
    from ray.data import ActorPoolStrategy

    return images.read(override_num_blocks=4).map_batches(
        Classify,
        fn_constructor_args=(classifier,),
        batch_size=batch_size,
        compute=ActorPoolStrategy(size=1),
        num_cpus=1,
    )


@pytest.mark.parametrize("variant", ["antipattern", "fix"])
@pytest.mark.parametrize("size", ["one_image", "whole_dataset"])
def test_batch_size(rayperf, imagenette, classifier, size, variant):
    wrong = {"one_image": 1, "whole_dataset": imagenette.num_images}[size]
    rayperf.duel(
        antipattern=lambda: classify_in_batches(wrong, imagenette, classifier),
        fix=lambda: classify_in_batches(BATCH_SIZE, imagenette, classifier),
        metric={"one_image": "cpu_seconds_per_row", "whole_dataset": "peak_worker_memory"}[size],
        expected_rows=imagenette.num_images,
    )

"""Anti-pattern: one block for all, or a block an image - no parallelism, or a task's overhead for each row.

A block is what one task reads and hands on. With `override_num_blocks=1` one task decodes every image while
the other CPUs wait; with as many blocks as images each image pays for a task: scheduling it, sending its
result, keeping the books. Ray's own choice is sensible (`DataContext.read_op_min_num_blocks` is 200, less
where the files are few and small); setting it is for those who know better. A good start is 2 x CPUs, so
that a task that takes longer does not leave the others idle at the end.
"""

import pytest

# A block an image: tasks exactly images / blocks, 48 here and never under 8. One block: 0.9x to 1.0x rows/s
# on 2 cores that are hyperthreads of one, where nothing is gained by doing two things at once. On real cores
# expect as many times as there are; the floor holds only that more blocks do no harm.
FLOORS = {"one_block": {"throughput": 0.7}, "block_an_image": {"tasks": 4}}


def describe(batch):
    """A cheap function: how blocks are cut shows where the work a row is small."""
    thumbnails = batch["image"].reshape(-1, 8, 32, 8, 32, 3).mean(axis=(2, 4))
    return {"path": batch["path"], "prediction": thumbnails.reshape(len(thumbnails), -1).argmax(axis=1)}


def describe_in_blocks(blocks, images):
    return images.read(override_num_blocks=blocks).map_batches(describe, batch_size=None)


@pytest.mark.parametrize("variant", ["antipattern", "fix"])
@pytest.mark.parametrize("blocks", ["one_block", "block_an_image"])
def test_block_size(rayperf, imagenette, ray_cluster, blocks, variant):
    wrong = {"one_block": 1, "block_an_image": imagenette.num_images}[blocks]
    rayperf.duel(
        antipattern=lambda: describe_in_blocks(wrong, imagenette),
        fix=lambda: describe_in_blocks(min(2 * ray_cluster.num_cpus, imagenette.num_images // 8), imagenette),
        metric={"one_block": "throughput", "block_an_image": "tasks"}[blocks],
        floors=FLOORS[blocks],
        expected_rows=imagenette.num_images,
        timed=blocks == "one_block",
    )

"""Anti-pattern: tensors written as JSON, or in hundreds of small files - larger, slower, and other types.

JSON spells each float32 in up to 20 characters and forgets that it was one: what is read back is a list of
float64. CSV has no cell for a tensor, and Ray Data refuses. Parquet keeps the bytes and the type.

A write makes at least one file a block. Many blocks make many small files, each opened, written, closed and
listed by whoever reads them; `min_rows_per_file` joins blocks before they are written.
"""

import shutil

import numpy as np
import pytest

from pytest_rayperf.data.features import make_rows

ROWS, CLASSES, BLOCKS, MANY_BLOCKS = 1000, 1000, 8, 200
WEIGHTS = (np.random.default_rng(0).standard_normal((512, CLASSES)) / 16).astype(np.float32)


def classify(batch):
    """A dense layer and a softmax: 1000 probabilities a row, as a classifier of ImageNet gives."""
    exponentials = np.exp(make_rows(batch)["features"] @ WEIGHTS)
    return {"id": batch["id"], "probability": exponentials / exponentials.sum(axis=1, keepdims=True)}


def probabilities(blocks):
    import ray.data

    return ray.data.range(ROWS, override_num_blocks=blocks).map_batches(classify, batch_size=None)


def as_json(dataset, folder):
    dataset.write_json(str(folder))
    return sum(file.read_bytes().count(b"\n") for file in folder.glob("*.json"))


def as_parquet(dataset, folder, **options):
    import pyarrow.parquet as parquet

    dataset.write_parquet(str(folder), **options)
    return sum(parquet.read_metadata(file).num_rows for file in folder.glob("*.parquet"))


class Written:
    """Reads back and removes what a round wrote."""

    def __init__(self, folder):
        self.folder = folder
        self.dtypes = {}

    def inspect(self, variant):
        from pytest_rayperf import Inspection

        outputs = self.read_back() if variant not in self.dtypes else None
        if outputs is not None:
            self.dtypes[variant] = outputs["probability"].dtype
        shutil.rmtree(self.folder)
        return Inspection(outputs=outputs)

    def read_back(self):
        if any(file.suffix == ".json" for file in self.folder.iterdir()):
            return self.read_json()
        import pyarrow.parquet as parquet

        table = parquet.read_table(self.folder)
        tensors = table.column("probability").combine_chunks()  # Ray's extension type, over lists of float32
        values = tensors.storage.flatten().to_numpy()
        return {"id": table.column("id").to_numpy(), "probability": values.reshape(-1, CLASSES)}

    def read_json(self):
        import ray.data

        rows = ray.data.read_json(str(self.folder)).take_all()
        return {
            "id": np.array([row["id"] for row in rows]),
            "probability": np.stack([np.asarray(row["probability"]) for row in rows]),
        }


@pytest.fixture
def written(tmp_path, ray_cluster):
    if ray_cluster.nodes > 1:
        pytest.skip("writes to a local folder: needs a cluster of one node")
    return Written(tmp_path / "written")


@pytest.mark.parametrize("variant", ["antipattern", "fix"])
def test_json(rayperf, written, variant):
    rayperf.duel(
        antipattern=lambda: as_json(probabilities(BLOCKS), written.folder),
        fix=lambda: as_parquet(probabilities(BLOCKS), written.folder),
        metric="bytes_written",
        floors={"bytes_written": 1.7},  # 2.1, the same in every round: 10 characters a float for 4.6 bytes
        after_round=written.inspect,
        expected_rows=ROWS,
    )
    if written.dtypes:  # of the item that measured the duel for both
        assert written.dtypes == {"antipattern": np.float64, "fix": np.float32}


@pytest.mark.parametrize("variant", ["antipattern", "fix"])
def test_csv(rayperf, written, variant):
    if variant == "antipattern":
        rayperf.raises(
            lambda: probabilities(BLOCKS).write_csv(str(written.folder)),
            ValueError,  # pyarrow's ArrowInvalid is one
            match="Unsupported Type:extension<.*tensor",
        )
    else:
        rayperf.is_silent(lambda: as_parquet(probabilities(BLOCKS), written.folder), expected_rows=ROWS)


@pytest.mark.parametrize("variant", ["antipattern", "fix"])
def test_small_files(rayperf, written, variant):
    rayperf.duel(
        antipattern=lambda: as_parquet(probabilities(MANY_BLOCKS), written.folder),
        fix=lambda: as_parquet(probabilities(MANY_BLOCKS), written.folder, min_rows_per_file=ROWS // 4),
        metric="files_written",
        floors={"files_written": MANY_BLOCKS / 5},
        after_round=written.inspect,
        expected_rows=ROWS,
        timed=False,
    )

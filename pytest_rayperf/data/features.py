"""Synthetic rows for cheap models, made in parallel by Ray Data itself; nothing of them is on disk.

A row is a function of (seed, id, column) alone: a counter-based hash, not a generator with a state. So a
row is the same whatever block or batch it is made in, and two reads with other block sizes are equal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pytest_rayperf.errors import ConfigurationError

if TYPE_CHECKING:
    from ray.data import Dataset

NUM_FEATURES = 512
IMAGE_SHAPE = (224, 224, 3)
MIN_WORDS, MAX_WORDS = 50, 500

_RECIPE = "features-v1"  # part of the fingerprint: change it with anything that changes a row
_IMAGE_ROWS = 64  # rows of a batch with images: 10 MB, where Ray's 1024 would be 154 MB
_ROWS = 1024

_START = np.datetime64("2024-01-01T00:00:00", "us")
_SOURCES = ("camera", "scanner", "upload", "crawler")
_VOCABULARY = """
about after again air all along also always animal another answer around ask away back because been
before began below between book both boy call came can car carry change children city close come could
country cut day did different does don't door down each earth eat end enough even every example eye
family far father feet few find first follow food form found four from get girl give good great group
grow hand hard head hear help here high home house idea important into keep kind know land large last
later learn leave left letter life light line list little live long look made make many may mean men
might mile more most mother mountain move much must name near need never new next night number off often
old once only open other over own page paper part people picture place plant play point read
"""
_WORDS = np.array(_VOCABULARY.split(), dtype=object)

_U64 = npt.NDArray[np.uint64]
_GAMMA = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class FeatureSource:
    """`num_rows` synthetic rows, with ids 0 to `num_rows` - 1; the same ones for the same `seed`.

    Columns of every row:

    - `id`: int64;
    - `timestamp`: datetime64[us], later with the id, about a second apart;
    - `features`: float32 of shape (512,), uniform in [-1, 1);
    - `metadata`: a string, a small JSON object;
    - `image` (with `images`): uint8 of shape (224, 224, 3), noise;
    - `text` (with `text`): a string of 50 to 500 words.

    Raises:
        ConfigurationError: `num_rows` is below 1.
    """

    num_rows: int
    images: bool = False
    text: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_rows < 1:
            raise ConfigurationError(f"FeatureSource(num_rows={self.num_rows}): must be at least 1")

    @property
    def name(self) -> str:
        """What reports call it, such as `features+text`."""
        return "features" + "+images" * self.images + "+text" * self.text

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that are equal exactly where all rows are."""
        recipe = f"{_RECIPE} rows={self.num_rows} images={self.images} text={self.text} seed={self.seed}"
        return hashlib.sha256(recipe.encode()).hexdigest()[:16]

    @property
    def num_bytes(self) -> None:
        """None: nothing is on disk."""
        return None

    def with_columns(self, *, images: bool = False, text: bool = False) -> FeatureSource:
        """The same rows with these optional columns and no others."""
        return replace(self, images=images, text=text)

    def read(self, **range_kwargs: Any) -> Dataset:
        """A lazy `ray.data.Dataset` of the rows, columns as above.

        Args:
            range_kwargs: passed to `ray.data.range`, such as `override_num_blocks`.
        """
        import ray.data

        return ray.data.range(self.num_rows, **range_kwargs).map_batches(
            make_rows,
            batch_size=_IMAGE_ROWS if self.images else _ROWS,
            batch_format="numpy",
            fn_kwargs={"images": self.images, "text": self.text, "seed": self.seed},
        )


def make_rows(
    batch: Mapping[str, npt.NDArray[Any]], *, images: bool = False, text: bool = False, seed: int = 0
) -> dict[str, npt.NDArray[Any]]:
    """The rows of the ids in `batch["id"]` (integers, shape (N,)): `FeatureSource`'s columns, N long each."""
    ids = np.asarray(batch["id"]).astype(np.int64)
    columns: dict[str, npt.NDArray[Any]] = {
        "id": ids,
        "timestamp": _timestamps(ids, seed),
        "features": _features(ids, seed),
        "metadata": _metadata(ids, seed),
    }
    if images:
        columns["image"] = _images(ids, seed)
    if text:
        columns["text"] = _texts(ids, seed)
    return columns


def _timestamps(ids: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.datetime64]:
    jitter = (_hash(ids, seed, "timestamp", 1)[:, 0] % np.uint64(1_000_000)).astype(np.int64)
    microseconds = (ids * 1_000_000 + jitter).astype("timedelta64[us]")
    return np.asarray(_START + microseconds)


def _features(ids: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.float32]:
    # 24 bits are what a float32 holds exactly, so that the largest value stays below 1.
    bits = _hash(ids, seed, "features", NUM_FEATURES) >> np.uint64(40)
    return np.asarray(bits.astype(np.float32) * np.float32(2**-23) - 1, dtype=np.float32)


def _metadata(ids: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.object_]:
    numbers = _hash(ids, seed, "metadata", 3)
    rows = np.empty(len(ids), dtype=object)
    for row, (source, width, quality) in enumerate(numbers.tolist()):
        rows[row] = json.dumps(
            {
                "source": _SOURCES[source % len(_SOURCES)],
                "width": 320 + width % 1600,
                "quality": quality % 100,
            }
        )
    return rows


def _images(ids: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.uint8]:
    size = int(np.prod(IMAGE_SHAPE))
    words = _hash(ids, seed, "image", size // 8)
    # "<u8" gives the same bytes on any machine; on most it copies nothing.
    return words.astype("<u8", copy=False).view(np.uint8).reshape(len(ids), *IMAGE_SHAPE)


def _texts(ids: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.object_]:
    span = np.uint64(MAX_WORDS - MIN_WORDS + 1)
    lengths = MIN_WORDS + (_hash(ids, seed, "text length", 1)[:, 0] % span).astype(np.int64)
    choices = (_hash(ids, seed, "text", MAX_WORDS) % np.uint64(len(_WORDS))).astype(np.int64)
    rows = np.empty(len(ids), dtype=object)
    for row, length in enumerate(lengths.tolist()):
        rows[row] = " ".join(_WORDS[choices[row, :length]])
    return rows


def _hash(ids: npt.NDArray[np.int64], seed: int, column: str, size: int) -> _U64:
    """Uniform uint64 of shape (N, `size`): element (i, j) depends on `ids[i]`, `seed`, `column`, j only."""
    key = hashlib.blake2b(f"{seed} {column}".encode(), digest_size=8).digest()
    rows = _mix(ids.astype(np.uint64) * _GAMMA + np.frombuffer(key, dtype="<u8"))
    return _mix(rows[:, None] + np.arange(1, size + 1, dtype=np.uint64) * _GAMMA)


def _mix(values: _U64) -> _U64:
    """The output function of splitmix64 (Steele, Lea and Flood, 2014): spreads each bit over all 64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))

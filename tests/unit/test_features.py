"""The synthetic feature rows, made without Ray: what a row is must not depend on the batch it is made in."""

from __future__ import annotations

import json
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_rayperf.data.features import FeatureSource, make_rows
from pytest_rayperf.errors import ConfigurationError


def rows_of(ids, **options):
    return make_rows({"id": np.asarray(ids, dtype=np.int64)}, **options)


@settings(max_examples=30, deadline=None)
@given(
    ids=st.lists(st.integers(0, 2**40), min_size=1, max_size=8),
    data=st.data(),
    seed=st.integers(-(2**63), 2**63),
    images=st.booleans(),
    text=st.booleans(),
)
def test_a_row_depends_on_seed_and_id_only(ids, data, seed, images, text):
    options = {"images": images, "text": text, "seed": seed}
    cut = data.draw(st.integers(0, len(ids)))
    whole = rows_of(ids, **options)
    parts = [rows_of(part, **options) for part in (ids[:cut], ids[cut:])]
    for name, column in whole.items():
        joined = np.concatenate([part[name] for part in parts])
        assert joined.dtype == column.dtype
        np.testing.assert_array_equal(joined, column)


def test_columns_have_the_documented_types_and_shapes():
    rows = rows_of(range(100), images=True, text=True)
    assert list(rows) == ["id", "timestamp", "features", "metadata", "image", "text"]
    assert {name: (column.dtype.str[1:], column.shape) for name, column in rows.items()} == {
        "id": ("i8", (100,)),
        "timestamp": ("M8[us]", (100,)),
        "features": ("f4", (100, 512)),
        "metadata": ("O", (100,)),
        "image": ("u1", (100, 224, 224, 3)),
        "text": ("O", (100,)),
    }
    assert all(type(value) is str for name in ("metadata", "text") for value in rows[name])
    assert all({"source", "width", "quality"} == json.loads(value).keys() for value in rows["metadata"])
    assert (np.diff(rows["timestamp"]) > np.timedelta64(0, "us")).all()


def test_an_empty_batch_keeps_its_columns():
    rows = rows_of([], images=True, text=True)
    assert rows["features"].shape == (0, 512)
    assert rows["image"].shape == (0, 224, 224, 3)


def test_values_are_spread_as_documented():
    rows = rows_of(range(400), images=True, text=True)
    features = rows["features"]
    assert features.min() >= -1
    assert features.max() < 1
    # 204,800 uniform values: the mean's standard error is 0.0013, the standard deviation's 0.0006.
    assert abs(features.mean()) < 0.01
    assert abs(features.std() - 3**-0.5) < 0.01
    assert len(np.unique(features[:, 0])) > 390
    assert abs(np.corrcoef(features[:-1].ravel(), features[1:].ravel())[0, 1]) < 0.02
    assert np.bincount(rows["image"][:4].ravel(), minlength=256).min() > 0
    lengths = [len(text.split(" ")) for text in rows["text"]]
    assert min(lengths) >= 50
    assert max(lengths) <= 500
    assert len(set(lengths)) > 150


@pytest.mark.parametrize("name", ["timestamp", "features", "metadata", "image", "text"])
def test_another_seed_gives_other_rows(name):
    first, second = (rows_of(range(20), images=True, text=True, seed=seed)[name] for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_optional_columns_change_no_other():
    plain, full = rows_of(range(5)), rows_of(range(5), images=True, text=True)
    assert plain.keys() < full.keys()
    for name, column in plain.items():
        np.testing.assert_array_equal(column, full[name])


def test_rows_stay_the_same_between_releases():
    # Baselines name the fingerprint: rows may change only together with it.
    rows = rows_of([0, 12345], text=True, seed=7)
    assert FeatureSource(100, seed=7).fingerprint == "ce793fd082df82c8"
    assert rows["features"][1, :3].tolist() == [
        0.025934815406799316,
        -0.8531979322433472,
        -0.09261131286621094,
    ]
    assert rows["timestamp"][1] == np.datetime64("2024-01-01T03:25:45.569186", "us")
    assert rows["metadata"][1] == '{"source": "crawler", "width": 1524, "quality": 71}'
    assert rows["text"][1].split()[:4] == ["form", "mile", "father", "men"]


def test_the_fingerprint_tells_sources_apart():
    source = FeatureSource(100)
    others = [
        FeatureSource(101),
        FeatureSource(100, seed=1),
        source.with_columns(images=True),
        source.with_columns(text=True),
        source.with_columns(images=True, text=True),
    ]
    assert len({source.fingerprint, *(other.fingerprint for other in others)}) == 6
    assert source.fingerprint == FeatureSource(100).fingerprint
    assert len(source.fingerprint) == 16


def test_with_columns_replaces_the_optional_columns():
    source = FeatureSource(100, text=True, seed=3)
    assert source.name == "features+text"
    assert source.with_columns(images=True) == FeatureSource(100, images=True, seed=3)
    assert source.with_columns(images=True).name == "features+images"
    assert source.num_bytes is None


def test_workers_can_get_it_by_value():
    source = FeatureSource(100, images=True)
    assert pickle.loads(pickle.dumps(source)) == source
    assert pickle.loads(pickle.dumps(make_rows)) is make_rows


@pytest.mark.parametrize("num_rows", [0, -5])
def test_no_rows_are_refused(num_rows):
    with pytest.raises(ConfigurationError, match=f"num_rows={num_rows}.*at least 1"):
        FeatureSource(num_rows)


def test_read_passes_range_arguments_and_options_on(monkeypatch):
    calls = {}

    class Dataset:
        def map_batches(self, function, **options):
            calls["map_batches"] = (function, options)
            return "dataset"

    def fake_range(rows, **options):
        calls["range"] = (rows, options)
        return Dataset()

    data = SimpleNamespace(range=fake_range)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(data=data))
    monkeypatch.setitem(sys.modules, "ray.data", data)

    assert FeatureSource(10, text=True, seed=4).read(override_num_blocks=3) == "dataset"
    assert calls["range"] == (10, {"override_num_blocks": 3})
    function, options = calls["map_batches"]
    assert function is make_rows
    assert options["fn_kwargs"] == {"images": False, "text": True, "seed": 4}
    assert options["batch_format"] == "numpy"

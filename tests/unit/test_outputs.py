from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from builders import LIGHT
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.outputs import ABSOLUTE, RELATIVE, difference

PATHS = np.array([f"/data/{i:02d}.jpg" for i in range(20)])
GENERATOR = np.random.default_rng(3)
LOGITS = GENERATOR.normal(size=(20, 10)).astype(np.float32)


def objects(*values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def shuffled(columns, seed=0):
    order = np.random.default_rng(seed).permutation(len(next(iter(columns.values()))))
    return {name: values[order] for name, values in columns.items()}


COLUMNS = {
    "texts": np.array(["a", "b", "c", "a"]),
    "object texts": objects("a", "b", "c", "a"),
    "bytes": np.array([b"a", b"b", b"c", b"a"]),
    "object bytes": objects(b"a\x00", b"b", b"c", b"a\x00"),
    "integers": np.array([3, 1, 2, 3]),
    "bytes of images": np.array([3, 1, 2, 255], dtype=np.uint8),
    "booleans": np.array([True, False, True, True]),
    "floats": np.array([0.1, 0.9, -5.0, 1e6]),
    "close floats": np.array([0.001, 0.002, 0.003, 0.004]),
    "half floats": np.array([0.1, 0.9, -5.0, 6e4], dtype=np.float16),
    "nan and infinity": np.array([np.nan, np.inf, -np.inf, 1.0]),
    "times": np.array(["2025-01-01", "2025-01-02", "2024-01-01", "2025-01-01"], dtype="datetime64[s]"),
    "tensors": np.arange(24.0).reshape(4, 2, 3),
    "large half tensors": np.full((4, 1000), 6e4, dtype=np.float16)
    + np.arange(4, dtype=np.float16)[:, None] * 64,
    "tensors with infinities": np.array([[np.inf, -np.inf], [np.nan, 1.0], [0.0, 1.0], [2.0, 1.0]]),
    "probabilities": np.array([[0.2, 0.8], [0.5, 0.5], [0.8, 0.2], [0.21, 0.79]]),
    "image tensors": np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3),
    "huge floats": np.array([1.5e308, -1.5e308, 1e308, 0.0]),
    "ragged": objects(np.ones(2), np.ones(3), np.zeros(2), np.ones(2)),
    "dicts": objects({"a": 1}, {"b": 2}, {"a": 2}, {"a": 1}),
    "lists": objects([1, 2], [1], [], [1, 2]),
    "none": objects(None, 1, "x", None),
}


class TestEqual:
    @pytest.mark.parametrize("kind", ["datetime64[s]", "timedelta64[s]"])
    def test_times_that_are_not_known(self, kind):
        times = np.array([3, 5, 4], dtype=kind)
        times[1] = np.array("NaT", dtype=kind)
        assert difference({"it": times}, {"it": times[::-1]}) is None
        assert "differs in 1 of 3 rows" in difference({"it": times}, {"it": np.array([3, 5, 4], dtype=kind)})

    @pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8])
    def test_integer_tensors_of_another_width(self, dtype):
        wide = {"it": np.arange(24).reshape(4, 2, 3)}
        assert difference(wide, {"it": wide["it"].astype(dtype)}) is None

    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("name", COLUMNS)
    def test_in_another_order(self, name, seed):
        column = {"it": COLUMNS[name]}
        assert difference(column, shuffled(column, seed)) is None

    @pytest.mark.parametrize("name", COLUMNS)
    def test_beside_paths(self, name):
        columns = {"path": PATHS[:4], "it": COLUMNS[name]}
        assert difference(columns, shuffled(columns)) is None

    @pytest.mark.parametrize("seed", range(5))
    def test_floats_within_objects_with_rounding(self, seed):
        """Boxes and scores, of which each image has its own number."""

        def rows(noise):
            generator = np.random.default_rng(7)

            def float_():
                return float(generator.normal()) * (1 + noise * generator.normal())

            boxes = [np.array([[float_() for _ in range(4)] for _ in range(i % 3)]) for i in range(20)]
            lists = [[0.1 * i + 1 + noise] * (i % 3 + 1) for i in range(20)]
            dicts = [{"label": "a" * (i % 2), "score": 0.1 * i + 1 + noise, "none": None} for i in range(20)]
            return {"boxes": objects(*boxes), "lists": objects(*lists), "dicts": objects(*dicts)}

        assert difference(rows(0.0), shuffled(rows(1e-7), seed)) is None
        for name in ("lists", "dicts", "boxes"):
            exact = {name: rows(0.0)[name]}
            assert difference(exact, shuffled({name: rows(1e-7)[name]}, seed)) is None
            assert "(its floats)' differs in " in difference(exact, {name: rows(0.1)[name]})
            assert difference(exact, {name: rows(1e-2)[name]}, tolerance=0.5) is None

    @pytest.mark.parametrize("lengths", [[3] * 6, [0] * 6, [3, 0, 1, 2, 2, 4]])
    def test_floats_within_lists_of_any_lengths(self, lengths):
        generator = np.random.default_rng(1)
        rows = {"o": objects(*[generator.normal(size=n).tolist() for n in lengths])}
        assert difference(rows, shuffled(rows)) is None

    def test_a_long_row_makes_no_others_long(self):
        """An array of texts has room for the longest in each row: 2,000 rows as long as this were 0.8 GB."""
        rows = [[f"{i}"] for i in range(2000)]
        rows[7] = ["x"] * 20_000
        other = [*rows[:7], ["x"] * 19_999 + ["y"], *rows[8:]]
        peak = 0
        tracemalloc.start()
        try:
            text = difference({"o": objects(*rows)}, {"o": objects(*other)})
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert "differs in 1 of 2000 rows" in text
        assert peak < 50e6

    @pytest.mark.parametrize("seed", range(5))
    def test_logits_alone(self, seed):
        columns = {"logits": LOGITS}
        assert difference(columns, shuffled(columns, seed)) is None

    @pytest.mark.parametrize("seed", range(5))
    def test_logits_with_rounding(self, seed):
        noisy = LOGITS * (1 + 1e-6 * np.random.default_rng(seed).normal(size=LOGITS.shape))
        assert difference({"logits": LOGITS}, shuffled({"logits": noisy}, seed)) is None

    def test_with_duplicates(self):
        columns = {"path": np.array(["a", "a", "b"]), "label": np.array([2, 1, 1])}
        assert difference(columns, {k: v[::-1] for k, v in columns.items()}) is None

    def test_columns_in_another_order(self):
        one = {"a": np.array([1]), "b": np.array(["x"])}
        assert difference(one, dict(reversed(one.items()))) is None

    def test_lists_for_arrays(self):
        assert difference({"a": [1, 2]}, {"a": np.array([2, 1])}) is None

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (np.array([1, 2], np.int32), np.array([1, 2], np.int64)),
            (np.array([1.5], np.float32), np.array([1.5], np.float64)),
            (np.array(["a"], "U1"), np.array(["a"], "U9")),
            (np.array(["a"]), objects("a")),
        ],
        ids=["integers", "floats", "texts", "object texts"],
    )
    def test_in_another_width(self, one, other):
        assert difference({"it": one}, {"it": other}) is None

    @pytest.mark.parametrize(
        "empty",
        [
            {},
            {"a": np.array([])},
            {"a": objects()},
            {"a": np.zeros((0, 3))},
            {"a": np.zeros((0, 3, 2), np.uint8), "b": objects()},
        ],
        ids=["no columns", "floats", "objects", "tensors", "both"],
    )
    def test_empty(self, empty):
        assert difference(empty, empty) is None

    def test_tensors_of_nothing(self):
        assert difference({"a": np.zeros((2, 0))}, {"a": np.zeros((2, 0))}) is None

    @given(st.lists(st.tuples(st.text(max_size=3), st.integers(-3, 3)), max_size=12), st.randoms())
    @LIGHT
    def test_any_order(self, rows, random):
        def columns(of):
            return {"path": objects(*(p for p, _ in of)), "label": np.array([n for _, n in of], dtype=int)}

        assert difference(columns(rows), columns(random.sample(rows, len(rows)))) is None

    def test_the_inputs_stay_as_they_are(self):
        one = {"path": PATHS[::-1].copy(), "logits": LOGITS.copy()}
        difference(one, shuffled(one))
        assert (one["path"] == PATHS[::-1]).all()
        assert (one["logits"] == LOGITS).all()


class TestTolerance:
    @pytest.mark.parametrize("value", [1e-3, 1.0, -7.0, 1e6])
    @pytest.mark.parametrize(("part", "equal"), [(0.5, True), (3.0, False)])
    def test_relative(self, value, part, equal):
        other = value * (1 + part * RELATIVE) + (0 if equal else np.sign(value) * ABSOLUTE * 2)
        assert (difference({"p": np.array([value])}, {"p": np.array([other])}) is None) == equal

    @pytest.mark.parametrize(("part", "equal"), [(0.5, True), (2.0, False)])
    def test_absolute_about_nothing(self, part, equal):
        assert (difference({"p": np.array([part * ABSOLUTE])}, {"p": np.array([0.0])}) is None) == equal

    def test_in_tensors(self):
        other = LOGITS.copy()
        other[7, 3] += 0.01
        text = difference({"path": PATHS, "logits": LOGITS}, {"path": PATHS, "logits": other})
        assert "column 'logits' differs in 1 of 20 rows, first of /data/07.jpg" in text

    def test_nan_equals_nan_alone(self):
        assert difference({"p": np.array([np.nan])}, {"p": np.array([0.0])}) is not None

    @pytest.mark.parametrize("change", [1, -1])
    def test_none_for_integers(self, change):
        assert difference({"p": np.array([10**9])}, {"p": np.array([10**9 + change])}) is not None

    @pytest.mark.parametrize(("allowed", "equal"), [(0.0, False), (0.24, False), (0.25, True)])
    def test_a_share_of_the_labels(self, allowed, equal):
        paths = np.array(["a", "b", "c", "d"])
        one, other = ({"path": paths, "label": np.array(labels)} for labels in ([1, 2, 3, 4], [1, 2, 9, 4]))
        text = difference(one, other, label_tolerance=allowed)
        assert text == (
            None
            if equal
            else "column 'label' differs in 1 of 4 rows, first of c: 3 in the anti-pattern, 9 in the fix"
        )

    @pytest.mark.parametrize("values", [[["a", "b"], ["a", "c"]], [[1.0, 2.0], [1.0, 3.0]], [[1, 2], [1]]])
    def test_no_share_of_anything_else(self, values):
        one, other = ({"x": np.array(value)} for value in values)
        assert difference(one, other, label_tolerance=0.9) is not None

    def test_a_float_may_stand_for_an_integer(self):
        assert difference({"p": np.array([1, 2])}, {"p": np.array([2.0, 1.0])}) is None
        assert difference({"p": np.array([1])}, {"p": np.array([1.5])}) is not None


class TestDifferent:
    @pytest.mark.parametrize("row", [0, 7, 19])
    def test_one_prediction_is_named_with_its_path(self, row):
        labels = np.arange(20)
        changed = labels.copy()
        changed[row] = 99
        other = shuffled({"path": PATHS, "label": changed})
        assert difference({"path": PATHS, "label": labels}, other) == (
            f"column 'label' differs in 1 of 20 rows, first of /data/{row:02d}.jpg: "
            f"{row} in the anti-pattern, 99 in the fix"
        )

    @pytest.mark.parametrize("name", COLUMNS)
    def test_one_changed_value(self, name):
        values = COLUMNS[name]
        changed = values.copy()
        changed[0] = values[1]
        columns = {"path": PATHS[:4], "it": values}
        text = difference(columns, shuffled({"path": PATHS[:4], "it": changed}))
        assert text.startswith("column 'it' differs in 1 of 4 rows, first of /data/00.jpg: ")

    @pytest.mark.parametrize("second", ["dog", "eel"])
    @pytest.mark.parametrize("name", ["a_label", "z_label"])
    def test_a_changed_text_does_not_shift_the_other_rows(self, name, second):
        one = {"path": PATHS[:3], name: np.array(["cat", "dog", "eel"])}
        other = {"path": PATHS[:3], name: np.array(["zebra", "dog", second])}
        assert difference(one, other) == (
            f"column {name!r} differs in {1 + (second == 'dog')} of 3 rows, first of /data/00.jpg: "
            "'cat' in the anti-pattern, 'zebra' in the fix"
        )

    def test_a_path_that_is_lost(self):
        other = PATHS.copy()
        other[3] = other[4]
        text = difference({"path": PATHS, "n": np.ones(20)}, {"path": other, "n": np.ones(20)})
        assert text.startswith("column 'path' differs in 1 of 20 rows")
        assert "/data/03.jpg" in text

    @pytest.mark.parametrize(("n", "m"), [(3, 2), (2, 3), (0, 1), (20, 19)])
    def test_rows(self, n, m):
        one, other = {"path": PATHS[:n]}, {"path": PATHS[:m]}
        assert difference(one, other) == f"{n} rows in the anti-pattern, {m} in the fix"

    def test_a_missing_column(self):
        both, one = {"a": np.ones(1), "b": np.ones(1)}, {"a": np.ones(1)}
        assert difference(both, one).startswith("column 'b' is missing in the fix")
        assert difference(one, both).startswith("column 'b' is missing in the anti-pattern")

    def test_no_columns_at_all(self):
        assert "missing" in difference({}, {"a": np.ones(1)})

    def test_image_tensors_of_another_shape_with_the_same_bytes(self):
        image = np.arange(24, dtype=np.uint8)
        one, other = {"it": image.reshape(1, 2, 3, 4)}, {"it": image.reshape(1, 3, 2, 4)}
        assert difference(one, other) is not None

    def test_shape(self):
        text = difference({"p": np.ones((4, 3))}, {"p": np.ones((4, 5))})
        assert text == "column 'p' has shape (3,) a row in the anti-pattern, (5,) in the fix"

    @pytest.mark.parametrize("dtype", [np.float32, np.int64])
    def test_shape_of_as_many_values(self, dtype):
        """Once flattened they are the same."""
        one, other = np.ones((4, 4), dtype), np.ones((4, 2, 2), dtype)
        assert "has shape (4,) a row" in difference({"p": one}, {"p": other})
        assert difference({"p": np.ones((0, 4), dtype)}, {"p": np.ones((0, 2, 2), dtype)}) is None

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ([1.0], [1.1]),
            ([1.0], [1.0, 1.0]),
            ([1.0], (1.0,)),
            ([1.0], [1]),
            ({"k": 1.0}, {"k": 1.1}),
            ({"k": 1.0}, {"l": 1.0}),
            ({"k": [1.0, {"l": 2.0}]}, {"k": [1.0, {"l": 2.5}]}),
            (np.ones(2), np.ones((2, 1))),
            (np.ones(2), np.full(2, 1.1)),
            (np.ones(2, np.int64), np.full(2, 2)),
            (None, 0.0),
            (1.0, 1.1),
        ],
    )
    def test_within_objects(self, one, other):
        many = [[float(i)] * (i % 3) for i in range(5)]
        text = difference({"o": objects(*many, one)}, {"o": objects(*many, other)})
        assert text is not None
        assert text.startswith("column 'o")

    @pytest.mark.parametrize("other", [np.array([1, 2]), np.array([1.0, 2.0])])
    def test_texts_for_numbers(self, other):
        assert "column 'p' is <U1 in the anti-pattern" in difference(
            {"p": np.array(["1", "2"])}, {"p": other}
        )

    def test_texts_for_bytes(self):
        assert difference({"p": np.array(["a"])}, {"p": np.array([b"a"])}) is not None

    def test_a_longer_ragged_row(self):
        one, other = objects(np.ones(2), np.ones(3)), objects(np.ones(2), np.ones(4))
        assert difference({"p": one}, {"p": other}) is not None

    def test_a_long_value_is_not_told_whole(self):
        text = difference({"p": np.array(["x" * 1000])}, {"p": np.array(["y" * 1000])})
        assert len(text) < 300

    def test_swapped_labels(self):
        one = {"path": PATHS, "label": np.arange(20)}
        other = {"path": PATHS, "label": np.arange(20)[::-1]}
        assert "differs in 20 of 20 rows" in difference(one, other)

    @given(st.lists(st.integers(-5, 5), min_size=1, max_size=8), st.data())
    @LIGHT
    def test_any_changed_label_is_seen(self, labels, data):
        row = data.draw(st.integers(0, len(labels) - 1))
        changed = np.array(labels)
        changed[row] += data.draw(st.sampled_from([-1, 1, 100]))
        paths = PATHS[: len(labels)]
        one, other = {"path": paths, "label": np.array(labels)}, shuffled({"path": paths, "label": changed})
        assert str(paths[row]) in difference(one, other)


ONE = {"path": PATHS[:2], "label": np.array([1, 2]), "seconds": np.array([0.1, 0.2])}
OTHER = {"path": PATHS[:2], "label": np.array([1, 2]), "seconds": np.array([0.7, 0.9])}


class TestColumns:
    def test_only_the_named_ones(self):
        assert difference(ONE, OTHER, ("path", "label")) is None
        assert "'seconds'" in difference(ONE, OTHER)

    def test_others_may_be_missing(self):
        assert difference(ONE, {k: OTHER[k] for k in ("path", "label")}, ("label", "path")) is None

    def test_a_named_one_that_is_missing(self):
        text = difference(ONE, OTHER, ("path", "score"))
        assert text == "column 'score' is missing in the anti-pattern (columns to compare: outputs=(...))"

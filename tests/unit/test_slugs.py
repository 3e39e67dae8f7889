from __future__ import annotations

import re

import pytest
from builders import LIGHT
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pytest_rayperf.slugs import slug_of

HOSTILE = [
    "",
    "test_a.py",
    "test_a.py::test_a",
    "test_a.py::a",
    "a.py::test_a",
    "a.py::a",
    "a.txt::test_a",
    "a::test_a",
    "test_a.py::test_test_a",
    "test_test_a.py::test_a",
    "test_a.py::test_a[]",
    "test_a.py::test_a[b]",
    "test_a.py::test_a[b]]",
    "test_a.py::test_a[[b]",
    "test_a.py::test_a[b][c]",
    "test_a.py::test_a[b-c]",
    "test_a.py::test_a[b.c]",
    "test_a.py::test_a[b/c]",
    "test_a.py::test_a[b::c]",
    "test_a.py::test_a[b_c]",
    "test_a.py::test_a[b c]",
    "test_a.py::test_a[b\nc]",
    "test_a.py::test_a[../../etc/passwd]",
    "test_a.py::test_a[é]",
    "test_a.py::test_a[\ud800]",
    "test_a.py::test_a[\x00]",
    "test_a.py::test_b",
    "test_a.py::test_a.b",
    "test_a.b.py::test_a",
    "test_a-b.py::test_a",
    "a/test_b.py::test_c",
    "test_a.py::b::test_c",
    "test_a.py::Testb::test_c",
    "a/Testb.py::test_c",
    "a/test_Testb.py::test_c",
    "a/test_b.py::test_b",
    "perf_tests/test_a.py::test_a",
    "perf_tests/test_a.py::test_a[b]",
    "perf_tests/test_a.py::test_b",
    "perf_tests/test_a.py::test_a[]",
    "perf_tests/a/test_b.py::test_b",
    "perf_tests/perf_tests/test_a.py::test_a",
    "a/perf_tests/test_a.py::test_a",
    "perf_tests/test_.py::test_",
    "perf_tests/test_.py::test_[a]",
    "./test_a.py::test_a",
    "../test_a.py::test_a",
    ".hidden/test_a.py::test_b",
    "/abs/test_a.py::test_b",
    "a b/test_c.py::test_d",
    "a_b/test_c.py::test_d",
    "a.b/test_c.py::test_d",
    "a/b/test_c.py::test_d",
    "x" * 300 + ".py::test_a",
    "x" * 301 + ".py::test_a",
    "test_a.py::test_a[" + "y" * 300 + "]",
    "test_a.py::test_a[" + "y" * 299 + "z]",
]

word = st.sampled_from(
    ["a", "b", "test_a", "Test", "TestA", "perf_tests", "test_", "", ".", "a.b", "a-b", "_"]
)
node_ids = st.one_of(
    st.text(max_size=30),
    st.text("ab./:[]-_tesT", max_size=30),
    st.builds(
        lambda folders, file, suffix, names, params: (
            "/".join([*folders, file]) + suffix + "".join(f"::{n}" for n in names) + params
        ),
        st.lists(word, max_size=2),
        word,
        st.sampled_from([".py", "", ".txt"]),
        st.lists(word, max_size=2),
        st.sampled_from(["", "[]", "[a]", "[a-b]", "[a]]", "[test_a]"]),
    ),
)


@pytest.mark.parametrize(
    ("node_id", "slug"),
    [
        ("perf_tests/test_model_loading.py::test_model_loading[fix]", "model_loading-fix"),
        ("ml/test_pipe.py::TestBig::test_all[a-1]", "ml.pipe.TestBig.all-a-1"),
        ("perf_tests/test_model_loading.py::test_model_loading", "model_loading"),
        ("test_it.py::test_pipe", "it.pipe"),
        ("test_it.py::test_pipe[2-fix]", "it.pipe-2-fix"),
        ("tests/ml/test_it.py::test_pipe", "tests.ml.it.pipe"),
        ("test_it.py::test_it", "it.it"),
        ("test_it.py::TestA::TestB::test_c", "it.TestA.TestB.c"),
    ],
)
def test_readable(node_id, slug):
    assert slug_of(node_id) == slug


@pytest.mark.parametrize(
    ("node_id", "start"),
    [
        ("test_it.py::test_pipe[a b]", "it.pipe-a_b-"),
        ("test_it.py::test_pipe[a/b]", "it.pipe-a_b-"),
        ("it.py::check", "it.check-"),
        ("test_it.py::test_pipe[é]", "it.pipe-_-"),
        (".hidden/test_it.py::test_pipe", "hidden.it.pipe-"),
        ("perf_tests/test_.py::test_", ""),
    ],
)
def test_what_is_lost_is_made_up_for_by_a_digest(node_id, start):
    slug = slug_of(node_id)
    assert slug.startswith(start)
    assert re.search(r"-[0-9a-f]{6}$", slug)


def test_hostile_ids_do_not_meet():
    by_slug = {}
    for node_id in HOSTILE:
        by_slug.setdefault(slug_of(node_id), []).append(node_id)
    assert [ids for ids in by_slug.values() if len(ids) > 1] == []


@given(node_ids, node_ids)
@LIGHT
@example("perf_tests/test_x.py::test_x", "test_x.py::test_x")
@example("a/test_b.py::test_c", "test_a.py::b::test_c")
def test_different_ids_have_different_slugs(one, other):
    assume(one != other)
    assert slug_of(one) != slug_of(other)


@given(st.lists(node_ids, min_size=20, max_size=60, unique=True))
@LIGHT
def test_many_ids_have_as_many_slugs(ids):
    assert len({slug_of(id) for id in ids}) == len(ids)


@given(node_ids)
@LIGHT
def test_a_file_name_on_every_system(node_id):
    slug = slug_of(node_id)
    assert re.fullmatch(r"[A-Za-z0-9_.\-]+", slug)
    assert len(slug) <= 120
    assert not slug.startswith(".")
    assert slug == slug_of(node_id)


@pytest.mark.parametrize("node_id", HOSTILE)
def test_hostile_ids_are_file_names(node_id, tmp_path):
    path = tmp_path / f"{slug_of(node_id)}.json"
    path.write_text("x")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_stable_name():
    """Committed baselines are found by it: a changed digest would orphan them."""
    assert slug_of("test_it.py::test_pipe[a b]") == "it.pipe-a_b-202bc6"

"""The page of a flame graph."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from builders import LIGHT
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.reports.flame_graph import flame_graph

USER = ("Classifier.__call__", "/home/me/test_it.py", 7)
TORCH = ("relu", "/env/lib/python3.11/site-packages/torch/nn.py", 30)
BUILTIN = ("conv2d", "<built-in>", 0)


class Page(HTMLParser):
    """The frames of a page: name, share of the row, depth."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.frames: list[tuple[str, float, int]] = []
        self.kinds: dict[str, str] = {}
        self.tips: list[str] = []
        self._open: list[str] = []
        self._next: tuple[float, str] | None = None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        given_attrs = dict(attrs)
        if tag == "div":
            self._open.append(given_attrs.get("class", ""))
        if tag == "div" and given_attrs.get("class", "").startswith("frame"):
            width = float(re.fullmatch(r"width:([0-9.]+)%", given_attrs["style"])[1])
            self._next = (width, given_attrs["class"])
        if tag == "span":
            self.tips.append(given_attrs["title"])

    def handle_endtag(self, tag):
        if tag == "div":
            self._open.pop()

    def handle_data(self, data):
        if self._next is not None and data.strip():
            width, kind = self._next
            depth = sum(name.startswith("frame") for name in self._open)
            self.frames.append((data, width, depth))
            self.kinds[data] = kind
            self._next = None


def test_widths_are_shares_of_what_is_above():
    page = Page(flame_graph("t", {(USER, TORCH, BUILTIN): 3.0, (USER, TORCH): 1.0, (USER,): 4.0}))
    assert page.frames == [("Classifier.__call__", 100, 1), ("relu", 50, 2), ("conv2d", 75, 3)]
    assert page.tips[1] == f"relu\n{TORCH[1]}:30\n4 s, 50.0 %"


def test_libraries_are_told_from_the_users_own():
    page = Page(flame_graph("t", {(USER, TORCH, BUILTIN): 1.0}))
    assert page.kinds == {
        "Classifier.__call__": "frame",
        "relu": "frame library",
        "conv2d": "frame library",
    }


def test_text_is_text():
    page = flame_graph('<b>"x"</b>', {(("<lambda>", '/a"b&c.py', 1),): 1.0})
    assert "<b>" not in page
    assert "<lambda>" not in page
    assert Page(page).frames == [("<lambda>", 100, 1)]


def test_needs_nothing_else():
    page = flame_graph("t", {(USER,): 1.0})
    assert not re.search(r"https?:|<link|src=|@import|url\(", page)


def test_what_is_narrower_than_a_pixel_is_left_out():
    page = Page(flame_graph("t", {(USER,): 1.0, (TORCH,): 0.0005, (BUILTIN,): 0.5}))
    assert [name for name, _, _ in page.frames] == ["Classifier.__call__", "conv2d"]


@pytest.mark.parametrize("stacks", [{}, {(USER,): 0.0}])
def test_nothing_seen_is_no_graph(stacks):
    with pytest.raises(ValueError, match="no time"):
        flame_graph("t", stacks)


FRAMES = st.tuples(st.sampled_from("abcd"), st.just("/f.py"), st.integers(1, 2))


@LIGHT
@given(
    stacks=st.dictionaries(
        st.lists(FRAMES, min_size=1, max_size=5).map(tuple), st.floats(0.5, 2), min_size=1, max_size=12
    )
)
def test_whatever_was_seen(stacks):
    page = Page(flame_graph("t", stacks))
    assert len(page.frames) == len({stack[: i + 1] for stack in stacks for i in range(len(stack))})
    outermost = [width for _, width, depth in page.frames if depth == 1]
    assert sum(outermost) == pytest.approx(100, abs=0.01)
    assert all(0 < width <= 100 for _, width, _ in page.frames)

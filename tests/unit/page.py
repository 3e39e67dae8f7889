"""Reads an HTML page as a browser would have to, strictly: what is not closed, or not expected, fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br"}
WHERE_ROWS = {"thead", "tbody"}


@dataclass
class Node:
    """An element. Its children are elements and texts."""

    tag: str
    attributes: dict[str, str | None]
    parent: Node | None = None
    children: list[Node | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All texts within, as they are shown."""
        return "".join(c if isinstance(c, str) else "\n" if c.tag == "br" else c.text for c in self.children)

    def all(self, tag: str, **attributes: str) -> list[Node]:
        """Elements below, in the page's order."""
        found = []
        for child in self.children:
            if isinstance(child, Node):
                given = {**child.attributes, "class_": child.attributes.get("class")}
                if child.tag == tag and all(given.get(k) == v for k, v in attributes.items()):
                    found.append(child)
                found += child.all(tag, **attributes)
        return found

    def one(self, tag: str, **attributes: str) -> Node:
        (found,) = self.all(tag, **attributes)
        return found

    def everything(self) -> list[Node]:
        below = [child for child in self.children if isinstance(child, Node)]
        return below + [node for child in below for node in child.everything()]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.now = Node("", {})

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        node = Node(tag, dict(attrs), self.now)
        self.now.children.append(node)
        if tag not in VOID:
            self.now = node

    def handle_startendtag(self, tag, attrs):
        self.now.children.append(Node(tag, dict(attrs), self.now))

    def handle_endtag(self, tag):
        assert self.now.tag == tag, f"</{tag}> closes <{self.now.tag}>"
        self.now = self.now.parent

    def handle_data(self, data):
        self.now.children.append(data)

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")


def parse(text: str) -> Node:
    """The root of the page, which has one child: <html>. Every tag must be closed, in its turn."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.now is reader.root, f"<{reader.now.tag}> is not closed"
    return reader.root


def rows(table: Node) -> list[list[str]]:
    """Texts of the cells of a table's body."""
    return [
        [cell.text for cell in row.children if isinstance(cell, Node)] for row in table.one("tbody").all("tr")
    ]


def heads(table: Node) -> list[str]:
    return [head.text for head in table.one("thead").all("th")]


def caption(table: Node) -> str:
    return table.one("caption").text

"""Stacks and their seconds as a flame graph: one page of HTML that needs nothing else.

A frame's width is the time in it and in what it called, over all calls (Gregg, "The Flame Graph", 2016,
doi:10.1145/2909476); beside one another in the alphabet's order, the outermost frame on top. pyinstrument's
own page has stacks in the order in which they were seen, and loads fonts from the network.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

from pytest_rayperf.udfs.stacks import Frame, Stacks

SMALLEST_SHARE = 0.001
"""Frames of less than this share of the time are left out: they would be narrower than a pixel."""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 12px/17px ui-monospace, Menlo, Consolas, monospace; margin: 16px; }}
.row {{ display: flex; }}
.frame {{ overflow: hidden; flex: none; box-sizing: border-box; }}
.name {{ display: block; overflow: hidden; white-space: nowrap; text-overflow: ellipsis; padding: 0 3px;
  border: 1px solid #fff; border-width: 0 1px 1px 0; background: #f6c38b; color: #000; cursor: pointer; }}
.library > .name {{ background: #dbe3ea; }}
.name:hover {{ background: #ffe27a; }}
.aside {{ display: none; }}
.whole {{ width: 100% !important; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{total} s in {stacks} different stacks. Orange: your code; grey: libraries. Frames under {smallest:g} % of
the time are left out. Click on a frame to look into it, and again to leave.</p>
<div class="row" id="graph">
{frames}
</div>
<script>
document.getElementById("graph").addEventListener("click", function (event) {{
  var name = event.target.closest(".name");
  if (!name) return;
  var chosen = name.parentElement;
  var leave = chosen.dataset.chosen === "yes";
  document.querySelectorAll(".frame").forEach(function (frame) {{
    frame.classList.remove("aside", "whole");
    delete frame.dataset.chosen;
  }});
  if (leave) return;
  chosen.dataset.chosen = "yes";
  for (var frame = chosen; frame; frame = frame.parentElement.closest(".frame")) {{
    Array.from(frame.parentElement.children).forEach(function (other) {{
      if (other !== frame) other.classList.add("aside");
    }});
    frame.classList.add("whole");
  }}
}});
</script>
</body>
</html>
"""


@dataclass
class _Node:
    """A frame at one place in the graph."""

    seconds: float = 0.0
    inner: dict[Frame, _Node] = field(default_factory=dict)


def flame_graph(title: str, stacks: Stacks) -> str:
    """The page.

    Args:
        title: its heading, as plain text.
        stacks: with seconds above 0.

    Raises:
        ValueError: there is no time in any stack: nothing was seen.
    """
    root = _Node()
    for stack, seconds in stacks.items():
        node = root
        node.seconds += seconds
        for frame in stack:
            node = node.inner.setdefault(frame, _Node())
            node.seconds += seconds
    if not root.seconds > 0:
        raise ValueError("a flame graph needs stacks that were seen for more than no time")
    lines: list[str] = []
    _draw(root, root.seconds, lines)
    return _PAGE.format(
        title=escape(title),
        total=f"{root.seconds:.3g}",
        stacks=len(stacks),
        smallest=100 * SMALLEST_SHARE,
        frames="\n".join(lines),
    )


def _draw(node: _Node, total: float, lines: list[str]) -> None:
    for frame, inner in sorted(node.inner.items()):
        if inner.seconds < SMALLEST_SHARE * total:
            continue
        name, file, line = frame
        where = f"{file}:{line}" if line else file
        tip = f"{name}\n{where}\n{inner.seconds:.3g} s, {100 * inner.seconds / total:.1f} %"
        kind = "frame library" if _is_library(file) else "frame"
        lines.append(
            f'<div class="{kind}" style="width:{100 * inner.seconds / node.seconds:.4f}%">'
            f'<span class="name" title="{escape(tip)}">{escape(name)}</span><div class="row">'
        )
        _draw(inner, total, lines)
        lines.append("</div></div>")


def _is_library(file: str) -> bool:
    # By the path alone: the file is another machine's. The standard library lies in a folder named by
    # Python's version, what was installed below that; a built-in function has no file.
    return file.startswith("<") or "/lib/python3" in file.replace("\\", "/")

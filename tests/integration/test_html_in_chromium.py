"""The HTML report in a browser: nothing in it is refused or fails there, and it shows what was written."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from big import EVIL, hostile_run, large_report
from page import Node, parse
from reported import FULL, report_of

from pytest_rayperf.reports.html import render
from pytest_rayperf.reports.rows import headline
from pytest_rayperf.reports.safe import visible

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no chromium on this machine")

Browse = Callable[..., tuple[str, list[str]]]


@pytest.fixture
def browse(tmp_path: Path) -> Browse:
    """Opens a page: what the browser prints, and what it, or the page, wrote to the console."""

    def run(text: str, *options: str) -> tuple[str, list[str]]:
        page = tmp_path / "page.html"
        page.write_text(text, encoding="utf-8")
        command = [
            str(BROWSER),
            "--headless=new",
            "--disable-gpu",
            # In a container its sandbox gets no namespace of its own; the page is ours.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=1400,2000",
            "--enable-logging=stderr",
            "--v=0",
            *options,
            page.as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, timeout=120, check=True)
        log = done.stderr.decode(errors="replace")
        return done.stdout.decode(), [line for line in log.splitlines() if "CONSOLE" in line]

    return run


def texts(root: Node) -> str:
    return re.sub(r"\s+", " ", root.text)


def test_a_console_would_be_heard(browse: Browse):
    _, console = browse("<script>console.error('heard')</script>", "--dump-dom")
    assert any("heard" in line for line in console)


@pytest.mark.parametrize("report", [FULL, large_report(12, rounds=5)], ids=["everything", "many"])
def test_all_of_it_is_shown_and_nothing_is_refused(browse: Browse, report):
    text = render(report)
    dom, console = browse(text, "--dump-dom")
    assert console == []
    assert parse(dom).one("h1").text == headline(report)
    assert texts(parse(dom)) == texts(parse(text))


@pytest.mark.parametrize("evil", EVIL)
def test_a_hostile_name_is_shown_and_does_nothing(browse: Browse, evil: str):
    dom, console = browse(render(report_of(hostile_run(evil))), "--dump-dom")
    assert console == []
    assert not parse(dom).all("script")
    assert re.sub(r"\s+", " ", visible(evil)) in texts(parse(dom))


def test_what_a_name_would_smuggle_in_is_refused_all_the_same(browse: Browse):
    """The page's own policy, were its escaping ever to fail."""
    script = "document.title = 'run'"
    evil = f'<script>{script}</script><img src=x onerror="{script}"><style>body {{ color: red }}</style>'
    text = render(FULL).replace("<main>", f"<main>{evil}", 1)
    dom, console = browse(text, "--dump-dom")
    assert "<title>run" not in dom
    refused = [line for line in console if "Content Security Policy" in line]
    assert len(refused) >= 3


@pytest.mark.parametrize("scheme", ["0", "1"], ids=["dark", "light"])
def test_it_is_painted_in_the_colours_that_were_asked_for(browse: Browse, tmp_path: Path, scheme: str):
    from PIL import Image

    picture = tmp_path / "page.png"
    browse(render(FULL), f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={picture}")
    with Image.open(picture) as found:
        corner = found.convert("RGB").getpixel((2, 2))
        colours = found.convert("RGB").getcolors(1 << 24)
    assert corner == ((0x15, 0x17, 0x1B) if scheme == "0" else (255, 255, 255))
    assert colours is not None
    assert len(colours) > 20  # an empty page has one


def test_it_prints(browse: Browse, tmp_path: Path):
    paper = tmp_path / "page.pdf"
    _, console = browse(render(FULL), "--no-pdf-header-footer", f"--print-to-pdf={paper}")
    assert console == []
    pages = len(re.findall(rb"/Type /Page\b", paper.read_bytes()))
    assert 3 <= pages <= 20

"""Golden files: what a report looks like, small enough to read. RAYPERF_RENEW_GOLDEN=1 writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).with_name("golden")


def check(name: str, text: str) -> None:
    """Hold that `text` is what the golden file says."""
    path = FOLDER / name
    if os.environ.get("RAYPERF_RENEW_GOLDEN"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    assert text == path.read_text(encoding="utf-8")

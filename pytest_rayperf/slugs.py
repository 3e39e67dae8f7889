"""From a pytest node id to the name of its baseline file."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

_MAX = 120  # room for ".json" and a temporary suffix in the 255 bytes that file systems allow


def slug_of(node_id: str) -> str:
    """A file name (without suffix) for a test, readable and one to one.

    `perf_tests/test_model_loading.py::test_model_loading[fix]` -> `model_loading-fix`;
    `ml/test_pipe.py::TestBig::test_all[a-1]` -> `ml.pipe.TestBig.all-a-1`.

    The folder `perf_tests` and the prefixes `test_` are left out, and a function named as its file is named
    once. Where that loses anything (a character that file names cannot hold, a long id) six hex digits of
    the id's SHA-256 are added.
    """
    path, _, rest = node_id.partition("::")
    names, _, params = rest.partition("[")
    file = PurePosixPath(path)
    stem = file.stem.removeprefix("test_")
    folders = [part for part in file.parts[:-1] if part not in ("perf_tests", ".")]
    functions = names.split("::") if names else []
    if functions:
        functions[-1] = functions[-1].removeprefix("test_")
        if functions == [stem]:
            functions = []
    plain = ".".join([*(part.replace(".", "!") for part in folders), stem.replace(".", "!"), *functions])
    if params:
        plain += "-" + params.removesuffix("]")
    safe = re.sub(r"[^A-Za-z0-9_.\-]", "_", plain)
    if safe == plain and len(safe) <= _MAX and not safe.startswith("."):
        return safe
    digest = hashlib.sha256(node_id.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"{safe[: _MAX - 7].lstrip('.')}-{digest}"

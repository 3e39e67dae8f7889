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

    Every part of the id is in the name, so that it can be read back (`_id_of`); only a suite's test that is
    named as its file, in `perf_tests`, is named by that alone. An id that cannot be read back (it has a
    character that file names cannot hold, or no prefix `test_`, or is long) gets six hex digits of its
    SHA-256 as well.
    """
    path, _, rest = node_id.partition("::")
    names, bracket, params = rest.partition("[")
    file = PurePosixPath(path)
    functions = names.split("::")
    functions[-1] = functions[-1].removeprefix("test_")
    parts = [*file.parts[:-1], file.stem.removeprefix("test_"), *functions]
    if len(parts) == 3 and parts[0] == "perf_tests" and parts[1] == parts[2]:
        parts = parts[2:]
    plain = ".".join(parts) + ("-" + params.removesuffix("]") if bracket else "")
    safe = re.sub(r"[^A-Za-z0-9_.\-]", "_", plain)
    if _id_of(safe) == node_id and len(safe) <= _MAX and safe[:1] not in ("", ".", "-"):
        return safe
    digest = hashlib.sha256(node_id.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"{safe[: _MAX - 7].lstrip('.-')}-{digest}"


def _id_of(slug: str) -> str:
    """The one node id that `slug` may stand for without a digest."""
    dotted, dash, params = slug.partition("-")
    *names, function = dotted.split(".")
    if not names:
        names = ["perf_tests", function]
    classes = next((i for i, name in enumerate(names) if i and name.startswith("Test")), len(names))
    file = "/".join([*names[: classes - 1], f"test_{names[classes - 1]}.py"])
    return "::".join([file, *names[classes:], f"test_{function}"]) + (f"[{params}]" if dash else "")

"""Reads a JSON report back (`--rayperf-json`), for the programs that work on a run measured earlier."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_rayperf.baselines.format import unique_keys
from pytest_rayperf.errors import ConfigurationError

LARGEST_FILE = 1024**3
"""Bytes. A run of 1,000 benchmarks with 20 rounds each has a tenth of it."""

_MAKE_ONE = "make one with: pytest --rayperf --rayperf-json RUN.json"


def read_run(path: Path) -> Mapping[str, Any]:
    """The report in `path`, with every key that `report.schema.json` wants, of the types that it says.

    What a report of an older version, or of another program, lacks beside the contract's keys is null or
    empty (`reports/schema.py`).

    Raises:
        ConfigurationError: it cannot be read, is truncated, is no report, is of a newer version, or has a
            value of a wrong type; the text says where.
    """
    # Here, for it imports SciPy, and `rayperf --help` shall not wait for that.
    from pytest_rayperf.reports.json import SCHEMA_VERSION
    from pytest_rayperf.reports.schema import Unfit, conform

    report = _parsed(path)
    version = report.get("schema_version") if isinstance(report, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise ConfigurationError(
            f"{path}: is not a report of pytest-rayperf, for it has no schema_version; {_MAKE_ONE}"
        )
    if isinstance(report, dict) and "sessions" in report and "benchmarks" not in report:
        raise ConfigurationError(
            f"{path}: is a baseline, not a report; name the folder of baselines, or {_MAKE_ONE}"
        )
    if version > SCHEMA_VERSION:
        raise ConfigurationError(
            f"{path}: schema_version {version} is newer than what this pytest-rayperf reads, "
            f"{SCHEMA_VERSION}; upgrade it (pip install -U pytest-rayperf)"
        )
    try:
        return conform(report)
    except Unfit as unfit:
        raise ConfigurationError(f"{path}: {unfit.text()}; {_MAKE_ONE}") from None


def _parsed(path: Path) -> object:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in its name
        told = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"{path}: cannot be read: {told}; {_MAKE_ONE}") from None
    if len(content) > LARGEST_FILE:
        raise ConfigurationError(f"{path}: is not a report, for it is larger than 1 GiB; {_MAKE_ONE}")
    try:
        text = content.decode("utf-8-sig")  # PowerShell's `>` puts a mark before what it writes
        return json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=unique_keys)
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path}: is not a report, but no text ({error.reason}); {_MAKE_ONE}"
        ) from None
    except RecursionError:
        raise ConfigurationError(f"{path}: is not a report, for it is nested too deep; {_MAKE_ONE}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: is truncated, or no JSON ({error}); {_MAKE_ONE}") from None


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON's")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.20} is no number that a computer has")
    return value

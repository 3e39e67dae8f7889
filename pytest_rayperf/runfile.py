"""Reads a JSON report back (`--rayperf-json`), for the programs that work on a run measured earlier."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_rayperf.errors import ConfigurationError

_MAKE_ONE = "make one with: pytest --rayperf --rayperf-json RUN.json"


def read_run(path: Path) -> Mapping[str, Any]:
    """The report in `path`.

    Raises:
        ConfigurationError: it cannot be read, is truncated, is no report, or is of a newer version.
    """
    # Here, for it imports SciPy, and `rayperf --help` shall not wait for that.
    from pytest_rayperf.reports.json import SCHEMA_VERSION

    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path}: is not a report, but no text ({error.reason}); {_MAKE_ONE}"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}; {_MAKE_ONE}") from None
    try:
        report = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{path}: is truncated, or no JSON ({error}); {_MAKE_ONE}") from None
    version = report.get("schema_version") if isinstance(report, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise ConfigurationError(
            f"{path}: is not a report of pytest-rayperf, for it has no schema_version; {_MAKE_ONE}"
        )
    if version > SCHEMA_VERSION:
        raise ConfigurationError(
            f"{path}: schema_version {version} is newer than what this pytest-rayperf reads, "
            f"{SCHEMA_VERSION}; upgrade it (pip install -U pytest-rayperf)"
        )
    problem = _problem(report)
    if problem:
        raise ConfigurationError(f"{path}: {problem}; {_MAKE_ONE}")
    checked: Mapping[str, Any] = report
    return checked


_FIGURES = ("wall_s", "cpu_s", "udf_s", "rows", "bytes", "tasks", "backpressure_s")


def _problem(report: Mapping[str, Any]) -> str | None:
    """What is of the wrong type, of the parts that a reader computes with."""
    for name in ("environment", "data"):
        if not _is_object(report.get(name)):
            return f"{name} is not an object"
    sizes = [("environment", name) for name in ("cores", "memory_bytes", "gpu_count")]
    for part, name in [*sizes, ("data", "images"), ("data", "bytes")]:
        if not _is_count((report.get(part) or {}).get(name)):
            return f"{part}.{name} is not a whole number"
    benchmarks = report.get("benchmarks")
    if not isinstance(benchmarks, list):
        return "benchmarks is missing, or not a list"
    return next((p for i, b in enumerate(benchmarks) if (p := _benchmark(f"benchmarks[{i}]", b))), None)


def _benchmark(where: str, benchmark: Any) -> str | None:
    if not isinstance(benchmark, dict) or not isinstance(benchmark.get("id"), str):
        return f"{where} has no id"
    for part in ("metrics", "counters"):
        if not _is_object(benchmark.get(part)):
            return f"{where}.{part} is not an object"
    for name, metric in (benchmark.get("metrics") or {}).items():
        if not isinstance(metric, dict) or not _is_figure(metric.get("median")):
            return f"{where}.metrics.{name}.median is not a number"
    for name, count in (benchmark.get("counters") or {}).items():
        if not _is_figure(count):
            return f"{where}.counters.{name} is not a number"
    operators = benchmark.get("operators")
    if operators is not None and not isinstance(operators, list):
        return f"{where}.operators is not a list"
    for i, operator in enumerate(operators or ()):
        if not isinstance(operator, dict) or not isinstance(operator.get("name"), str):
            return f"{where}.operators[{i}] has no name"
        for figure in _FIGURES:
            if not _is_figure(operator.get(figure)):
                return f"{where}.operators[{i}].{figure} is not a number"
    return None


def _is_object(value: object) -> bool:
    return value is None or isinstance(value, dict)


def _is_figure(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _is_count(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)

"""What importing costs. Each in a process of its own: this one has imported everything."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from pkgutil import iter_modules

import pytest

import pytest_rayperf


def files_of(folder):
    return [str(Path(pytest_rayperf.__file__).parent.joinpath(*folder.split(".")))]


PURE = ("advising", "baselines", "commands", "harness", "judging", "offline", "reports", "reports.pictures")
"""Folders all of whose modules belong to the core."""

CORE = [
    *(f"{folder}.{found.name}" for folder in PURE for found in iter_modules(files_of(folder))),
    "cli",
    "git",
    "latency",
    "machine",
    "measurement",
    "metrics",
    "outputs",
    "playing",
    "results",
    "run",
    "selftest",
    "slugs",
    "statistics",
    "udfs.faults",
    "verdict",
    "wholefile",
    "work.comparison",
    "work.counts",
    "wrong",
]
HEAVY = ("ray", "torch", "torchvision", "pandas", "tabulate", "pynvml", "jinja2")


def python(*arguments, **more):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def packages_of(modules):
    return {module.partition(".")[0] for module in modules}


@pytest.fixture(scope="module")
def imported_by():
    """Core module -> the modules that importing it, from nothing, imports (in one process, in turns)."""
    script = f"""
import importlib, sys
before = set(sys.modules)
for name in {CORE!r}:
    for module in set(sys.modules) - before:
        if module.partition(".")[0] == "pytest_rayperf":
            del sys.modules[module]
    seen = set(sys.modules)
    importlib.import_module("pytest_rayperf." + name)
    print(name, *sorted(set(sys.modules) - seen))
"""
    lines = python("-c", script).stdout.splitlines()
    return {name: set(modules) for name, *modules in map(str.split, lines)}


@pytest.mark.parametrize("name", CORE)
def test_the_core_imports_neither_ray_torch_nor_pytest(imported_by, name):
    packages = packages_of(imported_by[name])
    assert "pytest_rayperf" in packages
    assert packages.isdisjoint({*HEAVY, "pytest", "_pytest"})


def test_results_import_the_standard_library_only(imported_by):
    assert packages_of(imported_by["results"]) <= {"pytest_rayperf", *sys.stdlib_module_names}


def test_of_scipy_the_core_does_without_stats(imported_by):
    """`scipy.special` has the same distributions' quantiles, and is there in a fraction of the time."""
    imported = set().union(*imported_by.values())
    assert "scipy.special" in imported
    assert "scipy.stats" not in imported


@pytest.fixture(scope="module")
def plain_pytest(tmp_path_factory):
    """What a user's `pytest --collect-only` imports, with the plugin found by its entry point."""
    folder = tmp_path_factory.mktemp("users")
    (folder / "test_trivial.py").write_text("def test_trivial():\n    pass\n")
    done = python("-X", "importtime", "-m", "pytest", "--collect-only", "-q", cwd=folder)
    assert "1 test collected" in done.stdout
    return set(re.findall(r"^import time:\s+\d+ \|\s+\d+ \|\s+(\S+)$", done.stderr, re.MULTILINE))


def test_a_plain_pytest_has_the_plugin(plain_pytest):
    assert "pytest_rayperf.options" in plain_pytest  # the plugin's; an entry point itself is not timed


@pytest.mark.parametrize("name", HEAVY)
def test_a_plain_pytest_imports_nothing_heavy(plain_pytest, name):
    assert {module for module in plain_pytest if module.partition(".")[0] == name} == set()

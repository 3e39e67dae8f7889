"""What importing costs. Each in a process of its own: this one has imported everything."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

CORE = [
    "results",
    "statistics",
    "policy",
    "verdict",
    "duels",
    "reasons",
    "slugs",
    "baseline_format",
    "baselines",
    "reports.json",
    "reports.terminal",
    "reports.figures",
    "reports.costs",
    "reports.final",
    "reports.rows",
    "reports.lines",
    "reports.table",
    "reports.phrases",
    "reports.markdown",
    "reports.markdown_parts",
    "reports.markdown_benchmark",
    "reports.safe",
    "reports.html",
    "reports.overview",
    "reports.sections",
    "reports.tables",
    "reports.units",
    "reports.pictures",
    "reports.pictures.drawing",
    "reports.pictures.duels",
    "reports.pictures.history",
    "reports.pictures.ladders",
    "reports.pictures.operators",
    "reports.pictures.utilization",
    "reports.pictures.verdicts",
    "reports.selftest_table",
    "session",
    "measurement",
    "outputs",
    "contest",
    "wrong",
    "expectations",
    "hearing",
    "advice",
    "symptoms",
    "runfile",
    "rereading",
    "offline",
    "history",
    "git",
    "stored",
    "pruning",
    "fitness",
    "cli",
    "commands.advise",
    "commands.arguments",
    "commands.baselines",
    "commands.check",
    "commands.compare",
    "commands.report",
    "commands.showing",
    "reports.schema",
    "reports.stored",
    "reports.advice",
    "reports.flame_graph",
    "attribution",
    "targets",
    "latency",
    "work.counts",
    "work.comparison",
    "playing",
    "selftest",
    "faults",
    "selftesting",
    "reports.selftest",
]
HEAVY = ("ray", "torch", "torchvision", "pandas", "tabulate", "pynvml", "jinja2")


def python(*arguments, **more):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def imported_by():
    """Core module -> what importing it, from nothing, imports (in one process, in turns)."""
    script = f"""
import importlib, sys
before = set(sys.modules)
for name in {CORE!r}:
    for module in set(sys.modules) - before:
        if module.partition(".")[0] == "pytest_rayperf":
            del sys.modules[module]
    seen = set(sys.modules)
    importlib.import_module("pytest_rayperf." + name)
    print(name, *sorted({{m.partition(".")[0] for m in set(sys.modules) - seen}}))
"""
    lines = python("-c", script).stdout.splitlines()
    return {name: set(modules) for name, *modules in map(str.split, lines)}


@pytest.mark.parametrize("name", CORE)
def test_the_core_imports_neither_ray_torch_nor_pytest(imported_by, name):
    assert "pytest_rayperf" in imported_by[name]
    assert imported_by[name].isdisjoint({*HEAVY, "pytest", "_pytest"})


def test_results_import_the_standard_library_only(imported_by):
    assert imported_by["results"] <= {"pytest_rayperf", *sys.stdlib_module_names}


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

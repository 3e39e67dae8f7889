"""A pytest plugin that runs the mutants which mutmut made, each in a fork of one process.

mutmut 3.8 collects the tests anew for each of 2,000 mutants, which takes longer than to run them. This takes
its mutants, and its record of which test calls which function. Of these tests it runs those first that have
killed most so far, then the quick ones, until one fails. MUTATION.md says how it is called; `results.json`
keeps what was found, so that a run can be gone on with.
"""

from __future__ import annotations

import json
import os
import resource
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_rayperf.judging import sequential

RESULTS = Path("results.json")
KILLER = Path("killer.txt")
CPU_SECONDS = 60
"""More than all tests of any function take. A mutant that takes longer loops, and any test run shows it."""

_KILLED = 1


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """Instead of the tests: the mutants."""
    record = json.loads(Path("mutmut-stats.json").read_text())
    durations = record["duration_by_test"]
    tests_of = {name: set(tests) for name, tests in record["tests_by_mangled_function_name"].items()}
    items = sorted(session.items, key=lambda item: durations.get(item.nodeid, 0.0))
    kills: Counter[str] = Counter()
    for item in items[::40]:  # so that not each fork has to import what they import
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
    sequential._levels.cache_clear()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for mutant in mutants():
        if mutant in results:
            continue
        called = tests_of.get(mutant.rpartition("__mutmut_")[0])
        # A test that is newer than the record may call anything.
        chosen = [i for i in items if called is None or i.nodeid in called or i.nodeid not in durations]
        KILLER.unlink(missing_ok=True)
        results[mutant] = run(mutant, sorted(chosen, key=lambda item: -kills[item.nodeid]))
        if KILLER.exists():
            kills[KILLER.read_text()] += 1
        RESULTS.write_text(json.dumps(results, indent=1))
    print(Counter(results.values()))
    return True


def mutants() -> list[str]:
    """Their names, of all modules."""
    names = []
    for path in sorted(Path("pytest_rayperf").rglob("*.meta")):
        names += json.loads(path.read_text())["exit_code_by_key"]
    return names


def run(mutant: str, items: Sequence[pytest.Item]) -> str:
    """What came of it: `killed`, `survived`, `looped`."""
    child = os.fork()
    if child == 0:
        os.environ["MUTANT_UNDER_TEST"] = mutant
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS + int(sum(os.times()[:2])),) * 2)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        for item in items:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return "looped" if status < 0 else "killed" if status else "survived"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """The first failure is enough."""
    if report.failed:
        KILLER.write_text(report.nodeid)
        os._exit(_KILLED)

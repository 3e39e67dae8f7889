"""The conftest.py of the inner test suites: rounds out of a script instead of out of Ray.

A pipeline returns a dict: what its rounds are, over `script.json`, over the defaults. Each run is a line in
`rounds.log`, so that a test sees whether anything was measured; the teardown leaves the file `closed`.
"""

import builtins
import json
import os
from contextlib import contextmanager
from random import Random

import numpy as np
import pytest

from pytest_rayperf.machine import Lap
from pytest_rayperf.measurement import Execution
from pytest_rayperf.resources import resources_key
from pytest_rayperf.results import Call, Operator, Profile, Round
from pytest_rayperf.work.counts import OperatorWork, Work, WorkUncountable

DEFAULTS = {
    "rows": 64,
    "seconds": 2.0,
    "cpu": {"ReadImages": 0.002, "MapBatches(Classify)": 0.008},  # seconds a row
    "walls": {},  # seconds of an operator's tasks in a round
    "memory": 400_000_000,
    "counters": {"model_loads": 1},
    "outputs": {"prediction": list(range(64))},
    "noise": 0.01,  # standard deviation of the log
    "figures": {},
    "raises": None,
    "error": "ValueError",  # of which type is what it raises
    "calls": 0,  # of its UDF, Classify
    "load_seconds": 0.05,  # of CPU time; what loading the model costs
    "hides": False,  # whether what is put in hides behind other work
    "work": None,  # counter -> amount for 32 rows; None cannot be counted
    "window": 32,  # rows that are counted where nobody asks for a number
    "interrupt_at": None,  # the how manieth execution is interrupted
}


PROBE = 0.003


class ScriptedExecutor:
    def __init__(self, folder):
        self.folder = folder
        self.log = folder / "rounds.log"
        self.executions = 0

    def run(self, pipeline, *, keep_outputs, on_rows):
        script = self.folder / "script.json"
        plan = {**DEFAULTS, **(json.loads(script.read_text()) if script.exists() else {}), **pipeline()}
        self.executions += 1
        earlier = self.log.read_text().count("\n") if self.log.exists() else 0
        with self.log.open("a") as log:
            log.write(f"{sorted(plan['cpu'].items())}\n")
        if self.executions == plan["interrupt_at"]:
            raise KeyboardInterrupt
        if plan["raises"]:
            raise vars(builtins)[plan["error"]](plan["raises"])
        put_in(plan)
        noise = Random(earlier)
        rows = plan["rows"]
        on_rows(rows // 2)
        on_rows(rows)
        round_ = Round(
            rows=rows,
            wall_seconds=plan["seconds"] * noise.lognormvariate(0, plan["noise"]),
            operators=tuple(
                Operator(
                    name,
                    wall_s=plan["walls"].get(name),
                    cpu_s=cpu * rows * noise.lognormvariate(0, plan["noise"]),
                    rows=rows,
                )
                for name, cpu in plan["cpu"].items()
            ),
            counters=plan["counters"],
            peak_worker_memory=plan["memory"],
            figures=plan["figures"],
            calls=(Call("Classify", 0.1, 8),) * plan["calls"],
        )
        outputs = plan["outputs"] if keep_outputs else None
        return Execution(round_, outputs and {name: np.array(values) for name, values in outputs.items()})

    def count_work(self, pipeline, *, anew=False, rows=None):
        script = self.folder / "script.json"
        plan = {**DEFAULTS, **(json.loads(script.read_text()) if script.exists() else {}), **pipeline()}
        with (self.folder / "work.log").open("a") as log:
            log.write("anew\n" if anew else "kept\n")
        with (self.folder / "work_rows.log").open("a") as log:
            log.write(f"{rows}\n")
        if plan["work"] is None:
            raise WorkUncountable("the script has no work")
        rows = rows or plan["window"]
        counts = {name: rows * n // 32 for name, n in plan["work"].items()}
        return Work((OperatorWork("MapBatches(Classify)", rows, {}, counts, {}),), {"ray": "2.60"})

    def slowed(self, pipeline, fault):
        assert fault.udf == "Classify"
        return lambda: {**pipeline(), "fault": fault}

    def profile(self, pipeline, folder, slug):
        folder.mkdir(exist_ok=True)
        path = folder / f"{slug}-Classify.html"
        path.write_text("<html>")
        return Profile({"Classify": path}, None, ("no timeline",))

    @contextmanager
    def shipping(self, modules):
        assert any(module.__name__.startswith("test_") for module in modules)
        yield


def scripted_probe(folder):
    """CPU seconds of the fixed work: the script's `probe`, or the next of them if it is a list.

    Each is of computing alone, or of computing and of memory.
    """
    script = folder / "script.json"
    plan = json.loads(script.read_text()).get("probe", PROBE) if script.exists() else PROBE
    log = folder / "probes.log"
    done = log.read_text().count("\n") if log.exists() else 0
    with log.open("a") as file:
        file.write("probe\n")
    lap = plan[done % len(plan)] if isinstance(plan, list) else plan
    return Lap(*lap) if isinstance(lap, list) else Lap(lap)


def scripted_clock(folder, now):
    """It stands still; or, if the script has `hours`, each round takes so many."""
    script, log = folder / "script.json", folder / "rounds.log"

    def clock():
        hours = json.loads(script.read_text()).get("hours", 0) if script.exists() else 0
        return now + 3600 * hours * (len(log.read_text().splitlines()) if log.exists() else 0)

    return clock


def put_in(plan):
    fault = plan.get("fault")
    if fault is None or plan["hides"]:
        return
    load = fault.kind == "model load"
    seconds = plan["calls"] * (plan["load_seconds"] if load else fault.seconds)
    plan["seconds"] += seconds
    if load:
        plan["counters"] = {"model_loads": plan["counters"].get("model_loads", 0) + plan["calls"]}
    if fault.kind != "waiting":
        operator = "MapBatches(Classify)"
        plan["cpu"] = {**plan["cpu"], operator: plan["cpu"][operator] + seconds / plan["rows"]}


@pytest.fixture(scope="session")
def _rayperf_executor(pytestconfig):
    if os.environ.get("SCRIPTED_PROBE") != "no":
        record = pytestconfig.stash[resources_key].record()
        record.probe = lambda: scripted_probe(pytestconfig.rootpath)
        record.clock = scripted_clock(pytestconfig.rootpath, record.clock())
    yield ScriptedExecutor(pytestconfig.rootpath)
    (pytestconfig.rootpath / "closed").touch()

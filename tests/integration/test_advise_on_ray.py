"""The program `rayperf advise` with a real Ray, as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.integration

MARK = "RAYPERF_TEST_MARK"


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """A mark in the environment of everything that the program starts, to find what it leaves."""
    value = uuid.uuid4().hex
    monkeypatch.setenv(MARK, value)
    return value


def marked(value: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == value:
                found.append(process)
        except psutil.Error:
            continue  # it ended just now, or is another user's
    return found


def test_advises_on_this_machine_and_leaves_nothing_running(pytester: pytest.Pytester, mark: str) -> None:
    program = Path(sys.executable).with_name("rayperf")
    done = subprocess.run(
        [str(program), "advise", "--images", "8", "--format", "json"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=pytester.path,
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)  # nothing of Ray's own is printed between
    situation = data["situation"]
    assert situation["rows"] == 8
    assert situation["cpus"] >= 1
    assert situation["object_store_bytes"] >= 75 * 1024**2  # the least that Ray takes
    assert situation["memory_bytes"] > situation["object_store_bytes"]
    assert 8 * 10_000 < situation["disk_bytes"] < 8 * situation["row_bytes"]
    assert 9e6 < situation["model_bytes"] < 12e6  # mobilenet_v3_small: 2.5 million float32
    values = {item["setting"]: item["value"] for item in data["advice"]}
    assert values["override_num_blocks"] == str(min(8, 2 * situation["cpus"]))
    assert values["compute"].startswith("ActorPoolStrategy(size=")
    _, alive = psutil.wait_procs(marked(mark), timeout=10)
    assert alive == []


def test_ctrl_c_leaves_nothing_running(pytester: pytest.Pytester, mark: str) -> None:
    # As in a terminal: SIGINT is not ignored (it is in what a shell starts in the background, and children
    # inherit that), and goes to the whole foreground group.
    start = """if True:
        import signal, sys
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from pytest_rayperf.cli import main
        sys.exit(main(["advise", "--images", "8"]))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", start],
        cwd=pytester.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not any(p.name() == "raylet" for p in psutil.Process(process.pid).children(recursive=True)):
        assert time.monotonic() < deadline, "Ray did not start"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert output == ""
    assert "rayperf: interrupted" in errors
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(marked(mark), timeout=10)
    assert alive == []

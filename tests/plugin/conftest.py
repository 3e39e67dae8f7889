"""An inner project whose rounds are scripted, and runs of pytest in it."""

import json
import re
from pathlib import Path

import pytest

SCRIPTED = Path(__file__).with_name("scripted_executor.py")

ONE_BENCHMARK = """
    def test_pipe(rayperf):
        rayperf(lambda: {})
"""


class Project:
    """A folder with tests that use the plugin on scripted rounds."""

    def __init__(self, pytester):
        self.pytester = pytester
        self.path = pytester.path
        self.ini()
        pytester.makeconftest(SCRIPTED.read_text(encoding="utf-8"))

    def ini(self, *lines):
        self.pytester.makefile(".ini", pytest="\n".join(["[pytest]", "filterwarnings = error", *lines]))

    def tests(self, text=ONE_BENCHMARK, name="test_it"):
        self.pytester.makepyfile(**{name: text})

    def script(self, **values):
        """What every later round is, unless its pipeline says otherwise."""
        (self.path / "script.json").write_text(json.dumps(values), encoding="utf-8")

    def run(self, *args):
        return self.pytester.runpytest_inprocess("-p", "no:cacheprovider", *map(str, args))

    def run_apart(self, *args):
        """In a process of its own, for what would reach the outer pytest."""
        return self.pytester.runpytest_subprocess("-p", "no:cacheprovider", *map(str, args), timeout=120)

    def measure(self, *args):
        return self.run("--rayperf", *args)

    def record(self, sessions=1, *args):
        """Accept that many sessions as baselines."""
        for _ in range(sessions):
            result = self.measure("--rayperf-update-baselines", *args)
            assert result.ret == 0, result.stdout.str()

    def report(self, *args):
        """The JSON report of a run."""
        path = self.path / "run.json"
        result = self.measure(f"--rayperf-json={path}", *args)
        return result, json.loads(path.read_text(encoding="utf-8"))

    @property
    def rounds(self):
        """How many rounds were executed so far, warm-ups among them."""
        log = self.path / "rounds.log"
        return len(log.read_text(encoding="utf-8").splitlines()) if log.exists() else 0

    def baselines(self):
        return sorted((self.path / "baselines").glob("*/*.json"))

    def baseline(self):
        (path,) = self.baselines()
        return path

    def sessions(self):
        return len(json.loads(self.baseline().read_text(encoding="utf-8"))["sessions"])

    def refused(self, *args):
        """Run with --rayperf, hold that it was a usage error and that nothing ran; the error in one line."""
        before = self.rounds
        result = self.measure(*args)
        return self.usage_error(result, before)

    def usage_error(self, result, rounds_before=0):
        """The one line of a usage error: exit status 4, no traceback, nothing measured."""
        text = result.stderr.str() + result.stdout.str()
        assert result.ret == 4, text
        assert "Traceback" not in text
        assert "INTERNALERROR" not in text
        assert self.rounds == rounds_before
        lines = [line for line in result.stderr.lines if line.startswith("ERROR: ")]
        assert len(lines) == 1, text
        return lines[0].removeprefix("ERROR: ")


@pytest.fixture(scope="session")
def _imported():
    """pytester takes back what an inner run imports, and NumPy and its like cannot be imported twice."""
    import numpy  # noqa: F401
    import pandas  # noqa: F401
    import scipy.stats  # noqa: F401
    import tabulate  # noqa: F401

    import pytest_rayperf.data.sources
    import pytest_rayperf.environment
    import pytest_rayperf.harness.rayperf
    import pytest_rayperf.reports.selftest
    import pytest_rayperf.reports.terminal  # noqa: F401


@pytest.fixture
def project(pytester, _imported, monkeypatch):
    monkeypatch.setenv("RAYPERF_CACHE_DIR", str(pytester.path / "cache"))
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    return Project(pytester)


@pytest.fixture
def images(tmp_path):
    """Makes a folder of small images; folders made with another `shade` differ in content alone."""
    from PIL import Image

    def make(name, count=3, shade=100):
        folder = tmp_path / name
        folder.mkdir()
        for number in range(count):
            Image.new("RGB", (16, 16), (shade, number, 0)).save(folder / f"{number}.jpg")
        return folder

    return make


def find_line(text, pattern):
    """The one line of `text` that `pattern` is found in."""
    lines = [line for line in text.splitlines() if re.search(pattern, line)]
    assert len(lines) == 1, f"{len(lines)} lines match {pattern!r} in:\n{text}"
    return lines[0]


@pytest.fixture(name="find_line")
def find_line_fixture():
    return find_line

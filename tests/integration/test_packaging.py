"""What a user installs: the wheel, built from a copy of the sources and used away from the checkout."""

import configparser
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from reported import FULL

from pytest_rayperf.reports.html import render

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
README_COMMANDS = ROOT / ".ci" / "readme_commands.py"
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "pytest_rayperf", "perf_tests", "tests", "benchmarks")


def run(*command, cwd, **environment):
    """The output of a command that must succeed, run without what pytest has put into the environment."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHON", "COV_"))}
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=inherited | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    # A copy: whatever else lies in this folder must not be what makes the wheel complete.
    sources = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, sources)
    dist = tmp_path_factory.mktemp("dist")
    # Without isolation, so that no network is needed; that the build requirements suffice shows in every
    # `pip install -e .`, which is isolated.
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", dist, sources, cwd=sources)
    (made,) = dist.iterdir()
    return made


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder with nothing in it but the installed wheel."""
    target = tmp_path_factory.mktemp("site")
    pip = ("-m", "pip", "install", "--disable-pip-version-check", "--no-index", "--no-deps")
    run(*pip, "--target", target, wheel, cwd=target)
    return target


def test_twine_finds_nothing_wrong(wheel, tmp_path):
    output = run("-m", "twine", "check", "--strict", wheel, cwd=tmp_path, COLUMNS="400")

    assert "PASSED" in output


def test_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        package = (p for p in (ROOT / "pytest_rayperf").rglob("*") if p.is_file())
        sources = {p.relative_to(ROOT).as_posix() for p in package if p.suffix != ".pyc"}
        (entry_points,) = (n for n in names if n.endswith(".dist-info/entry_points.txt"))
        scripts = archive.read(entry_points).decode()

    info = entry_points.partition("/")[0]
    assert f"{info}/licenses/LICENSE" in names
    assert {n for n in names if not n.startswith(f"{info}/")} == sources
    # What no import would miss.
    for kept in ("py.typed", "reports/report.schema.json", "reports/report.html.j2", "reports/report.css"):
        assert f"pytest_rayperf/{kept}" in names
    assert "[pytest11]\nrayperf = pytest_rayperf.plugin\n" in scripts


def test_installed_package_is_what_is_imported(site, tmp_path):
    output = run(
        "-c", "import pytest_rayperf; print(pytest_rayperf.__file__)", cwd=tmp_path, PYTHONPATH=str(site)
    )

    assert Path(output.strip()) == site / "pytest_rayperf" / "__init__.py"


def test_installed_plugin_is_loaded_through_its_entry_point(site, tmp_path):
    (tmp_path / "test_mine.py").write_text(
        """
def test_where(pytestconfig):
    print(f"loaded from {pytestconfig.pluginmanager.get_plugin('rayperf').__file__}")

def test_skipped_without_the_option(rayperf):
    raise AssertionError("must not run")
"""
    )

    output = run("-m", "pytest", "-rs", "-s", "-p", "no:cacheprovider", cwd=tmp_path, PYTHONPATH=str(site))

    assert f"loaded from {site / 'pytest_rayperf' / 'plugin.py'}" in output
    assert "runs with --rayperf" in output
    assert "1 passed, 1 skipped" in output


def test_installed_package_makes_an_html_report(site, tmp_path):
    report = tmp_path / "run.json"
    report.write_text(json.dumps(FULL))

    output = run(
        "-c",
        f"import json; from pytest_rayperf.reports.html import render; "
        f"print(render(json.load(open({str(report)!r}))))",
        cwd=tmp_path,
        PYTHONPATH=str(site),
    )

    assert output == render(FULL) + "\n"


def test_installed_plugin_describes_itself(site, tmp_path):
    for option, text in (
        ("--markers", "@pytest.mark.rayperf"),
        ("--help", "--rayperf-gate"),
        ("--fixtures", "Measures a Ray Data pipeline"),
    ):
        output = run("-m", "pytest", option, cwd=tmp_path, PYTHONPATH=str(site), COLUMNS="200")

        assert text in output


def test_tox_tests_the_lowest_ray_of_the_package():
    (pinned,) = (r for r in _tox_requirements("testenv:py-ray{lowest,newest}") if r.name == "ray")
    (required,) = (r for r in map(Requirement, _project()["dependencies"]) if r.name == "ray")
    (lowest,) = (Version(s.version) for s in required.specifier if s.operator == ">=")
    (pin,) = (Version(s.version) for s in pinned.specifier if s.operator == "==")

    assert required.extras == pinned.extras == {"data"}
    assert pin.release[:2] == lowest.release[:2]
    assert pin >= lowest


def test_tox_lints_with_the_linter_of_the_test_extra():
    extra = _project()["optional-dependencies"]["test"]

    assert [str(r) for r in _tox_requirements("testenv:lint")] == [e for e in extra if e.startswith("ruff")]


def _project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _tox_requirements(section):
    parser = configparser.ConfigParser(comment_prefixes=(";", "#"))
    parser.read(ROOT / "tox.ini", encoding="utf-8")
    lines = parser[section]["deps"].split("\n")
    return [Requirement(line.partition(": ")[2] or line) for line in lines if line.strip()]


class TestReadmeCommands:
    GOOD = (
        "# Title\n\n<!-- command: perf -->\n```sh\npip install -e . && pytest --rayperf\n```\n"
        "text\n\n<!-- command: tests -->\n```sh\npip install -e '.[test]' && pytest tests\n```\n"
    )

    @pytest.fixture
    def read(self):
        spec = importlib.util.spec_from_file_location("readme_commands", README_COMMANDS)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.read_commands

    def test_of_this_readme(self, read):
        assert read((ROOT / "README.md").read_text(encoding="utf-8")) == {
            "perf": "pip install -e . && pytest --rayperf",
            "tests": (
                "pip install -e '.[test]' && pytest tests/integration "
                "&& pytest -n 2 --dist loadfile tests/unit tests/plugin"
            ),
        }

    def test_prints_one(self, tmp_path):
        (tmp_path / "README.md").write_text(self.GOOD)

        output = run(README_COMMANDS, "README.md", "tests", cwd=tmp_path)

        assert output == "pip install -e '.[test]' && pytest tests\n"

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("<!-- command: perf -->\n", "", "no '<!-- command: perf -->'"),
            ("<!-- command: tests -->\n", "", "no '<!-- command: tests -->'"),
            ("command: tests", "command: perf", "'perf' is there twice"),
            ("command: tests", "command: test", "'test' is unknown"),
            ("perf -->\n", "perf -->\n\n", "must come a ```sh block of one line"),
            ("```sh\npip", "```\npip", "must come a ```sh block of one line"),
            (" && pytest --rayperf", "\npytest --rayperf", "must come a ```sh block of one line"),
            ("pip install -e . && pytest --rayperf", "", "must come a ```sh block of one line"),
        ],
    )
    def test_refuses_a_readme_without_them(self, read, old, new, message):
        with pytest.raises(ValueError, match=message):
            read(self.GOOD.replace(old, new, 1))

    def test_fails_loudly(self, tmp_path):
        (tmp_path / "README.md").write_text("# Nothing here\n")

        done = subprocess.run(
            [sys.executable, README_COMMANDS, "README.md", "perf"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "README.md: no '<!-- command: perf -->'\n"

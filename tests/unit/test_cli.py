from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_rayperf import cli
from pytest_rayperf.cli import main
from pytest_rayperf.commands import report
from pytest_rayperf.commands.outcome import INTERRUPTED, USAGE_ERROR, Outcome
from pytest_rayperf.errors import ConfigurationError

COMMANDS = (
    ("advise",),
    ("check",),
    ("compare",),
    ("report",),
    ("baselines",),
    ("baselines", "list"),
    ("baselines", "show"),
    ("baselines", "prune"),
    ("baselines", "history"),
)


class TestArguments:
    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["nonsense"],
            ["advise", "--images", "x"],
            ["advise", "--format", "pdf"],
            ["advise", "-x"],
            ["check", "--seconds", "0.5"],
            ["check", "--seconds", "nan"],
            ["check", "--max-slowdown", "1"],
            ["check", "extra"],
            ["compare"],
            ["compare", "old.json"],
            ["compare", "a", "b", "c"],
            ["compare", "a", "b", "--max-slowdown", "1"],
            ["compare", "a", "b", "--max-slowdown", "nan"],
            ["compare", "a", "b", "--max-slowdown", "x"],
            ["compare", "a", "b", "--alpha", "0"],
            ["compare", "a", "b", "--alpha", "0.6"],
            ["report"],
            ["report", "a", "--format", "html"],
            ["baselines"],
            ["baselines", "drop"],
            ["baselines", "show"],
            ["baselines", "prune", "--keep-sessions", "x"],
        ],
    )
    def test_bad_ones_are_usage_errors(self, arguments, capsys):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == USAGE_ERROR
        assert "usage: rayperf" in capsys.readouterr().err

    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_help(self, command, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "100")
        with pytest.raises(SystemExit) as stopped:
            main([*command, "--help"])
        assert stopped.value.code == 0
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= 100
        assert f"usage: rayperf {' '.join(command)} " in text

    @pytest.mark.parametrize("command", [c for c in COMMANDS if len(c) == 1], ids=" ".join)
    def test_help_shows_examples_that_are_arguments(self, command, capsys):
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        text = capsys.readouterr().out
        lines = text[text.index("examples:\n") :].splitlines()
        examples = [re.split(" {2,}", line.strip())[0].split() for line in lines if "  rayperf " in line]
        assert len(examples) >= 4
        for words in examples:
            assert cli._parser().parse_args(words[1:])

    def test_the_programs_own_help_lists_every_command(self, capsys):
        with pytest.raises(SystemExit):
            main(["--help"])
        text = capsys.readouterr().out
        for command in COMMANDS:
            assert re.search(rf"\n +{command[0]}\s", text)

    def test_version(self, capsys):
        with pytest.raises(SystemExit):
            main(["--version"])
        assert capsys.readouterr().out.startswith("rayperf ")


@pytest.fixture
def outcome(monkeypatch):
    """Lets `rayperf report` have any outcome."""

    def outcome(given):
        def run(arguments):
            if isinstance(given, BaseException):
                raise given
            return given

        monkeypatch.setattr(report, "run", run)

    return outcome


class TestOutcome:
    def test_text_problems_and_status(self, outcome, capsys):
        outcome(Outcome("text\n", 7, ("one", "two")))
        assert main(["report", "x"]) == 7
        assert capsys.readouterr() == ("text\n", "one\ntwo\n")

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            ("--rayperf-data nowhere: no", "--data nowhere: no"),
            ("--rayperf-baselines x: is a file", "--baselines x: is a file"),
            ("accept with --rayperf-update-baselines", "accept with --rayperf-update-baselines"),
            ("pytest --rayperf --rayperf-json RUN.json", "pytest --rayperf --rayperf-json RUN.json"),
        ],
    )
    def test_an_error_names_this_programs_options(self, outcome, capsys, said, told):
        outcome(ConfigurationError(said))
        assert main(["report", "x"]) == USAGE_ERROR
        assert capsys.readouterr() == ("", f"rayperf: error: {told}\n")

    def test_ctrl_c(self, outcome, capsys):
        outcome(KeyboardInterrupt())
        assert main(["report", "x"]) == INTERRUPTED
        assert capsys.readouterr() == ("", "rayperf: interrupted\n")

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
    def test_whatever_the_terminal_knows(self, encoding):
        done = program(
            "import pytest_rayperf.commands.report as r", _SAYS.format("'é … \\ud800'"), encoding=encoding
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.decode(encoding).endswith("\\ud800")

    def test_a_reader_that_has_read_enough(self):
        code = _SAYS.format("'x' * 10**6")
        with subprocess.Popen(
            [sys.executable, "-c", f"import pytest_rayperf.commands.report as r\n{code}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as running:
            running.stdout.read(10)
            running.stdout.close()
            assert running.stderr.read() == b""
        assert running.returncode == 0

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
    @pytest.mark.parametrize("size", [1, 10**6])
    def test_a_full_disk(self, size):
        code = _SAYS.format(f"'x' * {size}, 1, ('before',)")
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-c", f"import pytest_rayperf.commands.report as r\n{code}"],
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=120,
            )
        assert done.stderr == b"before\nrayperf: error: cannot write: No space left on device\n"
        assert done.returncode == USAGE_ERROR


_SAYS = """
import sys
from pytest_rayperf.cli import main
from pytest_rayperf.commands.outcome import Outcome
r.run = lambda arguments: Outcome({})
sys.exit(main(["report", "x"]))
"""


def program(*lines, encoding="utf-8"):
    return subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        capture_output=True,
        timeout=120,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )


def test_help_imports_nothing_that_it_does_not_need():
    heavy = ("scipy", "numpy", "pandas", "ray", "torch", "pytest", "tabulate", "jinja2")
    done = program(
        "import sys",
        "from pytest_rayperf.cli import _parser",
        "_parser().format_help()",
        f"print([name for name in {heavy!r} if name in sys.modules])",
    )
    assert done.stdout.decode().strip() == "[]"


def test_every_module_of_a_command_says_what_it_is():
    folder = Path(cli.__file__).parent / "commands"
    for path in sorted(folder.glob("*.py")):
        assert path.name == "__init__.py" or path.read_text(encoding="utf-8").startswith('"""')


@pytest.mark.parametrize("module", ["pytest_rayperf", "pytest_rayperf.cli"])
def test_as_a_module_it_is_the_same_program(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "compare", "no.json", "no.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == USAGE_ERROR
    assert "rayperf: error: no.json: " in done.stderr

"""Prints the commands that README.md tells a new user to run, so that CI runs those and no others.

    python .ci/readme_commands.py README.md perf

A command is the one line of a `sh` block under a comment that names it:

    <!-- command: perf -->
    ```sh
    pip install -e . && pytest --rayperf
    ```
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

NAMES = ("perf", "tests")

_COMMENT = re.compile(r"^<!-- command: (?P<name>.*?) -->$", re.MULTILINE)
_BLOCK = re.compile(r"\n```sh\n(?P<command>[^\n]*\S[^\n]*)\n```(?:\n|$)")


def read_commands(text: str) -> dict[str, str]:
    """The commands by name, exactly those of `NAMES`.

    Raises:
        ValueError: one is missing, there twice or unknown, or has no block of one line right below it.
    """
    commands: dict[str, str] = {}
    for comment in _COMMENT.finditer(text):
        name = comment["name"]
        if name not in NAMES:
            raise ValueError(f"command {name!r} is unknown; there are {', '.join(NAMES)}")
        if name in commands:
            raise ValueError(f"command {name!r} is there twice")
        block = _BLOCK.match(text, comment.end())
        if block is None:
            raise ValueError(f"below '{comment.group()}' must come a ```sh block of one line")
        commands[name] = block["command"].strip()
    for name in NAMES:
        if name not in commands:
            raise ValueError(f"no '<!-- command: {name} -->'")
    return commands


def main(arguments: list[str]) -> int:
    """Print one command; exit status 1 if the file does not hold both, 2 if called wrongly."""
    if len(arguments) != 2 or arguments[1] not in NAMES:
        print(f"usage: readme_commands.py README {{{','.join(NAMES)}}}", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    try:
        commands = read_commands(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 1
    print(commands[arguments[1]])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

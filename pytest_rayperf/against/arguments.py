"""Which of the near side's arguments the far side's pytest gets too."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

_FLAGS = frozenset(
    {
        *("-x", "--exitfirst", "--lf", "--last-failed", "--ff", "--failed-first", "--nf", "--new-first"),
        *("--sw", "--stepwise", "--sw-skip", "--stepwise-skip", "--sw-reset", "--stepwise-reset"),
        *("--pdb", "--trace", "--co", "--collect-only", "--cache-clear"),
    }
)
_WITH_VALUE = frozenset(
    {
        *("-k", "-m", "--maxfail", "--deselect", "--lfnf", "--last-failed-no-failures", "--pdbcls"),
        *("--junitxml", "--junit-xml", "--log-file", "--rootdir", "--basetemp", "-n", "--numprocesses"),
    }
)
"""What chooses tests, ends early, or is written to a file: the near side's alone."""

_OURS = "--rayperf"
_THEIRS = ("--benchmark-json", "--benchmark-save", "--benchmark-storage", "--benchmark-histogram")


def carried(
    arguments: Sequence[str], positional: Collection[str], own_flags: Collection[str] = ()
) -> list[str]:
    """The arguments that are neither tests, nor ours, nor the near side's alone.

    Options that a project's own conftest.py has are what its tests may depend on.

    Args:
        arguments: of the near side, as they were given.
        positional: those of them that are tests.
        own_flags: our options that have no value.
    """
    return list(_carried(arguments, set(positional), set(own_flags)))


def _carried(arguments: Sequence[str], positional: set[str], own_flags: set[str]) -> Iterator[str]:
    left = iter(arguments)
    for argument in left:
        name, equals, _ = argument.partition("=")
        ours = name == _OURS or name.startswith(f"{_OURS}-")
        if name in _WITH_VALUE or name in _THEIRS or (ours and name not in own_flags):
            if not equals:
                next(left, None)
        elif not (ours or name in _FLAGS or argument in positional or _is_short(argument)):
            yield argument


def _is_short(argument: str) -> bool:
    """`-kname`, `-mslow`, `-n2`."""
    return len(argument) > 2 and argument[:2] in ("-k", "-m", "-n") and argument[2] != "-"

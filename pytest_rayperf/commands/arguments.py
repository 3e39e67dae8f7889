"""What several subcommands take as arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from pytest_rayperf.options import plain


def number_within(least: float, most: float, wanted: str) -> Callable[[str], float]:
    """The type of an argument that is a number from `least` to `most`; `wanted` says so to the user."""

    def number(text: str) -> float:
        try:
            value = float(text) if plain(text) else float("nan")
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r}: must be {wanted}")
        return value

    return number


a_slowdown = number_within(1.0001, 100, "a factor above 1 and up to 100, such as 1.10")
"""The type of `--max-slowdown`."""

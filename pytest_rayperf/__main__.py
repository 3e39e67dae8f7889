"""`python -m pytest_rayperf` is the program `rayperf`."""

from __future__ import annotations

import sys

from pytest_rayperf.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""`rayperf compare`: a run judged against another, or against the baselines, without measuring."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pytest_rayperf.baselines.stored import files_in, read_stored
from pytest_rayperf.commands.arguments import a_slowdown, number_within
from pytest_rayperf.commands.outcome import REGRESSED, Outcome
from pytest_rayperf.commands.showing import FORMATS, as_text
from pytest_rayperf.errors import ConfigurationError
from pytest_rayperf.offline.runfile import read_run

_ABOUT = """\
Judge the run NEW against OLD: the verdicts are those that pytest --rayperf would have
given, of the rounds that the reports hold. Nothing is measured.

OLD is one of
  a report              its rounds are a baseline of one session
  a folder of baselines, such as baselines/
                        those of NEW's environment; where it has none, what has no noise
                        (counters, rows) is compared with another's
  one environment's folder, such as baselines/linux-x86_64-...
                        those, wherever they were recorded

Runs of two environments are compared in what carries over between machines; their
times are incomparable.
"""

_EXAMPLES = """\
examples:
  rayperf compare old.json new.json                      two runs
  rayperf compare baselines new.json                     a run and the accepted baselines
  rayperf compare main.json pr.json --format markdown    for a pull request's comment
  rayperf compare old.json new.json --max-slowdown 1.05  a stricter threshold

exit status: 1 if anything regressed or is invalid, 0 if not, 2 if OLD or NEW cannot be used.
"""


def add(commands: Any) -> None:
    """Declare it."""
    parser = commands.add_parser(
        "compare",
        help="judge a run against another run, or against the baselines",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("old", metavar="OLD", type=Path, help="a JSON report, or a folder of baselines")
    parser.add_argument("new", metavar="NEW", type=Path, help="a JSON report")
    parser.add_argument(
        "--max-slowdown",
        metavar="X",
        type=a_slowdown,
        help="the slowdown that counts as a regression; default: that of NEW. The mark of a test goes before",
    )
    parser.add_argument(
        "--alpha",
        metavar="P",
        type=number_within(1e-300, 0.5, "a probability above 0 and up to 0.5"),
        help="the chance that the whole comparison raises any false alarm; default: that of NEW",
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: %(default)s")
    parser.set_defaults(run_command=run)


def run(arguments: argparse.Namespace) -> Outcome:
    """Compare.

    Raises:
        ConfigurationError: OLD or NEW cannot be used.
    """
    # Here, for it imports SciPy, and `rayperf --help` shall not wait for that.
    from pytest_rayperf.baselines.store import check_place
    from pytest_rayperf.offline.rejudging import Old, compare, failed, old_baselines, old_run, policy_of

    new_name, old_name = str(arguments.new), str(arguments.old)
    if arguments.new.is_dir():
        raise ConfigurationError(
            f"{new_name}: NEW must be a JSON report, and is a folder; to compare a run with baselines: "
            "rayperf compare BASELINES RUN.json"
        )
    report = read_run(arguments.new)
    old: Old
    if arguments.old.is_dir():
        files = files_in(arguments.old)
        if not files:
            raise ConfigurationError(
                f"{old_name}: has no baselines, neither of its own nor in folders of environments; "
                "record some with: pytest --rayperf --rayperf-update-baselines"
            )
        own = files[0].parent == arguments.old.resolve()
        environment = arguments.old.resolve().name if own else report["environment"]["id"]
        stored = [read_stored(file) for file in files]
        for one in () if own else stored:
            if one.environment == environment:
                check_place(one.baseline, environment, one.shown)
        old = old_baselines(stored, environment, old_name)
    else:
        old = old_run(read_run(arguments.old), old_name)
    policy = policy_of(report, new_name, arguments.max_slowdown, arguments.alpha)
    compared = compare(report, new_name, old, policy)
    return Outcome(as_text(compared, arguments.format), REGRESSED if failed(compared) else 0)

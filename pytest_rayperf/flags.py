"""The options as pytest knows them: names, ini twins, help. What they mean is in `options.py`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

FLAGS = {
    "": (
        "Run the performance tests, and only them: starts Ray, measures, compares with the baselines. "
        "Without it they are skipped."
    ),
    "gate": (
        "For CI: no-baseline, incomparable and invalid fail too. inconclusive is said loudly and does not "
        "fail, for red must mean slower."
    ),
    "strict": "With --rayperf-gate: inconclusive fails as well.",
    "fail-on-improvement": (
        "With --rayperf-gate: improved fails as well, for a baseline that is stale hides the next slowdown."
    ),
    "update-baselines": "Add this run to the baselines, and fail nothing for being slower.",
    "selftest": (
        "Test the gate itself: same against same, and with known slowdowns put into each pipeline. Fails "
        "where it would be wrong too often on this machine. Takes minutes a test: choose some with -k."
    ),
    "profile-udf": (
        "Execute each pipeline once more, untimed, and write a flame graph of each UDF and Ray's timeline to "
        "the folder rayperf-profiles, beside the JSON or HTML report where there is one."
    ),
}
"""The options that have no value, and their help, by what follows `--rayperf-`."""

VALUES: dict[str, tuple[str, str]] = {
    "profile": (
        "NAME",
        "Sizes: quick (default: mobilenet_v3_small, 64 images read in several passes, minutes on 2 cores), "
        "standard (resnet50, 96 images) or full (resnet50, 5,000 images, for a GPU).",
    ),
    "images": ("N", "How many images, instead of the profile's number."),
    "model": ("NAME", "Any torchvision classification model, instead of the profile's."),
    "data": (
        "SOURCE",
        "synthetic (default: made here, offline), imagenette (through torchvision, downloaded once), a "
        "folder of images, or a URI that Ray Data reads.",
    ),
    "weights": (
        "W",
        "random (default: seeded, saved once, loaded as a real checkpoint), imagenet (torchvision's) or a "
        "state_dict file.",
    ),
    "address": ("A", "Attach to the Ray cluster at A and leave it running. Default: start a local one."),
    "baselines": ("DIR", "Where the baselines are. Default: baselines"),
    "against": (
        "REF",
        "Compare with this git revision, both sides measured now, in turn, instead of with the baselines.",
    ),
    "max-slowdown": ("X", "The slowdown, as a factor, that counts as a regression. Default: 1.10"),
    "alpha": ("P", "The chance that a whole run raises any false alarm. Default: 0.01"),
    "min-rounds": ("N", "Rounds before the first look at a benchmark. Default: 3"),
    "max-rounds": ("N", "Rounds after which measuring stops, decided or not. Default: 20"),
    "max-time": ("S", "Seconds a benchmark after which no further round starts. Default: 120"),
    "json": ("PATH", "Write the report there, as JSON."),
    "markdown": (
        "PATH",
        "Write the report there, as Markdown for a pull request's comment. Also appended to the file that "
        "$GITHUB_STEP_SUMMARY names, where that is set.",
    ),
    "html": ("PATH", "Write the report there, as one HTML page with pictures, which opens offline."),
    "cost-per-hour": (
        "USD",
        "What the cluster costs an hour: adds USD per million images and what each fix saves to the reports.",
    ),
}
"""Those that have one: how help names it, and what it says."""

PACKAGES, FAR_SIDE = "against-env", "far-side"
"""The one that may be given several times, and the one that only the near side of a comparison gives."""


def dest_of(name: str) -> str:
    """What pytest keeps an option under, and its ini twin is called."""
    return "rayperf" + (f"_{name.replace('-', '_')}" if name else "")


def flag_of(name: str) -> str:
    """What it is called on the command line."""
    return "--rayperf" + (f"-{name}" if name else "")


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and its ini twin (`--rayperf-max-slowdown`: `rayperf_max_slowdown`)."""
    group = parser.getgroup("rayperf", "performance tests of Ray Data batch inference")
    for name, text in FLAGS.items():
        group.addoption(
            flag_of(name), action="store_true", default=None, dest=dest_of(name), help=_escape(text)
        )
        parser.addini(dest_of(name), f"As {flag_of(name)}.", type="bool", default=False)
    for name, (metavar, text) in VALUES.items():
        group.addoption(flag_of(name), metavar=metavar, default=None, dest=dest_of(name), help=_escape(text))
        parser.addini(dest_of(name), f"As {flag_of(name)}.", type="string", default="")
    group.addoption(
        flag_of(PACKAGES),
        metavar="REQ",
        action="append",
        default=None,
        dest=dest_of(PACKAGES),
        help="The far side runs with this package instead (ray==2.58.1); may be given several times. Without "
        "--rayperf-against it has the files of this side.",
    )
    parser.addini(dest_of(PACKAGES), f"As {flag_of(PACKAGES)}. One a line.", type="linelist", default=[])
    group.addoption(flag_of(FAR_SIDE), type=int, default=None, dest=dest_of(FAR_SIDE), help=argparse.SUPPRESS)


def _escape(text: str) -> str:
    return text.replace("%", "%%")


def own_flags() -> frozenset[str]:
    """Our options that have no value."""
    return frozenset(map(flag_of, FLAGS))

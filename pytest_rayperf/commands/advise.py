"""`rayperf advise`: what to set for a cluster, data set and model; and what a measured run shows."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_rayperf.advising.advice import Situation, advise, situation_of
from pytest_rayperf.advising.symptoms import symptoms
from pytest_rayperf.commands.outcome import Outcome
from pytest_rayperf.errors import ConfigurationError
from pytest_rayperf.offline.runfile import read_run
from pytest_rayperf.options import PROFILES
from pytest_rayperf.reports.advice import FORMATS, render

DECODED_ROW = 256 * 256 * 3
"""Bytes of a row's image as `ImageSource.read` gives it unless told otherwise: uint8, 256 x 256, RGB."""

_EXAMPLE = """\
examples:
  rayperf advise                                  this machine, the synthetic images
  rayperf advise --data photos/ --model resnet50  your images, the model that will classify them
  rayperf advise --address 10.0.0.5:6379          a running cluster, which is left running
  rayperf advise --run rayperf.json               what a measured run shows; starts no Ray

Blocks, pool and first batch by Ray's documented rules, with the arithmetic and the
sources. They are where to begin, not where to stop: measure from there. With --run also
which symptoms a run's figures show, why, and what to do. Given alone, --run advises on
the machine and data that the run names, and starts no Ray.
"""


@dataclass(frozen=True)
class Subject:
    """What to advise on, as asked for on the command line; None takes the default."""

    address: str | None
    data: str | None
    images: int | None
    model: str | None
    weights: str | None

    @property
    def given(self) -> bool:
        """Whether anything was asked for."""
        return any(value is not None for value in vars(self).values())


Survey = Callable[[Subject], Situation]


def add(commands: Any) -> None:
    """Declare it."""
    parser = commands.add_parser(
        "advise",
        help="what to set for a cluster, data set and model, and why",
        description="Print what to set for this cluster, data set and model, and why.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    quick = PROFILES["quick"]
    parser.add_argument("--address", metavar="A", help="attach to the Ray cluster at A; default: start one")
    parser.add_argument(
        "--data",
        metavar="SOURCE",
        help="synthetic (default), imagenette, a folder of images, or a URI that Ray Data reads",
    )
    parser.add_argument(
        "--images", metavar="N", type=int, help=f"how many images; default: {quick.images}, or all if fewer"
    )
    parser.add_argument(
        "--model", metavar="NAME", help=f"a torchvision classification model; default: {quick.model}"
    )
    parser.add_argument(
        "--weights", metavar="W", help="random (default), imagenet (torchvision's) or a state_dict file"
    )
    parser.add_argument(
        "--run", metavar="RUN.json", type=Path, help="a report of pytest --rayperf --rayperf-json RUN.json"
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: %(default)s")
    parser.set_defaults(run_command=run)


def run(arguments: argparse.Namespace) -> Outcome:
    """Advise; `arguments.survey` looks at the cluster, None for real."""
    survey: Survey = arguments.survey or survey_cluster
    subject = Subject(arguments.address, arguments.data, arguments.images, arguments.model, arguments.weights)
    found = situation = None
    if arguments.run is not None:
        report = read_run(arguments.run)  # first: a file that cannot be read shall not cost a start of Ray
        found = symptoms(report)
        situation = situation_of(report, DECODED_ROW)
    if subject.given or arguments.run is None:
        situation = survey(subject)
        if situation.cpus < 1:
            raise ConfigurationError(
                "the cluster has no CPU for Ray to schedule; start a node with --num-cpus"
            )
    advice = [] if situation is None else advise(situation)
    # A file or a pipe has no width: then what fits a page.
    width = shutil.get_terminal_size((110, 24)).columns
    return Outcome(render(situation, advice, found, arguments.format, width))


# --- the cluster, for real


def survey_cluster(subject: Subject) -> Situation:
    """Open the data, the model and the cluster, note their sizes, and close the cluster.

    Raises:
        ConfigurationError: one of them cannot be used.
    """
    from pytest_rayperf.cluster import close_cluster, open_cluster
    from pytest_rayperf.data.sources import open_source
    from pytest_rayperf.models.classifier import open_classifier

    quick = PROFILES["quick"]
    images = open_source(subject.data or "synthetic", subject.images, quick.images)
    classifier = open_classifier(subject.model or quick.model, subject.weights or "random")
    cluster = open_cluster(subject.address)
    try:
        resources = cluster.resources
        return Situation(
            cpus=cluster.num_cpus,
            gpus=cluster.num_gpus,
            object_store_bytes=int(resources.get("object_store_memory", 0)),
            memory_bytes=int(resources.get("memory", 0)),
            gpu_memory_bytes=smallest_gpu() if cluster.num_gpus else None,
            rows=images.num_images,
            disk_bytes=images.num_bytes,
            row_bytes=DECODED_ROW,
            # float32 tensors and little else: the file is as large as the parameters.
            model_bytes=Path(classifier.checkpoint).stat().st_size,
        )
    finally:
        close_cluster(cluster)


def smallest_gpu() -> int | None:
    """Bytes of memory of this machine's smallest GPU; None where NVML cannot be asked."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None  # no driver here: the cluster's GPUs are on other machines
    try:
        cards = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return min((int(pynvml.nvmlDeviceGetMemoryInfo(card).total) for card in cards), default=None)
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()

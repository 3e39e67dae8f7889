"""What carries over from a baseline of another machine: what has no noise, with the same software. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from pytest_rayperf.judging.reference import Reference, ReferenceSession
from pytest_rayperf.metrics import OF_BLOCKS
from pytest_rayperf.results import Subject

_SAME = ("python", "ray", "torch", "torchvision", "numpy", "pillow", "pyarrow")


def carried(reference: Reference, software: Mapping[str, str | None], cores: int | None) -> Reference | None:
    """The sessions of `reference` whose counters hold here too; None if there are none.

    Into how many blocks Ray Data cuts the data depends on how many CPUs there are: where that is another
    number, or is not known, the counters of blocks are left out.

    Args:
        reference: another machine's.
        software: the versions here.
        cores: of this machine.
    """
    sessions = [one for one in reference.sessions if _same_software(one.software, software)]
    if not sessions:
        return None
    if cores is None or reference.cores != cores:
        sessions = [_without_blocks(one) for one in sessions]
    return replace(reference, sessions=tuple(sessions), elsewhere=True)


def most_carried(
    references: Iterable[Reference], subject: Subject, software: Mapping[str, str | None], cores: int | None
) -> Reference | None:
    """What carries over of the first that measured the same: of one with as many cores, if there is one."""
    alike = [one for one in references if one.subject == subject]
    alike.sort(key=lambda one: one.cores != cores)  # stable: the first stays the first
    found = (carried(one, software, cores) for one in alike)
    return next((one for one in found if one is not None), None)


def _same_software(one: Mapping[str, str | None], other: Mapping[str, str | None]) -> bool:
    return all(one.get(name) == other.get(name) for name in _SAME)


def _without_blocks(session: ReferenceSession) -> ReferenceSession:
    rounds = (
        replace(one, counters={name: n for name, n in one.counters.items() if name not in OF_BLOCKS})
        for one in session.rounds
    )
    return replace(session, rounds=tuple(rounds))

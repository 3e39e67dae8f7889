"""What rounds are compared with: a baseline, as far as deciding needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_rayperf.results import Probe, Round, Subject
from pytest_rayperf.work.counts import Work

RECENT = 8
"""Sessions that a run is compared with. More would make the reference lag behind what was accepted since."""

ANCHORS = 3
"""Oldest sessions that are kept: ten steps of 2 % are no step to the sessions before, and 1.22x to these."""


@dataclass(frozen=True)
class ReferenceSession:
    """One accepted session of a baseline."""

    rounds: tuple[Round, ...]
    software: Mapping[str, str | None] = field(default_factory=dict)
    work: Work | None = None
    probe: Probe | None = None


@dataclass(frozen=True)
class Reference:
    """A baseline. `name` is the file, for the messages; the oldest session comes first."""

    name: str
    subject: Subject
    sessions: tuple[ReferenceSession, ...]

    @property
    def recent(self) -> tuple[ReferenceSession, ...]:
        """The last accepted sessions, which a run is compared with first."""
        return self.sessions[-RECENT:]

    @property
    def anchor(self) -> tuple[ReferenceSession, ...]:
        """The oldest sessions that are kept, where they are not among the recent ones."""
        return self.sessions[: min(ANCHORS, max(0, len(self.sessions) - RECENT))]

    @property
    def work(self) -> Work | None:
        """The work that was counted last; None if it never was."""
        return next((s.work for s in reversed(self.sessions) if s.work is not None), None)

    def work_with(self, software: Mapping[str, str]) -> Work | None:
        """The work that was counted last with these versions; if it never was, with any."""
        counted = (s.work for s in reversed(self.sessions) if s.work is not None)
        return next((work for work in counted if work.software == software), self.work)

"""What rounds are compared with: a baseline, or the far side, as far as deciding needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_rayperf.machine import Probe
from pytest_rayperf.results import Round, Subject
from pytest_rayperf.work.counts import Work

RECENT = 8
"""Sessions that a run is compared with. More would make the reference lag behind what was accepted since."""

STALE = "the baseline is stale and hides the next slowdown: update it with --rayperf-update-baselines"

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
    """A baseline, or what was measured beside these rounds.

    name: the file, or the far side's name, for the messages.
    subject: what was measured.
    sessions: the oldest first.
    beside: whether its one session was measured now, in turn with the rounds (`--rayperf-against`): the i-th
        of its rounds beside the i-th of theirs.
    cores: of the machine that it was measured on; None where that is not known.
    elsewhere: whether it is another machine's: of times it says nothing.
    a_run: whether it is another run's report, and no baseline that could be added to.
    accepting: whether what is measured is added to it: nobody has to be told how.
    """

    name: str
    subject: Subject
    sessions: tuple[ReferenceSession, ...]
    beside: bool = False
    cores: int | None = None
    elsewhere: bool = False
    a_run: bool = False
    accepting: bool = False

    @property
    def source(self) -> str:
        """What messages say of it."""
        if self.a_run:
            return f"against {self.name}"
        return f"{self.name}, measured beside it" if self.beside else f"baseline {self.name}"

    @property
    def is_kept(self) -> bool:
        """Whether it is a baseline: sessions can be added to it."""
        return not (self.beside or self.a_run)

    @property
    def accept(self) -> str:
        """What to do about what got worse and is meant; "" where it cannot be done, or is being done."""
        return self.to_do("accept with --rayperf-update-baselines")

    @property
    def update(self) -> str:
        """What to do about what got better; "" in the same cases."""
        return self.to_do(STALE)

    def to_do(self, what: str) -> str:
        """The end of a sentence that says `what` to do with the baseline; "" in the same cases."""
        return f"; {what}" if self.is_kept and not self.accepting else ""

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

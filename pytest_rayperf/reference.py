"""What rounds are compared with: a baseline, as far as deciding needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_rayperf.results import Round, Subject
from pytest_rayperf.work.counts import Work


@dataclass(frozen=True)
class ReferenceSession:
    """One accepted session of a baseline."""

    rounds: tuple[Round, ...]
    software: Mapping[str, str | None] = field(default_factory=dict)
    work: Work | None = None


@dataclass(frozen=True)
class Reference:
    """A baseline. `name` is the file, for the messages; the oldest session comes first."""

    name: str
    subject: Subject
    sessions: tuple[ReferenceSession, ...]

    @property
    def work(self) -> Work | None:
        """The work that was counted last; None if it never was."""
        return next((s.work for s in reversed(self.sessions) if s.work is not None), None)

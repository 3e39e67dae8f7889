"""What every monitor looks like to the code that uses one."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, TypeVar

_Self = TypeVar("_Self", bound="Monitor")


class Monitor(Protocol):
    """Watches something while a `with` block runs, and sums it up afterwards.

    A monitor that breaks never ends the run: its figures are then missing and `problem` says why.
    """

    @property
    def available(self) -> bool:
        """Whether there is something to watch on this machine and it can still be watched."""

    @property
    def problem(self) -> str | None:
        """Why figures are missing, in a sentence; None while nothing is wrong."""

    def __enter__(self: _Self) -> _Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

    def summary(self) -> Mapping[str, float | None]:
        """Figure by name; None where it was not measured, which is never 0."""

"""Pipelines measured in turn that must compute the same: of a duel, a ladder or a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_rayperf.machine import Probe
from pytest_rayperf.measurement import Pipeline, Samples
from pytest_rayperf.outputs import RELATIVE, difference
from pytest_rayperf.wrong import gist, out_of_memory, row_difference

if TYPE_CHECKING:
    from pytest_rayperf.harness.beside import Beside


@dataclass
class Contest:
    """What was measured, and whether the outputs were equal.

    Args:
        sides: for each pipeline what messages call it; the first is what the others are compared with.
        columns: the output columns to compare; all if empty.
        tolerance: relative, of floats.
        label_tolerance: share of the rows whose integers may differ.
    """

    sides: Mapping[str, str]
    columns: tuple[str, ...] = ()
    tolerance: float = RELATIVE
    label_tolerance: float = 0.0
    samples: Samples = field(default_factory=Samples)
    compared: bool = False
    difference: str | None = None
    probe: Probe | None = None
    beside: Beside | None = None
    """What the far side has of it."""
    error: BaseException | None = None
    """What a pipeline raised; of a duel it is raised again in its other item."""

    def accept_outputs(self, samples: Samples) -> bool:
        """Compare the warm-ups' outputs; False if any two differ, or one has some and another has none."""
        outputs = {name: samples.outputs[name] for name in self.sides if name in samples.outputs}
        silent = [self.sides[name] for name in samples.rounds if name in self.sides and name not in outputs]
        if outputs and silent:
            self.difference = (
                f"{self.sides[next(iter(outputs))]} gives rows, {silent[0]} none to compare them with; "
                "return a dataset in both, or give the written rows (after_round, Inspection.outputs)"
            )
            return False
        if len(outputs) < 2:
            return True
        self.compared = True
        (first, reference), *others = outputs.items()
        for name, output in others:
            names = (self.sides[first], self.sides[name])
            self.difference = difference(
                reference,
                output,
                self.columns or None,
                sides=names,
                tolerance=self.tolerance,
                label_tolerance=self.label_tolerance,
            )
            if self.difference is not None:
                return False
        return True

    def compare_rows(self) -> None:
        """Compare the rounds' numbers of rows: all that can be compared where nothing was fetched."""
        if self.error is None and self.difference is None:
            self.difference = row_difference(self.samples, self.sides)

    @property
    def outputs_equal(self) -> bool | None:
        """None where they could not be compared."""
        if self.difference is not None:
            return False
        return True if self.compared else None


class _SweepEndedError(Exception):
    """This setting is beyond the one at which memory ran out."""


class SweepLimit:
    """Ends a sweep where memory runs out: the settings from there on are left out.

    Args:
        settings: ascending.
    """

    def __init__(self, settings: list[str]) -> None:
        self._settings = settings
        self._allowed = len(settings)
        self.reason = ""
        """Where and why it ended; empty if it did not."""

    @property
    def left_out(self) -> list[str]:
        """The settings that do not count, those among them that had run before one below them broke."""
        return self._settings[self._allowed :]

    def guard(self, name: str, pipeline: Pipeline) -> Pipeline:
        """`pipeline`, which is not executed any more once the sweep ended below it."""
        index = self._settings.index(name)

        def run() -> Any:
            if index >= self._allowed:
                raise _SweepEndedError(name)
            return pipeline()

        return run

    def gives_up(self, name: str, error: Exception) -> bool:
        """Whether to go on without `name`; False where none would be left, or where it broke otherwise."""
        index = self._settings.index(name)
        if isinstance(error, _SweepEndedError):
            return True
        if not out_of_memory(error) or index == 0:
            return False
        if index < self._allowed:
            self._allowed = index
            self.reason = f"out of memory at {name}: {gist(error)}"
        return True

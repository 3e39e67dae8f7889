"""Slowdowns that the self-test puts into a pipeline: CPU work, waiting or a model load in each call of a UDF.

A fault travels to the workers as a plain tuple beside the UDF (`instrumenting.py`): a worker without this
package calls the UDF as if there were none. How much is put in is calibrated from rounds without a fault.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pytest_rayperf.results import Round

Kind = Literal["CPU", "waiting", "model load"]

PutIn = tuple[str, float, str, str]
"""What a worker gets: the kind, seconds a call, torchvision's name of the model, its checkpoint."""

LOADS_AT_MOST = 2.0
"""Loading takes at most so many times as long as the UDF itself, in each process: with a load a batch, a UDF
that takes microseconds would never end."""

LEAST_SHARE = 0.1
"""Of waiting that is put in, at least this share is taken to lengthen the round. Below it nearly all of the
waiting hides behind other work, and what would lengthen the round as wanted would take a multiple of it."""


@dataclass(frozen=True)
class Fault:
    """What is put in at each call of one UDF.

    Args:
        kind: what it does.
        udf: the UDF's name, as its calls have it (`Call.udf`).
        seconds: of CPU time, or of waiting, a call. A model load takes what it takes.
    """

    kind: Kind
    udf: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Calls:
    """Calls of one UDF: its name, how many a round, and their seconds a round."""

    udf: str
    count: int
    seconds: float


def heaviest(rounds: Sequence[Round]) -> Calls | None:
    """The UDF that the rounds spent most time in; None where no call of any was seen in some round."""
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for round_ in rounds:
        for name in {call.udf for call in round_.calls}:
            times = [call.seconds for call in round_.calls if call.udf == name]
            found[name].append((len(times), sum(times)))
    everywhere = [
        Calls(name, int(statistics.median(n for n, _ in seen)), statistics.median(s for _, s in seen))
        for name, seen in found.items()
        if len(seen) == len(rounds)
    ]
    return max(everywhere, key=lambda calls: calls.seconds, default=None)


def cpu_fault(rounds: Sequence[Round], calls: Calls, factor: float) -> Fault | None:
    """CPU work that makes the round's CPU seconds `factor` times what they were; None where not measured."""
    known = [each * r.rows for r in rounds if (each := r.cpu_seconds_per_row)]
    if not known:
        return None
    return Fault("CPU", calls.udf, (factor - 1) * statistics.median(known) / calls.count)


def trial_waiting(rounds: Sequence[Round], calls: Calls) -> Fault:
    """Waiting as long as a whole round, in its calls together: it shows how much of it lengthens a round."""
    return Fault("waiting", calls.udf, _wall(rounds) / calls.count)


def waiting_fault(rounds: Sequence[Round], calls: Calls, factor: float, trial: Round) -> Fault:
    """Waiting that makes a round take `factor` times as long.

    Calls that run at once wait at once, and some waiting hides behind other work: which share of it
    lengthens a round is told by the one `trial` of `trial_waiting`.
    """
    wall = _wall(rounds)
    share = min(1.0, max(LEAST_SHARE, (trial.wall_seconds - wall) / wall))
    return Fault("waiting", calls.udf, (factor - 1) * wall / (share * calls.count))


def _wall(rounds: Sequence[Round]) -> float:
    return statistics.median(r.wall_seconds for r in rounds)


_loading = 0.0
"""Seconds that this process has spent on loads that were put in."""

_computing = 0.0
"""Seconds that it has spent in the UDF they were put into."""


class FaultWatch:
    """Stands beside one call in a worker (`instrumenting.Watch`): what is put in comes before its first step.

    Args:
        kind, seconds, model, checkpoint: as in `PutIn`.
        load: loads the model.
    """

    def __init__(
        self,
        kind: str,
        seconds: float,
        model: str,
        checkpoint: str,
        load: Callable[[str, str], Any] | None = None,
    ) -> None:
        self._kind = kind
        self._seconds = seconds
        self._model = model
        self._checkpoint = checkpoint
        self._load = load or _load
        self._begun = False
        self._since = 0.0

    def resume(self) -> None:
        """The function is entered."""
        if not self._begun:
            self._begun = True
            self._put_in()
        self._since = time.perf_counter()

    def pause(self) -> None:
        """It is left."""
        global _computing
        _computing += time.perf_counter() - self._since

    def finish(self, *, failed: bool) -> None:
        """The call is over."""

    def _put_in(self) -> None:
        global _loading
        if self._kind == "CPU":
            end = time.thread_time() + self._seconds
            while time.thread_time() < end:
                pass
        elif self._kind == "waiting":
            time.sleep(self._seconds)
        elif _loading <= LOADS_AT_MOST * _computing:
            start = time.perf_counter()
            self._load(self._model, self._checkpoint)
            _loading += time.perf_counter() - start


def _load(model: str, checkpoint: str) -> None:
    from pytest_rayperf.models.classifier import Classifier

    Classifier(model, checkpoint, weights="", fingerprint="").load()

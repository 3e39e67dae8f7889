"""What the recorded rounds say of the noise: between rounds, between sessions, and of the probe.

    python benchmarks/gate/learn_noise.py

For each metric the log of a figure is split as `pytest_rayperf/statistics.py` does it (Searle, Casella and
McCulloch, "Variance Components", 1992, ch. 3): a part that all rounds of a session share, and one of each
round. The variance between sessions is that of their means, less what the rounds' own noise puts into a mean.

A belief has a weight: the degrees of freedom of the scaled inverse chi-square that the variances of the
benchmarks would be drawn from, fitted to their scatter (Smyth 2004, doi:10.2202/1544-6115.1027, section 6.2).
The less alike they are, the less one of them says of the next.

The probe of fixed work normalises something only if the sessions' means vary less after division by it.
Besides the recorded rounds the committed baselines are read, which are sessions of the whole suite. Of
sessions with laps of fixed work between their rounds it is shown what these are worth.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scipy import optimize, special
from traces import LAPPED, Block, Traces, load

from pytest_rayperf.baselines.format import read_baseline
from pytest_rayperf.machine import Probe
from pytest_rayperf.results import Round

BASELINES = Path(__file__).resolve().parents[2] / "baselines"


@dataclass(frozen=True)
class Session:
    """The rounds of one benchmark in one session, and the probe around them."""

    rounds: Sequence[Round]
    probe: Probe | None


def cpu(session: Session) -> list[float] | None:
    """CPU seconds a row."""
    figures = [r.metric("cpu_seconds_per_row") for r in session.rounds]
    known = [figure for figure in figures if figure]
    return known if len(known) == len(figures) else None


def probed(session: Session) -> list[float] | None:
    """CPU seconds a row, divided by the probe's."""
    figures, probe = cpu(session), session.probe and session.probe.seconds
    return None if figures is None or not probe else [figure / probe for figure in figures]


def probed_at_the_ends(session: Session) -> list[float] | None:
    """CPU seconds a row, divided by computing and memory as they were before and after."""
    return _divided(session, None if session.probe is None else replace(session.probe, between=()))


def probed_by_all_laps(session: Session) -> list[float] | None:
    """CPU seconds a row, divided by computing and memory as they were before, between and after."""
    return _divided(session, session.probe)


def _divided(session: Session, probe: Probe | None) -> list[float] | None:
    figures = cpu(session)
    slower = None if probe is None else probe.log_slower(Probe(1.0, 1.0, 1.0, 1.0))
    return None if figures is None or slower is None else [figure / math.exp(slower) for figure in figures]


def wall(session: Session) -> list[float] | None:
    """Wall seconds a row."""
    return [r.wall_seconds / r.rows for r in session.rounds]


def busy_cores(session: Session) -> list[float] | None:
    """CPU seconds a second."""
    figures, times = cpu(session), wall(session)
    return None if figures is None or times is None else [a / b for a, b in zip(figures, times, strict=True)]


def memory(session: Session) -> list[float] | None:
    """Peak memory of the workers, where it is the benchmark's own."""
    figures = [r.peak_worker_memory for r in session.rounds if not r.figures.get("reused_workers")]
    known = [float(figure) for figure in figures if figure]
    return known if known and len(known) == len(session.rounds) else None


METRICS: dict[str, Callable[[Session], list[float] | None]] = {
    "CPU seconds a row": cpu,
    "... divided by the probe": probed,
    "wall seconds a row": wall,
    "busy cores": busy_cores,
    "peak worker memory": memory,
}


OF_LAPS = {
    "CPU seconds a row": cpu,
    "... divided by the laps at the ends": probed_at_the_ends,
    "... divided by all laps": probed_by_all_laps,
}
"""Of sessions that have laps between their rounds."""


@dataclass(frozen=True)
class Variance:
    """A sample variance of logs, its degrees of freedom, and what of it is another part's noise."""

    value: float
    df: int
    foreign: float = 0.0


def of_rounds(benchmark: Sequence[list[float]]) -> Iterator[Variance]:
    """Of each session with two rounds or more."""
    for figures in benchmark:
        if len(figures) > 1:
            yield Variance(statistics.variance(map(math.log, figures)), len(figures) - 1)


def of_sessions(benchmark: Sequence[list[float]]) -> Iterator[Variance]:
    """Of the sessions' means, where there are two or more."""
    means = [statistics.fmean(map(math.log, figures)) for figures in benchmark]
    inside = list(of_rounds(benchmark))
    if len(means) > 1 and inside:
        own = statistics.fmean(v.value for v in inside) * statistics.fmean(1 / len(one) for one in benchmark)
        yield Variance(statistics.variance(means), len(means) - 1, own)


def fitted(variances: Sequence[Variance]) -> tuple[float, float]:
    """Standard deviation and weight of the belief; an infinite weight where they scatter as equal ones do."""
    known = [v for v in variances if v.value > 0]
    if len(known) < 2:
        return math.nan, math.nan
    logs = [math.log(v.value) - special.digamma(v.df / 2) + math.log(v.df / 2) for v in known]
    excess = statistics.variance(logs) - statistics.fmean(special.polygamma(1, v.df / 2) for v in known)
    centre = statistics.fmean(logs)
    if excess <= 0:
        return math.exp(centre / 2), math.inf
    weight = 2 * optimize.brentq(lambda half: special.polygamma(1, half) - excess, 1e-3, 1e6)
    return math.exp((centre + special.digamma(weight / 2) - math.log(weight / 2)) / 2), weight


def row(
    source: str,
    name: str,
    benchmarks: Sequence[Sequence[Session]],
    metrics: Mapping[str, Callable[[Session], list[float] | None]] = METRICS,
) -> dict[str, str] | None:
    """A line of the table; None where the metric was not measured."""
    series = [[f for one in benchmark if (f := metrics[name](one))] for benchmark in benchmarks]
    rounds = [v for figures in series for v in of_rounds(figures)]
    sessions = [v for figures in series for v in of_sessions(figures)]
    if not rounds or not sessions:
        return None
    (sd, weight), (between, trust) = fitted(rounds), fitted(sessions)
    own = statistics.fmean(v.foreign for v in sessions)
    pure = statistics.fmean(v.value for v in sessions) - own
    return {
        "source": source,
        "metric": name,
        "rounds: sd": f"{math.sqrt(statistics.fmean(v.value for v in rounds)):.1%}",
        "fitted": f"{sd:.1%}, weight {weight:.1f}",
        "sessions' means: sd": f"{math.sqrt(statistics.fmean(v.value for v in sessions)):.1%}",
        "less the rounds' part": f"{math.sqrt(max(0.0, pure)):.1%}",
        "means fitted": f"{between:.1%}, weight {trust:.1f}",
    }


def recorded(traces: Traces, *kinds: str) -> list[list[Session]]:
    """Its sessions beside one of `kinds`, by machine and pipeline."""

    def one(block: Block) -> Session:
        return Session(block.rounds, block.probe)

    return [
        [one(b) for b in traces.blocks if (b.machine, b.pipeline) == (machine, name) and b.beside in kinds]
        for machine in traces.machines
        for name in traces.pipelines
    ]


def shortened(benchmarks: Sequence[Sequence[Session]], count: int) -> list[list[Session]]:
    """The first `count` rounds of each session, with the laps around them."""

    def one(session: Session) -> Session:
        laps = () if session.probe is None else session.probe.laps[: count + 1]
        return Session(session.rounds[:count], Probe.around(*laps) if laps else None)

    return [[one(session) for session in benchmark] for benchmark in benchmarks]


def of_one_lap(traces: Traces) -> Iterator[str]:
    """By machine, how much fixed work varies from before a pipeline's rounds to after them."""
    for machine in traces.machines:
        probes = [b.probe for b in traces.blocks if b.machine == machine and b.beside != "busy"]
        steps = [math.log(p.before_s) - math.log(p.after_s) for p in probes]
        sd = math.sqrt(statistics.fmean(step**2 for step in steps) / 2)
        yield f"computing before and after, {machine}: sd of one {sd:.1%}"


def sources() -> Iterator[tuple[str, list[list[Session]]]]:
    """The recorded rounds by what ran beside them, and the suite's."""
    traces = load()
    yield "recorded, beside nothing", recorded(traces, "nothing")
    yield "recorded, beside nothing or light", recorded(traces, "nothing", "light")
    yield "recorded, beside busy", recorded(traces, "busy")
    suite = []
    for path in sorted(BASELINES.glob("*/*.json")):
        baseline = read_baseline(path, path.name)
        suite.append([Session(one.rounds, one.probe) for one in baseline.sessions])
    yield "the suite's baselines", suite


def main() -> int:
    """Print the table."""
    from tabulate import tabulate

    found = (row(source, name, benchmarks) for source, benchmarks in sources() for name in METRICS)
    print(tabulate([one for one in found if one], headers="keys", tablefmt="github"))
    lapped = recorded(load(LAPPED), "nothing")
    of_laps = (
        row(f"the first {count} rounds", name, shortened(lapped, count), OF_LAPS)
        for count in (3, 6)
        for name in OF_LAPS
    )
    print(tabulate([one for one in of_laps if one], headers="keys", tablefmt="github"))
    print(*of_one_lap(load()), *of_one_lap(load(LAPPED)), sep="\n")
    for kind in ("nothing", "light", "busy"):
        seconds = [b.probe.seconds or 1.0 for b in load().blocks if b.beside == kind]
        print(f"probe beside {kind}: {1e3 * min(seconds):.2f} to {1e3 * max(seconds):.2f} ms, ", end="")
        print(f"sd of the log {statistics.stdev(map(math.log, seconds)):.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

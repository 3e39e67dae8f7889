"""How often is the gate wrong? Suites of 22 benchmarks, played from the recorded rounds.

    python benchmarks/gate/simulate.py --json gate.json

A suite run takes one recorded session for its own, others of the same kind and machine for its baseline,
and draws the rounds of its 22 benchmarks from them: with replacement, as they were measured, one after the
other until the verdict (`pytest_rayperf.verdict`, the very code that decides) says that it is settled. A
slowdown is put in as a factor on every round of the run: of work on its wall and CPU time, of waiting on the
wall time alone. Pairs are rounds that followed each other in one session.

By cell (noise, reference, kind of slowdown and its factor, threshold) are printed:

- false alarms: suite runs in which a benchmark that is not slower by more than the threshold was called
  regressed, with the upper 95 % limit of Clopper and Pearson (1934, doi:10.1093/biomet/26.4.404); slower by
  just the threshold is the least favourable case;
- found, passed (called unchanged or improved) and inconclusive benchmarks;
- rounds: the mean of ours; how often the verdict is that of a single look after a fixed 20 rounds, and how
  often such a look at 20 other rounds has the same ("20 again": what noise leaves of sameness); how often
  ours is the opposite (one says regressed, and the other that it is not; of the rest one is inconclusive);
  the mean of Wald's test (1945, doi:10.1214/aoms/1177731118) of CPU seconds a row, or of busy cores where
  the slowdown is waiting, against the threshold, for the same errors, told noise and slowdown.
  (`known_noise.py` compares with it where the gate is told the noise, too.)

With `--lapped all` the sessions are those with laps of fixed work between their rounds; with `--lapped ends`
the same, as if there had been laps before and after only.

Exit status 1 if a cell has more than 1 % false alarms, or passes more than 5 % of the slowdowns that are
beyond the threshold.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from itertools import product
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from scipy import stats
from traces import LAPPED, Block, Traces, by_the_ends, load, slower
from wald import expected_rounds

from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.judging.reference import Reference, ReferenceSession
from pytest_rayperf.metrics import CPU_PER_ROW
from pytest_rayperf.results import Round, Subject, Verdict
from pytest_rayperf.verdict import judge, judge_pairs, settled, settled_pairs

BENCHMARKS = 22
RECORDED_ROUNDS = 3
"""Of a session in a baseline: as many as --rayperf-update-baselines measures."""

NOISES = ("nothing", "light", "busy")
REFERENCES = ("1 session", "3 sessions", "5 sessions", "pairs")
SLOWDOWNS = (
    ("work", 1.0),
    ("work", 1.03),
    ("work", 1.05),
    ("work", 1.10),
    ("work", 1.20),
    ("waiting", 1.20),
)
LARGE = (("work", 1.50), ("work", 2.0), ("waiting", 1.50))
"""Played with --more: what stored baselines find."""

NARROW = (("work", 1.0), ("work", 1.05), ("work", 1.10))
"""Played with --more, with a threshold of 1.03 and pairs: stored baselines cannot see so little."""

FIXED = 10
"""In every tenth suite run the verdict of a fixed 20 rounds is asked for as well, and of 20 others."""

PASSED = ("unchanged", "improved")

SUBJECT = Subject("recorded", "recorded", "0", 1, "recorded", "recorded")


@dataclass(frozen=True)
class Cell:
    """What is played."""

    noise: str
    reference: str
    kind: str
    slowdown: float
    threshold: float


@dataclass
class Count:
    """What came of it."""

    suites: int = 0
    alarmed: int = 0
    """Suite runs with any benchmark called regressed."""
    statuses: Counter[str] = field(default_factory=Counter)
    fixed: int = 0
    """Benchmarks of which the verdict of 20 rounds was asked for; how many had the same, or the opposite."""
    same_as_fixed: int = 0
    fixed_again: int = 0
    """Of these, in how many 20 other rounds of the same session had the same."""
    opposite: int = 0
    rounds: int = 0

    def add(self, other: Count) -> None:
        """Both together."""
        self.suites += other.suites
        self.alarmed += other.alarmed
        self.statuses += other.statuses
        self.fixed += other.fixed
        self.same_as_fixed += other.same_as_fixed
        self.fixed_again += other.fixed_again
        self.opposite += other.opposite
        self.rounds += other.rounds

    @property
    def benchmarks(self) -> int:
        """How many were judged."""
        return sum(self.statuses.values())


Draw = Callable[[], tuple[Round, Round | None]]
"""The next round of this run, and the one of the reference that was measured beside it."""


def play(cell: Cell, traces: Traces, generator: np.random.Generator, *, fixed: bool) -> Count:
    """One suite run; `fixed` asks for the verdict of all 20 rounds as well."""
    wanted = 0 if cell.reference == "pairs" else int(cell.reference.split()[0])
    own, others = traces.drawn_sessions(cell.noise, wanted, generator)
    count, rejected = Count(suites=1), 0
    for index in range(BENCHMARKS):
        pipeline = traces.pipelines[index % len(traces.pipelines)]
        policy = Policy(max_slowdown=cell.threshold, comparisons=BENCHMARKS - rejected)
        block = traces.block(own, pipeline)
        if cell.reference == "pairs":
            verdict, rounds, wholes = with_pairs(block, cell, policy, generator, fixed=fixed)
        else:
            blocks = [traces.block(name, pipeline) for name in others]
            verdict, rounds, wholes = with_baseline(blocks, block, cell, policy, generator, fixed=fixed)
        rejected += verdict.status == "regressed"
        count.statuses[verdict.status] += 1
        count.rounds += rounds
        if wholes:
            whole, again = (verdict.status for verdict in wholes)
            count.fixed += 1
            count.same_as_fixed += verdict.status == whole
            count.fixed_again += again == whole
            count.opposite += is_opposite(verdict.status, whole)
    count.alarmed = int(rejected > 0)
    return count


def is_opposite(one: str, other: str) -> bool:
    """Whether one says regressed and the other that it is not."""
    both = {one, other}
    return "regressed" in both and not both.isdisjoint(PASSED)


def with_baseline(
    blocks: Sequence[Block],
    own: Block,
    cell: Cell,
    policy: Policy,
    generator: np.random.Generator,
    *,
    fixed: bool,
) -> tuple[Verdict, int, list[Verdict]]:
    """The verdict against a stored baseline, its rounds; if `fixed` those of all 20 rounds, and of others."""
    sessions = (
        ReferenceSession(tuple(drawn(b.rounds, RECORDED_ROUNDS, generator)), probe=b.probe) for b in blocks
    )
    reference = Reference("recorded.json", SUBJECT, tuple(sessions))

    def measured() -> list[Round]:
        return [slower(r, cell.slowdown, cell.kind) for r in drawn(own.rounds, policy.looks[-1], generator)]

    rounds = measured()
    last = next(
        (n for n in policy.looks if settled(rounds[:n], SUBJECT, reference, policy, own.probe)),
        policy.looks[-1],
    )
    once = replace(policy, looks=(policy.looks[-1],))
    verdict = judge(rounds[:last], SUBJECT, reference, policy, probe=own.probe)
    several = [rounds, measured()] if fixed else []
    return verdict, last, [judge(one, SUBJECT, reference, once, probe=own.probe) for one in several]


def with_pairs(
    own: Block, cell: Cell, policy: Policy, generator: np.random.Generator, *, fixed: bool
) -> tuple[Verdict, int, list[Verdict]]:
    """The verdict against rounds measured in turn, its rounds; if `fixed` those of 20 pairs, and others."""

    def measured() -> tuple[list[Round], list[Round]]:
        starts = generator.integers(0, len(own.rounds) - 1, policy.looks[-1])
        swapped = generator.integers(0, 2, policy.looks[-1])
        then = [own.rounds[s + w] for s, w in zip(starts, swapped, strict=True)]
        after = [own.rounds[s + 1 - w] for s, w in zip(starts, swapped, strict=True)]
        return then, [slower(r, cell.slowdown, cell.kind) for r in after]

    then, now = measured()
    last = next((n for n in policy.looks if settled_pairs(then[:n], now[:n], policy)), policy.looks[-1])
    once = replace(policy, looks=(policy.looks[-1],))
    several = [(then, now), measured()] if fixed else []
    verdict = judge_pairs(then[:last], now[:last], policy)
    return verdict, last, [judge_pairs(*one, once) for one in several]


def drawn(rounds: Sequence[Round], count: int, generator: np.random.Generator) -> list[Round]:
    """`count` of the rounds, with replacement."""
    return [rounds[i] for i in generator.integers(0, len(rounds), count)]


@lru_cache(maxsize=1)
def recorded(lapped: str | None = None) -> Traces:
    """The traces, once a process."""
    if lapped is None:
        return load()
    return load(LAPPED) if lapped == "all" else by_the_ends(load(LAPPED))


def play_many(task: tuple[Cell, int, int, str | None]) -> tuple[Cell, Count]:
    """`suites` suite runs of a cell, with a seed of their own."""
    cell, suites, seed, lapped = task
    whole = Count()
    generator = np.random.default_rng([seed, *json.dumps(asdict(cell), sort_keys=True).encode()])
    for number in range(suites):
        whole.add(play(cell, recorded(lapped), generator, fixed=number % FIXED == 0))
    return cell, whole


def cells(options: argparse.Namespace) -> Iterator[Cell]:
    """Those that were asked for."""
    slowdowns = LARGE if options.more else SLOWDOWNS
    for noise, reference, (kind, slowdown) in product(options.noise, options.reference, slowdowns):
        yield Cell(noise, reference, kind, slowdown, 1.10)
    narrow = NARROW if options.more and "pairs" in options.reference else ()
    for noise, (kind, slowdown) in product(options.noise, narrow):
        yield Cell(noise, "pairs", kind, slowdown, 1.03)


def upper_limit(hits: int, of: int) -> float:
    """Of the rate, 95 %, one-sided."""
    return 1.0 if hits == of else float(stats.beta.ppf(0.95, hits + 1, of - hits))


def pair_sd(traces: Traces, noise: str, kind: str) -> float:
    """Standard deviation of the log ratio of neighbouring rounds' CPU seconds a row, or busy cores."""
    steps = []
    for block in traces.blocks:
        work = [math.log(r.metric(CPU_PER_ROW.name) or 1) for r in block.rounds]
        waiting = [w + math.log(r.throughput or 1) for w, r in zip(work, block.rounds, strict=True)]
        if block.beside == noise:
            steps.append(np.diff(work if kind == "work" else waiting))
    return float(np.sqrt(np.mean(np.square(np.concatenate(steps)))))


def line(cell: Cell, count: Count, traces: Traces) -> dict[str, object]:
    """A row of the table."""
    total = count.benchmarks
    share = {s: count.statuses[s] / total for s in ("regressed", "inconclusive")}
    passed = sum(count.statuses[status] for status in PASSED) / total
    beyond = cell.slowdown > cell.threshold
    bound = ""
    if cell.reference == "pairs":
        sd = pair_sd(traces, cell.noise, cell.kind)
        bound = f"{expected_rounds(sd, cell.slowdown, cell.threshold, 0.01 / BENCHMARKS):.1f}"
    alarms = f"{count.alarmed / count.suites:.2%} (<= {upper_limit(count.alarmed, count.suites):.2%})"
    return {
        "beside": cell.noise,
        "reference": cell.reference,
        "threshold": f"{cell.threshold:.2f}",
        "slowdown": "none" if cell.slowdown == 1 else f"{cell.kind} {cell.slowdown:.2f}",
        "suites": count.suites,
        "false alarms": "" if beyond else alarms,
        "found": f"{share['regressed']:.1%}",
        "passed": f"{passed:.1%}" + (" false" if beyond else ""),
        "inconclusive": f"{share['inconclusive']:.1%}",
        "rounds": f"{count.rounds / total:.1f}",
        "as 20 rounds": f"{count.same_as_fixed / count.fixed:.1%}",
        "20 again": f"{count.fixed_again / count.fixed:.1%}",
        "opposite": f"{count.opposite / count.fixed:.2%}",
        "Wald": bound,
    }


def holds(cell: Cell, count: Count) -> bool:
    """Whether the cell keeps what is promised."""
    if cell.slowdown <= cell.threshold:
        limit = upper_limit(count.alarmed, count.suites)
        return count.alarmed <= 0.01 * count.suites and limit <= 0.015
    passed = sum(count.statuses[status] for status in PASSED)
    return passed <= 0.05 * count.benchmarks


def main() -> int:
    """Play and print."""
    from tabulate import tabulate

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--suites", type=int, default=2000, help="suite runs a cell")
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--noise", nargs="+", choices=NOISES, help="all that were recorded, by default")
    parser.add_argument("--reference", nargs="+", choices=REFERENCES, default=REFERENCES)
    parser.add_argument("--more", action="store_true", help="other cells: large slowdowns, a low threshold")
    parser.add_argument("--lapped", choices=("all", "ends"), help="sessions with laps between their rounds")
    parser.add_argument("--json", type=Path, help="write the counts here")
    options = parser.parse_args()
    options.noise = options.noise or [n for n in NOISES if recorded(options.lapped).sessions(n)]
    chunk = max(1, min(100, options.suites // options.processes))
    counts = {cell: Count() for cell in cells(options)}
    tasks = [
        (cell, min(chunk, options.suites - done), options.seed + done, options.lapped)
        for cell in counts
        for done in range(0, options.suites, chunk)
    ]
    start = time.monotonic()
    with Pool(options.processes) as pool:
        for number, (cell, count) in enumerate(pool.imap_unordered(play_many, tasks), 1):
            counts[cell].add(count)
            if sys.stderr.isatty() or number % 50 == 0:
                left = (time.monotonic() - start) / number * (len(tasks) - number)
                print(f"\r{number} of {len(tasks)} parts, {left:.0f} s left ", end="", file=sys.stderr)
    print(file=sys.stderr)
    table = [line(cell, count, recorded(options.lapped)) for cell, count in counts.items()]
    print(tabulate(table, headers="keys", tablefmt="github"))
    broken = [cell for cell, count in counts.items() if not holds(cell, count)]
    for cell in broken:
        print(f"not held: {cell}")
    if options.json is not None:
        # asdict() of a Counter counts its items.
        data = [{**asdict(c), **vars(n), "statuses": dict(n.statuses)} for c, n in counts.items()]
        options.json.write_text(json.dumps(data, indent=1) + "\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

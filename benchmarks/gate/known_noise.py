"""Rounds until the gate decides, beside Wald's sequential test, where the noise is known.

    python benchmarks/gate/known_noise.py

Pairs are drawn from log-normal noise. The gate is told how much (a belief of infinite weight), and so is
Wald's test (1945, doi:10.1214/aoms/1177731118). He is told besides how large the slowdown is, if there is
one. The gate is not, and asks for more: neither work nor waiting may have grown by more than the threshold.

- found, passed, inconclusive: what the gate says, which may take so many rounds ("up to").
- rounds: the gate's mean. Wald: that of his test of the slowdown against the threshold, with the errors of
  a gate of 22 benchmarks: a false alarm with alpha / 22, a false pass or a miss with 5 %. It is played on
  the same pairs, for it cannot end between two rounds; "formula" is its mean in theory, which leaves that
  out. The noise that he is told is that of the figure which has to decide: CPU seconds a row for more work,
  busy cores for more waiting; seconds a row, which both are in, where there is nothing to find.
- times: rounds over Wald's. As sure: the gate decides rightly in 95 %, so that both have the same errors.
- from 3: Wald's mean where his test may not end before three rounds either, as the gate may not (the default
  of `--rayperf-min-rounds`; here `--first`), and the rounds over that.
- as one look: how often the verdict is that of a single look at all the rounds, with all of the error.
  Opposite: one of both says regressed, and the other that it is not.
- unknown: the gate on the same pairs, where the same noise is a mere belief, with the weight that it has in
  `noise.py`: what it costs not to know. Right: how often it then says what is true.

Exit status 1 where the gate is as sure, and takes more than 1.5 times the rounds of Wald's test, or of its
own first look, which is after three unless `--first` says otherwise.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from simulate import BENCHMARKS, PASSED, is_opposite
from wald import expected_rounds, rounds_on

from pytest_rayperf.judging.noise import NOISE
from pytest_rayperf.judging.policy import BETA, Policy, look_schedule
from pytest_rayperf.judging.questions import Question, speaker, worth_measuring_on
from pytest_rayperf.judging.series import Series
from pytest_rayperf.metrics import CPU_PER_ROW, THROUGHPUT
from pytest_rayperf.statistics import Noise

LIMIT = 1.5
"""How many times the rounds of Wald's test are allowed."""

THRESHOLD = 1.10

NOISES = ((0.03, 0.02), (0.045, 0.03), (0.06, 0.03))
"""Standard deviations of the log between rounds: of CPU seconds a row, and of busy cores."""

SLOWDOWNS = (
    ("work", 1.0, 20),
    ("work", 1.03, 20),
    ("work", 1.10, 20),
    ("work", 1.20, 20),
    ("work", 1.20, 40),
    ("work", 1.30, 20),
    ("waiting", 1.20, 20),
    ("waiting", 1.30, 20),
)
"""Kind, factor, and the rounds that there may be."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """What is played: noise of work and of waiting, kind and factor of the slowdown, the most rounds."""

    work_sd: float
    waiting_sd: float
    kind: str
    slowdown: float
    most: int

    @property
    def deciding_sd(self) -> float:
        """Of a pair's log ratio, in the figure that has to decide."""
        if self.slowdown <= THRESHOLD:
            return math.sqrt(2) * math.hypot(self.work_sd, self.waiting_sd)
        return math.sqrt(2) * (self.work_sd if self.kind == "work" else self.waiting_sd)


@dataclass(frozen=True)
class Pairs:
    """CPU seconds a row and busy cores of the reference and of the rounds beside it."""

    work: tuple[Floats, Floats]
    cores: tuple[Floats, Floats]

    def questions(self, count: int, cell: Cell, policy: Policy, weight: float) -> list[Question]:
        """What is asked of the first `count` pairs, where the belief in their noise has this weight."""
        known = Noise(1.0, cell.work_sd, round_weight=weight)
        waits = replace(known, round_sd=cell.waiting_sd)
        both = replace(known, round_sd=math.hypot(cell.work_sd, cell.waiting_sd))
        then, now = ((tuple(w[:count]), tuple(c[:count])) for w, c in zip(self.work, self.cores, strict=True))
        work = Series(CPU_PER_ROW, (then[0],), now[0], known)
        waiting = Series(THROUGHPUT, (then[1],), now[1], waits, work, both)
        return [Question(series, policy, paired=True) for series in (work, waiting)]

    def logs(self, cell: Cell) -> Floats:
        """Log ratios of the figure that has to decide, above 0 for worse."""
        work, cores = (np.log(now / then) for then, now in (self.work, self.cores))
        if cell.slowdown <= THRESHOLD:
            return work - cores
        return work if cell.kind == "work" else -cores


def drawn(cell: Cell, count: int, generator: np.random.Generator) -> Pairs:
    """So many pairs, with the slowdown on the second of each."""
    then, now = (np.exp(generator.normal(0, cell.work_sd, count)) for _ in range(2))
    before, after = (np.exp(generator.normal(0, cell.waiting_sd, count)) for _ in range(2))
    if cell.kind == "work":
        return Pairs((then, now * cell.slowdown), (before, after))
    return Pairs((then, now), (before, after / cell.slowdown))


def gate(pairs: Pairs, cell: Cell, policy: Policy, weight: float = math.inf) -> tuple[str, int]:
    """The gate's status, and after how many rounds: as `verdict.settled_pairs` ends it."""
    for count in policy.looks:
        questions = pairs.questions(count, cell, policy, weight)
        answers = [question.answer for question in questions]
        if any(answer.status == "regressed" for answer in answers):
            return "regressed", count
        if not worth_measuring_on(questions, answers):
            break
    return speaker(answers).status, count


def play(cell: Cell, plays: int, seed: int, first: int = 3) -> tuple[dict[str, object], bool]:
    """A row of the table, and whether the rounds are within the limit."""
    policy = Policy(max_slowdown=THRESHOLD, comparisons=BENCHMARKS, looks=look_schedule(first, cell.most))
    once = replace(policy, looks=(cell.most,))
    alpha = policy.alpha / BENCHMARKS
    generator = np.random.default_rng([seed, int(1000 * cell.work_sd), int(1000 * cell.slowdown), cell.most])
    statuses, fixed, rounds, unsure = [], [], [], []
    his: list[tuple[int, list[int | None]]] = [(1, []), (first, [])]
    for _ in range(plays):
        pairs = drawn(cell, 400, generator)
        status, count = gate(pairs, cell, policy)
        statuses.append(status)
        rounds.append(count)
        fixed.append(gate(pairs, cell, once)[0])
        unsure.append(gate(pairs, cell, policy, NOISE[CPU_PER_ROW.name].round_weight))
        for earliest, counts in his:
            counts.append(
                rounds_on(pairs.logs(cell), cell.deciding_sd, cell.slowdown, THRESHOLD, alpha, earliest)
            )
    shares = Counter(statuses)
    mean = float(np.mean(rounds))
    needs, needs_then = (mean_of(counts) for _, counts in his)
    known = math.isfinite(needs)
    wanted = ("regressed",) if cell.slowdown > THRESHOLD else PASSED
    then_right = sum(status in wanted for status, _ in unsure)
    right = sum(shares[status] for status in wanted)
    as_sure = right >= (1 - BETA) * plays
    row = {
        "noise": f"{cell.work_sd:.1%}, {cell.waiting_sd:.1%}",
        "slowdown": "none" if cell.slowdown == 1 else f"{cell.kind} {cell.slowdown:.2f}",
        "up to": cell.most,
        "found": f"{shares['regressed'] / plays:.1%}",
        "passed": f"{sum(shares[s] for s in PASSED) / plays:.1%}",
        "inconclusive": f"{shares['inconclusive'] / plays:.1%}",
        "rounds": f"{mean:.1f}",
        "Wald": f"{needs:.1f}",
        "formula": f"{expected_rounds(cell.deciding_sd, cell.slowdown, THRESHOLD, alpha):.1f}",
        "times": f"{mean / needs:.2f}" if known else "",
        f"from {first}": f"{needs_then:.1f} ({mean / needs_then:.2f})" if known else "",
        "as sure": "yes" if as_sure else "",
        "as one look": f"{same(statuses, fixed) / plays:.1%}",
        "opposite": f"{opposite(statuses, fixed) / plays:.2%}",
        "unknown: rounds": f"{np.mean([count for _, count in unsure]):.1f}",
        "right": f"{then_right / plays:.1%}" if known else "",
    }
    return row, not as_sure or mean <= LIMIT * max(needs, first)


def mean_of(counts: Sequence[int | None]) -> float:
    """Of those that are known; infinite where none is."""
    known = [count for count in counts if count is not None]
    return float(np.mean(known)) if known else math.inf


def same(one: Sequence[str], other: Sequence[str]) -> int:
    """How many verdicts are the same, unchanged and improved being one."""
    return sum(a == b or (a in PASSED and b in PASSED) for a, b in zip(one, other, strict=True))


def opposite(one: Sequence[str], other: Sequence[str]) -> int:
    """How many say the opposite."""
    return sum(map(is_opposite, one, other))


def main() -> int:
    """Play and print."""
    from tabulate import tabulate

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plays", type=int, default=2000, help="of a cell")
    parser.add_argument("--seed", type=int, default=20261126)
    parser.add_argument("--first", type=int, default=3, help="rounds before the first look")
    options = parser.parse_args()
    cells = [Cell(*noise, *slowdown) for noise in NOISES for slowdown in SLOWDOWNS]
    found = [(cell, *play(cell, options.plays, options.seed, options.first)) for cell in cells]
    print(tabulate([row for _, row, _ in found], headers="keys", tablefmt="github"))
    broken = [cell for cell, _, held in found if not held]
    for cell in broken:
        print(f"not held: {cell}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

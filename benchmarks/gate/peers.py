"""The gates of other tools, as functions of rounds: for their false alarms and what they find, beside ours.

Each takes the rounds of the stored baseline and those of this run, in seconds (or CPU seconds a row), and
says whether the tool's gate would be red for that benchmark. Read in the sources of pytest-benchmark 5.3.1,
asv 0.6.6 with asv_runner 0.3.2, pyperf 2.10.0 and benchmatrix 1.2.1, and compared with those packages on
random samples. What a function says is the tool's rule and no more: how a tool measures (asv runs both
commits anew and in turn, pyperf starts 20 processes) is not in it.

`PEERS` needs nothing but SciPy. benchmatrix is not imitated but called, and only where it is installed:
`available_peers()` has it as well. It is a pytest plugin, which every pytest of its environment loads, so
install it apart (`pip install --no-deps --target DIR benchmatrix`) and name the folder in PYTHONPATH.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Samples = NDArray[np.float64]
"""Figures of single rounds, lower is better."""

PERCENT = 10
"""The slowdown that counts, for the tools that are told one."""

BENCHMARKS = 22
"""How many benchmarks the suite has, for the tools that share their error among them."""

FACTOR = 1.1  # asv's default
P_THRESHOLD = 0.002  # asv's
PYPERF_STEPS = (30, 40, 50, 60, 80, 100)  # degrees of freedom between which pyperf's table has no entries


@dataclass(frozen=True)
class Peer:
    """Another tool's gate.

    Args:
        name: as a table shows it.
        rounds: how many rounds of this run the rule gets. None of them stops early.
        fails: whether the gate is red, from the baseline's rounds (all of them, in the order in which they
            were measured) and this run's.
    """

    name: str
    rounds: int
    fails: Callable[[Samples, Samples], bool]


def pytest_benchmark_mean(reference: Samples, current: Samples) -> bool:
    """Red if the mean is more than 10 % above the baseline's: `--benchmark-compare-fail=mean:10%`.

    pytest-benchmark 5.3.1, `PercentageRegressionCheck.compute` and `RegressionCheck.fails` in utils.py, for
    `BenchmarkSession.prepare_benchmarks` in session.py: current / compared * 100 - 100 > 10, and infinite
    where the baseline's is 0. There are no statistics. The tool compares with one saved run (the last one,
    where none is named) and not with several pooled; pooling does it a favour.
    """
    return _exceeds_percentage(statistics.mean(reference.tolist()), statistics.mean(current.tolist()))


def pytest_benchmark_median(reference: Samples, current: Samples) -> bool:
    """Red if the median is more than 10 % above the baseline's: `--benchmark-compare-fail=median:10%`.

    As `pytest_benchmark_mean`.
    """
    return _exceeds_percentage(statistics.median(reference.tolist()), statistics.median(current.tolist()))


def asv_continuous(reference: Samples, current: Samples) -> bool:
    """Red if the median is more than 1.1 times the baseline's, and the samples differ: `asv continuous`.

    asv 0.6.6, `_is_result_better` in commands/compare.py and `is_different` in _stats.py: a benchmark got
    worse if median before < median after / factor and the two differ. They differ if a two-sided Mann-Whitney
    U test has p < 0.002; where the samples are so few that no p can be that small (the smallest is taken to
    be 1 / binom(m + n, min(m, n))), if their 99 % intervals of the median have no point in common. With one
    sample on a side the factor decides alone. Six against six never differ: their p is 0.00216 at best.

    `asv continuous` keeps the samples, as is assumed here, and its exit status is the gate. `asv compare`
    knows them only of runs with --record-samples, goes by the intervals otherwise, and always exits 0.
    """
    before, after = statistics.median(reference.tolist()), statistics.median(current.tolist())
    if not before < after / FACTOR:
        return False
    return min(reference.size, current.size) == 1 or asv_differ(reference, current)


def asv_differ(one: Samples, other: Samples) -> bool:
    """Whether asv calls two samples of two or more different; see `asv_continuous`."""
    if 1 / math.comb(one.size + other.size, min(one.size, other.size)) < P_THRESHOLD:
        return asv_p_value(one, other) < P_THRESHOLD
    one_low, one_high = asv_median_interval(one)
    other_low, other_high = asv_median_interval(other)
    return one_high < other_low or other_high < one_low


def asv_p_value(one: Samples, other: Samples) -> float:
    """The p of asv's Mann-Whitney U test (`mann_whitney_u` in _stats.py), two-sided.

    Exact up to 20 samples a side, else the normal approximation without corrections. Ties are broken so that
    the difference is the least significant; SciPy's test would share them out.
    """
    m, n = one.size, other.size
    ordered = np.sort(other)
    low = int(np.searchsorted(ordered, one, "left").sum())  # pairs of which `one` has the greater
    high = int(np.searchsorted(ordered, one, "right").sum())  # and those that are equal
    middle = m * n // 2
    u = middle if low <= middle <= high else max(min(low, m * n - low), min(high, m * n - high))
    if max(m, n) <= 20:
        below = _u_distribution(m, n)
        return float(below[u] + 1 - below[max(middle, m * n - u - 1)])
    deviations = (u - m * n / 2) / math.sqrt(m * n * (m + n + 1) / 12)
    return math.erfc(-deviations / math.sqrt(2))


def asv_median_interval(samples: Samples) -> tuple[float, float]:
    """asv's 99 % interval of the median of two or more samples.

    asv_runner 0.3.2, `compute_stats`, `quantile_ci` and `LaplacePosterior` in statistics.py: between the
    order statistics that the binomial distribution gives, which takes eight samples. Of fewer, from the
    smallest to the largest, and further where the 99 % interval of the posterior of the location under
    Laplace noise reaches further; it is proportional to sum(abs(y - location)) ** -n.
    """
    ordered = np.sort(samples)
    ranks = _median_ranks(ordered.size)
    if ranks is not None:
        return float(ordered[ranks[0]]), float(ordered[ranks[1]])
    return _laplace_limits(ordered)


def pyperf_compare_to(reference: Samples, current: Samples) -> bool:
    """Red if the mean is above the baseline's and the difference significant: `pyperf compare_to`.

    pyperf 2.10.0, `is_significant_benchs` and `compute_normalized_mean` in _compare.py, `is_significant` in
    _utils.py: Student's two-sample t test, two-sided at 95 % with a pooled variance, its critical values from
    a table. There is no threshold (--min-speed is 0) and no exit status: that a gate would be red for what is
    listed as "Slower" is our reading.

    The test raises an error for samples of unequal sizes or without variance, and compare_to then calls the
    difference significant. So with a pooled baseline of another size any higher mean is red, be it by a
    millionth; `pyperf_equal_sizes` is the tool at its best.
    """
    before, after = reference.tolist(), current.tolist()
    mean_before, mean_after = statistics.mean(before), statistics.mean(after)
    if not mean_after / mean_before > 1.0:
        return False
    if len(before) != len(after) or len(before) == 1:
        return True
    df = 2 * len(before) - 2
    squares = [(x - mean_before) ** 2 for x in before] + [(x - mean_after) ** 2 for x in after]
    error = math.sqrt(2 * math.fsum(squares) / df / len(before))
    return error == 0 or (mean_after - mean_before) / error >= pyperf_critical(df)


def pyperf_equal_sizes(reference: Samples, current: Samples) -> bool:
    """`pyperf_compare_to` with as many rounds on both sides: the baseline's last ones, this run's first ones.

    So does who compares two files that were made with the same options.
    """
    size = min(reference.size, current.size)
    return pyperf_compare_to(reference[-size:], current[:size])


@functools.cache
def pyperf_critical(df: int) -> float:
    """pyperf's critical value (`tdist95conf_level` in _utils.py).

    Its table has three decimals; between two entries that of fewer degrees of freedom counts, and from 200 on
    the normal distribution's.
    """
    if df >= 200:
        return round(float(stats.norm.isf(0.025)), 3)
    listed = df if df < PYPERF_STEPS[0] else max(step for step in PYPERF_STEPS if step <= df)
    return round(float(stats.t.isf(0.025, listed)), 3)


BenchmatrixVerdict = Literal["improved", "unchanged", "regressed", "inconclusive", "not_comparable"]


@dataclass(frozen=True)
class Benchmatrix:
    """benchmatrix's own comparison: `benchmatrix compare --threshold 10% --fail-on-regression`.

    benchmatrix 1.2.1, `compare_benchmark_run_groups` in bench_compare.py, which is called. What it resamples
    are process runs and not rounds, and it wants at least 5 runs of 5 rounds on each side: so the rounds are
    cut into runs of 5 that followed each other, and a rest of fewer is left out. Of each run there is the
    mean; the effect is the ratio of the medians of these means; its interval is a bias-corrected and
    accelerated bootstrap's, at 95 % for all benchmarks together (Bonferroni). The verdict is `regressed` or
    `improved` if the whole interval is beyond the threshold, `unchanged` if it is within on both sides, else
    `inconclusive`, and with too few runs as well.

    Slow: about 0.4 s a verdict with the tool's 50,000 resamples, 10 ms with 1,000 (the fewest that it takes).
    Where even the extremes of the runs allow one verdict only, it is given without a bootstrap.

    Args:
        inconclusive_fails: with --fail-on-regression the exit status is 1 for `inconclusive` too, and so is
            this red by default. Else only `regressed` is, as for who looks at `has_regressions`.
        percent: the threshold; the tool's default is 5.
        benchmarks: how many share the 5 %.
        resamples: of the bootstrap.
    """

    inconclusive_fails: bool = True
    percent: float = PERCENT
    benchmarks: int = BENCHMARKS
    resamples: int = 50_000

    def __call__(self, reference: Samples, current: Samples) -> bool:
        """Whether the gate is red."""
        verdict = self.verdict(reference, current)
        return verdict not in ("improved", "unchanged") if self.inconclusive_fails else verdict == "regressed"

    def verdict(self, reference: Samples, current: Samples) -> BenchmatrixVerdict:
        """What benchmatrix calls the change."""
        before, after = _runs(reference), _runs(current)
        certain = _certain_verdict(before, after, self.percent)
        # Its own correction counts the benchmarks that it is given, and here that is one.
        confidence = 1 - 0.05 / self.benchmarks
        return certain or _benchmatrix_verdict(before, after, self.percent, confidence, self.resamples)


PEERS: tuple[Peer, ...] = (
    Peer("pytest-benchmark mean:10%", 20, pytest_benchmark_mean),
    Peer("pytest-benchmark median:10%", 20, pytest_benchmark_median),
    Peer("asv continuous -f 1.1", 20, asv_continuous),
    Peer("pyperf compare_to", 20, pyperf_compare_to),
    Peer("pyperf compare_to, equal sizes", 20, pyperf_equal_sizes),
)


def available_peers(resamples: int = 50_000) -> tuple[Peer, ...]:
    """`PEERS`, and benchmatrix where it is installed.

    Args:
        resamples: of benchmatrix's bootstrap.
    """
    if find_spec("benchmatrix") is None:
        return PEERS
    return (
        *PEERS,
        Peer("benchmatrix 10%", _RUN * _FEWEST_RUNS, Benchmatrix(resamples=resamples)),
        Peer(
            "benchmatrix 10%, regressed only",
            _RUN * _FEWEST_RUNS,
            Benchmatrix(inconclusive_fails=False, resamples=resamples),
        ),
    )


_RUN = 5  # rounds, and
_FEWEST_RUNS = 5  # the fewest that benchmatrix's EvidencePolicy takes

_Runs = tuple[tuple[float, ...], ...]


def _exceeds_percentage(compared: float, current: float) -> bool:
    # In the tool's order of operations: 1.1 against 1.0 is red, by rounding.
    return compared == 0 or current / compared * 100 - 100 > PERCENT


@functools.cache
def _u_distribution(m: int, n: int) -> Samples:
    """Chance that U of samples of m and n is at most 0, 1, ... m * n.

    The numbers of orderings are the coefficients of the Gaussian binomial, the product of
    (1 - q ** (n + i)) / (1 - q ** i) for i from 1 to m (Mann and Whitney, 1947).
    """
    orderings = np.zeros(m * n + 1, dtype=np.int64)
    orderings[0] = 1
    for i in range(1, m + 1):
        orderings[n + i :] -= orderings[: max(0, orderings.size - n - i)].copy()
        for first in range(min(i, orderings.size)):
            orderings[first::i] = np.cumsum(orderings[first::i])
    return np.cumsum(orderings) / math.comb(m + n, m)


@functools.cache
def _median_ranks(size: int) -> tuple[int, int] | None:
    """The order statistics, from 0, between which the median is with 99 %; None where they are too few."""
    below = np.cumsum([math.comb(size, k) / 2**size for k in range(size)])
    low, high = np.flatnonzero(below <= 0.005), np.flatnonzero(below >= 0.995)
    return (int(low[-1]), int(high[0])) if low.size and high.size else None


def _laplace_limits(ordered: Samples) -> tuple[float, float]:
    """0.5 % and 99.5 % of the posterior of `asv_median_interval`, where they are outside the samples.

    Between two samples, and beyond the outer ones, the sum of distances is linear in the location, and the
    integral of its power has a closed form.
    """
    n = ordered.size
    centre = float(np.median(ordered))
    scale = float(np.abs(ordered - centre).sum())
    if scale == 0:
        return centre, centre
    y = (ordered - centre) / scale
    sums = np.abs(y[:, None] - y).sum(axis=1)
    powers = sums ** (1 - n) / (n - 1)
    slopes = 2 * np.arange(1, n) - n
    flat = slopes == 0
    between = np.where(
        flat, np.diff(y) * sums[:-1] ** -n, (powers[:-1] - powers[1:]) / np.where(flat, 1, slopes)
    )
    tails = powers[0] / n, powers[-1] / n
    tail = 0.005 * (tails[0] + between.sum() + tails[1])
    reach = ((n - 1) * n * tail) ** (-1 / (n - 1))  # the sum of distances where that much is left outside
    low = (y.sum() - reach) / n if tails[0] > tail else y[0]
    high = (y.sum() + reach) / n if tails[1] > tail else y[-1]
    return float(low * scale + centre), float(high * scale + centre)


def _runs(rounds: Samples) -> _Runs:
    whole = rounds[: rounds.size // _RUN * _RUN].reshape(-1, _RUN)
    return tuple(tuple(run) for run in whole.tolist())


def _certain_verdict(before: _Runs, after: _Runs, percent: float) -> BenchmatrixVerdict | None:
    """benchmatrix's verdict where every resample would have the same; None where it must be asked.

    Medians of resamples are within the extremes of the runs, and so is their interval.
    """
    if min(len(before), len(after)) < _FEWEST_RUNS:
        return None  # it says why it is inconclusive
    old, new = [statistics.mean(run) for run in before], [statistics.mean(run) for run in after]
    least, most = _slowdown(max(old), min(new)), _slowdown(min(old), max(new))
    if least > percent:
        return "regressed"
    if most < -percent:
        return "improved"
    return "unchanged" if -percent <= least and most <= percent else None


def _slowdown(before: float, after: float) -> float:
    return (after / before - 1.0) * 100.0


@functools.lru_cache(maxsize=64)
def _benchmatrix_verdict(
    before: _Runs, after: _Runs, percent: float, confidence: float, resamples: int
) -> BenchmatrixVerdict:
    """Ask benchmatrix. Remembered, for the two peers that read the same verdict differently."""
    benchmatrix = import_module("benchmatrix")

    def group(runs: _Runs) -> list[Any]:
        return [
            benchmatrix.BenchmarkRun(
                rows=(
                    benchmatrix.ParsedBenchmarkRow(
                        benchmark_name="rounds",
                        metric_name="single_call_latency",
                        implementation_name="pipeline",
                        case_name="rounds",
                        stats={"rounds": len(run), "iterations": 1},
                        extra_info={},
                        derived={"latency_mean": statistics.mean(run)},
                        samples=run,
                    ),
                ),
                metadata={},
            )
            for run in runs
        ]

    if not before or not after:
        return "inconclusive"  # it takes no empty groups: too few rounds for one run
    comparison = benchmatrix.compare_benchmark_run_groups(
        group(before),
        group(after),
        compatibility_policy=benchmatrix.RunCompatibilityPolicy("off"),
        regression_policy=benchmatrix.RegressionPolicy(percent),
        inference_policy=benchmatrix.InferencePolicy(confidence_level=confidence, resamples=resamples),
    )
    verdict: BenchmatrixVerdict = comparison.comparisons[0].regression
    return verdict

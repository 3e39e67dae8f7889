"""What a million rows cost, and what a fix saves, for a cluster of a stated price an hour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_rayperf.judging.duels import better_by
from pytest_rayperf.metrics import THROUGHPUT
from pytest_rayperf.reports.figures import metric_of
from pytest_rayperf.results import Benchmark, Round

_ROWS = 1e6
_SECONDS_AN_HOUR = 3600.0


def cost_of(rounds: Sequence[Round], usd_per_hour: float | None) -> dict[str, Any] | None:
    """USD for a million rows at the median throughput, and their limits at its limits.

    None where no price was given, or throughput was not measured. A cluster is paid for while a pipeline
    starts, too: so it is the throughput over all.
    """
    throughput = metric_of(rounds, THROUGHPUT.name)
    if usd_per_hour is None or throughput["median"] is None:
        return None
    limits = throughput["ci"]
    return {
        "usd_per_million_rows": _usd(usd_per_hour, throughput["median"]),
        "ci": None if limits is None else [_usd(usd_per_hour, limits[1]), _usd(usd_per_hour, limits[0])],
    }


def _usd(usd_per_hour: float, throughput: float) -> float:
    return usd_per_hour / _SECONDS_AN_HOUR / throughput * _ROWS


def savings_of(benchmarks: Iterable[Benchmark], usd_per_hour: float | None) -> Mapping[int, dict[str, Any]]:
    """What each fix saves of what its anti-pattern costs, by the index of its benchmark.

    By the ratio of their throughputs, of rounds measured in turn: who is r times as fast saves 1 - 1 / r.
    Where the fix is slower that is below 0. `share` and `share_ci` are of the anti-pattern's cost,
    `usd_per_million_rows` and `ci` are USD. Nothing for a fix whose anti-pattern or throughput is missing.
    """
    given = list(benchmarks)
    antipatterns = {_test_of(b): b for b in given if b.variant == "antipattern"}
    found = {}
    for index, fix in enumerate(given):
        bad = antipatterns.get(_test_of(fix)) if fix.variant == "fix" else None
        cost = None if bad is None else cost_of(bad.rounds, usd_per_hour)
        ratio = None if bad is None else better_by(THROUGHPUT.name, bad.rounds, fix.rounds)
        if cost is None or ratio is None:
            continue
        share, low, high = (1 - 1 / r for r in (ratio.ratio, ratio.low, ratio.high))
        usd = cost["usd_per_million_rows"]
        found[index] = {
            "share": share,
            "share_ci": [low, high],
            "usd_per_million_rows": usd * share,
            "ci": [usd * low, usd * high],
        }
    return found


def _test_of(benchmark: Benchmark) -> tuple[str, str | None]:
    """The same for both variants of one test, and for no other: two files may have tests of one name."""
    return benchmark.id.partition("[")[0], benchmark.antipattern

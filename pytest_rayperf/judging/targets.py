"""What the mark of a test demands of a benchmark, whatever its baseline says. Pure.

A target is missed only where the rounds show it: of throughput the best one must lie below. Of the
latency's percentile the calls above the target are counted: if 95 % of all calls were within it, then as
many as k of n would be above it with a chance of P(K >= k), K binomial with n and 0.05 (the quantile test;
Conover, "Practical Nonparametric Statistics", section 3.2). So three calls of three above the target say as
much as fifteen of a hundred.
"""

from __future__ import annotations

from collections.abc import Sequence

from scipy import special

from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.metrics import THROUGHPUT
from pytest_rayperf.results import Round, Verdict

_BEYOND_P95 = 0.05


def missed_target(rounds: Sequence[Round], policy: Policy) -> Verdict | None:
    """The verdict on the first target that is missed; None if none is.

    Errors are counted, and exact. The others are times, of which disturbed rounds say nothing.
    """
    found = _not_timed(rounds, policy) or _too_many_errors(rounds, policy)
    if found is not None or any(r.disturbed for r in rounds):
        return found
    return _too_slow(rounds, policy) or _too_late(rounds, policy)


def unjudged_targets(rounds: Sequence[Round], policy: Policy) -> str | None:
    """Which targets nothing is said of, and why; None if there are none."""
    names = [n for n in ("min_throughput", "max_batch_latency_p95") if getattr(policy, n) is not None]
    disturbed = next((r.disturbed for r in rounds if r.disturbed), None)
    if not names or disturbed is None:
        return None
    were = "were" if len(names) > 1 else "was"
    return f"{' and '.join(names)} {were} not judged, for rounds were disturbed: {disturbed}"


def _not_timed(rounds: Sequence[Round], policy: Policy) -> Verdict | None:
    wanted = [
        name for name in ("max_batch_latency_p95", "max_error_rate") if getattr(policy, name) is not None
    ]
    if not wanted or any(r.calls for r in rounds):
        return None
    reason = (
        f"invalid: {' and '.join(wanted)} cannot be held, for not one call of a UDF of map_batches was seen; "
        "a UDF that can be neither subclassed nor copied is not timed, nor one of map, flat_map or filter"
    )
    return Verdict("invalid", reason)


def _too_many_errors(rounds: Sequence[Round], policy: Policy) -> Verdict | None:
    limit = policy.max_error_rate
    calls = [call for r in rounds for call in r.calls]
    errors = sum(call.failed for call in calls)
    if limit is None or not calls or errors <= limit * len(calls):
        return None
    names = ", ".join(sorted({call.udf for call in calls if call.failed}))
    reason = (
        f"regressed: {errors} of {len(calls)} calls of {names} raised "
        f"an error, {errors / len(calls):.2%}; target max_error_rate={limit:g}"
    )
    return Verdict("regressed", reason, metric="error_rate", threshold=limit)


def _too_slow(rounds: Sequence[Round], policy: Policy) -> Verdict | None:
    limit = policy.min_throughput
    best = max((r.throughput or 0.0) for r in rounds)
    if limit is None or best >= limit:
        return None
    reason = (
        f"regressed: throughput at most {best:.1f} rows/s in {len(rounds)} rounds, "
        f"target min_throughput={limit:g}"
    )
    return Verdict("regressed", reason, metric=THROUGHPUT.name, threshold=limit)


def _too_late(rounds: Sequence[Round], policy: Policy) -> Verdict | None:
    limit = policy.max_batch_latency_p95
    if limit is None:
        return None
    calls = [call for r in rounds for call in r.calls if not call.failed]
    for udf in sorted({call.udf for call in calls}):
        own = [call.seconds for call in calls if call.udf == udf]
        late = sum(seconds > limit for seconds in own)
        # That as many or more are late: the binomial distribution's upper tail.
        chance = float(special.bdtrc(late - 1, len(own), _BEYOND_P95))
        if late and chance < policy.alpha / max(1, policy.comparisons):
            reason = (
                f"regressed: batch latency of {udf}: {late} of {len(own)} calls took longer than "
                f"{limit:g} s, at most {max(own):.4g} s; target max_batch_latency_p95={limit:g}"
            )
            return Verdict("regressed", reason, metric="batch_latency_p95", threshold=limit)
    return None

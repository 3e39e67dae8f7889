"""A run's report judged again, against another run or the baselines, without measuring anything. Pure.

The verdicts are `verdict.judge`'s, of the rounds that the report holds. What these rounds cannot show stays
as the run found it: an output that was wrong, workers that died, calls that took too long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_rayperf.baselines.store import reference_of
from pytest_rayperf.baselines.stored import Stored
from pytest_rayperf.errors import ConfigurationError
from pytest_rayperf.judging.carrying import carried, most_carried
from pytest_rayperf.judging.policy import MOST_ROUNDS, Policy, look_schedule
from pytest_rayperf.judging.reasons import RECORD
from pytest_rayperf.judging.reference import Reference, ReferenceSession
from pytest_rayperf.offline.rereading import Report, Reread, as_known, reread, with_rows
from pytest_rayperf.reports.json import changes_between, verdict_to_json
from pytest_rayperf.results import STATUSES, Subject, Verdict
from pytest_rayperf.verdict import judge

Key = tuple[str, str | None]
"""Node id and variant."""

_SLOWDOWNS = (1.0001, 100.0)
_CALLS = ("batch_latency_p95", "error_rate")
"""Metrics of a UDF's calls, which a report sums up and does not list."""

_TOLD = 20
"""Benchmarks that are gone which are named; of more, how many they are."""


@dataclass(frozen=True)
class Old:
    """What a run is compared with.

    Attributes:
        name: how messages call it.
        environment: whose figures they are.
        references: by benchmark.
        elsewhere: by benchmark, the baselines of other environments: their counters carry over.
        unusable: by benchmark, why there is no reference, in words.
        inferred: benchmarks whose subject is the run's (`Reread.inferred`).
        rows_unknown: those that do not tell their rows (`Reread.rows_unknown`).
        a_run: whether it is a run, not baselines.
    """

    name: str
    environment: str
    references: Mapping[Key, Reference]
    elsewhere: Mapping[Key, Sequence[Reference]] = field(default_factory=dict)
    unusable: Mapping[Key, str] = field(default_factory=dict)
    inferred: frozenset[Key] = frozenset()
    rows_unknown: frozenset[Key] = frozenset()
    a_run: bool = False


def old_run(report: Report, name: str) -> Old:
    """Another run as what to compare with: each benchmark is a baseline of one session.

    Raises:
        ConfigurationError: as `reread`.
    """
    references: dict[Key, Reference] = {}
    unusable: dict[Key, str] = {}
    given = reread(report, name)
    for one in given:
        reason = _unusable(one)
        if reason is None and one.subject is not None:
            session = ReferenceSession(one.rounds, report["software"], one.work, one.probe)
            cores = report["environment"]["cores"]
            references[one.key] = Reference(name, one.subject, (session,), cores=cores, a_run=True)
            unusable.pop(one.key, None)  # measured once more, and then well
        elif one.key not in references:
            unusable[one.key] = reason or "nothing of it is compared"
    return Old(
        name,
        report["environment"]["id"],
        references,
        unusable=unusable,
        inferred=frozenset(one.key for one in given if one.inferred),
        rows_unknown=frozenset(one.key for one in given if one.rows_unknown),
        a_run=True,
    )


def old_baselines(found: Iterable[Stored], environment: str, name: str) -> Old:
    """The baselines of one environment as what to compare with, and those of others for what carries over.

    Args:
        found: baselines of any environments.
        environment: the one whose times are compared.
        name: how messages call all of them.
    """
    references: dict[Key, Reference] = {}
    elsewhere: dict[Key, list[Reference]] = {}
    for one in found:
        key, reference = (one.baseline.id, one.baseline.variant), reference_of(one.baseline, one.shown)
        if one.environment == environment:
            references.setdefault(key, reference)
        else:
            elsewhere.setdefault(key, []).append(reference)
    return Old(name, environment, references, elsewhere)


def _unusable(one: Reread) -> str | None:
    """Why its rounds are nobody's reference."""
    rows = {r.rows for r in one.rounds}
    # Where only the rows differ from those of its own baseline, they may be what is right now.
    if one.verdict["status"] == "invalid" and one.verdict["metric"] != "rows":
        return "it was invalid"
    if not rows:
        return "it has no rounds"
    return "its rounds have lost rows" if len(rows) > 1 or 0 in rows else None


def policy_of(report: Report, name: str, max_slowdown: float | None, alpha: float | None) -> Policy:
    """The policy that the run was measured by, or what was asked for instead.

    Raises:
        ConfigurationError: it holds what no run was measured by.
    """
    default = Policy()

    def number(key: str, fallback: float, least: float, most: float) -> float:
        return _within(report["policy"].get(key), fallback, least, most, f"{name}: policy.{key}")

    least = int(number("min_rounds", default.looks[0], 1, 1e9))
    most = int(number("max_rounds", default.looks[-1], 1, 1e9))
    return Policy(
        max_slowdown=max_slowdown or number("max_slowdown", default.max_slowdown, *_SLOWDOWNS),
        alpha=alpha or number("alpha", default.alpha, 1e-300, 0.5),
        looks=look_schedule(min(least, MOST_ROUNDS), min(most, MOST_ROUNDS)),
    )


def _within(value: object, fallback: float, least: float, most: float, where: str) -> float:
    if value is None:
        return fallback
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ConfigurationError(
            f"{where} must be a number from {least:.6g} to {most:g}, found {value!r:.60}; "
            "make the report anew with: pytest --rayperf --rayperf-json RUN.json"
        )
    return value


def compare(report: Report, name: str, old: Old, policy: Policy) -> dict[str, Any]:
    """The report with the verdicts that `old` gives it.

    Its `summary`, `software_changes`, `policy` and each benchmark's `baseline` and `comparisons` are those of
    this comparison; its `warnings` tell, too, what `old` has and this run has not.

    Args:
        report: of the run that is judged.
        name: how messages call it.
        old: what with.
        policy: threshold and error of the whole run. All its tests share the latter, and each one that is
            found slower leaves its part to those after it (`session.RunRecord.policy`). What the mark of a
            test demands goes before.

    Raises:
        ConfigurationError: as `reread`.
    """
    given = reread(report, name)
    of_each_test = Counter(one.id for one in given)
    comparisons: dict[str, int] = {}
    rejected = rejected_then = 0
    benchmarks, known = [], []
    for one, benchmark in zip(given, report["benchmarks"], strict=True):
        reference = old.references.get(one.key)
        # As a run deals it: to its tests alike, and a test's part to the benchmarks that it measures at once.
        sharing = len(of_each_test) * of_each_test[one.id]
        if one.comparisons is not None:  # the run told it; tests that report nothing had a part as well
            sharing = one.comparisons + rejected_then
        share = comparisons.setdefault(one.id, max(1, sharing - rejected))
        own = _policy_for(one, name, replace(policy, comparisons=share))
        verdict = _verdict(one, report, old, own)
        if verdict is not None and verdict.comparisons and verdict.status == "regressed":
            rejected += 1
        rejected_then += one.verdict["status"] == "regressed" and bool(one.verdict["comparisons"])
        if reference is not None:
            known.append(reference.sessions[-1].software)
        # The far side of that run has no part in this comparison.
        here = benchmark if verdict is None else {**benchmark, "against": None, "then": None}
        benchmarks.append(
            {
                **here,
                "verdict": one.verdict if verdict is None else verdict_to_json(verdict),
                "comparisons": one.comparisons if verdict is None else share,
                "baseline": None if reference is None else reference.name,
            }
        )
    counts = Counter(one["verdict"]["status"] for one in benchmarks)
    return {
        **report,
        "against": None,
        "policy": {**report["policy"], "max_slowdown": policy.max_slowdown, "alpha": policy.alpha},
        "software_changes": changes_between(known, report["software"]),
        "benchmarks": benchmarks,
        "summary": {status: counts[status] for status in STATUSES},
        "warnings": [*report["warnings"], *gone({one.key for one in given}, old, name)],
    }


def failed(report: Report) -> bool:
    """Whether anything got worse, or is wrong."""
    return any(one["verdict"]["status"] in ("regressed", "invalid") for one in report["benchmarks"])


def gone(measured: Iterable[Key], old: Old, name: str) -> list[str]:
    """A line for what is in `old` and was not measured; several, of a run."""
    missing = sorted((*old.references, *old.unusable), key=str)
    missing = [key for key in missing if key not in set(measured)]
    if not missing:
        return []
    if not old.a_run:
        # A run of some tests is an everyday thing: one line.
        return [
            f"{len(missing)} of {len(old.references)} baselines of {old.name} were not measured in {name}"
        ]
    lines = [f"gone: {_title(key)} is in {old.name}, and not in {name}" for key in missing[:_TOLD]]
    if len(missing) > _TOLD:
        lines.append(f"gone: {len(missing) - _TOLD} more of {old.name}")
    return lines


def _title(key: Key) -> str:
    id, variant = key
    return f"{id} ({variant})" if variant and f"{variant}]" not in id else id


# --- one benchmark


def _policy_for(one: Reread, name: str, policy: Policy) -> Policy:
    """With what its mark demands, as far as rounds can show it: calls are not in a report."""
    limits = one.limits
    where = f"{name}: max_slowdown in the limits of {one.id}"
    return replace(
        policy,
        max_slowdown=_within(limits.get("max_slowdown"), policy.max_slowdown, *_SLOWDOWNS, where),
        min_throughput=limits.get("min_throughput"),
        timed=one.timed,
        looks=one.looks or policy.looks,
    )


def _verdict(one: Reread, report: Report, old: Old, policy: Policy) -> Verdict | None:
    """What `old` says of it; None where that is for the run itself to say."""
    was = one.verdict
    if not one.rounds or one.subject is None or (was["status"] == "invalid" and was["metric"] != "rows"):
        return None
    found = _judged(one, one.subject, report, old, policy)
    missed_calls = was["status"] == "regressed" and was["metric"] in _CALLS
    return None if missed_calls and found.status not in ("regressed", "invalid") else found


def _judged(one: Reread, subject: Subject, report: Report, old: Old, policy: Policy) -> Verdict:
    reference, others = old.references.get(one.key), old.elsewhere.get(one.key, ())
    known = reference or next(iter(others), None)
    if known is not None and one.inferred:
        subject = as_known(subject, known.subject)
    elif reference is not None and one.key in old.inferred:
        reference = replace(reference, subject=as_known(reference.subject, subject))
    if known is not None and one.rows_unknown:
        one = replace(one, rounds=with_rows(one.rounds, known.sessions[-1].rounds[-1].rows or 1))
        if not any(r.counters for r in one.rounds):  # they were not told, and are not 0
            reference = reference and _without_counters(reference)
            others = [_without_counters(other) for other in others]
    elif reference is not None and one.key in old.rows_unknown:
        reference = _with_rows(reference, one.rounds[-1].rows or 1)
    if known is None:
        # What its mark demands is judged all the same.
        found = judge(one.rounds, subject, None, policy)
        why = old.unusable.get(one.key)
        absent = f"{why} in {old.name}" if why else f"{old.name} has no such benchmark"
        mend = "" if old.a_run else "; record it with --rayperf-update-baselines"
        none = Verdict("no-baseline", f"no-baseline: {absent}{mend}")
        return found if found.status != "no-baseline" else none
    moved = old.environment != report["environment"]["id"]
    if moved and reference is not None and reference.subject == subject:
        return _on_another_machine(one, subject, report, old.environment, reference, policy)
    elsewhere = most_carried(others, subject, report["software"], report["environment"]["cores"])
    found = judge(one.rounds, subject, reference, policy, elsewhere, one.work, one.probe)
    if reference is None and found.status == "no-baseline":  # of this environment, and others have it
        return replace(found, reason=f"{found.reason}; {RECORD}")
    if reference is None or not found.comparisons:
        return found
    disturbed = next((r.disturbed for s in reference.sessions for r in s.rounds if r.disturbed), None)
    if disturbed is None:
        return found
    return Verdict(
        "inconclusive",
        f"inconclusive: rounds of {reference.name} were disturbed: {disturbed}; what would help: measure it "
        "again on a machine that does nothing else",
    )


def _with_rows(reference: Reference, rows: int) -> Reference:
    sessions = tuple(replace(s, rounds=with_rows(s.rounds, rows)) for s in reference.sessions)
    return replace(reference, sessions=sessions)


def _without_counters(reference: Reference) -> Reference:
    return replace(
        reference,
        sessions=tuple(
            replace(s, rounds=tuple(replace(r, counters={}) for r in s.rounds)) for s in reference.sessions
        ),
    )


def _on_another_machine(
    one: Reread, subject: Subject, report: Report, environment: str, reference: Reference, policy: Policy
) -> Verdict:
    """Times are not compared; what has no noise is, where the software is the same."""
    software = report["software"]
    kept = carried(reference, software, report["environment"]["cores"])
    found = judge(one.rounds, subject, None, policy, kept, one.work, one.probe)
    if found.status != "no-baseline":
        return found
    if kept is not None:
        counted = "its counters were compared, and none is worse"
    else:
        changes = changes_between([reference.sessions[-1].software], software) or ()
        told = ", ".join(f"{c['name']} {_or(c['from'])} -> {_or([c['to']])}" for c in changes)
        counted = f"its counters do not carry over, for the software differs ({told or 'it is not recorded'})"
    return Verdict(
        "incomparable",
        f"incomparable: {reference.name} is of another environment, {environment}, and this run of "
        f"{report['environment']['id']}: times of two machines do not compare; {counted}",
    )


def _or(versions: Sequence[str | None]) -> str:
    return " or ".join("none" if version is None else version for version in versions)

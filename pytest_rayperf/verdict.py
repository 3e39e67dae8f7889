"""The one place that decides: rounds, a baseline and a policy in, a verdict out. Pure.

In this order: what is wrong whatever its speed; what has no noise (`judging/exact.py`); whether the rounds
can be trusted; the gated metrics with noise, surest first (`judging/comparing.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from pytest_rayperf.judging.attribution import attribute
from pytest_rayperf.judging.doubts import disturbed_anyhow, not_known
from pytest_rayperf.judging.exact import judge_counters, judge_work
from pytest_rayperf.judging.policy import Policy
from pytest_rayperf.judging.questions import of_pairs, of_sessions, speaker, suspect, worth_measuring_on
from pytest_rayperf.judging.reasons import BESIDE, creeping, describe, explain, slower
from pytest_rayperf.judging.reference import Reference
from pytest_rayperf.judging.series import other_machine
from pytest_rayperf.judging.targets import missed_target, unjudged_targets
from pytest_rayperf.machine import Probe
from pytest_rayperf.metrics import CPU_PER_ROW
from pytest_rayperf.results import Attribution, Comparison, Round, Subject, Verdict
from pytest_rayperf.work.counts import Work


def judge(
    rounds: Sequence[Round],
    subject: Subject,
    reference: Reference | None,
    policy: Policy,
    elsewhere: Reference | None = None,
    work: Work | None = None,
    probe: Probe | None = None,
) -> Verdict:
    """The verdict on one benchmark.

    Args:
        rounds: this session's rounds, at least one.
        subject: what they measured.
        reference: the baseline of this environment, or what was measured beside the rounds.
        policy: threshold and errors.
        elsewhere: where there is no `reference`, what carries over of another environment's baseline
            (`judging/carrying.py`).
        work: what the pipeline's work was counted to be, which has no noise and holds on any machine.
        probe: how fast this machine was at fixed work around the rounds.
    """
    verdict = _judge(rounds, subject, reference, policy, elsewhere, work, probe)
    unjudged = unjudged_targets(rounds, policy)
    if unjudged is None or verdict.status in ("regressed", "invalid"):
        return verdict
    return replace(verdict, reason=f"{verdict.reason}; {unjudged}")


def _judge(
    rounds: Sequence[Round],
    subject: Subject,
    reference: Reference | None,
    policy: Policy,
    elsewhere: Reference | None,
    work: Work | None,
    probe: Probe | None,
) -> Verdict:
    wrong = _rows_differ(rounds)
    if wrong:
        return Verdict("invalid", wrong, metric="rows", wrong=True)
    missed = missed_target(rounds, policy)
    if reference is None:
        return missed or _without_baseline(rounds, subject, elsewhere, work, policy)
    if reference.subject != subject:
        return missed or Verdict("incomparable", _subject_change(reference, subject))
    worked = judge_work(work, reference, rounds, policy.max_slowdown)
    exact = [v for v in (judge_counters(rounds, reference), worked) if v is not None]
    worse = next((verdict for verdict in exact if verdict.status != "improved"), None)
    if worse is not None:
        return worse
    if reference.beside:
        return missed or _judge_beside(rounds, reference, policy, exact[0] if exact else None)
    warm = _warm(rounds, policy)
    disturbed = next((r.disturbed for r in warm if r.disturbed), None)
    if disturbed is not None and policy.timed:
        return missed or Verdict("inconclusive", disturbed_anyhow(rounds, disturbed))
    other = other_machine(probe, reference)
    comparisons: tuple[Comparison, ...] = ()
    unseen = not_known(warm)
    if disturbed is None and other is None:
        comparisons = tuple(q.answer for q in of_sessions(warm, reference, policy, probe))
    if unseen is not None:
        comparisons = tuple(replace(c, finds=None) for c in comparisons)  # nothing is called regressed then
    if missed is not None:
        return missed
    then = [r for s in reference.recent for r in s.rounds]
    found = attribute(warm, then)
    regressed = [c for c in comparisons if c.status == "regressed"]
    if regressed and unseen is not None:
        return Verdict("inconclusive", f"inconclusive: {slower(regressed[0])}, but {unseen}")
    if regressed:
        reason = _described(regressed, found, reference.source + reference.accept, warm, then)
        return _from(regressed[0], comparisons, reason, found)
    if exact:
        return exact[0]
    if not policy.timed:
        return _untimed(rounds, reference)
    if other is not None:
        return Verdict("incomparable", other)
    if not comparisons:
        return Verdict("inconclusive", f"no metric of {reference.name} was measured in this run")
    said = speaker(comparisons)
    if said.since is not None:
        return _from(said, comparisons, creeping(said), found)
    return _from(said, comparisons, explain(said, comparisons, reference), found)


def settled(
    rounds: Sequence[Round],
    subject: Subject,
    reference: Reference | None,
    policy: Policy,
    probe: Probe | None = None,
) -> bool:
    """Whether measuring on is pointless: the verdict is certain, or unlikely to be within the last look."""
    if reference is None or reference.subject != subject or _rows_differ(rounds):
        return True
    if judge_counters(rounds, reference) is not None or missed_target(rounds, policy) is not None:
        return True
    if reference.beside:
        return _settled_beside(rounds, reference, policy)
    if other_machine(probe, reference) is not None:
        return True
    warm = _warm(rounds, policy)
    if any(r.disturbed for r in warm):
        return True
    questions = of_sessions(warm, reference, policy, probe)
    if not policy.timed:
        # Its one round had no warm-up: slow, it is a reason to measure on, and no more than that.
        return not suspect(questions)
    answers = [question.answer for question in questions]
    if not answers or any(c.status == "regressed" for c in answers):
        return not answers or not_known(warm) is None
    return not worth_measuring_on(questions, answers)


def _judge_beside(
    rounds: Sequence[Round], reference: Reference, policy: Policy, better: Verdict | None
) -> Verdict:
    """What the times say, where nothing that has no noise got worse: `better` says what of it got better."""
    then, now = _beside(rounds, reference, policy)
    if policy.timed:
        verdict = judge_pairs(then, now, policy, reference.source)
        return verdict if better is None or verdict.status == "regressed" else better
    answers = [question.answer for question in of_pairs(then, now, policy)]
    if any(answer.status == "regressed" for answer in answers):
        return judge_pairs(then, now, policy, reference.source)
    return better or _untimed(rounds, reference)


def _settled_beside(rounds: Sequence[Round], reference: Reference, policy: Policy) -> bool:
    then, now = _beside(rounds, reference, policy)
    if not policy.timed:
        return not suspect(of_pairs(then, now, policy))
    return settled_pairs(then, now, policy)


def _beside(
    rounds: Sequence[Round], reference: Reference, policy: Policy
) -> tuple[Sequence[Round], Sequence[Round]]:
    then, now = _partners(reference.sessions[0].rounds, rounds)
    return _warm(then, policy), _warm(now, policy)


def _untimed(rounds: Sequence[Round], reference: Reference) -> Verdict:
    times = "once" if len(rounds) == 1 else f"{len(rounds)} times"
    return Verdict(
        "unchanged", f"counters as in {reference.name}; executed {times}: only a large slowdown shows"
    )


def judge_pairs(
    reference: Sequence[Round], current: Sequence[Round], policy: Policy, source: str = BESIDE
) -> Verdict:
    """The verdict on rounds beside a reference that was measured in the same session, in turn.

    What the machine did to both cancels, so that nothing is known or believed of sessions.

    Args:
        reference: the rounds of the reference.
        current: the i-th was measured beside the i-th of the reference. One that has no partner, for the
            measurement ended between the two, says nothing of times.
        policy: threshold and errors.
        source: what messages say of the reference.
    """
    wrong = _rows_differ([*reference, *current])
    if wrong:
        return Verdict("invalid", wrong, metric="rows", wrong=True)
    then, now = _partners(reference, current)
    comparisons = tuple(question.answer for question in of_pairs(then, now, policy))
    if not comparisons:
        return Verdict("inconclusive", "no metric was measured on both sides")
    found = attribute(now, then)
    regressed = [c for c in comparisons if c.status == "regressed"]
    if regressed:
        reason = _described(regressed, found, source, now, then)
        return _from(regressed[0], comparisons, reason, found)
    said = speaker(comparisons)
    reason = explain(said, comparisons, None)
    disturbed = next((r.disturbed for r in (*reference, *current) if r.disturbed), None)
    if disturbed is not None:
        reason = f"{reason}; rounds were disturbed, those of both sides: {disturbed}"
    return _from(said, comparisons, reason, found)


def settled_pairs(reference: Sequence[Round], current: Sequence[Round], policy: Policy) -> bool:
    """Whether measuring on is pointless: the verdict is certain, or unlikely to be within the last look."""
    questions = of_pairs(*_partners(reference, current), policy)
    answers = [question.answer for question in questions]
    if _rows_differ([*reference, *current]) or not answers:
        return True
    if any(c.status == "regressed" for c in answers):
        return True
    return not worth_measuring_on(questions, answers)


def _described(
    regressed: Sequence[Comparison],
    found: Attribution | None,
    source: str,
    now: Sequence[Round],
    then: Sequence[Round],
) -> str:
    """A line for each metric that regressed; of more work whether it is done on more cores, and sooner."""
    speed, before = (median(r.throughput or 0.0 for r in rounds) for rounds in (now, then))

    def faster(c: Comparison) -> float | None:
        if c.metric != CPU_PER_ROW or c.since is not None or not before or speed <= c.threshold * before:
            return None
        return speed / before

    return "\n".join(describe(c, found, source, faster(c)) for c in regressed)


def _partners(
    reference: Sequence[Round], current: Sequence[Round]
) -> tuple[Sequence[Round], Sequence[Round]]:
    """The rounds that have one beside them."""
    return reference[: len(current)], current[: len(reference)]


def _rows_differ(rounds: Sequence[Round]) -> str | None:
    rows = sorted({round_.rows for round_ in rounds})
    if 0 in rows:
        return "invalid: a round gave no rows; the pipeline loses its data"
    if len(rows) > 1:
        listed = ", ".join(map(str, rows))
        return f"invalid: rounds of the same pipeline gave different numbers of rows: {listed}"
    return None


def _warm(rounds: Sequence[Round], policy: Policy) -> Sequence[Round]:
    """The rounds whose times are compared.

    Where nothing was to be timed the first one had no warm-up. If there are more, it was the warm-up that a
    timed benchmark has before, however long it took.
    """
    return rounds if policy.timed or len(rounds) == 1 else rounds[1:]


def _without_baseline(
    rounds: Sequence[Round],
    subject: Subject,
    elsewhere: Reference | None,
    work: Work | None,
    policy: Policy,
) -> Verdict:
    if elsewhere is None or elsewhere.subject != subject:
        return Verdict("no-baseline", "no baseline for this environment")
    counted = judge_counters(rounds, elsewhere)
    if counted is not None and counted.status in ("regressed", "invalid"):
        return counted
    worked = judge_work(work, elsewhere, rounds, policy.max_slowdown)
    if worked is not None and worked.status == "regressed":
        return worked
    counters = "equal" if counted is None else "better than"
    reason = f"no baseline for this environment, counters {counters} {elsewhere.name}"
    return Verdict("no-baseline", reason)


def _subject_change(reference: Reference, subject: Subject) -> str:
    changes = [
        f"{name} {old!r} -> {new!r}"
        for name in Subject.__dataclass_fields__
        if (old := getattr(reference.subject, name)) != (new := getattr(subject, name))
    ]
    return f"incomparable: {reference.name} measured something else ({', '.join(changes)})" + reference.to_do(
        "record this one with --rayperf-update-baselines"
    )


def _from(
    c: Comparison, comparisons: tuple[Comparison, ...], reason: str, found: Attribution | None
) -> Verdict:
    ratio = c.ratio
    return Verdict(
        status=c.status,
        reason=reason,
        metric=c.metric.name,
        ratio=ratio.ratio,
        ci=(ratio.low, ratio.high),
        threshold=c.threshold,
        mde=c.mde,
        finds=c.finds,
        comparisons=comparisons,
        attribution=found,
    )

"""A report as large as the full suite's, with rounds that differ; and one whose names are hostile."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from reported import HOSTILE, LADDER, SWEEP, full_round, full_run, report_of

from pytest_rayperf.results import Ladder, Profile, Step, Sweep, Utilization
from pytest_rayperf.run import Accepted, Run

EVIL = (
    *(name.partition("[")[2].removesuffix("]") for name in HOSTILE),
    '" onload="alert(1)" x="',
    "</style><script>alert(2)</script>",
    "--><img src=x onerror=alert(3)>",
    "{{ 7 * 7 }}{% raw %}",
    "</title></desc></svg><svg onload=alert(5)>",
    "\ud800\x00\u2028\u2066x",
    "javascript:alert(4)",
    "w" * 300,
)
"""What may stand in any name."""


def large_run(benchmarks: int, *, rounds: int = 20, points: int = 120, sessions: int = 20) -> Run:
    """Pairs like those of `full_run`, each with rounds, utilization and history of its own."""
    draw = random.Random(1)
    run, made, history = full_run(), [], {}

    def one(k: int):
        slow = draw.lognormvariate(0, 0.05)
        found = full_round(40 / slow, 0.02 * slow * draw.lognormvariate(0, 0.02), loads=k % 3 + 1)
        seconds = tuple(0.4 * (j + 1) for j in range(points))
        cpu = tuple(draw.uniform(20, 100) if draw.random() > 0.02 else None for _ in seconds)
        return replace(
            found, utilization=Utilization(seconds, cpu, tuple(draw.uniform(0, 3) for _ in seconds))
        )

    for index in range(benchmarks):
        like = run.benchmarks[index % 6]
        name, slug = f"test_{index // 2}", f"slug-{index}"
        duel = None if like.duel is None else replace(like.duel, antipattern=name)
        facts = {"antipattern": name, "slug": slug, "id": f"perf_tests/{name}.py::{name}[{like.variant}]"}
        made.append(replace(like, rounds=tuple(one(k) for k in range(rounds)), duel=duel, **facts))
        history[slug] = tuple(
            Accepted(
                f"2025-01-{day + 1:02}T00:00:00+00:00",
                f"{draw.getrandbits(160):040x}" + "+dirty" * (day == 3),
                draw.uniform(35, 45),
                draw.uniform(0.018, 0.022),
            )
            for day in range(sessions)
        )
    duels = tuple(b.duel for b in made if b.duel is not None)
    return replace(run, benchmarks=tuple(made), duels=duels, history=history)


def hostile_run(evil: str) -> Run:
    """`full_run` with `evil` in the place of every text that others choose, or after it."""
    run = full_run()

    def round_(r):
        return replace(
            r,
            operators=tuple(replace(o, name=o.name + evil) for o in r.operators),
            calls=tuple(replace(c, udf=evil) for c in r.calls),
            counters={**r.counters, evil: 3},
            nodes={evil: {"peak_worker_memory": 3.0}},
            disturbed=evil,
            utilization=replace(r.utilization, gpus={evil: r.utilization.cpu}),
        )

    def step(s: Step, name: str) -> Step:
        return replace(s, name=name)

    benchmarks = tuple(
        replace(
            b,
            id=b.id + evil,
            antipattern=b.antipattern and b.antipattern + evil,
            baseline=evil,
            rounds=tuple(map(round_, b.rounds)),
            verdict=replace(b.verdict, reason=f"{evil}\n{evil}", metric=b.verdict.metric and evil),
            duel=b.duel and replace(b.duel, antipattern=b.duel.antipattern + evil, reason=evil),
            repeated=(evil,),
            limits={evil: 1.5},
            work=None if b.work is None else replace(b.work, undetermined=(evil,)),
            work_problem=evil,
            profile=Profile({evil: Path("p") / "x.html", "u": Path("javascript:alert(1)")}, None, (evil,)),
            baseline_software={evil: evil},
        )
        for b in run.benchmarks
    )
    ladder: Ladder = replace(
        LADDER, name=evil, steps=tuple(step(s, f"{n}{evil}") for n, s in enumerate(LADDER.steps))
    )
    sweep: Sweep = replace(
        SWEEP, best=evil, plateau=(evil,), ended=evil, steps=tuple(step(s, evil) for s in SWEEP.steps)
    )
    return replace(
        run,
        benchmarks=benchmarks,
        duels=tuple(b.duel for b in benchmarks if b.duel is not None),
        ladders=(ladder,),
        sweeps=(replace(sweep, name=evil),),
        warnings=(evil,),
        software={evil: "1"},
        commit=evil,
        profile=evil,
        data={**run.data, "name": evil},
        model={"name": evil, "weights": evil},
        environment=replace(run.environment, cpu_model=evil, id=evil),
        history={b.slug: (Accepted(evil, evil, 38.0, None),) for b in benchmarks},
    )


def large_report(benchmarks: int, **more: int):
    return report_of(large_run(benchmarks, **more))

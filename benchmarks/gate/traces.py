"""The recorded noise: files of `tests/data/noise` -> rounds, as the verdict takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pytest_rayperf.machine import Lap, Probe
from pytest_rayperf.metrics import CPU_PER_ROW
from pytest_rayperf.playing import scaled
from pytest_rayperf.results import Round

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "data" / "noise"

LAPPED = FOLDER / "lapped"
"""Sessions with laps of fixed work between their rounds, played only where they are asked for."""


class QuickRound(Round):
    """A round whose metrics are looked up: plays are many, and this is what they wait for most."""

    def metric(self, name: str) -> float | None:
        """As that of any round, worked out once."""
        known: dict[str, float | None] = self.__dict__
        key = f"_{name}"
        if key not in known:
            known[key] = super().metric(name)
        return known[key]


@dataclass(frozen=True)
class Block:
    """The rounds of one pipeline in one session, in their order, and the probe around them."""

    session: str
    machine: str
    beside: str
    pipeline: str
    rounds: tuple[Round, ...]
    probe: Probe


@dataclass(frozen=True)
class Traces:
    """All that was recorded."""

    blocks: tuple[Block, ...]
    duets: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]
    """By session: pairs of the same pipeline at once."""

    @property
    def pipelines(self) -> list[str]:
        """Their names."""
        return sorted({block.pipeline for block in self.blocks})

    def sessions(self, *kinds: str) -> list[str]:
        """Names of the sessions recorded beside one of `kinds`; of all, without any."""
        return sorted({b.session for b in self.blocks if not kinds or b.beside in kinds})

    @property
    def machines(self) -> list[str]:
        """Environments in which sessions were recorded."""
        return sorted({block.machine for block in self.blocks})

    def peers(self, session: str) -> list[str]:
        """The other sessions of its machine that were recorded beside the same."""
        alike = {(b.machine, b.beside) for b in self.blocks if b.session == session}
        return sorted({b.session for b in self.blocks if (b.machine, b.beside) in alike} - {session})

    def drawn_sessions(self, noise: str, count: int, generator: np.random.Generator) -> tuple[str, list[str]]:
        """A session for this run, and `count` others of its machine for the reference, none of them twice.

        A session that stood for two would be believed twice as much as it is worth.

        Raises:
            ValueError: no machine has so many sessions of that kind recorded.
        """
        able = [name for name in self.sessions(noise) if len(self.peers(name)) >= count]
        if not able:
            raise ValueError(f"no machine has {count + 1} sessions recorded beside {noise}")
        own = able[int(generator.integers(len(able)))]
        peers = self.peers(own)
        return own, [peers[i] for i in generator.permutation(len(peers))[:count]]

    def block(self, session: str, pipeline: str) -> Block:
        """The one of that session and pipeline."""
        return next(b for b in self.blocks if (b.session, b.pipeline) == (session, pipeline))


def load(folder: Path = FOLDER) -> Traces:
    """Read every session in `folder`."""
    blocks: list[Block] = []
    duets = {}
    for path in sorted(folder.glob("*.json")):
        data = json.loads(path.read_text())
        for block in data["blocks"]:
            rounds = tuple(_round(one) for one in block["rounds"])
            block_of = (path.stem, data["environment"], data["beside"], block["pipeline"])
            blocks.append(Block(*block_of, rounds, probe_of(block)))
        duets[path.stem] = data["duets"]
    return Traces(tuple(blocks), duets)


def by_the_ends(traces: Traces) -> Traces:
    """The same with laps of fixed work before and after the rounds only."""
    blocks = (replace(b, probe=replace(b.probe, between=())) for b in traces.blocks)
    return replace(traces, blocks=tuple(blocks))


def slower(round_: Round, factor: float, kind: str = "work") -> Round:
    """The round as it would be if all its work took `factor` times as long, or if it waited that long."""
    return round_ if factor == 1 else scaled(round_, cpu=factor if kind == "work" else 1.0, wall=factor)


def probe_of(block: Mapping[str, Any]) -> Probe:
    """That of a block; schema 1 knows only how fast computing was, schema 2 of no laps between rounds."""
    if "probe" in block:
        laps = tuple(Lap(**lap) for lap in block["probe"].get("between", ()))
        return Probe(**{**block["probe"], "between": laps})
    return Probe(block["probe_before_s"], block["probe_after_s"])


def _round(data: Mapping[str, Any]) -> Round:
    cpu = data["cpu_seconds_per_row"]
    return QuickRound(
        rows=data["rows"],
        wall_seconds=data["wall_seconds"],
        figures={} if cpu is None else {CPU_PER_ROW.name: cpu},
        disturbed=data["disturbed"],
    )

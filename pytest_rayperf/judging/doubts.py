"""Why the times of rounds may not be the pipeline's own, in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_rayperf.results import Round


def disturbed_anyhow(rounds: Sequence[Round], reason: str) -> str:
    """Rounds were disturbed, and those that were measured in their place, too: by this."""
    count = sum(1 for r in rounds if r.disturbed)
    return (
        f"inconclusive: {count} of {len(rounds)} rounds were disturbed, though measured again: {reason}; "
        "what would help: a machine that does nothing else"
    )


def not_known(rounds: Sequence[Round]) -> str | None:
    """Why times do not accuse: of half of the rounds or more nobody knows what else had the machine."""
    reasons = [r.unseen for r in rounds if r.unseen]
    if 2 * len(reasons) < len(rounds):
        return None
    return (
        f"whether something else had the machine is not known of {len(reasons)} of {len(rounds)} rounds: "
        f"{reasons[-1]}; what would help: rounds of some seconds"
    )

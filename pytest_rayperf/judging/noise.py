"""What is believed of each metric's noise before it is measured. Pure.

Standard deviations of the log and the weights of these beliefs cover what 832 recorded rounds of four
pipelines on two machines and the suite's own baselines have; how they were learnt, and the figures:
benchmarks/gate/README.md.

The weights are the degrees of freedom of a scaled inverse chi-square, fitted to the scatter of the sample
variances (Smyth 2004, doi:10.2202/1544-6115.1027, section 6.2). Where variances differ from one benchmark
to the next a belief is worth little, and three rounds that agree do not prove much.
"""

from __future__ import annotations

from collections.abc import Mapping

from pytest_rayperf.metrics import (
    BYTES_WRITTEN,
    CPU_PER_ROW,
    DRIVER_MEMORY,
    FILES_WRITTEN,
    PEAK_MEMORY,
    SPILLED,
    STORE_PEAK,
    STORE_WRITTEN,
    TASKS,
    THROUGHPUT,
)
from pytest_rayperf.statistics import Noise

NOISE: Mapping[str, Noise] = {
    # Between sessions: what is left of CPU time once the probe has taken out what it can.
    CPU_PER_ROW.name: Noise(session_sd=0.06, round_sd=0.06),
    THROUGHPUT.name: Noise(session_sd=0.06, round_sd=0.065),
    PEAK_MEMORY.name: Noise(session_sd=0.02, round_sd=0.03, session_weight=1.4, round_weight=1.4),
    # For duels only. Bytes hardly vary; what is sampled, or hangs on when Ray spills, does.
    STORE_WRITTEN.name: Noise(session_sd=0.01, round_sd=0.02),
    BYTES_WRITTEN.name: Noise(session_sd=0.01, round_sd=0.02),
    FILES_WRITTEN.name: Noise(session_sd=0.01, round_sd=0.02),
    TASKS.name: Noise(session_sd=0.01, round_sd=0.02),
    STORE_PEAK.name: Noise(session_sd=0.05, round_sd=0.15),
    SPILLED.name: Noise(session_sd=0.1, round_sd=0.3),
    DRIVER_MEMORY.name: Noise(session_sd=0.1, round_sd=0.2),
}

UNPROBED_SD, UNPROBED_WEIGHT = 0.09, 8.0
"""Of times between sessions, where not every session has a probe to divide by: more, and less alike."""

WAITING = Noise(session_sd=0.03, round_sd=0.045, round_weight=4.0)
"""Of busy cores: what the machine does to the work is in both factors, and cancels."""

DISTURBED: Mapping[str, Noise] = {
    CPU_PER_ROW.name: Noise(session_sd=0.06, round_sd=0.07),
    THROUGHPUT.name: Noise(session_sd=0.06, round_sd=0.19, round_weight=1.9),
}
"""Where something else had the machine during half of the rounds or more. Whom it took the CPU from differs
from one round to the next: CPU time a row varies hardly more for it, waiting several times as much."""

WAITING_DISTURBED = Noise(session_sd=0.03, round_sd=0.155, round_weight=1.8)
"""Of busy cores."""

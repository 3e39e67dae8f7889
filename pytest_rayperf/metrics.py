"""The metrics: named figures of a round. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Direction = Literal["higher", "lower"]


@dataclass(frozen=True)
class Metric:
    """A named figure of a round: its unit, and whether more of it is better."""

    name: str
    unit: str
    better: Direction


THROUGHPUT = Metric("throughput", "rows/s", "higher")
CPU_PER_ROW = Metric("cpu_seconds_per_row", "s", "lower")
PEAK_MEMORY = Metric("peak_worker_memory", "bytes", "lower")
REUSED = Metric("reused_workers", "workers", "lower")
WALL = Metric("wall_seconds", "s", "lower")
STORE_WRITTEN = Metric("object_store_written", "bytes", "lower")
STORE_PEAK = Metric("object_store_peak", "bytes", "lower")
SPILLED = Metric("spilled_bytes", "bytes", "lower")
DRIVER_MEMORY = Metric("driver_memory_growth", "bytes", "lower")
BYTES_WRITTEN = Metric("bytes_written", "bytes", "lower")
FILES_WRITTEN = Metric("files_written", "files", "lower")
TASKS = Metric("tasks", "tasks", "lower")
STARTUP = Metric("startup_seconds", "s", "lower")
STEADY_THROUGHPUT = Metric("steady_throughput", "rows/s", "higher")
WORKER_CPU = Metric("worker_cpu_seconds", "s", "lower")
WORKERS_MEMORY = Metric("total_worker_memory", "bytes", "lower")
DRIVER_CPU = Metric("driver_cpu_seconds", "s", "lower")
SAMPLER_CPU = Metric("sampler_cpu_seconds", "s", "lower")
GPU_UTILIZATION = Metric("gpu_utilization_mean", "percent", "higher")
GPU_MEMORY = Metric("gpu_memory_peak", "bytes", "lower")
GPU_POWER = Metric("gpu_power_total", "W", "lower")
GPU_CLOCK = Metric("gpu_clock_mean", "MHz", "higher")
GPU_TEMPERATURE = Metric("gpu_temperature_max", "degrees Celsius", "lower")
GPU_THROTTLED = Metric("gpu_throttled", "share of the time", "lower")
ENERGY = Metric("joules_per_row", "J", "lower")
EFFICIENCY = Metric("rows_per_second_per_watt", "rows/s/W", "higher")

UDF_CALLS = "udf_calls"
"""The counter of the calls of all UDFs that are timed."""

COUNTED = frozenset({BYTES_WRITTEN.name, FILES_WRITTEN.name})
"""The metrics that are counters, and kept among them."""

OF_BLOCKS = COUNTED | {UDF_CALLS}
"""The counters in which blocks, and so the machine's CPUs, have a part."""

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            CPU_PER_ROW,
            THROUGHPUT,
            PEAK_MEMORY,
            REUSED,
            WALL,
            STORE_WRITTEN,
            STORE_PEAK,
            SPILLED,
            DRIVER_MEMORY,
            BYTES_WRITTEN,
            FILES_WRITTEN,
            TASKS,
            STARTUP,
            STEADY_THROUGHPUT,
            WORKER_CPU,
            WORKERS_MEMORY,
            DRIVER_CPU,
            SAMPLER_CPU,
            GPU_UTILIZATION,
            GPU_MEMORY,
            GPU_POWER,
            GPU_CLOCK,
            GPU_TEMPERATURE,
            GPU_THROTTLED,
            ENERGY,
            EFFICIENCY,
        )
    }
)
"""The metrics with noise, surest first. `perf_tests/README.md` says what each one is."""


TIMES: frozenset[str] = frozenset(
    metric.name
    for metric in (
        CPU_PER_ROW,
        THROUGHPUT,
        WALL,
        STARTUP,
        STEADY_THROUGHPUT,
        WORKER_CPU,
        DRIVER_CPU,
        GPU_UTILIZATION,
        GPU_POWER,
        GPU_CLOCK,
        ENERGY,
        EFFICIENCY,
    )
)
"""The metrics that say nothing of a pipeline while something else has the machine."""

"""The memory and CPU time that a round takes in the driver: this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType

import psutil

from pytest_rayperf.monitors.sampler import DEFAULT_INTERVAL_S, Sampler
from pytest_rayperf.monitors.system import private_memory


class DriverMonitor:
    """Samples this process: `with monitor as m: ...; m.summary()`.

    Args:
        read: gives the private memory in bytes; by default this process's.
        read_cpu: gives the CPU seconds of all threads; by default this process's.
        interval_s: seconds between two samples.
        sampler: makes the sampler; tests pass one with a clock of their own.
    """

    def __init__(
        self,
        read: Callable[[], int] | None = None,
        interval_s: float = DEFAULT_INTERVAL_S,
        *,
        read_cpu: Callable[[], float] = time.process_time,
        sampler: Callable[..., Sampler] = Sampler,
    ) -> None:
        process = psutil.Process()
        self._read = read if read is not None else lambda: private_memory(process)
        self._sampler = sampler(self._sample, interval_s, (psutil.Error, OSError))
        self._readings: list[int] = []
        self._read_cpu = read_cpu
        self._cpu: list[float] = []

    @property
    def available(self) -> bool:
        """Whether nothing has kept it from sampling, as far as is known."""
        return self._sampler.problem is None

    @property
    def problem(self) -> str | None:
        """Why the figure is missing; None while nothing is wrong."""
        return self._sampler.problem

    def __enter__(self) -> DriverMonitor:
        """Forget the last block and take the first sample."""
        self._readings = []
        self._cpu = [self._read_cpu()]
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sampler.stop()
        self._cpu.append(self._read_cpu())

    def summary(self) -> Mapping[str, float | None]:
        """The figures of the last block.

        - `driver_memory_growth`: the most private memory at a sample, over the first sample's, in bytes. The
          driver's own size (Python, Ray, the tests) is not in it. 0 is measured: it held no more than before.
          None if the sampling broke off
        - `driver_cpu_seconds`: of all threads of this process, the samplers' among them
        - `sampler_cpu_seconds`: what the sampling itself cost
        """
        whole = self._sampler.problem is None and bool(self._readings)
        return {
            "driver_memory_growth": float(max(self._readings) - self._readings[0]) if whole else None,
            "driver_cpu_seconds": self._cpu[1] - self._cpu[0] if len(self._cpu) == 2 else None,
            "sampler_cpu_seconds": self._sampler.cpu_seconds if whole else None,
        }

    def _sample(self) -> None:
        self._readings.append(self._read())

"""pytest-rayperf: a Ray Data batch-inference pipeline that got slower is a failed test."""

from pytest_rayperf._version import __version__
from pytest_rayperf.counters import count
from pytest_rayperf.instrumenting import instrument
from pytest_rayperf.measurement import Inspection

__all__ = ["Inspection", "__version__", "count", "instrument"]

"""pytest-rayperf: a Ray Data batch-inference pipeline that got slower is a failed test."""

from pytest_rayperf._version import __version__
from pytest_rayperf.counters import count
from pytest_rayperf.measurement import Inspection
from pytest_rayperf.udfs.instrumenting import instrument

__all__ = ["Inspection", "__version__", "count", "instrument"]

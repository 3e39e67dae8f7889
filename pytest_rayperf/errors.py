"""The errors of the core. `plugin.py` alone turns them into pytest's."""

from __future__ import annotations


class RayperfError(Exception):
    """Base of every error that pytest-rayperf raises on purpose; its text says what to do."""


class ConfigurationError(RayperfError):
    """An option, a data source, a checkpoint or a baseline cannot be used: exit status 4."""


class RayperfWarning(UserWarning):
    """What a user should look at, and fails nothing by itself."""


class BaselineError(ConfigurationError):
    """A baseline file is truncated, of another schema, or holds a wrong type."""


class PipelineError(RayperfError):
    """A pipeline returned what cannot be measured: neither a dataset nor a row count, say."""


class WorkersLostError(RayperfError):
    """Workers, or what they counted, were lost in round after round: none of them is the pipeline's own."""


class ClusterLostError(RayperfError):
    """There is no cluster any more, or not the one that the run began with."""


class RoundStuckError(RayperfError):
    """A round did not come to its end, and was ended."""


class UsageInTestError(RayperfError):
    """A test uses the `rayperf` fixture in a way that it does not allow."""


class NotSelftested(RayperfError):
    """A test that a self-test of the gate leaves out; the text says why."""


class SelftestDone(BaseException):
    """The gate was tested with a test's pipeline, and is fit: what the test asks of its results is not asked.

    No `Exception`, so that no test catches it.
    """


class ServedElsewhere(BaseException):
    """The pipelines of a test were executed for another run: what the test asks of results is not asked here.

    No `Exception`, so that no test catches it.
    """


class GateFailure(RayperfError):
    """The verdict fails the test; the text is the report, one line a metric."""

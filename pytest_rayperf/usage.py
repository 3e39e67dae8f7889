"""What a test gives to `rayperf`, looked at before anything is executed. Each raises UsageInTestError."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from pytest_rayperf.errors import UsageInTestError
from pytest_rayperf.measurement import Pipeline


def check_pipelines(pipelines: Mapping[str, object]) -> None:
    """By what the caller gave them as: each can be called."""
    for name, pipeline in pipelines.items():
        if not callable(pipeline):
            raise UsageInTestError(
                f"rayperf: {name} is a {type(pipeline).__name__}, and must be a function that takes "
                "nothing and returns the lazy dataset, or the number of rows that it wrote"
            )


def by_name(what: str, pipelines: Mapping[Any, Pipeline]) -> dict[str, Pipeline]:
    """The pipelines of a ladder or a sweep, in order: a batch size of 8 is named "8"."""
    if not isinstance(pipelines, Mapping):
        raise UsageInTestError(
            f"rayperf.{what} got a {type(pipelines).__name__}, and needs a mapping of name to pipeline"
        )
    named = {str(name): pipeline for name, pipeline in pipelines.items()}
    if len(named) < len(pipelines):
        raise UsageInTestError(f"rayperf.{what}: two of {list(pipelines)} have one name; name them apart")
    check_pipelines(named)
    return named


def whole(name: str, value: Any, least: int) -> int:
    """A whole number, NumPy's too, as Python's."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise UsageInTestError(f"rayperf: {name}={value!r}: must be a whole number, {least} or more")
    return int(value)


def rounds_or_none(value: Any) -> int | None:
    """How many rounds; None leaves it to the verdict."""
    return None if value is None else whole("rounds", value, 1)


def rows_or_none(value: Any) -> int | None:
    """How many rows must come of it; None accepts any number."""
    return None if value is None else whole("expected_rows", value, 0)


def check_switch(name: str, value: object) -> None:
    """True or False, and nothing that counts as one of them."""
    if not isinstance(value, bool):
        raise UsageInTestError(f"rayperf: {name}={value!r}: must be True or False")


def floors_of(floors: Mapping[str, Any] | None) -> dict[str, float]:
    """How many times better a fix must be, by metric or counter."""
    for name, floor in (floors or {}).items():
        if not isinstance(floor, Real) or not 0 < float(floor) < math.inf:
            raise UsageInTestError(
                f"rayperf.duel: floors={{{name!r}: {floor!r}}}: must be a factor above 0, such as 1.5"
            )
    return {name: float(floor) for name, floor in (floors or {}).items()}


def check_pattern(what: str, match: str) -> None:
    """A regular expression."""
    try:
        if not isinstance(match, str):
            raise TypeError(f"it is a {type(match).__name__}")
        re.compile(match)
    except (re.error, TypeError, OverflowError) as error:
        mend = f"; to find it as it stands: re.escape({match!r})" if isinstance(match, str) else ""
        raise UsageInTestError(
            f"rayperf.{what}: match={match!r}: must be a regular expression ({error}){mend}"
        ) from None


def check_type(what: str, name: str, value: object, base: type[BaseException]) -> None:
    """A class of errors, or of warnings."""
    if not (isinstance(value, type) and issubclass(value, base)):
        raise UsageInTestError(
            f"rayperf.{what}: {name}={value!r}: must be a class derived from {base.__name__}, such as "
            f"{'UserWarning' if issubclass(base, Warning) else 'ValueError'}"
        )

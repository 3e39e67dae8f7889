"""What must come of a pipeline that is executed once and not measured: an error, a warning, or silence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NoReturn

from pytest_rayperf.errors import GateFailure
from pytest_rayperf.harness.hearing import Said, listening
from pytest_rayperf.measurement import Execution, Pipeline
from pytest_rayperf.results import Verdict
from pytest_rayperf.wrong import gist, unexpected_rows

_HISTORY = "the anti-pattern is history: say so in its test"


class Expectations:
    """Executes a pipeline once, and fails unless that comes of it which must.

    Args:
        execute: runs a pipeline once.
        conclude: hears the verdict, also one that fails the test.
    """

    def __init__(self, execute: Callable[[Pipeline], Execution], conclude: Callable[[Verdict], None]) -> None:
        self._execute = execute
        self._conclude = conclude

    def raises(self, pipeline: Pipeline, error: type[Exception], match: str) -> Exception:
        """Expect an error.

        Raises:
            GateFailure: there was none, or another one.
        """
        try:
            execution = self._execute(pipeline)
        except Exception as raised:  # noqa: BLE001 - which it is, is what is asked; another one fails the test
            if isinstance(raised, error) and re.search(match, str(raised)):
                self._pass(f"raised {error.__name__} ({match!r}), as it must")
                return raised
            self._fail(_another(raised, error, match), raised)
        rows = execution.round.rows
        self._fail(
            f"invalid: {error.__name__} ({match!r}) was not raised; the pipeline ran and gave {rows} rows; "
            f"if Ray allows this now, {_HISTORY}"
        )

    def warns(self, pipeline: Pipeline, match: str, category: type[Warning] | None) -> str:
        """Expect a Python warning or a log record of Ray's, and that the pipeline runs all the same.

        Raises:
            GateFailure: it was not heard, or the pipeline did not run.
        """
        wanted = category.__name__ if category else "warning or log record"
        try:
            with listening() as said:
                execution = self._execute(pipeline)
        except Exception as raised:  # noqa: BLE001 - any error fails the test
            self._fail(
                f"invalid: raised {type(raised).__name__}: {gist(raised)}; a {wanted} ({match!r}) was "
                "expected, and that it runs; if Ray refuses it now, expect that with rayperf.raises",
                raised,
            )
        for one in said:
            of_category = category is None or (one.category and issubclass(one.category, category))
            if of_category and re.search(match, one.text):
                self._pass(f"heard {one}, as it must")
                return one.text
        self._fail(
            f"invalid: no {wanted} ({match!r}) was heard, but {_listed(said)}; the pipeline ran and gave "
            f"{execution.round.rows} rows; if Ray is silent now, {_HISTORY}"
        )

    def is_silent(self, pipeline: Pipeline, expected_rows: int | None) -> None:
        """Expect that the pipeline runs, and that neither a warning nor a log record of Ray's comes of it.

        What Ray logs of the machine and its load while it runs does not count.

        Raises:
            GateFailure: something was heard, or the pipeline did not run, or gave another number of rows.
        """
        try:
            with listening() as said:
                execution = self._execute(pipeline)
        except Exception as raised:  # noqa: BLE001 - any error fails the test
            self._fail(
                f"invalid: raised {type(raised).__name__}: {gist(raised)}; it must run, and in silence; "
                "if Ray refuses it now, replace the call, or expect that with rayperf.raises",
                raised,
            )
        heard = [one for one in said if not one.of_the_run]
        if heard:
            self._fail(
                f"invalid: not silent: heard {_listed(heard)}; if Ray warns of it now, replace the call, "
                "or expect that with rayperf.warns"
            )
        wrong = unexpected_rows([execution.round], expected_rows)
        if wrong:
            self._fail(wrong)
        self._pass(f"ran in silence, as it must; {execution.round.rows} rows")

    def _pass(self, reason: str) -> None:
        self._conclude(Verdict("unchanged", reason))

    def _fail(self, text: str, cause: Exception | None = None) -> NoReturn:
        self._conclude(Verdict("invalid", text, wrong=True))
        raise GateFailure(text) from cause


def _another(raised: Exception, error: type[Exception], match: str) -> str:
    told = f"{type(raised).__name__}: {gist(raised)}"
    if isinstance(raised, error):
        return f"invalid: raised {told}; its text has nothing that the regular expression {match!r} finds"
    mend = ""
    if any(kind.__name__ == "UserCodeException" for kind in type(raised).__mro__):
        mend = (
            "; Ray Data wraps what a function of the pipeline raises: expect "
            "ray.exceptions.UserCodeException, whose text has the error"
        )
    return f"invalid: raised another error than {error.__name__} ({match!r}): {told}{mend}"


def _listed(said: Iterable[Said]) -> str:
    """All of it, each thing once."""
    return "; ".join(dict.fromkeys(map(str, said))) or "nothing"

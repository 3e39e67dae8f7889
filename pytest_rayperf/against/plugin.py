"""pytest's hooks of a far side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from pytest_rayperf.against.serving import Server, last_line, problem_of
from pytest_rayperf.software import software_versions


class FarPlugin:
    """The hooks of a far side, which runs what the near one asks for, and reports nothing.

    Args:
        server: answers the near side.
        prepare: opens what the performance tests among these items need, and gives them by the id that the
            near side knows them by.
    """

    def __init__(
        self, server: Server, prepare: Callable[[Sequence[pytest.Item]], Mapping[str, pytest.Item]]
    ) -> None:
        self._server = server
        self._prepare = prepare
        self._reports: list[pytest.TestReport] = []
        self._broken: dict[str, str] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of one test after the other: those that are asked for."""
        items = self._prepare(session.items)
        self._server.loop(items, software_versions(), self._run, self._broken)
        return True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Remember what cannot be collected: its tests are there, and could not be asked for."""
        if report.failed:
            self._broken[report.nodeid] = last_line(report.longreprtext)

    def _run(self, item: pytest.Item) -> str | None:
        self._reports.clear()
        # The session, as what comes next, keeps its fixtures (the cluster), and those of no module or test.
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=item.session)
        return problem_of(self._reports)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember how the test that runs went."""
        self._reports.append(report)

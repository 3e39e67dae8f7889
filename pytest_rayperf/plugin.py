"""pytest's hooks, each a few lines. Without --rayperf nothing heavy is imported from here."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pytest_rayperf import outcomes
from pytest_rayperf.errors import (
    ConfigurationError,
    GateFailure,
    NotSelftested,
    RayperfError,
    SelftestDone,
    ServedElsewhere,
)
from pytest_rayperf.feed import ReplayTimer
from pytest_rayperf.fixtures import (
    _rayperf_executor,
    classifier,
    features,
    gpu_monitor,
    imagenette,
    ray_cluster,
    rayperf,
    system_monitor,
)
from pytest_rayperf.flags import add_options
from pytest_rayperf.interrupts import Interrupts
from pytest_rayperf.options import (
    given_without_switch,
    has_pytest_benchmark,
    is_active,
    project_root,
    read_options,
)
from pytest_rayperf.progress import ProgressLine
from pytest_rayperf.resources import Resources, is_performance_test, limits_of, resources_key, timer_key
from pytest_rayperf.screen import TerminalScreen

if TYPE_CHECKING:
    from pytest_rayperf.publishing import Interim

__all__ = [
    "_rayperf_executor",
    "classifier",
    "features",
    "gpu_monitor",
    "imagenette",
    "ray_cluster",
    "rayperf",
    "system_monitor",
]

_MARK = (
    "rayperf(max_slowdown, min_throughput, max_batch_latency_p95, max_error_rate): a performance test with "
    "limits of its own. max_slowdown: the factor that counts as a regression (default: "
    "--rayperf-max-slowdown). The others are targets that it must meet with or without a baseline. "
    "min_throughput: rows/s at the least. max_batch_latency_p95: seconds that 95 % of the calls of each UDF "
    "of map_batches must be within. max_error_rate: the share of these calls, 0 to 1, that may raise an "
    "error. Tests that use the fixture rayperf need no mark."
)

_MARKUP: dict[str, dict[str, bool]] = {
    "": {},
    "bad": {"red": True},
    "doubtful": {"yellow": True},
    "good": {"green": True},
    "faint": {"light": True},
    "heading": {"bold": True},
}
"""Our styles as pytest's; whether there is colour is for pytest to say."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Check the options, and register the feature only where it is asked for."""
    config.addinivalue_line("markers", _MARK)
    try:
        options = read_options(config)
        idle = given_without_switch(config)
    except ConfigurationError as error:
        raise pytest.UsageError(str(error)) from None
    if idle:
        raise pytest.UsageError(f"{idle}: does nothing without --rayperf; add that")
    terminal = TerminalScreen(config) if options.active and config.get_verbosity() >= 0 else None
    config.stash[resources_key] = Resources(options, ProgressLine(terminal), project_root(config))
    if options.active:
        _quieten_pytest_benchmark(config)
        config.pluginmanager.register(_feature(config, options.far_side), "rayperf-active")


def _feature(config: pytest.Config, far_side: int | None) -> object:
    if far_side is None:
        return _ActivePlugin(config)
    from pytest_rayperf.against.plugin import FarPlugin
    from pytest_rayperf.against.serving import Server

    resources = config.stash[resources_key]
    resources.server = server = Server.at(far_side)

    def prepare(items: Sequence[pytest.Item]) -> dict[str, pytest.Item]:
        _prepare(resources, items)
        return {resources.id_of(item): item for item in items if is_performance_test(item)}

    return FarPlugin(server, prepare)


def _prepare(resources: Resources, items: Sequence[pytest.Item]) -> None:
    try:
        resources.prepare(items)
    except ConfigurationError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Check the marks. Skip the performance tests without --rayperf; with it, drop all others."""
    try:
        for item in () if hasattr(config, "workerinput") else items:  # a worker of xdist cannot say it
            limits_of(item)
    except ConfigurationError as error:
        raise pytest.UsageError(str(error)) from None
    if not is_active(config):
        skip = pytest.mark.skip(reason="performance test: runs with --rayperf")
        for item in items:
            if is_performance_test(item):
                item.add_marker(skip)
        return
    others = [item for item in items if not is_performance_test(item)]
    config.stash[resources_key].collected = len(items) - len(others)  # -k and -m choose after this
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if is_performance_test(item)]


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """Give a performance test's `benchmark` fixture a timer that tells the rounds measured elsewhere."""
    if "rayperf" not in getattr(item, "fixturenames", ()) or not has_pytest_benchmark(item.config):
        return
    item.stash[timer_key] = timer = ReplayTimer()
    own = item.get_closest_marker("benchmark")
    kwargs = {**(own.kwargs if own else {}), "timer": timer}
    item.add_marker(pytest.mark.benchmark(**kwargs), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """A performance test passes only if what it has measured does."""
    with _errors_as_pytests():
        result = yield
        outcomes.check(item.config.stash[resources_key], item)
        return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Once its fixtures have ended well too, it may become a baseline."""
    resources = item.config.stash[resources_key]
    with _errors_as_pytests():
        try:
            result = yield
        except BaseException:
            outcomes.settle(resources, item, torn_down=False)
            raise
        outcomes.settle(resources, item, torn_down=True)
        return result


@contextmanager
def _errors_as_pytests() -> Iterator[None]:
    """Turn the core's errors into pytest's."""
    try:
        yield
    except (SelftestDone, ServedElsewhere):
        return
    except NotSelftested as reason:
        raise pytest.skip.Exception(str(reason), _use_item_location=True) from None
    except GateFailure as failure:
        raise pytest.fail.Exception(str(failure), pytrace=False) from None
    except RayperfError as error:
        raise pytest.fail.Exception(f"{type(error).__name__}: {error}", pytrace=False) from None


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any, request: Any) -> Generator[None, Any, Any]:
    """An option that shows itself unusable in a fixture (no cluster at the address) ends the run."""
    try:
        return (yield)
    except ConfigurationError as error:
        raise pytest.exit.Exception(f"ERROR: {error}", returncode=pytest.ExitCode.USAGE_ERROR) from None


class _ActivePlugin:
    """The hooks that matter only with --rayperf."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._resources = config.stash[resources_key]
        self._collected: set[str] | None = None
        self._interim: Interim | None = None
        self._interrupts = Interrupts()
        self._deselected = False

    def pytest_sessionstart(self) -> None:
        """From here on there may be something to clear up."""
        self._interrupts.install()

    def pytest_unconfigure(self) -> None:
        """There is nothing any more."""
        self._interrupts.restore()

    def pytest_report_header(self, config: pytest.Config) -> str | None:
        """Say where pytest took the folder of an option for a test path."""
        root = self._resources.root
        if root == config.rootpath:
            return None
        return (
            f"rayperf: project {root}; pytest took a path of an option for a test path and did not read "
            "the ini file there: write it with =, as in --rayperf-data=DIR"
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Find everything that is unusable before the first round."""
        if session.config.option.collectonly:
            return
        try:
            _prepare(self._resources, session.items)
        except pytest.UsageError:
            self._collected = None  # the summary must not read what was found broken here
            raise

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Tell the live line which item it is."""
        self._resources.progress.begins(nodeid)

    @pytest.hookimpl(tryfirst=True)  # what pytest's own writes after it would be taken away with the line
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the live line away before pytest writes its own."""
        progress = self._resources.progress
        if report.when == "call":
            progress.done()
            progress.ends(report.nodeid, None if report.skipped else report.duration)
        elif report.when == "setup" and not report.passed:
            progress.ends(report.nodeid, None)

    def pytest_runtest_logfinish(self) -> None:
        """Keep what a test has measured, whatever becomes of the next one."""
        record, json = self._resources.record, self._resources.options.json
        if json is None or not record.cache_info().currsize or not record().benchmarks:
            return
        from pytest_rayperf.publishing import Interim

        self._interim = self._interim or Interim(json)
        self._interim.write(self._resources.run)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """Put the figures among the item's properties, which its reports, and so JUnit, are made with."""
        if call.when == "call":
            from pytest_rayperf.properties import properties_of

            for benchmark in self._resources.record().benchmarks:
                if benchmark.id == self._resources.id_of(item):
                    item.user_properties.extend(properties_of(benchmark))

    def pytest_keyboard_interrupt(self) -> None:
        """What follows is clearing up."""
        self._interrupts.close()

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """End the far side; write the reports, also of a run that failed or was interrupted."""
        self._interrupts.close()
        try:
            self._resources.close()
        finally:
            self._report(session)

    def _report(self, session: pytest.Session) -> None:
        if not self._resources.record.cache_info().currsize:
            return
        record = self._resources.record()
        if session.exitstatus == pytest.ExitCode.USAGE_ERROR and not record.benchmarks:
            return  # nothing was measured, and the reports of the run before stay
        from pytest_rayperf.publishing import publish

        problems = publish(self._resources.options, self._resources.report(), os.environ)
        record.notes.extend(problem.text for problem in problems)
        # Where GitHub wants its summary is no option of the user's.
        if any(problem.asked for problem in problems):
            session.exitstatus = session.exitstatus or pytest.ExitCode.INTERNAL_ERROR

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> None:
        """Print the table."""
        if not self._resources.record.cache_info().currsize:
            return
        record = self._resources.record()
        if record.selftests:
            _write_selftests(terminalreporter, self._resources)
        if record.benchmarks:
            _write_summary(terminalreporter, self._resources)
        for name in self._gone():
            terminalreporter.write_line(f"baseline without a test: {name}; delete it, or restore the test")
        for line in record.notes:
            terminalreporter.write_line(line, red=True)

    def _gone(self) -> list[str]:
        if self._collected is None:
            return []
        root = self._resources.root
        return self._resources.record().gone(self._collected, lambda file: (root / file).is_file())

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """By whomever: then this is not the whole suite. The other tests are none of it."""
        self._deselected = self._deselected or any(map(is_performance_test, items))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Remember a whole-suite run's tests: only then can a baseline be told to be left over."""
        option = session.config.option
        whole = not (self._deselected or option.keyword or option.markexpr or getattr(option, "lf", False))
        if (
            whole
            and len(session.items) >= self._resources.collected
            and self._resources.options.reads_baselines
            and not any("::" in str(arg) for arg in session.config.args)
        ):
            self._collected = {self._resources.id_of(item) for item in session.items}


def _write_summary(terminal: pytest.TerminalReporter, resources: Resources) -> None:
    from pytest_rayperf.reports.terminal import lines_of

    terminal.section("rayperf")
    for line in lines_of(resources.report(), resources.record().accepted):
        terminal.write_line(line.text, **_MARKUP[line.style])


def _write_selftests(terminal: pytest.TerminalReporter, resources: Resources) -> None:
    from pytest_rayperf.reports import selftest as report

    terminal.section("rayperf self-test")
    for line in report.lines(resources.run()):
        terminal.write_line(line)


def _quieten_pytest_benchmark(config: pytest.Config) -> None:
    """Our table has what pytest-benchmark's would say, unless something was asked of it."""
    given = vars(config.option)
    asked = [
        "benchmark_json", "benchmark_save", "benchmark_autosave", "benchmark_histogram",
        "benchmark_compare", "benchmark_compare_fail", "benchmark_verbose", "benchmark_cprofile",
        "benchmark_columns",
    ]  # fmt: skip
    if not any(given.get(name) for name in asked):
        config.option.benchmark_quiet = True

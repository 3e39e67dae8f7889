"""pytest's terminal as the screen of progress lines, whatever pytest captures meanwhile."""

from __future__ import annotations

import sys
from typing import Any

import pytest


class TerminalScreen:
    """pytest's terminal as a screen for progress lines."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.live = sys.stdout.isatty()
        self._shown = False

    @property
    def width(self) -> int | None:
        """How many characters a live line holds; a log's lines hold all."""
        reporter, _ = self._plugins()
        return reporter._tw.fullwidth - 1 if self.live and reporter is not None else None

    def show(self, text: str) -> None:
        """Replace the live line, or print a plain one."""
        reporter, capture = self._plugins()
        if reporter is None:
            return
        with capture.global_and_fixture_disabled():
            if not self._shown:
                reporter.ensure_newline()
                if reporter._tw.width_of_current_line:  # a dot, which pytest forgets once we wrote a line
                    reporter._tw.line()
            if self.live:
                width = reporter._tw.fullwidth - 1
                reporter.rewrite(text[:width], erase=True)
            else:
                reporter.write_line(text)
            reporter.flush()
            self._shown = True

    def clear(self) -> None:
        """Take the live line away."""
        reporter, capture = self._plugins()
        if self._shown and self.live and reporter is not None:
            with capture.global_and_fixture_disabled():
                reporter.rewrite("", erase=True)
                reporter.rewrite("")
        self._shown = False

    def _plugins(self) -> tuple[Any, Any]:
        manager = self._config.pluginmanager
        return manager.get_plugin("terminalreporter"), manager.get_plugin("capturemanager") or _NoCapture()


class _NoCapture:
    """With `-p no:capture` there is nothing to suspend."""

    def global_and_fixture_disabled(self) -> Any:
        """A context that does nothing."""
        from contextlib import nullcontext

        return nullcontext()

"""What is told while a run goes on: in a log, on a terminal, and not under -q."""

import os
import re
import subprocess
import sys
from contextlib import suppress

import pytest


def test_progress_is_told_but_not_when_quiet(project):
    project.tests()
    lines = project.measure().stdout.lines
    begins = "rayperf: [1/1] pipe"
    assert f"{begins}, warm-up; at most 120 s more" in lines
    assert f"{begins}, round 1 of 3 to 20; at most 120 s more" in lines
    (third,) = (line for line in lines if line.startswith(f"{begins}, round 3 of 3 to 20: 3"))
    # This round and 17 more of 2 s each, of the script; the clock is that of this process.
    assert re.search(r" rows/s so far; at most 3[5-7] s more$", third)
    quiet = project.measure("-q").stdout
    assert not [line for line in quiet.lines if line.startswith("rayperf: ")]
    assert "= rayperf =" in quiet.str()  # the table is the result, not progress


DUEL_AND_MORE = """
    import pytest

    @pytest.mark.parametrize("variant", ["antipattern", "fix"])
    def test_duel(rayperf, variant):
        rayperf.duel(antipattern=lambda: {"seconds": 4.0}, fix=lambda: {})

    def test_alone(rayperf):
        rayperf(lambda: {})

    @pytest.mark.skip(reason="not today")
    def test_skipped(rayperf):
        rayperf(lambda: {})

    def test_last(rayperf):
        rayperf(lambda: {})
"""


def test_progress_tells_which_item_it_is_and_what_the_others_take(project):
    project.tests(DUEL_AND_MORE)
    # A duel's other item takes no time, and all others a minute, for those who read it off the reports.
    project.tests(
        """
        import pytest

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_makereport(item):
            report = yield
            report.duration = 0.0 if "fix" in item.name else 60.0
            return report
        """,
        name="minutes",
    )
    project.pytester.syspathinsert()
    lines = project.measure("-p", "minutes", "--rayperf-max-rounds=3").stdout.lines
    first = {}
    for line in lines:
        if found := re.match(r"rayperf: (\[\d/5\] \w+ ?\w*), (?:warm-up|round 1)(.*)", line):
            first.setdefault(found[1], found[2])
    assert list(first) == ["[1/5] duel antipattern", "[1/5] duel fix", "[3/5] alone", "[5/5] last"]
    left = [re.sub(r".*more", "", after) for after in first.values()]
    # Of the one that runs a moment has passed.
    assert left[:2] == ["", ""]
    assert left[2] == "; about 3 min left in all"
    assert re.fullmatch(r"; about (60|59|58) s left in all", left[3])


@pytest.mark.skipif(sys.platform == "win32", reason="has no terminals to open")
def test_the_live_line_keeps_to_the_terminal(project):
    """On a real one of 40 columns: whole words, never so long as to be wrapped, and nothing of it stays."""
    project.tests()
    outer, inner = os.openpty()
    arguments = ["-m", "pytest", "-p", "no:cacheprovider", "--rayperf", "--color=no"]
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=project.path,
        stdin=subprocess.DEVNULL,
        stdout=inner,
        stderr=inner,
        env={**os.environ, "COLUMNS": "40", "TERM": "xterm"},
    )
    os.close(inner)
    said = b""
    with suppress(OSError):  # Linux says so when the other end is closed
        while part := os.read(outer, 1 << 16):
            said += part
    os.close(outer)
    assert process.wait(timeout=60) == 0
    texts = said.decode().split("\r")
    live = [text for text in texts if "[1/1] pipe" in text]
    assert [text.rstrip() for text in live[:2]] == [
        "[1/1] pipe, warm-up; at most 120 s more",
        "[1/1] pipe, round 1 of 20",
    ]
    assert re.fullmatch(r"\[1/1\] pipe, round 3 of 20: 3\d\.\d rows/s *", live[-1])
    assert {len(text) for text in live} == {39}
    after = texts[texts.index(live[-1]) + 1 :]
    assert after[0] == " " * 39  # taken away
    assert after[1].startswith(".")  # before pytest says how it went


@pytest.mark.parametrize("arguments", [("-s",), ("-p", "no:terminal"), ("-p", "no:capture")])
def test_progress_does_without_its_neighbours(project, arguments):
    project.tests()
    result = project.run_apart("--rayperf", *arguments)
    assert result.ret == 0
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    assert project.rounds == 4

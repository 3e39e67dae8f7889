"""Who may read a file that is written whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_rayperf.wholefile import unwritable, write_whole


@pytest.fixture
def umask():
    """Sets the umask; afterwards it is as it was."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode(path):
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize(("mask", "wanted"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_is_as_the_umask_says(tmp_path, umask, mask, wanted):
    umask(mask)
    path = tmp_path / "run.json"
    write_whole(path, "new")
    assert mode(path) == wanted
    assert umask(mask) == mask


@pytest.mark.parametrize("wanted", [0o600, 0o640, 0o444])
def test_an_old_file_stays_as_it_is(tmp_path, umask, wanted):
    umask(0o022)
    path = tmp_path / "run.json"
    path.touch()
    path.chmod(wanted)
    write_whole(path, "new")
    assert (mode(path), path.read_text("utf-8")) == (wanted, "new")


def test_of_a_link_the_file_that_it_leads_to(tmp_path):
    path, link = tmp_path / "run.json", tmp_path / "link.json"
    path.touch()
    path.chmod(0o600)
    link.symlink_to(path)
    write_whole(link, "new")
    assert (mode(path), path.read_text("utf-8")) == (0o600, "new")


class TestUnwritable:
    def test_a_place_that_can_be_written(self, tmp_path):
        old = tmp_path / "old.json"
        old.write_text("old")
        assert unwritable(old) is None
        assert unwritable(tmp_path / "new.json") is None
        assert [path.name for path in tmp_path.iterdir()] == ["old.json"]
        assert old.read_text() == "old"

    def test_a_folder_that_takes_no_file(self):
        assert unwritable(Path("/proc/report.json"))

    def test_a_folder_that_is_not_there(self, tmp_path):
        assert unwritable(tmp_path / "none" / "report.json") == "No such file or directory"

    def test_what_is_no_file(self):
        assert unwritable(Path("/dev/null")) is None

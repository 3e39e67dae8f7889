"""pytest takes an existing folder after an option for a test path, before it knows the option."""

import os

import pytest


@pytest.fixture
def start_in(monkeypatch):
    def change(folder):
        folder.mkdir()
        monkeypatch.chdir(folder)
        return folder

    return change


def test_a_data_folder_outside_the_project_moves_neither_ids_nor_baselines(project, images, start_in):
    data = images("photos")
    home = project.path / "project"
    start_in(home)
    (project.path / "pytest.ini").unlink()
    (home / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", encoding="utf-8")
    (project.path / "conftest.py").rename(home / "conftest.py")
    (home / "test_it.py").write_text(
        "def test_pipe(rayperf, imagenette):\n    rayperf(lambda: {})\n", encoding="utf-8"
    )
    above = os.path.relpath(data, home)  # with a space between option and value, as people write it
    result = project.measure("--rayperf-update-baselines", "--rayperf-data", above)
    assert result.ret == 0, result.stdout.str()
    result.stdout.fnmatch_lines([f"rayperf: project {home}; *write it with =, as in --rayperf-data=DIR"])
    assert [path.name for path in home.glob("baselines/*/*.json")] == ["it.pipe.json"]
    # The same test, started so that pytest finds the ini file, has the same baseline.
    again = project.measure("--rayperf-gate", f"--rayperf-data={above}")
    assert "no-baseline" not in again.stdout.str()
    assert again.ret == 0


def test_benchmark_skip_would_pass_unmeasured(project):
    project.tests()
    assert project.refused("--benchmark-skip") == (
        "--benchmark-skip: would skip every performance test, and the run would pass; leave it out"
    )

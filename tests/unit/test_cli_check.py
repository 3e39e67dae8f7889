"""`rayperf check`: what it looks at, and how it tells it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from builders import ENVIRONMENT, make_session
from test_fitness import FINE
from test_stored import write

from pytest_rayperf import environment
from pytest_rayperf.advising.fitness import Disk, Facts
from pytest_rayperf.cli import main
from pytest_rayperf.commands import check
from pytest_rayperf.commands.outcome import INTERRUPTED, UNFIT, USAGE_ERROR
from pytest_rayperf.machine import Lap
from pytest_rayperf.monitors.disturbance import watch_disturbances
from pytest_rayperf.monitors.disturbance_limits import Reading
from pytest_rayperf.monitors.gpu_load import GpuReading


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "detect_environment", lambda: replace(ENVIRONMENT, id="cpu-2"))
    return tmp_path / "baselines"


@pytest.fixture
def sees(monkeypatch):
    """Lets it see these facts."""
    asked = []

    def sees(facts):
        def look_at(*arguments):
            asked.append(arguments)
            if isinstance(facts, BaseException):
                raise facts
            return facts

        monkeypatch.setattr(check, "look_at", look_at)
        return asked

    return sees


def said(capsys, *arguments):
    status = main(["check", *arguments])
    out, err = capsys.readouterr()
    return status, out, err


class TestTold:
    def test_fit(self, sees, capsys):
        sees(FINE)
        assert said(capsys) == (
            0,
            "                    cpu-2\n"
            "--------------  --  -----------------------------------------------------------------\n"
            "Ray             ok  2.60.0\n"
            "others at work  ok  1.2 % of the CPU used by others, 0.0 % of the CPU stolen, in 10 s\n"
            "fixed work      ok  took the same CPU time within 0.8 % (standard deviation of 4)\n"
            "shared memory   ok  20 GiB free in /dev/shm, for an object store of 7.2 GiB\n"
            "disk            ok  50 GiB free in /tmp, 50 % used\n"
            "baselines       ok  1 of this environment\n"
            "\n"
            "fit to measure on\n",
            "",
        )

    def test_with_warnings_it_is_fit(self, sees, capsys):
        sees(replace(FINE, sessions={}, unseen=("no /proc/pressure",)))
        status, out, _ = said(capsys)
        assert status == 0
        assert out.endswith(
            "\nfit to measure on, 2 warnings\n"
            "- not seen: keep it quiet yourself: rounds that it disturbs count\n"
            "- baselines: record them: pytest --rayperf --rayperf-update-baselines\n"
        )

    def test_not_fit(self, sees, capsys):
        sees(replace(FINE, disturbed=("38 % of the CPU was used by others (limit 10 %)",), sessions={"a": 1}))
        status, out, _ = said(capsys)
        assert status == UNFIT
        assert "others at work  unfit    38 % of the CPU was used by others (limit 10 %)" in out
        assert (
            "\nnot fit to measure on (1 unfit), 1 warning\n- others at work: stop what else runs here" in out
        )

    def test_for_a_machine(self, sees, capsys):
        sees(replace(FINE, ray=None))
        status, out, _ = said(capsys, "--format", "json")
        told = json.loads(out)
        assert status == UNFIT
        assert told["fit"] is False
        assert told["environment"]["id"] == "cpu-2"
        assert told["checks"][0] == {
            "name": "Ray",
            "mark": "unfit",
            "found": "is not installed",
            "remedy": "pip install 'ray[data]>=2.51'",
        }

    def test_markdown_is_harmless(self, sees, capsys):
        full = Disk("/tmp/<b>", 100, 0)
        sees(replace(FINE, broken=("<script>|\n",), scratch=full))
        _, out, _ = said(capsys, "--format", "markdown")
        assert "<script>" not in out
        assert "<b>" not in out
        assert "| Ray " in out
        assert " free some of /tmp/&#60;b&#62;\n" in out

    def test_for_which_threshold(self, sees, capsys):
        sees(replace(FINE, laps=tuple(Lap(0.002 * f) for f in (0.94, 1.0, 1.06))))
        assert said(capsys)[0] == said(capsys, "--max-slowdown", "1.5")[0] == 0
        status, out, _ = said(capsys, "--max-slowdown", "1.05")
        assert status == UNFIT
        assert "where a slowdown of 1.05x shall be found" in out

    def test_what_was_asked_for(self, sees, capsys, tmp_path):
        asked = sees(FINE)
        said(capsys, "--seconds", "60", "--baselines", str(tmp_path / "x"))
        assert asked == [(60.0, tmp_path / "x", "cpu-2", ENVIRONMENT.memory_bytes)]

    def test_interrupted(self, sees, capsys):
        sees(KeyboardInterrupt())
        assert said(capsys) == (INTERRUPTED, "", "rayperf: interrupted\n")


class TestLookedAt:
    """On this machine, whatever it is."""

    @staticmethod
    def facts(folder, seconds=0.0) -> Facts:
        return check.look_at(seconds, folder, "cpu-2", 8)

    def test_the_whole(self, folder):
        facts = self.facts(folder, 1.2)
        assert len(facts.laps) >= 2
        assert all(lap.compute_s > 0 for lap in facts.laps)
        assert facts.ray is not None
        assert (facts.seconds, facts.memory_bytes) == (1.2, 8)  # what is free is more
        if sys.platform == "linux":
            assert facts.shared_memory.path == "/dev/shm"

    @pytest.fixture
    def quick(self, monkeypatch):
        monkeypatch.setattr("pytest_rayperf.probe.probe", lambda laps: Lap(0.002))

    @pytest.mark.usefixtures("quick")
    def test_memory_that_others_have_is_not_counted(self, folder, monkeypatch):
        monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=5, total=10))
        assert self.facts(folder).memory_bytes == 5

    @pytest.mark.usefixtures("quick")
    def test_a_slow_machine_is_timed_twice_at_least(self, folder):
        assert len(self.facts(folder, 0.0).laps) == 2

    @pytest.mark.usefixtures("quick")
    def test_a_container_that_is_granted_a_part_of_the_cpus(self, folder, monkeypatch):
        """What others use of the rest is none of its business, and cannot be seen."""
        asked = []

        def watch(address, *, quota):
            asked.append((address, quota))
            return watch_disturbances(address, quota=quota)

        monkeypatch.setattr("pytest_rayperf.limits.usable_cores", lambda: 3)
        monkeypatch.setattr("pytest_rayperf.monitors.disturbance.watch_disturbances", watch)
        self.facts(folder)
        assert asked == [(None, 3)]

    def test_what_disturbs_any_gpu(self):
        """Its own process uses none, and a pipeline may use each."""
        hot = GpuReading(0, samples=10, throttled=10, slowed={"thermal": 10}, used=False)
        taken = GpuReading(1, samples=10, foreign=(4242,), used=False)
        (one, other) = check.disturbed_by(Reading(gpus=(hot, taken)))
        assert one.startswith("GPU 0 was throttled: thermal")
        assert other == "a process of others (pid 4242) was on GPU 1"
        assert check.disturbed_by(Reading()) == check.disturbed_by(None) == ()

    @pytest.mark.parametrize(
        ("platform", "environ", "folder"),
        [
            ("linux", {}, "/tmp"),
            ("linux", {"TMPDIR": "/data"}, "/data"),
            ("linux", {"RAY_TMPDIR": "/ray", "TMPDIR": "/data"}, "/ray"),
            ("linux", {"TEMP": "/data"}, "/tmp"),
            ("darwin", {"TMPDIR": "/var/folders"}, "/tmp"),
            ("darwin", {"RAY_TMPDIR": "/ray"}, "/ray"),
        ],
    )
    def test_the_folder_that_ray_takes(self, monkeypatch, platform, environ, folder):
        monkeypatch.setattr(sys, "platform", platform)
        assert check.ray_folder(environ) == Path(folder)

    @pytest.mark.usefixtures("quick")
    def test_baselines(self, folder):
        write(folder)
        write(folder, "b", id="b", sessions=[make_session()])
        write(folder, "c", id="c", environment="gpu-8")
        (folder / "cpu-2" / "broken.json").write_text("{")
        (folder / "gpu-8" / "broken.json").write_text("{")
        facts = self.facts(folder)
        assert facts.sessions == {"a": 3, "b": 1}
        assert [text.partition(":")[0] for text in facts.broken] == ["baselines/cpu-2/broken.json"]
        assert facts.elsewhere == ("gpu-8",)

    @pytest.mark.usefixtures("quick")
    def test_before_the_first_recording_there_is_no_folder(self, folder):
        facts = self.facts(folder)
        assert (facts.sessions, facts.broken, facts.elsewhere) == ({}, (), ())

    @pytest.fixture
    def blind(self, monkeypatch):
        """Looking would be an error."""
        monkeypatch.setattr("pytest_rayperf.probe.probe", None)

    @pytest.mark.usefixtures("blind")
    def test_a_file_for_a_folder_is_an_error_before_it_looks(self, folder, capsys):
        folder.write_text("")
        status, out, err = said(capsys)
        assert (status, out) == (USAGE_ERROR, "")
        assert "baselines: is a file, not a folder of baselines" in err

    @pytest.mark.usefixtures("blind")
    def test_so_is_a_folder_that_cannot_be(self, capsys):
        status, out, err = said(capsys, "--baselines", "a" * 300)
        assert (status, out) == (USAGE_ERROR, "")
        assert err.endswith(": cannot be looked at (File name too long)\n")

    def test_governors(self, tmp_path):
        assert check.governors_in(tmp_path) == ()
        for index, governor in enumerate(["powersave", "performance", "powersave"]):
            path = tmp_path / f"cpu{index}" / "cpufreq" / "scaling_governor"
            path.parent.mkdir(parents=True)
            path.write_text(f"{governor}\n")
        (tmp_path / "cpu3" / "cpufreq" / "scaling_governor").mkdir(parents=True)  # cannot be read
        assert check.governors_in(tmp_path) == ("performance", "powersave")

    def test_a_file_system(self, tmp_path, monkeypatch):
        assert check._disk(tmp_path / "none") is None
        monkeypatch.setattr(check.shutil, "disk_usage", lambda path: SimpleNamespace(total=9, used=5, free=3))
        assert check._disk(tmp_path) == Disk(str(tmp_path), 9, 3)


class TestProgress:
    @pytest.mark.parametrize("terminal", [True, False])
    def test_who_waits_at_a_terminal_is_told(self, monkeypatch, capsys, terminal):
        monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
        with check._said_on_stderr("looking"):
            shown = capsys.readouterr().err
            assert shown == ("looking ..." if terminal else "")
        wiped = capsys.readouterr().err
        assert wiped == (f"\r{' ' * len(shown)}\r" if terminal else "")

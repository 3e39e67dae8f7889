from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from pytest_rayperf import software
from pytest_rayperf.environment import cpu_model_from_cpuinfo, detect_environment, environment_id
from pytest_rayperf.software import git_commit, software_versions

GIB = 1024**3

GENERIC_EPYC = """\
processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
stepping\t: 1
cpu MHz\t\t: 2596.124
cache size\t: 1024 KB
flags\t\t: fpu vme de pse tsc

processor\t: 1
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
cpu MHz\t\t: 3100.000
cache size\t: 1024 KB
"""

NAMED_XEON = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 106
model name\t: Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz
stepping\t: 6
cache size\t: 55296 KB
"""

GRAVITON = """\
processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1
"""


def named(model_name, family="6", model="85", cache="39424 KB"):
    return f"cpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: {model_name}\ncache size\t: {cache}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GENERIC_EPYC, "AMD EPYC family 25 model 17 cache 1024 KB"),
        (NAMED_XEON, "Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz"),
        (GRAVITON, "ARM implementer 0x41 part 0xd0c"),
        (named("AMD EPYC 7B13"), "AMD EPYC 7B13"),
        (named("Intel Xeon Processor"), "Intel Xeon Processor family 6 model 85 cache 39424 KB"),
        # a clock, and the version of a virtual machine's CPU, tell no generation
        (
            named("Intel(R) Xeon(R) CPU @ 2.20GHz"),
            "Intel(R) Xeon(R) CPU @ 2.20GHz family 6 model 85 cache 39424 KB",
        ),
        (
            named("AMD EPYC-Milan-v2 Processor", "25", "1", "512 KB"),
            "AMD EPYC-Milan-v2 Processor family 25 model 1 cache 512 KB",
        ),
        (
            named("QEMU Virtual CPU version 2.5+"),
            "QEMU Virtual CPU version 2.5+ family 6 model 85 cache 39424 KB",
        ),
        ("model name\t: AMD EPYC\n", "AMD EPYC"),
        (
            "CPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\nCPU part\t: 0xd05\n",
            "ARM implementer 0x41 part 0xd05 0xd0b",
        ),
        ("", ""),
        ("processor\t: 0\nno colon here\nmodel name\t:\n", ""),
    ],
)
def test_cpu_model(text, expected):
    assert cpu_model_from_cpuinfo(text) == expected


def identify(cpu="AMD EPYC 7B13", memory=24 * GIB, gpu=None, count=0, cores=2):
    return environment_id("Linux", "x86_64", cpu, cores, memory, gpu, count)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GENERIC_EPYC, "amd-epyc-f25-m17-1024kb"),
        (NAMED_XEON, "intel-xeon-platinum-8375c-2.90ghz"),
        (GRAVITON, "arm-0x41-0xd0c"),
        (
            named("AMD Ryzen™ 7 PRO 5850U with Radeon(TM) Graphics"),
            "amd-ryzen-7-pro-5850u-with-radeon-graphics",
        ),
    ],
)
def test_id_has_the_cpu_in_short(text, expected):
    assert identify(cpu=cpu_model_from_cpuinfo(text)) == f"linux-x86_64-{expected}-2cpu-24gib"


def test_id_has_the_gpus():
    assert identify(gpu="NVIDIA H100 80GB HBM3", count=2).endswith("-24gib-2x-nvidia-h100-80gb-hbm3")


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (25276502016, "24gib"),
        (25276502016 - 300 * 1024**2, "24gib"),
        (int(31.2 * GIB), "32gib"),
        (32 * GIB, "32gib"),
        (int(15.4 * GIB), "16gib"),
        (int(7.6 * GIB), "8gib"),
        (8 * GIB, "8gib"),
        (3 * GIB, "3gib"),
        (GIB // 2, "512mib"),
    ],
)
def test_id_has_the_memory_rounded(memory, expected):
    assert identify(memory=memory).endswith(f"-{expected}")


@pytest.mark.parametrize(
    "cpu", ["Łódź / ..\\..:* CPU", "", "!!!", "..", "AMD EPYC " * 40, "Intel(R) Xeon(R) CPU @ 2.20GHz"]
)
def test_id_is_a_safe_name_for_a_folder(cpu):
    name = identify(cpu=cpu, gpu="NVIDIA H100 / MIG 1g.10gb", count=8)
    assert re.fullmatch(r"[a-z0-9_][a-z0-9_.-]{0,99}", name)
    assert ".." not in name.split("-")


def test_ids_that_are_cut_stay_distinct_and_stable():
    long = "Some Processor 1 " + "with an endless name " * 10
    small, large = identify(cpu=long, cores=2), identify(cpu=long, cores=64)
    assert len(small) <= 100
    assert small != large
    assert small == identify(cpu=long, cores=2)


def test_hardware_with_no_name_is_unknown():
    assert environment_id("", "", "", 1, GIB, None, 0) == "unknown-unknown-unknown-1cpu-1gib"


def test_this_machine():
    found = detect_environment(gpu=())
    assert found.cores >= 1
    assert found.memory_bytes > 64 * 1024**2
    assert found.cpu_model.strip()
    assert (found.gpu_model, found.gpu_count) == (None, 0)
    assert found.id.startswith(f"{platform.system().lower()}-")
    assert f"-{found.cores}cpu-" in found.id
    assert detect_environment(gpu=()) == found


def test_gpus_are_counted_and_named():
    found = detect_environment(gpu=["NVIDIA L4", "NVIDIA L4"])
    assert (found.gpu_model, found.gpu_count) == ("NVIDIA L4", 2)
    assert found.id.endswith("-2x-nvidia-l4")
    mixed = detect_environment(gpu=["Tesla T4", "NVIDIA L4"])
    assert mixed.gpu_model == "NVIDIA L4 + Tesla T4"
    assert mixed.id == detect_environment(gpu=["NVIDIA L4", "Tesla T4"]).id


def test_versions():
    found = software_versions()
    assert found["python"] == platform.python_version()
    assert found["pytest"] == pytest.__version__
    assert found["kernel"] == platform.release()
    assert {"ray", "torch", "torchvision", "numpy", "pandas", "pyarrow", "pillow", "pytest-benchmark"} < set(
        found
    )


def test_versions_of_what_is_not_installed(monkeypatch):
    def absent(package):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(software, "version", absent)
    found = software_versions()
    assert found["torch"] is None
    assert found["pytest-rayperf"] == software.__version__


def test_versions_import_none_of_the_packages():
    code = (
        "import sys; from pytest_rayperf import software, environment; software.software_versions();"
        "environment.detect_environment(gpu=());"
        "print([name for name in ('ray', 'torch', 'pandas', 'numpy', 'pynvml') if name in sys.modules])"
    )
    root = Path(software.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path / "repository"
    folder.mkdir()

    def git(*arguments):
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout.strip()

    git("init", "--quiet")
    return folder, git


def test_commit_of_a_clean_tree(repository):
    folder, git = repository
    assert git_commit(folder) is None  # no commit yet
    (folder / "a.py").write_text("1\n")
    git("add", "a.py")
    git("commit", "--quiet", "-m", "first")
    assert re.fullmatch("[0-9a-f]{40,64}", git_commit(folder))
    assert git_commit(folder) == git("rev-parse", "HEAD")
    (folder / "report.json").write_text("{}")  # not tracked
    (folder / "below").mkdir()
    assert git_commit(str(folder / "below")) == git("rev-parse", "HEAD")


def test_commit_of_a_changed_tree(repository):
    folder, git = repository
    (folder / "a.py").write_text("1\n")
    git("add", "a.py")
    git("commit", "--quiet", "-m", "first")
    (folder / "a.py").write_text("22\n")
    assert git_commit(folder) == git("rev-parse", "HEAD") + "+dirty"
    git("add", "a.py")
    assert git_commit(folder) == git("rev-parse", "HEAD") + "+dirty"


def test_commit_is_the_folder_s_own_inside_a_git_hook(repository, monkeypatch, tmp_path):
    folder, git = repository
    git("commit", "--quiet", "--allow-empty", "-m", "first")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))
    assert git_commit(folder) is not None


def test_no_commit_outside_a_repository(repository):
    folder, _ = repository
    assert git_commit(folder.parent) is None
    assert git_commit(folder / "missing") is None


def test_no_commit_without_git(repository, monkeypatch):
    folder, git = repository
    git("commit", "--quiet", "--allow-empty", "-m", "first")
    monkeypatch.setenv("PATH", str(folder))
    assert git_commit(folder) is None


def test_no_commit_from_a_git_that_hangs(repository, monkeypatch, tmp_path):
    folder, _ = repository
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "git").write_text(f"#!{sys.executable}\nimport time\ntime.sleep(600)\n")
    (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    limits, run = [], subprocess.run

    def recorded(*arguments, **options):
        limits.append(options["timeout"])
        return run(*arguments, **options)

    monkeypatch.setattr(subprocess, "run", recorded)
    assert git_commit(folder, time_limit_s=0.2) is None
    assert limits == [0.2]

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pytest_rayperf import limits
from pytest_rayperf.limits import cgroup_folders, cpu_quota, memory_limit, smallest_limit

GIB = 1024**3


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000\n", None), ("150000 100000\n", 1.5), ("50000 100000", 0.5), ("", None), ("1 0", None)],
)
def test_cpu_quota(text, expected):
    assert cpu_quota(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("max\n", None), ("2147483648\n", 2 * GIB), ("", None)])
def test_memory_limit(text, expected):
    assert memory_limit(text) == expected


MOUNT = "31 23 0:28 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"


@pytest.mark.parametrize(
    ("cgroup", "root", "expected"),
    [
        ("0::/\n", "/", ["/sys/fs/cgroup"]),
        (
            "9:name=systemd:/x\n0::/user.slice/run.scope\n",
            "/",
            ["/sys/fs/cgroup/user.slice/run.scope", "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup"],
        ),
        ("0::/docker/abc/inner\n", "/docker/abc", ["/sys/fs/cgroup/inner", "/sys/fs/cgroup"]),
        ("0::/elsewhere\n", "/docker/abc", ["/sys/fs/cgroup"]),
        ("4:memory:/only/v1\n", "/", []),
        ("", "/", []),
    ],
)
def test_cgroup_folders(cgroup, root, expected):
    assert cgroup_folders(cgroup, MOUNT.format(root=root)) == [Path(folder) for folder in expected]


def test_cgroup_folders_without_a_version_2_mount():
    assert cgroup_folders("0::/\n", "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n") == []


def test_the_smallest_limit_on_the_way_up_counts(tmp_path):
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("max 100000\n")
    (inner.parent / "cpu.max").write_text("300000 100000\n")
    folders = [inner, inner.parent, tmp_path]  # the topmost has no such file
    assert smallest_limit(folders, "cpu.max", cpu_quota) == 3
    (inner / "cpu.max").write_text("120000 100000\n")
    assert smallest_limit(folders, "cpu.max", cpu_quota) == 1.2
    assert smallest_limit(folders, "memory.max", memory_limit) is None


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
@pytest.mark.parametrize(("quota", "expected"), [(None, 4), (1.5, 2), (0.2, 1), (64.0, 4)])
def test_cores_are_those_of_the_affinity_within_the_quota(monkeypatch, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 4, 5})
    monkeypatch.setattr(limits, "_smallest_limit", lambda file, parse: quota)
    assert limits.usable_cores() == expected


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_memory_is_that_of_the_control_group_if_less(monkeypatch):
    whole = limits.usable_memory()
    monkeypatch.setattr(limits, "_smallest_limit", lambda file, parse: 64.0 * 1024**2)
    assert limits.usable_memory() == 64 * 1024**2
    monkeypatch.setattr(limits, "_smallest_limit", lambda file, parse: float(1 << 62))
    assert limits.usable_memory() >= whole

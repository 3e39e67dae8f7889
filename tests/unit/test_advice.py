from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from builders import LIGHT
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.advising import advice
from pytest_rayperf.advising.advice import (
    MAX_BLOCK,
    Situation,
    advise,
    batch_limits,
    batch_size,
    block_count,
    block_limit,
    pool_for,
    situation_of,
)
from pytest_rayperf.reports.advice import render

MIB, GIB = 1024**2, 1024**3
ROW = 256 * 256 * 3

LAPTOP = Situation(
    cpus=2, object_store_bytes=6 * GIB, memory_bytes=15 * GIB, rows=8, disk_bytes=500_000, row_bytes=ROW,
    model_bytes=10 * MIB,
)  # fmt: skip
SERVER = replace(LAPTOP, cpus=16, object_store_bytes=19 * GIB, memory_bytes=44 * GIB, rows=100_000)
GPUS = replace(SERVER, gpus=4, gpu_memory_bytes=80 * GIB)

situations = st.builds(
    Situation,
    cpus=st.integers(1, 256),
    object_store_bytes=st.integers(75 * MIB, 200 * GIB),
    memory_bytes=st.integers(100 * MIB, 2000 * GIB),
    rows=st.integers(1, 10**9),
    gpus=st.integers(0, 16),
    gpu_memory_bytes=st.none() | st.integers(1 * GIB, 140 * GIB),
    disk_bytes=st.none() | st.integers(0, 10**12),
    row_bytes=st.none() | st.integers(1, 10 * MIB),
    model_bytes=st.none() | st.integers(1, 20 * GIB),
)


def advised(situation: Situation) -> dict[str, advice.Advice]:
    items = advise(situation)
    assert len({item.setting for item in items}) == len(items)
    return {item.setting: item for item in items}


def values(situation: Situation) -> dict[str, str]:
    return {setting: item.value for setting, item in advised(situation).items()}


class TestBlocks:
    def test_two_a_cpu(self):
        assert block_count(LAPTOP) == 4

    def test_more_where_they_would_exceed_128_mib(self):
        # 100,000 x 196,608 B / 134,217,728 B = 146.5
        assert block_count(SERVER) == 147

    def test_more_and_smaller_where_the_object_store_is_small(self):
        small = replace(SERVER, object_store_bytes=1 * GIB)
        assert block_limit(small) == 16 * MIB  # half of 1 GiB / (2 x 16)
        assert block_count(small) == 1172
        assert "smaller blocks" in advised(small)["target_max_block_size"].why

    def test_no_more_than_rows(self):
        assert block_count(replace(LAPTOP, rows=3)) == 3
        assert "no more blocks than rows" in advised(replace(LAPTOP, rows=3))["override_num_blocks"].why

    def test_blocks_under_a_mib_are_said_to_be(self):
        assert "under Ray's least of 1 MiB" in advised(LAPTOP)["override_num_blocks"].why
        assert "under Ray's least" not in advised(SERVER)["override_num_blocks"].why

    def test_an_unknown_row_size_leaves_the_cpus_rule(self):
        unknown = replace(SERVER, row_bytes=None)
        assert block_count(unknown) == 32
        assert "is not known" in advised(unknown)["override_num_blocks"].why

    def test_the_tutorials_range_is_told_beside_rays_limit(self):
        why = advised(SERVER)["target_max_block_size"].why
        assert "100 to 500 MB" in why
        assert "93 blocks here" in why  # int(18,750 MiB / 200)
        assert "128 MiB" in why

    @LIGHT
    @given(situations)
    def test_hold_their_rules(self, situation):
        count = block_count(situation)
        assert 1 <= count <= situation.rows
        assert count >= min(2 * situation.cpus, situation.rows)
        assert block_limit(situation) <= MAX_BLOCK
        if situation.row_bytes and count < situation.rows:
            assert situation.rows * situation.row_bytes / count <= block_limit(situation)


class TestPool:
    def test_half_of_the_cpus_and_the_threads_that_leave_one(self):
        assert (pool_for(LAPTOP).size, pool_for(LAPTOP).cpus) == (1, 1)
        assert (pool_for(SERVER).size, pool_for(SERVER).cpus) == (8, 1)
        assert (pool_for(replace(SERVER, cpus=3)).size, pool_for(replace(SERVER, cpus=3)).cpus) == (1, 2)

    def test_as_many_actors_as_their_models_fit(self):
        large = replace(SERVER, model_bytes=10 * GIB)  # 44 GiB / (2 x 10 GiB)
        assert (pool_for(large).size, pool_for(large).cpus) == (2, 7)

    def test_one_cpu_is_shared_with_the_read(self):
        one = replace(LAPTOP, cpus=1)
        assert values(one)["num_cpus"] == "0.5"
        assert "ray_remote_args={'num_cpus': 0.5}" in advised(one)["num_cpus"].why

    def test_one_actor_a_gpu(self):
        assert values(GPUS)["compute"] == "ActorPoolStrategy(size=4)"
        assert values(GPUS)["num_gpus"] == "1"
        assert "num_cpus" not in values(GPUS)
        assert "12 of 16 left" in advised(GPUS)["num_gpus"].why

    def test_gpu_actors_that_would_take_every_cpu_count_none(self):
        assert values(replace(GPUS, cpus=4))["num_gpus"] == "1, with num_cpus=0"

    @LIGHT
    @given(situations)
    def test_never_takes_every_cpu(self, situation):
        pool = pool_for(situation)
        taken = pool.size * (1 if pool.cpus is None else pool.cpus)
        assert taken < situation.cpus
        assert pool.size >= 1

    @LIGHT
    @given(situations)
    def test_models_fit_the_workers_memory_unless_one_does_not(self, situation):
        pool = pool_for(situation)
        if situation.model_bytes and not situation.gpus and pool.size > 1:
            assert 2 * situation.model_bytes * pool.size <= situation.memory_bytes


class TestBatch:
    def test_each_actor_gets_several(self):
        assert batch_size(LAPTOP) == 4  # 8 rows / (2 x 1)
        assert "8 rows / (2 batches in flight) = 4 rows" in advised(LAPTOP)["batch_size"].why

    def test_sixteen_mib_on_a_cpu(self):
        assert batch_size(SERVER) == 64  # 16 MiB / 192 KiB = 85
        assert "16 MiB / 192 KiB a row = 85 rows" in advised(SERVER)["batch_size"].why

    def test_the_tutorials_start_on_a_gpu(self):
        assert batch_size(GPUS) == 64

    def test_one_row_each_where_there_are_fewer_rows_than_batches(self):
        few = replace(SERVER, rows=3)
        assert batch_size(few) == 1
        assert "run out of memory" not in advised(few)["batch_size"].why

    def test_a_quarter_of_a_small_gpu(self):
        # (128 MiB / 4 - 10 MiB) / (4 x 196,608 B) = 29.3
        assert batch_size(replace(GPUS, gpu_memory_bytes=128 * MIB)) == 16

    def test_an_unknown_gpu_memory_is_said_to_be(self):
        unknown = replace(GPUS, gpu_memory_bytes=None)
        assert batch_size(unknown) == 64
        assert "is not known" in advised(unknown)["batch_size"].why

    def test_small_object_store(self):
        # 0.5 x 75 MiB / (2 x 8 x 192 KiB) = 12.5
        assert batch_size(replace(SERVER, object_store_bytes=75 * MIB)) == 8

    def test_a_row_of_unknown_size_is_left_to_ray(self):
        assert values(replace(SERVER, row_bytes=None))["batch_size"] == '"auto"'
        assert batch_size(replace(GPUS, row_bytes=None)) == 64

    def test_where_not_even_a_row_fits_it_says_so(self):
        tight = replace(LAPTOP, memory_bytes=10 * MIB)  # the model alone takes 20
        assert batch_size(tight) == 1
        assert "expect to run out of memory" in advised(tight)["batch_size"].why

    def test_is_to_be_measured(self):
        for situation in (LAPTOP, GPUS, replace(SERVER, row_bytes=None)):
            assert "pytest --rayperf -m sweep" in advised(situation)["batch_size"].why

    @LIGHT
    @given(situations)
    def test_is_the_largest_power_of_two_within_every_limit(self, situation):
        rows = batch_size(situation)
        if rows is None:
            assert situation.row_bytes is None
            return
        assert math.log2(rows).is_integer()
        least = min(batch_limits(situation).values())
        assert rows <= max(1, least) < 2 * rows


class TestAdvice:
    @LIGHT
    @given(situations)
    def test_each_has_a_reason_and_a_source(self, situation):
        for item in advise(situation):
            assert item.value
            assert item.why
            assert item.sources

    @pytest.mark.parametrize("nothing", [{"cpus": 0}, {"rows": 0}])
    def test_on_nothing_is_refused(self, nothing):
        with pytest.raises(ValueError, match="nothing to advise on"):
            advise(replace(LAPTOP, **nothing))

    @pytest.mark.parametrize(
        ("count", "text"),
        [(0, "0 B"), (1023, "1023 B"), (ROW, "192 KiB"), (1.5 * MIB, "1.5 MiB"), (3 * GIB, "3 GiB")],
    )
    def test_sizes_in_words(self, count, text):
        assert advice.size(count) == text


class TestSituationOfAReport:
    REPORT = {  # noqa: RUF012 - not changed
        "environment": {"cores": 4, "memory_bytes": 10_000, "gpu_count": 1},
        "data": {"name": "synthetic", "images": 64, "bytes": 99},
    }

    def test_takes_rays_default_share_for_the_object_store(self):
        assert situation_of(self.REPORT, ROW) == Situation(
            cpus=4,
            object_store_bytes=3_000,
            memory_bytes=7_000,
            rows=64,
            gpus=1,
            disk_bytes=99,
            row_bytes=ROW,
            memory_assumed=True,
        )

    @pytest.mark.parametrize("part", ["environment", "data"])
    def test_is_none_where_the_report_does_not_tell(self, part):
        assert situation_of({**self.REPORT, part: {}}) is None
        assert situation_of({name: value for name, value in self.REPORT.items() if name != part}) is None

    def test_is_none_for_a_run_without_images(self):
        assert situation_of({**self.REPORT, "data": {"name": None, "images": None, "bytes": None}}) is None


class TestText:
    def test_a_table_fits_its_width(self):
        table = render(GPUS, advise(GPUS), None, "table", 110).partition("\nsources of")[0]
        assert max(map(len, table.splitlines())) <= 110

    def test_every_source_is_numbered_and_used(self):
        text = render(SERVER, advise(SERVER), None, "table", 200)
        table, _, sources = text.partition("\nsources of the rules:\n")
        listed = {line.partition(".")[0] for line in sources.splitlines()}
        used = {number for line in table.splitlines() for number in re.findall(r"\d+", line[-9:])}
        assert len(listed) >= 5
        assert listed <= used

    def test_markdown_is_one_table_with_a_row_for_each(self):
        text = render(SERVER, advise(SERVER), None, "markdown")
        assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")] == [
            "setting", "-" * 23, *values(SERVER)
        ]  # fmt: skip

    def test_json_holds_the_same(self):
        data = json.loads(render(SERVER, advise(SERVER), None, "json"))
        assert data["situation"]["rows"] == 100_000
        assert {item["setting"]: item["value"] for item in data["advice"]} == values(SERVER)
        assert data["symptoms"] is None


RAYS = [
    ("data/context.py", "DEFAULT_TARGET_MAX_BLOCK_SIZE", advice.MAX_BLOCK),
    ("data/context.py", "DEFAULT_TARGET_MIN_BLOCK_SIZE", advice.MIN_BLOCK),
    (
        "data/context.py",
        "DEFAULT_ACTOR_MAX_TASKS_IN_FLIGHT_TO_MAX_CONCURRENCY_FACTOR",
        advice.TASKS_IN_FLIGHT,
    ),
    ("data/context.py", "DEFAULT_WARN_ON_DRIVER_MEMORY_USAGE_BYTES", 2 * GIB),
    (
        "data/_internal/execution/resource_manager.py",
        "DEFAULT_OBJECT_STORE_MEMORY_LIMIT_FRACTION",
        advice.OBJECT_STORE_SHARE,
    ),
    ("data/_internal/execution/operators/map_transformer.py", "_DEFAULT_BATCH_SIZE_BYTES", advice.CPU_BATCH),
]


@pytest.mark.parametrize(("file", "name", "value"), RAYS, ids=[name for _, name, _ in RAYS])
def test_what_is_said_of_ray_is_so(file, name, value):
    """Of the installed Ray's source, without importing it. A Ray that changes one makes the advice wrong."""
    if tuple(map(int, version("ray").split(".")[:2])) < (2, 60):
        pytest.skip("the advice is on Ray 2.60")
    found = find_spec("ray")
    assert found is not None
    text = (Path(found.submodule_search_locations[0]) / file).read_text()
    match = re.search(rf'^\s*{name}\b[^=\n]*= *(?:env_\w+\(\s*"\w+", *)?([\d.* ]+)', text, re.MULTILINE)
    assert match is not None
    assert math.prod(float(factor) for factor in match[1].split("*")) == value


@pytest.mark.parametrize(
    "name", ["advising.advice", "advising.symptoms", "reports.advice", "offline.runfile", "cli"]
)
def test_imports_neither_ray_torch_nor_pytest(name):
    script = f"""
import sys
import pytest_rayperf
before = set(sys.modules)
import pytest_rayperf.{name}
print(*sorted({{module.partition(".")[0] for module in set(sys.modules) - before}}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.split())
    assert "pytest_rayperf" in imported
    # The standard library only: `rayperf --help` waits for nothing, not even for NumPy.
    assert imported <= {"pytest_rayperf", *sys.stdlib_module_names}

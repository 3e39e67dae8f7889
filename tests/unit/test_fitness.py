"""Is a machine fit to measure on: what was seen of it -> checks."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.metadata import requires

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.advising.fitness import FULL_DISK, LOWEST_RAY, Disk, Facts, checks_of, is_fit, variation
from pytest_rayperf.machine import Lap

GIB = 1024**3
EVEN = tuple(Lap(0.002 * factor, 0.001 * factor) for factor in (1.0, 1.01, 0.99, 1.0))
FINE = Facts(
    seconds=10.0,
    others_cpu_share=0.012,
    steal_share=0.0,
    disturbed=(),
    unseen=(),
    laps=EVEN,
    memory_bytes=24 * GIB,
    shared_memory=Disk("/dev/shm", 24 * GIB, 20 * GIB),
    scratch=Disk("/tmp", 100 * GIB, 50 * GIB),
    governors=(),
    ray="2.60.0",
    sessions={"model_loading-fix": 3},
    broken=(),
    elsewhere=(),
)


def marks(facts, max_slowdown=1.1):
    return {check.name: check.mark for check in checks_of(facts, max_slowdown)}


def the(name, facts, max_slowdown=1.1):
    (check,) = (check for check in checks_of(facts, max_slowdown) if check.name == name)
    return check


def test_a_machine_of_ones_own_is_fit():
    checks = checks_of(FINE, 1.1)
    assert is_fit(checks)
    assert {check.mark for check in checks} == {"ok"}
    assert {check.remedy for check in checks} == {""}
    assert [check.name for check in checks] == [
        "Ray",
        "others at work",
        "fixed work",
        "shared memory",
        "disk",
        "baselines",
    ]


def test_the_lowest_ray_is_that_of_the_package():
    (wanted,) = (text for text in requires("pytest-rayperf") or () if text.startswith("ray["))
    assert wanted == f"ray[data]>={'.'.join(map(str, LOWEST_RAY))}"


class TestRay:
    @pytest.mark.parametrize("version", ["2.51.0", "2.51.2", "2.60.0", "2.100.0", "3.0.0.dev0"])
    def test_supported(self, version):
        assert the("Ray", replace(FINE, ray=version)).mark == "ok"

    @pytest.mark.parametrize("version", ["2.50.1", "1.99.0", "2.9.3", "unknown", None])
    def test_not_supported(self, version):
        check = the("Ray", replace(FINE, ray=version))
        assert check.mark == "unfit"
        assert check.remedy == "pip install 'ray[data]>=2.51'"
        assert check.found == (version or "is not installed")


class TestOthersAtWork:
    def test_what_they_use(self):
        assert (
            the("others at work", FINE).found
            == "1.2 % of the CPU used by others, 0.0 % of the CPU stolen, in 10 s"
        )

    @pytest.mark.parametrize(
        ("others", "steal", "found"),
        [
            (None, 0.01, "1.0 % of the CPU stolen, in 10 s"),
            (0.02, None, "2.0 % of the CPU used by others, in 10 s"),
        ],
    )
    def test_what_was_not_measured_is_not_told_as_0(self, others, steal, found):
        facts = replace(FINE, others_cpu_share=others, steal_share=steal)
        assert the("others at work", facts).found == found

    def test_where_nothing_was_measured_it_is_not_ok(self):
        check = the("others at work", replace(FINE, others_cpu_share=None, steal_share=None))
        assert (check.mark, check.found) == ("warning", "not measured")

    def test_what_disturbs_a_round_is_unfit(self):
        reasons = ("38 % of the CPU was used by others (limit 10 %)", "7 % was stolen")
        check = the("others at work", replace(FINE, disturbed=reasons))
        assert (check.mark, check.found) == ("unfit", "; ".join(reasons))
        assert check.remedy.startswith("stop what else runs here")

    def test_what_cannot_be_seen_is_a_warning_each(self):
        facts = replace(FINE, unseen=("no /proc/pressure", "the GPU's clocks"))
        found = [check for check in checks_of(facts, 1.1) if check.name == "not seen"]
        assert [check.found for check in found] == ["no /proc/pressure", "the GPU's clocks"]
        assert {check.mark for check in found} == {"warning"}
        assert all(check.remedy for check in found)


def scattered(sd):
    """Laps of which the logs have this standard deviation."""
    return tuple(Lap(0.002 * math.exp(x), 0.001 * math.exp(x)) for x in (-sd, 0.0, sd))


class TestFixedWork:
    @pytest.mark.parametrize("sd", [0.0, 0.01, 0.2])
    def test_its_standard_deviation(self, sd):
        assert variation(scattered(sd)) == pytest.approx(sd)

    def test_of_computing_alone_where_memory_was_not_timed(self):
        assert variation((Lap(1.0), Lap(math.e), Lap(math.e**2))) == pytest.approx(1.0)

    def test_memory_counts_as_much_as_computing(self):
        assert variation((Lap(1.0, 1.0), Lap(1.0, math.e**2), Lap(1.0, math.e**4))) == pytest.approx(1.0)

    @pytest.mark.parametrize("which", [0, 1, 2])
    def test_a_lap_of_memory_that_took_no_time_is_compared_by_computing(self, which):
        laps = [Lap(x, x) for x in (1.0, math.e, math.e**2)]
        laps[which] = Lap(laps[which].compute_s, 0.0)
        assert variation(tuple(laps)) == pytest.approx(1.0)

    @pytest.mark.parametrize("laps", [(), (Lap(0.002),), (Lap(0.0), Lap(0.0)), (Lap(0.002), Lap(0.0))])
    def test_none_where_not_all_were_timed_or_one(self, laps):
        assert variation(laps) is None
        check = the("fixed work", replace(FINE, laps=laps))
        assert check.mark == "warning"
        assert "ticks too rarely" in check.found

    @pytest.mark.parametrize(
        ("sd", "threshold", "mark"),
        [
            (0.04, 1.10, "ok"),
            (0.06, 1.10, "warning"),
            (0.10, 1.10, "unfit"),
            (0.04, 1.05, "warning"),
            (0.06, 1.05, "unfit"),
            (0.10, 1.50, "ok"),
        ],
    )
    def test_against_the_threshold(self, sd, threshold, mark):
        check = the("fixed work", replace(FINE, laps=scattered(sd)), threshold)
        assert check.mark == mark
        assert f"within {100 * sd:.1f} % (standard deviation of 3)" in check.found
        assert (f"a slowdown of {threshold:g}x" in check.found) is (mark != "ok")
        assert bool(check.remedy) is (mark != "ok")


class TestClock:
    def test_a_machine_that_does_not_say_is_not_asked(self):
        assert "CPU clock" not in marks(FINE)

    @pytest.mark.parametrize(
        ("governors", "mark"),
        [(("performance",), "ok"), (("powersave",), "warning"), (("performance", "schedutil"), "warning")],
    )
    def test_governors(self, governors, mark):
        check = the("CPU clock", replace(FINE, governors=governors))
        assert check.mark == mark
        assert ", ".join(governors) in check.found
        assert bool(check.remedy) is (mark != "ok")


class TestSharedMemory:
    def test_a_system_without_has_none(self):
        assert "shared memory" not in marks(replace(FINE, shared_memory=None))

    @pytest.mark.parametrize(
        ("memory", "free", "mark"),
        [
            (24 * GIB, 7.3 * GIB, "ok"),
            (24 * GIB, 7.1 * GIB, "unfit"),
            (24 * GIB, 64 * 1024**2, "unfit"),
            (4000 * GIB, 190 * GIB, "ok"),  # Ray's object store is 200 GB at the most
            (4000 * GIB, 180 * GIB, "warning"),
            (128 * GIB, 32 * GIB, "warning"),  # it takes less, in shared memory
            (128 * GIB, 10**10, "warning"),
            (128 * GIB, 10**10 - 1, "unfit"),
        ],
    )
    def test_must_hold_rays_object_store(self, memory, free, mark):
        facts = replace(FINE, memory_bytes=memory, shared_memory=Disk("/dev/shm", memory, int(free)))
        assert the("shared memory", facts).mark == mark

    def test_what_to_do_in_a_container(self):
        """Docker's default is 64 MB."""
        check = the("shared memory", replace(FINE, shared_memory=Disk("/dev/shm", 2**26, 2**26)))
        assert check.found.startswith("64 MiB free in /dev/shm, for an object store of 7.2 GiB")
        assert check.remedy == "make it larger (docker run --shm-size=8g)"


class TestDisk:
    @pytest.mark.parametrize(("used", "mark"), [(0.0, "ok"), (0.9, "ok"), (0.96, "unfit"), (1.0, "unfit")])
    def test_beyond_the_limit_ray_spills_nothing(self, used, mark):
        check = the("disk", replace(FINE, scratch=Disk("/tmp", 1000 * GIB, int(1000 * GIB * (1 - used)))))
        assert check.mark == mark
        assert f"{100 * used:.0f} % used" in check.found
        assert (f"{100 * FULL_DISK:.0f} %" in check.found) is (mark == "unfit")

    def test_one_without_a_size_is_full(self):
        assert the("disk", replace(FINE, scratch=Disk("/tmp", 0, 0))).mark == "unfit"

    def test_what_cannot_be_looked_at_is_left_out(self):
        assert "disk" not in marks(replace(FINE, scratch=None))


class TestBaselines:
    def test_enough(self):
        assert the("baselines", FINE).found == "1 of this environment"

    def test_with_few_sessions(self):
        facts = replace(FINE, sessions={"a": 3, "b": 2, "c": 1, "d": 1, "e": 1})
        check = the("baselines", facts)
        assert check.mark == "warning"
        assert check.found == "5 of this environment; with fewer than 3 sessions: b, c, d and 1 more"
        assert check.remedy.endswith("pytest --rayperf --rayperf-update-baselines")

    def test_none(self):
        check = the("baselines", replace(FINE, sessions={}))
        assert (check.mark, check.found) == ("warning", "none of this environment")

    def test_of_other_machines_only(self):
        check = the("baselines", replace(FINE, sessions={}, elsewhere=("one", "two")))
        assert check.found == "none of this environment; there are of one, two"

    @pytest.mark.parametrize("sessions", [{}, {"a": 3}])
    def test_a_broken_one_is_unfit(self, sessions):
        facts = replace(FINE, sessions=sessions, broken=("baselines/x.json: is cut off",))
        found = [check for check in checks_of(facts, 1.1) if check.name == "baselines"]
        assert [check.mark for check in found] == ["unfit", *["ok"] * len(sessions)]
        assert found[0].found == "baselines/x.json: is cut off"


shares = st.none() | st.floats(0, 1)
sizes = st.integers(0, 10**15)
disks = st.none() | st.builds(Disk, st.text(max_size=5), sizes, sizes)
texts = st.lists(st.text(max_size=10), max_size=2).map(tuple)


@given(
    st.builds(
        Facts,
        seconds=st.floats(0, 1e4),
        others_cpu_share=shares,
        steal_share=shares,
        disturbed=texts,
        unseen=texts,
        laps=st.lists(st.builds(Lap, st.floats(0, 1e3), st.none() | st.floats(0, 1e3)), max_size=4).map(
            tuple
        ),
        memory_bytes=sizes,
        shared_memory=disks,
        scratch=disks,
        governors=texts,
        ray=st.none() | st.text(max_size=10),
        sessions=st.dictionaries(st.text(max_size=5), st.integers(0, 20), max_size=4),
        broken=texts,
        elsewhere=texts,
    ),
    st.floats(1.0001, 1e6),
)
def test_whatever_was_seen_each_check_that_is_not_ok_says_what_to_do(facts, max_slowdown):
    checks = checks_of(facts, max_slowdown)
    assert {"Ray", "others at work", "fixed work", "baselines"} <= {check.name for check in checks}
    assert all(bool(check.remedy) is (check.mark != "ok") for check in checks)
    assert is_fit(checks) is all(check.mark != "unfit" for check in checks)

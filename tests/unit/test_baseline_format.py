from __future__ import annotations

import copy
import json
import math
from dataclasses import replace

import pytest
from builders import ENVIRONMENT, LIGHT, SUBJECT, make_baseline, make_round, make_session
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.baselines.format import (
    SCHEMA_VERSION,
    Baseline,
    Session,
    read_baseline,
    round_to_json,
    to_json,
)
from pytest_rayperf.errors import BaselineError, ConfigurationError
from pytest_rayperf.machine import Environment, Lap, Probe
from pytest_rayperf.results import Operator, Round, Subject, Utilization
from pytest_rayperf.work.counts import OperatorWork, Work

MEND = "restore it from git, or delete it and record it anew with --rayperf-update-baselines"

text = st.text(max_size=8)
whole = st.integers(0, 2**63 - 1)
seconds = st.floats(1e-9, 1e9)
amounts = st.dictionaries(text, whole, max_size=2)
operators = st.builds(
    Operator,
    text,
    st.none() | st.floats(0, 1e9),
    st.none() | st.floats(0, 1e9),
    st.none() | st.floats(0, 1e9),
    st.none() | whole,
    st.none() | whole,
    st.none() | whole,
    st.none() | whole,
    st.none() | whole,
    st.none() | st.floats(0, 1e9),
    st.none() | st.floats(0, 1e9),
    st.none() | whole,
    st.none() | st.floats(0, 1),
    st.none() | whole,
)
works = st.builds(
    Work,
    operators=st.lists(
        st.builds(OperatorWork, text, whole, amounts, amounts, amounts, amounts), max_size=2
    ).map(tuple),
    software=st.dictionaries(text, text, max_size=2),
    undetermined=st.lists(text, max_size=2).map(tuple),
)
rounds = st.builds(
    Round,
    rows=whole,
    wall_seconds=seconds,
    operators=st.lists(operators, max_size=2).map(tuple),
    counters=st.dictionaries(text, whole, max_size=3),
    peak_worker_memory=st.none() | whole,
    figures=st.dictionaries(text, st.floats(0, 1e18), max_size=3),
)
laps = st.floats(1e-9, 1e9)


def several(laps):
    return st.lists(laps, max_size=2).map(tuple)


sessions = st.builds(
    Session,
    recorded_at=text,
    commit=st.none() | text,
    software=st.dictionaries(text, st.none() | text, max_size=3),
    rounds=st.lists(rounds, min_size=1, max_size=2).map(tuple),
    work=st.none() | works,
    probe=st.none()
    | st.builds(Probe, laps, laps, between=several(st.builds(Lap, laps)))
    | st.builds(Probe, laps, laps, laps, laps, several(st.builds(Lap, laps, laps))),
)
baselines = st.builds(
    Baseline,
    id=text,
    variant=st.sampled_from([None, "antipattern", "fix"]),
    environment=st.builds(Environment, text, text, whole, whole, st.none() | text, whole, text, text),
    subject=st.builds(Subject, text, text, text, whole, text, text),
    sessions=st.lists(sessions, min_size=1, max_size=2).map(tuple),
)


def full_round() -> Round:
    operator = Operator("Map", wall_s=1.0, cpu_s=0.5, udf_s=0.25, rows=64, bytes=1000, tasks=2)
    return make_round(
        memory=10**9,
        counters={"model_loads": 1},
        operators=[operator],
        figures={"spilled_bytes": 0.0, "bytes_written": 1e6},
    )


@pytest.fixture
def data():
    return json.loads(to_json(make_baseline(make_session([full_round(), full_round()]))))


@pytest.fixture
def read(tmp_path):
    def read(content) -> Baseline:
        path = tmp_path / "it.json"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return read_baseline(path, "baselines/cpu-2/it.json")

    return read


def paths_of(value, path=()):
    """Every place in parsed JSON."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from paths_of(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(len(value)):
            yield from paths_of(value[index], (*path, index))


def shown(path) -> str:
    words = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return words.removeprefix(".") or "the file"


def put(data, path, value):
    changed = copy.deepcopy(data)
    if not path:
        return value
    inside = changed
    for part in path[:-1]:
        inside = inside[part]
    inside[path[-1]] = value
    return changed


def without(data, path):
    changed = copy.deepcopy(data)
    inside = changed
    for part in path[:-1]:
        inside = inside[part]
    del inside[path[-1]]
    return changed


MEASURED = Probe(0.003, 0.004, 0.001, 0.002, (Lap(0.005, 0.006), Lap(0.007, 0.008)))
SAMPLE = json.loads(to_json(make_baseline(make_session([full_round()], probe=MEASURED))))
PLACES = list(paths_of(SAMPLE))
OPTIONAL = {"figures", "probe", "between"}
NULLABLE = {"variant", "commit", "gpu_model", "peak_worker_memory", "probe", "between"} | {
    "wall_s",
    "cpu_s",
    "udf_s",
    "bytes",
    "tasks",
    "blocks",
    "bytes_in",
    "scheduling_s",
    "backpressure_s",
    "actors",
    "actor_utilization",
    "errored_blocks",
}


def may_be_null(path) -> bool:
    if not path:
        return False
    in_operator = "operators" in path and path[-1] == "rows"
    return path[-1] in NULLABLE or "software" in path[:-1] or in_operator


class TestText:
    def test_sorted_keys_one_value_a_line(self):
        text = to_json(make_baseline())
        data = json.loads(text)
        assert text == json.dumps(data, indent=1, sort_keys=True) + "\n"
        assert list(data) == sorted(data)

    def test_deterministic_whatever_the_order_of_the_mappings(self):
        one = make_session([make_round(counters={"a": 1, "b": 2})])
        other = make_session([make_round(counters={"b": 2, "a": 1})])
        assert to_json(make_baseline(one)) == to_json(make_baseline(other))

    def test_keys(self):
        data = json.loads(to_json(make_baseline()))
        assert set(data) == {"schema_version", "id", "variant", "environment", "subject", "sessions"}
        assert data["schema_version"] == SCHEMA_VERSION == 1
        assert set(data["sessions"][0]) == {"recorded_at", "commit", "software", "rounds"}
        assert set(data["sessions"][0]["rounds"][0]) == {
            "rows",
            "wall_seconds",
            "peak_worker_memory",
            "counters",
            "operators",
        }

    def test_figures_are_there_where_there_are_any(self):
        """A file that an older version wrote does not change where a session is added to it."""
        assert "figures" not in round_to_json(make_round())
        assert round_to_json(make_round(figures={"tasks": 7.0}))["figures"] == {"tasks": 7.0}

    def test_how_busy_the_machine_was_is_not_there(self):
        busy = replace(make_round(), utilization=Utilization((1.0,), (50.0,), (2.0,), {"0 T4": (80.0,)}))
        assert round_to_json(busy) == round_to_json(make_round())

    def test_work_is_there_where_it_was_counted(self):
        work = Work((OperatorWork("Map", 4, {}, {"flops": 8}, {"f": 4}),), {"ray": "2.60"}, ("x",))
        counted = replace(make_session(), work=work)
        (session,) = json.loads(to_json(make_baseline(counted)))["sessions"]
        assert session["work"]["operators"][0]["counts"] == {"flops": 8}

    def test_a_probe_is_there_where_it_was_measured(self):
        """So that the file of an older version stays as it is."""
        several = (make_session(probe=probe) for probe in (None, Probe(0.003, 0.004), MEASURED))
        (plain, computing, both) = json.loads(to_json(make_baseline(*several)))["sessions"]
        assert "probe" not in plain
        assert computing["probe"] == {"before_s": 0.003, "after_s": 0.004}
        between = [{"compute_s": 0.005, "memory_s": 0.006}, {"compute_s": 0.007, "memory_s": 0.008}]
        memory = {"memory_before_s": 0.001, "memory_after_s": 0.002, "between": between}
        assert both["probe"] == {**computing["probe"], **memory}

    def test_what_was_not_measured_is_null(self):
        (round_,) = json.loads(to_json(make_baseline(make_session([make_round(cpu=None)]))))["sessions"][0][
            "rounds"
        ]
        assert round_["peak_worker_memory"] is None
        assert round_["operators"][0]["cpu_s"] is None

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_no_json_that_is_none(self, bad):
        with pytest.raises(ValueError, match="JSON"):
            to_json(make_baseline(make_session([Round(1, bad)])))

    def test_adding_a_session_changes_no_other_line(self):
        """So two branches that add sessions show as additions."""
        one = to_json(make_baseline(make_session())).splitlines()
        two = to_json(make_baseline(make_session(), make_session(commit="def"))).splitlines()
        assert [
            line.rstrip(",") for line in one if line.rstrip(",") not in {t.rstrip(",") for t in two}
        ] == []
        assert len(two) > len(one)


class TestRoundTrip:
    @given(baselines)
    @LIGHT
    def test_any(self, tmp_path_factory, baseline):
        path = tmp_path_factory.getbasetemp() / "round-trip.json"
        written = to_json(baseline)
        path.write_text(written, encoding="utf-8")
        again = read_baseline(path, "it")
        assert again == baseline
        assert to_json(again) == written

    def test_whole_numbers_are_seconds_too(self, read, data):
        changed = put(data, ("sessions", 0, "rounds", 0, "wall_seconds"), 2)
        assert read(changed).sessions[0].rounds[0].wall_seconds == 2.0

    def test_fields_of_a_later_patch_are_passed_over(self, read, data):
        assert read({**data, "comment": "by hand"}) == read(data)

    def test_a_session_of_an_earlier_version_has_no_probe(self, read):
        (session,) = read(without(SAMPLE, ("sessions", 0, "probe"))).sessions
        assert session.probe is None
        assert read(SAMPLE).sessions[0].probe == MEASURED

    @pytest.mark.parametrize("null", [True, False])
    def test_a_probe_of_an_earlier_version_knows_nothing_of_memory(self, read, null):
        probe = {"before_s": 0.003, "after_s": 0.004}
        probe |= {"memory_before_s": None, "memory_after_s": None} if null else {}
        (session,) = read(put(SAMPLE, ("sessions", 0, "probe"), probe)).sessions
        assert session.probe == Probe(0.003, 0.004)

    @pytest.mark.parametrize("between", [None, []])
    def test_a_probe_of_an_earlier_version_has_no_laps_between_rounds(self, read, between):
        probe = {**SAMPLE["sessions"][0]["probe"], "between": between}
        (session,) = read(put(SAMPLE, ("sessions", 0, "probe"), probe)).sessions
        assert session.probe == replace(MEASURED, between=())

    def test_laps_between_rounds_are_a_list(self, read):
        with pytest.raises(BaselineError, match=r"sessions\[0\]\.probe\.between must be a list"):
            read(put(SAMPLE, ("sessions", 0, "probe", "between"), {"compute_s": 0.005}))

    def test_a_round_of_an_earlier_version_has_no_figures(self, read, data):
        (old, _) = read(without(data, ("sessions", 0, "rounds", 0, "figures"))).sessions[0].rounds
        assert old == replace(full_round(), figures={})

    @pytest.mark.parametrize("path", [p for p in PLACES if may_be_null(p)], ids=shown)
    def test_null_where_it_may_be(self, read, path):
        assert isinstance(read(put(SAMPLE, path, None)), Baseline)


class TestBroken:
    def test_truncated_at_every_byte(self, read):
        whole = to_json(make_baseline(make_session([full_round()]))).encode()
        wrong = []
        for length in range(len(whole) - 1):  # without its last newline it is whole
            try:
                read(whole[:length])
            except BaselineError as error:
                if str(error).startswith("baselines/cpu-2/it.json: is not whole JSON (") and MEND in str(
                    error
                ):
                    continue
                wrong.append((length, str(error)))
            else:
                wrong.append((length, "accepted"))
        assert wrong == []

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\xff\xfe",
            b"\x00" * 10,
            b"<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> x\n",
            b"{} {}",
            b"nan",
            b"[" * 100_000,
        ],
        ids=["empty", "not utf-8", "zeros", "merge conflict", "twice", "no json", "deep"],
    )
    def test_no_json(self, read, content):
        with pytest.raises(BaselineError, match="is not whole JSON") as caught:
            read(content)
        assert MEND in str(caught.value)

    def test_not_there(self, tmp_path):
        with pytest.raises(BaselineError, match=r"it\.json: cannot be read"):
            read_baseline(tmp_path / "none.json", "it.json")

    def test_is_a_configuration_error(self):
        assert issubclass(BaselineError, ConfigurationError)

    @pytest.mark.parametrize("version", [2, 3, 99])
    def test_a_newer_schema(self, read, data, version):
        with pytest.raises(BaselineError, match=f"schema_version {version}.*upgrade pytest-rayperf"):
            read({**data, "schema_version": version})

    def test_a_newer_schema_is_told_before_its_contents(self, read):
        with pytest.raises(BaselineError, match="upgrade"):
            read({"schema_version": 2})

    def test_a_schema_before_the_first(self, read, data):
        with pytest.raises(BaselineError, match=r"it\.json: schema_version must be 1 or more, found 0; "):
            read({**data, "schema_version": 0})

    @pytest.mark.parametrize("version", [None, "1", 1.0, True, -1, [1]])
    def test_no_schema(self, read, data, version):
        with pytest.raises(BaselineError, match=r"it\.json: schema_version must be a whole number"):
            read({**data, "schema_version": version})

    @pytest.mark.parametrize("path", PLACES, ids=shown)
    def test_a_wrong_type_is_told_with_its_place(self, read, path):
        found = SAMPLE
        for part in path:
            found = found[part]
        is_text = isinstance(found, str) or path[-1:] == ("gpu_model",)
        for wrong in [True, 3.5] if is_text else ["wrong", True]:
            with pytest.raises(BaselineError) as caught:
                read(json.dumps(put(SAMPLE, path, wrong)))
            message = str(caught.value)
            assert message.startswith(f"baselines/cpu-2/it.json: {shown(path)} must be ")
            assert f"found {wrong!r}" in message
            assert message.endswith(MEND)

    @pytest.mark.parametrize("path", [p for p in PLACES if not may_be_null(p)], ids=shown)
    def test_null_where_it_must_not_be(self, read, path):
        with pytest.raises(BaselineError, match="found None") as caught:
            read(put(SAMPLE, path, None))
        assert f": {shown(path)} must be " in str(caught.value)

    @pytest.mark.parametrize(
        "path",
        [
            p
            for p in PLACES
            if p
            and isinstance(p[-1], str)
            and not may_be_null(p)
            and p[-1] not in OPTIONAL
            and p[-2:-1] not in (("counters",), ("figures",))
        ],
        ids=shown,
    )
    def test_a_missing_field(self, read, path):
        with pytest.raises(BaselineError) as caught:
            read(without(SAMPLE, path))
        assert f": {shown(path)} must be " in str(caught.value)

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (("sessions",), []),
            (("sessions", 0, "rounds"), []),
            (("sessions", 0, "rounds", 0, "wall_seconds"), 0),
            (("sessions", 0, "rounds", 0, "wall_seconds"), -1.0),
            (("sessions", 0, "rounds", 0, "wall_seconds"), math.nan),
            (("sessions", 0, "rounds", 0, "wall_seconds"), math.inf),
            (("sessions", 0, "rounds", 0, "wall_seconds"), 10**400),
            (("sessions", 0, "rounds", 0, "wall_seconds"), 1e-320),
            (("sessions", 0, "rounds", 0, "wall_seconds"), 1e13),
            (("sessions", 0, "rounds", 0, "rows"), -1),
            (("sessions", 0, "rounds", 0, "rows"), 2**63),
            (("sessions", 0, "rounds", 0, "rows"), 10**400),
            (("sessions", 0, "rounds", 0, "counters", "model_loads"), 10**30),
            (("sessions", 0, "rounds", 0, "figures", "spilled_bytes"), 1e200),
            (("sessions", 0, "rounds", 0, "operators", 0, "cpu_s"), 1e300),
            (("sessions", 0, "rounds", 0, "operators", 0, "rows"), 2**63),
            (("sessions", 0, "probe", "before_s"), 1e-300),
            (("sessions", 0, "rounds", 0, "rows"), 64.0),
            (("sessions", 0, "rounds", 0, "counters", "model_loads"), -1),
            (("sessions", 0, "rounds", 0, "figures", "spilled_bytes"), -1),
            (("sessions", 0, "rounds", 0, "figures", "spilled_bytes"), math.nan),
            (("sessions", 0, "rounds", 0, "operators", 0, "cpu_s"), -0.1),
            (("environment", "cores"), -2),
            (("sessions", 0, "probe", "before_s"), 0),
            (("sessions", 0, "probe", "after_s"), 0.0),
            (("sessions", 0, "probe", "before_s"), -0.003),
            (("sessions", 0, "probe", "after_s"), math.nan),
            (("sessions", 0, "probe", "before_s"), math.inf),
            (("sessions", 0, "probe", "memory_before_s"), 0),
            (("sessions", 0, "probe", "memory_after_s"), math.nan),
            (("sessions", 0, "probe"), []),
            (("subject", "images"), 0.5),
        ],
        ids=str,
    )
    def test_a_value_that_cannot_be(self, read, path, value):
        with pytest.raises(BaselineError) as caught:
            read(put(SAMPLE, path, value))
        assert f": {shown(path)} must be " in str(caught.value)

    def test_a_huge_value_is_not_told_whole(self, read):
        with pytest.raises(BaselineError) as caught:
            read(put(SAMPLE, ("subject", "images"), "x" * 10_000))
        assert len(str(caught.value)) < 300

    def test_the_sample_is_good(self, read):
        assert read(SAMPLE).environment == ENVIRONMENT
        assert read(SAMPLE).subject == SUBJECT

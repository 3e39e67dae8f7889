from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from builders import LIGHT, make_benchmark, make_rounds
from hypothesis import given
from hypothesis import strategies as st
from reported import COUNTED, REGRESSED, UNCHANGED, full_round

from pytest_rayperf.metrics import METRICS
from pytest_rayperf.properties import properties_of
from pytest_rayperf.reports.safe import visible


def names(benchmark):
    found = properties_of(benchmark)
    assert len(dict(found)) == len(found)
    return dict(found)


def test_of_a_regression():
    found = names(make_benchmark(REGRESSED, [full_round()] * 3, variant=None))
    assert found["rayperf_verdict"] == "regressed"
    assert found["rayperf_metric"] == "throughput"
    assert found["rayperf_ratio"] == 0.8
    assert (found["rayperf_ratio_low"], found["rayperf_ratio_high"]) == (0.77, 0.83)
    assert (found["rayperf_threshold"], found["rayperf_mde"]) == (1.1, 1.06)
    assert found["rayperf_baseline"] == make_benchmark().baseline
    assert found["rayperf_rounds"] == 3
    assert found["rayperf_throughput"] == pytest.approx(40)
    assert found["rayperf_cpu_seconds_per_row"] == pytest.approx(0.02)
    assert found["rayperf_spilled_bytes"] == 0.0
    assert found["rayperf_counter_model_loads"] == 1
    assert found["rayperf_counter_rows"] == 64


@pytest.mark.parametrize("variant", ["antipattern", "fix"])
def test_a_variant_is_told_apart(variant):
    found = names(make_benchmark(UNCHANGED, variant=variant))
    assert all(name.endswith(f"_{variant}") for name in found)


def test_what_was_not_measured_has_none():
    found = names(make_benchmark(COUNTED, make_rounds(cpu=None), variant=None))
    assert "rayperf_cpu_seconds_per_row" not in found
    assert "rayperf_ratio_low" not in found
    assert found["rayperf_ratio"] == 2.0
    assert None not in found.values()


@given(st.text() | st.sampled_from(["\x1b[31m", "\ufffe", "\uffff", "\ud800", "a\nb"]))
@LIGHT
def test_a_counters_name_spoils_no_xml(name):
    found = properties_of(make_benchmark(rounds=make_rounds(counters={name: 3})))
    root = ElementTree.Element("properties")
    for key, value in found:
        ElementTree.SubElement(root, "property", name=key, value=str(value))
    read = ElementTree.fromstring(ElementTree.tostring(root, "utf-8"))
    values = {one.get("name"): one.get("value") for one in read}
    assert values[f"rayperf_counter_{visible(name)}_fix"] == "3"


def test_a_control_character_is_shown():
    found = names(make_benchmark(rounds=make_rounds(counters={"\x1b[31m": 1}), variant=None))
    assert found["rayperf_counter_\\x1b[31m"] == 1


def test_of_nothing():
    found = names(replace(make_benchmark(UNCHANGED, [], variant=None), baseline=None))
    assert found["rayperf_rounds"] == 0
    assert not {f"rayperf_{name}" for name in METRICS} & found.keys()

"""What is said of a UDF's calls."""

from __future__ import annotations

import numpy as np
import pytest
from builders import LIGHT
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.latency import BatchLatency, Call, calls_of, latencies, percentile, samples_for

SECONDS = st.floats(min_value=0, max_value=1e6, allow_subnormal=False)
PERCENTS = st.sampled_from([1, 50, 95, 99])


class TestPercentile:
    @LIGHT
    @given(samples=st.lists(SECONDS, min_size=100, max_size=300), percent=PERCENTS)
    def test_is_numpys(self, samples, percent):
        expected = float(np.percentile(samples, percent, method="linear"))
        assert percentile(samples, percent) == pytest.approx(expected, rel=1e-9, abs=1e-9)

    @LIGHT
    @given(samples=st.lists(SECONDS, max_size=120), percent=PERCENTS, data=st.data())
    def test_order_does_not_matter(self, samples, percent, data):
        assert percentile(data.draw(st.permutations(samples)), percent) == percentile(samples, percent)

    @pytest.mark.parametrize(("percent", "needed"), [(50, 2), (90, 10), (95, 20), (99, 100)])
    def test_too_few_samples_are_none(self, percent, needed):
        assert samples_for(percent) == needed
        assert percentile([1.0] * (needed - 1), percent) is None
        assert percentile([1.0] * needed, percent) == 1.0

    @pytest.mark.parametrize("percent", [0, 100, -1])
    def test_refuses_what_is_none(self, percent):
        with pytest.raises(ValueError, match="one of 1 to 99"):
            percentile([1.0] * 200, percent)


class TestLatencies:
    def test_by_udf(self):
        calls = [Call("resize", i / 10) for i in range(21)] + [Call("Classifier", 4.0)]
        assert latencies(calls) == (
            BatchLatency("Classifier", count=1, p50_s=None, p95_s=None, p99_s=None, errors=0),
            BatchLatency("resize", count=21, p50_s=1.0, p95_s=1.9, p99_s=None, errors=0),
        )

    def test_a_failed_call_counts_and_is_not_a_fast_one(self):
        calls = [Call("f", 2.0), Call("f", 2.0), *[Call("f", 0.0, failed=True)] * 6]
        (found,) = latencies(calls)
        assert (found.count, found.errors, found.error_rate, found.p50_s) == (8, 6, 0.75, 2.0)

    def test_only_failures_have_no_latency(self):
        (found,) = latencies([Call("f", 0.5, failed=True)] * 200)
        assert (found.p50_s, found.p95_s, found.p99_s, found.error_rate) == (None, None, None, 1.0)

    def test_nothing_was_called(self):
        assert latencies([]) == ()
        assert BatchLatency("f", 0, None, None, None, 0).error_rate is None

    @LIGHT
    @given(
        calls=st.lists(
            st.builds(Call, st.sampled_from("abc"), SECONDS, st.none() | st.integers(0, 9), st.booleans()),
            max_size=400,
        )
    )
    def test_whatever_was_called(self, calls):
        found = latencies(calls)
        assert [one.udf for one in found] == sorted({call.udf for call in calls})
        assert sum(one.count for one in found) == len(calls)
        assert sum(one.errors for one in found) == sum(call.failed for call in calls)
        for one in found:
            known = [p for p in (one.p50_s, one.p95_s, one.p99_s) if p is not None]
            fine = [call.seconds for call in calls if call.udf == one.udf and not call.failed]
            assert known == sorted(known)
            # But for rounding: between two equal samples too it is interpolated.
            assert all(min(fine) * (1 - 1e-12) <= p <= max(fine) * (1 + 1e-12) for p in known)


def test_records_are_calls():
    assert calls_of([("f", 1_500_000, 32, False), ("g", 0, None, True)]) == (
        Call("f", 0.0015, 32, False),
        Call("g", 0.0, None, True),
    )

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "gate"))

import peers
from peers import PEERS, Benchmatrix, Peer, Samples

ALL = [
    *PEERS,
    Peer("benchmatrix", 25, Benchmatrix()),
    Peer("benchmatrix, regressed only", 25, Benchmatrix(inconclusive_fails=False)),
]
WITH_THRESHOLD = [peer for peer in ALL if not peer.name.startswith("pyperf")]
PYPERF = [peer for peer in ALL if peer.name.startswith("pyperf")]
by_name = pytest.mark.parametrize("peer", ALL, ids=lambda peer: peer.name)


def clean(rounds: int, factor: float = 1.0, sd: float = 0.01) -> Samples:
    """As many quantiles of log-normal noise, in no order."""
    quantiles = stats.norm.ppf((np.arange(rounds) + 0.5) / rounds)
    return factor * np.exp(sd * np.random.default_rng(0).permutation(quantiles))


def seconds(*figures: float) -> Samples:
    return np.array(figures, dtype=np.float64)


class TestEachRule:
    @by_name
    @pytest.mark.parametrize("sessions", [1, 3])
    def test_identical_samples_do_not_fail(self, peer: Peer, sessions: int):
        current = clean(peer.rounds)
        assert peer.fails(np.tile(current, sessions), current) is False

    @by_name
    @pytest.mark.parametrize("baseline", [25, 60])
    def test_a_clear_slowdown_fails(self, peer: Peer, baseline: int):
        assert peer.fails(clean(baseline), clean(peer.rounds, 1.3)) is True

    @by_name
    def test_a_speedup_does_not_fail(self, peer: Peer):
        assert peer.fails(clean(25), clean(peer.rounds, 1 / 1.3)) is False

    @pytest.mark.parametrize("peer", WITH_THRESHOLD, ids=lambda peer: peer.name)
    def test_what_is_below_the_threshold_does_not_fail(self, peer: Peer):
        assert peer.fails(clean(60), clean(peer.rounds, 1.05)) is False

    @pytest.mark.parametrize("peer", PYPERF, ids=lambda peer: peer.name)
    def test_pyperf_has_no_threshold(self, peer: Peer):
        assert peer.fails(clean(60), clean(peer.rounds, 1.05)) is True

    @pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
    @pytest.mark.parametrize("factor", [1.0, 1.3])
    def test_the_unit_does_not_matter(self, peer: Peer, factor: float):
        before, after = clean(20, sd=0.03), clean(peer.rounds, factor, sd=0.03)
        assert peer.fails(before * 1e-9, after * 1e-9) is peer.fails(before, after) is (factor > 1)

    def test_names_are_unique(self):
        assert len({peer.name for peer in ALL}) == len(ALL)


class TestPytestBenchmark:
    def test_one_slow_round_is_in_the_mean_only(self):
        before, after = clean(20), clean(20)
        after[7] *= 4
        assert peers.pytest_benchmark_mean(before, after)
        assert not peers.pytest_benchmark_median(before, after)

    def test_half_of_the_rounds_is_in_the_median_only(self):
        before = seconds(1.0, 1.0, 1.0, 1.0, 1.0)
        after = seconds(0.5, 0.5, 1.2, 1.2, 1.2)
        assert not peers.pytest_benchmark_mean(before, after)
        assert peers.pytest_benchmark_median(before, after)

    @pytest.mark.parametrize(
        ("before", "after", "red"),
        [(1.0, 1.099, False), (1.0, 1.1, True), (4.0, 4.4, True), (5.0, 5.5, True)],
    )
    def test_ten_per_cent_as_the_tool_rounds_it(self, before: float, after: float, red: bool):
        assert peers.pytest_benchmark_mean(seconds(before), seconds(after)) is red

    def test_nothing_in_the_baseline_is_red(self):
        assert peers.pytest_benchmark_mean(seconds(0.0), seconds(0.0))


class TestAsv:
    def test_needs_the_factor(self):
        before, after = clean(20), clean(20, 1.08)
        assert peers.asv_differ(before, after)
        assert not peers.asv_continuous(before, after)

    def test_needs_significance(self):
        before, after = clean(20, sd=0.5), clean(20, 1.2, sd=0.5)
        assert np.median(after) > 1.1 * np.median(before)
        assert not peers.asv_differ(before, after)
        assert not peers.asv_continuous(before, after)

    def test_the_factor_is_of_medians(self):
        before, after = clean(20), clean(20, 1.05)
        after[:5] *= 3
        assert not peers.asv_continuous(before, after)

    def test_one_sample_goes_by_the_factor(self):
        assert peers.asv_continuous(seconds(1.0), seconds(1.11, 1.12))
        assert peers.asv_continuous(seconds(0.1, 1.0, 9.0), seconds(1.11))
        assert not peers.asv_continuous(seconds(1.0), seconds(1.09))

    @pytest.mark.parametrize(("distance", "red"), [(0.01, False), (0.001, True)])
    def test_two_against_two_go_by_wide_intervals(self, distance: float, red: bool):
        before, after = seconds(1.0, 1.0 + distance), seconds(1.3, 1.3 + distance)
        assert peers.asv_continuous(before, after) is red

    @pytest.mark.parametrize(("size", "low", "high"), [(2, 1.005 - 0.25, 1.005 + 0.25), (8, 1.0, 1.07)])
    def test_intervals_of_few_samples(self, size: int, low: float, high: float):
        # Of two at a distance d the posterior is 1 / (2 * offset)**2 outside: 0.5 % are 25 d from the centre.
        samples = 1.0 + 0.01 * np.arange(size)
        assert peers.asv_median_interval(samples) == pytest.approx((low, high), rel=1e-9)

    def test_interval_of_equal_samples_is_a_point(self):
        assert peers.asv_median_interval(seconds(2.0, 2.0, 2.0)) == (2.0, 2.0)

    @pytest.mark.parametrize("size", [3, 4, 5, 7])
    def test_interval_of_few_samples_is_the_posteriors(self, size: int):
        samples = clean(size, sd=0.1)
        low, high = peers.asv_median_interval(samples)
        spread = samples.max() - samples.min()
        step = spread / 20_000
        locations = np.arange(samples.min() - 60 * spread, samples.max() + 60 * spread, step)
        density = np.abs(locations[:, None] - samples).sum(axis=1) ** -size
        below = np.cumsum(density) / density.sum()
        expected = np.interp([0.005, 0.995], below, locations)
        assert low == pytest.approx(min(samples.min(), expected[0]), abs=0.02 * spread)
        assert high == pytest.approx(max(samples.max(), expected[1]), abs=0.02 * spread)

    def test_interval_of_twenty_samples_is_of_order_statistics(self):
        below = stats.binom.cdf(np.arange(20), 20, 0.5)
        assert below[3] <= 0.005 < below[4]
        assert below[15] < 0.995 <= below[16]
        assert peers.asv_median_interval(np.arange(20.0)[::-1]) == (3.0, 16.0)

    @pytest.mark.parametrize(("size", "red"), [(5, True), (6, False), (7, True)])
    def test_six_against_six_are_never_different(self, size: int, red: bool):
        # From six on the test decides, and the two-sided p of six is at best 2 / 924 = 0.00216.
        assert peers.asv_continuous(clean(size), clean(size, 3.0)) is red

    @pytest.mark.parametrize(("m", "n"), [(6, 6), (4, 13), (20, 20), (20, 9), (1, 1)])
    def test_p_is_exact_up_to_twenty(self, m: int, n: int):
        before, after = clean(m, sd=0.1), clean(n, 1.08, sd=0.1003)
        expected = stats.mannwhitneyu(before, after, method="exact").pvalue
        assert peers.asv_p_value(before, after) == pytest.approx(expected, rel=1e-9)
        assert peers.asv_p_value(after, before) == pytest.approx(expected, rel=1e-9)

    def test_p_is_approximate_beyond_twenty(self):
        before, after = clean(21, sd=0.1), clean(20, 1.08, sd=0.1003)
        plain = stats.mannwhitneyu(before, after, method="asymptotic", use_continuity=False).pvalue
        assert peers.asv_p_value(before, after) == pytest.approx(plain, rel=1e-9)

    def test_ties_are_broken_the_least_significantly(self):
        before, after = seconds(1, 1, 1, 1, 2, 2), seconds(2, 2, 3, 3, 3, 3)
        broken = seconds(1, 1.1, 1.2, 1.3, 2.5, 2.6)
        expected = stats.mannwhitneyu(broken, seconds(2, 2.1, 3, 3.1, 3.2, 3.3), method="exact").pvalue
        assert peers.asv_p_value(before, after) == pytest.approx(expected, rel=1e-9)
        assert peers.asv_p_value(before, before) == pytest.approx(1.0, rel=1e-9)


class TestPyperf:
    def test_not_significant(self):
        before, after = clean(20, sd=0.3), clean(20, 1.05, sd=0.3)
        assert not peers.pyperf_compare_to(before, after)

    @pytest.mark.parametrize(("factor", "red"), [(1.064, False), (1.068, True)])
    def test_is_students_test(self, factor: float, red: bool):
        before, after = clean(20, sd=0.1), clean(20, factor, sd=0.1)
        assert bool(stats.ttest_ind(before, after).pvalue < 0.05) is red
        assert peers.pyperf_compare_to(before, after) is red

    def test_unequal_sizes_are_significant(self):
        before, after = clean(60, sd=0.3), clean(20, 1.05, sd=0.3)
        assert peers.pyperf_compare_to(before, after)
        assert not peers.pyperf_equal_sizes(before, after)

    def test_equal_sizes_are_of_the_last_of_the_baseline(self):
        before = np.concatenate([clean(20, 0.5), clean(20)])
        assert peers.pyperf_compare_to(before, clean(20))
        assert not peers.pyperf_equal_sizes(before, clean(20))
        assert peers.pyperf_equal_sizes(before[::-1], clean(20))

    def test_single_values_are_significant(self):
        assert peers.pyperf_compare_to(seconds(1.0), seconds(1.001))
        assert not peers.pyperf_compare_to(seconds(1.0), seconds(1.0))

    def test_no_variance_is_significant(self):
        assert peers.pyperf_compare_to(seconds(1.0, 1.0), seconds(1.001, 1.001))

    @pytest.mark.parametrize(
        ("df", "value"),
        [
            (1, 12.706),
            (2, 4.303),
            (30, 2.042),
            (39, 2.042),
            (40, 2.021),
            (59, 2.009),
            (60, 2.0),
            (99, 1.99),
            (199, 1.984),
            (200, 1.96),
        ],
    )
    def test_critical_values_are_its_tables(self, df: int, value: float):
        assert peers.pyperf_critical(df) == value


class TestBenchmatrix:
    @pytest.fixture
    def answer(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
        """What benchmatrix is made to answer, and what it was asked."""
        told: dict[str, object] = {"verdict": "inconclusive", "asked": None}

        def verdict(*args: object) -> object:
            told["asked"] = args
            return told["verdict"]

        monkeypatch.setattr(peers, "_benchmatrix_verdict", verdict)
        return told

    @pytest.mark.parametrize(
        ("verdict", "red", "red_if_regressed"),
        [
            ("improved", False, False),
            ("unchanged", False, False),
            ("regressed", True, True),
            ("inconclusive", True, False),
            ("not_comparable", True, False),
        ],
    )
    def test_its_gate_is_red_for_inconclusive(
        self, answer: dict[str, object], verdict: str, red: bool, red_if_regressed: bool
    ):
        answer["verdict"] = verdict
        before, after = clean(25, sd=0.2), clean(25, 1.1, sd=0.2)
        assert Benchmatrix()(before, after) is red
        assert Benchmatrix(inconclusive_fails=False)(before, after) is red_if_regressed

    def test_is_asked_of_runs_at_the_level_of_all_benchmarks(self, answer: dict[str, object]):
        Benchmatrix(percent=4, benchmarks=10, resamples=2000)(np.arange(1.0, 33.0), np.arange(1.0, 26.0))
        before, after, percent, confidence, resamples = answer["asked"]
        assert [run[0] for run in before] == [1, 6, 11, 16, 21, 26]
        assert [run[-1] for run in after] == [5, 10, 15, 20, 25]
        assert (percent, confidence, resamples) == (4, pytest.approx(0.995), 2000)

    @pytest.mark.parametrize(
        ("factor", "verdict"), [(1.3, "regressed"), (1.0, "unchanged"), (0.7, "improved"), (1.1, None)]
    )
    def test_is_not_asked_what_is_certain(
        self, answer: dict[str, object], factor: float, verdict: str | None
    ):
        answer["verdict"] = "asked"
        assert Benchmatrix().verdict(clean(25), clean(25, factor)) == (verdict or "asked")
        assert (answer["asked"] is None) is (verdict is not None)

    @pytest.mark.parametrize(("baseline", "rounds"), [(25, 24), (24, 25)])
    def test_is_asked_where_the_runs_are_too_few(self, answer: dict[str, object], baseline: int, rounds: int):
        assert Benchmatrix().verdict(clean(baseline), clean(rounds, 2.0)) == "inconclusive"
        assert answer["asked"] is not None

    def test_is_a_peer_where_it_is_installed(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(peers, "find_spec", lambda name: None)
        assert peers.available_peers() == PEERS
        monkeypatch.setattr(peers, "find_spec", lambda name: object())
        gate, regressed = peers.available_peers(resamples=1234)[len(PEERS) :]
        assert gate.rounds == regressed.rounds == 25
        assert gate.fails == Benchmatrix(resamples=1234)
        assert regressed.fails == Benchmatrix(inconclusive_fails=False, resamples=1234)

    @pytest.mark.parametrize(
        ("rounds", "factor", "sd", "verdict"),
        [
            (25, 1.3, 0.01, "regressed"),
            (25, 1.0, 0.01, "unchanged"),
            (25, 0.7, 0.01, "improved"),
            (25, 1.1, 0.05, "inconclusive"),
            (20, 1.3, 0.01, "inconclusive"),
            (4, 1.3, 0.01, "inconclusive"),
        ],
    )
    def test_the_package_says_so_too(self, rounds: int, factor: float, sd: float, verdict: str):
        pytest.importorskip("benchmatrix")
        before, after = peers._runs(clean(25, sd=sd)), peers._runs(clean(rounds, factor, sd))
        assert peers._benchmatrix_verdict(before, after, 10, 1 - 0.05 / 22, 1000) == verdict

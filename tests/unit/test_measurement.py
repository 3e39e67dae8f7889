from __future__ import annotations

import itertools
from collections import Counter
from contextlib import nullcontext

import numpy as np
import pytest
from builders import make_round

from pytest_rayperf.measurement import Execution, Samples, Schedule, measure, take_turns


class FakeClock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class FakeExecutor:
    """Each run takes what its pipeline returns: seconds, or an exception to raise."""

    def __init__(self, clock):
        self.clock = clock
        self.calls: list[tuple[str, bool]] = []

    def run(self, pipeline, *, keep_outputs, on_rows):
        name, seconds = pipeline()
        self.calls.append((name, keep_outputs))
        if isinstance(seconds, BaseException):
            raise seconds
        on_rows(32)
        self.clock.now += seconds
        outputs = {"label": np.arange(3)} if keep_outputs else None
        return Execution(make_round(64 / seconds), outputs)

    def shipping(self, modules):
        return nullcontext()


class Bench:
    """A measurement with everything in it faked, and a record of what happened."""

    def __init__(self, seconds=1.0, names=("antipattern", "fix")):
        self.clock = FakeClock()
        self.executor = FakeExecutor(self.clock)
        self.samples = Samples()
        self.progress = []
        self.looked: list[int] = []
        self.accepted: list[dict] = []
        script = seconds if callable(seconds) else lambda name, call: seconds
        counts = Counter()

        def pipeline(name):
            def run():
                counts[name] += 1
                return name, script(name, counts[name])

            return run

        self.pipelines = {name: pipeline(name) for name in names}

    def run(self, looks=(3, 6), max_seconds=1e9, warm_ups=1, settled=False, accept=True):
        def is_settled(samples):
            self.looked.append(samples.pairs)
            return settled(samples) if callable(settled) else settled

        def accept_outputs(samples):
            self.accepted.append(dict(samples.outputs))
            return accept

        measure(
            self.pipelines,
            self.executor,
            Schedule(looks, max_seconds, warm_ups),
            self.samples,
            clock=self.clock,
            settled=is_settled,
            accept_outputs=accept_outputs,
            on_progress=self.progress.append,
        )
        return self

    @property
    def order(self):
        return "".join(name[0].upper() for name, _ in self.executor.calls)

    @property
    def counts(self):
        return {name: len(rounds) for name, rounds in self.samples.rounds.items()}


class TestTakeTurns:
    @pytest.mark.parametrize(
        ("names", "turns"), [("AB", "ABBAABBAAB"), ("A", "AAAAAAAAAA"), ("ABC", "ABCCBAABCC")]
    )
    def test_there_and_back(self, names, turns):
        assert "".join(itertools.islice(take_turns(list(names)), 10)) == turns

    def test_a_linear_drift_cancels(self):
        turns = list(itertools.islice(take_turns(["A", "B"]), 12))
        sums = {name: sum(i for i, turn in enumerate(turns) if turn == name) for name in "AB"}
        assert sums["A"] == sums["B"]


class TestOrder:
    def test_abba_after_the_warm_ups(self):
        assert Bench().run(looks=(4,)).order == "AF" + "AFFAAFFA"

    def test_one_variant(self):
        bench = Bench(names=("it",)).run(looks=(3,))
        assert bench.order == "IIII"
        assert bench.counts == {"it": 3}

    @pytest.mark.parametrize("warm_ups", [0, 1, 2, 5])
    def test_warm_ups_are_not_counted(self, warm_ups):
        bench = Bench(lambda name, call: 100.0 if call <= warm_ups else 1.0).run(
            looks=(3,), warm_ups=warm_ups
        )
        assert bench.counts == {"antipattern": 3, "fix": 3}
        assert len(bench.executor.calls) == 2 * (3 + warm_ups)
        assert {r.wall_seconds for rounds in bench.samples.rounds.values() for r in rounds} == {1.0}

    def test_rounds_are_kept_with_their_variant_in_order(self):
        bench = Bench(lambda name, call: call * (10 if name == "fix" else 1)).run(looks=(3,))
        walls = {name: [r.wall_seconds for r in rounds] for name, rounds in bench.samples.rounds.items()}
        assert walls == {
            "antipattern": pytest.approx([2, 3, 4]),
            "fix": pytest.approx([20, 30, 40]),
        }


class TestStopping:
    def test_looks_at_the_scheduled_rounds_only(self):
        bench = Bench().run(looks=(3, 6, 12, 20))
        assert bench.looked == [3, 6, 12]  # after the last there is nothing to decide
        assert bench.counts == {"antipattern": 20, "fix": 20}

    @pytest.mark.parametrize("at", [3, 6, 12])
    def test_when_settled(self, at):
        bench = Bench().run(looks=(3, 6, 12, 20), settled=lambda samples: samples.pairs >= at)
        assert bench.counts == {"antipattern": at, "fix": at}

    def test_both_variants_have_as_many_at_a_look(self):
        seen = []
        Bench().run(settled=lambda s: seen.append({k: len(v) for k, v in s.rounds.items()}) or False)
        assert seen == [{"antipattern": 3, "fix": 3}]

    @pytest.mark.parametrize("names", [("it",), ("antipattern", "fix")])
    def test_when_the_time_is_up(self, names):
        bench = Bench(10.0, names).run(looks=(3, 100), max_seconds=75, warm_ups=1)
        # A warm-up and seven rounds are 80 s a variant; six and the warm-up are 70.
        assert set(bench.counts.values()) == {7}

    def test_not_before_the_first_look(self):
        bench = Bench(1000.0).run(looks=(3, 20), max_seconds=1)
        assert bench.counts == {"antipattern": 3, "fix": 3}
        assert bench.looked == []

    def test_not_between_the_variants_of_a_pair(self):
        bench = Bench(lambda name, call: 1000.0 if name == "antipattern" else 0.1)
        bench.run(looks=(1, 20), max_seconds=10)
        assert bench.counts == {"antipattern": 1, "fix": 1}

    @pytest.mark.parametrize("most", [1, 2, 7])
    def test_at_the_last_look(self, most):
        assert Bench().run(looks=(1, most) if most > 1 else (1,)).counts == {"antipattern": most, "fix": most}


class TestOutputs:
    def test_kept_of_the_first_warm_up_alone(self):
        bench = Bench().run(looks=(1,), warm_ups=2)
        assert bench.executor.calls[:4] == [
            ("antipattern", True),
            ("fix", True),
            ("antipattern", False),
            ("fix", False),
        ]
        assert not any(keep for _, keep in bench.executor.calls[4:])

    def test_are_shown_once_and_then_let_go(self):
        bench = Bench().run(looks=(2,))
        assert [set(outputs) for outputs in bench.accepted] == [{"antipattern", "fix"}]
        assert bench.samples.outputs == {}

    def test_nothing_is_timed_where_they_are_refused(self):
        bench = Bench().run(accept=False)
        assert bench.counts == {"antipattern": 0, "fix": 0}
        assert bench.order == "AF"
        assert set(bench.samples.outputs) == {"antipattern", "fix"}

    def test_not_asked_for_where_there_is_nothing_to_compare(self):
        bench = Bench(names=("it",)).run(looks=(1,))
        assert bench.executor.calls == [("it", False)] * 2
        assert bench.accepted == [{}]


class TestInterrupted:
    @pytest.mark.parametrize(
        "error", [KeyboardInterrupt(), RuntimeError("worker died"), SystemExit(1)], ids=repr
    )
    @pytest.mark.parametrize(("call", "left"), [(1, 0), (2, 0), (3, 1), (5, 3)])
    def test_what_ended_before_is_left(self, error, call, left):
        bench = Bench(lambda name, n: error if (name, n) == ("fix", call) else 1.0)
        with pytest.raises(type(error)) as caught:
            bench.run(looks=(5,))
        assert caught.value is error
        assert bench.counts["fix"] == max(0, left)
        assert bench.samples.pairs == max(0, min(bench.counts.values()))
        assert 0 <= bench.counts["antipattern"] - bench.counts["fix"] + 1 <= 2

    def test_no_further_pipeline_is_run(self):
        bench = Bench(lambda name, n: KeyboardInterrupt() if name == "antipattern" else 1.0)
        with pytest.raises(KeyboardInterrupt):
            bench.run()
        assert bench.order == "A"
        assert bench.counts == {"antipattern": 0, "fix": 0}

    @pytest.mark.parametrize("where", ["settled", "accept"])
    def test_in_a_callback(self, where):
        def broken(_):
            raise ZeroDivisionError

        bench = Bench()
        if where == "settled":
            with pytest.raises(ZeroDivisionError):
                bench.run(settled=broken)
            assert bench.counts == {"antipattern": 3, "fix": 3}
        else:
            bench.pipelines["fix"] = broken
            with pytest.raises(TypeError):
                bench.run()
            assert bench.counts == {"antipattern": 0, "fix": 0}


class TestProgress:
    def test_each_run_begins_with_no_rows_and_goes_on(self):
        bench = Bench(names=("it",)).run(looks=(2,))
        assert [(p.variant, p.number, p.rows) for p in bench.progress] == [
            ("it", 0, 0),
            ("it", 0, 32),
            ("it", 1, 0),
            ("it", 1, 32),
            ("it", 2, 0),
            ("it", 2, 32),
        ]
        assert [len(p.rounds) for p in bench.progress] == [0, 0, 0, 0, 1, 1]

    def test_seconds_are_those_of_this_round(self):
        bench = Bench(5.0, names=("it",)).run(looks=(3,))
        assert {p.seconds for p in bench.progress} == {0.0}


class TestSamples:
    @pytest.mark.parametrize(("sizes", "pairs"), [((), 0), ((0,), 0), ((3,), 3), ((3, 2), 2), ((0, 5), 0)])
    def test_pairs(self, sizes, pairs):
        samples = Samples({str(i): [make_round()] * size for i, size in enumerate(sizes)})
        assert samples.pairs == pairs

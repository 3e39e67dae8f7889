from __future__ import annotations

import itertools
import math
import weakref
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from builders import LIGHT, make_round
from hypothesis import given
from hypothesis import strategies as st

from pytest_rayperf.errors import PipelineError, WorkersLostError
from pytest_rayperf.measurement import (
    Execution,
    Inspection,
    Samples,
    Schedule,
    Spoiled,
    measure,
    take_turns,
)


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

    def run(
        self,
        looks=(3, 6),
        max_seconds=1e9,
        warm_ups=1,
        settled=False,
        accept=True,
        timed=True,
        keep=True,
        more_spares=0,
        **more,
    ):
        def is_settled(samples):
            self.looked.append(samples.pairs)
            return settled(samples) if callable(settled) else settled

        def accept_outputs(samples):
            self.accepted.append(dict(samples.outputs))
            return accept

        measure(
            self.pipelines,
            self.executor,
            Schedule(looks, max_seconds, warm_ups, more_spares=more_spares, timed=timed, keep_outputs=keep),
            self.samples,
            clock=self.clock,
            settled=is_settled,
            accept_outputs=accept_outputs,
            on_progress=self.progress.append,
            **more,
        )
        return self

    @property
    def order(self):
        return "".join(name[0].upper() for name, _ in self.executor.calls)

    @property
    def counts(self):
        return {name: len(rounds) for name, rounds in self.samples.rounds.items()}


@pytest.mark.parametrize("warm_ups", [0, 1])
def test_outputs_that_nobody_compares_are_not_kept(warm_ups):
    bench = Bench().run(warm_ups=warm_ups, keep=False)
    assert not any(kept for _, kept in bench.executor.calls)
    assert bench.accepted == []
    assert bench.counts == {"antipattern": 6, "fix": 6}


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
        assert bench.samples.time_is_up

    def test_what_was_decided_in_time_had_time_left(self):
        bench = Bench(10.0).run(looks=(3, 100), max_seconds=75, settled=lambda s: True)
        assert set(bench.counts.values()) == {3}
        assert not bench.samples.time_is_up

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
        assert bench.accepted == []

    def test_without_a_warm_up_they_are_the_first_round_s(self):
        bench = Bench().run(looks=(3,), warm_ups=0)
        assert bench.order == "AFFAAF"
        assert [keep for _, keep in bench.executor.calls] == [True, True, False, False, False, False]
        assert [set(outputs) for outputs in bench.accepted] == [{"antipattern", "fix"}]
        assert bench.samples.outputs == {}

    def test_without_a_warm_up_there_is_no_second_round_where_they_are_refused(self):
        bench = Bench().run(looks=(3,), warm_ups=0, accept=False)
        assert bench.counts == {"antipattern": 1, "fix": 1}
        assert len(bench.accepted) == 1

    def test_one_round_without_a_warm_up_is_compared_too(self):
        bench = Bench().run(looks=(1,), warm_ups=0)
        assert bench.order == "AF"
        assert [set(outputs) for outputs in bench.accepted] == [{"antipattern", "fix"}]

    def test_without_a_warm_up_those_of_one_that_gave_up_are_not_compared(self):
        bench = Bench(lambda name, call: MemoryError() if name == "b" else 1.0, names=("a", "b", "c"))
        bench.run(looks=(2,), warm_ups=0, gives_up=lambda name, error: True)
        assert [set(outputs) for outputs in bench.accepted] == [{"a", "c"}]
        assert bench.counts == {"a": 2, "c": 2}


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


class TestAside:
    def test_is_called_before_the_first_counted_round_and_after_each(self):
        bench, called = Bench(), []
        bench.run(looks=(2,), aside=lambda: called.append(len(bench.executor.calls)))
        assert called == [2, 3, 4, 5, 6]

    def test_its_time_is_not_the_round_s(self):
        bench = Bench(2.0)

        def slow():
            bench.clock.now += 1000.0

        bench.run(looks=(3,), aside=slow)
        assert {r.wall_seconds for rounds in bench.samples.rounds.values() for r in rounds} == {2.0}

    def test_the_last_one_was_before_it_is_looked_at_the_rounds(self):
        called, looked = [], []

        def settled(samples):
            looked.append((samples.pairs, len(called)))
            return samples.pairs == 3

        Bench(names=("only",)).run(looks=(1, 2, 3, 4), settled=settled, aside=lambda: called.append(1))
        assert looked == [(1, 2), (2, 3), (3, 4)]


class TestAfterRound:
    def test_is_asked_after_every_execution_of_its_variant(self):
        bench, asked = Bench(), []
        bench.run(looks=(2,), after_round=lambda name: asked.append((name, len(bench.executor.calls))))
        assert "".join(name[0].upper() for name, _ in asked) == bench.order == "AF" + "AFFA"
        assert [calls for _, calls in asked] == [1, 2, 3, 4, 5, 6]

    def test_its_time_is_not_the_round_s(self):
        bench = Bench(2.0)

        def slow(name):
            bench.clock.now += 1000.0
            return Inspection({"bytes_written": 5})

        bench.run(looks=(3,), after_round=slow)
        rounds = [r for own in bench.samples.rounds.values() for r in own]
        assert {r.wall_seconds for r in rounds} == {2.0}
        assert {r.throughput for r in rounds} == {32.0}

    def test_its_figures_join_the_round_s(self):
        bench = Bench()
        run = bench.executor.run

        def with_figures(pipeline, **more):
            execution = run(pipeline, **more)
            return Execution(
                replace(execution.round, figures={"spilled_bytes": 1.0, "object_store_peak": 2.0})
            )

        bench.executor.run = with_figures
        found = {
            "antipattern": Inspection({"object_store_peak": 7.0}),
            "fix": Inspection({"joules_per_row": 3.0}),
        }
        bench.run(looks=(1,), after_round=found.get)
        (bad,), (good,) = bench.samples.rounds.values()
        assert bad.figures == {"spilled_bytes": 1.0, "object_store_peak": 7.0}
        assert good.figures == {"spilled_bytes": 1.0, "object_store_peak": 2.0, "joules_per_row": 3.0}

    def test_what_is_counted_joins_the_counters(self):
        """What the test found of it is surer than what was found without it."""
        bench = Bench()
        run = bench.executor.run

        def counted(pipeline, **more):
            execution = run(pipeline, **more)
            return Execution(replace(execution.round, counters={"bytes_written": 2, "loads": 1}))

        bench.executor.run = counted
        found = {
            "antipattern": Inspection({"bytes_written": np.float64(7)}),
            "fix": Inspection({"bytes_written": None, "files_written": 3, "spilled_bytes": None}),
        }
        bench.run(looks=(1,), after_round=found.get)
        (bad,), (good,) = bench.samples.rounds.values()
        assert (dict(bad.counters), dict(bad.figures)) == ({"bytes_written": 7, "loads": 1}, {})
        assert type(bad.counters["bytes_written"]) is int
        assert dict(good.counters) == {"bytes_written": 2, "loads": 1, "files_written": 3}
        assert dict(good.figures) == {}
        assert [r.metric("bytes_written") for r in (bad, good)] == [7.0, 2.0]
        assert (bad.metric("files_written"), good.metric("files_written")) == (None, 3.0)

    @pytest.mark.parametrize(
        ("name", "value", "wanted"),
        [
            ("bytes_written", 2.5, "a whole number"),
            ("bytes_written", -1, "a whole number"),
            ("files_written", "3", "a whole number"),
            ("spilled_bytes", -0.5, "a number"),
            ("spilled_bytes", math.nan, "a number"),
            ("spilled_bytes", math.inf, "a number"),
        ],
    )
    def test_a_figure_that_is_none_is_refused(self, name, value, wanted):
        with pytest.raises(PipelineError, match=f"Inspection: {name} is .*; it must be {wanted}, 0 or more"):
            Bench().run(looks=(1,), after_round=lambda _: Inspection({name: value}))

    def test_its_outputs_take_the_place_of_the_round_s(self):
        written = {"label": np.array([7])}
        bench = Bench().run(
            looks=(1,),
            after_round=lambda name: Inspection(outputs=written if name == "antipattern" else None),
        )
        (accepted,) = bench.accepted
        assert accepted["antipattern"] is written
        assert accepted["fix"]["label"].tolist() == [0, 1, 2]

    def test_outputs_of_later_rounds_are_let_go(self):
        bench = Bench().run(looks=(2,), after_round=lambda name: Inspection(outputs={"a": np.zeros(1)}))
        assert len(bench.accepted) == 1
        assert bench.samples.outputs == {}

    def test_nothing_found_changes_nothing(self):
        bench = Bench().run(looks=(1,), after_round=lambda name: None)
        assert {r.figures == {} for rounds in bench.samples.rounds.values() for r in rounds} == {True}
        assert set(bench.accepted[0]) == {"antipattern", "fix"}

    def test_its_error_ends_the_measurement_and_the_round_does_not_count(self):
        bench = Bench()

        def broken(name):
            if len(bench.executor.calls) == 4:
                raise OSError("cannot be read back")

        with pytest.raises(OSError, match="cannot be read back"):
            bench.run(looks=(3,), after_round=broken)
        assert bench.counts == {"antipattern": 1, "fix": 0}


class TestGivesUp:
    """Three variants, of which some break."""

    def run(self, *broken, looks=(4,), gives_up=lambda name, error: True, **more):
        """Each of `broken` is a variant and the how manieth of its executions raises."""
        bench = Bench(
            lambda name, call: MemoryError(name) if (name, call) in broken else 1.0, ("a", "b", "c")
        )
        bench.run(looks=looks, gives_up=gives_up, **more)
        return bench

    def test_in_its_warm_up_it_is_left_out(self):
        bench = self.run(("b", 1))
        assert bench.order == "ABC" + "ACCAACCA"
        assert bench.counts == {"a": 4, "c": 4}
        assert set(bench.accepted[0]) == {"a", "c"}

    def test_in_a_second_warm_up_its_outputs_are_not_compared(self):
        bench = self.run(("b", 2), warm_ups=2, looks=(1,))
        assert bench.order == "ABCABC" + "AC"
        assert set(bench.accepted[0]) == {"a", "c"}

    @pytest.mark.parametrize(
        ("call", "order"),
        [(2, "ABC" + "ABC" + "CAACCA"), (3, "ABC" + "ABC" + "CBAACCA"), (5, "ABC" + "ABCCBAABCCBA")],
    )
    def test_in_a_later_round_what_was_measured_of_it_is_dropped_and_the_others_keep_their_turns(
        self, call, order
    ):
        bench = self.run(("b", call))
        assert bench.order == order
        assert bench.counts == {"a": 4, "c": 4}
        assert bench.samples.pairs == 4

    @pytest.mark.parametrize("gone", ["a", "b", "c"])
    def test_the_others_look_at_the_scheduled_rounds(self, gone):
        bench = self.run((gone, 3), looks=(2, 3, 5))
        assert bench.looked == [2, 3]
        assert set(bench.counts.values()) == {5}

    def test_several(self):
        bench = self.run(("c", 1), ("b", 3))
        assert bench.counts == {"a": 4}
        assert bench.order == "ABC" + "AB" + "BAAA"

    def test_it_is_told_who_and_what(self):
        asked = []
        self.run(("b", 1), gives_up=lambda name, error: asked.append((name, str(error))) or True)
        assert asked == [("b", "b")]

    def test_no_leaves_the_error(self):
        with pytest.raises(MemoryError, match="b"):
            self.run(("b", 2), gives_up=lambda name, error: False)

    @pytest.mark.parametrize("call", [2, 4])
    def test_of_the_last_one_the_error_is_raised(self, call):
        with pytest.raises(MemoryError, match="b"):
            self.run(("a", 1), ("c", 1), ("b", call))

    def test_an_error_that_is_kept_does_not_keep_what_broke(self):
        class Actors:
            pass

        kept, alive = [], []

        def breaks():
            actors = Actors()
            alive.append(weakref.ref(actors))
            raise StopIteration

        def wraps():
            try:
                breaks()
            except StopIteration as error:
                wrapped = MemoryError()
                wrapped.__context__ = error  # as Ray's: neither raised there, nor its cause
            raise wrapped

        bench = Bench(names=("a", "b"))
        bench.pipelines["b"] = wraps
        bench.run(looks=(1,), gives_up=lambda name, error: kept.append(error) or True)
        assert (len(kept), alive[0]()) == (1, None)

    def test_an_interrupt_is_no_giving_up(self):
        bench = Bench(lambda name, call: KeyboardInterrupt() if name == "b" else 1.0, ("a", "b"))
        with pytest.raises(KeyboardInterrupt):
            bench.run(gives_up=lambda name, error: True)

    @given(st.lists(st.tuples(st.sampled_from("bcd"), st.integers(1, 6)), max_size=5), st.integers(1, 5))
    @LIGHT
    def test_whoever_breaks_the_rest_is_whole_and_in_turn(self, broken, most):
        bench = Bench(
            lambda name, call: MemoryError() if (name, call) in broken else 1.0, ("a", "b", "c", "d")
        )
        bench.run(looks=(most,), gives_up=lambda name, error: True)
        gone = {name for name, call in broken if call <= most + 1}
        assert bench.counts == dict.fromkeys([name for name in "abcd" if name not in gone], most)
        kept = [name for name in bench.order[4:] if name.lower() not in gone]
        turns = take_turns([name for name in "ABCD" if name.lower() not in gone])
        assert kept == list(itertools.islice(turns, len(kept)))


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


class TestSpoiled:
    """`bench(spoiled)`: what spoils which call of the fix's pipeline; call 1 is its warm-up."""

    def bench(self, spoiled, **more):
        bench = Bench(**more)
        run = bench.executor.run
        calls = Counter()

        def spoiling(pipeline, **how):
            execution = run(pipeline, **how)
            name, _ = bench.executor.calls[-1]
            calls[name] += 1
            return replace(execution, spoiled=spoiled(calls[name]) if name == "fix" else None)

        bench.executor.run = spoiling
        return bench

    def spoils(self, *calls, lost=False):
        return lambda call: Spoiled(f"call {call}", lost) if call in calls else None

    def test_a_disturbed_round_is_measured_again_at_once(self):
        bench = self.bench(self.spoils(2)).run(looks=(2,))
        assert bench.order == "AF" + "AFFFA"
        assert bench.counts == {"antipattern": 2, "fix": 2}
        assert bench.samples.repeated == {"fix": ["call 2"]}
        assert [r.disturbed for r in bench.samples.rounds["fix"]] == ["", ""]

    def test_nothing_is_done_aside_before_it_is_measured_again(self):
        called = []
        bench = self.bench(self.spoils(2, 3))
        bench.run(looks=(2,), aside=lambda: called.append(len(bench.executor.calls)))
        assert bench.order == "AF" + "AFFFFA"
        assert called == [2, 3, 6, 7, 8]

    def test_after_the_spares_it_counts_and_says_so(self):
        bench = self.bench(self.spoils(*range(2, 99))).run(looks=(2,))
        assert bench.samples.repeated["fix"] == ["call 2", "call 3", "call 4"]
        assert [r.disturbed for r in bench.samples.rounds["fix"]] == ["call 5", "call 6"]
        assert [r.disturbed for r in bench.samples.rounds["antipattern"]] == ["", ""]

    def test_each_undisturbed_round_may_be_spares_more(self):
        for more, each in ((0, 2), (1, 2), (2, 3)):  # of so many rounds one is not disturbed
            bench = self.bench(lambda call, each=each: Spoiled("loud") if call > 1 and call % each else None)
            bench.run(looks=(12,), more_spares=more)
            disturbed = [r.disturbed for r in bench.samples.rounds["fix"]]
            assert (disturbed == [""] * 12) == (more > 0)

    @pytest.mark.parametrize(("more", "again"), [(0, 3), (1, 5), (2, 7)])
    def test_on_a_machine_that_becomes_loud_they_come_to_an_end(self, more, again):
        bench = self.bench(lambda call: Spoiled("loud") if call > 3 else None)
        bench.run(looks=(4,), more_spares=more)
        assert bench.samples.repeated["fix"] == ["loud"] * again
        assert [r.disturbed for r in bench.samples.rounds["fix"]] == ["", "", "loud", "loud"]

    def test_disturbed_rounds_take_no_spare_of_those_that_lost_work(self):
        bench = self.bench(lambda call: Spoiled("x", lost=call in (4, 5, 6)) if 1 < call < 7 else None)
        bench.run(looks=(1,))
        assert bench.samples.repeated["fix"] == ["x"] * 5
        bench = self.bench(lambda call: Spoiled("x", lost=call in (2, 3)) if 1 < call < 7 else None)
        bench.run(looks=(1,))
        assert bench.samples.repeated["fix"] == ["x"] * 5
        assert [r.disturbed for r in bench.samples.rounds["fix"]] == [""]

    def test_not_again_once_the_time_is_up(self):
        bench = self.bench(self.spoils(*range(2, 99)), seconds=10.0).run(looks=(2,), max_seconds=25)
        assert bench.samples.repeated == {"fix": ["call 2"]}
        assert [r.disturbed for r in bench.samples.rounds["fix"]] == ["call 3", "call 4"]

    def test_a_warm_up_s_time_does_not_matter(self):
        bench = self.bench(self.spoils(1)).run(looks=(1,))
        assert bench.samples.repeated == {}
        assert bench.counts == {"antipattern": 1, "fix": 1}

    def test_nor_does_that_of_what_is_not_timed(self):
        bench = self.bench(self.spoils(1)).run(looks=(1,), warm_ups=0, timed=False)
        assert bench.samples.repeated == {}
        assert [r.disturbed for r in bench.samples.rounds["fix"]] == ["call 1"]

    @pytest.mark.parametrize("timed", [True, False])
    @pytest.mark.parametrize("call", [1, 2])
    def test_a_round_that_lost_work_never_counts(self, call, timed):
        bench = self.bench(self.spoils(call, lost=True)).run(looks=(2,), timed=timed)
        assert bench.samples.repeated == {"fix": [f"call {call}"]}
        assert [r.disturbed for r in bench.samples.rounds["fix"]] == ["", ""]

    def test_a_warm_up_that_lost_work_gives_no_outputs(self):
        bench = self.bench(self.spoils(1, lost=True)).run(looks=(1,))
        assert [name for name, kept in bench.executor.calls if kept] == ["antipattern", "fix", "fix"]
        assert [sorted(outputs) for outputs in bench.accepted] == [["antipattern", "fix"]]

    def test_work_lost_in_round_after_round_ends_the_measurement(self):
        bench = self.bench(self.spoils(*range(2, 99), lost=True))
        with pytest.raises(WorkersLostError, match=r"^call 5; in 4 rounds of fix$"):
            bench.run(looks=(2,))
        assert bench.counts == {"antipattern": 1, "fix": 0}

    def test_the_progress_tells_of_them(self):
        bench = self.bench(self.spoils(2)).run(looks=(1,))
        assert [p.repeated for p in bench.progress if p.variant == "fix" and p.rows == 0] == [0, 0, 1]

"""What a block asks `time.sleep` for, and what it may do with it."""

from __future__ import annotations

import functools
import pickle
import time
from time import sleep

import numpy as np
import pytest
from test_work_probe import counted, counted_beside, square

from pytest_rayperf.work.probe import Probe
from pytest_rayperf.work.sleeps import stand_in

SLEEP = time.sleep


class TestSleeps:
    def test_what_was_asked_for(self):
        def block():
            time.sleep(0.0015)
            for _ in range(3):
                time.sleep(1e-4)
            time.sleep(np.float64(0.001))
            time.sleep(0)

        assert counted(block).counts["slept_microseconds"] == 2800

    def test_nothing_is_0(self):
        assert counted(lambda: None).counts["slept_microseconds"] == 0

    def test_by_the_name_that_a_module_imported(self):
        def block():
            sleep(0.0002)

        found = counted(block)
        assert found.counts["slept_microseconds"] == 200
        assert sleep is time.sleep is SLEEP

    def test_by_a_name_that_is_not_seen(self):
        pause = time.sleep
        found = counted(lambda: pause(0.0001))
        assert "slept_microseconds" not in found.counts
        assert "another name" in found.problems["slept_microseconds"]
        assert found.counts["python_calls"] == 1

    def test_counting_it_is_no_call(self):
        found, none = counted(lambda: time.sleep(0.0001)), counted(lambda: None)
        assert found.counts["slept_microseconds"] == 100
        assert found.calls.keys() == none.calls.keys()

    def test_of_another_thread_is_not_counted(self):
        assert counted_beside(lambda: time.sleep(1e-4)).counts["slept_microseconds"] == 0

    def test_what_is_no_time_to_sleep_is_as_wrong_as_ever(self):
        with Probe() as probe:
            with pytest.raises(ValueError, match="non-negative"):
                time.sleep(-1)
            with pytest.raises(TypeError):
                time.sleep("a while")
            with pytest.raises(TypeError):
                time.sleep(seconds=1)
        assert probe.counted.counts["slept_microseconds"] == 0

    def test_a_replacement_of_the_blocks_own_stays(self, monkeypatch):
        def mine(seconds):
            pass

        monkeypatch.setattr(time, "sleep", SLEEP)  # what is put back afterwards
        with Probe():
            time.sleep = mine
        assert time.sleep is mine

    def test_what_was_kept_in_one_block_counts_in_the_next(self):
        kept = []
        with Probe():
            kept += [time.sleep, functools.partial(time.sleep, 1e-4)]
        with Probe() as probe:
            for one in kept:
                one(*[1e-4] * (one is kept[0]))
        assert probe.counted.counts["slept_microseconds"] == 200
        kept[0](0)

    def test_what_was_kept_may_be_put_back_later(self, monkeypatch):
        monkeypatch.setattr(time, "sleep", SLEEP)
        with Probe():
            kept = time.sleep
        time.sleep = kept
        with Probe() as probe:
            time.sleep(1e-4)
        assert probe.counted.counts["slept_microseconds"] == 100
        time.sleep(0)

    def test_in_a_process_that_counts_whoever_gets_it_before_counts_too(self, monkeypatch):
        monkeypatch.setattr(time, "sleep", SLEEP)
        sent = pickle.dumps(time.sleep)
        stand_in()
        pause = pickle.loads(sent)
        assert [counted(pause, 1e-4).counts["slept_microseconds"] for _ in range(2)] == [100, 100]

    def test_whoever_wraps_it_is_asked_once_and_counted_once(self, monkeypatch):
        """A tracing agent, say: what it wraps may be ours."""
        monkeypatch.setattr(time, "sleep", SLEEP)
        stand_in()
        wrapped, asked = time.sleep, []

        def traced(seconds):
            asked.append(seconds)
            wrapped(seconds)

        time.sleep = traced
        for _ in range(2):
            with Probe() as probe:
                time.sleep(1e-4)
            assert probe.counted.counts["slept_microseconds"] == 100
            assert time.sleep is traced
        assert asked == [1e-4] * 2

    def test_as_an_attribute_of_a_class_it_is_no_method(self, monkeypatch):
        monkeypatch.setattr(time, "sleep", SLEEP)
        stand_in()

        class Waits:
            pause = time.sleep

        assert counted(Waits().pause, 1e-4).counts["slept_microseconds"] == 100

    def test_it_is_sent_to_other_processes_as_what_it_stands_for(self):
        def block():
            return sleep(0)

        from ray import cloudpickle

        sent = []
        with Probe():
            block()
            sent += [cloudpickle.dumps(time.sleep), cloudpickle.dumps(lambda: sleep), pickle.dumps(sleep)]
        assert pickle.loads(sent[0]) is SLEEP
        assert pickle.loads(sent[1])() is SLEEP
        assert pickle.loads(sent[2]) is SLEEP

    def test_a_replacement_from_before_is_asked_and_counted(self, monkeypatch):
        asked = []
        monkeypatch.setattr(time, "sleep", asked.append)
        replacement = time.sleep
        with Probe() as probe:
            time.sleep(2)
        assert asked == [2]
        assert probe.counted.counts["slept_microseconds"] == 2_000_000
        assert time.sleep is replacement

    @pytest.mark.parametrize(
        ("arguments", "keywords", "found"),
        [
            ((), {}, 0),
            ((), {"seconds": 0.5}, 500_000),
            ((0.25,), {"ref": False}, 250_000),
            (("long",), {}, None),
        ],
    )
    def test_another_librarys_takes_what_it_takes(self, monkeypatch, arguments, keywords, found):
        monkeypatch.setattr(time, "sleep", lambda *arguments, **keywords: "slept")
        with Probe() as probe:
            assert time.sleep(*arguments, **keywords) == "slept"
        assert probe.counted.counts.get("slept_microseconds") == found
        assert ("slept_microseconds" in probe.counted.problems) == (found is None)

    def test_a_name_that_the_block_changed_stays(self, monkeypatch):
        monkeypatch.setitem(globals(), "sleep", time.sleep)

        def block():
            sleep(0)
            globals()["sleep"] = square

        with Probe():
            block()
        assert sleep is square

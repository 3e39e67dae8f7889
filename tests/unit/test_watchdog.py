"""When a round is stuck, and how it is ended."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from pytest_rayperf.errors import RoundStuckError
from pytest_rayperf.watchdog import MOST_LOSSES, Vigil, Watchdog


class Round:
    """A round by the second: what moved, what the processes used, who died."""

    def __init__(self, patience=60.0):
        self.now, self.moved, self.cpu, self.lost, self.died = 0.0, 0, 0.0, 0, None
        self.taken = None
        self.vigil = Vigil(
            lambda: self.died,
            lambda: self.moved,
            lambda: self.cpu,
            lambda: self.lost,
            lambda: self.taken,
            patience,
            clock=lambda: self.now,
        )

    def after(self, seconds, cpu=0.0, moves=False, loses=0):
        """What is said by then, looking once a second; in each `cpu` is used, and `loses` workers die."""
        for _ in range(seconds):
            self.now += 1
            if self.cpu is not None:
                self.cpu += cpu
            self.moved += moves
            self.lost += loses
            said = self.vigil.symptom()
            if said is not None:
                return said
        return None


class TestVigil:
    def test_idle_and_nothing_moves(self):
        said = Round().after(100)
        assert said.startswith("nothing has moved for 60 s: no task ended")
        assert said.endswith("needs a larger --rayperf-max-time")

    def test_cpus_that_nobody_can_have_are_named(self):
        round_ = Round()
        assert "taken" not in round_.after(100)
        round_ = Round()
        round_.taken = "all 2 CPUs are taken"
        said = round_.after(100)
        assert "; all 2 CPUs are taken, and an actor keeps its own while it waits: a smaller pool" in said
        assert said.endswith("needs a larger --rayperf-max-time")

    def test_not_before_the_patience_is_over(self):
        assert Round().after(60) is None

    def test_what_moves_now_and_then_goes_on(self):
        round_ = Round()
        for _ in range(20):
            assert round_.after(50) is None
            assert round_.after(1, moves=True) is None

    def test_who_computes_is_only_slow(self):
        assert Round().after(2000, cpu=1.0) is None

    def test_who_only_waits_is_not(self):
        """With the driver that looks at it, which was seen to use 0.14 of a core."""
        assert Round().after(100, cpu=0.14) is not None

    def test_it_computed_and_then_stopped(self):
        round_ = Round()
        assert round_.after(300, cpu=1.0) is None
        assert round_.after(130) is not None

    def test_where_nobody_knows_who_computes_nothing_is_said(self):
        round_ = Round()
        round_.cpu = None
        assert round_.after(1000) is None

    def test_without_an_end_of_patience(self):
        assert Round(patience=float("inf")).after(5000) is None

    def test_workers_that_die_one_after_another(self):
        said = Round().after(30, cpu=1.0, loses=1)
        assert said.endswith("workers died one after another, and no task came to its end meanwhile")
        assert int(said.split()[0]) >= MOST_LOSSES

    def test_lost_workers_of_a_round_that_moves_are_for_the_monitor(self):
        assert Round().after(300, moves=True, loses=1) is None

    def test_those_that_died_before_do_not_count(self):
        round_ = Round()
        round_.lost = 100
        assert round_.after(30, cpu=1.0) is None

    def test_a_machine_that_was_stopped_has_not_waited(self):
        round_ = Round()
        assert round_.after(10) is None
        round_.now += 3600
        assert round_.after(50) is None
        assert round_.after(20) is not None

    def test_nor_is_it_judged_by_one_look(self):
        """Nobody looked for a while (C code kept the interpreter's lock), and then twice at once."""
        round_ = Round(patience=8.0)
        for step in (4.9, 4.9, 0.25):
            round_.now += step
            assert round_.vigil.symptom() is None

    def test_the_cluster_itself(self):
        round_ = Round()
        assert round_.after(3) is None
        round_.died = "the cluster's raylet ended"
        assert round_.after(1) == "the cluster's raylet ended in the middle of a round"


class TestWatchdog:
    def test_without_a_symptom_the_block_is_left_alone(self):
        with Watchdog(lambda: None, 0.001):
            time.sleep(0.02)
        assert "rayperf-watchdog" not in [thread.name for thread in threading.enumerate()]

    def test_a_block_that_waits_is_ended_with_the_reason(self):
        with pytest.raises(RoundStuckError, match=r"^stuck$") as caught, Watchdog(lambda: "stuck", 0.001):
            threading.Event().wait(60)
        assert caught.value.__cause__ is None

    def test_also_if_it_swallows_the_first_interrupt(self, monkeypatch):
        monkeypatch.setattr("pytest_rayperf.watchdog._AGAIN_S", 0.001)

        def swallows_two():
            for _ in range(2):
                with pytest.raises(KeyboardInterrupt):
                    threading.Event().wait(60)

        with pytest.raises(RoundStuckError), Watchdog(lambda: "stuck", 0.001):
            swallows_two()

    def test_a_ctrl_c_is_the_users_own(self):
        with pytest.raises(KeyboardInterrupt), Watchdog(lambda: None, 0.001):
            signal.raise_signal(signal.SIGINT)

    def test_what_ends_the_run_does_so_though_the_round_is_stuck_as_well(self):
        """CI sends SIGTERM once."""
        with pytest.raises(KeyboardInterrupt, match="SIGTERM"), Watchdog(lambda: "stuck", 0.001):
            self.ended()

    @staticmethod
    def ended():
        try:
            threading.Event().wait(60)
        except KeyboardInterrupt:  # the watchdog's own
            raise KeyboardInterrupt("SIGTERM") from None

    @pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL, lambda number, frame: None])
    def test_whatever_an_interrupt_does_here(self, handler):
        """A shell ignores it in its background; a user's own handler is not called for ours."""
        before = signal.signal(signal.SIGINT, handler)
        try:
            with pytest.raises(RoundStuckError), Watchdog(lambda: "stuck", 0.001):
                threading.Event().wait(60)
            assert signal.getsignal(signal.SIGINT) is handler
        finally:
            signal.signal(signal.SIGINT, before)

    def test_the_users_handler_hears_the_users_interrupts(self):
        heard = []
        before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
        try:
            with Watchdog(lambda: None, 0.001):
                signal.raise_signal(signal.SIGINT)
        finally:
            signal.signal(signal.SIGINT, before)
        assert heard == [signal.SIGINT]

    def test_a_symptom_that_cannot_be_told_is_none(self):
        def breaks():
            raise RuntimeError("Ray has not been started")

        with Watchdog(breaks, 0.001):
            time.sleep(0.02)

    def test_what_the_block_raises_of_itself_stays(self):
        with pytest.raises(ValueError, match="own"), Watchdog(lambda: None, 0.001):
            raise ValueError("own")

    def test_but_not_what_it_raises_because_the_cluster_is_gone(self):
        with pytest.raises(RoundStuckError, match="raylet") as caught, Watchdog(lambda: "raylet ended", 60):
            raise ValueError("connection lost")
        assert isinstance(caught.value.__cause__, ValueError)

    def test_another_thread_cannot_be_interrupted(self):
        ended = []

        def block():
            with Watchdog(lambda: "stuck", 0.001):
                time.sleep(0.02)
                ended.append(True)

        thread = threading.Thread(target=block)
        thread.start()
        thread.join()
        assert ended == [True]

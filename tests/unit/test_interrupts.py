"""A Ctrl-C that must not come in between."""

from __future__ import annotations

import gc
import os
import signal
import threading

import pytest

from pytest_rayperf.interrupts import (
    PATIENCE_S,
    UNWINDING_S,
    Interrupts,
    collect_garbage,
    keeping_handlers,
    undisturbed,
)

ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def handlers():
    """Those of Python and of the system, and what there was afterwards."""
    before = {number: signal.getsignal(number) for number in ENDS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield lambda: [signal.getsignal(number) for number in ENDS]
    for number, handler in before.items():
        signal.signal(number, handler)


class TestInterrupts:
    @pytest.fixture
    def now(self):
        return [100.0]

    @pytest.fixture
    def interrupts(self, now):
        made = Interrupts(clock=lambda: now[0])
        made.install()
        yield made
        made.restore()

    @pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
    def test_one_interrupts_and_those_that_follow_at_once_let_it_unwind(self, interrupts, now, number):
        with pytest.raises(KeyboardInterrupt, match=number.name):
            signal.raise_signal(number)
        now[0] += UNWINDING_S - 0.1
        for other in ENDS:
            signal.raise_signal(other)

    def test_what_somebody_has_caught_is_said_again(self, interrupts, now):
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            now[0] += UNWINDING_S

    @pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
    def test_the_clearing_up_is_not_interrupted_unless_it_does_not_end(self, interrupts, now, number):
        interrupts.close()
        signal.raise_signal(number)
        now[0] += PATIENCE_S - 0.1
        signal.raise_signal(number)
        interrupts.close()  # of the session, after that of the interruption
        now[0] += PATIENCE_S - 0.1
        signal.raise_signal(number)
        now[0] += 0.1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)

    # 3.12 warns of threads, which xdist has.
    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_a_forked_child_ends_as_if_there_were_nothing(self, interrupts):
        interrupts.close()
        child = os.fork()
        if not child:
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM

    def test_afterwards_all_is_as_it_was(self, handlers):
        before = handlers()
        made = Interrupts()
        made.install()
        assert all(handler not in before for handler in handlers())
        made.restore()
        assert handlers() == before

    def test_another_s_handler_stays(self, handlers):
        heard = []
        signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
        own = handlers()[1:]
        made = Interrupts()
        made.install()
        assert handlers()[1:] == own
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # somebody's, meanwhile
        made.restore()
        assert handlers() == [signal.SIG_IGN, *own]

    def test_in_another_thread_there_is_nothing_to_install(self, handlers):
        before = handlers()
        thread = threading.Thread(target=Interrupts().install)
        thread.start()
        thread.join()
        assert handlers() == before


class TestUndisturbed:
    def test_what_is_heard_comes_afterwards(self, handlers):
        before, reached = handlers(), []
        with pytest.raises(KeyboardInterrupt):
            self.interrupted(reached)
        assert reached == ["end"]
        assert handlers() == before

    def test_within_another_it_comes_after_that(self):
        reached = []
        with pytest.raises(KeyboardInterrupt):
            self.nested(reached)
        assert reached == ["end", "outer end"]

    def test_what_is_ignored_takes_nothing_with_it(self):
        """`nohup`: of SIGHUP and Ctrl-C the latter comes all the same."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with pytest.raises(KeyboardInterrupt):
            self.interrupted([], signal.SIGHUP, signal.SIGINT)

    def test_nothing_comes_of_nothing(self, handlers):
        before = handlers()
        with undisturbed():
            assert handlers() != before
        assert handlers() == before

    def test_a_block_that_hangs_can_be_ended(self, handlers):
        before, reached = handlers(), []
        with pytest.raises(KeyboardInterrupt, match=r"^SIGTERM$"):
            self.hanging(reached)
        assert reached == ["held back"]
        assert handlers() == before

    @staticmethod
    def hanging(reached):
        now = [100.0]
        with undisturbed(lambda: now[0]):
            now[0] += PATIENCE_S - 1
            signal.raise_signal(signal.SIGINT)
            reached.append("held back")
            now[0] += 1
            signal.raise_signal(signal.SIGTERM)
            reached.append("never")

    @staticmethod
    def interrupted(reached, *numbers):
        with undisturbed():
            for number in numbers or [signal.SIGINT]:
                signal.raise_signal(number)
            reached.append("end")

    def nested(self, reached):
        with undisturbed():
            self.interrupted(reached)
            reached.append("outer end")


class TestKeepingHandlers:
    @pytest.fixture
    def own(self):
        def heard(number, frame):
            raise KeyboardInterrupt

        signal.signal(signal.SIGTERM, heard)
        return heard

    @staticmethod
    def put_in(handler):
        with keeping_handlers():
            signal.signal(signal.SIGTERM, handler)
            signal.raise_signal(signal.SIGTERM)

    def test_what_was_put_in_their_place_is_taken_out(self, handlers, own):
        with keeping_handlers():
            signal.signal(signal.SIGTERM, lambda number, frame: None)
        assert handlers()[1] is own

    @pytest.mark.parametrize("status", [1, 15])
    def test_and_interrupts_where_it_was_heard(self, own, status):
        def leave(number, frame):
            raise SystemExit(status)

        with pytest.raises(KeyboardInterrupt):
            self.put_in(leave)

    def test_another_exit_is_one(self, own):
        def leave(number, frame):
            raise SystemExit("no cluster")

        with pytest.raises(SystemExit, match="no cluster"):
            self.put_in(leave)

    def test_where_the_system_s_was_there_the_block_s_stays(self, handlers):
        def leave(number, frame):
            raise SystemExit(15)

        with pytest.raises(SystemExit):
            self.put_in(leave)
        assert handlers()[1] is leave


class Cycle:
    """Garbage whose end is heard by the callback of a weak reference, where Python drops what is raised."""

    def __init__(self):
        self.itself = self


def heard(callback):
    import weakref

    return weakref.ref(Cycle(), lambda _: callback())


def test_a_ctrl_c_while_garbage_is_collected_comes_afterwards():
    gc.collect()
    seen = []

    def interrupted():
        seen.append("callback")
        signal.raise_signal(signal.SIGINT)
        seen.append("callback's end")

    reference = heard(interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        collect_garbage()
    assert seen == ["callback", "callback's end"]
    assert signal.getsignal(signal.SIGINT) is before
    assert reference() is None


@pytest.mark.parametrize("where", ["main", "other"])
def test_collects(where):
    reference = heard(lambda: None)
    if where == "main":
        collect_garbage()
    else:
        thread = threading.Thread(target=collect_garbage)
        thread.start()
        thread.join()
    assert reference() is None

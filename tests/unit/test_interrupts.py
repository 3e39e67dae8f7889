"""A Ctrl-C that must not come in between."""

from __future__ import annotations

import gc
import signal
import threading

import pytest

from pytest_rayperf.interrupts import (
    PATIENCE_S,
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
    def test_the_first_interrupts_and_those_after_it_wait_for_the_clearing_up(self, interrupts, now, number):
        with pytest.raises(KeyboardInterrupt, match=number.name):
            signal.raise_signal(number)
        for other in ENDS:
            signal.raise_signal(other)
        now[0] += PATIENCE_S - 0.1
        signal.raise_signal(number)

    def test_what_does_not_come_to_its_end_can_be_ended(self, interrupts, now):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        now[0] += PATIENCE_S
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    def test_a_run_that_goes_on_is_interrupted_again(self, interrupts):
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            interrupts.go_on()

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


def test_undisturbed_hears_none_of_them(handlers):
    before = handlers()
    with undisturbed():
        for number in ENDS:
            signal.raise_signal(number)
    assert handlers() == before


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

    def test_and_interrupts_where_it_was_heard(self, own):
        def leave(number, frame):
            raise SystemExit(15)

        with pytest.raises(KeyboardInterrupt):
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

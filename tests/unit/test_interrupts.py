"""A Ctrl-C that must not come in between."""

from __future__ import annotations

import gc
import signal
import threading

import pytest

from pytest_rayperf.interrupts import collect_garbage


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

"""What is heard while a pipeline runs, and that hearing it leaves no trace."""

from __future__ import annotations

import logging
import sys
import types
import warnings

import pytest

from pytest_rayperf.harness.hearing import Said, listening


class Shown(logging.Handler):
    """A handler that was there before, such as Ray's console."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record):
        self.texts.append(record.getMessage())


@pytest.fixture
def loggers():
    """A tree as Ray's: the one below passes nothing on, and has been quietened. With what each shows."""
    names = ["tree", "tree.data", "tree.data.read", "trees"]
    tree = {name: logging.getLogger(name) for name in names}
    shown = {name: Shown() for name in names}
    for name, logger in tree.items():
        logger.addHandler(shown[name])
    tree["tree"].propagate = tree["tree.data"].propagate = False
    tree["tree.data"].setLevel(logging.ERROR)
    yield tree, shown
    for name, logger in tree.items():
        logger.removeHandler(shown[name])
        logger.propagate = True
        logger.setLevel(logging.NOTSET)


def state():
    return {
        name: (logger.level, logger.propagate, list(logger.handlers), [h.filters[:] for h in logger.handlers])
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger)
    }


def test_a_python_warning_is_heard_and_not_raised():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with listening("tree") as said:
            warnings.warn("`x` is deprecated", DeprecationWarning, stacklevel=1)
    assert said == [Said("`x` is deprecated", category=DeprecationWarning)]
    assert str(said[0]) == "DeprecationWarning: `x` is deprecated"


def test_a_python_warning_is_heard_each_time():
    for _ in range(2):
        with listening("tree") as said:
            for _ in range(2):
                warnings.warn("again", UserWarning, stacklevel=1)
        assert len(said) == 2


def test_garbage_that_warns_is_not_heard():
    with listening("tree") as said:
        warnings.warn("unclosed file", ResourceWarning, stacklevel=1)
    assert said == []


@pytest.mark.parametrize("name", ["tree", "tree.data", "tree.data.read", "tree.data.made_while_listening"])
def test_a_log_record_is_heard_once(loggers, name):
    with listening("tree") as said:
        logging.getLogger(name).warning("`%s` is deprecated", "x")
    assert said == [Said("`x` is deprecated", logger=name, level="WARNING")]
    assert str(said[0]) == f"WARNING of {name}: `x` is deprecated"


def test_errors_are_heard_and_what_is_below_a_warning_is_not(loggers):
    tree, _ = loggers
    tree["tree"].setLevel(logging.DEBUG)
    with listening("tree") as said:
        tree["tree"].info("information")
        tree["tree.data"].info("information")
        tree["tree.data"].error("an error")
    assert [one.level for one in said] == ["ERROR"]


def test_other_loggers_are_not_heard(loggers):
    tree, _ = loggers
    with listening("tree") as said:
        tree["trees"].warning("another's")
    assert said == []


def test_what_was_not_shown_before_is_not_shown_now(loggers):
    tree, shown = loggers
    with listening("tree"):
        tree["tree"].warning("shown")
        tree["tree.data"].warning("quietened")
        tree["tree.data.read"].warning("quietened by its parent")
        tree["tree.data.read"].error("an error")
    assert {name: handler.texts for name, handler in shown.items()} == {
        "tree": ["shown"],
        "tree.data": ["an error"],
        "tree.data.read": ["an error"],
        "trees": [],
    }


def test_a_loggers_own_level_stays_stronger_than_its_parents(loggers):
    tree, shown = loggers
    tree["tree.data.read"].setLevel(logging.INFO)
    with listening("tree") as said:
        tree["tree.data.read"].warning("loud")
    assert [one.text for one in said] == ["loud"]
    assert shown["tree.data.read"].texts == ["loud"]


def test_a_root_that_is_quieter_than_warnings_is_overheard(loggers):
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        with listening("tree") as said:
            logging.getLogger("tree").warning("said")
    finally:
        logging.root.setLevel(level)
    assert [one.text for one in said] == ["said"]
    assert loggers[1]["tree"].texts == []


def test_everything_is_as_before_afterwards(loggers):
    tree, shown = loggers
    before = state(), warnings.filters[:], warnings.showwarning
    heard = []

    def fails():
        with listening("tree") as said:
            heard.append(said)
            tree["tree.data"].warning("said before the error")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    (said,) = heard
    assert [one.text for one in said] == ["said before the error"]
    assert (state(), warnings.filters, warnings.showwarning) == before
    tree["tree.data"].warning("quietened")
    assert shown["tree.data"].texts == []
    assert len(said) == 1


def test_what_ray_says_once_is_said_again(monkeypatch):
    logged = {"already said"}
    debug = types.ModuleType("ray.util.debug")
    debug.reset_log_once = logged.clear
    monkeypatch.setitem(sys.modules, "ray.util.debug", debug)
    with listening():
        assert logged == set()


def test_a_long_text_is_shown_in_one_short_line():
    assert str(Said("word\n" * 100, category=UserWarning)).endswith("word word ...")
    assert len(str(Said("word " * 100, category=UserWarning))) < 180


@pytest.mark.parametrize(
    ("logger", "expected"),
    [
        ("ray.data._internal.execution.resource_manager", True),
        ("ray.data._internal.execution", True),
        ("ray.data._internal.executions", False),
        ("ray.data._internal.progress.progress_manager", True),
        ("ray.data.read_api", False),
        (None, False),
    ],
)
def test_what_is_said_of_the_machine_is_told_from_what_is_said_of_the_call(logger, expected):
    assert Said("text", logger=logger, category=None if logger else UserWarning).of_the_run is expected


def test_a_busy_machine_is_told_by_its_text_where_its_logger_speaks_of_calls_too():
    text = "Warning: The Ray cluster currently does not have any available CPUs. The Dataset job will hang"
    assert Said(text, logger="ray.data.dataset").of_the_run

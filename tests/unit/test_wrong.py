"""What makes a measurement wrong, in words."""

from __future__ import annotations

import pytest
from builders import make_round, make_rounds

from pytest_rayperf.errors import WorkersLostError
from pytest_rayperf.measurement import Samples
from pytest_rayperf.wrong import out_of_memory, outputs_wrong, row_difference, unfinished

SIDES = {"a": "the one", "b": "the other"}


def caused(error, cause):
    error.__cause__ = cause
    return error


def of_type(name, base=Exception):
    return type(name, (base,), {})


class RayTaskError(Exception):
    pass


UDF = """\x1b[36mray::MapWorker(MapBatches(Classify)).submit()\x1b[39m (pid=7, ip=127.0.0.1)
    result = model(batch)
{}

The above exception was the direct cause of the following exception:

ray.exceptions.UserCodeException: UDF failed to process a data block."""


class TestUnfinished:
    def test_what_the_pipeline_raised(self):
        verdict = unfinished([], ValueError("no such column"))
        assert verdict.reason == "invalid: the pipeline raised ValueError: no such column"

    def test_what_we_raised_is_not_the_pipeline_s(self):
        verdict = unfinished([], WorkersLostError("a worker died; in 4 rounds of fix"))
        assert (verdict.status, verdict.reason) == ("invalid", "invalid: a worker died; in 4 rounds of fix")


class TestOutOfMemory:
    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            of_type("_ArrayMemoryError", MemoryError)("Unable to allocate 7 GiB"),
            of_type("OutOfMemoryError", RuntimeError)("the allocator has no more"),
            of_type("ObjectStoreFullError")("Failed to put object"),
            of_type("OutOfDiskError")("Local disk is full"),
            type("RayTaskError(MemoryError)", (RayTaskError, MemoryError), {})("in a worker"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_by_its_type(self, error):
        assert out_of_memory(error)

    @pytest.mark.parametrize(
        "cause", [MemoryError(), of_type("OutOfMemoryError")("a node"), OSError("out of memory")]
    )
    def test_by_its_cause(self, cause):
        assert out_of_memory(caused(RuntimeError("broke"), cause))
        assert out_of_memory(caused(RuntimeError("broke"), caused(ValueError("inside"), cause)))

    @pytest.mark.parametrize(
        "text",
        [
            "CUDA out of memory. Tried to allocate 20.00 MiB",
            "Out of memory",
            UDF.format("torch.OutOfMemoryError: CUDA: tried to allocate 2 GiB"),
            UDF.format("MemoryError: Unable to allocate 7 GiB"),
            UDF.format("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7 GiB"),
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to "
            "allocate 8 bytes",
            "ray.exceptions.ObjectStoreFullError: Failed to put object ff in object store",
            "ray.exceptions.OutOfDiskError: Local disk is full",
            "1 worker(s) were killed due to the node running low on memory. Refer to the documentation on "
            "how to address the out of memory issue",
        ],
        ids=range(9),
    )
    def test_by_its_text(self, text):
        assert out_of_memory(RayTaskError(text))

    @pytest.mark.parametrize(
        "error",
        [
            ValueError("batch_size must be above 0"),
            RuntimeError("Given groups=1, expected memory_format channels_last"),
            KeyboardInterrupt(),
            caused(RuntimeError("broke"), ValueError("inside")),
            RayTaskError(UDF.format("ZeroDivisionError: on purpose")),
            # Ray's guesses at why a worker died, which it always lists.
            RayTaskError(
                "the worker died: (1) the process was killed by the OOM killer due to high memory usage"
            ),
            OSError("No space left on device"),
        ],
        ids=range(7),
    )
    def test_any_other_error_is_not(self, error):
        assert not out_of_memory(error)

    def test_errors_that_cause_each_other_end(self):
        one, other = ValueError("one"), ValueError("other")
        one.__cause__, other.__cause__ = other, one
        assert not out_of_memory(one)


class TestRowDifference:
    def test_sides_are_named(self):
        samples = Samples({"a": [make_round(rows=3), make_round(rows=2)], "b": [make_round(rows=3)]})
        assert row_difference(samples, SIDES) == "rows [2, 3] in the one, [3] in the other"

    @pytest.mark.parametrize("rounds", [{}, {"a": []}, {"a": [], "b": []}, {"a": [make_round()]}])
    def test_nothing_differs(self, rounds):
        assert row_difference(Samples(rounds), SIDES) is None


class TestOutputsWrong:
    @pytest.mark.parametrize("rounds", [(), make_rounds()])
    def test_a_difference_comes_first(self, rounds):
        text = outputs_wrong("1 row in x, 2 in y", rounds, 7)
        assert text == "invalid: the variants compute different outputs: 1 row in x, 2 in y"

    @pytest.mark.parametrize("expected", [None, 64])
    def test_nothing(self, expected):
        assert outputs_wrong(None, make_rounds(), expected) is None

    def test_rows_that_were_not_expected(self):
        assert outputs_wrong(None, make_rounds(), 65).startswith("invalid: 64 rows, expected 65")

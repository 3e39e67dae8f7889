"""What Ray Data's writers wrote in a round, on a Dataset that is none."""

from __future__ import annotations

import os
import shutil
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from pytest_rayperf.monitors.writes import WriteMonitor

BEGAN = 1_700_000_000 * 10**9


SINKS = "ray.data.datasource.file_datasink"


class FileSink:
    """What Ray Data tells once a write is complete goes here."""

    told = 0

    def on_write_complete(self, write_result):
        self.told += 1


class Retrying:
    """Stands around a file system, as Ray's own does."""

    def __init__(self, files):
        self._files = files

    def unwrap(self):
        return self._files


@pytest.fixture
def dataset_type(monkeypatch):
    class Dataset:
        def write_datasink(self, datasink, *, concurrency=None):
            """Write."""
            datasink.write()
            return concurrency

    modules = {name: ModuleType(name) for name in ("ray", "ray.data", "ray.data.datasource", SINKS)}
    modules["ray.data"].Dataset = Dataset
    modules[SINKS]._FileDatasink = FileSink
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return Dataset


@pytest.fixture
def sink(tmp_path):
    """Makes a sink that writes files of these sizes, at `seconds` since the monitor was opened."""

    def make(folder="out", seconds=0.0, files=None, **sizes):
        place = tmp_path / folder

        def write():
            for name, size in sizes.items():
                file = place / name.replace("_", "/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(b"x" * size)
                stamp = BEGAN + round(seconds * 1e9)
                os.utime(file, ns=(stamp, stamp))

        return SimpleNamespace(
            path=str(place), filesystem=files or Retrying(LocalFileSystem()), write=write, place=place
        )

    return make


def monitor(one_machine=True):
    return WriteMonitor(one_machine, lambda: BEGAN)


def test_files_and_their_bytes(dataset_type, sink):
    with monitor() as m:
        assert dataset_type().write_datasink(sink(a=3, b=4), concurrency=2) == 2
    assert m.written() == {"bytes_written": 7, "files_written": 2}


def test_partitions_are_folders_in_it(dataset_type, sink):
    with monitor() as m:
        dataset_type().write_datasink(sink(k1_a=3, k2_deep_b=4))
    assert m.written() == {"bytes_written": 7, "files_written": 2}


def test_what_was_there_before_is_not_the_block_s(dataset_type, sink):
    sink(seconds=-1, old=100, again=100).write()
    with monitor() as m:
        dataset_type().write_datasink(sink(again=3, new=0))
    assert m.written() == {"bytes_written": 3, "files_written": 2}


def test_several_writes_add_up_and_one_folder_counts_once(dataset_type, sink):
    with monitor() as m:
        dataset_type().write_datasink(sink(a=1))
        dataset_type().write_datasink(sink(b=2))
        dataset_type().write_datasink(sink("other", a=4))
    assert m.written() == {"bytes_written": 7, "files_written": 3}


@pytest.mark.parametrize(
    "odd",
    [
        lambda sink: SimpleNamespace(write=lambda: None),
        lambda sink: SimpleNamespace(write=lambda: None, path=None, filesystem=LocalFileSystem()),
        lambda sink: sink(files=SubTreeFileSystem("/", LocalFileSystem()), a=3),
        lambda sink: sink(seconds=-1, a=3),
        lambda sink: sink(),
    ],
    ids=["no files", "no folder", "elsewhere", "nothing written", "not there"],
)
def test_what_cannot_be_seen_is_not_told_in_part(dataset_type, sink, odd):
    with monitor() as m:
        dataset_type().write_datasink(sink("seen", a=3))
        dataset_type().write_datasink(odd(sink))
    assert m.written() == {}


def test_a_sink_that_is_given_by_its_name(dataset_type, sink):
    with monitor() as m:
        assert dataset_type().write_datasink(concurrency=2, datasink=sink(a=3)) == 2
        with pytest.raises(TypeError, match="datasink"):
            dataset_type().write_datasink()
    assert m.written() == {"bytes_written": 3, "files_written": 1}


def test_a_folder_that_is_removed_meanwhile_is_passed_over(dataset_type, sink, monkeypatch):
    written = sink(a=3, gone_b=4)
    with monitor() as m:
        dataset_type().write_datasink(written)

    def walk(folder):
        for place, folders, names in real_walk(folder):
            if names == ["b"]:
                shutil.rmtree(place)
            yield place, folders, names

    real_walk = os.walk
    monkeypatch.setattr(os, "walk", walk)
    assert m.written() == {"bytes_written": 3, "files_written": 1}


def test_nothing_written_is_nothing_known(dataset_type):
    with monitor() as m:
        pass
    assert m.written() == {}


def test_of_several_machines_a_folder_holds_a_part(dataset_type, sink):
    with monitor(one_machine=False) as m:
        dataset_type().write_datasink(sink(a=3))
    assert m.written() == {}


def test_each_block_begins_anew(dataset_type, sink):
    m = monitor()
    with m:
        dataset_type().write_datasink(sink(a=3))
    with m:
        dataset_type().write_datasink(sink("other", a=4))
    assert m.written() == {"bytes_written": 4, "files_written": 1}


def test_a_link_that_leads_nowhere_is_passed_over(dataset_type, sink):
    written = sink(a=3)
    with monitor() as m:
        dataset_type().write_datasink(written)
    (written.place / "link").symlink_to(written.place / "nowhere")
    assert m.written() == {"bytes_written": 3, "files_written": 1}


def test_the_method_is_as_it_was_and_looks_the_same(dataset_type, sink):
    original = dataset_type.__dict__["write_datasink"]
    with monitor():
        assert dataset_type.write_datasink.__doc__ == "Write."
    assert dataset_type.__dict__["write_datasink"] is original
    with pytest.raises(ZeroDivisionError), monitor():
        raise ZeroDivisionError
    assert dataset_type.__dict__["write_datasink"] is original


def test_who_replaced_it_meanwhile_stays(dataset_type, sink):
    def theirs(self, datasink):
        """Another's."""

    with monitor():
        dataset_type.write_datasink = theirs
    assert dataset_type.__dict__["write_datasink"] is theirs


def test_rows_are_what_each_write_was_told_once_it_was_complete(dataset_type):
    original, one = FileSink.__dict__["on_write_complete"], FileSink()
    m = monitor()
    with m:
        one.on_write_complete(SimpleNamespace(num_rows=np.int64(12)))
        one.on_write_complete(SimpleNamespace(num_rows=3))
    assert m.rows == [12, 3]
    assert one.told == 2
    assert FileSink.__dict__["on_write_complete"] is original
    with m:
        pass
    assert m.rows == []


@pytest.mark.parametrize("gone", ["the module", "the class", "the method"])
def test_a_ray_that_has_its_writes_elsewhere_is_said_and_breaks_no_round(
    dataset_type, sink, monkeypatch, gone
):
    if gone == "the module":
        monkeypatch.setitem(sys.modules, SINKS, None)
    elif gone == "the class":
        monkeypatch.delattr(sys.modules[SINKS], "_FileDatasink")
    else:
        monkeypatch.delattr(FileSink, "on_write_complete")
    original = dataset_type.__dict__["write_datasink"]
    with monitor() as m:
        assert dataset_type.__dict__["write_datasink"] is original
        dataset_type().write_datasink(sink(a=3))
    assert "this Ray's writes are not where they were" in m.problem
    assert (m.written(), m.rows) == ({}, [])


def test_a_result_that_tells_no_rows(dataset_type):
    with monitor() as m:
        FileSink().on_write_complete(SimpleNamespace())
    assert (m.rows, m.problem) == ([], None)

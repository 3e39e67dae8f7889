"""Counting without Ray: what is written to a process's file, and what is read of a folder of them."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pytest_rayperf import counters, tally
from pytest_rayperf.counters import Sink


class Folder:
    """Reads a folder on and on, as the tally does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offsets: dict[str, int] = {}

    def read(self) -> dict[str, int]:
        sums, lines, self.offsets, self.lost = tally._reader()(str(self.path), self.offsets)
        self.records = [json.loads(line) for line in lines]
        return sums


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "counts")


@pytest.fixture
def sink(folder):
    return Sink(folder.path / "process")


class TestRead:
    def test_no_folder_is_nothing_counted(self, folder):
        assert (folder.read(), folder.offsets, folder.lost) == ({}, {}, [])

    def test_sums_by_name_over_processes(self, folder, sink):
        other = Sink(folder.path / "other")
        for amount in (1, 2, 1):
            sink.append("calls", amount)
            other.append("loads", 10 * amount)
        other.append("calls", 5)
        assert (folder.read(), folder.lost) == ({"calls": 9, "loads": 40}, [])

    def test_each_count_once(self, folder, sink):
        sink.append("calls", 3)
        assert folder.read() == {"calls": 3}
        assert folder.read() == {}
        sink.append("calls", 1)
        Sink(folder.path / "late").append("loads", 1)
        assert folder.read() == {"calls": 1, "loads": 1}

    @pytest.mark.parametrize("name", ["two words", "tab\tand\rreturn", "Zähler", "", " ", "1 2", "\u2028"])
    def test_any_name_but_with_a_line_break(self, folder, sink, name):
        sink.append(name, 2)
        sink.append(name, 1)
        assert folder.read() == {name: 3}

    def test_a_count_that_was_cut_off_is_told_once(self, folder, sink):
        sink.append("calls", 1)
        with (folder.path / "process").open("ab") as file:
            file.write(b"1 cal")
        assert folder.read() == {"calls": 1}
        assert folder.lost == [f"the last count in {folder.path / 'process'} was cut off"]
        assert (folder.read(), folder.lost) == ({}, [])

    def test_a_count_that_is_being_written_is_waited_for(self, folder, sink, monkeypatch):
        path = folder.path / "process"
        path.write_bytes(b"1 cal")

        def write_the_rest(_):
            with path.open("ab") as file:
                file.write(b"ls\n")

        monkeypatch.setattr("time.sleep", write_the_rest)
        assert (folder.read(), folder.lost) == ({"calls": 1}, [])

    def test_a_file_that_was_removed_is_told(self, folder, sink):
        sink.append("calls", 1)
        folder.read()
        (folder.path / "process").unlink()
        assert (folder.read(), folder.lost) == ({}, [f"{folder.path}/process was removed"])

    def test_what_nobody_of_ours_wrote_is_an_error(self, folder, sink):
        (folder.path / "process").write_text("calls 1\n")
        with pytest.raises(ValueError, match="calls"):
            folder.read()


class TestRecords:
    def test_each_by_itself_beside_counts(self, folder, sink):
        sink.append("calls", 1)
        for fields in (("Classifier", 2, None, False), ("Classifier", 2, None, False), ()):
            sink.append_record("call", fields)
        sink.append("calls", 1)
        assert folder.read() == {"calls": 2}
        assert folder.records == [["call", "Classifier", 2, None, False]] * 2 + [["call"]]
        assert (folder.read(), folder.records) == ({}, [])

    @pytest.mark.parametrize("text", ["two\nlines", "\u2028", '"quoted" \\', "[", ""])
    def test_any_text(self, folder, sink, text):
        sink.append_record(text, (text,))
        assert (folder.read(), folder.records) == ({}, [[text, text]])

    def test_a_counter_may_be_named_like_one(self, folder, sink):
        sink.append('["call"]', 3)
        assert (folder.read(), folder.records) == ({'["call"]': 3}, [])

    @pytest.mark.parametrize(("field", "error"), [(object(), TypeError), (float("nan"), ValueError)])
    def test_refuses_what_json_has_no_form_for(self, folder, sink, field, error):
        with pytest.raises(error):
            sink.append_record("call", (field,))
        assert (folder.read(), folder.records) == ({}, [])

    def test_one_that_was_cut_off_is_lost_and_told(self, folder, sink):
        sink.append_record("call", (1,))
        with (folder.path / "process").open("ab") as file:
            file.write(b'["cal')
        folder.read()
        assert folder.records == [["call", 1]]
        assert len(folder.lost) == 1

    def test_by_kind(self):
        taken = tally.Taken({}, (("call", "a", 1), ("stack", 2), ("call", "b", 3)))
        assert taken.of("call") == [("a", 1), ("b", 3)]
        assert taken.of("nothing") == []


class TestSink:
    def test_another_user_can_count_in_the_folder(self, folder, sink):
        assert folder.path.stat().st_mode & 0o777 == 0o777

    def test_threads_count_at_once(self, folder, sink):
        def count():
            for _ in range(500):
                sink.append("calls", 1)

        threads = [threading.Thread(target=count) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert folder.read() == {"calls": 4000}

    def test_survives_a_killed_process(self, folder):
        script = """if True:
            import os, signal, sys
            from pathlib import Path
            from pytest_rayperf.counters import Sink

            Sink(Path(sys.argv[1])).append("calls", 7)
            os.kill(os.getpid(), signal.SIGKILL)
        """
        done = subprocess.run([sys.executable, "-c", script, str(folder.path / "process")], timeout=60)
        assert done.returncode == -9
        assert folder.read() == {"calls": 7}

    @pytest.mark.parametrize("amount", [0, 2, True, -1])
    def test_whole_numbers(self, folder, sink, amount):
        sink.append("calls", amount)
        assert folder.read() == {"calls": int(amount)}

    def test_whole_numbers_of_numpy(self, folder, sink):
        numpy = pytest.importorskip("numpy")
        sink.append("rows", numpy.int64(3))
        assert folder.read() == {"rows": 3}

    @pytest.mark.parametrize(("name", "amount"), [("calls", 1.0), ("calls", "1"), ("two\nlines", 1)])
    def test_refuses_what_could_not_be_read(self, folder, sink, name, amount):
        with pytest.raises(ValueError, match=r"code 'd'|line break"):
            sink.append(name, amount)
        assert folder.read() == {}


class TestCannotWrite:
    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
    def test_disk_full(self, monkeypatch):
        monkeypatch.setattr(counters, "make_folder", lambda folder: None)  # not that of /dev
        sink = Sink(Path("/dev/full"))
        for _ in range(2):
            with pytest.raises(OSError, match="this round's counts are wrong: No space left") as raised:
                sink.append("calls", 1)
            assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, "/dev/full")

    def test_disk_full_in_the_middle_of_a_line(self, folder, sink, monkeypatch):
        sink.append("calls", 1)
        write = os.write
        with monkeypatch.context() as full:
            full.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:4]))
            with pytest.raises(OSError, match="No space left"):
                sink.append("loads", 1)
        with pytest.raises(OSError, match="an earlier line was cut off"):  # or it would end that line
            sink.append("calls", 1)
        assert folder.read() == {"calls": 1}
        assert len(folder.lost) == 1

    def test_no_folder(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(OSError, match=str(tmp_path)):
            Sink(tmp_path / "file" / "process")


@pytest.mark.parametrize("imports", ["pass", "import ray"])
def test_outside_ray_it_does_nothing(imports):
    script = f"""if True:
        import sys
        {imports}
        from pytest_rayperf import count

        count("calls")
        assert ("ray" in sys.modules) == ({imports!r} != "pass")
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

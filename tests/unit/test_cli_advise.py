from __future__ import annotations

import json
import sys
import types
from types import SimpleNamespace

import pytest
from builders import make_benchmark, make_round, make_run

from pytest_rayperf import cluster
from pytest_rayperf.advising.advice import Situation
from pytest_rayperf.cli import main
from pytest_rayperf.commands import advise
from pytest_rayperf.commands.advise import DECODED_ROW, Subject
from pytest_rayperf.commands.outcome import INTERRUPTED, USAGE_ERROR
from pytest_rayperf.data import sources
from pytest_rayperf.data.sources import ImageSource
from pytest_rayperf.errors import ConfigurationError
from pytest_rayperf.models import classifier
from pytest_rayperf.reports import json as json_report

GIB = 1024**3
SITUATION = Situation(
    cpus=2, object_store_bytes=6 * GIB, memory_bytes=15 * GIB, rows=8, row_bytes=DECODED_ROW
)
DEFAULTS = Subject(None, None, None, None, None)


class Survey:
    """Stands in for the look at a real cluster; remembers what was asked for."""

    def __init__(self, error: BaseException | None = None):
        self.asked: list[Subject] = []
        self.error = error

    def __call__(self, subject: Subject) -> Situation:
        self.asked.append(subject)
        if self.error:
            raise self.error
        return SITUATION


@pytest.fixture
def survey():
    return Survey()


@pytest.fixture
def run_file(tmp_path):
    path = tmp_path / "run.json"
    rounds = [make_round(counters={"model_loads": 16})]
    path.write_text(json_report.render(json_report.report_on(make_run([make_benchmark(rounds=rounds)]))))
    return path


@pytest.fixture(autouse=True)
def _columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")  # not those of the terminal that the tests run in


class TestAdvise:
    def test_prints_the_advice(self, survey, capsys):
        assert main(["advise"], survey) == 0
        out, err = capsys.readouterr()
        assert survey.asked == [DEFAULTS]
        for setting in ("override_num_blocks", "target_max_block_size", "compute", "num_cpus", "batch_size"):
            assert f"\n{setting} " in out
        assert "\nsources of the rules:\n1. " in out
        assert err == ""

    def test_hands_on_what_was_asked_for(self, survey):
        main(
            ["advise", "--address", "h:1", "--data", "d", "--images", "5", "--model", "m", "--weights", "w"],
            survey,
        )
        assert survey.asked == [Subject("h:1", "d", 5, "m", "w")]

    def test_json(self, survey, capsys):
        assert main(["advise", "--format", "json"], survey) == 0
        data = json.loads(capsys.readouterr().out)
        assert data["situation"]["object_store_bytes"] == 6 * GIB
        assert data["symptoms"] is None

    def test_markdown(self, survey, capsys):
        assert main(["advise", "--format", "markdown"], survey) == 0
        assert "| override_num_blocks" in capsys.readouterr().out

    def test_an_error_names_this_programs_options(self, capsys):
        error = ConfigurationError("--rayperf-data nowhere: there is no such folder; name an existing one")
        assert main(["advise", "--data", "nowhere"], Survey(error)) == USAGE_ERROR
        out, err = capsys.readouterr()
        assert out == ""
        assert err == "rayperf: error: --data nowhere: there is no such folder; name an existing one\n"

    def test_a_cluster_without_cpus_is_an_error(self, capsys):
        empty = Situation(cpus=0, object_store_bytes=GIB, memory_bytes=GIB, rows=8)
        assert main(["advise"], lambda subject: empty) == USAGE_ERROR
        assert "no CPU for Ray to schedule" in capsys.readouterr().err

    def test_ctrl_c(self, capsys):
        assert main(["advise"], Survey(KeyboardInterrupt())) == INTERRUPTED
        assert capsys.readouterr() == ("", "rayperf: interrupted\n")


class TestRun:
    def test_alone_starts_no_ray_and_advises_on_what_the_run_names(self, run_file, survey, capsys):
        assert main(["advise", "--run", str(run_file)], survey) == 0
        out = capsys.readouterr().out
        assert survey.asked == []
        assert "as Ray divides memory by default" in out
        assert "data: 64 rows" in out
        assert "override_num_blocks" in out
        assert "16 model loads" in out

    def test_with_a_subject_advises_on_that(self, run_file, survey, capsys):
        assert main(["advise", "--run", str(run_file), "--images", "8"], survey) == 0
        out = capsys.readouterr().out
        assert len(survey.asked) == 1
        assert "data: 8 rows" in out
        assert "16 model loads" in out

    def test_of_no_images_gives_symptoms_alone(self, tmp_path, survey, capsys):
        path = tmp_path / "run.json"
        data = dict.fromkeys(("name", "fingerprint", "images", "bytes"))
        path.write_text(json_report.render(json_report.report_on(make_run([make_benchmark()], data=data))))
        assert main(["advise", "--run", str(path)], survey) == 0
        out = capsys.readouterr().out
        assert "override_num_blocks" not in out
        assert "not measured" in out

    def test_a_file_that_is_no_report_costs_no_start_of_ray(self, tmp_path, survey, capsys):
        path = tmp_path / "run.json"
        path.write_text('{"schema_version": 1, "benchm')
        assert main(["advise", "--run", str(path), "--images", "8"], survey) == USAGE_ERROR
        assert capsys.readouterr().err.startswith(f"rayperf: error: {path}: is truncated, or no JSON")
        assert survey.asked == []


@pytest.fixture
def parts(monkeypatch, tmp_path):
    """The data, model and cluster that `survey_cluster` opens; `log` has what it did."""
    checkpoint = tmp_path / "model.pth"
    checkpoint.write_bytes(b"x" * 1000)
    log: list[object] = []
    made = SimpleNamespace(
        log=log,
        images=ImageSource("three", ("x", "y", "z"), 300, "0123456789abcdef"),
        classifier=SimpleNamespace(checkpoint=str(checkpoint)),
        cluster=SimpleNamespace(
            num_cpus=4, num_gpus=0, resources={"CPU": 4.0, "object_store_memory": 3.5e9, "memory": 8e9}
        ),
    )

    def open_source(*arguments):
        log.append(("data", *arguments))
        return made.images

    def open_classifier(*arguments):
        log.append(("model", *arguments))
        return made.classifier

    def open_cluster(address):
        log.append(("open", address))
        return made.cluster

    monkeypatch.setattr(sources, "open_source", open_source)
    monkeypatch.setattr(classifier, "open_classifier", open_classifier)
    monkeypatch.setattr(cluster, "open_cluster", open_cluster)
    monkeypatch.setattr(cluster, "close_cluster", lambda it: log.append("close"))
    return made


class TestSurvey:
    def test_notes_sizes_and_closes_the_cluster(self, parts):
        assert advise.survey_cluster(DEFAULTS) == Situation(
            cpus=4,
            object_store_bytes=3_500_000_000,
            memory_bytes=8_000_000_000,
            rows=3,
            disk_bytes=300,
            row_bytes=DECODED_ROW,
            model_bytes=1000,
        )
        assert parts.log == [
            ("data", "synthetic", None, 64),
            ("model", "mobilenet_v3_small", "random"),
            ("open", None),
            "close",
        ]

    def test_opens_what_was_asked_for(self, parts):
        advise.survey_cluster(Subject("h:1", "d", 5, "m", "w"))
        assert parts.log == [("data", "d", 5, 64), ("model", "m", "w"), ("open", "h:1"), "close"]

    def test_closes_the_cluster_whatever_happens(self, parts):
        parts.classifier.checkpoint = "gone"
        with pytest.raises(FileNotFoundError):
            advise.survey_cluster(DEFAULTS)
        assert parts.log[-1] == "close"

    def test_asks_for_the_gpus_memory_where_there_are_any(self, parts, monkeypatch):
        monkeypatch.setattr(advise, "smallest_gpu", lambda: 80)
        assert advise.survey_cluster(DEFAULTS).gpu_memory_bytes is None
        parts.cluster.num_gpus = 2
        assert advise.survey_cluster(DEFAULTS).gpu_memory_bytes == 80


class TestSmallestGpu:
    class Nvml(types.ModuleType):
        class NVMLError(Exception):
            pass

        def __init__(self, *totals: int, broken: bool = False):
            super().__init__("pynvml")
            self.totals, self.broken, self.open = totals, broken, 0

        def nvmlInit(self):
            if self.broken:
                raise self.NVMLError("Driver Not Loaded")
            self.open += 1

        def nvmlShutdown(self):
            self.open -= 1

        def nvmlDeviceGetCount(self):
            return len(self.totals)

        def nvmlDeviceGetHandleByIndex(self, index):
            return index

        def nvmlDeviceGetMemoryInfo(self, card):
            if self.totals[card] < 0:
                raise self.NVMLError("GPU is lost")
            return SimpleNamespace(total=self.totals[card])

    @pytest.mark.parametrize(
        ("nvml", "smallest"),
        [(Nvml(80, 24), 24), (Nvml(), None), (Nvml(80, -1), None), (Nvml(broken=True), None)],
        ids=["two", "none", "lost", "no driver"],
    )
    def test_of(self, monkeypatch, nvml, smallest):
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        assert advise.smallest_gpu() == smallest
        assert nvml.open == 0


def test_a_decoded_row_is_what_the_images_are_read_as(monkeypatch):
    asked = {}
    data = types.ModuleType("ray.data")
    data.read_images = lambda paths, **arguments: asked.update(arguments)
    ray = types.ModuleType("ray")
    ray.data = data
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", data)
    ImageSource("one", ("x",), 1, "0123456789abcdef").read()
    height, width = asked["size"]
    assert asked["mode"] == "RGB"
    assert height * width * 3 == DECODED_ROW

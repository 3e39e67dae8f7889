from __future__ import annotations

import json
import sys
import types
from types import SimpleNamespace

import pytest
from builders import make_benchmark, make_round, make_run

from pytest_rayperf import cli, cluster
from pytest_rayperf.advice import Situation
from pytest_rayperf.cli import DECODED_ROW, INTERRUPTED, USAGE_ERROR, Subject, main
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

    BAD = {  # noqa: RUF012 - not changed
        "": "is truncated, or no JSON",
        '{"schema_version": 1, "benchm': "is truncated, or no JSON",
        "[]": "has no schema_version",
        "{}": "has no schema_version",
        '{"schema_version": true}': "has no schema_version",
        '{"schema_version": 2}': "schema_version 2 is newer than what this pytest-rayperf reads, 1; upgrade",
        '{"schema_version": 1}': "benchmarks is missing, or not a list",
        '{"schema_version": 1, "benchmarks": [], "environment": []}': "environment is not an object",
        '{"schema_version": 1, "benchmarks": [], "environment": {"cores": "2"}}': "environment.cores is not",
        '{"schema_version": 1, "benchmarks": [], "data": {"images": -1}}': "data.images is not a whole",
        '{"schema_version": 1, "benchmarks": [{}]}': "benchmarks[0] has no id",
        '{"schema_version": 1, "benchmarks": [{"id": "a", "counters": {"x": "1"}}]}': "counters.x is not",
        '{"schema_version": 1, "benchmarks": [{"id": "a", "metrics": [1]}]}': "metrics is not an object",
        '{"schema_version": 1, "benchmarks": [{"id": "a", "metrics": {"x": 1}}]}': "metrics.x.median is not",
        '{"schema_version": 1, "benchmarks": [{"id": "a", "operators": {}}]}': "operators is not a list",
        '{"schema_version": 1, "benchmarks": [{"id": "a", "operators": [{}]}]}': "operators[0] has no name",
        '{"schema_version": 1, "benchmarks": [{"id": "a", "operators": [{"name": "b", "rows": "c"}]}]}': (
            "operators[0].rows is not a number"
        ),
    }

    @pytest.mark.parametrize("text", BAD)
    def test_a_file_that_is_no_report(self, tmp_path, survey, capsys, text):
        path = tmp_path / "run.json"
        path.write_text(text)
        assert main(["advise", "--run", str(path), "--images", "8"], survey) == USAGE_ERROR
        err = capsys.readouterr().err
        assert err.startswith(f"rayperf: error: {path}: ")
        assert self.BAD[text] in err
        assert survey.asked == []  # before Ray is started

    def test_a_missing_file(self, tmp_path, capsys):
        assert main(["advise", "--run", str(tmp_path / "none.json")], Survey()) == USAGE_ERROR
        err = capsys.readouterr().err
        assert "none.json: cannot be read: No such file" in err
        assert err.endswith("make one with: pytest --rayperf --rayperf-json RUN.json\n")

    def test_a_folder(self, tmp_path, capsys):
        assert main(["advise", "--run", str(tmp_path)], Survey()) == USAGE_ERROR
        assert "cannot be read: Is a directory" in capsys.readouterr().err

    def test_no_text(self, tmp_path, capsys):
        (tmp_path / "run.json").write_bytes(b"\xff\xfe\x00")
        assert main(["advise", "--run", str(tmp_path / "run.json")], Survey()) == USAGE_ERROR
        assert "no text" in capsys.readouterr().err


class TestArguments:
    @pytest.mark.parametrize(
        "arguments",
        [[], ["nonsense"], ["advise", "--images", "x"], ["advise", "--format", "pdf"], ["advise", "-x"]],
    )
    def test_bad_ones_are_usage_errors(self, arguments, survey, capsys):
        with pytest.raises(SystemExit) as stopped:
            main(arguments, survey)
        assert stopped.value.code == USAGE_ERROR
        assert "usage: rayperf" in capsys.readouterr().err
        assert survey.asked == []

    def test_help_shows_examples(self, capsys):
        with pytest.raises(SystemExit) as stopped:
            main(["advise", "--help"])
        assert stopped.value.code == 0
        assert "rayperf advise --run rayperf.json" in capsys.readouterr().out

    def test_version(self, capsys):
        with pytest.raises(SystemExit):
            main(["--version"])
        assert capsys.readouterr().out.startswith("rayperf ")


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
    monkeypatch.setattr(cluster, "offer_token", lambda: log.append("token"))
    return made


class TestSurvey:
    def test_notes_sizes_and_closes_the_cluster(self, parts):
        assert cli.survey_cluster(DEFAULTS) == Situation(
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

    def test_opens_what_was_asked_for_with_the_users_token(self, parts):
        cli.survey_cluster(Subject("h:1", "d", 5, "m", "w"))
        assert parts.log == ["token", ("data", "d", 5, 64), ("model", "m", "w"), ("open", "h:1"), "close"]

    def test_closes_the_cluster_whatever_happens(self, parts):
        parts.classifier.checkpoint = "gone"
        with pytest.raises(FileNotFoundError):
            cli.survey_cluster(DEFAULTS)
        assert parts.log[-1] == "close"

    def test_asks_for_the_gpus_memory_where_there_are_any(self, parts, monkeypatch):
        monkeypatch.setattr(cli, "smallest_gpu", lambda: 80)
        assert cli.survey_cluster(DEFAULTS).gpu_memory_bytes is None
        parts.cluster.num_gpus = 2
        assert cli.survey_cluster(DEFAULTS).gpu_memory_bytes == 80


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
        assert cli.smallest_gpu() == smallest
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

"""--rayperf-against: both sides measured now. The far side is a pytest in a process of its own; no Ray."""

import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

FASTER, SLOWER = {"ReadImages": 0.002, "MapBatches(Classify)": 0.004}, {"MapBatches(Classify)": 0.02}

ONE_MORE = """
    def test_pipe(rayperf):
        rayperf(lambda: {})

    def test_one_more(rayperf):
        rayperf(lambda: {})
"""

SPY = """

_run = ScriptedExecutor.run


def _spy(self, pipeline, *, keep_outputs, on_rows):
    with open({log!r}, "a") as file:
        file.write(f"{{keep_outputs}}\\n")
    return _run(self, pipeline, keep_outputs=keep_outputs, on_rows=on_rows)


ScriptedExecutor.run = _spy
"""

DUEL = """
    import pytest
    from pytest_rayperf import Inspection

    GOOD = {good}

    @pytest.mark.parametrize("variant", ["antipattern", "fix"])
    def test_pair(rayperf, variant, tmp_path):
        def looked_at(name):
            with open("{log}", "a") as log:
                log.write(name + "\\n")
            return Inspection({{"bytes_written": 1000.0 if name == "fix" else 4000.0}})

        rayperf.duel(
            antipattern=lambda: {{"cpu": {{"MapBatches(Classify)": 0.05}}}},
            fix=lambda: GOOD,
            metric="cpu_seconds_per_row",
            floors={{"bytes_written": 3}},
            after_round=looked_at,
        )
"""

LADDER = """
    def test_ladder(rayperf):
        rayperf.ladder({{"wrong": lambda: {{"seconds": 4.0}}, "right": lambda: {right}}})
"""


@pytest.fixture
def git(project):
    """Runs git in the project's folder, a repository."""

    def run(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=project.path, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    run("init")
    return run


@pytest.fixture
def commit(project, git):
    """Commits the project as it is."""

    def run():
        git("add", "--all")
        git("commit", "--message", "as it was")
        return git("rev-parse", "HEAD")

    return run


def only(report):
    (benchmark,) = report["benchmarks"]
    return benchmark


class TestVerdicts:
    def test_unchanged(self, project, commit, git, find_line):
        project.tests()
        hash_ = commit()
        result, report = project.report("--rayperf-gate", "--rayperf-against=main")
        assert result.ret == 0, result.stdout.str()
        benchmark = only(report)
        assert benchmark["verdict"]["status"] == "unchanged"
        assert report["against"] == benchmark["against"] == f"main ({hash_[:12]})"
        assert benchmark["baseline"] is None
        theirs, ours = benchmark["then"]["rounds"]["throughput"], benchmark["rounds"]["throughput"]
        assert len(theirs) == len(ours) >= 3
        assert benchmark["probe"]["between"] == [], "the machine's speed is in both sides"
        text = result.stdout.str()
        assert find_line(text, "vs far side")
        assert f"far side main ({hash_[:12]})" in text
        assert "the same software on both sides" in text
        find_line(text, "^rayperf: ending the far side$")
        assert project.baselines() == []
        assert git("worktree", "list").count("\n") == 0, "its files are gone, and git knows"

    def test_slower_by_computing(self, project, commit, find_line):
        project.tests()
        hash_ = commit()
        project.tests(f"def test_pipe(rayperf):\n    rayperf(lambda: {{'cpu': {SLOWER}}})")
        result = project.measure("--rayperf-against=HEAD")
        assert result.ret == 1
        line = find_line(result.stdout.str(), "^regressed: ")
        assert "cpu_seconds_per_row 0.01" in line
        assert "operator MapBatches(Classify) +1" in line
        assert line.endswith(f"; HEAD ({hash_[:12]}), measured beside it")
        assert "accept with" not in result.stdout.str()

    def test_faster_asks_for_nothing(self, project, commit):
        project.tests()
        commit()
        project.tests(f"def test_pipe(rayperf):\n    rayperf(lambda: {{'cpu': {FASTER}, 'seconds': 1.0}})")
        result, report = project.report("--rayperf-against=HEAD")
        assert result.ret == 0
        assert only(report)["verdict"]["status"] == "improved"
        assert "stale" not in result.stdout.str()

    def test_a_counter_that_grew(self, project, commit, find_line):
        project.tests()
        hash_ = commit()
        project.script(counters={"model_loads": 8})
        result = project.measure("--rayperf-against=HEAD")
        assert result.ret == 1
        line = find_line(result.stdout.str(), "^regressed: ")
        assert line == (
            f"regressed: model_loads 1 -> 8 a round (exact); HEAD ({hash_[:12]}), measured beside it"
        )

    def test_rows_that_are_gone(self, project, commit):
        project.tests()
        commit()
        project.script(rows=60, outputs={})
        result, report = project.report("--rayperf-against=HEAD")
        assert result.ret == 1
        assert only(report)["verdict"]["reason"].startswith("invalid: rows 64 -> 60 a round (exact)")

    @pytest.mark.parametrize(("now", "code"), [(100, 0), (200, 1)])
    def test_counted_work(self, project, commit, now, code):
        started = {"startup_seconds": 0.5}
        project.tests()
        project.script(figures=started, work={"flops": 100})
        commit()
        project.script(figures=started, work={"flops": now})
        result, report = project.report("--rayperf-against=HEAD")
        assert result.ret == code, result.stdout.str()
        assert ("FLOPs a row 2.00x" in only(report)["verdict"]["reason"]) == bool(code)
        assert (project.path / "work.log").read_text().split() == ["kept", "anew"][: 1 + code]

    def test_work_is_counted_over_as_many_rows_as_there(self, project, commit):
        pipe = {"figures": {"startup_seconds": 0.5}, "work": {"flops": 100}}
        project.tests()
        project.script(**pipe)
        commit()
        project.script(**pipe, window=16)
        result, report = project.report("--rayperf-against=HEAD")
        assert result.ret == 0, result.stdout.str()
        assert only(report)["work"]["operators"][0]["rows"] == 32

    def test_a_target_holds_without_a_baseline(self, project, commit):
        project.tests(
            "import pytest\n"
            "@pytest.mark.rayperf(min_throughput=1000)\n"
            "def test_pipe(rayperf):\n    rayperf(lambda: {})"
        )
        commit()
        result = project.measure("--rayperf-against=HEAD")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["*target*1000*"])

    def test_packages_of_another_version(self, project, tmp_path):
        wheel = tmp_path / "rayperf_other-2.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("rayperf_other.py", "LOADS = 1\n")
            info = "rayperf_other-2.0.dist-info/"
            archive.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: rayperf-other\nVersion: 2.0\n")
            archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(info + "RECORD", "")
        project.tests(
            """
            try:
                from rayperf_other import LOADS
            except ImportError:
                LOADS = 2

            def test_pipe(rayperf):
                rayperf(lambda: {"counters": {"model_loads": LOADS}})
            """
        )
        result = project.measure(f"--rayperf-against-env={wheel}")
        assert result.ret == 1, result.stdout.str()
        result.stdout.fnmatch_lines([f"*model_loads 1 -> 2 a round (exact); this tree with {wheel}, *"])


class TestContests:
    def test_both_variants_of_a_duel_each_with_its_own(self, project, commit, tmp_path):
        log = tmp_path / "looked_at"
        project.tests(DUEL.format(good={}, log=log))
        commit()
        project.tests(DUEL.format(good={"cpu": SLOWER}, log=log))
        result, report = project.report("--rayperf-against=HEAD")
        result.assert_outcomes(passed=1, failed=1)
        by_variant = {b["variant"]: b for b in report["benchmarks"]}
        assert by_variant["antipattern"]["verdict"]["status"] == "unchanged"
        assert by_variant["fix"]["verdict"]["status"] == "regressed"
        for variant, written in (("antipattern", 4000.0), ("fix", 1000.0)):
            benchmark = by_variant[variant]
            assert set(benchmark["rounds"]["bytes_written"]) == {written}
            assert set(benchmark["then"]["rounds"]["bytes_written"]) == {written}, "looked at there"
        looked = log.read_text().split()
        assert set(looked) == {"antipattern", "fix"}, "on each side by the variant's own name"
        floors = [duel for duel in report["duels"] if duel["floor"]]
        assert [duel["ratio"] for duel in floors] == [pytest.approx(4)], "the pair itself is compared as ever"

    def test_the_last_rung_of_a_ladder(self, project, commit):
        project.tests(LADDER.format(right={}))
        commit()
        project.tests(LADDER.format(right={"cpu": SLOWER}))
        result, report = project.report("--rayperf-against=HEAD")
        assert result.ret == 1
        assert only(report)["verdict"]["metric"] == "cpu_seconds_per_row"
        (ladder,) = report["ladders"]
        assert [rung["name"] for rung in ladder["rungs"]] == ["wrong", "right"]

    def test_what_is_expected_is_not_compared(self, project, commit):
        project.tests(
            """
            def test_raises(rayperf):
                rayperf.raises(lambda: {"raises": "no"}, ValueError, "no")
            """
        )
        commit()
        assert project.measure("--rayperf-gate", "--rayperf-against=HEAD").ret == 0


class TestFarSide:
    @pytest.mark.parametrize(("gate", "code"), [([], 0), (["--rayperf-gate"], 1)])
    def test_a_test_that_is_new(self, project, commit, gate, code):
        project.tests()
        hash_ = commit()
        project.tests("def test_new(rayperf):\n    rayperf(lambda: {})")
        result, report = project.report("--rayperf-against=HEAD", *gate)
        assert result.ret == code
        assert only(report)["verdict"] == {
            **only(report)["verdict"],
            "status": "no-baseline",
            "reason": f"HEAD ({hash_[:12]}) has no such test",
        }

    def test_a_file_that_is_new(self, project, commit):
        project.tests(name="test_other")
        commit()
        (project.path / "test_other.py").unlink()
        project.tests()
        result, report = project.report("--rayperf-against=HEAD")
        assert result.ret == 0
        assert only(report)["verdict"]["status"] == "no-baseline"

    def test_its_own_code(self, project, commit):
        (project.path / "mine.py").write_text("COUNTERS = {'model_loads': 2}\n")
        project.tests(
            "import mine\ndef test_pipe(rayperf):\n    rayperf(lambda: {'counters': mine.COUNTERS})"
        )
        project.ini("pythonpath = .")
        commit()
        (project.path / "mine.py").write_text("COUNTERS = {'model_loads': 3}\n")
        os.utime(project.path / "mine.py", (1, 1))  # no bytecode of before
        result = project.measure("--rayperf-against=HEAD")
        result.stdout.fnmatch_lines(["regressed: model_loads 2 -> 3 a round*"])

    def test_a_project_in_a_folder_of_its_repository(self, project, pytester):
        inner = project.path / "inner"
        inner.mkdir()
        for file in ("conftest.py", "pytest.ini"):
            (project.path / file).rename(inner / file)
        (inner / "test_it.py").write_text("def test_pipe(rayperf):\n    rayperf(lambda: {})\n")
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        for arguments in (["init"], ["add", "-A"], [*identity, "commit", "-m", "x"]):
            subprocess.run(["git", *arguments], cwd=project.path, check=True, capture_output=True)
        os.chdir(inner)
        result = project.measure("--rayperf-against=HEAD", "--rayperf-json=run.json")
        assert result.ret == 0, result.stdout.str()
        assert only(json.loads((inner / "run.json").read_text()))["verdict"]["status"] == "unchanged"

    def test_code_of_the_repository_outside_the_project(self, project, git, commit, monkeypatch):
        app, lib = project.path / "app", project.path / "lib"
        app.mkdir()
        lib.mkdir()
        for file in ("conftest.py", "pytest.ini"):
            (project.path / file).rename(app / file)
        test = "def test_pipe(rayperf):\n    rayperf(lambda: {'counters': far_mine.COUNTERS})\n"
        (app / "test_it.py").write_text(f"import far_mine\n{test}")
        (lib / "far_mine.py").write_text("COUNTERS = {'model_loads': 2}\n")
        commit()
        (lib / "far_mine.py").write_text("COUNTERS = {'model_loads': 30}\n")
        monkeypatch.syspath_prepend(str(lib))  # as an editable installation has it
        monkeypatch.chdir(app)
        result = project.measure("--rayperf-against=HEAD")
        result.stdout.fnmatch_lines(["regressed: model_loads 2 -> 30 a round*"])

    def test_a_file_that_cannot_be_collected_there(self, project, commit):
        project.tests("import gone_now\ndef test_pipe(rayperf):\n    rayperf(lambda: {})")
        commit()
        project.tests()
        result = project.measure("--rayperf-against=HEAD")
        text = result.stderr.str()
        assert result.ret == 4
        assert "--rayperf-against HEAD: its tests cannot be collected: test_it.py: ModuleNotFound" in text

    def test_options_of_the_projects_own(self, project, commit):
        conftest = project.path / "conftest.py"
        conftest.write_text(
            conftest.read_text()
            + "\n\ndef pytest_addoption(parser):\n    parser.addoption('--size', type=int)\n"
        )
        project.tests(
            """
            def test_pipe(rayperf, pytestconfig):
                rayperf(lambda: {"counters": {"model_loads": pytestconfig.option.size or 1}})
            """
        )
        commit()
        result, report = project.report("--rayperf-against", "HEAD", "--size", "128", "-k", "pipe")
        assert result.ret == 0, result.stdout.str()
        assert only(report)["verdict"]["status"] == "unchanged"

    def test_what_the_ini_file_says_of_a_cache(self, project, commit):
        project.tests()
        project.ini("addopts = --ff", "cache_dir = .kept")
        commit()
        result = project.pytester.runpytest_inprocess("--rayperf", "--rayperf-against=HEAD")
        assert result.ret == 0, result.stdout.str() + result.stderr.str()

    def test_a_pipeline_that_was_alone_and_is_a_duel(self, project, commit):
        project.tests(
            """
            import pytest

            @pytest.mark.parametrize("variant", ["antipattern", "fix"])
            def test_pair(rayperf, variant):
                rayperf(lambda: {})
            """
        )
        commit()
        project.tests(
            """
            import pytest

            @pytest.mark.parametrize("variant", ["antipattern", "fix"])
            def test_pair(rayperf, variant):
                rayperf.duel(antipattern=lambda: {"seconds": 20.0}, fix=lambda: {})
            """
        )
        result, report = project.report("--rayperf-against=HEAD")
        assert result.ret == 0, result.stdout.str()
        for benchmark in report["benchmarks"]:
            assert benchmark["verdict"]["status"] == "no-baseline"
            assert benchmark["verdict"]["reason"].endswith("measures something else in this test")

    @pytest.mark.parametrize(
        ("pipeline", "told"),
        [
            ("pytest.fail('not like this')", "failed there: Failed: not like this"),
            ("pytest.skip('not here')", "skipped there: Skipped: not here"),
        ],
    )
    def test_a_pipeline_that_ends_its_test_there(self, project, commit, pipeline, told):
        project.tests(f"import pytest\ndef test_pipe(rayperf):\n    rayperf(lambda: {pipeline})")
        commit()
        project.tests()
        result = project.measure("--rayperf-against=HEAD")
        assert result.ret == 1
        result.stdout.fnmatch_lines([f"FarSideError: HEAD (*): test_it.py::test_pipe: {told}"])

    @pytest.fixture
    def kept(self, project, tmp_path):
        """Reads which executions, of both sides, were to keep their outputs."""
        log = tmp_path / "kept"
        conftest = project.path / "conftest.py"
        conftest.write_text(conftest.read_text() + SPY.format(log=str(log)))
        return lambda: log.read_text().split()

    def test_figures_of_numpy_and_outputs_that_nobody_compares(self, project, commit, kept):
        project.tests(
            """
            import numpy as np
            from pytest_rayperf import Inspection

            def test_pipe(rayperf):
                rayperf.ladder(
                    {"a": lambda: {}, "b": lambda: {}},
                    after_round=lambda name: Inspection({"bytes_written": np.int64(5)}),
                    warm_ups=0,
                    rounds=2,
                )
            """
        )
        commit()
        result, report = project.report("--rayperf-against=HEAD")
        assert result.ret == 0, result.stdout.str()
        assert only(report)["then"]["rounds"]["bytes_written"] == [5.0, 5.0]
        assert kept() == ["True"] * 3 + ["False"] * 3, "as much is held there as here"

    def test_one_pipeline_keeps_no_outputs(self, project, commit, kept):
        project.tests()
        commit()
        assert project.measure("--rayperf-against=HEAD").ret == 0
        assert set(kept()) == {"False"}

    def test_a_pipeline_that_raises_there(self, project, commit):
        project.tests("def test_pipe(rayperf):\n    rayperf(lambda: {'raises': 'it was broken then'})")
        hash_ = commit()
        project.tests()
        result = project.measure("--rayperf-against=HEAD")
        assert result.ret == 1
        result.stdout.fnmatch_lines(
            [f"FarSideError: HEAD ({hash_[:12]}): the pipeline raised ValueError: it was broken then"]
        )

    @pytest.mark.parametrize(
        ("before", "told"),
        [
            ("assert 1 == 2", "failed there: assert 1 == 2"),
            ("import pytest; pytest.skip('no GPU')", "skipped there: Skipped: no GPU"),
            ("return", "the test measures nothing"),
        ],
    )
    def test_a_test_that_does_not_come_to_its_pipeline_there(self, project, commit, before, told):
        project.tests(f"def test_pipe(rayperf):\n    {before}\n    rayperf(lambda: {{}})")
        commit()
        project.tests()
        result = project.measure("--rayperf-against=HEAD")
        assert result.ret == 1
        result.stdout.fnmatch_lines([f"FarSideError: HEAD (*): test_it.py::test_pipe: {told}"])

    def test_a_conftest_that_breaks_there(self, project, commit):
        project.tests()
        conftest = project.path / "conftest.py"
        whole = conftest.read_text()
        conftest.write_text("raise RuntimeError('not yet written')\n")
        commit()
        conftest.write_text(whole)
        result = project.measure("--rayperf-against=HEAD")
        text = result.stdout.str() + result.stderr.str()
        assert result.ret == 4, text
        assert "--rayperf-against HEAD: its pytest ended before it began" in text
        assert "not yet written" in text

    def test_it_dies(self, project, commit):
        project.tests("import os\ndef test_pipe(rayperf):\n    rayperf(lambda: os._exit(3))")
        commit()
        project.tests()
        result = project.measure("--rayperf-against=HEAD")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["FarSideError: HEAD (*) has ended:"])

    def test_an_interrupt_ends_it_too(self, project, commit, git):
        project.tests()
        commit()
        project.script(interrupt_at=3)
        result = project.run_apart("--rayperf", "--rayperf-against=HEAD")
        assert result.ret == 2
        assert git("worktree", "list").count("\n") == 0
        result.stdout.fnmatch_lines(["*interrupted after*"])

    @pytest.mark.parametrize("environment", ["", "another"])
    def test_broken_baselines_do_not_matter(self, project, commit, environment):
        project.tests()
        project.record()
        broken = project.baseline()
        if environment:
            folder = broken.parent.rename(broken.parent.with_name(environment))
            broken = folder / broken.name
        broken.write_text("{")
        commit()
        project.tests(ONE_MORE)
        result, report = project.report("--rayperf-against=HEAD")
        assert result.ret == 0, result.stdout.str()
        assert report["summary"]["unchanged"] == report["summary"]["no-baseline"] == 1

    def test_the_worktree_of_another_that_is_out_of_sight(self, project, commit, git, tmp_path):
        project.tests()
        commit()
        theirs, away = tmp_path / "theirs", tmp_path / "away"
        git("worktree", "add", "--detach", str(theirs))
        theirs.rename(away)
        assert project.measure("--rayperf-against=HEAD").ret == 0
        away.rename(theirs)
        assert git("-C", str(theirs), "rev-parse", "HEAD") == git("rev-parse", "HEAD")


class TestRefused:
    def test_no_such_revision(self, project, commit):
        project.tests()
        commit()
        error = project.refused("--rayperf-against=nope")
        assert error.startswith("--rayperf-against nope: git knows no such revision in ")

    @pytest.mark.parametrize("revision", ["--upload-pack=x", "HEAD:test_it.py", " "])
    def test_what_is_no_revision(self, project, commit, revision):
        project.tests()
        commit()
        assert "git knows no such revision" in project.refused(f"--rayperf-against={revision}")

    def test_no_repository(self, project):
        project.tests()
        assert "is in no git repository" in project.refused("--rayperf-against=HEAD")

    @pytest.mark.parametrize("other", ["update-baselines", "selftest", "profile-udf"])
    def test_what_it_cannot_go_with(self, project, other):
        project.tests()
        error = project.refused("--rayperf-against=HEAD", f"--rayperf-{other}")
        assert error.startswith(f"--rayperf-against: cannot go with --rayperf-{other}: ")

    def test_other_packages_on_a_cluster_that_is_there(self, project):
        project.tests()
        error = project.refused("--rayperf-against-env=ray==2.58.1", "--rayperf-address=localhost:6379")
        assert error.startswith("--rayperf-against-env: cannot go with --rayperf-address: ")

    @pytest.mark.parametrize(
        "given", ["--rayperf-against=", "--rayperf-against-env=", "--rayperf-against-env= "]
    )
    def test_nothing(self, project, given):
        project.tests()
        assert "needs a " in project.refused(given)

    def test_what_pip_cannot_install(self, project, tmp_path):
        project.tests()
        missing = Path(tmp_path / "none-1.0-py3-none-any.whl")
        error = project.measure(f"--rayperf-against-env={missing}")
        assert error.ret == 4
        assert f"--rayperf-against-env {missing}: pip cannot install that:" in error.stderr.str()


def test_ini_twins(project, commit):
    project.tests()
    project.ini("rayperf = true", "rayperf_against = HEAD")
    hash_ = commit()
    result = project.run("--rayperf-json=run.json")
    assert result.ret == 0
    assert json.loads((project.path / "run.json").read_text())["against"] == f"HEAD ({hash_[:12]})"

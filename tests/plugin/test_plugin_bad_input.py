"""Images, models, baselines and places that cannot be used: exit status 4 before anything is measured."""

import json

import pytest

NEEDS_IMAGES = """
    def test_before(rayperf):
        rayperf(lambda: {})

    def test_pipe(rayperf, imagenette):
        rayperf(lambda: {})
"""
NEEDS_MODEL = """
    def test_before(rayperf):
        rayperf(lambda: {})

    def test_pipe(rayperf, classifier):
        rayperf(lambda: {})
"""


def test_a_folder_of_images_that_is_not_there(project):
    project.tests(NEEDS_IMAGES)
    error = project.refused("--rayperf-data=photos")
    assert error == f"--rayperf-data {project.path / 'photos'}: there is no such folder; name an existing one"


def test_a_folder_without_images(project, images):
    project.tests(NEEDS_IMAGES)
    folder = images("photos", count=0)
    (folder / "notes.txt").write_text("none yet")
    error = project.refused(f"--rayperf-data={folder}")
    assert error.startswith(f"--rayperf-data {folder}: holds no images (.bmp .gif .jpeg .jpg")
    assert error.endswith("name a folder that does")


def test_a_file_in_place_of_a_folder_of_images(project, images):
    project.tests(NEEDS_IMAGES)
    file = images("photos") / "0.jpg"
    error = project.refused(f"--rayperf-data={file}")
    assert error == f"--rayperf-data {file}: is not a folder; name the folder that holds the images"


def test_a_truncated_image_is_named(project, images):
    project.tests(NEEDS_IMAGES)
    folder = images("photos")
    image = folder / "1.jpg"
    image.write_bytes(image.read_bytes()[:-40])
    error = project.refused(f"--rayperf-data={folder}")
    assert error.startswith(f"--rayperf-data: {image} does not decode: ")
    assert error.endswith("repair it or take it out of the folder")


def test_more_images_than_there_are(project, images):
    project.tests(NEEDS_IMAGES)
    folder = images("photos")
    error = project.refused(f"--rayperf-data={folder}", "--rayperf-images=4")
    assert error.startswith(f"--rayperf-images 4: {folder} holds only 3 images; ask for fewer")


def test_images_that_no_test_wants_are_not_opened(project):
    project.tests()
    assert project.measure("--rayperf-data=photos").ret == 0


@pytest.fixture(scope="session")
def squeezenet(_imported, tmp_path_factory):
    """A small model's checkpoint. torch is imported here once, for the inner runs cannot import it twice."""
    torch = pytest.importorskip("torch")
    from torchvision.models import squeezenet1_1

    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.save(squeezenet1_1(weights=None).state_dict(), path)
    return path


def test_another_model_is_incomparable(project, squeezenet):
    project.tests("""
        def test_pipe(rayperf, classifier):
            assert classifier.name == "squeezenet1_1"
            rayperf(lambda: {})
    """)
    import torch

    other = project.path / "other.pth"
    torch.save({name: tensor + 1 for name, tensor in torch.load(squeezenet).items()}, other)
    project.record(1, "--rayperf-model=squeezenet1_1", f"--rayperf-weights={squeezenet}")
    assert project.measure("--rayperf-model=squeezenet1_1", f"--rayperf-weights={other}").ret == 0
    result, report = project.report(
        "--rayperf-gate", "--rayperf-model=squeezenet1_1", f"--rayperf-weights={other}"
    )
    assert result.ret == 1
    assert "measured something else (weights '" in result.stdout.str()
    assert report["model"]["name"] == "squeezenet1_1"
    assert report["model"]["weights"] == str(other)


def test_an_unknown_model(project, squeezenet):
    project.tests(NEEDS_MODEL)
    error = project.refused("--rayperf-model=squeezenet1_2")
    assert error.startswith("--rayperf-model squeezenet1_2: torchvision ")
    assert "has no such model; did you mean squeezenet1_1" in error


def test_an_unknown_model_that_no_test_uses(project, squeezenet):
    project.tests()
    assert "has no such model" in project.refused("--rayperf-model=squeezenet1_2")
    assert project.measure("--rayperf-model=squeezenet1_1", "--rayperf-weights=missing.pth").ret == 0


def test_weights_that_cannot_be_used(project, squeezenet):
    project.tests(NEEDS_MODEL)
    model = "--rayperf-model=squeezenet1_1"
    missing = project.path / "missing.pth"
    error = project.refused(model, "--rayperf-weights=missing.pth")
    assert error.startswith(f"--rayperf-weights {missing}: no such file")
    assert error.endswith("give random, imagenet or a state_dict file")

    truncated = project.path / "truncated.pth"
    truncated.write_bytes(squeezenet.read_bytes()[:100_000])
    error = project.refused(model, f"--rayperf-weights={truncated}")
    assert error.startswith(f"--rayperf-weights {truncated}: {truncated} is truncated or no checkpoint")
    assert error.endswith("write one with torch.save(model.state_dict(), path)")

    error = project.refused("--rayperf-model=squeezenet1_0", f"--rayperf-weights={squeezenet}")
    assert error.startswith(f"--rayperf-weights {squeezenet}: does not fit --rayperf-model squeezenet1_0: ")
    assert "give a state_dict of torchvision's squeezenet1_0" in error


# Baselines


def edited(project, change):
    """The baseline of one recorded session, changed by hand; its path as messages name it."""
    project.tests()
    project.record()
    path = project.baseline()
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")
    return path.relative_to(project.path).as_posix()


MEND = "restore it from git, or delete it and record it anew with --rayperf-update-baselines"


@pytest.mark.parametrize("kept", [0, 1, 0.5, 0.99])
def test_a_truncated_baseline(project, kept):
    shown = edited(project, lambda data: None)
    path = project.path / shown
    text = path.read_bytes()
    path.write_bytes(text[: int(len(text) * kept) if kept < 1 else 1])
    for arguments in ((), ("--rayperf-gate",), ("--rayperf-update-baselines",)):
        error = project.refused(*arguments)
        assert error.startswith(f"{shown}: is not whole JSON (")
        assert error.endswith(MEND)


def test_a_baseline_of_a_newer_version(project):
    shown = edited(project, lambda data: data.update(schema_version=2))
    assert project.refused() == (
        f"{shown}: has schema_version 2, this pytest-rayperf reads up to 1; upgrade pytest-rayperf"
    )


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda d: d.pop("schema_version"), "schema_version must be a whole number, 0 or more, found None"),
        (lambda d: d.update(id=3), "id must be a text, found 3"),
        (lambda d: d.update(sessions=[]), "sessions must be a list that is not empty, found []"),
        (lambda d: d["subject"].update(images="all"), "subject.images must be a whole number, 0 or more"),
        (lambda d: d["environment"].update(cores=2.5), "environment.cores must be a whole number, 0 or more"),
        (
            lambda d: d["sessions"][0]["rounds"][1].update(wall_seconds="2.0"),
            "sessions[0].rounds[1].wall_seconds must be a number, 0 or more, found '2.0'",
        ),
        (
            lambda d: d["sessions"][0]["rounds"][0].update(wall_seconds=0),
            "sessions[0].rounds[0].wall_seconds must be above 0",
        ),
        (
            lambda d: d["sessions"][0]["rounds"][2].update(rows=-1),
            "sessions[0].rounds[2].rows must be a whole number, 0 or more, found -1",
        ),
        (
            lambda d: d["sessions"][0]["rounds"][0]["counters"].update(model_loads=1.5),
            "sessions[0].rounds[0].counters.model_loads must be a whole number, 0 or more, found 1.5",
        ),
        (
            lambda d: d["sessions"][0]["rounds"][0]["operators"][1].update(cpu_s="fast"),
            "sessions[0].rounds[0].operators[1].cpu_s must be a number, 0 or more, found 'fast'",
        ),
    ],
)
def test_a_baseline_with_a_wrong_type(project, change, wanted):
    shown = edited(project, change)
    error = project.refused()
    assert error.startswith(f"{shown}: {wanted}")
    assert error.endswith(MEND)


def test_a_baseline_that_is_no_object(project):
    shown = edited(project, lambda data: None)
    (project.path / shown).write_text("[]", encoding="utf-8")
    assert project.refused().startswith(f"{shown}: the file must be an object, found []")


def test_a_baseline_of_another_test(project):
    shown = edited(project, lambda data: data.update(id="test_it.py::test_old"))
    for arguments in ((), ("--rayperf-gate",), ("--rayperf-update-baselines",)):
        error = project.refused(*arguments)
        assert error.startswith(f"{shown}: is the baseline of 'test_it.py::test_old', not of 'test_it.py::te")
        assert "rename the file and its 'id', or delete it and record it anew" in error


def test_a_broken_baseline_of_another_environment(project):
    shown = edited(project, lambda data: None)
    folder = (project.path / shown).parent
    folder.rename(folder.with_name("linux-another-machine"))
    (project.path / "baselines" / "linux-another-machine" / "it.pipe.json").write_text("{")
    assert project.refused().startswith("baselines/linux-another-machine/it.pipe.json: is not whole JSON (")


def test_broken_baselines_matter_to_performance_tests_only(project):
    shown = edited(project, lambda data: None)
    (project.path / shown).write_text("{", encoding="utf-8")
    project.run().assert_outcomes(skipped=1)


def test_a_file_in_place_of_the_baselines(project):
    project.tests()
    (project.path / "kept").write_text("")
    for arguments in ((), ("--rayperf-update-baselines",)):
        error = project.refused("--rayperf-baselines=kept", *arguments)
        assert error.startswith("--rayperf-baselines kept: is a file, not a folder")


def test_baselines_that_cannot_be_written(project):
    project.tests()
    (project.path / "kept").write_text("")
    error = project.refused("--rayperf-baselines=kept/here", "--rayperf-update-baselines")
    assert error.startswith("--rayperf-baselines kept/here/")
    assert "cannot be written (" in error
    assert error.endswith("--rayperf-update-baselines needs a folder that it may write")


@pytest.mark.parametrize("kind", ["json", "markdown", "html"])
def test_a_report_in_a_folder_that_is_not_there(project, kind):
    project.tests()
    error = project.refused(f"--rayperf-{kind}=reports/run.it")
    folder = project.path / "reports"
    assert error == f"--rayperf-{kind} {folder / 'run.it'}: the folder {folder} does not exist; make it"
    project.ini(f"rayperf_{kind} = reports/run.it")
    assert project.refused().startswith(f"ini option rayperf_{kind} {folder / 'run.it'}: the folder ")


@pytest.mark.parametrize("kind", ["json", "markdown", "html"])
def test_a_report_in_place_of_a_folder(project, kind):
    project.tests()
    error = project.refused(f"--rayperf-{kind}=.")
    assert error.startswith(f"--rayperf-{kind} ")
    assert error.endswith(": is a folder; name a file in it")


@pytest.mark.parametrize("kind", ["json", "markdown", "html"])
def test_a_report_in_place_of_a_test(project, kind):
    project.tests()
    error = project.refused(f"--rayperf-{kind}=test_it.py")
    assert error.endswith("test_it.py: is a Python file; name one for the report")


def test_two_reports_in_one_file(project):
    project.tests()
    error = project.refused("--rayperf-json=run.it", "--rayperf-html=./run.it")
    assert error.startswith("--rayperf-html ")
    assert "is the file of --rayperf-json too" in error

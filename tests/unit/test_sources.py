import sys
import types
from itertools import pairwise
from pathlib import Path
from urllib.error import URLError

import pyarrow.fs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from pytest_rayperf.data import sources, synthetic
from pytest_rayperf.data.sources import ImageSource, open_source
from pytest_rayperf.errors import ConfigurationError


def save(path: Path, colour: int = 0, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((64, 48), 40).point(lambda value: value ^ colour).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """Three classes, of 3, 1 and 2 images."""
    for number, name in enumerate(["a/1.jpg", "a/2.jpg", "a/3.jpg", "b/1.jpg", "c/1.jpg", "c/2.jpg"]):
        save(tmp_path / "images" / name, number)
    return tmp_path / "images"


@pytest.fixture
def reads(monkeypatch):
    """The calls of `ray.data.read_images`, with no Ray."""
    calls = []
    data = types.ModuleType("ray.data")
    data.read_images = lambda paths, **arguments: calls.append((paths, arguments))
    ray = types.ModuleType("ray")
    ray.data = data
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", data)
    return calls


def names(source: ImageSource, root: Path) -> list[str]:
    return [Path(path).relative_to(root).as_posix() for path in source.paths]


class TestImageSource:
    SOURCE = ImageSource("three", ("x", "y", "z"), 300, "0123456789abcdef")

    def test_repeat_reads_the_whole_list_again(self):
        twice = self.SOURCE.repeat(2)
        assert twice.paths == ("x", "y", "z", "x", "y", "z")
        assert (twice.num_images, twice.num_bytes, twice.passes) == (6, 600, 2)
        assert (twice.name, twice.fingerprint) == (self.SOURCE.name, self.SOURCE.fingerprint)
        assert (self.SOURCE.num_images, self.SOURCE.passes) == (3, 1)

    def test_repeats_multiply(self):
        assert self.SOURCE.repeat(2).repeat(3) == self.SOURCE.repeat(6)

    def test_repeat_keeps_unknown_bytes_unknown(self):
        assert ImageSource("n", ("x",), None, "f").repeat(3).num_bytes is None

    @pytest.mark.parametrize("passes", [0, -1])
    def test_repeat_below_one(self, passes):
        with pytest.raises(ConfigurationError, match=f"three: {passes} passes"):
            self.SOURCE.repeat(passes)

    def test_read_has_defaults(self, reads):
        self.SOURCE.repeat(2).read()
        assert reads == [(["x", "y", "z"] * 2, {"mode": "RGB", "size": (256, 256), "include_paths": True})]

    def test_read_is_overridable(self, reads):
        self.SOURCE.read(size=None, include_paths=False, override_num_blocks=4)
        ((_, arguments),) = reads
        assert arguments == {
            "mode": "RGB",
            "size": None,
            "include_paths": False,
            "override_num_blocks": 4,
        }


class TestSynthetic:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("RAYPERF_CACHE_DIR", str(tmp_path / "cache"))

    def test_number_asked_for_or_default(self):
        assert open_source("synthetic", None, 3).num_images == 3
        assert open_source("synthetic", 2, 3).num_images == 2

    def test_paths_take_the_classes_in_turn(self):
        source = open_source("synthetic", 12, 3)
        folders = [Path(path).parent.name for path in source.paths]
        assert folders == [*synthetic.CLASSES, *synthetic.CLASSES[:2]]
        assert source.num_bytes == sum(Path(path).stat().st_size for path in source.paths)
        assert source.name == "synthetic"

    def test_fingerprint_outlives_pillow_but_not_the_generator(self, monkeypatch):
        ours = open_source("synthetic", 2, 1).fingerprint
        assert len(ours) == 16
        assert int(ours, 16) > 0
        assert open_source("synthetic", 3, 1).fingerprint != ours
        monkeypatch.setattr("PIL.__version__", "0.0")
        assert open_source("synthetic", 2, 1).fingerprint == ours
        monkeypatch.setattr(synthetic, "VERSION", synthetic.VERSION + 1)
        assert open_source("synthetic", 2, 1).fingerprint != ours


class TestFolder:
    def test_selection_takes_the_folders_in_turn(self, folder):
        order = ["a/1.jpg", "b/1.jpg", "c/1.jpg", "a/2.jpg", "c/2.jpg", "a/3.jpg"]
        assert names(open_source(str(folder), None, 100), folder) == order
        assert names(open_source(str(folder), 4, 100), folder) == order[:4]
        assert names(open_source(str(folder), None, 2), folder) == order[:2]

    @given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=6), data=st.data())
    @settings(deadline=None)
    def test_no_class_is_two_ahead_of_another_that_has_more(self, counts, data):
        available = [f"{folder}/{image}" for folder, count in enumerate(counts) for image in range(count)]
        number = data.draw(st.integers(1, len(available)))
        chosen = sources._deal("s", data.draw(st.permutations(available)), number, 1)
        assert len(set(chosen)) == number
        taken = [sum(name.startswith(f"{folder}/") for name in chosen) for folder in range(len(counts))]
        open_ones = [took for took, count in zip(taken, counts, strict=True) if took < count]
        assert all(max(taken) - took <= 1 for took in open_ones)

    def test_figures_and_absolute_paths(self, folder, monkeypatch):
        monkeypatch.chdir(folder.parent)
        source = open_source("images", None, 100)
        assert source.name == "images"
        assert source.num_bytes == sum(path.stat().st_size for path in folder.rglob("*.jpg"))
        assert all(Path(path).is_absolute() and Path(path).is_file() for path in source.paths)

    def test_file_uri_is_the_folder(self, folder):
        spaced = folder.rename(folder.with_name("my images"))
        assert open_source(spaced.as_uri(), None, 9).paths == open_source(str(spaced), None, 9).paths

    def test_every_suffix_that_ray_reads_and_no_other(self, tmp_path):
        wanted = ["a.png", "b.JPG", "c.jpeg", "d.TIF", "e.tiff", "f.bmp", "g.Gif", "deep/er/h.JPEG"]
        for name in wanted:
            save(tmp_path / name)
        for name in ["notes.txt", "b.jpg.part", "._a.png", ".hidden/a.png", "jpg"]:
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"no image")
        assert sorted(names(open_source(str(tmp_path), None, 100), tmp_path)) == sorted(wanted)

    def test_fingerprint_is_of_names_and_contents(self, folder, tmp_path):
        def fingerprint(number: int = 6) -> str:
            return open_source(str(folder), number, 1).fingerprint

        seen = [fingerprint(), fingerprint(5)]
        assert fingerprint() == seen[0]
        data = (folder / "a/1.jpg").read_bytes()
        save(folder / "a/1.jpg", 77)
        seen.append(fingerprint())
        (folder / "a/1.jpg").write_bytes(data)
        assert fingerprint() == seen[0]
        (folder / "a/1.jpg").rename(folder / "a/0.jpg")
        seen.append(fingerprint())
        assert len(set(seen)) == 4
        assert all(len(one) == 16 for one in seen)

    def test_fingerprint_is_not_of_the_place(self, folder, tmp_path):
        before = open_source(str(folder), None, 9)
        after = open_source(str(folder.rename(tmp_path / "moved")), None, 9)
        assert after.fingerprint == before.fingerprint
        assert after.paths != before.paths


class TestFolderErrors:
    def fails(self, source: object, number: int | None = None) -> str:
        with pytest.raises(ConfigurationError) as caught:
            open_source(str(source), number, 8)
        return str(caught.value)

    def test_missing(self, tmp_path):
        message = self.fails(tmp_path / "gone")
        assert f"--rayperf-data {tmp_path / 'gone'}: there is no such folder" in message

    def test_a_file(self, folder):
        message = self.fails(folder / "a/1.jpg")
        assert f"--rayperf-data {folder / 'a/1.jpg'}: is not a folder" in message

    def test_no_images(self, tmp_path):
        (tmp_path / "readme.txt").write_text("none here")
        message = self.fails(tmp_path)
        assert f"--rayperf-data {tmp_path}: holds no images" in message
        assert ".jpeg" in message

    def test_more_than_there_are(self, folder):
        message = self.fails(folder, 500)
        assert message.startswith(f"--rayperf-images 500: {folder} holds only 6 images")
        assert "--rayperf-data" in message

    @pytest.mark.parametrize("source", ["synthetic", "imagenette", "folder", "s3://b/c"])
    def test_number_below_one(self, source):
        assert self.fails(source, 0).startswith("--rayperf-images 0: at least 1")

    @pytest.mark.parametrize(
        ("name", "damage", "reason"),
        [
            ("cut.jpg", lambda data: data[: len(data) * 2 // 3], "truncated"),
            ("cut.png", lambda data: data[: len(data) * 2 // 3], "truncated"),
            ("text.jpg", lambda data: b"not an image at all", "no image format"),
            ("empty.png", lambda data: b"", "no image format"),
            ("header.bmp", lambda data: data[:30], "does not decode"),
        ],
    )
    def test_image_that_does_not_decode(self, folder, monkeypatch, name, damage, reason):
        # A decoder that has been told to make do must not hide it: Ray's workers have not.
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        path = save(folder / "b" / name)
        path.write_bytes(damage(path.read_bytes()))
        message = self.fails(folder)
        assert "--rayperf-data" in message
        assert f"{path} does not decode" in message
        assert reason in message
        assert ImageFile.LOAD_TRUNCATED_IMAGES is True

    def test_only_selected_images_are_decoded(self, folder):
        (folder / "a/3.jpg").write_bytes(b"broken")
        assert open_source(str(folder), 5, 1).num_images == 5

    def test_a_broken_link_is_an_image_that_cannot_be_read(self, folder):
        (folder / "b/link.png").symlink_to(folder / "nowhere.png")
        assert f"{folder / 'b/link.png'} does not decode: No such file" in self.fails(folder)


class TestUri:
    @pytest.fixture
    def bucket(self, folder, monkeypatch):
        """A stand-in for S3: `bucket/data` is the folder."""
        storage = pyarrow.fs.SubTreeFileSystem(str(folder.parent), pyarrow.fs.LocalFileSystem())
        folder.parent.joinpath("bucket").mkdir()
        folder.rename(folder.parent / "bucket" / "data")

        def resolve(uri: str) -> tuple[object, str]:
            return storage, uri.partition("?")[0].split("://")[1].rpartition("@")[2].rstrip("/")

        monkeypatch.setattr(sources, "_filesystem", resolve)
        return folder.parent / "bucket" / "data"

    def test_listing(self, bucket, reads):
        (bucket / "labels.csv").write_text("no image")
        save(bucket / "b/with space.jpg")
        source = open_source("s3://anonymous@bucket/data/", 5, 8)
        prefix = "s3://anonymous@bucket/data/"
        order = ["a/1.jpg", "b/1.jpg", "c/1.jpg", "a/2.jpg", "b/with space.jpg"]
        assert source.paths == tuple(prefix + name for name in order)
        assert source.num_bytes == sum((bucket / name).stat().st_size for name in order)
        source.read()
        ((paths, arguments),) = reads
        assert paths == list(source.paths)
        assert arguments["filesystem"] is source.filesystem
        assert source.filesystem is not None

    def test_fingerprint_is_of_names_and_sizes(self, bucket):
        first = open_source("s3://bucket/data", None, 8).fingerprint
        data = (bucket / "a/1.jpg").read_bytes()
        (bucket / "a/1.jpg").write_bytes(data[::-1])
        assert open_source("s3://bucket/data", None, 8).fingerprint == first
        (bucket / "a/1.jpg").write_bytes(data[:-1])
        assert open_source("s3://bucket/data", None, 8).fingerprint != first

    def test_keys_and_query_stay_out_of_names_and_paths(self, bucket):
        source = open_source("s3://KEY:SECRET@bucket/data?region=us-west-2", None, 8)
        assert source.name == "s3://bucket/data"
        assert not [path for path in source.paths if "SECRET" in path or "?" in path]

    @pytest.mark.parametrize(
        ("uri", "number", "reason"),
        [
            ("s3://bucket/nothing", None, "--rayperf-data s3://bucket/nothing: there is no such folder"),
            ("s3://bucket/data/a/1.jpg", None, "--rayperf-data s3://bucket/data/a/1.jpg: is not a folder"),
            ("s3://bucket/empty", None, "--rayperf-data s3://bucket/empty: holds no images"),
            ("s3://bucket/data", 7, "--rayperf-images 7: s3://bucket/data holds only 6 images"),
        ],
    )
    def test_errors(self, bucket, uri, number, reason):
        (bucket.parent / "empty").mkdir()
        with pytest.raises(ConfigurationError) as caught:
            open_source(uri, number, 8)
        assert reason in str(caught.value)

    def test_unreachable(self, monkeypatch):
        def fail(uri: str) -> tuple[object, str]:
            raise OSError(f"could not connect to {uri}")

        monkeypatch.setattr(sources, "_filesystem", fail)
        with pytest.raises(ConfigurationError) as caught:
            open_source("s3://KEY:SECRET@far/away", None, 8)
        message = str(caught.value)
        assert "--rayperf-data s3://far/away: cannot be reached or listed: could not connect" in message
        assert "SECRET" not in message

    @pytest.mark.parametrize("uri", ["bogus://x/y", "s3://a b/c", "s3://[broken"])
    def test_no_such_scheme_or_no_uri(self, uri):
        with pytest.raises(ConfigurationError) as caught:
            open_source(uri, None, 8)
        assert f"--rayperf-data {uri}: cannot be reached or listed" in str(caught.value)

    def test_addresses_are_what_ray_makes_paths_of(self):
        path_util = pytest.importorskip("ray.data.datasource.path_util")
        for scheme, user in [("s3", "anonymous"), ("s3", None), ("gs", "anonymous"), ("hdfs", None)]:
            address = sources._address(scheme, user, None, "bucket/a b#1.jpg")
            assert path_util._unwrap_protocol(address) == "bucket/a b#1.jpg"


class TestImagenette:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("RAYPERF_CACHE_DIR", str(tmp_path / "cache"))
        return tmp_path / "cache"

    @pytest.fixture
    def torchvision(self, monkeypatch):
        """A torchvision whose download the test says."""

        def install(download):
            package, datasets = types.ModuleType("torchvision"), types.ModuleType("torchvision.datasets")
            datasets.Imagenette = download
            monkeypatch.setitem(sys.modules, "torchvision", package)
            monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)

        return install

    def test_downloaded_once(self, torchvision, cache):
        calls = []

        def download(root, split, size, download):
            calls.append((split, size, download))
            (root / "imagenette2.tgz").write_bytes(b"archive")
            for name in ["n1/a.JPEG", "n1/b.JPEG", "n2/c.JPEG"]:
                save(root / "imagenette2" / "val" / name)

        torchvision(download)
        first = open_source("imagenette", None, 8)
        assert open_source("imagenette", 3, 8) == first
        assert calls == [("val", "full", True)]
        root = cache / "imagenette" / "imagenette2" / "val"
        assert names(first, root) == ["n1/a.JPEG", "n2/c.JPEG", "n1/b.JPEG"]
        assert first.num_bytes == sum(path.stat().st_size for path in root.rglob("*.JPEG"))
        assert not list(cache.rglob("*.tgz"))
        with pytest.raises(ConfigurationError, match="--rayperf-images 4: imagenette holds only 3"):
            open_source("imagenette", 4, 8)

    @pytest.mark.parametrize(
        "error", [URLError("no route"), TimeoutError("no route"), RuntimeError("File no route or corrupted")]
    )
    def test_rejudging(self, torchvision, cache, error):
        def download(root, split, size, download):
            (root / "imagenette2" / "val").mkdir(parents=True)
            raise error

        torchvision(download)
        with pytest.raises(ConfigurationError) as caught:
            open_source("imagenette", None, 8)
        message = str(caught.value)
        for part in ("--rayperf-data imagenette", "no route", "point --rayperf-data to a folder"):
            assert part in message
        assert not [path for path in cache.rglob("*") if path.is_dir()]

    def test_full_disk_is_not_called_offline(self, torchvision):
        def download(root, split, size, download):
            raise OSError(28, "No space left on device")

        torchvision(download)
        with pytest.raises(ConfigurationError, match=r"No space left on device.*RAYPERF_CACHE_DIR"):
            open_source("imagenette", None, 8)


def test_order_does_not_depend_on_the_directory(folder, monkeypatch):
    ours = open_source(str(folder), None, 9)
    walk = list(sources.os.walk(folder))
    monkeypatch.setattr(sources.os, "walk", lambda *_, **__: [(f, d, n[::-1]) for f, d, n in walk[::-1]])
    theirs = open_source(str(folder), None, 9)
    assert theirs == ours
    assert not any(first == second for first, second in pairwise(theirs.paths))


def test_a_question_mark_in_a_name_is_refused(tmp_path):
    """Ray Data, and the pyarrow below it, would take "?b.jpg" for the query of a URL."""
    save(tmp_path / "images" / "a?b.jpg")
    with pytest.raises(ConfigurationError, match=r"a\?b.jpg: what follows a question mark .*; rename it"):
        open_source(str(tmp_path / "images"), None, 1)

import multiprocessing
import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pytest_rayperf.data import cache, synthetic
from pytest_rayperf.data.synthetic import CLASSES, make_synthetic, relative_path
from pytest_rayperf.errors import ConfigurationError


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def make_in(root: str) -> str:
    return str(make_synthetic(6, cache_dir=Path(root)))


@pytest.fixture(scope="module")
def set_of_64(tmp_path_factory):
    return make_synthetic(64, cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def images(set_of_64):
    """(size in pixels, mode, bytes) of each image, by area."""
    images = []
    for path in set_of_64.rglob("*.JPEG"):
        with Image.open(path) as image:
            images.append((image.size, image.mode, path.stat().st_size))
    return sorted(images, key=lambda image: image[0][0] * image[0][1])


@pytest.fixture
def small_images(monkeypatch):
    """Every image takes a millisecond, where a test is not about what is in it; returns those made."""
    made = []

    def write(path, seed, index):
        made.append(index)
        Image.new("L", (8, 8), index % 256).save(path, "JPEG")

    monkeypatch.setattr(synthetic, "_write", write)
    return made


class TestContents:
    def test_two_folders_are_equal_to_the_byte(self, tmp_path):
        first = make_synthetic(12, cache_dir=tmp_path / "a")
        second = make_synthetic(12, cache_dir=tmp_path / "b")
        assert contents(first) == contents(second)

    def test_a_set_is_the_beginning_of_a_larger_one(self, tmp_path, set_of_64):
        small, large = contents(make_synthetic(5, cache_dir=tmp_path)), contents(set_of_64)
        assert len(small) == 5
        assert small.items() < large.items()

    def test_another_seed_makes_other_images_of_the_same_kinds(self, tmp_path):
        ours, theirs = make_synthetic(5, tmp_path, seed=0), make_synthetic(5, tmp_path, seed=1)
        assert contents(ours).keys() == contents(theirs).keys()
        assert not set(contents(ours).values()) & set(contents(theirs).values())

    def test_no_image_occurs_twice(self, set_of_64):
        assert len(set(contents(set_of_64).values())) == 64

    def test_images_are_dealt_to_the_classes(self, set_of_64):
        counts = {folder.name: len(list(folder.iterdir())) for folder in set_of_64.iterdir()}
        assert counts == {name: 7 if place < 4 else 6 for place, name in enumerate(CLASSES)}

    def test_decoded_they_are_photographs_and_not_plain(self, set_of_64):
        for index in (1, 23, 40):  # a usual one, the tiny one, the huge one
            with Image.open(set_of_64 / relative_path(index)) as image:
                red, green, blue = image.split()
                assert image.mode == "RGB"
                low, high = image.convert("L").getextrema()
            assert high - low > 60
            assert red.tobytes() != green.tobytes() != blue.tobytes()


class TestSpread:
    def test_middle_size_is_imagenets(self, images):
        assert statistics.median(size[0] for size, _, _ in images) == 500
        assert 370 <= statistics.median(size[1] for size, _, _ in images) <= 376
        areas = [width * height for (width, height), _, _ in images]
        assert statistics.median(areas) == pytest.approx(374 * 500, rel=0.02)

    def test_one_is_tiny_and_one_is_huge(self, images):
        assert sorted(images[0][0]) == [56, 75]
        assert sorted(images[-1][0]) == [1600, 2400]
        assert images[1][0][0] * images[1][0][1] > 10_000
        assert images[-2][0][0] * images[-2][0][1] < 400_000

    def test_bytes_are_imagenets(self, images):
        sizes = [size for _, _, size in images]
        assert statistics.median(sizes) == pytest.approx(107_000, rel=0.05)
        assert statistics.mean(sizes) == pytest.approx(110_000, rel=0.05)

    def test_a_few_are_grey_and_some_upright(self, images):
        assert 1 <= sum(mode == "L" for _, mode, _ in images) <= 4
        assert {mode for _, mode, _ in images} == {"L", "RGB"}
        assert 8 <= sum(height > width for (width, height), _, _ in images) <= 24

    @given(count=st.integers(min_value=48, max_value=6000))
    @settings(deadline=None)
    def test_any_number_of_images_has_the_same_deal(self, count):
        kinds = [synthetic._kind(index) for index in range(count)]
        # Below that share lie the kinds smaller than 375 x 500; from there on the median is that size.
        smaller = sum(max(kind.short_side) < 375 for kind in kinds) / count
        assert 0.4 <= smaller <= 0.55
        huge = sum(kind.long_side[0] > 2000 for kind in kinds)
        assert count // 64 <= huge <= count // 64 + 1

    def test_grey_share_of_many(self):
        grey = sum(synthetic._fraction(i, synthetic._GREY_STEP) < synthetic._GREYS for i in range(5000))
        assert 0.02 <= grey / 5000 <= 0.05


class TestCache:
    def test_a_cached_set_is_found(self, tmp_path, small_images):
        first = make_synthetic(10, cache_dir=tmp_path)
        small_images.clear()
        assert make_synthetic(10, cache_dir=tmp_path) == first
        assert small_images == []

    def test_the_environment_names_the_cache(self, tmp_path, small_images, monkeypatch):
        monkeypatch.setenv("RAYPERF_CACHE_DIR", str(tmp_path / "there"))
        assert make_synthetic(2).is_relative_to(tmp_path / "there" / "synthetic")

    def test_without_the_variable_it_is_the_users(self, monkeypatch):
        monkeypatch.delenv("RAYPERF_CACHE_DIR", raising=False)
        assert "pytest-rayperf" in cache.cache_root().parts

    def test_sets_of_other_seed_number_or_pillow_are_others(self, tmp_path, small_images, monkeypatch):
        folders = {make_synthetic(2, tmp_path), make_synthetic(3, tmp_path), make_synthetic(2, tmp_path, 1)}
        monkeypatch.setattr("PIL.__version__", "0.0")
        assert len(folders | {make_synthetic(2, tmp_path)}) == 4

    def test_a_set_with_images_missing_is_made_again(self, tmp_path, small_images):
        folder = make_synthetic(10, cache_dir=tmp_path)
        whole = contents(folder)
        (folder / relative_path(3)).unlink()
        assert contents(make_synthetic(10, cache_dir=tmp_path)) == whole

    def test_progress_counts_up_to_the_whole(self, tmp_path, small_images):
        calls = []
        make_synthetic(4, tmp_path, progress=lambda done, total: calls.append((done, total)))
        assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def test_interrupted_it_leaves_no_folder(self, tmp_path, small_images):
        def interrupt(done, total):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            make_synthetic(40, tmp_path, progress=interrupt)
        assert [path.name for path in (tmp_path / "synthetic").iterdir() if path.is_dir()] == []

    def test_remains_of_a_killed_run_are_removed(self, tmp_path, small_images):
        whole = make_synthetic(3, tmp_path / "whole")
        remains = tmp_path / "synthetic" / f"{whole.name}.partial"
        other = tmp_path / "synthetic" / "v1-seed0-pillow1.0-9.partial"
        for folder in (remains, other):
            (folder / CLASSES[0]).mkdir(parents=True)
            (folder / CLASSES[0] / "half.JPEG").write_bytes(b"\xff\xd8")
        folder = make_synthetic(3, tmp_path)
        assert contents(folder) == contents(whole)
        assert [path for path in folder.parent.iterdir() if path.is_dir()] == [folder]

    def test_threads_at_once_get_one_whole_folder(self, tmp_path, small_images):
        with ThreadPoolExecutor(4) as pool:
            folders = {*pool.map(lambda _: make_synthetic(20, tmp_path), range(4))}
        (folder,) = folders
        assert len(contents(folder)) == 20
        assert sorted(small_images) == list(range(20))

    def test_processes_at_once_get_one_whole_folder(self, tmp_path):
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            first, second = pool.map(make_in, [str(tmp_path)] * 2, chunksize=1)
        assert first == second
        assert contents(Path(first)) == contents(make_synthetic(6, tmp_path / "again"))


class TestErrors:
    @pytest.mark.parametrize("count", [0, -5])
    def test_too_few(self, tmp_path, count):
        with pytest.raises(ConfigurationError, match=f"--rayperf-images {count}: at least 1"):
            make_synthetic(count, tmp_path)

    def test_negative_seed(self, tmp_path):
        with pytest.raises(ConfigurationError, match=r"seed -1 .* must not be negative"):
            make_synthetic(1, tmp_path, seed=-1)

    def test_full_disk(self, tmp_path, monkeypatch):
        def fail(path, seed, index):
            raise OSError(28, "No space left on device", str(path))

        monkeypatch.setattr(synthetic, "_write", fail)
        with pytest.raises(ConfigurationError) as caught:
            make_synthetic(3, tmp_path)
        for part in (str(tmp_path / "synthetic"), "No space left on device", "RAYPERF_CACHE_DIR"):
            assert part in str(caught.value)
        assert not list(tmp_path.rglob("*.partial"))

    def test_cache_in_a_file(self, tmp_path):
        (tmp_path / "synthetic").write_text("not a folder")
        with pytest.raises(ConfigurationError, match="RAYPERF_CACHE_DIR"):
            make_synthetic(1, tmp_path)

    @pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
    def test_cache_that_may_not_be_written(self, tmp_path):
        tmp_path.chmod(0o500)
        try:
            with pytest.raises(ConfigurationError, match=r"Permission denied.*RAYPERF_CACHE_DIR"):
                make_synthetic(1, tmp_path)
        finally:
            tmp_path.chmod(0o700)


def test_the_stream_of_noise_is_pinned():
    # Every image follows from it: were it to change, VERSION would have to, and every baseline be taken anew.
    assert synthetic._Random(0, 1).plane(2, 4).tolist() == [[37, 22, 172, 133], [226, 235, 197, 227]]

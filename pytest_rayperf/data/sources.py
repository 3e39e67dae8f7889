"""The data sets that `--rayperf-data` can name: opened, checked and dealt before anything is measured."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pytest_rayperf.data import synthetic
from pytest_rayperf.data.cache import cache_root, make_once
from pytest_rayperf.data.decoding import check_images
from pytest_rayperf.errors import ConfigurationError

if TYPE_CHECKING:
    from ray.data import Dataset

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif"})
"""What Ray Data takes for an image, in lower case."""

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_ELSEWHERE = "or point --rayperf-data to a folder of images, or use --rayperf-data synthetic"


@dataclass(frozen=True)
class ImageSource:
    """Images that one `.read()` gives as rows.

    paths: absolute paths or URIs, in the order in which they are read, repeated with the passes.
    num_bytes: of the encoded files, as often as they are read; None where the storage doesn't tell.
    fingerprint: 16 hex digits. Figures of sources that differ in it are incomparable.
    filesystem: the `pyarrow.fs.FileSystem` of the paths; None for local ones.
    """

    name: str
    paths: tuple[str, ...]
    num_bytes: int | None
    fingerprint: str
    passes: int = 1
    filesystem: Any = field(default=None, repr=False, compare=False)

    @property
    def num_images(self) -> int:
        """The rows that one `.read()` gives."""
        return len(self.paths)

    def read(self, **read_images_kwargs: Any) -> Dataset:
        """A lazy dataset of the images: `ray.data.read_images` of `paths`, every argument of it overridable.

        Unless overridden, a row is `image`, uint8 of shape (256, 256, 3), and `path`, a string.
        """
        import ray.data

        arguments: dict[str, Any] = {"mode": "RGB", "size": (256, 256), "include_paths": True}
        if self.filesystem is not None:
            arguments["filesystem"] = self.filesystem
        return ray.data.read_images(list(self.paths), **(arguments | read_images_kwargs))

    def repeat(self, passes: int) -> ImageSource:
        """The same images, the whole list of them read `passes` times over; the fingerprint stays.

        Raises ConfigurationError if `passes` is below 1.
        """
        if passes < 1:
            raise ConfigurationError(f"{self.name}: {passes} passes over the images; at least 1 is needed")
        return replace(
            self,
            paths=self.paths * passes,
            num_bytes=None if self.num_bytes is None else self.num_bytes * passes,
            passes=self.passes * passes,
        )


def open_source(source: str, num_images: int | None, default_images: int) -> ImageSource:
    """Open what `--rayperf-data` names.

    source: `synthetic`, `imagenette`, a local folder, or a URI that Ray Data reads.
    num_images: as asked for with `--rayperf-images`; None takes `default_images`, or all if there are fewer.

    The images are taken in turn from the folders that hold them, in sorted order, so that any number of them
    has all classes. Those of a local folder are all decoded once, here rather than in the midst of a round.

    Raises ConfigurationError for a source that is missing, empty, unreachable or unreadable, an image that
    doesn't decode, or more images asked for than there are.
    """
    if num_images is not None and num_images < 1:
        raise ConfigurationError(f"--rayperf-images {num_images}: at least 1 image is needed")
    if source == "synthetic":
        return _open_synthetic(num_images or default_images)
    if source == "imagenette":
        return _open_imagenette(num_images, default_images)
    if source.startswith("file://"):
        return _open_folder(source, Path(unquote(urlsplit(source).path)), num_images, default_images)
    if _URI.match(source):
        return _open_uri(source, num_images, default_images)
    return _open_folder(source, Path(source).expanduser(), num_images, default_images)


def _open_synthetic(count: int) -> ImageSource:
    folder = synthetic.make_synthetic(count)
    paths = [folder / synthetic.relative_path(index) for index in range(count)]
    # Of what was asked of the generator, not of the bytes: another Pillow may encode the same picture in
    # other bytes, and figures from before and after its upgrade must stay comparable.
    fingerprint = _fingerprint([f"synthetic version {synthetic.VERSION} seed 0 images {count}"])
    num_bytes = sum(path.stat().st_size for path in paths)
    return ImageSource("synthetic", tuple(map(str, paths)), num_bytes, fingerprint)


def _open_imagenette(num_images: int | None, default_images: int) -> ImageSource:
    root = cache_root() / "imagenette"
    # The full size, 1.5 GB to download once: its photographs cost as much to read as ImageNet's do, which the
    # synthetic ones imitate. Those of the 320 pixel edition cost half.
    images = Path("imagenette2", "val")
    make_once(root, _download_imagenette, lambda folder: (folder / images).is_dir())
    chosen = _deal("imagenette", _find_images(root / images), num_images, default_images)
    # The archive was checked against its MD5 sum and unpacked whole, so its images need no decoding now.
    sizes = [(root / images / name).stat().st_size for name in chosen]
    return ImageSource(
        name="imagenette",
        paths=tuple(str(root / images / name) for name in chosen),
        num_bytes=sum(sizes),
        fingerprint=_fingerprint(f"{name} {size}" for name, size in sorted(zip(chosen, sizes, strict=True))),
    )


def _download_imagenette(folder: Path) -> None:
    import ssl
    from http.client import HTTPException
    from urllib.error import URLError

    from torchvision.datasets import Imagenette

    try:
        Imagenette(root=folder, split="val", size="full", download=True)
    # torchvision's RuntimeError is for a file that came with another checksum.
    except (URLError, HTTPException, ConnectionError, TimeoutError, ssl.SSLError, RuntimeError) as error:
        raise ConfigurationError(
            f"--rayperf-data imagenette: not in the cache, and downloading it failed ({error}); "
            f"connect this machine to the network once, {_ELSEWHERE}"
        ) from error
    for archive in folder.glob("*.tgz"):
        archive.unlink()


def _open_folder(source: str, root: Path, num_images: int | None, default_images: int) -> ImageSource:
    if not root.exists():
        raise ConfigurationError(f"--rayperf-data {source}: there is no such folder; name an existing one")
    if not root.is_dir():
        raise ConfigurationError(
            f"--rayperf-data {source}: is not a folder; name the folder that holds the images"
        )
    root = root.resolve()
    try:
        names = _find_images(root)
    except OSError as error:
        raise ConfigurationError(
            f"--rayperf-data {source}: cannot list {error.filename}: {error.strerror}; make it readable"
        ) from error
    chosen = _deal(source, names, num_images, default_images)
    for name in chosen:
        if "?" in str(root / name):
            raise ConfigurationError(
                f"--rayperf-data {source}: {root / name}: what follows a question mark is no part of a path "
                "to Ray Data, which would leave the image out; rename it"
            )
    checked = check_images([root / name for name in chosen])
    return ImageSource(
        name=source,
        paths=tuple(str(root / name) for name in chosen),
        num_bytes=sum(image.num_bytes for image in checked),
        fingerprint=_fingerprint(
            f"{name} {image.sha256}" for name, image in sorted(zip(chosen, checked, strict=True))
        ),
    )


def _find_images(root: Path) -> list[str]:
    """Names relative to `root`, with slashes. Hidden files and folders hold no images that anyone means."""

    def fail(error: OSError) -> None:
        raise error

    names = []
    for folder, folders, files in os.walk(root, onerror=fail, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        names += [Path(folder, name).relative_to(root).as_posix() for name in files if _is_image(name)]
    return names


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _open_uri(uri: str, num_images: int | None, default_images: int) -> ImageSource:
    from pyarrow.fs import FileSelector, FileType  # type: ignore[import-untyped]

    shown = uri
    try:
        parts = urlsplit(uri, allow_fragments=False)
        if parts.password:  # reports are read by more people than may know an access key
            shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        filesystem, root = _filesystem(uri)
        kind = filesystem.get_file_info(root).type
        folder = kind == FileType.Directory
        found = filesystem.get_file_info(FileSelector(root, recursive=True)) if folder else []
    # From the storage pyarrow raises OSError, for the URI a ValueError or a NotImplementedError of its own.
    except (OSError, ValueError, NotImplementedError) as error:
        raise ConfigurationError(
            f"--rayperf-data {shown}: cannot be reached or listed: {str(error).replace(uri, shown)}; "
            f"check the URI, the credentials and the network, {_ELSEWHERE}"
        ) from (error if shown == uri else None)
    if kind == FileType.NotFound:
        raise ConfigurationError(f"--rayperf-data {shown}: there is no such folder; name an existing one")
    if kind != FileType.Directory:
        raise ConfigurationError(
            f"--rayperf-data {shown}: is not a folder; name the folder that holds the images"
        )

    prefix = root.rstrip("/") + "/"
    sizes = {file.path.removeprefix(prefix): file.size for file in found if file.type == FileType.File}
    chosen = _deal(shown, [name for name in sizes if _is_image(name)], num_images, default_images)
    known = [size for name in chosen if (size := sizes[name]) is not None]
    return ImageSource(
        name=shown,
        paths=tuple(_address(parts.scheme, parts.username, parts.password, prefix + name) for name in chosen),
        num_bytes=sum(known) if len(known) == len(chosen) else None,
        fingerprint=_fingerprint(f"{name} {sizes[name]}" for name in sorted(chosen)),
        filesystem=filesystem,
    )


def _filesystem(uri: str) -> tuple[Any, str]:
    """The filesystem and the path in it, as Ray Data resolves them; it takes `anonymous@` as well."""
    from pyarrow.fs import FileSystem

    parts = urlsplit(uri, allow_fragments=False)
    if parts.scheme in ("gs", "gcs") and "retry_limit_seconds" not in parts.query:
        uri += (
            "&" if parts.query else "?"
        ) + "retry_limit_seconds=30"  # else it tries for 15 minutes if offline
    filesystem, path = FileSystem.from_uri(uri)
    return filesystem, path.rstrip("/")


def _address(scheme: str, username: str | None, password: str | None, path: str) -> str:
    """What to call a file so that Ray, given its filesystem too, takes it for `path` there.

    The query of the source (a region, an endpoint) is in the filesystem: Ray would take it for a part of the
    name. So are the keys. Ray cuts `anonymous@` off S3 addresses alone; there it stays, as it makes them good
    without a filesystem too.
    """
    if scheme == "s3":
        return f"s3://{'anonymous@' if username == 'anonymous' and not password else ''}{path}"
    return f"{scheme}://{path}" if scheme in ("gs", "gcs") else path


def _deal(source: str, names: Iterable[str], num_images: int | None, default_images: int) -> list[str]:
    """The names to read, in turn from each folder that holds some."""
    folders: dict[str, list[str]] = {}
    for name in sorted(names):
        folders.setdefault(str(PurePosixPath(name).parent), []).append(name)
    rounds = zip_longest(*(folders[folder] for folder in sorted(folders)))
    dealt = [name for name in chain.from_iterable(rounds) if name is not None]
    if not dealt:
        raise ConfigurationError(
            f"--rayperf-data {source}: holds no images ({' '.join(sorted(SUFFIXES))}), nor do the folders "
            "in it; name a folder that does"
        )
    if num_images is not None and num_images > len(dealt):
        raise ConfigurationError(
            f"--rayperf-images {num_images}: {source} holds only {len(dealt)} images; ask for fewer, "
            "or name a larger folder with --rayperf-data"
        )
    return dealt[: num_images or default_images]


def _fingerprint(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        # A surrogate stands for a byte of a file's name that is not UTF-8.
        digest.update(part.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()[:16]

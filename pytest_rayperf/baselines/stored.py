"""The folder of baselines as the program `rayperf` sees it: every environment's files, and one by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_rayperf.baselines.format import Baseline, read_baseline
from pytest_rayperf.errors import BaselineError, ConfigurationError

_RECORD = "record some with: pytest --rayperf --rayperf-update-baselines"


@dataclass(frozen=True)
class Stored:
    """One baseline file.

    Attributes:
        path: the file.
        shown: how messages name it.
        environment: its folder's name.
        baseline: what is in it.
    """

    path: Path
    shown: str
    environment: str
    baseline: Baseline

    @property
    def slug(self) -> str:
        """The file's name, without its ending."""
        return self.path.stem


def files_in(folder: Path, environment: str | None = None) -> list[Path]:
    """The baseline files of a folder of environments, or of one environment's folder; sorted.

    Args:
        folder: as above.
        environment: only those of this one.

    Raises:
        ConfigurationError: there is no such folder, or environment; or it cannot be read.
    """
    try:
        if not folder.is_dir():
            wrong = "is a file, not a folder of baselines" if folder.exists() else "there is no such folder"
            raise ConfigurationError(f"{folder}: {wrong}; name the folder of baselines, or {_RECORD}")
        found = sorted(folder.glob("*/*.json")) or sorted(folder.resolve().glob("*.json"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{folder}: cannot be read ({error})") from None
    if environment is None:
        return found
    chosen = [path for path in found if path.parent.name == environment]
    if not chosen:
        known = ", ".join(sorted({path.parent.name for path in found})) or "none"
        raise ConfigurationError(f"{folder}: has no environment {environment!r}; it has: {known}")
    return chosen


def read_stored(path: Path) -> Stored:
    """One file.

    Raises:
        BaselineError: it is broken.
    """
    shown = _shown(path)
    return Stored(path, shown, path.parent.name, read_baseline(path, shown))


def read_all(paths: Iterable[Path]) -> tuple[list[Stored], list[str]]:
    """What can be read of the files, and a line for each that cannot."""
    found, broken = [], []
    for path in paths:
        try:
            found.append(read_stored(path))
        except BaselineError as error:
            broken.append(str(error))
    return found, broken


def _shown(path: Path) -> str:
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except (ValueError, OSError):  # elsewhere; or the current folder is gone
        return path.as_posix()


def find(stored: Sequence[Stored], name: str, folder: Path) -> Stored:
    """The baseline that `name` means: a file's name, with or without its ending or folder, or a node id.

    Raises:
        ConfigurationError: none, or several.
    """
    wanted = Path(name).name.removesuffix(".json") if name.endswith(".json") else name
    fits = [one for one in stored if wanted in (one.slug, one.baseline.id)]
    if name.endswith(".json") and "/" in name:
        fits = [one for one in fits if one.path.parent.name == Path(name).parent.name] or fits
    if len(fits) == 1:
        return fits[0]
    if fits:
        places = sorted({one.environment for one in fits})
        if len(places) > 1:
            raise ConfigurationError(
                f"{name}: there is one in each of several environments; choose with --environment: "
                f"{', '.join(places)}"
            )
        raise ConfigurationError(
            f"{name}: has several baselines; name one: {', '.join(one.slug for one in fits)}"
        )
    near = [one.slug for one in stored if wanted and (wanted in one.slug or wanted in one.baseline.id)]
    hint = f"did you mean {', '.join(dict.fromkeys(near[:5]))}?" if near else "see: rayperf baselines list"
    raise ConfigurationError(f"{name}: no such baseline in {folder}; {hint}")

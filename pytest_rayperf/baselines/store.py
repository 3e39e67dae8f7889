"""The baseline files: `DIR/<environment>/<slug>.json`, one a benchmark, written whole or not at all."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from pytest_rayperf.baselines.format import Baseline, Session, read_baseline, to_json
from pytest_rayperf.errors import BaselineError
from pytest_rayperf.judging.reference import Reference, ReferenceSession
from pytest_rayperf.machine import Environment
from pytest_rayperf.results import Benchmark, Subject
from pytest_rayperf.wholefile import write_whole
from pytest_rayperf.work.comparison import same_code
from pytest_rayperf.work.counts import Work


class BaselineStore:
    """The folder of baselines of one environment, and its neighbours' of other environments.

    Args:
        folder: `--rayperf-baselines`.
        environment: whose baselines are compared with and written.
        shown_from: the folder that file names are shown relative to.
    """

    def __init__(self, folder: Path, environment: Environment, shown_from: Path) -> None:
        self.folder = folder
        self.environment = environment
        self._shown_from = shown_from

    def path(self, slug: str) -> Path:
        """Where the baseline of `slug` is, or would be."""
        return self.folder / self.environment.id / f"{slug}.json"

    def shown(self, path: Path) -> str:
        """`path` as messages name it."""
        try:
            return path.relative_to(self._shown_from).as_posix()
        except ValueError:
            return path.as_posix()

    def load(self, slug: str) -> Baseline | None:
        """The baseline of `slug` in this environment, None if there is none.

        Raises:
            BaselineError: the file cannot be read or is not what a baseline must be.
        """
        path = self.path(slug)
        return read_baseline(path, self.shown(path)) if path.is_file() else None

    def reference(self, slug: str, id: str) -> Reference | None:
        """The baseline of `slug` as the verdict wants it.

        Raises:
            BaselineError: as `load`, or the file belongs to another test.
        """
        baseline = self.load(slug)
        if baseline is None:
            return None
        shown = self.shown(self.path(slug))
        if baseline.id != id:
            raise BaselineError(
                f"{shown}: is the baseline of {baseline.id!r}, not of {id!r}; if the test was renamed, "
                "rename the file and its 'id', or delete it and record it anew"
            )
        return reference_of(baseline, shown)

    def elsewhere(self, slug: str, id: str) -> Iterator[Reference]:
        """The baselines of `slug` in other environments, for what carries over."""
        for path in sorted(self.folder.glob(f"*/{slug}.json")):
            if path.parent.name != self.environment.id:
                baseline = read_baseline(path, self.shown(path))
                if baseline.id == id:
                    yield reference_of(baseline, self.shown(path))

    def all(self) -> Iterator[tuple[Path, Baseline]]:
        """Every baseline of this environment.

        Raises:
            BaselineError: at the first file that is broken.
        """
        for path in sorted((self.folder / self.environment.id).glob("*.json")):
            yield path, read_baseline(path, self.shown(path))

    def check(self) -> None:
        """Read every baseline of every environment, so that a broken one stops the run before it starts.

        Raises:
            BaselineError: at the first file that is broken, or if the folder is a file.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise BaselineError(f"--rayperf-baselines {self.shown(self.folder)}: is a file, not a folder")
        own = self.folder / self.environment.id
        if own.exists() and not own.is_dir():
            raise BaselineError(f"{self.shown(own)}: is a file, not a folder of baselines; move it away")
        for path in sorted(self.folder.glob("*/*.json")):
            baseline = read_baseline(path, self.shown(path))
            if path.parent == own:
                check_place(baseline, self.environment.id, self.shown(path))

    def check_writable(self) -> None:
        """Make this environment's folder and a file in it, and remove the file.

        Raises:
            BaselineError: that cannot be done.
        """
        folder = self.path("any").parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise BaselineError(
                f"--rayperf-baselines {self.shown(folder)}: cannot be written ({error}); "
                "--rayperf-update-baselines needs a folder that it may write"
            ) from error

    def accept(self, benchmark: Benchmark, subject: Subject, session: Session, *, anew: bool) -> Path:
        """Add `session` to the benchmark's baseline, and return the file.

        Sessions of another subject cannot be compared with this one and are dropped; so are all earlier
        ones where `anew` is set: a change that was accepted makes the old speed history, and git keeps it.

        Raises:
            BaselineError: the file there is broken, or cannot be written.
        """
        path = self.path(benchmark.slug)
        with _lock_for(path):  # two runs at once add two sessions, neither loses the other's
            old = self.load(benchmark.slug)
            kept: tuple[Session, ...] = ()
            if old is not None and old.subject == subject and not anew:
                kept = old.sessions
            if session.work is not None:
                kept = tuple(replace(one, work=_still_holds(one.work, session.work)) for one in kept)
            new = Baseline(benchmark.id, benchmark.variant, self.environment, subject, (*kept, session))
            _write(path, to_json(new), self.shown(path))
        return path


def _still_holds(then: Work | None, now: Work) -> Work | None:
    """Earlier counts, where `now` does not replace them: of other software, and of the same code."""
    if then is None or then.software == now.software or not same_code(then, now):
        return None
    return then


def check_place(baseline: Baseline, environment: str, shown: str) -> None:
    """Raises BaselineError if it lies in the folder of one environment, and was measured on another."""
    if baseline.environment.id != environment:
        raise BaselineError(
            f"{shown}: was measured on {baseline.environment.id!r}, by what is in it; "
            "move it to the folder of that name, or delete it and record it anew"
        )


def reference_of(baseline: Baseline, shown: str) -> Reference:
    """A baseline as the verdict wants it; `shown` is how messages name it."""
    sessions = tuple(ReferenceSession(s.rounds, s.software, s.work, s.probe) for s in baseline.sessions)
    return Reference(shown, baseline.subject, sessions, cores=baseline.environment.cores)


def remove(path: Path, shown: str) -> None:
    """Delete a baseline.

    Raises:
        BaselineError: it cannot be deleted.
    """
    try:
        with _lock_for(path):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise BaselineError(f"{shown}: cannot be removed ({error.strerror or error})") from error


def rewrite(path: Path, shown: str, change: Callable[[Baseline], Baseline]) -> None:
    """Put what `change` makes of a baseline in its place; of the baseline as it is then, by whomever written.

    Raises:
        BaselineError: it is broken, or cannot be written.
    """
    with _lock_for(path):
        _write(path, to_json(change(read_baseline(path, shown))), shown)


def _lock_for(path: Path) -> FileLock:
    """A lock for the files of one folder, kept out of that, which git tracks."""
    digest = hashlib.sha256(str(path.resolve().parent).encode()).hexdigest()[:16]
    return FileLock(Path(tempfile.gettempdir()) / f"pytest-rayperf-{digest}.lock", mode=0o666)


def _write(path: Path, text: str, shown: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        raise BaselineError(f"{shown}: cannot be written ({error}); the old file is as it was") from error

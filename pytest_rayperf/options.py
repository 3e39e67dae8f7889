"""Command line and ini file -> one frozen `Options`. All their validation is here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_rayperf.errors import ConfigurationError
from pytest_rayperf.flags import FAR_SIDE, FLAGS, PACKAGES, dest_of, flag_of
from pytest_rayperf.judging.policy import MOST_ROUNDS
from pytest_rayperf.wholefile import unwritable

if TYPE_CHECKING:
    import pytest


@dataclass(frozen=True)
class Profile:
    """Sizes of a run. `passes`: how often a suite's round reads each image."""

    name: str
    model: str
    images: int
    passes: int


PROFILES = {
    # 64 images take mobilenet_v3_small 0.6 s on 2 cores, and the pool's start 5 s: so several passes.
    "quick": Profile("quick", "mobilenet_v3_small", 64, 3),
    "standard": Profile("standard", "resnet50", 96, 1),
    "full": Profile("full", "resnet50", 5_000, 1),
}


_ROUNDS = f"a whole number, 1 to {MOST_ROUNDS}"


@dataclass(frozen=True)
class Options:
    """What the user asked for, checked. The fields are the options of `pytest --help`."""

    active: bool
    gate: bool
    strict: bool
    fail_on_improvement: bool
    profile: Profile
    images: int | None
    model: str
    data: str
    weights: str
    address: str | None
    baselines: Path
    update_baselines: bool
    selftest: bool
    max_slowdown: float
    alpha: float
    min_rounds: int
    max_rounds: int
    max_time: float
    json: Path | None
    markdown: Path | None
    html: Path | None
    cost_per_hour: float | None
    """USD."""
    profile_udf: Path | None
    """The folder that the UDFs' profiles are written to; None where they are not profiled."""
    against: str | None = None
    """The git revision of the far side; None for the files as they are, or where there is no far side."""
    against_env: tuple[str, ...] = ()
    """What pip installs for it."""
    far_side: int | None = None
    """Where this is the far side itself: the socket that it is asked through."""

    @property
    def has_far_side(self) -> bool:
        """Whether the reference is measured now, instead of read from the baselines."""
        return self.far_side is None and (self.against is not None or bool(self.against_env))

    @property
    def reads_baselines(self) -> bool:
        """Whether anything is compared with the baselines."""
        return self.far_side is None and not self.has_far_side


def is_active(config: pytest.Config) -> bool:
    """Whether the performance tests run, without looking at any other option."""
    return _switch(config, "")


def has_pytest_benchmark(config: pytest.Config) -> bool:
    """Whether pytest-benchmark is loaded, under whatever name: `-p no:benchmark` turns it off."""
    return hasattr(config.option, "benchmark_json")


def given_without_switch(config: pytest.Config) -> str | None:
    """A flag given on the command line without --rayperf: a CI job that forgot it would pass unmeasured."""
    if is_active(config):
        return None
    asked = [*FLAGS, "against", PACKAGES]
    return next((flag_of(n) for n in asked if n and config.getoption(dest_of(n), None)), None)


def project_root(config: pytest.Config) -> Path:
    """The folder that test ids and the default baselines are relative to: pytest's rootdir, mended.

    pytest chooses its rootdir before it knows our options, so an existing folder in
    `--rayperf-data DIR` (with a space) counts as a test path; where that lies outside the project, rootdir
    becomes the common ancestor and the ini file is not read. Then the folder of the nearest ini file at or
    above the start folder is meant.
    """
    root, start = config.rootpath, config.invocation_params.dir
    if config.inipath is None and root in start.parents:
        names = ("pytest.toml", "pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
        for folder in (start, *start.parents):
            if folder == root:
                break
            if any((folder / name).is_file() for name in names):
                return folder
    return root


def read_options(config: pytest.Config) -> Options:
    """Read and check everything.

    Raises:
        ConfigurationError: a value out of range or options that exclude each other; it names the option.
    """
    read = _Values(config)
    profile_name = read.text("profile") or "quick"
    profile = PROFILES.get(profile_name)
    if profile is None:
        raise ConfigurationError(
            f"{read.where('profile')} {profile_name!r}: must be one of {', '.join(PROFILES)}"
        )
    options = Options(
        active=_switch(config, ""),
        gate=_switch(config, "gate"),
        # In an ini file it is what a gate shall be, where there is one.
        strict=_switch(config, "strict") and _switch(config, "gate"),
        fail_on_improvement=_switch(config, "fail-on-improvement"),
        profile=profile,
        images=read.number("images", int, None, lambda n: n >= 1, "a whole number, 1 or more"),
        model=read.text("model") or profile.model,
        data=read.data() or "synthetic",
        weights=read.weights() or "random",
        address=read.text("address"),
        baselines=read.path("baselines") or project_root(config) / "baselines",
        update_baselines=_switch(config, "update-baselines"),
        selftest=_switch(config, "selftest"),
        max_slowdown=read.number(
            "max-slowdown",
            float,
            1.10,
            lambda x: 1 < x <= 100,
            "a factor above 1 and up to 100, such as 1.10",
        ),
        alpha=read.number(
            "alpha", float, 0.01, lambda p: 0 < p <= 0.5, "a probability above 0 and up to 0.5"
        ),
        min_rounds=read.number("min-rounds", int, 3, lambda n: 1 <= n <= MOST_ROUNDS, _ROUNDS),
        max_rounds=read.number("max-rounds", int, 20, lambda n: 1 <= n <= MOST_ROUNDS, _ROUNDS),
        max_time=read.number("max-time", float, 120.0, lambda s: 0 < s < 1e9, "seconds, above 0"),
        json=read.path("json"),
        markdown=read.path("markdown"),
        html=read.path("html"),
        cost_per_hour=read.number(
            "cost-per-hour", float, None, lambda usd: 0 < usd < 1e9, "US dollars, above 0, such as 3.06"
        ),
        profile_udf=None,
        against=read.text("against"),
        against_env=read.texts(PACKAGES),
        far_side=config.getoption(dest_of(FAR_SIDE), None),
    )
    if options.far_side is not None:
        # It is asked for rounds, and nothing else; what the ini file says is for the near side.
        return replace(options, against=None, against_env=(), update_baselines=False, selftest=False)
    if _switch(config, "profile-udf"):
        report = options.json or options.html
        beside = Path.cwd() if report is None else report.parent
        options = replace(options, profile_udf=beside / "rayperf-profiles")
    _check_together(config, options, read)
    return options


def _check_together(config: pytest.Config, options: Options, read: _Values) -> None:
    if options.min_rounds > options.max_rounds:
        raise ConfigurationError(
            f"{read.where('min-rounds')} {options.min_rounds}: must not be above "
            f"{read.where('max-rounds')} {options.max_rounds}"
        )
    if config.getoption(dest_of("strict"), None) and not options.gate:
        raise ConfigurationError(f"{flag_of('strict')}: goes with --rayperf-gate; add that")
    if options.update_baselines and options.gate:
        gate = read.where("gate")
        mend = "" if gate == flag_of("gate") else f" (-o {dest_of('gate')}=false does, for one run)"
        raise ConfigurationError(
            f"{read.where('update-baselines')}: cannot go with {gate}: one accepts what the other checks; "
            f"drop one of them{mend}"
        )
    for other in ("gate", "update-baselines"):
        if options.selftest and _switch(config, other):
            raise ConfigurationError(
                f"{read.where('selftest')}: cannot go with {read.where(other)}: a self-test compares "
                "nothing with a baseline; drop one of them"
            )
    if options.selftest and options.profile_udf is not None:
        raise ConfigurationError(
            f"{read.where('selftest')}: cannot go with {read.where('profile-udf')}: a self-test profiles "
            "nothing; drop one of them"
        )
    for other in ("update-baselines", "selftest", "profile-udf"):
        if options.has_far_side and _switch(config, other):
            far = "against" if options.against is not None else PACKAGES
            raise ConfigurationError(
                f"{read.where(far)}: cannot go with {read.where(other)}: nothing is compared with the "
                "baselines, and the far side's rounds are none of them; drop one of them"
            )
    if options.against_env and options.address is not None:
        raise ConfigurationError(
            f"{read.where(PACKAGES)}: cannot go with {read.where('address')}: with other packages the far "
            "side needs a cluster of its own; drop one of them"
        )
    workers = getattr(config.option, "numprocesses", None)
    if not options.active:
        return
    if workers or getattr(config.option, "tx", None) or hasattr(config, "workerinput"):
        raise ConfigurationError(
            f"-n {workers or ''}: performance tests share the machine's cores and cannot run in parallel; "
            "run pytest --rayperf with -n 0 or -p no:xdist"
        )
    if not has_pytest_benchmark(config):
        raise ConfigurationError(
            "-p no:benchmark: performance tests hand their rounds to pytest-benchmark; leave that option out"
        )
    if config.getoption("benchmark_skip", False):
        raise ConfigurationError(
            "--benchmark-skip: would skip every performance test, and the run would pass; leave it out"
        )
    _check_reports(options, read)


def _check_reports(options: Options, read: _Values) -> None:
    """A report that cannot be written is found before anything is measured."""
    taken: dict[Path, str] = {}
    for name, path in (("json", options.json), ("markdown", options.markdown), ("html", options.html)):
        if path is None:
            continue
        where = f"{read.where(name)} {path}"
        if path.is_dir():
            raise ConfigurationError(f"{where}: is a folder; name a file in it")
        if path.suffix == ".py":
            raise ConfigurationError(f"{where}: is a Python file; name one for the report")
        if not path.parent.is_dir():
            raise ConfigurationError(f"{where}: the folder {path.parent} does not exist; make it")
        if problem := unwritable(path):
            raise ConfigurationError(f"{where}: cannot be written ({problem}); name another place")
        other = taken.setdefault(path.resolve(), name)
        if other != name:
            raise ConfigurationError(
                f"{where}: is the file of {read.where(other)} too; write each report to a file of its own"
            )


def _switch(config: pytest.Config, name: str) -> bool:
    given = config.getoption(dest_of(name), None)
    try:
        return bool(config.getini(dest_of(name)) if given is None else given)
    except Exception as error:  # ValueError, since pytest 9.2 UsageError; neither names the option
        raise ConfigurationError(f"ini option {dest_of(name)}: must be true or false ({error})") from error


def plain(text: str) -> bool:
    """Whether a number is written as people do: not `1_0`, which Python takes for 10, nor in other digits."""
    return text.isascii() and "_" not in text


class _Values:
    """Reads an option, or its ini twin, and remembers which of the two to name in an error."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def where(self, name: str) -> str:
        dest = dest_of(name)
        from_ini = self._config.getoption(dest, None) is None and self._config.getini(dest)
        return f"ini option {dest}" if from_ini else flag_of(name)

    def text(self, name: str) -> str | None:
        given = self._config.getoption(dest_of(name), None)
        value = given if given is not None else self._config.getini(dest_of(name))
        if given == "":
            raise ConfigurationError(f"{flag_of(name)}: needs a value, got an empty one")
        return str(value) if value else None

    def texts(self, name: str) -> tuple[str, ...]:
        given = self._config.getoption(dest_of(name), None)
        values = tuple(
            str(value) for value in (self._config.getini(dest_of(name)) if given is None else given)
        )
        if "" in map(str.strip, values):
            raise ConfigurationError(f"{self.where(name)}: needs a requirement, such as ray==2.58.1")
        return values

    def number(
        self,
        name: str,
        kind: type[Any],
        default: Any,
        fits: Callable[[Any], bool],
        wanted: str,
    ) -> Any:
        text = self.text(name)
        if text is None:
            return default
        try:
            value = kind(text) if plain(text) else None
        except ValueError:
            value = None
        if value is None or not fits(value):
            raise ConfigurationError(f"{self.where(name)} {text!r}: must be {wanted}")
        return value

    def path(self, name: str) -> Path | None:
        """A path: of the command line from where pytest was started, of the ini file from its folder."""
        text = self.text(name)
        if text is None:
            return None
        given = self._config.getoption(dest_of(name), None) is not None
        inipath = self._config.inipath
        ini_folder = inipath.parent if inipath else self._config.rootpath
        return (self._config.invocation_params.dir if given else ini_folder) / Path(text).expanduser()

    def data(self) -> str | None:
        text = self.text("data")
        if text is None or text in ("synthetic", "imagenette") or "://" in text:
            return text
        return str(self.path("data"))

    def weights(self) -> str | None:
        text = self.text("weights")
        return text if text in (None, "random", "imagenet") else str(self.path("weights"))

"""What a session's tests share: options, images, model, the run's record. Made when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_rayperf.errors import ConfigurationError
from pytest_rayperf.feed import ReplayTimer
from pytest_rayperf.options import Options
from pytest_rayperf.progress import ProgressLine
from pytest_rayperf.slugs import slug_of

if TYPE_CHECKING:
    from pytest_rayperf.against.far import FarSide
    from pytest_rayperf.against.serving import ServedRayPerf, Server
    from pytest_rayperf.data.features import FeatureSource
    from pytest_rayperf.data.sources import ImageSource
    from pytest_rayperf.harness.contest import Contest
    from pytest_rayperf.harness.rayperf import RayPerf
    from pytest_rayperf.harness.session import RunRecord
    from pytest_rayperf.measurement import Executor
    from pytest_rayperf.models.classifier import Classifier
    from pytest_rayperf.reports.json import Report
    from pytest_rayperf.results import Round, Subject, Variant
    from pytest_rayperf.run import Run

_FEATURE_ROWS = {"quick": 20_000, "standard": 100_000, "full": 1_000_000}


class Resources:
    """One per pytest session, in `config.stash`.

    Args:
        options: the user's.
        progress: where long work is shown.
        root: the project's folder, which test ids and messages are relative to.
    """

    def __init__(self, options: Options, progress: ProgressLine, root: Path) -> None:
        self.options = options
        self.progress = progress
        self.root = root
        self.collected = 0
        """How many performance tests there were before any were chosen from them."""
        self._shared: dict[str, Contest] = {}
        self.server: Server | None = None
        """Where this is the far side: who answers the near one."""
        self.far: FarSide | None = None
        """What is compared with instead of baselines, once it has been started."""
        self.images = cache(self._open_images)
        self.classifier = cache(self._open_classifier)
        self.record = cache(self._make_record)
        self.report = cache(self._make_report)

    def _open_images(self) -> ImageSource:
        from pytest_rayperf.data.sources import open_source

        options = self.options
        self.progress.note(f"images: {options.data}")
        return open_source(options.data, options.images, options.profile.images)

    def _open_classifier(self) -> Classifier:
        from pytest_rayperf.models.classifier import open_classifier

        self.progress.note(f"model: {self.options.model}, weights {self.options.weights}")
        return open_classifier(self.options.model, self.options.weights)

    def features(self) -> FeatureSource:
        """Synthetic rows, as many as the profile says."""
        from pytest_rayperf.data.features import FeatureSource

        return FeatureSource(_FEATURE_ROWS[self.options.profile.name])

    def _make_record(self) -> RunRecord:
        from pytest_rayperf.environment import detect_environment
        from pytest_rayperf.harness.session import Provenance, RunRecord
        from pytest_rayperf.software import git_commit, software_versions

        provenance = Provenance(detect_environment(), software_versions(), git_commit(self.root))
        return RunRecord(self.options, provenance, self.root)

    def _make_report(self) -> Report:
        """The report, made once at the end: every table and every file says the same."""
        from pytest_rayperf.reports.json import report_on

        run = self.run()
        reported = self.options.json is not None or self.options.html is not None
        return report_on(self._with_history(run) if reported and self.options.reads_baselines else run)

    def _with_history(self, run: Run) -> Run:
        """With what was accepted before this run: JSON has it, and HTML draws it."""
        from dataclasses import replace

        from pytest_rayperf.baselines.history import read_history

        slugs = {benchmark.slug for benchmark in run.benchmarks}
        try:
            found = read_history(self.options.baselines, run.environment.id, slugs)
        except KeyboardInterrupt:  # git takes long: the reports matter more than their history
            return replace(run, warnings=(*run.warnings, "history of the baselines: interrupted"))
        own = {Path(name).stem for name in self.record().accepted}
        history = {
            slug: sessions[:-1] if slug in own else sessions for slug, sessions in found.sessions.items()
        }
        missing = found.notes() if found.unreadable or not found.complete else []
        notes = (f"history of the baselines: {note}" for note in missing)
        return replace(run, history=history, warnings=(*run.warnings, *notes))

    def prepare(self, items: Sequence[pytest.Item]) -> None:
        """Open what the performance tests among `items` need, before the first of them runs.

        Raises:
            ConfigurationError: it cannot be used; nothing has been measured.
        """
        record = self.record()
        if self.options.reads_baselines:
            record.store.check()
        if self.options.update_baselines:
            record.store.check_writable()
        tests = [item for item in items if is_performance_test(item)]
        record.selected = len(tests)
        if self.options.selftest:
            # -k chooses what the gate is tested with; how it deals alpha in a run of all is what is tested.
            record.selected = max(len(tests), self.collected)
        for item in tests:
            limits_of(item)
            if self.options.reads_baselines:
                record.store.reference(slug_of(self.id_of(item)), self.id_of(item))  # it must be that test's
        # Variants of one duel are measured by whichever item comes first.
        self.progress.plan(
            {item.nodeid: _duel_key(item) if _variant(item) else item.nodeid for item in tests}
        )
        if _any_uses(tests, "imagenette"):
            self.images()
        if _any_uses(tests, "classifier"):
            self.classifier()
        elif self.options.model != self.options.profile.model:
            # Data and weights that nobody wants need not be there; this is a bad option all the same.
            from pytest_rayperf.models.checkpoints import check_model

            check_model(self.options.model)
        if self.options.has_far_side and tests:
            self._start_far_side(tests)
        self.progress.done()

    def _start_far_side(self, tests: Sequence[pytest.Item]) -> None:
        from pytest_rayperf.against.arguments import carried
        from pytest_rayperf.against.far import FarSide
        from pytest_rayperf.flags import own_flags

        options, config = self.options, tests[0].config
        given = {
            "profile": options.profile.name,
            "model": options.model,
            "data": options.data,
            "weights": options.weights,
            "images": options.images,
            "address": options.address,
        }
        arguments = [f"--rayperf-{name}={value}" for name, value in given.items() if value is not None]
        asked = carried(config.invocation_params.args, config.args, own_flags())
        self.far = FarSide(
            self.root,
            options.against,
            options.against_env,
            ["--rayperf", *arguments, *asked],
            self.progress.note,
            cache=config.pluginmanager.hasplugin("cacheprovider"),
        )
        self.far.start([self.id_of(item).partition("::")[0] for item in tests])

    def close(self) -> None:
        """End the far side, if there is one."""
        if self.far is not None:
            self.far.close()

    def id_of(self, item: pytest.Item) -> str:
        """The node id of `item`, relative to the project's folder."""
        rootdir = item.config.rootpath
        if self.root == rootdir:
            return item.nodeid
        return item.nodeid.removeprefix(self.root.relative_to(rootdir).as_posix() + "/")

    def rayperf(
        self, node: pytest.Item, executor: Executor, on_rounds: Callable[[Sequence[Round]], None]
    ) -> RayPerf | ServedRayPerf:
        """The harness for one test."""
        if self.server is not None:
            from pytest_rayperf.against.serving import ServedRayPerf

            return ServedRayPerf(self.server, executor)
        from pytest_rayperf.harness.conclusions import Item
        from pytest_rayperf.harness.rayperf import RayPerf

        item = Item(
            id=self.id_of(node),
            name=_title(node),
            subject=self._subject(node),
            limits=limits_of(node),
            variant=_variant(node),
            duel_key=_duel_key(node),
        )
        return RayPerf(
            item,
            self.record(),
            executor,
            self._shared,
            lambda it, progress, schedule: self.progress.update(it.name, progress, schedule),
            on_rounds,
            self.far,
        )

    def _subject(self, node: pytest.Item) -> Subject:
        from pytest_rayperf.results import Subject

        images = self.images() if _any_uses([node], "imagenette") else None
        model = self.classifier() if _any_uses([node], "classifier") else None
        return Subject(
            profile=self.options.profile.name,
            # Of a folder its name: where it lies differs between machines, what is in it is the fingerprint.
            data=Path(images.name).name if images else "",
            data_fingerprint=images.fingerprint if images else "",
            images=images.num_images if images else 0,
            model=model.name if model else "",
            weights=model.fingerprint if model else "",
        )

    def run(self) -> Run:
        """Everything measured so far."""
        data: Mapping[str, str | int | None] = dict.fromkeys(("name", "fingerprint", "images", "bytes"))
        model: Mapping[str, str | int | None] = dict.fromkeys(("name", "weights", "fingerprint"))
        if self.images.cache_info().currsize:
            images = self.images()
            data = {
                "name": images.name,
                "fingerprint": images.fingerprint,
                "images": images.num_images,
                "bytes": images.num_bytes,
            }
        if self.classifier.cache_info().currsize:
            classifier = self.classifier()
            model = {
                "name": classifier.name,
                "weights": classifier.weights,
                "fingerprint": classifier.fingerprint,
            }
        return self.record().run(data, model, None if self.far is None else self.far.name)


resources_key = pytest.StashKey[Resources]()
timer_key: pytest.StashKey[ReplayTimer] = pytest.StashKey()


def is_performance_test(item: pytest.Item) -> bool:
    """Whether `item` measures something: it asks for the fixture `rayperf`, or bears the mark."""
    uses = "rayperf" in getattr(item, "fixturenames", ())
    return uses or item.get_closest_marker("rayperf") is not None


_LIMITS: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "max_slowdown": (lambda x: 1 < x <= 100, "a factor above 1 and up to 100, such as 1.10"),
    "min_throughput": (lambda x: 0 < x < 1e12, "rows/s, above 0"),
    "max_batch_latency_p95": (lambda x: 0 < x < 1e12, "seconds, above 0"),
    "max_error_rate": (lambda x: 0 <= x <= 1, "a share, 0 to 1"),
}


def limits_of(item: pytest.Item) -> dict[str, float]:
    """The keywords of the `rayperf` marks of `item`, the closest mark first.

    Raises:
        ConfigurationError: an unknown keyword, a value out of range, or a positional argument.
    """
    limits: dict[str, float] = {}
    for mark in item.iter_markers("rayperf"):
        where = f"{item.nodeid}: @pytest.mark.rayperf"
        if mark.args:
            raise ConfigurationError(f"{where} takes keywords only: {', '.join(_LIMITS)}")
        for name, value in mark.kwargs.items():
            if name not in _LIMITS:
                raise ConfigurationError(f"{where} does not know {name!r}; it knows {', '.join(_LIMITS)}")
            fits, wanted = _LIMITS[name]
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not fits(value):
                raise ConfigurationError(f"{where}({name}={value!r}): must be {wanted}")
            limits.setdefault(name, float(value))
    return limits


def _any_uses(items: Sequence[pytest.Item], fixture: str) -> bool:
    return any(fixture in getattr(item, "fixturenames", ()) for item in items)


def _title(node: pytest.Item) -> str:
    """The test's name without `test_` and without the variant: `batch_size one_image`."""
    name = getattr(node, "originalname", None) or node.name
    others = [str(v) for k, v in _params(node).items() if k != "variant"]
    return " ".join([name.removeprefix("test_"), *others])


def _duel_key(node: pytest.Item) -> str:
    others = sorted((k, repr(v)) for k, v in _params(node).items() if k != "variant")
    return f"{node.nodeid.partition('[')[0]} {others}"


def _variant(node: pytest.Item) -> Variant | None:
    value = _params(node).get("variant")
    return value if value in ("antipattern", "fix") else None


def _params(node: pytest.Item) -> Mapping[str, object]:
    callspec = getattr(node, "callspec", None)
    return callspec.params if callspec is not None else {}

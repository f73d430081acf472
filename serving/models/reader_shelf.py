"""The versions of one reader, as signed bundles on disk, and how one of them is made to answer on a base that it shares.

Knows nothing of graphs and tokens: `serving.reader.engine` is imported when the first reader is started.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from safelight.bundle import Bundle
from safelight.errors import ConfigError, ManifestInvalid
from safelight.manifest import Pinned
from safelight.reader.manifest import ReaderManifest
from safelight.reader.quality import QualityLimits
from safelight.reader.task import Task
from serving import model_settings
from serving.models import reading
from serving.models.bases import Bases, Lease
from serving.models.observer import Observer
from serving.models.served import Served
from serving.reader.predictor import Reader
from serving.resilience.workers import Workers
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.reader.loading import Base

Reads = Served[ReaderManifest, Reader]
BaseKey = tuple[Pinned, model_settings.Runtime]
"""A base, and how it is run."""


def bases_of(settings: Settings, observer: Observer, clock: Callable[[], float]) -> Bases[BaseKey, Base]:
    """Where the readers of a service find their bases; none is opened before it is wanted."""

    def open_(key: BaseKey) -> Base:
        from serving.reader.loading import open_base

        pinned, runtime = key
        return open_base(pinned, runtime, settings, observer, clock)

    return Bases(open_, lambda base: base.close())


@dataclass(frozen=True)
class ReaderShelf:
    """A `Source` of readers. route, name: of the route, and of the model in it. bases: shared by all readers. clock:
    monotonic seconds."""

    route: str
    name: str
    member: model_settings.Member
    settings: Settings
    bases: Bases[BaseKey, Base]
    observer: Observer
    clock: Callable[[], float]

    def mark(self) -> object:
        """What changes when another version may be there."""
        return reading.mark(self.member, self.settings)

    def read(self) -> Bundle[ReaderManifest]:
        """The verified bundle. Raises BundleError, ConfigError when a key is missing."""
        return reading.read(self.member, self.settings, ReaderManifest)

    def start(self, bundle: Bundle[ReaderManifest]) -> Reads:
        """Make a verified bundle answer: find its base, or open it where no other reader uses it, give it the adapter, and
        look at its golden samples.

        Raises ManifestInvalid when the base is not there or not the one that is named, when adapter and base do not fit, or
        when together they do not answer as they did at export.
        """
        manifest, runtime = bundle.manifest, self.runtime
        try:
            lease = self.bases.lease((manifest.base, runtime))
        except ConfigError as error:  # where it was to run is not there: other models may still answer
            raise ManifestInvalid(error.detail) from None
        try:
            return self._served(bundle, lease)
        except BaseException:
            lease.give_back()
            raise

    @property
    def runtime(self) -> model_settings.Runtime:
        """How the base is run: as the settings of readers say, with what this model has of its own."""
        readers = self.settings.readers
        usual = model_settings.Runtime(
            threads=readers.threads, provider=readers.provider, precision=readers.precision, dct=False
        )
        return self.member.runtime(usual)

    def _served(self, bundle: Bundle[ReaderManifest], lease: Lease[Base]) -> Reads:
        manifest, base, readers = bundle.manifest, lease.base, self.settings.readers
        looker = Reader(
            task_of(manifest, base.image_side),
            base.asking(bundle, partial(self.observer.read, self.route, self.name)),
            manifest.calibration,
            limits_of(manifest.quality, readers.quality),
            self.clock,
        )
        return Served(
            manifest,
            bundle.digest,
            lambda: looker,  # it holds nothing of a request; what hangs is the base's
            looker,
            Workers(readers.rows, readers.queue, self.clock, partial(self.observer.queued, self.route, self.name)),
            _go_on,
            variants=base.variants,
            let_go=lease.give_back,
            answers=manifest.json_schema,
        )


def _go_on() -> None:
    """A run is shared with others: the base gives up a row whose time is over, and leaves the rest alone."""


def task_of(manifest: ReaderManifest, image_side: int) -> Task:
    """The task that a reader was made for. Raises ManifestInvalid."""
    try:
        return Task(manifest.name, manifest.json_schema, manifest.prompt, image_side)
    except ConfigError as error:
        raise ManifestInvalid(error.detail) from None


def limits_of(*changes: dict[str, Any]) -> QualityLimits:
    """The usual limits with changes, the later ones winning. Raises ManifestInvalid for one that nobody knows."""
    try:
        return QualityLimits(**{name: value for change in changes for name, value in change.items()})
    except ValidationError as error:
        names = ", ".join(sorted({str(e["loc"][0]) for e in error.errors() if e["loc"]}))
        raise ManifestInvalid(
            f"quality: expected known limits and values within their bounds, not so: {names}."
        ) from None

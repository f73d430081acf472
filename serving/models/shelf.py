"""The versions of one detector, as signed bundles on disk, and how one of them is made to answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from safelight import golden
from safelight.bundle import MODEL, Bundle, Manifest, VariantName
from safelight.errors import ConfigError, ManifestInvalid
from safelight.postprocess import Thresholds
from serving import model_settings
from serving.detector.predictor import Predictor
from serving.models import reading
from serving.models.batching import Batcher
from serving.models.network import Network, open_network
from serving.models.observer import Observer
from serving.models.served import Served, VariantState
from serving.resilience.workers import Workers
from serving.settings import Settings

Detecting = Served[Manifest, Predictor]
_ELSEWHERE = 10.0
"""How much further than on a CPU an answer may be from the golden one: others multiply with ten bits (TF32) or sixteen."""


@dataclass(frozen=True)
class Shelf:
    """A `Source` of detectors. route, name: of the route, and of the model in it. clock: monotonic seconds."""

    route: str
    name: str
    member: model_settings.Member
    settings: Settings
    observer: Observer
    clock: Callable[[], float]

    def mark(self) -> object:
        """What changes when another version may be there."""
        return reading.mark(self.member, self.settings)

    def read(self) -> Bundle:
        """The verified bundle. Raises BundleError, ConfigError when a key is missing."""
        return reading.read(self.member, self.settings)

    def start(self, bundle: Bundle) -> Detecting:
        """Make a verified bundle answer, by the variants that are wanted and that it has, after a look at its golden samples.

        Raises ManifestInvalid when its graph is not what the manifest says, does not answer as it did at export, or cannot run
        where it should.
        """
        manifest, runtime = bundle.manifest, self.member.runtime(self.settings.runtime)
        used = {name: variant for name, variant in manifest.variants.items() if name in runtime.wanted}
        file = next((variant.file for variant in used.values() if variant.file is not None), None)
        try:
            network = open_network(
                manifest,
                bundle.files[file or MODEL],
                threads=runtime.threads,
                provider=runtime.provider,
                warm_batches=(2,),  # one input alone is what golden samples are
            )
        except ConfigError as error:  # where it was to run is not there: another model of the route may still answer
            raise ManifestInvalid(error.detail) from None
        if expected := manifest.golden.get(file or MODEL):
            slack = 1.0 if runtime.provider == "cpu" else _ELSEWHERE
            golden.check(expected, manifest.preprocessing(), network, slack)
        renew = partial(self._predictor, manifest, network)
        limits = self.settings.limits
        return Served(
            manifest,
            bundle.digest,
            renew,
            renew(),
            Workers(limits.pictures, limits.queue, self.clock, partial(self.observer.queued, self.route, self.name)),
            network.terminate,
            next((variant.least_side for variant in used.values() if variant.least_side is not None), None),
            states(manifest, runtime),
            answers=manifest.labels,
            reference=manifest.reference,
        )

    def _predictor(self, manifest: Manifest, network: Network) -> Predictor:
        max_batch, where = self.settings.batching.max_batch, (self.route, self.name)
        batcher = Batcher(
            network,
            max_batch=max_batch,
            clock=self.clock,
            ran=partial(self.observer.ran, *where),
        )
        seen = partial(self.observer.seen, *where)
        return Predictor(
            manifest.labels, manifest.preprocessing(), self._decision(manifest), batcher, max_batch, self.clock, seen
        )

    def _decision(self, manifest: Manifest) -> Thresholds:
        """The manifest's, or the one that the settings have in its place."""
        own, threshold = manifest.decision(), self.member.threshold
        return own if threshold is None else replace(own, score=threshold, per_class=None)


def states(manifest: Manifest, runtime: model_settings.Runtime) -> dict[VariantName, VariantState]:
    """Each variant that the bundle has or that is wanted: in use, available, or missing, and then the model answers without
    it."""
    told: dict[VariantName, VariantState] = {
        name: "in use" if name in runtime.wanted else "available" for name in manifest.variants
    }
    return told | dict.fromkeys(sorted(runtime.wanted - set(told)), "missing")

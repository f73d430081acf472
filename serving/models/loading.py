"""Putting a model together: verified bundle, network, batcher, predictor. Knows nothing of requests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from safelight.bundle import Bundle, Manifest, VariantName, read_served
from safelight.errors import ConfigError
from serving.detector.batching import Batcher
from serving.detector.predictor import Predictor
from serving.models.catalogue import Catalogue, Served, VariantState
from serving.models.network import open_network
from serving.settings import Batching, Runtime, Settings


def catalogue_of(settings: Settings) -> Catalogue:
    """The catalogue that the settings describe; nothing is read before its `load`."""
    return Catalogue(
        settings.models,
        settings.default_model,
        read=partial(read, settings.bundles, settings.public_keys),
        start=partial(start, batching=settings.batching, runtime=settings.runtime),
    )


def read(bundles: Path, public_keys: Sequence[Path], name: str) -> Bundle:
    """The verified bundle that is to be served under a name. Raises BundleError, ConfigError when a key is missing."""
    missing = [key.name for key in public_keys if not key.is_file()]
    if missing:
        raise ConfigError(
            f"Expected the public keys of trusted signers, {', '.join(missing)} is missing: see `make run`."
        )
    return read_served(bundles / name, public_keys)


def start(bundle: Bundle, *, batching: Batching, runtime: Runtime) -> Served:
    """Make a verified bundle answer, by the variants that are wanted and that it has. Raises ManifestInvalid when its graph
    is not what the manifest says."""
    manifest = bundle.manifest
    used = {name: variant for name, variant in manifest.variants.items() if name in runtime.wanted}
    file = next((variant.file for variant in used.values() if variant.file is not None), None)
    graph = bundle.model if file is None else bundle.graphs[file]
    network = open_network(
        manifest, graph, threads=runtime.threads, provider="cpu", warm_batches=sorted({1, batching.max_batch})
    )
    batcher = Batcher(network, max_batch=batching.max_batch, max_latency_ms=batching.max_latency_ms)
    predictor = Predictor(manifest.labels, manifest.preprocessing(), manifest.decision(), batcher, batching.max_batch)
    least_side = next((variant.least_side for variant in used.values() if variant.least_side is not None), None)
    return Served(manifest, bundle.digest, predictor, batcher.close, least_side, states(manifest, runtime))


def states(manifest: Manifest, runtime: Runtime) -> dict[VariantName, VariantState]:
    """Each variant that the bundle has or that is wanted: in use, available, or missing, and then the model answers without
    it."""
    told: dict[VariantName, VariantState] = {
        name: "in use" if name in runtime.wanted else "available" for name in manifest.variants
    }
    return told | dict.fromkeys(sorted(runtime.wanted - set(told)), "missing")

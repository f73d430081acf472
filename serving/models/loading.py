"""Putting a model together: verified bundle, network, batcher, predictor. Knows nothing of requests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from safelight.bundle import Bundle, read_served
from safelight.errors import ConfigError
from serving.detector.batching import Batcher
from serving.detector.predictor import Predictor
from serving.models.catalogue import Catalogue, Served
from serving.models.network import open_network
from serving.settings import Batching, Settings


def catalogue_of(settings: Settings) -> Catalogue:
    """The catalogue that the settings describe; nothing is read before its `load`."""
    return Catalogue(
        settings.models,
        settings.default_model,
        read=partial(read, settings.bundles, settings.public_keys),
        start=partial(start, batching=settings.batching, threads=settings.runtime.threads),
    )


def read(bundles: Path, public_keys: Sequence[Path], name: str) -> Bundle:
    """The verified bundle that is to be served under a name. Raises BundleError, ConfigError when a key is missing."""
    missing = [key.name for key in public_keys if not key.is_file()]
    if missing:
        raise ConfigError(
            f"Expected the public keys of trusted signers, {', '.join(missing)} is missing: see `make run`."
        )
    return read_served(bundles / name, public_keys)


def start(bundle: Bundle, *, batching: Batching, threads: int) -> Served:
    """Make a verified bundle answer. Raises ManifestInvalid when its graph is not what the manifest says."""
    manifest = bundle.manifest
    network = open_network(manifest, bundle.model, threads=threads, warm_batches=sorted({1, batching.max_batch}))
    batcher = Batcher(network, max_batch=batching.max_batch, max_latency_ms=batching.max_latency_ms)
    predictor = Predictor(manifest.labels, manifest.preprocessing(), manifest.decision(), batcher, batching.max_batch)
    return Served(manifest, bundle.digest, predictor, batcher.close)

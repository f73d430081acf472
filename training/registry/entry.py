"""A bundle's entry in MLflow: the graph of a detector or the matrices of a reader, its figures and its lineage, logged to the
run that made the weights.

Everything that is logged stands in the bundle, so that any machine that has the bundle can enter it into any registry.
Knows nothing of aliases: what is entered is not yet a candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from safelight.bundle import MANIFEST, MODEL, Bundle, Manifest
from safelight.reader.manifest import ReaderManifest
from training.export.onnx import onnx_outputs
from training.registry.aliases import Registry, answering
from training.registry.registered import BUNDLE_VERSION, Registered
from training.registry.tracking import (
    Lineage,
    close_run,
    find_run,
    flat_metrics,
    open_run,
    register,
    register_adapter,
    weights_tag,
)


def enter(
    registry: Registry,
    experiment: str,
    bundle: Bundle[Manifest] | Bundle[ReaderManifest],
    folder: Path,
    *,
    weights: Path | None = None,
    artifacts: Sequence[tuple[str, Path]] = (),
    artifact_root: str | None = None,
) -> Registered:
    """Find the bundle's entry, or make one; a second time nothing is logged again.

    The run is the newest that made `weights` or, where this server knows none (another server, outputs restored from a
    cache), a new one of kind `registered`. folder: the bundle's. Raises RegistryUnavailable.
    """
    registry.check()
    found = registry.find(bundle.manifest.version)
    if found is not None:
        return found
    with answering():
        tags = weights_tag(weights) if weights is not None and weights.is_file() else {}
        run_id = find_run(registry.tracking_uri, experiment, tags) if tags else None
        if run_id is not None:
            return _log(registry, run_id, bundle, folder, artifacts)
        tags |= {"kind": "registered", "git_commit": bundle.manifest.git_commit}
        run_id = open_run(registry.tracking_uri, experiment, registry.name, tags, artifact_root)
        failed = True
        try:
            entry = _log(registry, run_id, bundle, folder, artifacts)
            failed = False
        finally:
            close_run(registry.tracking_uri, run_id, failed)
        return entry


def _log(
    registry: Registry, run_id: str, bundle: Bundle[Any], folder: Path, artifacts: Sequence[tuple[str, Path]]
) -> Registered:
    manifest = bundle.manifest
    lineage = _lineage(manifest, [("bundle", folder / MANIFEST), *artifacts])
    if isinstance(manifest, ReaderManifest):
        return _log_adapter(registry, run_id, manifest, folder, lineage)
    return _log_detector(registry, run_id, bundle, folder, lineage)


def _log_detector(
    registry: Registry, run_id: str, bundle: Bundle[Manifest], folder: Path, lineage: Lineage
) -> Registered:
    manifest = bundle.manifest
    shape = [size if isinstance(size, int) else 1 for size in manifest.input.shape]
    example = np.zeros(shape, manifest.input.dtype)
    return register(
        registry.tracking_uri,
        run_id,
        registry.name,
        folder / MODEL,
        example,
        onnx_outputs(bundle.model, {manifest.input.name: example}),
        input_name=manifest.input.name,
        lineage=lineage,
    )


def _log_adapter(
    registry: Registry, run_id: str, manifest: ReaderManifest, folder: Path, lineage: Lineage
) -> Registered:
    """The base is named in tags of the entry, to be searched for, and in the run's parameters, to be compared."""
    base = {f"base_{key}": str(value) for key, value in manifest.base.model_dump().items()}
    named = replace(lineage, tags={**lineage.tags, **base}, params=base)
    return register_adapter(
        registry.tracking_uri, run_id, registry.name, folder, manifest.base, manifest.rank, lineage=named
    )


def _lineage(manifest: Manifest | ReaderManifest, artifacts: Sequence[tuple[str, Path]]) -> Lineage:
    return Lineage(
        tags={
            BUNDLE_VERSION: manifest.version,
            "git_commit": manifest.git_commit,
            "data_digest": str(manifest.data_digest),
        },
        metrics=flat_metrics(manifest.metrics),
        artifacts=artifacts,
        data=_data(manifest),
    )


def _data(manifest: Manifest | ReaderManifest) -> dict[str, str] | None:
    """Name, source and digest of the training data, where there is some."""
    if manifest.data_digest is None:
        return None
    data: dict[str, Any] = manifest.configuration.get("data", {})
    return {
        "name": str(data.get("name", "")),
        "source": str(data.get("processed", "")),
        "digest": manifest.data_digest,
    }

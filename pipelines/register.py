"""register: the exported model as a signed bundle and as a registered MLflow model, both promoted to be served.

Run again on the same export it finds the version it made and only promotes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from rich.console import Console

from pipelines.models import labels, read_json, thresholds
from pipelines.stage import build, git_commit, plain, stage
from safelight.bundle import MANIFEST, MODEL, Champion, Manifest, content_version, write_bundle
from safelight.preprocess import Preprocess
from safelight.signing import signing_key
from training.export.onnx import INPUT, OUTPUTS, onnx_run, tensors
from training.registry.card import model_card
from training.registry.promotion import promote
from training.registry.tracking import Registered, find_version, flat_metrics, register

_VERSION_TAG = "bundle_version"


@stage("train")
def main(cfg: DictConfig) -> None:
    """Bundle, sign, register as `@candidate`, promote to `@champion`."""
    model = Path(cfg.out.export) / MODEL
    manifest = describe(cfg, model)
    private_key = Path(cfg.paths.signing_key)
    signing_key(private_key)
    folder = Path(cfg.paths.bundles) / cfg.name / manifest.version
    digest = write_bundle(folder, manifest, model.read_bytes(), model_card(manifest, plain(cfg.about)), private_key)
    registered = find_version(cfg.tracking.uri, cfg.name, _VERSION_TAG, manifest.version)
    if registered is None:
        registered = log(cfg, manifest, model, folder)
    champion = Champion(name=cfg.name, version=manifest.version, digest=digest)
    promote(cfg.tracking.uri, registered, folder.parent, champion)
    Console(soft_wrap=True).print(
        f"register: {cfg.name} {manifest.version}, MLflow version {registered.version} @champion"
    )


def describe(cfg: DictConfig, model: Path) -> Manifest:
    """The manifest of what lies in the outputs of the earlier stages."""
    preprocess: Preprocess = build(cfg.model.preprocess)
    decision, names = thresholds(cfg), labels(cfg)
    graph_input, graph_outputs = tensors(model)
    content: dict[str, Any] = {
        "labels": names,
        "preprocess": preprocess.to_dict(),
        "thresholds": decision.to_dict(),
        "data_digest": data_digest(cfg),
        "configuration": {key: plain(cfg)[key] for key in ("model", "data", "trainer", "seed", "fit")},
    }
    return Manifest(
        name=cfg.name,
        version=content_version(model.read_bytes(), content),
        task="object-detection",
        input=graph_input,
        outputs=tuple(graph_outputs),
        metrics=read_json(Path(cfg.paths.metrics) / f"{cfg.name}.json"),
        parity=read_json(Path(cfg.out.export) / "parity.json"),
        git_commit=git_commit(),
        licence=cfg.about.licence,
        files={},
        **content,
    )


def log(cfg: DictConfig, manifest: Manifest, model: Path, folder: Path) -> Registered:
    """Log the graph, its manifest and its pictures to the training run, and register it."""
    size = cfg.model.preprocess.input_size
    example = np.zeros((1, 3, size, size), np.float32)
    answers = dict(zip(OUTPUTS, onnx_run(model)(example), strict=True))
    data = None
    if manifest.data_digest is not None:
        data = {"name": cfg.data.name, "source": str(cfg.data.processed), "digest": manifest.data_digest}
    return register(
        cfg.tracking.uri,
        read_json(Path(cfg.out.train) / "run.json")["run_id"],
        cfg.name,
        model,
        example,
        answers,
        input_name=INPUT,
        tags={
            _VERSION_TAG: manifest.version,
            "git_commit": manifest.git_commit,
            "data_digest": str(manifest.data_digest),
        },
        metrics=flat_metrics(manifest.metrics),
        artifacts={"bundle": folder / MANIFEST, "evaluation": Path(cfg.out.evaluate)},
        data=data,
    )


def data_digest(cfg: DictConfig) -> str | None:
    """SHA-256 over the digests of the prepared splits; None for a model that saw no data of ours."""
    if not cfg.data.labelled:
        return None
    splits = read_json(Path(cfg.data.processed) / "report.json")["splits"]
    return hashlib.sha256(json.dumps({k: v["sha256"] for k, v in splits.items()}, sort_keys=True).encode()).hexdigest()


if __name__ == "__main__":
    main()

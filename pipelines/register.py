"""register: the exported model as a signed bundle, and as a registered MLflow model with the alias `@candidate`. No more:
what is served changes by promotion alone.

The bundle and a pointer to it (candidate.json) go into the stage's own folder; promote takes the bundle from there. Run
again on the same export it keeps the bundle it made, so that signature and digest stay.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console

from pipelines.models import labels, read_json, thresholds
from pipelines.registry import held
from pipelines.stage import build, git_commit, plain, stage, write_json
from safelight.bundle import MODEL, Bundle, Champion, Manifest, content_version, read_bundle, write_bundle
from safelight.errors import BundleError
from safelight.manifest import Described
from safelight.preprocess import Preprocess
from safelight.signing import signing_key
from training.detector.interface import WEIGHTS
from training.export.onnx import tensors
from training.export.variants import manifest_variants
from training.registry.card import model_card
from training.registry.champions import CANDIDATE
from training.registry.entry import enter

_FIGURES = (".json", ".csv")
_PLACES = ("path", "folder", "processed", "card", "labels_file")


@stage("train")
def main(cfg: DictConfig) -> None:
    """Bundle, sign, log to the run that made the weights, register as `@candidate`."""
    with held(cfg, cfg.name) as (_, registry):
        folder, bundle = write(cfg)
        entry = enter(
            registry,
            cfg.tracking.experiment,
            bundle,
            folder,
            weights=Path(cfg.out.train) / WEIGHTS,
            artifacts=evaluation(Path(cfg.out.evaluate), private=cfg.data.private),
            artifact_root=cfg.tracking.artifacts,
        )
        registry.set_candidate(entry)
    Console(soft_wrap=True).print(
        f"register: {cfg.name} {bundle.manifest.version}, MLflow version {entry.version} @candidate"
    )


def write(cfg: DictConfig) -> tuple[Path, Bundle]:
    """The candidate's bundle in the stage's folder, alone there but for the pointer to it: (its folder, what it holds)."""
    model = Path(cfg.out.export) / MODEL
    home, private_key = Path(cfg.out.register), Path(cfg.paths.signing_key)
    public_key = signing_key(private_key)
    graphs = {name: (model.parent / name).read_bytes() for name in variant_graphs(cfg)}
    manifest = describe(cfg, model, graphs)
    folder = home / manifest.version
    promoted = Path(cfg.paths.bundles) / cfg.name / manifest.version
    if not same(folder, manifest, public_key):
        if same(promoted, manifest, public_key):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(promoted, folder)
        else:
            card = model_card(manifest, plain(cfg.about))
            write_bundle(folder, manifest, {MODEL: model, **graphs}, card, private_key)
    for other in home.iterdir():
        if other.is_dir() and other != folder:
            shutil.rmtree(other)
    bundle = read_bundle(folder, [public_key])
    pointer = Champion(name=cfg.name, version=manifest.version, digest=bundle.digest)
    write_json(home / CANDIDATE, pointer.model_dump())
    return folder, bundle


def same(folder: Path, manifest: Described, public_key: Path, aside: Collection[str] = ()) -> bool:
    """Whether a bundle lies in `folder` that verifies and says what `manifest` says, at whatever commit. aside: names of
    further fields that are not compared."""
    try:
        found = read_bundle(folder, [public_key], type(manifest), lambda manifest: ()).manifest
    except BundleError:
        return False
    set_aside = {name: getattr(manifest, name) for name in ("git_commit", "files", *aside)}
    return found.model_copy(update=set_aside) == manifest


def variant_graphs(cfg: DictConfig) -> list[str]:
    """File names of the graphs of those variants that export accepted."""
    variants = manifest_variants(read_json(Path(cfg.out.export) / "report.json")).values()
    return sorted(variant.file for variant in variants if variant.file is not None)


def describe(cfg: DictConfig, model: Path, graphs: dict[str, bytes]) -> Manifest:
    """The manifest of what lies in the outputs of the earlier stages. Its version follows from all of it, the graphs and
    the card's texts, but not from the commit."""
    preprocess: Preprocess = build(cfg.model.preprocess)
    graph_input, graph_outputs = tensors(model)
    metrics = read_json(Path(cfg.paths.metrics) / f"{cfg.name}.json")
    serving = read_json(Path(cfg.out.export) / "serving.json")
    fields: dict[str, Any] = {
        "task": "object-detection",
        "labels": labels(cfg),
        "input": graph_input,
        "outputs": tuple(graph_outputs),
        "preprocess": preprocess.to_dict(),
        "thresholds": thresholds(cfg).to_dict(),
        "metrics": metrics,
        "calibration": metrics.get("calibration"),
        "parity": read_json(Path(cfg.out.export) / "parity.json"),
        "variants": manifest_variants(read_json(Path(cfg.out.export) / "report.json")),
        "data_digest": data_digest(cfg),
        "configuration": configuration(plain(cfg)),
        "licence": cfg.about.licence,
        "golden": serving["golden"],
        "reference": serving["reference"],
    }
    unnamed = Manifest(name=cfg.name, version="unnamed", git_commit="", files={}, **fields)
    content = unnamed.model_dump(mode="json", exclude={"version", "git_commit", "files"})
    version = content_version(model.read_bytes(), *(graphs[name] for name in sorted(graphs)), content, plain(cfg.about))
    return unnamed.model_copy(update={"version": version, "git_commit": git_commit()})


def configuration(values: dict[str, Any]) -> dict[str, Any]:
    """How the model was made, without where its data lay: that would differ from machine to machine, and tell of them."""
    data = {key: value for key, value in values["data"].items() if key not in _PLACES}
    return {key: values[key] for key in ("model", "trainer", "seed", "fit")} | {"data": data}


def evaluation(folder: Path, private: bool) -> list[tuple[str, Path]]:
    """What evaluation wrote, for the run: all of it, or, where the data is private, figures alone and no picture."""
    if not private:
        return [("evaluation", folder)] if folder.is_dir() else []
    return [("evaluation", path) for path in sorted(folder.glob("*")) if path.suffix in _FIGURES]


def data_digest(cfg: DictConfig) -> str | None:
    """SHA-256 over the digests of the prepared splits; None for a model that saw no data of ours."""
    if not cfg.data.labelled:
        return None
    splits = read_json(Path(cfg.data.processed) / "report.json")["splits"]
    return hashlib.sha256(json.dumps({k: v["sha256"] for k, v in splits.items()}, sort_keys=True).encode()).hexdigest()


if __name__ == "__main__":
    main()

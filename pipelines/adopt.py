"""adopt: a detector that was trained elsewhere, as an ONNX graph, becomes a signed bundle and the champion of its name.

    python -m pipelines.adopt name=street onnx=FILE labels=FILE head=yolov8 input_size=640 licence=AGPL-3.0

The graph is opened as the service opens it and run on real pictures: what its outputs are has to be beyond doubt. Nothing is
measured and no gate is asked; a champion that was trained here is replaced only by replace=true.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig
from pydantic import ValidationError
from rich.console import Console

from pipelines.foreign import Foreign, anchors_of, check_whole, input_of, look_at
from pipelines.models import pictures
from pipelines.registry import held
from pipelines.stage import build, git_commit, plain, stage
from safelight.bundle import MODEL, Champion, Manifest, content_version, read_bundle, write_bundle
from safelight.detections import Detections
from safelight.errors import ConfigError, DataError, PromotionError
from safelight.golden import EXACT, QUANTISED, make
from safelight.heads import Given, HeadName
from safelight.images import ImageLimits, decode
from safelight.postprocess import Thresholds, detect
from safelight.preprocess import Preprocess
from safelight.signing import signing_key
from serving.models.network import Network, open_network
from training.export.folding import Wanted, folded
from training.registry.aliases import Registry
from training.registry.card import model_card
from training.registry.champions import Champions
from training.registry.entry import enter
from training.registry.promotion import promote

ADOPTED = "adopted"
"""The key under `configuration` in the manifest of a bundle that came this way."""
_NEEDED = ("name", "onnx", "labels", "licence", "head")
_PICTURES = 4  # that a graph is tried on


@stage("adopt")
def main(cfg: DictConfig) -> None:
    """Read the graph, try it on pictures, bundle, sign, register, and serve it from now on."""
    console = Console(soft_wrap=True, highlight=False)
    manifest, graph = prepared(cfg, console)
    with held(cfg, manifest.name) as (champions, registry):
        guard(champions, registry, manifest, signing_key(Path(cfg.paths.signing_key)), cfg.replace)
        champion = install(cfg, champions, registry, manifest, graph)
    console.print(
        f"adopt: {manifest.name} {champion.version} is the champion now, with the head {manifest.head} and the licence "
        f"{manifest.licence}. It is served once conf/serving/gateway.yaml names it."
    )


def prepared(cfg: DictConfig, console: Console) -> tuple[Manifest, bytes]:
    """What is to be bundled, once it has been tried: (manifest, graph). Raises ConfigError, DataError or ManifestInvalid."""
    if missing := [key for key in _NEEDED if cfg[key] is None]:
        raise ConfigError(f"Expected {', '.join(f'{key}=...' for key in missing)}. conf/adopt.yaml says what they are.")
    if cfg.head not in get_args(HeadName):
        raise ConfigError(f"head: expected one of {', '.join(get_args(HeadName))}, got {cfg.head!r}.")
    preprocess: Preprocess = build(cfg.preprocess)
    images = samples(cfg)
    source, names = read_file(Path(cfg.onnx), "the graph"), read_file(Path(cfg.labels), "class names")
    labels = [line.strip() for line in names.decode().splitlines() if line.strip()]
    given = Given(len(labels), preprocess.input_size, anchors_of(plain(cfg)["anchors"]))
    views = np.concatenate([next(preprocess.batches(image, 1))[1] for _, image in images])
    graph, found = understood(cfg, source, given, views)
    manifest = describe(cfg, found, preprocess, labels, source).model_copy(update={"anchors": given.anchors})
    network = open_network(manifest, graph, threads=0, provider="cpu", warm_batches=(1, 2))
    for name, image in images:
        console.print(f"  {name}: {said(detect(image, preprocess, manifest.decision(), network), manifest)}")
    return versioned(manifest, graph, network, plain(cfg.about)), graph


def understood(cfg: DictConfig, source: bytes, given: Given, views: NDArray[np.float32]) -> tuple[bytes, Foreign]:
    """The graph as it will be served, and what it is, seen on views `(B, 3, S, S)`. Raises ManifestInvalid or ConfigError."""
    check_whole(source)
    image = input_of(source, given.input_size, cfg.channels)
    wanted = Wanted(bgr=cfg.input.bgr, scale=cfg.input.scale, mean=tuple(cfg.input.mean), std=tuple(cfg.input.std))
    graph = folded(source, wanted, image.name, channel_axis=1 if image.shape[1] == 3 else 3)
    return graph, look_at(graph, image, cfg.head, given, views)


def describe(cfg: DictConfig, found: Foreign, preprocess: Preprocess, labels: Sequence[str], source: bytes) -> Manifest:
    """The manifest, but for its version and golden samples. Raises ConfigError when a value is not allowed in one."""
    thresholds: Thresholds = build(cfg.thresholds)
    try:
        return Manifest(
            name=str(cfg.name),
            version="unnamed",
            task="object-detection",
            labels=tuple(labels),
            input=found.input,
            outputs=found.outputs,
            preprocess=preprocess.to_dict(),
            thresholds=thresholds.to_dict(),
            metrics={"reason": "adopted: nothing was measured here"},
            parity={"reason": "adopted: there is no original here to compare with"},
            data_digest=None,
            git_commit="",
            configuration={ADOPTED: {"sha256": hashlib.sha256(source).hexdigest(), "input": plain(cfg.input)}},
            licence=str(cfg.licence),
            files={},
            head=cfg.head,
        )
    except ValidationError as error:
        places = sorted({".".join(map(str, e["loc"])) for e in error.errors()})
        raise ConfigError(f"Expected values that a manifest takes at: {', '.join(places)}.") from None


def versioned(manifest: Manifest, graph: bytes, network: Network, about: dict[str, Any]) -> Manifest:
    """With golden samples, the commit, and the version that follows from everything but the commit."""
    half = manifest.input.dtype == "float16"
    golden = make(manifest.preprocessing(), network, seed=0, tolerance=QUANTISED if half else EXACT)
    whole = manifest.model_copy(update={"golden": {MODEL: golden}})
    content = whole.model_dump(mode="json", exclude={"version", "git_commit", "files"})
    return whole.model_copy(update={"version": content_version(graph, content, about), "git_commit": git_commit()})


def guard(champions: Champions, registry: Registry, manifest: Manifest, key: Path, replace: bool) -> None:
    """Raises PromotionError where a champion of this name came from elsewhere, unless it is to be replaced."""
    if replace:
        return
    champion = champions.champion()
    pointed = registry.champion() if champion is None else None
    if pointed is not None and pointed.bundle_version != manifest.version:
        raise PromotionError(
            f"There is no champion here, but in the registry {manifest.name} has one (bundle {pointed.bundle_version}). "
            "Choose another name, or take its place with replace=true."
        )
    if champion is not None and ADOPTED not in champions.read(champion, [key]).manifest.configuration:
        raise PromotionError(
            f"The champion of {manifest.name}, {champion.version}, was trained here. Choose another name, or take its place "
            "with replace=true."
        )


def install(cfg: DictConfig, champions: Champions, registry: Registry, manifest: Manifest, graph: bytes) -> Champion:
    """Bundle, sign, register and promote. What lies here already with the same content keeps its signature."""
    private_key = Path(cfg.paths.signing_key)
    key = signing_key(private_key)
    folder = champions.folder / manifest.version
    if not folder.is_dir():
        made = Path(cfg.out) / manifest.version
        write_bundle(made, manifest, {MODEL: graph}, model_card(manifest, plain(cfg.about)), private_key)
        champions.take_in(made)
    bundle = read_bundle(folder, [key])
    champion = Champion(name=manifest.name, version=manifest.version, digest=bundle.digest)
    enter(registry, cfg.tracking.experiment, bundle, folder, artifact_root=cfg.tracking.artifacts)
    promote(champions, registry, champion)
    return champion


def samples(cfg: DictConfig) -> list[tuple[str, NDArray[np.uint8]]]:
    """The picture of the configuration, or some of its folder, by name. Raises DataError when there is none."""
    if cfg.picture is not None:
        path = Path(cfg.picture)
        data = read_file(path, "a picture")
        return [(path.stem, decode(data, ImageLimits(max_bytes=1 << 30, max_pixels=1 << 28)))]
    folder = Path(cfg.pictures)
    found = list(pictures(folder))[:_PICTURES] if folder.is_dir() else []
    if not found:
        raise DataError(f"Expected pictures in {folder} to try the graph on. Give one (picture=FILE), or run fetch.")
    return found


def said(found: Detections, manifest: Manifest) -> str:
    """What an asker would get who names no threshold, in a line."""
    kept = found.above(manifest.decision().scores(manifest.labels))
    names = [f"{manifest.labels[c]} {s:.2f}" for c, s in zip(kept.class_ids, kept.scores, strict=True)]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "nothing"


def read_file(path: Path, what: str) -> bytes:
    """A file's bytes. Raises DataError when it is not there."""
    if not path.is_file():
        raise DataError(f"Expected {what} in {path}.")
    return path.read_bytes()


if __name__ == "__main__":
    main()

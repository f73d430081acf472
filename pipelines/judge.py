"""The evidence for promote's gates: both bundles run on the same pictures, as the configuration says. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from pipelines.models import labels, pictures
from pipelines.stage import plain
from safelight.bundle import MODEL, Bundle, Champion, Manifest, read_bundle
from safelight.detections import Detections
from safelight.errors import BundleError, ManifestInvalid
from safelight.postprocess import detect
from safelight.reader.manifest import ReaderManifest
from serving.models.network import open_network
from training.detector.bootstrap import PLOT
from training.detector.scenes import LabelledScene, read_scenes
from training.export.onnx import tensors
from training.export.parity import Tolerance
from training.registry.champions import Champions
from training.registry.comparison import paired_difference, renamed
from training.registry.gates import (
    Budget,
    Verdict,
    card_gate,
    latency_gate,
    manifest_gate,
    parity_gate,
    quality_gate,
    same_answers,
    settled_gate,
    unmeasured_gate,
    unverified_gate,
    withdrawn_gate,
)
from training.registry.latency import Look, side_by_side
from training.registry.receipt import test_figures


@dataclass(frozen=True)
class Judged:
    """What the gates said. bundle: the candidate's, None when it must not be loaded. test: reported, in no gate."""

    verdicts: tuple[Verdict, ...]
    bundle: Bundle[Manifest] | Bundle[ReaderManifest] | None
    test: dict[str, Any]


@dataclass(frozen=True)
class Rival:
    """The champion's bundle; or, where there is none to compare with, why. first: there is no champion at all."""

    bundle: Bundle | None
    reason: str = ""
    first: bool = False


def judge(
    cfg: DictConfig,
    champions: Champions,
    champion: Champion | None,
    candidate: Champion,
    folder: Path,
    public_key: Path,
    withdrawn: bool,
) -> Judged:
    """Every gate's verdict on the bundle in `folder`. A bundle that does not verify is not run."""
    try:
        bundle = read_bundle(folder, [public_key])
        if (bundle.manifest.name, bundle.digest) != (candidate.name, candidate.digest):
            raise ManifestInvalid("The bundle is not the one that was registered: its name or digest differs.")
    except BundleError as error:
        return Judged((unverified_gate(error.detail),), None, {})
    rival = rival_of(champions, champion, public_key)
    scenes = validation(cfg)
    verdicts = (
        quality(cfg, bundle, rival, scenes),
        parity_gate(bundle.manifest, Tolerance(**plain(cfg.promotion.tolerance))),
        latency(cfg, bundle, rival, scenes),
        manifest_gate(bundle, tensors(folder / MODEL), cfg.data.labelled, cfg.promotion.clean_commit),
        card_gate(Path(cfg.data.card) if cfg.data.card else None),
        withdrawn_gate(withdrawn),
    )
    return Judged(verdicts, bundle, test_figures(bundle.manifest, rival.bundle.manifest if rival.bundle else None))


def rival_of(champions: Champions, champion: Champion | None, public_key: Path) -> Rival:
    """The champion to compare with."""
    if champion is None:
        return Rival(None, "there is no champion yet", first=True)
    try:
        return Rival(champions.read(champion, [public_key]))
    except BundleError as error:
        return Rival(None, f"the champion's bundle cannot be used: {error.detail}")


def validation(cfg: DictConfig) -> Sequence[LabelledScene]:
    """Labelled validation pictures, evenly taken where there are more than asked for; none where there are no labels."""
    if not cfg.data.labelled:
        return []
    scenes = read_scenes(Path(cfg.data.processed) / "val")
    wanted = np.linspace(0, len(scenes) - 1, min(len(scenes), cfg.promotion.quality.pictures)).round().astype(int)
    return [scenes[index] for index in wanted]


def quality(cfg: DictConfig, candidate: Bundle, rival: Rival, scenes: Sequence[LabelledScene]) -> Verdict:
    """Not worse than the champion on validation pictures, each with its own preprocessing and thresholds."""
    options, accepted = cfg.promotion.quality, cfg.promotion.accept_unmeasured
    champion = rival.bundle
    if rival.first:
        return settled_gate(rival.reason)
    if champion is None:
        return unmeasured_gate(rival.reason, accepted)
    if same_answers(candidate.manifest, champion.manifest):
        return settled_gate("candidate and champion have the same graph and settings: they answer alike")
    names = labels(cfg)
    if any(sorted(bundle.manifest.labels) != sorted(names) for bundle in (candidate, champion)):
        return unmeasured_gate("candidate, champion and data do not have the same labels", accepted)
    truths = [scene.truth for scene in scenes]
    if not any(len(truth) for truth in truths):
        return unmeasured_gate("there are no labelled validation pictures", accepted)
    ours, theirs = (found_on(bundle, scenes, names) for bundle in (candidate, champion))
    tiled = candidate.manifest.preprocessing().tile is not None
    difference = paired_difference(
        ours,
        theirs,
        truths,
        confidence=options.confidence,
        plot=PLOT if tiled else None,
        samples=options.samples,
        seed=cfg.seed,
    )
    if difference.plots < options.least_plots:
        few = f"{difference.plots} plots tell nothing (at least {options.least_plots} do)"
        return unmeasured_gate(few, accepted)
    return quality_gate(difference, options.margin, options.confidence)


def latency(cfg: DictConfig, candidate: Bundle, rival: Rival, scenes: Sequence[LabelledScene]) -> Verdict:
    """Seconds a picture, from pixels to boxes, on ONNX Runtime and this machine, in turns with the champion."""
    options = cfg.promotion.latency
    images = [scene.image for scene in scenes[: options.pictures]]
    if not images:
        images = [image for _, image in pictures(Path(cfg.data.folder))][: options.pictures]
    if not images:
        return Verdict("latency", False, "there is no picture to measure on")
    parts = [middle(image, options.side) for image in images]
    models = {"candidate": look_of(candidate, as_served=True)}
    if rival.bundle is not None:
        models["champion"] = look_of(rival.bundle, as_served=True)
    return latency_gate(side_by_side(models, parts, options.repeats), Budget(options.picture_s, options.ratio))


def middle(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The middle of a picture `(H, W, 3)`, at most `side` pixels a side: a scene of many tiles would take minutes."""
    top, left = (max(0, length - side) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def found_on(bundle: Bundle, scenes: Sequence[LabelledScene], names: list[str]) -> list[Detections]:
    """What a bundle finds on each picture, its classes numbered by `names`."""
    look = look_of(bundle)
    return [renamed(look(scene.image), bundle.manifest.labels, names) for scene in scenes]


def look_of(bundle: Bundle, as_served: bool = False) -> Look:
    """A bundle with its own preprocessing and thresholds. It finds everything down to the floor, which is what a curve
    needs, or, `as_served`, what an asker gets who names no threshold."""
    manifest = bundle.manifest
    thresholds = manifest.decision()
    return partial(
        detect,
        preprocess=manifest.preprocessing(),
        thresholds=thresholds,
        run=open_network(manifest, bundle.model, threads=0, provider="cpu", warm_batches=(1,)),
        floor=float(thresholds.scores(manifest.labels).min()) if as_served else None,
    )

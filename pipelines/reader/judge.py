"""The evidence for promote's gates on a reader: what its bundle says of itself, and both bundles run on the same pictures.
Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from pipelines.judge import Judged
from pipelines.reader.bundled import BASES
from pipelines.reader.reading import Asking, Exported, asking
from pipelines.reader.tasks import task_of
from pipelines.stage import plain
from safelight.bundle import Bundle, Champion, read_bundle
from safelight.errors import BundleError, ManifestInvalid
from safelight.manifest import Pinned
from safelight.reader.manifest import ADAPTER, DECODER, BaseManifest, ReaderManifest
from safelight.reader.task import Task
from serving.reader.adapter import read_matrices
from training.fitting.cache import PictureCache
from training.registry.bases import lies_in
from training.registry.champions import Champions
from training.registry.gates import (
    Budget,
    Verdict,
    card_gate,
    latency_gate,
    settled_gate,
    unmeasured_gate,
    unverified_gate,
    withdrawn_gate,
)
from training.registry.latency import Look, side_by_side
from training.registry.reader_gates import comparison_gate, figure, manifest_gate, parity_gate, targets_gate
from training.vlm.prepared import Pictures, read_split


@dataclass(frozen=True)
class Whole:
    """A verified adapter with the base that it names, verified too. folder: the base's."""

    bundle: Bundle[ReaderManifest]
    base: Bundle[BaseManifest]
    folder: Path


def judge(
    cfg: DictConfig,
    champions: Champions,
    champion: Champion | None,
    candidate: Champion,
    folder: Path,
    public_key: Path,
    withdrawn: bool,
) -> Judged:
    """Every gate's verdict on the bundle in `folder`. One that does not verify, or whose base does not, is not run."""
    bundles = Path(cfg.paths.bundles)
    try:
        whole = read_whole(folder, bundles, [public_key])
        if (whole.bundle.manifest.name, whole.bundle.digest) != (candidate.name, candidate.digest):
            raise ManifestInvalid("The bundle is not the one that was registered: its name or digest differs.")
    except BundleError as error:
        return Judged((unverified_gate(error.detail),), None, {})
    rival, reason = rival_of(champions, champion, bundles, public_key)
    manifest, asked = whole.bundle.manifest, cfg.promotion
    verdicts = (
        targets_gate(manifest, binding=asked.targets),
        quality(cfg, manifest, champion, rival, reason),
        parity_gate(manifest.parity, asked.parity.pictures),
        latency(cfg, whole, rival),
        manifest_gate(manifest, whole.base.manifest, asked.clean_commit),
        card_gate(Path(cfg.task.card) if cfg.task.card else None),
        withdrawn_gate(withdrawn),
    )
    return Judged(verdicts, whole.bundle, test_figures(asked.quality.figure, manifest, rival))


def read_whole(folder: Path, bundles: Path, public_keys: Sequence[Path]) -> Whole:
    """An adapter's bundle, and its base from among the bundles or from beside the candidate. Raises BundleError."""
    bundle = read_bundle(folder, public_keys, ReaderManifest)
    where = base_folder(bundle.manifest.base, folder, bundles)
    if where is None:
        raise ManifestInvalid(f"Expected the base {bundle.manifest.base.name} {bundle.manifest.base.version} here.")
    base = read_bundle(where, public_keys, BaseManifest, lambda manifest: ())
    bundle.manifest.check_base(base.manifest, base.digest)
    return Whole(bundle, base, where)


def base_folder(base: Pinned, folder: Path, bundles: Path) -> Path | None:
    """Where the very base lies that the candidate in `folder` names; None where it is nowhere."""
    for shelf in (bundles / base.name, folder.parent / BASES / base.name):
        if lies_in(shelf, base):
            return shelf / base.version
    return None


def rival_of(
    champions: Champions, champion: Champion | None, bundles: Path, public_key: Path
) -> tuple[Whole | None, str]:
    """The champion to compare with, or why there is none."""
    if champion is None:
        return None, "there is no champion yet"
    try:
        whole = read_whole(champions.folder / champion.version, bundles, [public_key])
        if (whole.bundle.manifest.name, whole.bundle.digest) != (champion.name, champion.digest):
            raise ManifestInvalid("it is not the one that was promoted")
    except BundleError as error:
        return None, f"the champion's bundle cannot be used: {error.detail}"
    return whole, ""


def quality(
    cfg: DictConfig, manifest: ReaderManifest, champion: Champion | None, rival: Whole | None, reason: str
) -> Verdict:
    """Not worse than the champion on the same test records."""
    accepted, options = cfg.promotion.accept_unmeasured, cfg.promotion.quality
    if champion is None:
        return settled_gate(reason)
    if rival is None:
        return unmeasured_gate(reason, accepted)
    if rival.bundle.manifest.json_schema != manifest.json_schema:
        return unmeasured_gate("candidate and champion do not answer by the same schema", accepted)
    return comparison_gate(manifest, rival.bundle.manifest, options.figure, options.margin, accepted)


def latency(cfg: DictConfig, whole: Whole, rival: Whole | None) -> Verdict:
    """Seconds a picture, from pixels to an answer, on ONNX Runtime and this machine, in turns with the champion. A base that
    both adapt is opened once, as it is in the service."""
    options, task = cfg.promotion.latency, task_of(plain(cfg.task))
    records = read_split(Path(cfg.task.processed), "test", task)[: options.pictures]
    pictures = Pictures(records, task.image_side, PictureCache(0))
    with ExitStack() as opened:
        bases: dict[str, Asking] = {}
        models: dict[str, Look] = {}
        for name, one in (("candidate", whole), ("champion", rival)):
            if one is None:
                continue
            if one.base.digest not in bases:
                bases[one.base.digest] = opened.enter_context(asking(exported(one), DECODER, rows=1, threads=0))
            models[name] = look_of(bases[one.base.digest], one, task)
        seconds = side_by_side(models, [pictures[i] for i in range(len(records))], options.repeats)
    return latency_gate(seconds, Budget(options.picture_s, options.ratio))


def exported(whole: Whole) -> Exported:
    """A base's bundle as an engine is opened from."""
    manifest = whole.bundle.manifest
    told = (whole.base.manifest.architecture, manifest.prompt_ids, manifest.max_new_tokens, manifest.rank)
    return Exported(whole.folder, *told, int8=None)


def look_of(asked: Asking, whole: Whole, task: Task) -> Look:
    """An adapter on its base, held to its own schema."""
    manifest = whole.bundle.manifest
    matrices = read_matrices(whole.bundle.files[ADAPTER], whole.base.manifest.architecture, manifest.rank)
    own = Task(task.name, manifest.json_schema, manifest.prompt, task.image_side)
    adapter = asked.adapter(own, matrices)

    def look(pixels: NDArray[np.uint8]) -> Any:
        return asked.one(adapter, pixels)

    return look


def test_figures(path: str, candidate: ReaderManifest, rival: Whole | None) -> dict[str, Any]:
    """The figure that decides, of both, for the reader of a receipt."""
    both = {"candidate": candidate} | ({"champion": rival.bundle.manifest} if rival else {})
    return {role: {path: figure(manifest.metrics, path)} for role, manifest in both.items()}

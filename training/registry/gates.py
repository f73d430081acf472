"""What a candidate must show before it is served in the champion's place: five gates, each with a verdict.

Knows nothing of MLflow, Hydra or of how the figures came about; test figures are in no gate. A verdict that depends on
figures carries them, so that a refusal can say by how much. `figures` are the same each time, `measured` are this
machine's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safelight.bundle import CARD, Bundle, Manifest, Tensor
from safelight.errors import ManifestInvalid
from training.export.parity import BATCHES, Tolerance
from training.registry.comparison import Difference

_CARD_CHARACTERS = 200  # less than that describes no data


@dataclass(frozen=True)
class Verdict:
    """What a gate found. said: one sentence for a person, that holds in `figures`' terms."""

    gate: str
    passed: bool
    said: str
    figures: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a receipt."""
        return asdict(self)


@dataclass(frozen=True)
class Budget:
    """Longest median time of a picture: picture_s in seconds, ratio as a multiple of the champion's, side by side."""

    picture_s: float
    ratio: float


def manifest_gate(
    bundle: Bundle, graph: tuple[Tensor, list[Tensor]], labelled: bool, clean_commit: bool = False
) -> Verdict:
    """Does the manifest of a verified bundle say all there is to say, and does the graph agree with it?

    graph: input and outputs as the graph itself has them. labelled: the data had labels to measure on. clean_commit:
    whether a working tree that differed from its commit is a lack.
    """
    lacks = [*_unsaid(bundle.manifest, labelled, clean_commit), *_disagreements(bundle.manifest, graph)]
    if CARD not in bundle.manifest.files:
        lacks.append("there is no model card")
    said = "the manifest is complete, digests and signature hold" if not lacks else "; ".join(lacks)
    return Verdict("manifest", not lacks, said, {"lacks": lacks})


def unverified_gate(reason: str) -> Verdict:
    """The verdict on a bundle that must not be loaded at all."""
    return Verdict("manifest", False, reason, {"lacks": [reason]})


def card_gate(card: Path | None) -> Verdict:
    """Is there a data card that says more than its title?"""
    if card is None or not card.is_file():
        said = (
            f"expected a data card at {card}, found none"
            if card
            else "the configuration names no data card (data.card)"
        )
        return Verdict("data card", False, said)
    characters = len(card.read_text().strip())
    passed = characters >= _CARD_CHARACTERS
    said = "there is a data card" if passed else f"the data card has {characters} characters of {_CARD_CHARACTERS}"
    return Verdict("data card", passed, said, {"characters": characters})


def parity_gate(manifest: Manifest, tolerance: Tolerance) -> Verdict:
    """Are the differences between network and graph that the manifest records within the tolerance?"""
    try:
        drifts = _drifts(manifest.parity, tolerance)
    except (KeyError, TypeError, ValueError):
        return Verdict("parity", False, f"expected parity figures at batch {BATCHES} and on boxes, found none")
    over = {name: entry for name, entry in drifts.items() if not entry["is"] <= entry["allowed"]}
    worst = "; ".join(f"{name} {entry['is']:.2g} (allowed {entry['allowed']:.2g})" for name, entry in over.items())
    return Verdict("parity", not over, worst or "the graph answers as the network does", drifts)


def latency_gate(seconds: Mapping[str, float], budget: Budget) -> Verdict:
    """Does a picture take no longer than it may? seconds: medians of `candidate` and, where there is one, `champion`."""
    ours, theirs = seconds["candidate"], seconds.get("champion")
    lines = [] if ours <= budget.picture_s else [f"{ours:.3g} s a picture (allowed {budget.picture_s:.3g} s)"]
    if theirs is not None and ours > budget.ratio * theirs:
        lines.append(f"{ours / theirs:.2f} times the champion's time (allowed {budget.ratio:.2f})")
    return Verdict("latency", not lines, "; ".join(lines) or "within the budget", asdict(budget), dict(seconds))


def quality_gate(difference: Difference, margin: float, confidence: float) -> Verdict:
    """Is the candidate's mAP50 on validation data not worse than the champion's, by more than `margin` at `confidence`?"""
    figures = {name: round(value, 6) for name, value in asdict(difference).items()}
    figures |= {"margin": margin, "confidence": confidence}
    passed = difference.low >= -margin
    said = (
        f"mAP50 {difference.candidate:.3f} against {difference.champion:.3f}: with {confidence:.0%} confidence the "
        f"difference is at least {difference.low:+.3f} (allowed {-margin:+.3f})"
    )
    return Verdict("quality", passed, said, figures)


def unmeasured_gate(reason: str, accepted: bool) -> Verdict:
    """The verdict where two models cannot be compared, which somebody has to accept in so many words."""
    said = f"not comparable: {reason}" + (
        "; accepted unmeasured" if accepted else " (promotion.accept_unmeasured=true)"
    )
    return Verdict("quality", accepted, said, {"reason": reason, "accepted_unmeasured": accepted})


def settled_gate(reason: str) -> Verdict:
    """The verdict where there is nothing to compare: no champion yet, or one that answers alike."""
    return Verdict("quality", True, reason, {"reason": reason})


def withdrawn_gate(withdrawn: bool) -> Verdict:
    """Was this very candidate rolled back before? Then the pipeline does not bring it back by itself."""
    said = "it was rolled back before; promote it by name if it is wanted again (version=...)"
    return Verdict("not rolled back", not withdrawn, said if withdrawn else "it was never rolled back")


def same_answers(a: Manifest, b: Manifest) -> bool:
    """Whether two bundles answer alike by construction: the same graph, labels, preprocessing and thresholds."""
    return all(
        getattr(a, name) == getattr(b, name) for name in ("labels", "preprocess", "thresholds", "input", "outputs")
    ) and a.files.get("model.onnx") == b.files.get("model.onnx")


def _unsaid(manifest: Manifest, labelled: bool, clean_commit: bool) -> list[str]:
    lacks = []
    if manifest.git_commit == "unknown":
        lacks.append("the commit is unknown")
    if clean_commit and manifest.git_commit.endswith("-dirty"):
        lacks.append("the code differed from its commit")
    if not manifest.licence.strip():
        lacks.append("there is no licence")
    if labelled and manifest.data_digest is None:
        lacks.append("there is no digest of the training data")
    if not manifest.metrics.get("test") and not manifest.metrics.get("reason"):
        lacks.append("there are neither figures nor a reason for their absence")
    return lacks + [
        f"the configuration lacks {k}" for k in ("model", "data", "seed") if k not in manifest.configuration
    ]


def _disagreements(manifest: Manifest, graph: tuple[Tensor, list[Tensor]]) -> list[str]:
    lacks = []
    if (manifest.input, *manifest.outputs) != (graph[0], *graph[1]):
        lacks.append("the manifest's tensors are not the graph's")
    try:
        side = manifest.preprocessing().input_size
    except ManifestInvalid as error:
        return [*lacks, error.detail]
    if manifest.input.shape[1:] != (3, side, side):
        lacks.append(f"expected an input (batch, 3, {side}, {side}), got {manifest.input.shape}")
    classes = manifest.outputs[-1].shape[-1] if manifest.outputs and manifest.outputs[-1].shape else None
    if isinstance(classes, int) and classes != len(manifest.labels):
        lacks.append(f"the graph has {classes} classes, the manifest {len(manifest.labels)} labels")
    return lacks


def _drifts(parity: Mapping[str, Any], tolerance: Tolerance) -> dict[str, dict[str, float]]:
    """Each recorded difference beside what is allowed. Raises KeyError or TypeError where one is missing."""
    tensors, boxes, metric = (parity[name] for name in ("tensors", "boxes", "map50"))
    batches = [tensors[str(size)] for size in BATCHES]
    found = {
        "boxes of tensors": (max(float(entry["boxes_relative"]) for entry in batches), tolerance.boxes),
        "scores of tensors": (max(float(entry["score"]) for entry in batches), tolerance.score),
        "scores of boxes": (float(boxes["score"]), tolerance.score),
        "1 - IoU of boxes": (1 - float(boxes["least_iou"]), round(1 - tolerance.iou, 9)),
    }
    if metric is not None:
        found["drop of mAP50"] = (float(metric["drop"]), tolerance.map50_drop)
    return {name: {"is": value, "allowed": allowed} for name, (value, allowed) in found.items()}

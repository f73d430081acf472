"""Does the exported graph answer as the network does? On tensors, on boxes, and on the metric.

Knows nothing of torch or ONNX: it compares two functions of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from safelight.detections import Detections, box_iou
from safelight.errors import ParityError
from safelight.postprocess import Run, Thresholds, detect
from safelight.preprocess import Preprocess

BATCHES = (1, 2, 8)

Answer = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Boxes `(B, A, 4)` xyxy input pixels and scores `(B, A, C)`."""


@dataclass(frozen=True)
class Tolerance:
    """Largest differences allowed. boxes: input pixels, relative to the input's side. score: absolute.
    iou: least overlap of matched boxes. map50_drop: loss of mAP50. floor: the least score of a box that has to be on both
    sides where their order differs."""

    boxes: float = 1e-4
    score: float = 1e-4
    iou: float = 0.99
    map50_drop: float = 0.001
    floor: float = 0.05


def tensor_parity(reference: Run, exported: Run, inputs: NDArray[np.float32], tolerance: Tolerance) -> dict[str, Any]:
    """Largest differences at batch 1, 2 and 8, on inputs `(8, 3, S, S)`, and the rule by which they were compared.

    `direct`: box by box, in order. Where that fails, `matched`: a DETR picks its queries by score, and where scores tie the
    two sides may pick them in another order; then the boxes of each picture with a score of at least `tolerance.floor` are
    matched one to one, within the same tolerances. Raises ParityError beyond them.
    """
    if len(inputs) < max(BATCHES):
        raise ValueError(f"inputs: expected at least {max(BATCHES)}, got {len(inputs)}")
    found: dict[str, Any] = {}
    for size in BATCHES:
        batch = np.ascontiguousarray(inputs[:size])
        ref, got = reference(batch), exported(batch)
        if ref[0].shape != got[0].shape or ref[1].shape != got[1].shape:
            raise ParityError(
                f"batch {size}: expected shapes {ref[0].shape} and {ref[1].shape}, got {got[0].shape} and {got[1].shape}."
            )
        side = batch.shape[-1]
        drift_boxes = float(np.abs(ref[0] - got[0]).max() / side)
        drift_score = float(np.abs(ref[1] - got[1]).max())
        if drift_boxes <= tolerance.boxes and drift_score <= tolerance.score:
            found[str(size)] = {"rule": "direct", "boxes_relative": drift_boxes, "score": drift_score}
            continue
        matched = match_sets(ref, got, side, tolerance)
        if matched is None:
            raise ParityError(
                f"batch {size}: boxes differ by {drift_boxes:.2e} of the side (allowed {tolerance.boxes}), "
                f"scores by {drift_score:.2e} (allowed {tolerance.score}), in order; no other order makes them agree."
            )
        found[str(size)] = {"rule": "matched", **matched}
    return found


def match_sets(ref: Answer, got: Answer, side: int, tolerance: Tolerance) -> dict[str, Any] | None:
    """Answers for a batch as sets of boxes: the largest differences of partners, None when a box has none or when nothing
    reaches the floor. Boxes whose best score is within the tolerance of the floor may be on one side alone."""
    compared, worst_boxes, worst_score = 0, 0.0, 0.0
    for ref_boxes, ref_scores, boxes, scores in zip(*ref, *got, strict=True):
        a, b = (np.flatnonzero(s.max(axis=1) >= tolerance.floor - tolerance.score) for s in (ref_scores, scores))
        far = np.abs(ref_boxes[a][:, None] - boxes[b][None]).max(axis=2) / side
        other = np.abs(ref_scores[a][:, None] - scores[b][None]).max(axis=2)
        pairs = list(
            zip(*linear_sum_assignment(np.maximum(far / tolerance.boxes, other / tolerance.score)), strict=True)
        )
        pairs = [(i, j) for i, j in pairs if far[i, j] <= tolerance.boxes and other[i, j] <= tolerance.score]
        alone = [
            *np.delete(ref_scores[a], [i for i, _ in pairs], axis=0),
            *np.delete(scores[b], [j for _, j in pairs], axis=0),
        ]
        if any(score.max() > tolerance.floor + tolerance.score for score in alone):
            return None
        compared += len(pairs)
        worst_boxes = max([worst_boxes, *(float(far[pair]) for pair in pairs)])
        worst_score = max([worst_score, *(float(other[pair]) for pair in pairs)])
    return {"boxes_relative": worst_boxes, "score": worst_score, "compared": compared} if compared else None


def box_parity(
    reference: Run,
    exported: Run,
    images: Sequence[NDArray[np.uint8]],
    preprocess: Preprocess,
    thresholds: Thresholds,
    tolerance: Tolerance,
) -> dict[str, Any]:
    """Detections on whole pictures, matched one to one. Raises ParityError when one is without a partner.

    A box whose score lies within the tolerance of the threshold may be on one side alone: that is rounding, not drift.
    """
    matched, worst_iou, worst_score = 0, 1.0, 0.0
    for image in images:
        ref, got = (detect(image, preprocess, thresholds, run, floor=thresholds.score) for run in (reference, exported))
        pairs, alone = match(ref, got, tolerance.iou)
        edge = thresholds.score + tolerance.score
        drifted = [score for score in alone if score > edge]
        if drifted:
            raise ParityError(f"{len(drifted)} of {len(ref)} boxes have no partner with IoU >= {tolerance.iou}.")
        matched += len(pairs)
        worst_iou = min([worst_iou, *(iou for iou, _ in pairs)])
        worst_score = max([worst_score, *(score for _, score in pairs)])
    if worst_score > tolerance.score:
        raise ParityError(f"matched boxes differ by {worst_score:.2e} in score (allowed {tolerance.score}).")
    return {"pictures": len(images), "matched": matched, "least_iou": worst_iou, "score": worst_score}


def metric_parity(
    measure: Callable[[Run], float], reference: Run, exported: Run, tolerance: Tolerance
) -> dict[str, Any]:
    """mAP50 of both on the same labelled data. Raises ParityError when the graph loses more than allowed."""
    before, after = measure(reference), measure(exported)
    if before - after > tolerance.map50_drop:
        raise ParityError(f"mAP50 falls from {before:.4f} to {after:.4f} (allowed {tolerance.map50_drop}).")
    return {"reference": before, "exported": after, "drop": before - after}


def match(a: Detections, b: Detections, least_iou: float) -> tuple[list[tuple[float, float]], list[float]]:
    """Partners of the same class with IoU of at least `least_iou`, best first.

    Returns ((IoU, score difference) of each pair, scores of those left alone on either side).
    """
    iou = np.where(a.class_ids[:, None] == b.class_ids[None, :], box_iou(a.boxes, b.boxes), 0)
    free_a, free_b = set(range(len(a))), set(range(len(b)))
    pairs: list[tuple[float, float]] = []
    for flat in np.argsort(-iou, axis=None, kind="stable"):
        i, j = divmod(int(flat), len(b))
        if iou[i, j] < least_iou:
            break
        if i in free_a and j in free_b:
            free_a.remove(i)
            free_b.remove(j)
            pairs.append((float(iou[i, j]), float(abs(a.scores[i] - b.scores[j]))))
    return pairs, [float(a.scores[i]) for i in free_a] + [float(b.scores[j]) for j in free_b]


def describe(tolerance: Tolerance) -> dict[str, float]:
    """The tolerance as plain values, to stand beside the figures."""
    return asdict(tolerance)

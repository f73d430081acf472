"""Does the exported graph answer as the network does? On tensors, on boxes, and on the metric.

Knows nothing of torch or ONNX: it compares two functions of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.detections import Detections, box_iou
from safelight.errors import ParityError
from safelight.postprocess import Run, Thresholds, detect
from safelight.preprocess import Preprocess

BATCHES = (1, 2, 8)


@dataclass(frozen=True)
class Tolerance:
    """Largest differences allowed. boxes: input pixels, relative to the input's side. score: absolute.
    iou: least overlap of matched boxes. map50_drop: loss of mAP50."""

    boxes: float = 1e-4
    score: float = 1e-4
    iou: float = 0.99
    map50_drop: float = 0.001


def tensor_parity(reference: Run, exported: Run, inputs: NDArray[np.float32], tolerance: Tolerance) -> dict[str, Any]:
    """Largest differences at batch 1, 2 and 8, on inputs `(8, 3, S, S)`. Raises ParityError beyond the tolerance."""
    if len(inputs) < max(BATCHES):
        raise ValueError(f"inputs: expected at least {max(BATCHES)}, got {len(inputs)}")
    found: dict[str, Any] = {}
    for size in BATCHES:
        batch = np.ascontiguousarray(inputs[:size])
        (ref_boxes, ref_scores), (boxes, scores) = reference(batch), exported(batch)
        if ref_boxes.shape != boxes.shape or ref_scores.shape != scores.shape:
            raise ParityError(
                f"batch {size}: expected shapes {ref_boxes.shape} and {ref_scores.shape}, "
                f"got {boxes.shape} and {scores.shape}."
            )
        drift_boxes = float(np.abs(ref_boxes - boxes).max() / batch.shape[-1])
        drift_score = float(np.abs(ref_scores - scores).max())
        if not (drift_boxes <= tolerance.boxes and drift_score <= tolerance.score):
            raise ParityError(
                f"batch {size}: boxes differ by {drift_boxes:.2e} of the side (allowed {tolerance.boxes}), "
                f"scores by {drift_score:.2e} (allowed {tolerance.score})."
            )
        found[str(size)] = {"boxes_relative": drift_boxes, "score": drift_score}
    return found


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

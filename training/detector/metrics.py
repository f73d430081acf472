"""How good detections are, against ground truth: who finds what, AP, and precision and recall at every score.

Knows nothing of networks, thresholds' origin or files: lists of `Detections` and `Truth`, one of each a scene, in the
same order. AP is that of COCO (Lin et al., "Microsoft COCO", 2014) with room for hundreds of boxes a scene.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from safelight.detections import Detections, box_iou

COCO_IOUS = tuple(float(iou) for iou in np.linspace(0.5, 0.95, 10).round(2))
RECALL_POINTS = np.linspace(0, 1, 101)
CROWN_IOU = (
    0.4  # from which a box finds a tree crown: crowns have no sharp border (Weinstein et al., "DeepForest", 2020)
)
MAX_DETECTIONS = 3000
ANY_AREA = (0.0, 1e10)  # square pixels

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Truth:
    """What is on one scene. boxes: `(N, 4)` xyxy pixels. class_ids: `(N,)`. image_size: (width, height) in pixels."""

    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes", np.asarray(self.boxes, np.float32).reshape(-1, 4))
        object.__setattr__(self, "class_ids", np.asarray(self.class_ids, np.int64))
        if self.class_ids.shape != (len(self.boxes),):
            raise ValueError(f"class_ids: expected shape ({len(self.boxes)},), got {self.class_ids.shape}")

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Curve:
    """Points of a precision-recall curve, by falling score; all arrays `(N,)`."""

    scores: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]

    @classmethod
    def of(cls, scores: NDArray[np.float64], hits: Flags, positives: int) -> Curve:
        """scores, hits: `(N,)`, a detection each. positives: boxes there are, at least 1. Equal scores are one point."""
        order = np.argsort(-scores, kind="stable")
        true = np.cumsum(hits[order])
        last = np.append(np.diff(scores[order]) != 0, True)[: len(order)]
        seen = np.arange(1, len(order) + 1)
        return cls(scores[order][last], (true / seen)[last], (true / positives)[last])

    @property
    def f1(self) -> NDArray[np.float64]:
        """Harmonic mean of precision and recall at each point, 0 where both are 0."""
        total = self.precision + self.recall
        return np.divide(2 * self.precision * self.recall, total, out=np.zeros_like(total), where=total > 0)

    def best(self) -> tuple[float, float]:
        """(score threshold, F1) where F1 is highest: halfway between the last score to keep and the first to drop.

        For validation data: chosen on the data it is reported on, the F1 flatters. Raises ValueError without points.
        """
        if not len(self.scores):
            raise ValueError("expected at least one detection to choose a threshold from")
        best = int(self.f1.argmax())
        below = self.scores[best + 1] if best + 1 < len(self.scores) else 0.0
        return float((self.scores[best] + below) / 2), float(self.f1[best])


def coco_map(
    found: Sequence[Detections],
    truths: Sequence[Truth],
    num_classes: int,
    ious: Sequence[float] = COCO_IOUS,
    max_detections: int = MAX_DETECTIONS,
) -> dict[float, float]:
    """Mean AP over the classes that occur, at each IoU, by pycocotools. 0 where nothing was found.

    Raises ValueError when the lists differ in length or there is no ground truth to measure against.
    """
    check_pairs(found, truths)
    if not any(len(d) for d in found):
        return dict.fromkeys(ious, 0.0)
    precision = coco_accumulated(found, truths, num_classes, ious, [ANY_AREA], [max_detections])["precision"][..., 0, 0]
    present = (precision > -1).all(axis=(0, 1))  # (IoU, recall, class); -1 where a class does not occur
    return {iou: float(precision[i][:, present].mean()) for i, iou in enumerate(ious)}


def coco_accumulated(
    found: Sequence[Detections],
    truths: Sequence[Truth],
    num_classes: int,
    ious: Sequence[float],
    areas: Sequence[tuple[float, float]],
    limits: Sequence[int],
) -> dict[str, NDArray[np.float64]]:
    """pycocotools' tables: `precision` (IoU, 101 recall points, class, area, limit) and `recall` (IoU, class, area,
    limit), -1 where a class has no box of that area.

    areas: (least, most) square pixels. limits: most detections a picture and class, rising. At least one detection.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        reference = _coco_truth(truths, num_classes)
        evaluation = COCOeval(reference, reference.loadRes(_coco_found(found)), "bbox")
        evaluation.params.iouThrs = np.asarray(ious, np.float64)
        evaluation.params.maxDets = list(limits)
        evaluation.params.areaRng = [list(area) for area in areas]
        evaluation.params.areaRngLbl = [str(number) for number in range(len(areas))]
        evaluation.evaluate()
        evaluation.accumulate()
    return {name: evaluation.eval[name] for name in ("precision", "recall")}


def matches(found: Detections, truth: Truth, ious: Sequence[float]) -> NDArray[np.int64]:
    """Which box each detection finds at each IoU, `(T, N)`, -1 for none: one of its class that no stronger one has found,
    of those the one it overlaps most (greedy, one to one)."""
    partner = np.full((len(ious), len(found)), -1, np.int64)
    if not len(truth) or not len(found):
        return partner
    same = found.class_ids[:, None] == truth.class_ids[None, :]
    overlap = np.where(same, box_iou(found.boxes, truth.boxes), np.float32(0))
    least = np.asarray(ious, np.float32)
    free = np.ones((len(ious), len(truth)), np.bool_)
    order = np.argsort(-found.scores, kind="stable")
    for index in order[overlap[order].max(axis=1) >= least.min()]:  # the others find nothing
        left = np.where(free, overlap[index], np.float32(0))
        best = left.argmax(axis=1)
        rows = np.flatnonzero(left.max(axis=1) >= least)
        partner[rows, index] = best[rows]
        free[rows, best[rows]] = False
    return partner


def true_positives(found: Detections, truth: Truth, iou: float) -> Flags:
    """Which detections `(N,)` find a box, as `matches` has it."""
    flags: Flags = matches(found, truth, [iou])[0] >= 0
    return flags


def average_precision(
    scores: NDArray[np.float64], hits: Flags, positives: float, weights: NDArray[np.float64]
) -> float:
    """COCO's 101-point interpolated AP of one class, from a flag per detection.

    scores, hits, weights: `(N,)`; a weight is how often a detection counts (bootstrap). positives: boxes there are.
    """
    if positives <= 0 or not len(scores):
        return 0.0
    order = np.argsort(-scores, kind="stable")
    weight, hit = weights[order], hits[order]
    true = np.cumsum(weight * hit)
    seen = np.cumsum(weight)
    precision = np.divide(true, seen, out=np.zeros_like(true), where=seen > 0)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(true / positives, RECALL_POINTS, side="left")
    return float(np.append(envelope, 0.0)[np.minimum(at, len(envelope))].mean())


def precision_recall_curve(found: Sequence[Detections], truths: Sequence[Truth], iou: float) -> Curve:
    """Precision and recall over all classes together at every score. Raises ValueError as `coco_map` does."""
    check_pairs(found, truths)
    scores = np.concatenate([d.scores for d in found]).astype(np.float64)
    flags = np.concatenate([true_positives(d, t, iou) for d, t in zip(found, truths, strict=True)])
    return Curve.of(scores, flags, sum(len(t) for t in truths))


def best_threshold(found: Sequence[Detections], truths: Sequence[Truth], iou: float) -> tuple[float, float]:
    """`Curve.best` over all classes together. Raises ValueError when nothing was found, and as `coco_map` does."""
    return precision_recall_curve(found, truths, iou).best()


def check_pairs(found: Sequence[Detections], truths: Sequence[Truth]) -> None:
    """Raises ValueError when the lists differ in length or there is no ground truth to measure against."""
    if len(found) != len(truths):
        raise ValueError(f"expected as many scenes found as known, got {len(found)} and {len(truths)}")
    if not any(len(t) for t in truths):
        raise ValueError("expected at least one box of ground truth")


def _coco_truth(truths: Sequence[Truth], num_classes: int) -> COCO:
    annotations: list[dict[str, Any]] = []
    for image, truth in enumerate(truths):
        for box, class_id in zip(truth.boxes.astype(np.float64), truth.class_ids, strict=True):
            low, size = box[:2], box[2:] - box[:2]
            annotations.append(
                {
                    "id": len(annotations) + 1,  # pycocotools takes 0 for "not matched"
                    "image_id": image,
                    "category_id": int(class_id),
                    "bbox": [*low.tolist(), *size.tolist()],
                    "area": float(size.prod()),
                    "iscrowd": 0,
                }
            )
    reference = COCO()
    reference.dataset = {
        "info": {},
        "images": [{"id": i, "width": t.image_size[0], "height": t.image_size[1]} for i, t in enumerate(truths)],
        "categories": [{"id": i, "name": str(i)} for i in range(num_classes)],
        "annotations": annotations,
    }
    reference.createIndex()
    return reference


def _coco_found(found: Sequence[Detections]) -> NDArray[np.float64]:
    """`(N, 7)`: image, x, y, width, height, score, class."""
    rows = [
        np.column_stack([np.full(len(d), i), d.boxes[:, :2], d.boxes[:, 2:] - d.boxes[:, :2], d.scores, d.class_ids])
        for i, d in enumerate(found)
    ]
    return np.concatenate(rows).astype(np.float64)

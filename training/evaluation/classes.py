"""The figures of each class at the thresholds that are served, and the curves behind them. Knows nothing of files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.detector.bootstrap import Tally
from training.detector.metrics import Curve
from training.evaluation.coco import CocoFigures
from training.evaluation.observed import Observed


def class_table(
    seen: Observed, labels: Sequence[str], figures: CocoFigures, least: NDArray[np.float32], match_iou: float
) -> dict[str, dict[str, float | int | None]]:
    """By label: ap50, ap50_95, and at its threshold precision, recall and f1; support (true boxes) and threshold.

    least: `(C,)`, the threshold of each class. What cannot be measured is None: recall and F1 of a class without a true
    box, precision of one without a detection.
    """
    sure = Tally.of([d.above(least) for d in seen.found], seen.truths, [match_iou], None)
    table: dict[str, dict[str, float | int | None]] = {}
    for class_id, label in enumerate(labels):
        support = int((sure.truth_classes == class_id).sum())
        of = sure.class_ids == class_id
        right, answers = int(sure.hits[0, of].sum()), int(of.sum())
        table[label] = {
            "ap50": figures.ap50.get(class_id),
            "ap50_95": figures.ap.get(class_id),
            "precision": right / answers if answers else None,
            "recall": right / support if support else None,
            "f1": 2 * right / (answers + support) if support else None,
            "support": support,
            "threshold": round(float(least[class_id]), 4),
        }
    return table


def class_curves(seen: Observed, labels: Sequence[str], match_iou: float) -> dict[str, Curve]:
    """Precision and recall at every score, by label, of the classes that have a true box and a detection."""
    tally = Tally.of(seen.found, seen.truths, [match_iou], None)
    curves = {}
    for class_id, label in enumerate(labels):
        of, boxes = tally.class_ids == class_id, int((tally.truth_classes == class_id).sum())
        if boxes and of.any():
            curves[label] = Curve.of(tally.scores[of], tally.hits[0, of], boxes)
    return curves


def points(curve: Curve, most: int = 300) -> list[dict[str, Any]]:
    """About `most` points of a curve as rows of recall, precision and score."""
    rows = zip(curve.recall, curve.precision, curve.scores, strict=True)
    step = max(1, len(curve.scores) // most)
    return [{"recall": float(r), "precision": float(p), "score": float(s)} for r, p, s in rows][::step]

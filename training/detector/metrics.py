"""How good are detections? COCO's mAP, precision and recall, count error, and how sure we may be of each.

Knows nothing of networks: lists of `Detections` found and true, one pair a scene, pure numpy and pycocotools. Truth is a
`Detections` whose scores are all 1. Sources: Lin et al., "Microsoft COCO", 2014 (mAP); Weinstein et al., "Individual
tree-crown detection in RGB imagery", Remote Sensing 2019 (precision and recall at IoU 0.4); Efron & Tibshirani, "An
Introduction to the Bootstrap", 1993 (percentile intervals).
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

IOUS = np.round(np.arange(0.5, 1.0, 0.05), 2)
"""COCO's ten overlaps."""
CROWN_IOU = 0.4
"""The overlap at which DeepForest reports precision and recall."""
PLOT = 400
"""Side of a plot in pixels: NEON's 40 m at 10 cm a pixel. The unit of the bootstrap and of the count error."""
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Matches:
    """Every detection of all scenes, strongest first, and whether it is right.

    scores, class_ids, plots: `(N,)`. right: `(K, N)` bool, a row for each of K overlaps. true_plots, true_class_ids:
    `(M,)`, the plot and class of each true box. plots are numbered over all scenes; num_plots counts them.
    """

    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    plots: NDArray[np.int64]
    right: NDArray[np.bool_]
    true_plots: NDArray[np.int64]
    true_class_ids: NDArray[np.int64]
    num_plots: int


def coco_map(found: Sequence[Detections], truth: Sequence[Detections]) -> dict[str, float]:
    """mAP at IoU 0.5 and over 0.5:0.95 by pycocotools, with as many detections a scene as there are."""
    _check_pairs(found, truth)
    classes = sorted({int(c) for t in truth for c in t.class_ids})
    if not classes:
        raise ValueError("truth: expected at least one box, got none")
    images = [{"id": i, "width": t.image_size[0], "height": t.image_size[1]} for i, t in enumerate(truth)]
    answers = [entry for i, f in enumerate(found) for entry in _coco_boxes(i, f)]
    answers = [{**entry, "id": n} for n, entry in enumerate(answers, 1)]
    annotations = [entry for i, t in enumerate(truth) for entry in _coco_boxes(i, t)]
    annotations = [{**entry, "id": n, "iscrowd": 0} for n, entry in enumerate(annotations, 1)]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        true_set = _coco(images, classes, annotations)
        evaluation = COCOeval(true_set, _coco(images, classes, answers), "bbox")
        evaluation.params.maxDets = [max([1, *(len(f) for f in found)])]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 0]  # (overlap, recall, class)
    return {"map50": float(precision[0].mean()), "map50_95": float(precision.mean())}


def match(found: Sequence[Detections], truth: Sequence[Detections], ious: Sequence[float]) -> Matches:
    """Pair detections with true boxes of their class, strongest first, each true box once, as COCO does."""
    _check_pairs(found, truth)
    parts: dict[str, list[Any]] = {name: [] for name in ("scores", "class_ids", "plots", "right", "tp", "tc")}
    first_plot = 0
    for f, t in zip(found, truth, strict=True):
        order = np.argsort(-f.scores, kind="mergesort")
        ranked = f[order]
        parts["scores"].append(ranked.scores)
        parts["class_ids"].append(ranked.class_ids)
        parts["plots"].append(first_plot + _plots(ranked))
        parts["right"].append(_right(ranked, t, ious))
        parts["tp"].append(first_plot + _plots(t))
        parts["tc"].append(t.class_ids)
        columns, rows = _grid(t.image_size)
        first_plot += columns * rows
    scores = np.concatenate(parts["scores"])
    order = np.argsort(-scores, kind="mergesort")
    return Matches(
        scores[order],
        np.concatenate(parts["class_ids"])[order],
        np.concatenate(parts["plots"])[order],
        np.concatenate(parts["right"], axis=1)[:, order],
        np.concatenate(parts["tp"]),
        np.concatenate(parts["tc"]),
        first_plot,
    )


def best_threshold(matches: Matches, row: int = 0) -> tuple[float, float]:
    """The score at which F1 is greatest, and that F1, at overlap `row`. (1, 0) when nothing is right."""
    right = np.cumsum(matches.right[row])
    f1 = 2 * right / (np.arange(1, len(right) + 1) + len(matches.true_plots))
    if not len(f1) or right[-1] == 0:
        return 1.0, 0.0
    best = int(f1.argmax())
    return float(matches.scores[best]), float(f1[best])


def curve(matches: Matches, row: int = 0) -> list[dict[str, float]]:
    """Precision and recall at each score, thinned to at most 200 points, for a plot."""
    right = np.cumsum(matches.right[row])
    points = np.unique(np.linspace(0, len(right) - 1, min(200, len(right))).astype(int)) if len(right) else []
    return [
        {
            "recall": float(right[i] / len(matches.true_plots)),
            "precision": float(right[i] / (i + 1)),
            "score": float(matches.scores[i]),
        }
        for i in points
    ]


def evaluate(
    found: Sequence[Detections], truth: Sequence[Detections], threshold: float, *, draws: int, seed: int
) -> dict[str, Any]:
    """Everything that is reported of a set of scenes.

    threshold: the score above which a box counts, chosen elsewhere. Each figure stands beside its bootstrap 95 % interval
    over plots of 40 m: {"value", "interval": [low, high]}. Few plots make wide and somewhat optimistic intervals.
    """
    matches = match(found, truth, [CROWN_IOU, *IOUS])
    ones = np.ones((1, matches.num_plots))
    values = {name: float(v[0]) for name, v in _figures(matches, threshold, ones).items()}
    values |= coco_map(found, truth)  # pycocotools has the last word on its own measure
    times = np.random.default_rng(seed).multinomial(
        matches.num_plots, np.full(matches.num_plots, 1 / matches.num_plots), size=draws
    )
    spread = _figures(matches, threshold, times.astype(np.float64))
    report: dict[str, Any] = {
        name: {"value": value, "interval": [float(q) for q in np.nanquantile(spread[name], [0.025, 0.975])]}
        for name, value in values.items()
    }
    return report | {"boxes": len(matches.true_plots), "plots": matches.num_plots, "draws": draws}


def _figures(matches: Matches, threshold: float, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Each figure for each of D weightings of the plots, `(D, num_plots)` to `(D,)`."""
    counted = matches.scores >= threshold
    answered = weights @ np.bincount(matches.plots[counted], minlength=matches.num_plots)
    correct = weights @ np.bincount(matches.plots[counted & matches.right[0]], minlength=matches.num_plots)
    present = weights @ np.bincount(matches.true_plots, minlength=matches.num_plots)
    error = np.bincount(matches.plots[counted], minlength=matches.num_plots) - np.bincount(
        matches.true_plots, minlength=matches.num_plots
    )
    aps = np.stack([_mean_ap(matches, row, weights) for row in range(1, len(matches.right))])
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "map50": aps[0],
            "map50_95": aps.mean(axis=0),
            "precision": correct / answered,
            "recall": correct / present,
            "count_mae": weights @ np.abs(error) / weights.sum(axis=1),
        }


def _mean_ap(matches: Matches, row: int, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """AP, averaged over the classes present, by COCO's 101 recalls; `(D, num_plots)` to `(D,)`."""
    aps = []
    for class_id in np.unique(matches.true_class_ids):
        of_class = matches.class_ids == class_id
        present = weights @ np.bincount(
            matches.true_plots[matches.true_class_ids == class_id], minlength=matches.num_plots
        )
        weight = weights[:, matches.plots[of_class]]
        right = np.cumsum(weight * matches.right[row][of_class], axis=1)
        aps.append([_ap(r, np.cumsum(w), n) for r, w, n in zip(right, weight, present, strict=True)])
    return np.mean(aps, axis=0)


def _ap(right: NDArray[np.float64], answered: NDArray[np.float64], present: float) -> float:
    """Average precision of one class from running totals over detections, strongest first."""
    if present == 0 or not len(right):
        return float("nan") if present == 0 else 0.0
    precision = np.divide(right, answered, out=np.zeros_like(right), where=answered > 0)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(right / present, _RECALLS, side="left")
    return float(np.append(envelope, 0.0)[reached].mean())


def _right(ranked: Detections, truth: Detections, ious: Sequence[float]) -> NDArray[np.bool_]:
    """Which of the ranked detections of a scene find a true box that no stronger one has taken: `(K, N)`."""
    overlap = np.where(ranked.class_ids[:, None] == truth.class_ids[None], box_iou(ranked.boxes, truth.boxes), 0)
    right = np.zeros((len(ious), len(ranked)), np.bool_)
    for k, least in enumerate(ious):
        free = np.ones(len(truth), np.bool_)
        for n in range(len(ranked)):
            candidates = np.where(free, overlap[n], -1)
            if len(candidates) and candidates.max() >= least:
                free[candidates.argmax()] = False
                right[k, n] = True
    return right


def _grid(image_size: tuple[int, int]) -> tuple[int, int]:
    """Plots across and down a scene; a remainder of less than half a plot joins its neighbour."""
    return max(1, round(image_size[0] / PLOT)), max(1, round(image_size[1] / PLOT))


def _plots(boxes: Detections) -> NDArray[np.int64]:
    """The plot of each box's centre, counted from 0 within the scene."""
    columns, rows = _grid(boxes.image_size)
    centre = (boxes.boxes[:, :2] + boxes.boxes[:, 2:]) / 2
    column = np.clip(centre[:, 0] * columns / boxes.image_size[0], 0, columns - 1).astype(np.int64)
    row = np.clip(centre[:, 1] * rows / boxes.image_size[1], 0, rows - 1).astype(np.int64)
    return row * columns + column


def _coco_boxes(image: int, boxes: Detections) -> list[dict[str, Any]]:
    """Boxes of one scene as COCO has them: xywh, area, category."""
    sides = boxes.boxes[:, 2:] - boxes.boxes[:, :2]
    return [
        {
            "image_id": image,
            "category_id": int(class_id),
            "bbox": [*map(float, box[:2]), *map(float, side)],
            "area": float(side.prod()),
            "score": float(score),
        }
        for box, side, score, class_id in zip(boxes.boxes, sides, boxes.scores, boxes.class_ids, strict=True)
    ]


def _coco(images: list[dict[str, Any]], classes: list[int], annotations: list[dict[str, Any]]) -> COCO:
    made = COCO()
    made.dataset = {"images": images, "categories": [{"id": c} for c in classes], "annotations": annotations}
    made.createIndex()
    return made


def _check_pairs(found: Sequence[Detections], truth: Sequence[Detections]) -> None:
    if len(found) != len(truth):
        raise ValueError(f"found: expected one per scene of truth ({len(truth)}), got {len(found)}")
    for f, t in zip(found, truth, strict=True):
        if f.image_size != t.image_size:
            raise ValueError(f"found: expected boxes on a picture of {t.image_size}, got {f.image_size}")

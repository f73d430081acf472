"""The figures of a detector on its test scenes, each with a 95 % interval by resampling plots.

Knows nothing of networks or of how the detections came about. A plot is a cell of about 400 x 400 pixels (40 m at 10 cm a
pixel: the size of NEON's plots) of a scene; predictions and ground truth belong to the plot their centre lies in. Plots,
not boxes, are resampled, because neighbouring trees are alike. Matching is done once, on the whole scenes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from safelight.detections import Detections
from training.detector.metrics import (
    COCO_IOUS,
    CROWN_IOU,
    Truth,
    average_precision,
    coco_map,
    true_positives,
)

PLOT = 400
PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Tally:
    """All detections and boxes of all scenes, and the plot each lies in.

    scores, class_ids, plots: `(N,)` of detections. hits: `(T, N)`, whether each is a true positive at each of T IoUs.
    truth_classes, truth_plots: `(M,)` of ground truth. plot_count: how many plots there are.
    """

    scores: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    plots: NDArray[np.int64]
    hits: NDArray[np.bool_]
    truth_classes: NDArray[np.int64]
    truth_plots: NDArray[np.int64]
    plot_count: int

    @classmethod
    def of(cls, found: Sequence[Detections], truths: Sequence[Truth], ious: Sequence[float], plot: int) -> Tally:
        """Match and lay out the scenes, plots of about `plot` pixels a side."""
        plots: list[NDArray[np.int64]] = []
        truth_plots: list[NDArray[np.int64]] = []
        count = 0
        for detections, truth in zip(found, truths, strict=True):
            of_found, cells = plot_of(detections.boxes, truth.image_size, plot)
            plots.append(of_found + count)
            truth_plots.append(plot_of(truth.boxes, truth.image_size, plot)[0] + count)
            count += cells
        pairs = list(zip(found, truths, strict=True))
        return cls(
            np.concatenate([d.scores for d in found]).astype(np.float64),
            np.concatenate([d.class_ids for d in found]),
            np.concatenate(plots),
            np.stack([np.concatenate([true_positives(d, t, iou) for d, t in pairs]) for iou in ious]),
            np.concatenate([t.class_ids for t in truths]),
            np.concatenate(truth_plots),
            count,
        )


def evaluate(
    found: Sequence[Detections],
    truths: Sequence[Truth],
    num_classes: int,
    score: float,
    *,
    crown_iou: float = CROWN_IOU,
    plot: int = PLOT,
    samples: int = 1000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """map50, map50_95, precision, recall, f1 and count_mae (mean absolute error of the count in a plot).

    found: everything down to a low score, for AP. score: the threshold of precision, recall, f1 and counts, which are at
    `crown_iou`. The AP values are pycocotools', their intervals are of our own AP, which agrees with it.
    Raises ValueError as `coco_map` does.
    """
    mean_ap = coco_map(found, truths, num_classes)
    ap = Tally.of(found, truths, COCO_IOUS, plot)
    sure = Tally.of([d.above(score) for d in found], truths, [crown_iou], plot)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(ap.plot_count, np.full(ap.plot_count, 1 / ap.plot_count), samples).astype(np.float64)
    ones = np.ones(ap.plot_count)

    def interval(value: float, measure: Callable[[NDArray[np.float64]], float]) -> Estimate:
        low, high = np.nanpercentile([measure(draw) for draw in draws], PERCENTILES)
        return Estimate(float(value), float(low), float(high))

    def map_at(rows: Sequence[int]) -> Callable[[NDArray[np.float64]], float]:
        return lambda draw: float(np.mean([mean_average_precision(ap, row, draw) for row in rows]))

    every = range(len(COCO_IOUS))
    result = {
        "map50": interval(mean_ap[COCO_IOUS[0]], map_at([0])),
        "map50_95": interval(float(np.mean(list(mean_ap.values()))), map_at(every)),
    }
    for name, measure in {"precision": precision, "recall": recall, "f1": f1, "count_mae": count_error}.items():
        result[name] = interval(measure(sure, ones), partial(measure, sure))
    return result


def plot_of(boxes: NDArray[np.float32], image_size: tuple[int, int], plot: int) -> tuple[NDArray[np.int64], int]:
    """The plot `(N,)` that each box's centre lies in, and how many there are: the sides are cut evenly, so that there
    are no slivers at the border."""
    counts = np.array([max(1, round(side / plot)) for side in image_size])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    cells = np.clip((centres * counts / np.array(image_size)).astype(np.int64), 0, counts - 1)
    return cells[:, 1] * counts[0] + cells[:, 0], int(counts.prod())


def mean_average_precision(tally: Tally, row: int, draw: NDArray[np.float64]) -> float:
    """Mean AP over the classes present, at the IoU of `row`, each plot counted `draw` times."""
    weights, truth_weights = draw[tally.plots], draw[tally.truth_plots]
    values = []
    for class_id in np.unique(tally.truth_classes):
        positives = truth_weights[tally.truth_classes == class_id].sum()
        of = tally.class_ids == class_id
        if positives:
            values.append(average_precision(tally.scores[of], tally.hits[row, of], positives, weights[of]))
    return float(np.mean(values)) if values else float("nan")


def precision(tally: Tally, draw: NDArray[np.float64]) -> float:
    """Share of the detections that are right; 0 when there is none."""
    weights = draw[tally.plots]
    return float((weights * tally.hits[0]).sum() / weights.sum()) if weights.sum() else 0.0


def recall(tally: Tally, draw: NDArray[np.float64]) -> float:
    """Share of the boxes that were found, at most 1 (a box and its finder may lie in two plots)."""
    positives = draw[tally.truth_plots].sum()
    return min(1.0, float((draw[tally.plots] * tally.hits[0]).sum() / positives)) if positives else float("nan")


def f1(tally: Tally, draw: NDArray[np.float64]) -> float:
    """Harmonic mean of precision and recall."""
    p, r = precision(tally, draw), recall(tally, draw)
    return 2 * p * r / (p + r) if p + r > 0 else 0.0


def count_error(tally: Tally, draw: NDArray[np.float64]) -> float:
    """Mean over plots of |boxes found - boxes there|."""
    found = np.bincount(tally.plots, minlength=tally.plot_count)
    there = np.bincount(tally.truth_plots, minlength=tally.plot_count)
    return float((draw * np.abs(found - there)).sum() / draw.sum())

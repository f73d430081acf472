"""The figures of a detector on its test pictures, each with a 95 % interval by resampling.

Knows nothing of networks or of how the detections came about. What is resampled is a plot: a cell of about `plot` pixels a
side of a large scene (400 are 40 m at 10 cm a pixel, the size of NEON's plots), or a whole picture. Predictions and ground
truth belong to the plot their centre lies in. Plots, not boxes, are resampled, because neighbours are alike. Matching is
done once, on the whole scenes. Intervals are bootstrap percentiles (Efron & Tibshirani, "An Introduction to the
Bootstrap", 1993).
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
    RECALL_POINTS,
    Truth,
    average_precision,
    coco_map,
    matches,
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
    def of(cls, found: Sequence[Detections], truths: Sequence[Truth], ious: Sequence[float], plot: int | None) -> Tally:
        """Match and lay out the scenes: plots of about `plot` pixels a side, None for whole pictures."""
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
            np.concatenate([matches(d, t, ious) >= 0 for d, t in pairs], axis=1),
            np.concatenate([t.class_ids for t in truths]),
            np.concatenate(truth_plots),
            count,
        )


def evaluate(
    found: Sequence[Detections],
    truths: Sequence[Truth],
    num_classes: int,
    score: float | NDArray[np.float32],
    *,
    match_iou: float,
    plot: int | None = PLOT,
    samples: int = 1000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """map50, map50_95, precision, recall, f1 and count_mae (mean absolute error of the count in a plot).

    found: everything down to a low score, for AP. score: the threshold of precision, recall, f1 and counts, one or one a
    class; these are at `match_iou`. The AP values are pycocotools', their intervals are of our own AP, which agrees with
    it. Raises ValueError as `coco_map` does.
    """
    mean_ap = coco_map(found, truths, num_classes)
    ap = Tally.of(found, truths, COCO_IOUS, plot)
    sure = Tally.of([d.above(score) for d in found], truths, [match_iou], plot)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(ap.plot_count, np.full(ap.plot_count, 1 / ap.plot_count), samples).astype(np.float64)
    ones = np.ones(ap.plot_count)

    def interval(value: float, drawn: Sequence[float] | NDArray[np.float64]) -> Estimate:
        low, high = np.nanpercentile(drawn, PERCENTILES)
        return Estimate(float(value), float(low), float(high))

    drawn = drawn_precisions(ap, draws)
    result = {
        "map50": interval(mean_ap[COCO_IOUS[0]], drawn[:, 0]),
        "map50_95": interval(float(np.mean(list(mean_ap.values()))), drawn.mean(axis=1)),
    }
    measures: dict[str, Callable[[Tally, NDArray[np.float64]], float]]
    measures = {"precision": precision, "recall": recall, "f1": f1, "count_mae": count_error}
    for name, measure in measures.items():
        result[name] = interval(measure(sure, ones), [partial(measure, sure)(draw) for draw in draws])
    return result


def plot_grid(image_size: tuple[int, int], plot: int | None) -> NDArray[np.int64]:
    """How many plots lie (across, down) a picture of (width, height): its sides are cut evenly, so that there are no
    slivers at the border."""
    return np.array([1 if plot is None else max(1, round(side / plot)) for side in image_size], np.int64)


def plot_of(boxes: NDArray[np.float32], image_size: tuple[int, int], plot: int | None) -> tuple[NDArray[np.int64], int]:
    """The plot `(N,)` that each box's centre lies in, row by row, and how many there are."""
    counts = plot_grid(image_size, plot)
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


def drawn_precisions(tally: Tally, draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """`mean_average_precision` at every IoU for every draw: `(D, T)` from draws `(D, plots)`.

    The same figures, sorted once: between two hits precision only falls, so that a curve is known from its hits alone.
    """
    ranked = []
    for class_id in np.unique(tally.truth_classes):
        of = np.flatnonzero(tally.class_ids == class_id)
        of = of[np.argsort(-tally.scores[of], kind="stable")]
        at = [np.flatnonzero(hits) for hits in tally.hits[:, of]]
        ranked.append((tally.plots[of], at, tally.truth_plots[tally.truth_classes == class_id]))
    result = np.full((len(draws), len(tally.hits)), np.nan)
    for number, draw in enumerate(draws):
        values = []
        for plots, at, truth_plots in ranked:
            positives = draw[truth_plots].sum()
            if positives:
                weights = draw[plots]
                seen = np.cumsum(weights)
                values.append([_precision_of_hits(weights[hits], seen[hits], positives) for hits in at])
        if values:
            result[number] = np.mean(values, axis=0)
    return result


def _precision_of_hits(weights: NDArray[np.float64], seen: NDArray[np.float64], positives: float) -> float:
    """Interpolated AP from the hits alone: how often each counts, and all that was seen up to it."""
    true = np.cumsum(weights)
    precisions = np.divide(true, seen, out=np.zeros_like(true), where=seen > 0)
    envelope = np.append(np.maximum.accumulate(precisions[::-1])[::-1], 0.0)
    at = np.searchsorted(true / positives, RECALL_POINTS, side="left")
    return float(envelope[at].mean())


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
    found, there = counts(tally)
    return float((draw * np.abs(found - there)).sum() / draw.sum())


def counts(tally: Tally) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Boxes (found, there) in each plot."""
    return (
        np.bincount(tally.plots, minlength=tally.plot_count),
        np.bincount(tally.truth_plots, minlength=tally.plot_count),
    )

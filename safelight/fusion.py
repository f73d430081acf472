"""Several models' boxes on one picture: fused into one answer, or compared. Knows nothing of networks and requests.

Class indices have to mean the same in all of them, which is for the caller to see to.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from safelight.detections import Detections

_LEAST = 1e-12  # so that boxes without a score or an area can be divided by


def fuse(
    found: Sequence[Detections], weights: Sequence[float] | None = None, iou: float = 0.55, skip: float = 0.0
) -> Detections:
    """Weighted boxes fusion: boxes of one class that overlap become one, at their mean place, weighted by score and model.

    found: one of each model, of the same picture. weights: how far each model is trusted, by default alike. iou: overlap
    from which two boxes are one object. skip: the least score that is looked at. The answer is strongest first, at most as
    strong as the strongest box that went into it: the weighted mean score, times the share of the models, by weight, that
    saw the object. Raises ValueError when nothing is given, or pictures, weights or thresholds do not fit.

    Source: Solovyev, Wang, Gabruseva, "Weighted boxes fusion", 2021 (arXiv:1910.13302), section 3. There the score is
    multiplied by min(boxes, models) / models; here a model that boxes an object twice does not count twice.
    """
    trust = _trust(found, weights)
    if not (0 < iou <= 1 and 0 <= skip <= 1):
        raise ValueError(f"iou and skip: expected numbers in (0, 1] and [0, 1], got {iou} and {skip}")
    kept = [detections.above(skip) for detections in found]
    boxes = np.concatenate([detections.boxes for detections in kept]).astype(np.float64)
    scores = np.concatenate([detections.scores for detections in kept]).astype(np.float64)
    classes = np.concatenate([detections.class_ids for detections in kept])
    models = np.repeat(np.arange(len(kept)), [len(detections) for detections in kept])
    order = np.lexsort((*boxes.T, -trust[models] * scores))  # places break ties, so that the models' order does not
    cluster = np.empty(len(boxes), np.int64)
    count = 0
    for class_id in np.unique(classes):
        members = order[classes[order] == class_id]
        cluster[members] = count + _clusters(boxes[members], (trust[models] * scores)[members], iou)
        count = int(cluster[members].max()) + 1
    return _fused(
        boxes[order], scores[order], classes[order], models[order], cluster[order], trust, found[0].image_size
    )


def agreement(a: Detections, b: Detections, iou: float = 0.5) -> float:
    """How far two answers to one picture are the same, in [0, 1]: F1, the share of their boxes that have a partner of the
    same class in the other, which overlaps by at least `iou`; each box has one partner, best overlap first. 1.0 when both
    are empty. Scores do not matter. Raises ValueError when the pictures are not of one size."""
    if a.image_size != b.image_size:
        raise ValueError(f"image_size: expected one size, got {a.image_size} and {b.image_size}")
    if not len(a) + len(b):
        return 1.0
    overlaps = np.where(a.class_ids[:, None] == b.class_ids[None, :], _overlaps(a.boxes, b.boxes), -1.0)
    pairs = np.argwhere(overlaps >= iou)
    pairs = pairs[np.argsort(-overlaps[pairs[:, 0], pairs[:, 1]], kind="stable")]
    left, right = set(range(len(a))), set(range(len(b)))
    matched = 0
    for i, j in pairs.tolist():
        if i in left and j in right:
            left.remove(i)
            right.remove(j)
            matched += 1
    return 2 * matched / (len(a) + len(b))


def _overlaps(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Intersection over union of every pair `(N, M)`; by coordinate, which is quicker than `box_iou` for many boxes."""
    (left, top, right, bottom), (west, north, east, south) = a.T.astype(np.float64)[:, :, None], b.T.astype(np.float64)
    wide = np.minimum(right, east) - np.maximum(left, west)
    high = np.minimum(bottom, south) - np.maximum(top, north)
    shared = np.maximum(wide, 0) * np.maximum(high, 0)
    union = (right - left) * (bottom - top) + (east - west) * (south - north) - shared
    return np.asarray(shared / np.maximum(union, _LEAST), np.float64)


def _trust(found: Sequence[Detections], weights: Sequence[float] | None) -> NDArray[np.float64]:
    """The models' weights, summing to 1."""
    if not found or len({detections.image_size for detections in found}) != 1:
        raise ValueError("found: expected the answers of at least one model to pictures of one size")
    trust = np.ones(len(found)) if weights is None else np.asarray(weights, np.float64)
    if trust.shape != (len(found),) or not (np.isfinite(trust).all() and (trust > 0).all()):
        raise ValueError(f"weights: expected {len(found)} positive numbers, got {weights!r}")
    return np.asarray(trust / trust.sum(), np.float64)


def _clusters(boxes: NDArray[np.float64], strengths: NDArray[np.float64], iou: float) -> NDArray[np.int64]:
    """Which cluster each box of a class belongs to, `(N,)`. A box joins the cluster whose mean box it overlaps most, if by
    more than `iou`, and moves that mean; else it begins one. One box after the other, for each moves what the next meets."""
    numbers: list[int] = []
    means = np.zeros((5, len(boxes)))  # left, top, right, bottom, area
    masses: list[float] = []
    corners = boxes.reshape(-1, 4, 1)
    for place, (box, strength) in enumerate(zip(boxes.tolist(), np.maximum(strengths, _LEAST).tolist(), strict=True)):
        known = means[:, : len(masses)]
        sides = np.minimum(known[2:4], corners[place, 2:]) - np.maximum(known[:2], corners[place, :2])
        wide, high = np.maximum(sides, 0, out=sides)
        shared = wide * high
        overlaps = shared / (known[4] + ((box[2] - box[0]) * (box[3] - box[1]) + _LEAST) - shared)
        chosen = int(overlaps.argmax()) if masses else 0
        if not masses or overlaps[chosen] <= iou:
            chosen = len(masses)
            masses.append(0.0)
        numbers.append(chosen)
        masses[chosen] += strength
        part = strength / masses[chosen]
        a, b, c, d = (old + (new - old) * part for old, new in zip(means[:4, chosen].tolist(), box, strict=True))
        means[:, chosen] = a, b, c, d, (c - a) * (d - b)
    return np.array(numbers, np.int64)


def _fused(
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
    classes: NDArray[np.int64],
    models: NDArray[np.int64],
    cluster: NDArray[np.int64],
    trust: NDArray[np.float64],
    image_size: tuple[int, int],
) -> Detections:
    """The mean box and score of each cluster, strongest first."""
    count = int(cluster.max(initial=-1)) + 1
    weight = trust[models]
    strength = np.maximum(weight * scores, _LEAST)
    mass = np.bincount(cluster, strength, count)
    mean = np.stack([np.bincount(cluster, strength * side, count) / mass for side in boxes.T], axis=1).reshape(-1, 4)
    low, high = np.full((count, 4), np.inf), np.full((count, 4), -np.inf)
    np.minimum.at(low, cluster, boxes)
    np.maximum.at(high, cluster, boxes)
    seen = np.zeros((count, len(trust)))
    seen[cluster, models] = 1
    score = np.bincount(cluster, weight * scores, count) / np.bincount(cluster, weight, count) * (seen @ trust)
    label = np.zeros(count, np.int64)
    label[cluster] = classes
    mean = np.clip(mean, low, high)  # rounding may not move a mean out of what it is the mean of
    order = np.lexsort((*mean.T, label, -score))
    return Detections(
        mean[order].astype(np.float32), np.minimum(score, 1)[order].astype(np.float32), label[order], image_size
    )

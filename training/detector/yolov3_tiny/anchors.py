"""Anchors fitted to the boxes of a training set.

Knows nothing of networks. Source: Redmon & Farhadi, "YOLO9000", 2017, section 2 (k-means with 1 - IoU as the distance);
medians instead of means, because a few giant boxes should not pull an anchor off the many.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def fit_anchors(sizes: NDArray[np.float32], count: int, rounds: int = 100) -> NDArray[np.float32]:
    """`count` typical (width, height) of boxes `(N, 2)`, smallest area first: `(count, 2)` in the unit of `sizes`.

    Deterministic: it starts from squares at the quantiles of the areas. Raises ValueError on fewer boxes than anchors.
    """
    if len(sizes) < count:
        raise ValueError(f"sizes: expected at least {count} boxes to fit {count} anchors, got {len(sizes)}")
    side = np.sqrt(np.quantile(sizes.prod(axis=1), np.linspace(0.05, 0.95, count)))
    anchors = np.stack([side, side], axis=1).astype(np.float32)
    for _ in range(rounds):
        nearest = shape_iou(sizes, anchors).argmax(axis=1)
        moved = [np.median(sizes[nearest == k], axis=0) if (nearest == k).any() else anchors[k] for k in range(count)]
        if np.allclose(moved, anchors):
            break
        anchors = np.array(moved, np.float32)
    ranked: NDArray[np.float32] = anchors[anchors.prod(axis=1).argsort()]
    return ranked


def shape_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """IoU of boxes that share a centre: (width, height) `(N, 2)` and `(K, 2)` to `(N, K)`."""
    intersection = np.minimum(a[:, None], b[None]).prod(axis=2)
    iou: NDArray[np.float32] = intersection / (a.prod(axis=1)[:, None] + b.prod(axis=1)[None] - intersection)
    return iou

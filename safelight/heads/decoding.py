"""The arithmetic that several heads share: corners from centres, probabilities from logits, scores from classes.

Knows nothing of outputs or layouts. Nothing here turns finite numbers into NaN; what is too large becomes infinite.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def corners(centred: Floats) -> Floats:
    """`(..., 4)` cxcywh as xyxy, in the same unit."""
    centre, half = centred[..., :2], centred[..., 2:4] / np.float32(2)
    result: Floats = np.concatenate([centre - half, centre + half], axis=-1)
    return result


def sigmoid(logits: Floats) -> Floats:
    """The logistic function, by way of tanh, which does not overflow."""
    result: Floats = np.float32(0.5) + np.float32(0.5) * np.tanh(logits * np.float32(0.5))
    return result


def softmax(logits: Floats) -> Floats:
    """Over the last dimension. Differences are taken in halves, so that those of the largest numbers stay finite."""
    half = logits * np.float32(0.5)
    exponentials = np.exp((half - half.max(axis=-1, keepdims=True)) * np.float32(2))
    result: Floats = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return result


def spread(scores: Floats, class_ids: NDArray[Any], classes: int) -> Floats:
    """Scores `(B, N)` of boxes that have one class each as `(B, N, classes)`: zero for every other class, and zero
    altogether for a class that is none of these."""
    whole = np.rint(class_ids)
    known = (whole >= 0) & (whole < classes)
    index = np.where(known, whole, 0).astype(np.int64)
    result = np.zeros((*scores.shape, classes), np.float32)
    np.put_along_axis(result, index[..., None], np.where(known, scores, np.float32(0))[..., None], axis=2)
    return result

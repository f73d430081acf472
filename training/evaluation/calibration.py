"""How far a detection's score is the probability that it is right, and the temperature that brings it closer.

Knows nothing of pictures or files: scores and whether each was a hit. Temperature scaling and the expected calibration
error (ECE) are those of Guo et al., "On Calibration of Modern Neural Networks", 2017; that for detections a hit at an IoU
takes the place of a right class, so that the error is of precision, is Küppers et al., "Multivariate Confidence Calibration
for Object Detection", 2020 (their case of confidence alone). A temperature changes no order: AP, and which boxes are
answered, stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15
LOWEST, HIGHEST = 0.05, 20.0
_EDGE = 1e-6  # scores of exactly 0 and 1 have no logit


@dataclass(frozen=True)
class Bin:
    """Detections with a score in (low, high]: how many, their mean score, and the share that are hits."""

    low: float
    high: float
    count: int
    confidence: float
    precision: float


def fit_temperature(scores: NDArray[np.float64], hits: NDArray[np.bool_], least: int = 30) -> float | None:
    """T of `sigmoid(logit(score) / T)` with the smallest negative log-likelihood: above 1 scores were too sure.

    None where there is nothing to fit: fewer than `least` detections, or only hits, or none. The likelihood is convex in
    1/T, so that its slope is bisected; T stays within `LOWEST` and `HIGHEST`.
    """
    if len(scores) < least or hits.all() or not hits.any():
        return None
    logits = _logit(scores)

    def slope(inverse: float) -> float:
        return float((logits * (_sigmoid(logits * inverse) - hits)).sum())

    low, high = 1 / HIGHEST, 1 / LOWEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return round(2 / (low + high), 4)


def tempered(scores: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Scores at a temperature."""
    return _sigmoid(_logit(scores) / temperature)


def reliability(scores: NDArray[np.float64], hits: NDArray[np.bool_], bins: int = BINS) -> list[Bin]:
    """Bins of equal width, those without a detection left out."""
    number = np.clip(np.ceil(scores * bins).astype(np.int64) - 1, 0, bins - 1)
    return [
        Bin(
            float(i / bins),
            float((i + 1) / bins),
            int((number == i).sum()),
            float(scores[number == i].mean()),
            float(hits[number == i].mean()),
        )
        for i in np.unique(number)
    ]


def calibration_error(bins: list[Bin]) -> float | None:
    """ECE: the mean distance of score and share of hits, over all detections; None without any."""
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.confidence - b.precision) for b in bins) / total if total else None


def _logit(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(scores, _EDGE, 1 - _EDGE)
    logits: NDArray[np.float64] = np.log(inside) - np.log1p(-inside)
    return logits


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    probabilities: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(logits, -700, 700)))
    return probabilities

"""Is the candidate worse than the champion? mAP50 of both on the same pictures, and how sure one can be of the difference.

Non-inferiority by a paired bootstrap over plots (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993): both
models are scored on the same resampled plots, so that what makes a plot hard cancels out. Knows nothing of networks,
files or who decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safelight.detections import Detections
from training.detector.bootstrap import Tally, drawn_precisions
from training.detector.metrics import Truth

IOU = 0.5


@dataclass(frozen=True)
class Difference:
    """candidate, champion: mAP50. low: the difference that, at the confidence asked for, is at least reached.
    plots: how many were resampled."""

    candidate: float
    champion: float
    low: float
    plots: int

    @property
    def value(self) -> float:
        """The difference itself; below 0 where the candidate is worse."""
        return self.candidate - self.champion


def paired_difference(
    candidate: Sequence[Detections],
    champion: Sequence[Detections],
    truths: Sequence[Truth],
    *,
    confidence: float,
    plot: int | None,
    samples: int,
    seed: int,
) -> Difference:
    """Compare what two models found on the same pictures; classes are those of `truths`.

    confidence: of the one-sided lower bound, such as 0.95. plot: side of a plot in pixels; None takes each picture as one
    plot. Raises ValueError when the lists differ in length or there is nothing to be found.
    """
    if not any(len(truth) for truth in truths):
        raise ValueError("expected at least one box of ground truth")
    ours, theirs = (Tally.of(found, truths, [IOU], plot) for found in (candidate, champion))
    ones = np.ones((1, ours.plot_count))
    values = [float(drawn_precisions(tally, ones)[0, 0]) for tally in (ours, theirs)]
    draws = np.random.default_rng(seed).multinomial(ours.plot_count, ones[0] / ours.plot_count, samples)
    weights = draws.astype(np.float64)
    differences = drawn_precisions(ours, weights)[:, 0] - drawn_precisions(theirs, weights)[:, 0]
    return Difference(values[0], values[1], float(np.nanquantile(differences, 1 - confidence)), ours.plot_count)


def renamed(found: Detections, labels: Sequence[str], wanted: Sequence[str]) -> Detections:
    """`found`, whose classes are numbered by `labels`, numbered by `wanted` (the same names in another order)."""
    numbers = np.array([list(wanted).index(label) for label in labels], np.int64)
    return Detections(found.boxes, found.scores, numbers[found.class_ids], found.image_size)

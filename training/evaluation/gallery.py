"""Which parts of the pictures show a detector at its best and at its worst. Knows nothing of pixels.

What is ranked is a plot of a large scene or a whole picture, as in the bootstrap, by its F1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safelight.detections import Detections
from training.detector.bootstrap import plot_grid, plot_of
from training.detector.metrics import Truth
from training.evaluation.confusion import Paired, pair
from training.evaluation.observed import Observed

Region = tuple[int, int, int, int]
_MARGIN = 0.4  # of the larger side, around the errors that a crop shows
_WORTH_CROPPING = 0.5  # a crop that leaves more of the picture than this is not worth the loss of the whole


@dataclass(frozen=True)
class Exhibit:
    """A part of a scene. scene: its number. region: (x_min, y_min, x_max, y_max) in its pixels. f1, hits, misses, false
    alarms: within the plot it shows. errors: `(K, 4)` xyxy, the boxes that were missed or are false."""

    scene: int
    region: Region
    f1: float
    hits: int
    misses: int
    false_alarms: int
    errors: NDArray[np.float32]


def exhibits(sure: Sequence[Detections], truths: Sequence[Truth], match_iou: float, plot: int | None) -> list[Exhibit]:
    """Every plot in which there is a box, true or answered. sure: the detections above their thresholds."""
    return [
        exhibit
        for number, (found, truth) in enumerate(zip(sure, truths, strict=True))
        for exhibit in _of_scene(number, found, truth, pair(found, truth, match_iou), plot)
    ]


def choose(every: Sequence[Exhibit], best: int, worst: int) -> tuple[list[Exhibit], list[Exhibit]]:
    """(best, worst): highest F1 with most hits first, and lowest F1 with most errors first. None is in both."""
    wrong = [e for e in every if e.misses + e.false_alarms]
    wrong.sort(key=lambda e: (e.f1, -(e.misses + e.false_alarms), e.scene, e.region))
    right = [e for e in every if e.hits]
    right.sort(key=lambda e: (-e.f1, -e.hits, e.scene, e.region))
    shown = right[: min(best, max(1, len(every) // 2))]
    return shown, [e for e in wrong if not any(e is other for other in shown)][:worst]


def cropped(exhibit: Exhibit, image_size: tuple[int, int]) -> Region:
    """The part of the exhibit's region that is around its errors, where that is much smaller; else all of it."""
    if not len(exhibit.errors):
        return exhibit.region
    low, high = exhibit.errors[:, :2].min(axis=0), exhibit.errors[:, 2:].max(axis=0)
    margin = max(24.0, _MARGIN * float((high - low).max()))
    left, top, right, bottom = exhibit.region
    around = (
        max(left, int(low[0] - margin)),
        max(top, int(low[1] - margin)),
        min(right, int(np.ceil(high[0] + margin))),
        min(bottom, int(np.ceil(high[1] + margin))),
    )
    width, height = around[2] - around[0], around[3] - around[1]
    share = width * height / max(1, (right - left) * (bottom - top))
    return around if width > 0 and height > 0 and share < _WORTH_CROPPING else exhibit.region


def captions(exhibit: Exhibit, seen: Observed) -> str:
    """Where an exhibit is from, in words."""
    left, top, right, bottom = exhibit.region
    whole = exhibit.region == (0, 0, *seen.truths[exhibit.scene].image_size)
    place = "" if whole else f", x {left} to {right}, y {top} to {bottom}"
    return f"{seen.image_ids[exhibit.scene]}{place}"


def _of_scene(number: int, found: Detections, truth: Truth, paired: Paired, plot: int | None) -> list[Exhibit]:
    """A true box belongs to the plot its centre lies in, its hit with it; a false alarm to its own."""
    width, height = truth.image_size
    across, down = plot_grid(truth.image_size, plot)
    of_truth, cells = plot_of(truth.boxes, truth.image_size, plot)
    of_found, _ = plot_of(found.boxes, truth.image_size, plot)
    hit = np.zeros(len(truth), np.bool_)
    hit[paired.partner[paired.right]] = True
    result = []
    for cell in range(cells):
        hits = int((hit & (of_truth == cell)).sum())
        lost = ~hit & (of_truth == cell)
        false = ~paired.right & (of_found == cell)
        misses, alarms = int(lost.sum()), int(false.sum())
        if hits + misses + alarms:
            row, column = divmod(cell, int(across))
            region = (
                round(column * width / across),
                round(row * height / down),
                round((column + 1) * width / across),
                round((row + 1) * height / down),
            )
            errors = np.concatenate([truth.boxes[lost], found.boxes[false]])
            f1 = 2 * hits / (2 * hits + misses + alarms)
            result.append(Exhibit(number, region, f1, hits, misses, alarms, errors))
    return result

"""Which class is taken for which: pairs of what is there and what was answered. Knows nothing of scores or files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safelight.detections import Detections, box_iou
from training.detector.metrics import Truth, matches

BACKGROUND = "(nothing)"


@dataclass(frozen=True)
class Paired:
    """Of one picture. partner: `(N,)`, the true box that each detection lies on, -1 for none. right: `(N,)`, whether it is
    of the same class. missed: `(M,)`, the true boxes that no detection lies on."""

    partner: NDArray[np.int64]
    right: NDArray[np.bool_]
    missed: NDArray[np.bool_]


def pair(found: Detections, truth: Truth, iou: float) -> Paired:
    """First every detection with the box of its class that it finds, as precision and recall have it; then those that are
    left with boxes of other classes that are left, best overlap first."""
    partner = matches(found, truth, [iou])[0]
    right = partner >= 0
    missed = np.ones(len(truth), np.bool_)
    missed[partner[right]] = False
    overlap = box_iou(found.boxes, truth.boxes)
    overlap[right] = 0
    overlap[:, ~missed] = 0
    while overlap.size and overlap.max() >= iou:
        index, box = np.unravel_index(int(overlap.argmax()), overlap.shape)
        partner[index], missed[box] = box, False
        overlap[index] = 0
        overlap[:, box] = 0
    return Paired(partner, right, missed)


def confusion(found: Iterable[Detections], truths: Iterable[Truth], num_classes: int, iou: float) -> NDArray[np.int64]:
    """Counts `(C + 1, C + 1)`, what is there by what was answered; the last of either is nothing: the last column misses,
    the last row false alarms."""
    counts = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for detections, truth in zip(found, truths, strict=True):
        paired = pair(detections, truth, iou)
        actual = np.append(truth.class_ids, num_classes)[paired.partner]  # -1 is the last: nothing
        np.add.at(counts, (actual, detections.class_ids), 1)
        counts[:, num_classes] += np.bincount(truth.class_ids[paired.missed], minlength=num_classes + 1)
    return counts


def rows(counts: NDArray[np.int64], labels: Sequence[str]) -> list[tuple[str, str]]:
    """A row (actual, predicted) for every count, as DVC's confusion template takes them."""
    names = [*labels, BACKGROUND]
    return [
        (names[actual], names[predicted])
        for actual, predicted in np.argwhere(counts)
        for _ in range(int(counts[actual, predicted]))
    ]


def mixed_up(counts: NDArray[np.int64], labels: Sequence[str], most: int = 10) -> list[tuple[str, str, int]]:
    """The pairs of classes that are taken for one another most: (actual, predicted, how often), misses and false alarms
    left out."""
    between = counts[:-1, :-1].copy()
    np.fill_diagonal(between, 0)
    order = np.argsort(-between, axis=None, kind="stable")[:most]
    pairs = [(int(flat) // len(labels), int(flat) % len(labels)) for flat in order]
    return [(labels[a], labels[p], int(between[a, p])) for a, p in pairs if between[a, p]]

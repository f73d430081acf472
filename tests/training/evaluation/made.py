"""Made scenes of three classes: red, green and blue squares of 8 pixels on a grid, and a detector that sees colours."""

from __future__ import annotations

import numpy as np

from safelight.detections import Detections
from training.detector.metrics import Truth
from training.detector.scenes import LabelledScene

LABELS = ("red", "green", "blue")
SIDE, CELL = 64, 8


def cells() -> np.ndarray:
    """(64, 4) float32: the cells of an input, row by row."""
    y, x = np.mgrid[:CELL, :CELL].reshape(2, -1) * CELL
    return np.stack([x, y, x + CELL, y + CELL], axis=1).astype(np.float32)


def see_colours(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A network: the score of a class in a cell is the mean of its colour there."""
    means = batch.reshape(len(batch), 3, CELL, CELL, CELL, CELL).mean(axis=(3, 5))
    scores = means.reshape(len(batch), 3, -1).transpose(0, 2, 1).astype(np.float32)
    return np.repeat(cells()[None], len(batch), axis=0), scores


def see_nothing(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A network that is sure of nothing."""
    return np.repeat(cells()[None], len(batch), axis=0), np.zeros((len(batch), CELL * CELL, 3), np.float32)


def scene(seed: int, classes: tuple[int, ...] = (0, 1, 2), boxes: int = 6) -> LabelledScene:
    """Squares of the classes, of which some are pale; some bright ones are not labelled, and some labels have another
    colour."""
    rng = np.random.default_rng(seed)
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    places = rng.permutation(CELL * CELL)[: boxes + 3]
    kinds = rng.choice(classes, len(places))
    for place, kind in zip(places, kinds, strict=True):
        x, y, _, _ = cells()[place].astype(int)
        image[y : y + CELL, x : x + CELL, kind] = rng.integers(60, 255)
    labelled = kinds[:boxes].copy()
    if boxes and seed % 4 == 0:
        labelled[0] = classes[(classes.index(labelled[0]) + 1) % len(classes)]
    return LabelledScene(f"made-{seed}", image, Truth(cells()[places[:boxes]], labelled, (SIDE, SIDE)))


def found(boxes, scores, classes=None, size=(SIDE, SIDE)) -> Detections:
    """Detections from lists."""
    classes = np.zeros(len(boxes)) if classes is None else np.array(classes)
    return Detections(np.array(boxes, np.float32), np.array(scores, np.float32), classes, size)


def truth(boxes, classes=None, size=(SIDE, SIDE)) -> Truth:
    """Truth from lists."""
    classes = np.zeros(len(boxes)) if classes is None else np.array(classes)
    return Truth(np.array(boxes, np.float32), classes, size)

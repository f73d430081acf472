"""`Detections`: boxes with scores and classes on one picture.

Knows nothing of models, files or wire formats; adapters to COCO, VOC or JSON live where those formats are spoken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Detections:
    """Boxes on one picture.

    boxes: `(N, 4)` float32, xyxy, pixels of the picture. scores: `(N,)` float32 in [0, 1]. class_ids: `(N,)` int64.
    image_size: (width, height) in pixels. Raises ValueError when a shape or a range does not hold.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes", np.asarray(self.boxes, np.float32).reshape(-1, 4))
        object.__setattr__(self, "scores", np.asarray(self.scores, np.float32))
        object.__setattr__(self, "class_ids", np.asarray(self.class_ids, np.int64))
        count = len(self.boxes)
        for name in ("scores", "class_ids"):
            shape = getattr(self, name).shape
            if shape != (count,):
                raise ValueError(f"{name}: expected shape ({count},) to match boxes, got {shape}")
        if not np.isfinite(self.boxes).all():
            raise ValueError("boxes: expected finite coordinates")
        if count and (self.boxes[:, 2:] < self.boxes[:, :2]).any():
            raise ValueError("boxes: expected xyxy with x_max >= x_min and y_max >= y_min")
        if count and not ((self.scores >= 0) & (self.scores <= 1)).all():
            raise ValueError("scores: expected values in [0, 1]")

    def _with(
        self,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        class_ids: NDArray[np.int64],
        size: tuple[int, int],
    ) -> Detections:
        """What follows from checked detections without undoing a check is not checked again."""
        made = object.__new__(Detections)
        made.__dict__.update(boxes=boxes, scores=scores, class_ids=class_ids, image_size=size)
        return made

    @classmethod
    def empty(cls, image_size: tuple[int, int]) -> Detections:
        """No boxes on a picture of this (width, height)."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), image_size)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Detections:
        return self._with(self.boxes[index], self.scores[index], self.class_ids[index], self.image_size)

    def resized(self, image_size: tuple[int, int]) -> Detections:
        """The same on the same picture at another (width, height)."""
        if image_size == self.image_size:
            return self
        factors = np.array([new / old for new, old in zip(image_size, self.image_size, strict=True)] * 2, np.float32)
        most = np.array([*image_size] * 2, np.float32)
        return Detections(np.minimum(self.boxes * factors, most), self.scores, self.class_ids, image_size)

    def above(self, threshold: float | NDArray[np.float32]) -> Detections:
        """Those with a score of at least `threshold`: one for all, or `(C,)`, one for each class."""
        return self[self.scores >= (threshold[self.class_ids] if isinstance(threshold, np.ndarray) else threshold)]

    def of_classes(self, class_ids: Sequence[int]) -> Detections:
        """Those of the given classes."""
        return self[np.isin(self.class_ids, class_ids)]

    def counts(self, labels: Sequence[str]) -> dict[str, int]:
        """How many of each class, by label, most frequent first; classes without a box are left out."""
        return {labels[int(i)]: n for i, n in Counter(self.class_ids.tolist()).most_common()}


def box_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of every pair: `(N, 4)` and `(M, 4)` xyxy to `(N, M)`; 0 where both areas are 0."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = np.clip(high - low, 0, None).prod(axis=2)
    area_a = (a[:, 2:] - a[:, :2]).prod(axis=1)
    area_b = (b[:, 2:] - b[:, :2]).prod(axis=1)
    union = area_a[:, None] + area_b[None, :] - intersection
    iou: NDArray[np.float32] = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return iou

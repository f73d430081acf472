"""From a network's raw boxes and scores to `Detections` on the picture: threshold, NMS, mapping back, stitching.

The one postprocessing of evaluation, export parity and serving. Knows nothing of how the boxes were computed: `detect`
takes any function from a batch of inputs to boxes and scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.detections import Detections, box_iou
from safelight.preprocess import Preprocess, View

_AT_ONCE = 256  # boxes that are compared each with each; of more, only with those that are kept, one after the other
_PER_VIEW = 1000  # the strongest boxes of a view that are looked at, so that the time it takes is bounded

Run = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""A network: `(B, 3, S, S)` float32 to boxes `(B, A, 4)` xyxy input pixels and scores `(B, A, C)` in [0, 1]."""
Output = tuple[Sequence[View], NDArray[np.float32], NDArray[np.float32]]
"""Views of a picture, and the boxes and scores that a network gave for them."""


@dataclass(frozen=True)
class Thresholds:
    """score: the least score of an answer unless the asker says otherwise. nms_iou: overlap above which the weaker of
    two boxes of a class is dropped. floor: the least score that is looked at (curves need the low ones).
    max_detections: the strongest boxes kept per picture. per_class: by label, where a class has a least score of its own."""

    score: float
    nms_iou: float
    floor: float = 0.001
    max_detections: int = 1000
    per_class: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if self.per_class is not None and not isinstance(self.per_class, Mapping):
            raise ValueError(f"per_class: expected a score by label, got {type(self.per_class).__name__}")
        by_label = {f"per_class of {label!r}": score for label, score in (self.per_class or {}).items()}
        for name, value in {"score": self.score, "nms_iou": self.nms_iou, "floor": self.floor, **by_label}.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
                raise ValueError(f"{name}: expected a number in (0, 1], got {value!r}")
        if self.max_detections < 1:
            raise ValueError(f"max_detections: expected at least 1, got {self.max_detections}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `Thresholds(**values)` takes them; without `per_class` where there is none."""
        values = asdict(self)
        if self.per_class is None:
            del values["per_class"]
        return values

    def scores(self, labels: Sequence[str]) -> NDArray[np.float32]:
        """The least score of each class `(C,)` unless the asker says otherwise.

        Raises ValueError when `per_class` speaks of a class that is not among the labels.
        """
        own = dict(self.per_class or {})
        if unknown := sorted(set(own) - set(labels)):
            raise ValueError(f"per_class: expected labels of the model, got {', '.join(map(repr, unknown))}")
        return np.array([own.get(label, self.score) for label in labels], np.float32)


def detect(
    image: NDArray[np.uint8],
    preprocess: Preprocess,
    thresholds: Thresholds,
    run: Run,
    *,
    floor: float | None = None,
    batch_size: int = 8,
) -> Detections:
    """All detections of `(H, W, 3)` uint8 RGB with a score of at least `floor` (default `thresholds.floor`)."""
    outputs = ((views, *run(batch)) for views, batch in preprocess.batches(image, batch_size))
    return assemble(outputs, (image.shape[1], image.shape[0]), preprocess, thresholds, floor=floor)


def assemble(
    outputs: Iterable[Output],
    image_size: tuple[int, int],
    preprocess: Preprocess,
    thresholds: Thresholds,
    *,
    floor: float | None = None,
) -> Detections:
    """One picture's detections from what the network said of its views, taken one after the other, so that a large picture's
    raw outputs are never held at once. image_size: (width, height) of the picture."""
    least = thresholds.floor if floor is None else max(floor, thresholds.floor)
    margin = max(0.0, (preprocess.overlap - 1) / 2)  # one pixel less than half: offsets of tiles are rounded
    found = [
        _in_core(_of_view(b, s, view, image_size, least), view, margin)
        for views, boxes, scores in outputs
        for b, s, view in zip(boxes, scores, views, strict=True)
    ]
    return suppress(_concatenate(found, image_size), thresholds.nms_iou, thresholds.max_detections)


def suppress(detections: Detections, iou: float, keep: int) -> Detections:
    """Non-maximum suppression per class; at most `keep`, strongest first. Ties are broken by position."""
    order = np.lexsort((detections.boxes[:, 1], detections.boxes[:, 0], -detections.scores))
    ranked = detections[order]
    if len(ranked) <= 1:
        return ranked[:keep]
    if len(ranked) <= _AT_ONCE:
        return ranked[_kept_at_once(ranked, iou)[:keep]]
    kept: list[int] = []
    for class_id in np.unique(ranked.class_ids):
        kept += _suppress_class(np.flatnonzero(ranked.class_ids == class_id), ranked.boxes, iou, keep)
    return ranked[np.sort(np.array(kept, np.int64))[:keep]]


def _kept_at_once(ranked: Detections, iou: float) -> NDArray[np.int64]:
    """Indices of those that stay, of few, strongest first."""
    dropping = box_iou(ranked.boxes, ranked.boxes) > iou
    dropping &= ranked.class_ids[:, None] == ranked.class_ids
    dropped = np.zeros(len(ranked), bool)
    for index in range(len(ranked)):
        if not dropped[index]:
            dropping[index, : index + 1] = False  # itself, and stronger ones
            dropped |= dropping[index]
    return np.flatnonzero(~dropped)


def _suppress_class(candidates: NDArray[np.int64], boxes: NDArray[np.float32], iou: float, keep: int) -> list[int]:
    kept: list[int] = []
    while len(candidates) and len(kept) < keep:
        best, rest = candidates[0], candidates[1:]
        kept.append(int(best))
        candidates = rest[box_iou(boxes[best : best + 1], boxes[rest])[0] <= iou]
    return kept


def _of_view(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], view: View, image_size: tuple[int, int], floor: float
) -> Detections:
    """One view's boxes on the picture, clipped to what the view shows."""
    found = np.flatnonzero(scores >= floor)
    if not len(found):
        return Detections.empty(image_size)
    strongest = np.argsort(-scores.reshape(-1)[found], kind="stable")[:_PER_VIEW]
    anchor, class_ids = np.divmod(found[strongest], scores.shape[1])
    on_image = view.to_image(boxes[anchor])
    low = np.array([view.x, view.y] * 2, np.float32)
    high = np.array([view.x + view.width, view.y + view.height] * 2, np.float32)
    on_image = np.clip(on_image, low, high)
    real = (on_image[:, 2:] - on_image[:, :2] > 0).all(axis=1)
    confidence = np.clip(scores[anchor, class_ids], 0, 1)
    return Detections(on_image[real], confidence[real], class_ids[real], image_size)


def _in_core(found: Detections, view: View, margin: float) -> Detections:
    """Those whose centre is at least `margin` pixels from the borders at which another view goes on.

    There a view sees a part of an object and boxes the part, which NMS would not take for the whole; the neighbour, which
    overlaps, sees all of it. With a margin of at most half the overlap every centre is in the core of some view.
    """
    if not len(found) or (view.width, view.height) == found.image_size:
        return found
    centre = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    low, high = np.array([view.x, view.y]), np.array([view.x + view.width, view.y + view.height])
    least = np.where(low > 0, low + margin, -np.inf)
    most = np.where(high < np.array(found.image_size), high - margin, np.inf)
    inside: NDArray[np.bool_] = np.asarray(((centre >= least) & (centre <= most)).all(axis=1))
    return found[inside]


def _concatenate(parts: list[Detections], image_size: tuple[int, int]) -> Detections:
    if len(parts) == 1:
        return parts[0]
    return Detections(
        np.concatenate([p.boxes for p in parts]),
        np.concatenate([p.scores for p in parts]),
        np.concatenate([p.class_ids for p in parts]),
        image_size,
    )

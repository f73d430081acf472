"""YOLO-NAS exported by super-gradients with NMS in the graph, in either of its two formats.

flat: `(K, 7)`, a row for each detection of the whole batch: picture, x1, y1, x2, y2, score, class. batch: `(B, 1)` numbers of
detections, `(B, N, 4)` boxes xyxy, `(B, N)` scores and `(B, N)` classes, as TensorRT's EfficientNMS has them too. Boxes are
in input pixels. Source: super-gradients, documentation/source/models_export.md, "Output format for detection models".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from safelight.heads import layouts
from safelight.heads.decoding import spread
from safelight.heads.interface import Adapter, Answer, Given, Output, Raw

_FLAT = 7
_MOST = 1000  # detections of a picture in the flat format: more are never looked at, and every answer has one shape


def fit(outputs: Sequence[Output], given: Given) -> Adapter:
    """The one output of the flat format, or the four of the batch format."""
    if len(outputs) == 1:
        flat = layouts.only(
            outputs,
            lambda output: layouts.is_float(output) and len(output.shape) == 2 and output.shape[1] == _FLAT,
            f"picture, box, score and class: (K, {_FLAT})",
        )
        return Adapter((flat.name,), partial(_read_flat, classes=given.classes))
    return Adapter(_batch_format(outputs), partial(_read_batch, classes=given.classes))


def _batch_format(outputs: Sequence[Output]) -> tuple[str, str, str, str]:
    boxes = layouts.only(
        outputs,
        lambda output: (
            layouts.is_float(output) and len(output.shape) == 3 and output.shape[1] is not None and output.shape[2] == 4
        ),
        "boxes: (B, N, 4), N fixed",
    )
    many = boxes.shape[1]
    numbers = layouts.named(
        outputs,
        lambda output: layouts.is_integer(output) and output.shape[1:] == (1,),
        ("num",),
        "numbers of detections: (B, 1) integers",
    )
    rest = [output for output in outputs if output not in (boxes, numbers) and output.shape[1:] == (many,)]
    scores = layouts.named(rest, layouts.is_float, ("score",), f"scores: (B, {many})")
    class_ids = layouts.only(rest, lambda output: output != scores, f"classes: (B, {many})")
    return numbers.name, boxes.name, scores.name, class_ids.name


def _read_flat(outputs: Sequence[Raw], pictures: int, *, classes: int) -> Answer:
    rows = outputs[0]
    kept = np.zeros((pictures, _MOST, _FLAT), np.float32)
    for picture in range(pictures):
        own = rows[rows[:, 0] == picture]
        strongest = own[np.argsort(-own[:, 5], kind="stable")[:_MOST]]
        kept[picture, : len(strongest)] = strongest
    return kept[..., 1:5], spread(kept[..., 5], kept[..., 6], classes)


def _read_batch(outputs: Sequence[Raw], pictures: int, *, classes: int) -> Answer:
    numbers, boxes, scores, class_ids = outputs
    real = np.arange(boxes.shape[1]) < numbers.reshape(-1, 1)
    return boxes, spread(np.where(real, scores, np.float32(0)), class_ids, classes)

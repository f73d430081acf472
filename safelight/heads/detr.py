"""The DETR family: boxes `(B, Q, 4)` as cx, cy, w, h in parts of the input's side, and logits `(B, Q, C)` or `(B, Q, C + 1)`.

As many logits as labels are sigmoids, each class by itself: Deformable DETR, RT-DETR, D-FINE. One more is the class `no
object`, the last, of a softmax: DETR, YOLOS. RF-DETR's own export, with the outputs `dets` and `labels`, has one more too but
sigmoids, the last of which means nothing. Sources: Carion et al. 2020, arXiv 2005.12872; Zhu et al. 2021, arXiv 2010.04159;
`post_process_object_detection` of each family in transformers; roboflow/rf-detr, docs/learn/export.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np

from safelight.heads import layouts
from safelight.heads.decoding import corners, sigmoid, softmax
from safelight.heads.interface import Adapter, Answer, Given, Output, Raw

_RF_DETR = {"dets", "labels"}
_Activation = Literal["sigmoid", "softmax"]


def fit(outputs: Sequence[Output], given: Given) -> Adapter:
    """Two outputs, told apart by their last dimension, or, where both have four, by their names."""

    def ends_with(sizes: tuple[int, ...], output: Output) -> bool:
        return layouts.is_float(output) and len(output.shape) == 3 and output.shape[2] in sizes

    boxes = layouts.named(outputs, lambda output: ends_with((4,), output), ("box", "dets"), "boxes: (B, Q, 4)")
    others = [output for output in outputs if output != boxes]
    classes = (given.classes, given.classes + 1)
    logits = layouts.named(
        others,
        lambda output: ends_with(classes, output) and output.shape[1] == boxes.shape[1],
        ("logit", "label", "class"),
        f"logits: (B, Q, {classes[0]}) or (B, Q, {classes[1]})",
    )
    one_more = logits.shape[2] != given.classes
    activation: _Activation = "softmax" if one_more and {boxes.name, logits.name} != _RF_DETR else "sigmoid"
    return Adapter(
        (boxes.name, logits.name),
        partial(_read, side=given.input_size, classes=given.classes, activation=activation),
    )


def _read(outputs: Sequence[Raw], pictures: int, *, side: int, classes: int, activation: _Activation) -> Answer:
    boxes, logits = outputs
    scores = softmax(logits)[..., :classes] if activation == "softmax" else sigmoid(logits[..., :classes])
    return corners(boxes) * np.float32(side), scores

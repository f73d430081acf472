"""YOLO-NAS and PP-YOLOE exported by super-gradients without NMS: boxes `(B, N, 4)` and scores `(B, N, C)`.

Boxes are x1, y1, x2, y2 in input pixels, scores probabilities (`NDFLHeads.forward_eval` in super-gradients; its
documentation/source/models_export.md, "If `preprocessing=False`").
"""

from __future__ import annotations

from collections.abc import Sequence

from safelight.heads import layouts
from safelight.heads.interface import Adapter, Answer, Given, Output, Raw


def fit(outputs: Sequence[Output], given: Given) -> Adapter:
    """Two outputs, told apart by their last dimension, or, for four classes, by their names."""

    def ends_with(size: int, output: Output) -> bool:
        return layouts.is_float(output) and len(output.shape) == 3 and output.shape[2] == size

    boxes = layouts.named(outputs, lambda output: ends_with(4, output), ("box",), "boxes: (B, N, 4)")
    others = [output for output in outputs if output != boxes]
    scores = layouts.named(
        others,
        lambda output: ends_with(given.classes, output) and output.shape[1] == boxes.shape[1],
        ("score",),
        f"scores: (B, N, {given.classes})",
    )
    return Adapter((boxes.name, scores.name), _read)


def _read(outputs: Sequence[Raw], pictures: int) -> Answer:
    boxes, scores = outputs
    return boxes, scores

"""YOLOv10 and YOLO26, which answer once for each object, and any ultralytics export with `nms=True`: `(B, N, 6)`.

A row is x1, y1, x2, y2 in input pixels, the score and the class; N is 300 unless asked otherwise
(docs.ultralytics.com/guides/end2end-detection, "one-to-one").
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from safelight.heads import layouts
from safelight.heads.decoding import spread
from safelight.heads.interface import Adapter, Answer, Given, Output, Raw

_NUMBERS = 6


def fit(outputs: Sequence[Output], given: Given) -> Adapter:
    """One output of six numbers for each of a fixed number of boxes."""
    found = layouts.only(
        outputs,
        lambda output: (
            layouts.is_float(output)
            and len(output.shape) == 3
            and output.shape[1] is not None
            and output.shape[2] == _NUMBERS
        ),
        f"box, score and class: (B, N, {_NUMBERS}), N fixed",
    )
    return Adapter((found.name,), partial(_read, classes=given.classes))


def _read(outputs: Sequence[Raw], pictures: int, *, classes: int) -> Answer:
    rows = outputs[0]
    return rows[..., :4], spread(rows[..., 4], rows[..., 5], classes)

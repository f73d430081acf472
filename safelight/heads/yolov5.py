"""YOLOv5 as its `export.py` writes it, and YOLOv3 and v7 exported the same way: `(B, N, 5 + C)`.

A row is cx, cy, w, h in input pixels, the objectness, and a probability for each class; a score is objectness times class
(`Detect.forward` in ultralytics/yolov5, models/yolo.py, releases 6 and 7). The maps before decoding, which releases before
6.1 put beside it, have five dimensions and are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from safelight.heads import layouts
from safelight.heads.decoding import corners
from safelight.heads.interface import Adapter, Answer, Given, Output, Raw


def fit(outputs: Sequence[Output], given: Given) -> Adapter:
    """One output of `5 + C` numbers a box."""
    found = layouts.rows(outputs, 5 + given.classes, f"box, objectness and {given.classes} classes")
    return Adapter((found.name,), partial(_read, columns=found.columns))


def _read(outputs: Sequence[Raw], pictures: int, *, columns: bool) -> Answer:
    rows = outputs[0].transpose(0, 2, 1) if columns else outputs[0]
    return corners(rows[..., :4]), rows[..., 5:] * rows[..., 4:5]

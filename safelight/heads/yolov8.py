"""YOLOv8, v9, v11 and v12 as ultralytics exports them: `(B, 4 + C, N)`, or turned, `(B, N, 4 + C)`.

A box is cx, cy, w, h in input pixels and a probability for each class; there is no objectness (`Detect._inference` in
ultralytics/nn/modules/head.py; the shapes in docs.ultralytics.com/guides/end2end-detection, "one-to-many").
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from safelight.heads import layouts
from safelight.heads.decoding import corners
from safelight.heads.interface import Adapter, Answer, Given, Output, Raw


def fit(outputs: Sequence[Output], given: Given) -> Adapter:
    """One output of `4 + C` numbers a box."""
    found = layouts.rows(outputs, 4 + given.classes, f"box and {given.classes} classes")
    return Adapter((found.name,), partial(_read, columns=found.columns))


def _read(outputs: Sequence[Raw], pictures: int, *, columns: bool) -> Answer:
    rows = outputs[0].transpose(0, 2, 1) if columns else outputs[0]
    return corners(rows[..., :4]), rows[..., 4:]

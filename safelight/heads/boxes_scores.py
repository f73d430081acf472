"""Our own head: the outputs `boxes` and `scores` are the answer (training/export/onnx.py writes such graphs)."""

from __future__ import annotations

from collections.abc import Sequence

from safelight.errors import ManifestInvalid
from safelight.heads.interface import Adapter, Answer, Given, Output, Raw

BOXES, SCORES = "boxes", "scores"


def fit(outputs: Sequence[Output], given: Given) -> Adapter:
    """`boxes` (B, A, 4) xyxy input pixels and `scores` (B, A, C) in [0, 1], and nothing else."""
    if {output.name for output in outputs} != {BOXES, SCORES} or len(outputs) != 2:
        raise ManifestInvalid(f"Expected the outputs {BOXES} and {SCORES}.")
    plain = all(output.dtype == "float32" for output in outputs)
    return Adapter((BOXES, SCORES), _read, plain)


def _read(outputs: Sequence[Raw], pictures: int) -> Answer:
    boxes, scores = outputs
    return boxes, scores

"""An answer as JSON, as `DetectAnswer` describes it, written directly: through its models it took longer than finding it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from safelight.bundle import Manifest
from safelight.detections import Detections
from safelight.location import CoarseLocation
from serving.detector.predictor import Predictor
from serving.models.pool import Looked


def answer_json(
    request_id: str,
    looked: Looked[Detections, Manifest, Predictor],
    timing_ms: dict[str, float],
    location: CoarseLocation | None,
) -> bytes:
    """A `DetectAnswer`. timing_ms: of decoding, detecting, and in total."""
    (_, first), *_ = looked.by
    manifest = first.manifest
    answer: dict[str, Any] = {
        "request_id": request_id,
        "model": {"name": manifest.name, "version": manifest.version, "digest": first.digest},
        "model_used": [name for name, _ in looked.by],
        "counts": looked.found.counts(manifest.labels),
        "annotations": boxes_on_wire(looked.found, manifest.labels),
        "timing_ms": {name: round(value, 2) for name, value in timing_ms.items()},
    }
    if looked.passed_over:
        answer["fallback_from"] = [{"model": name, "reason": reason} for name, reason in looked.passed_over]
    if location is not None:
        parts = {"geohash": location.geohash, "zip3": location.zip3}
        answer["location"] = {name: part for name, part in parts.items() if part is not None}
    return orjson.dumps(answer)


def boxes_on_wire(found: Detections, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Detections, strongest first, as `Annotation`s; coordinates to a hundredth of a pixel."""
    width, height = found.image_size
    ranked = found[(-found.scores).argsort(kind="stable")]
    boxes = ranked.boxes.astype(float).round(2).tolist()
    scores = ranked.scores.astype(float).round(6).tolist()
    return [
        {
            "annotation_type": "bounding_box",
            "class_name": labels[class_id],
            "confidence": score,
            "data": {
                "x_min": x_min,
                "y_min": y_min,
                "x_max": x_max,
                "y_max": y_max,
                "image_width": width,
                "image_height": height,
            },
            "ordering": rank,
        }
        for rank, ((x_min, y_min, x_max, y_max), score, class_id) in enumerate(
            zip(boxes, scores, ranked.class_ids.tolist(), strict=True)
        )
    ]

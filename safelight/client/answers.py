"""What the gateway answers, typed. Knows nothing of how it is asked. What readers read: `safelight.client.readings`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from safelight.detections import Detections


@dataclass(frozen=True)
class ModelName:
    """Which model answered. digest: SHA-256 of its signed manifest."""

    name: str
    version: str
    digest: str


@dataclass(frozen=True)
class Annotation:
    """One found object. box: xyxy in pixels of the upright picture. image_size: that picture's (width, height)."""

    class_name: str
    confidence: float
    box: tuple[float, float, float, float]
    image_size: tuple[int, int]


@dataclass(frozen=True)
class Answer:
    """What was found on a picture, strongest first. counts: objects by class. timing_ms: by part of the work. location:
    the coarse place, where one was given."""

    request_id: str
    model: ModelName
    counts: Mapping[str, int]
    annotations: tuple[Annotation, ...]
    timing_ms: Mapping[str, float]
    location: Mapping[str, str]
    raw: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.annotations)

    def to_dict(self) -> dict[str, Any]:
        """The answer as it came over the wire."""
        return dict(self.raw)

    def detections(self, labels: Sequence[str], image_size: tuple[int, int]) -> Detections:
        """As `Detections`, with class ids that index `labels`. image_size: the upright picture's (width, height).

        Raises ValueError when an object's class is not among `labels`.
        """
        boxes = np.array([a.box for a in self.annotations], np.float32).reshape(-1, 4)
        scores = np.array([a.confidence for a in self.annotations], np.float32)
        ids = np.array([list(labels).index(a.class_name) for a in self.annotations], np.int64)
        return Detections(boxes, scores, ids, image_size)


@dataclass(frozen=True)
class ModelInfo:
    """A model that the service knows. state: waiting, ready or failed, with the reason in failure; what comes from the
    model's manifest is None unless it is ready. task: image-to-json for readers, whose fields hold to json_schema."""

    name: str
    state: str
    failure: str | None
    version: str | None
    digest: str | None
    labels: tuple[str, ...] | None
    thresholds: Mapping[str, Any] | None
    metrics: Mapping[str, Any] | None
    task: str | None = None
    json_schema: Mapping[str, Any] | None = None


def read_answer(raw: Mapping[str, Any]) -> Answer:
    """The answer of POST /v1/detect out of its JSON."""
    return Answer(
        request_id=raw["request_id"],
        model=ModelName(**raw["model"]),
        counts=raw["counts"],
        annotations=tuple(_annotation(item) for item in raw["annotations"]),
        timing_ms=raw["timing_ms"],
        location=raw.get("location", {}),
        raw=raw,
    )


def read_models(raw: Mapping[str, Any]) -> list[ModelInfo]:
    """The answer of GET /v1/models out of its JSON; what later versions add is passed over."""
    names = ModelInfo.__dataclass_fields__
    cards = [{name: card.get(name) for name in names} for card in raw["models"]]
    return [ModelInfo(**{**card, "labels": card["labels"] and tuple(card["labels"])}) for card in cards]


def _annotation(item: Mapping[str, Any]) -> Annotation:
    data = item["data"]
    return Annotation(
        item["class_name"],
        item["confidence"],
        (data["x_min"], data["y_min"], data["x_max"], data["y_max"]),
        (data["image_width"], data["image_height"]),
    )

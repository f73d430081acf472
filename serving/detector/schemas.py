"""What an answer looks like, for the documentation and for whoever checks one. `serving/detector/wire.py` writes it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.models.observer import Failure


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelName(_Wire):
    """Which model answered. digest: SHA-256 of its signed manifest, which pins every other file of the bundle."""

    name: str = Field(examples=["coco"])
    version: str = Field(examples=["3f9a1c0d2e4b"])
    digest: str = Field(examples=["b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c"])


class BoundingBox(_Wire):
    """A box in pixels of the upright picture (EXIF orientation applied), and that picture's size."""

    x_min: float = Field(examples=[12.5])
    y_min: float = Field(examples=[40.0])
    x_max: float = Field(examples=[230.25])
    y_max: float = Field(examples=[410.75])
    image_width: int = Field(examples=[640])
    image_height: int = Field(examples=[480])


class Annotation(_Wire):
    """One found object. ordering: its rank by confidence, from 0."""

    annotation_type: Literal["bounding_box"] = "bounding_box"
    class_name: str = Field(examples=["person"])
    confidence: float = Field(ge=0, le=1, examples=[0.91])
    data: BoundingBox
    ordering: int = Field(ge=0, examples=[0])


class Timing(_Wire):
    """Milliseconds. total: from the whole body's arrival to the answer, waiting for a turn included."""

    decode: float = Field(examples=[4.1])
    detect: float = Field(examples=[31.7])
    total: float = Field(examples=[36.2])


class Location(_Wire):
    """All that is kept of the place that was given, and only that. geohash: of `latitude` and `longitude`. zip3: of `zip`,
    000 where few people live."""

    geohash: str | None = Field(default=None, examples=["9q8y"])
    zip3: str | None = Field(default=None, examples=["941"])


class PassedOver(_Wire):
    """A model that should have answered first, and why it could not."""

    model: str = Field(examples=["coco"])
    reason: Failure = Field(examples=["breaker open"])


class DetectAnswer(_Wire):
    """What was found. model: which answered, of several the first by priority. model_used: its name among the models of the
    route, and those of the others where several answered together. fallback_from: who was passed over; left out when nobody
    was. counts: number of objects by class, most frequent first; classes without one are left out. location: left out when
    no place was given, and each of its parts that was not."""

    request_id: str = Field(examples=["5f2d8c6ad5d14a3b9f0e6a1c2b7d4e90"])
    model: ModelName
    model_used: list[str] = Field(examples=[["coco"]])
    fallback_from: list[PassedOver] | None = None
    counts: dict[str, int] = Field(examples=[{"person": 1}])
    annotations: list[Annotation]
    timing_ms: Timing
    location: Location | None = None

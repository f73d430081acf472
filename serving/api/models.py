"""GET /v1/models: what is served, and in which state. Holds nobody's data, so that it is open to plaintext requests."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from safelight.bundle import VariantName
from serving.models.catalogue import Catalogue, Entry, State, VariantState


class ModelCard(BaseModel):
    """A model. What comes from its signed manifest is null until it is ready; failure is null unless it failed."""

    name: str = Field(examples=["coco"])
    state: State = Field(examples=["ready"])
    failure: str | None = Field(default=None, examples=[None])
    version: str | None = Field(default=None, examples=["3f9a1c0d2e4b"])
    digest: str | None = Field(
        default=None, examples=["b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c"]
    )
    task: str | None = Field(default=None, examples=["object-detection"])
    labels: list[str] | None = Field(default=None, examples=[["person", "cat"]])
    input: dict[str, Any] | None = Field(default=None, examples=[{"mode": "letterbox", "input_size": 416}])
    thresholds: dict[str, Any] | None = Field(default=None, examples=[{"score": 0.3, "nms_iou": 0.5}])
    metrics: dict[str, Any] | None = Field(default=None, examples=[{"map50": 0.52}])
    licence: str | None = Field(default=None, examples=["MIT"])
    variants: dict[VariantName, VariantState] | None = Field(
        default=None,
        examples=[{"int8": "in use"}],
        description="missing: wanted, but the model has none and answers without",
    )


class ModelList(BaseModel):
    """All models, and the one that answers those who name none."""

    default: str = Field(examples=["coco"])
    models: list[ModelCard]


class ModelsRoute:
    """catalogue: the models."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def models(self, request: Request) -> Response:
        """What is served: versions, digests, labels, thresholds, metrics, and why a model is not ready."""
        cards = [card(entry) for entry in self._catalogue.entries()]
        answer = ModelList(default=self._catalogue.default, models=cards)
        return Response(answer.model_dump_json(), media_type="application/json")


def card(entry: Entry) -> ModelCard:
    """An entry of the catalogue on the wire."""
    if entry.served is None:
        return ModelCard(name=entry.name, state=entry.state, failure=entry.failure)
    manifest = entry.served.manifest
    return ModelCard(
        name=entry.name,
        state=entry.state,
        version=manifest.version,
        digest=entry.served.digest,
        task=manifest.task,
        labels=list(manifest.labels),
        input=manifest.preprocess,
        thresholds=manifest.thresholds,
        metrics=manifest.metrics,
        licence=manifest.licence,
        variants=dict(entry.served.variants),
    )

"""GET /v1/models: what is served, and in which state. Holds nobody's data, so that it is open to plaintext requests."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from safelight.bundle import Manifest, VariantName
from safelight.reader.manifest import ReaderManifest
from serving.models.catalogue import Catalogue, DetectorPool, ReaderPool
from serving.models.member import Member, State
from serving.models.observer import BreakerState
from serving.models.served import VariantState


class MemberCard(BaseModel):
    """One of the models behind a route. What comes from its signed manifest is null until it is loaded; failure is null unless
    its latest version was refused or taken back."""

    name: str = Field(examples=["coco"])
    role: Literal["member", "challenger"] = Field(examples=["member"])
    state: State = Field(examples=["ready"])
    breaker: BreakerState = Field(examples=["closed"])
    failure: str | None = Field(default=None, examples=[None])
    model: str | None = Field(default=None, examples=["coco"])
    version: str | None = Field(default=None, examples=["3f9a1c0d2e4b"])
    digest: str | None = Field(
        default=None, examples=["b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c"]
    )
    licence: str | None = Field(default=None, examples=["MIT"])


class ModelCard(BaseModel):
    """What requests may ask for by `model`: a route, with what its first model that loaded is. What comes from that one's
    signed manifest is null until it is ready; failure is null unless none could be loaded, or the latest was refused."""

    name: str = Field(examples=["coco"])
    state: State = Field(examples=["ready"])
    failure: str | None = Field(default=None, examples=[None])
    version: str | None = Field(default=None, examples=["3f9a1c0d2e4b"])
    digest: str | None = Field(
        default=None, examples=["b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c"]
    )
    task: str | None = Field(default=None, description="image-to-json: it reads", examples=["object-detection"])
    labels: list[str] | None = Field(default=None, examples=[["person", "cat"]])
    input: dict[str, Any] | None = Field(default=None, examples=[{"mode": "letterbox", "input_size": 416}])
    thresholds: dict[str, Any] | None = Field(default=None, examples=[{"score": 0.3, "nms_iou": 0.5}])
    metrics: dict[str, Any] | None = Field(default=None, examples=[{"map50": 0.52}])
    json_schema: dict[str, Any] | None = Field(default=None, description="Of a reader's fields.", examples=[None])
    base: dict[str, str] | None = Field(default=None, description="What a reader is adapted from.", examples=[None])
    licence: str | None = Field(default=None, examples=["MIT"])
    variants: dict[VariantName, VariantState] | None = Field(
        default=None,
        examples=[{"int8": "in use"}],
        description="missing: wanted, but the model has none and answers without",
    )
    answer: Literal["first", "fused"] = Field(examples=["first"])
    pool: list[MemberCard] = Field(description="By priority; where `answer` is fused, all of them answer together.")


class ModelList(BaseModel):
    """All routes, readers last, and those that answer who names none: `default` detects, `default_reader` reads."""

    default: str = Field(examples=["coco"])
    default_reader: str | None = Field(default=None, examples=["keys"])
    models: list[ModelCard]


class ModelsRoute:
    """catalogue: the models."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def models(self, request: Request) -> Response:
        """What is served: versions, digests, labels, thresholds, metrics, and why a model is not ready."""
        cards = [card(pool) for pool in self._catalogue.everything]
        default, reader = self._catalogue.default, self._catalogue.default_reader
        answer = ModelList(default=default, default_reader=reader, models=cards)
        return Response(answer.model_dump_json(), media_type="application/json")


def card(pool: DetectorPool | ReaderPool) -> ModelCard:
    """A route on the wire."""
    first = next((member for member in pool.members if member.served is not None), pool.members[0])
    told: dict[str, Any] = {}
    if first.served is not None:
        told = _manifest(first.served.manifest)
        told |= {"digest": first.served.digest, "variants": dict(first.served.variants)}
    return ModelCard(
        name=pool.name,
        state=first.state,
        failure=first.failure,
        answer="fused" if pool.fused else "first",
        pool=[_member(member, "member") for member in pool.members]
        + ([] if pool.challenger is None else [_member(pool.challenger, "challenger")]),
        **told,
    )


def _manifest(manifest: Manifest | ReaderManifest) -> dict[str, Any]:
    told: dict[str, Any] = {
        "version": manifest.version,
        "task": manifest.task,
        "metrics": manifest.metrics,
        "licence": manifest.licence,
    }
    if isinstance(manifest, ReaderManifest):
        return told | {"json_schema": manifest.json_schema, "base": manifest.base.model_dump()}
    return told | {
        "labels": list(manifest.labels),
        "input": manifest.preprocess,
        "thresholds": manifest.thresholds,
    }


def _member(member: Member[Any, Any], role: Literal["member", "challenger"]) -> MemberCard:
    told: dict[str, Any] = {}
    if member.served is not None:
        manifest = member.served.manifest
        told = {"model": manifest.name, "version": manifest.version, "licence": manifest.licence}
        told["digest"] = member.served.digest
    return MemberCard(
        name=member.name,
        role=role,
        state=member.state,
        breaker=member.breaker.state,
        failure=member.failure,
        **told,
    )

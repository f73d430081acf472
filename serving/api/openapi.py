"""What /openapi.json says beyond what FastAPI finds out: bodies, options, answers and refusals, each with an example.

Knows nothing of how anything is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from safelight.errors import (
    AccessUndecided,
    BodyTooSlow,
    CorruptImage,
    DeadlineExceeded,
    EmptyBody,
    Forbidden,
    InvalidOption,
    MalformedBody,
    MissingField,
    ModelUnavailable,
    NotAnImage,
    Overloaded,
    PlaintextRefused,
    RateLimited,
    SafelightError,
    SeveralPictures,
    SideTooLong,
    TooLarge,
    TooManyPixels,
    TrailingData,
    TypeMismatch,
    Unauthenticated,
    UnknownModel,
    UnsupportedFormat,
)
from safelight.image_structure.still import several, trailing
from safelight.sealing.ohttp import GATEWAY_PATH, KEYS_PATH, KEYS_TYPE
from serving.api import problems
from serving.privacy.access import SCOPE_OF
from serving.privacy.intake import FIELD

DESCRIPTION = (
    "Looks at pictures without keeping them: bodies stay in memory, nothing of them is logged. Errors are "
    f"application/problem+json (RFC 9457); each `type` is explained in {problems.DOCS}."
)
_REQUEST_ID = "5f2d8c6ad5d14a3b9f0e6a1c2b7d4e90"
REFUSALS: dict[type[SafelightError], str] = {
    EmptyBody: "Expected an image (image/jpeg, image/png, image/webp), got no bytes.",
    InvalidOption: "threshold: expected a number above 0 and at most 1, such as 0.25.",
    MalformedBody: "The multipart body ends before its closing boundary.",
    MissingField: f"Expected a file in the form field '{FIELD}' (curl -F {FIELD}=@FILE).",
    Unauthenticated: Unauthenticated().detail,
    Forbidden: Forbidden().detail,
    PlaintextRefused: "This service takes sealed requests only.",
    UnknownModel: "Expected one of the models coco, tree-crowns.",
    BodyTooSlow: "Expected the whole body within 30 s.",
    TooLarge: "Expected at most 20971520 bytes, the request announces more.",
    TooManyPixels: "Expected at most 40000000 pixels, got 30000 x 30000.",
    NotAnImage: "The bytes are not an image. Send one of: image/jpeg, image/png, image/webp.",
    UnsupportedFormat: "image/gif is not supported. Send one of: image/jpeg, image/png, image/webp.",
    TypeMismatch: "The media type says image/jpeg, the bytes say image/png. Send what they are.",
    SideTooLong: "Expected sides of at most 16384 pixels, got 30000 x 200.",
    CorruptImage: "The JPEG file ends early: it was cut off on its way. Send the whole file.",
    SeveralPictures: several("PNG").detail,
    TrailingData: trailing("JPEG").detail,
    RateLimited: "Expected at most 600 requests in 60 s.",
    AccessUndecided: AccessUndecided().detail,
    ModelUnavailable: "No model of the route coco can answer now; /v1/models says why.",
    Overloaded: Overloaded().detail,
    DeadlineExceeded: "Expected an answer within 60 s of the request's arrival. Send it again later.",
}
"""Every refusal of the gateway with an example of its message."""
COARSE = "Made coarse at once; the answer says what is left of it, and nothing else is kept."
_OF_ACCESS = (Unauthenticated, Forbidden, RateLimited, AccessUndecided)
_SCHEMES = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "Where keys are configured."},
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key or a JWT, where they are configured."},
}


def detect_request(models: Sequence[str], default: str, media_types: Sequence[str]) -> dict[str, Any]:
    """The options and bodies of POST /v1/detect. media_types: of images."""
    binary = {"type": "string", "format": "binary"}
    example = {"summary": "the file's bytes", "description": "curl --data-binary @photo.jpg", "value": "(bytes)"}
    form = {"type": "object", "required": [FIELD], "properties": {FIELD: binary}, "additionalProperties": False}
    raw = {media_type: {"schema": binary, "examples": {"file": example}} for media_type in media_types}
    in_form = {**example, "description": f"curl -F {FIELD}=@photo.jpg", "value": {FIELD: "(bytes)"}}
    bodies = {**raw, "multipart/form-data": {"schema": form, "examples": {"file": in_form}}}
    threshold = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
    classes = {"type": "array", "items": {"type": "string"}}
    return {
        "parameters": [
            option(
                "model", {"type": "string", "enum": list(models), "default": default}, default, "Which model looks."
            ),
            option("threshold", threshold, 0.25, "The least confidence; by default the one chosen on validation data."),
            {**option("classes", classes, ["person", "cat"], "Labels to keep; all by default."), "explode": False},
            option(
                "timeout_ms",
                {"type": "integer", "minimum": 1},
                2000,
                "For the answer, where the service's is too long.",
            ),
            option("render", {"type": "string", "enum": ["png"]}, "png", "Answer with the annotated picture."),
            option("latitude", _degrees(90), 37.77, f"With longitude: where it was taken. {COARSE}"),
            option("longitude", _degrees(180), -122.42, f"With latitude: where it was taken. {COARSE}"),
            option(
                "zip", {"type": "string", "pattern": r"^[0-9]{5}(-?[0-9]{4})?$"}, "94103", f"A US ZIP code. {COARSE}"
            ),
        ],
        "requestBody": {"required": True, "content": bodies},
    }


def _degrees(most: int) -> dict[str, Any]:
    return {"type": "number", "minimum": -most, "maximum": most}


def detect_responses(answer: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The answers and refusals of POST /v1/detect."""
    png = {"schema": {"type": "string", "format": "binary"}, "examples": {"picture": {"value": "(bytes)"}}}
    found = {
        "model": answer,
        "description": "What was found; with render=png the picture.",
        "content": {"image/png": png},
    }
    return {200: found, **refusals_of(list(REFUSALS))}


def models_responses(answer: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The answer of GET /v1/models."""
    return {200: {"model": answer, "description": "Every model with its state."}, **refusals_of(_OF_ACCESS)}


def document_platform_routes(api: FastAPI) -> None:
    """Add the routes that BentoML answers to what `api` says of itself, keeping what FastAPI finds out."""
    describe = api.openapi

    def with_platform_routes() -> dict[str, Any]:
        schema = describe()
        schema["paths"].update(
            {
                "/livez": _get("The process is alive.", "Alive.", "text/plain", "\n"),
                "/readyz": _get("Requests that name no model can be answered.", "Ready.", "text/plain", "\n"),
                KEYS_PATH: _get(
                    "The keys to seal requests to.", "Key configurations (RFC 9458).", KEYS_TYPE, "(bytes)"
                ),
                GATEWAY_PATH: _sealed(),
                "/metrics": _get(
                    "Prometheus metrics.",
                    "Metrics.",
                    "text/plain",
                    'safelight_requests_total{route="/v1/detect"} 1.0\n',
                ),
            }
        )
        for path, methods in schema["paths"].items():
            if path in SCOPE_OF:  # nothing, too: where no credentials are configured none are needed
                for operation in methods.values():
                    operation["security"] = [{}, {"apiKey": []}, {"bearer": []}]
        schema.setdefault("components", {})["securitySchemes"] = _SCHEMES
        schema["paths"]["/metrics"]["get"]["responses"].update(_written(refusals_of((Unauthenticated, Forbidden))))
        example = _problem(ModelUnavailable("The default model is not ready."))
        schema["paths"]["/readyz"]["get"]["responses"]["503"] = {
            "description": "Not ready; for those who may see /v1/models, `models` holds the state of each.",
            "content": {problems.MEDIA_TYPE: {"example": example}},
        }
        return schema

    api.openapi = with_platform_routes  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _sealed() -> dict[str, Any]:
    """The gateway of Oblivious HTTP, whole and in chunks."""
    envelope = {"schema": {"type": "string", "format": "binary"}, "example": "(bytes)"}
    refused = {"description": "The envelope does not open.", "content": {problems.MEDIA_TYPE: {}}}
    return {
        "post": {
            "summary": "A sealed request (RFC 9458) to any route under /v1/.",
            "tags": ["sealed"],
            "requestBody": {
                "required": True,
                "content": {"message/ohttp-req": envelope, "message/ohttp-chunked-req": envelope},
            },
            "responses": {
                "200": {
                    "description": "The sealed answer, a refusal of what was inside included.",
                    "content": {"message/ohttp-res": envelope, "message/ohttp-chunked-res": envelope},
                },
                "400": refused,
            },
        }
    }


def option(name: str, schema: dict[str, Any], example: Any, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "schema": schema,
        "example": example,
        "description": description,
    }


def _get(summary: str, description: str, media_type: str, example: str) -> dict[str, Any]:
    content = {media_type: {"schema": {"type": "string"}, "example": example}}
    answer = {"description": description, "content": content}
    return {"get": {"summary": summary, "tags": ["platform"], "responses": {"200": answer}}}


def refusals_of(
    errors: Sequence[type[SafelightError]], examples: Sequence[SafelightError] = ()
) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's responses for a set of errors, those of one status together, one example for each. examples: of further errors,
    which hold more than a message."""
    responses: dict[int | str, dict[str, Any]] = {}
    for one in (*(error(REFUSALS[error]) for error in errors), *examples):
        error = type(one)
        entry = responses.setdefault(
            error.status,
            {"model": problems.Problem, "description": "", "content": {problems.MEDIA_TYPE: {"examples": {}}}},
        )
        entry["description"] = f"{entry['description']} {error.title}.".strip()
        example = {"summary": error.title, "value": _problem(one)}
        entry["content"][problems.MEDIA_TYPE]["examples"][error.__name__] = example
    return responses


def _written(responses: dict[int | str, dict[str, Any]]) -> dict[str, Any]:
    """Responses as FastAPI would write them: it does not look at routes that it does not have."""
    return {str(status): {k: v for k, v in one.items() if k != "model"} for status, one in responses.items()}


def _problem(error: SafelightError) -> dict[str, Any]:
    return problems.of_error(error, _REQUEST_ID).model_dump()

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
    PoorPicture,
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
    Unreadable,
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
_POOR = PoorPicture(
    {"sharpness": 3.1, "luminance": 0.42, "dark": 0.01, "bright": 0.0, "contrast": 0.31, "width": 640, "height": 480},
    [
        {
            "measure": "sharpness",
            "value": 3.1,
            "limit": 8.0,
            "advice": "Hold the camera still, and let it focus on the object.",
        }
    ],
)
_COARSE = "Made coarse at once; the answer says what is left of it, and nothing else is kept."
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
            _option(
                "model", {"type": "string", "enum": list(models), "default": default}, default, "Which model looks."
            ),
            _option(
                "threshold", threshold, 0.25, "The least confidence; by default the one chosen on validation data."
            ),
            {**_option("classes", classes, ["person", "cat"], "Labels to keep; all by default."), "explode": False},
            _option(
                "timeout_ms",
                {"type": "integer", "minimum": 1},
                2000,
                "For the answer, where the service's is too long.",
            ),
            _option("render", {"type": "string", "enum": ["png"]}, "png", "Answer with the annotated picture."),
            _option("latitude", _degrees(90), 37.77, f"With longitude: where it was taken. {_COARSE}"),
            _option("longitude", _degrees(180), -122.42, f"With latitude: where it was taken. {_COARSE}"),
            _option(
                "zip", {"type": "string", "pattern": r"^[0-9]{5}(-?[0-9]{4})?$"}, "94103", f"A US ZIP code. {_COARSE}"
            ),
        ],
        "requestBody": {"required": True, "content": bodies},
    }


def read_request(readers: Sequence[str], default: str | None, media_types: Sequence[str]) -> dict[str, Any]:
    """The options and bodies of POST /v1/read. media_types: of images."""
    request = detect_request(readers, default or "", media_types)
    return {"parameters": _read_options(readers, default), "requestBody": request["requestBody"]}


def batch_request(readers: Sequence[str], default: str | None, most: int) -> dict[str, Any]:
    """The options and the body of POST /v1/read:batch. most: images in it."""
    images = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1, "maxItems": most}
    form = {"type": "object", "required": [FIELD], "properties": {FIELD: images}, "additionalProperties": False}
    example = {
        "summary": "several files",
        "description": f"curl -F {FIELD}=@one.jpg -F {FIELD}=@two.jpg",
        "value": {FIELD: ["(bytes)", "(bytes)"]},
    }
    content = {"multipart/form-data": {"schema": form, "examples": {"files": example}}}
    return {"parameters": _read_options(readers, default), "requestBody": {"required": True, "content": content}}


def _read_options(readers: Sequence[str], default: str | None) -> list[dict[str, Any]]:
    chosen: dict[str, Any] = {"type": "string"}
    if readers:
        chosen |= {"enum": list(readers), "default": default}
    zipcode = {"type": "string", "pattern": r"^[0-9]{5}(-?[0-9]{4})?$"}
    wait = {"type": "integer", "minimum": 1}
    return [
        _option("model", chosen, default or "keys", "Which reader reads."),
        _option("zipcode", zipcode, "94103", f"A US ZIP code. {_COARSE}"),
        _option("timeout_ms", wait, 2000, "For the answer, where the service's is too long."),
    ]


def read_responses(answer: Any) -> dict[int | str, dict[str, Any]]:
    """The answers and refusals of POST /v1/read."""
    refusals = _refusals([*REFUSALS, PoorPicture, Unreadable])
    return {200: {"model": answer, "description": "What was read, and what is known of it."}, **refusals}


def batch_responses(answer: Any) -> dict[int | str, dict[str, Any]]:
    """The answers of POST /v1/read:batch, and its refusals of the whole: those of one picture are in its result."""
    of_one = {NotAnImage, TypeMismatch, CorruptImage, SeveralPictures, TrailingData, SideTooLong, TooManyPixels}
    refusals = _refusals([error for error in REFUSALS if error not in of_one])
    return {200: {"model": answer, "description": "Each picture's answer, or its problem."}, **refusals}


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
    return {200: found, **_refusals(list(REFUSALS))}


def models_responses(answer: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The answer of GET /v1/models."""
    return {200: {"model": answer, "description": "Every model with its state."}, **_refusals(_OF_ACCESS)}


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
        schema["paths"]["/metrics"]["get"]["responses"].update(_written(_refusals((Unauthenticated, Forbidden))))
        example = _problem(ModelUnavailable, "The default model is not ready.")
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


def _option(name: str, schema: dict[str, Any], example: Any, description: str) -> dict[str, Any]:
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


def _refusals(errors: Sequence[type[SafelightError]]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's responses for a set of errors, those of one status together, one example for each."""
    responses: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        entry = responses.setdefault(
            error.status,
            {"model": problems.Problem, "description": "", "content": {problems.MEDIA_TYPE: {"examples": {}}}},
        )
        entry["description"] = f"{entry['description']} {error.title}.".strip()
        example = {"summary": error.title, "value": _example(error)}
        entry["content"][problems.MEDIA_TYPE]["examples"][error.__name__] = example
    return responses


def _written(responses: dict[int | str, dict[str, Any]]) -> dict[str, Any]:
    """Responses as FastAPI would write them: it does not look at routes that it does not have."""
    return {str(status): {k: v for k, v in one.items() if k != "model"} for status, one in responses.items()}


def _example(error: type[SafelightError]) -> dict[str, Any]:
    own: dict[type[SafelightError], SafelightError] = {PoorPicture: _POOR, Unreadable: Unreadable()}
    known = own.get(error)
    return _problem(error, REFUSALS[error]) if known is None else problems.of_error(known, _REQUEST_ID).model_dump()


def _problem(error: type[SafelightError], detail: str) -> dict[str, Any]:
    return problems.of_error(error(detail), _REQUEST_ID).model_dump()

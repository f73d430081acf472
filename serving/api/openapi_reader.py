"""What /openapi.json says of readers: bodies, options, answers and refusals, as `serving.api.openapi` has them of detectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from safelight.errors import (
    CorruptImage,
    NotAnImage,
    PoorPicture,
    SeveralPictures,
    SideTooLong,
    TooManyPixels,
    TrailingData,
    TypeMismatch,
    Unreadable,
)
from serving.api.openapi import COARSE, REFUSALS, detect_request, option, refusals_of
from serving.privacy.intake import FIELD

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
        option("model", chosen, default or "keys", "Which reader reads."),
        option("zipcode", zipcode, "94103", f"A US ZIP code. {COARSE}"),
        option("timeout_ms", wait, 2000, "For the answer, where the service's is too long."),
    ]


def read_responses(answer: Any) -> dict[int | str, dict[str, Any]]:
    """The answers and refusals of POST /v1/read."""
    refusals = refusals_of(list(REFUSALS), (_POOR, Unreadable()))
    return {200: {"model": answer, "description": "What was read, and what is known of it."}, **refusals}


def batch_responses(answer: Any) -> dict[int | str, dict[str, Any]]:
    """The answers of POST /v1/read:batch, and its refusals of the whole: those of one picture are in its result."""
    of_one = {NotAnImage, TypeMismatch, CorruptImage, SeveralPictures, TrailingData, SideTooLong, TooManyPixels}
    refusals = refusals_of([error for error in REFUSALS if error not in of_one])
    return {200: {"model": answer, "description": "Each picture's answer, or its problem."}, **refusals}

"""What readers read, typed. Knows nothing of how it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safelight.client.answers import ModelName

_OWN = frozenset({"success", "request_id", "confidence", "quality", "timestamp", "api_version", "model", "sources",
                  "fallback_from", "location", "fields"})  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """What stands on a picture. fields: of the task, and what is known of them besides. confidence: how likely they are to be
    right, 0 to 1. quality: measures of the picture. sources: where each field is from. model, base: which reader answered, and
    what it is adapted from. location: the coarse place, where one was given."""

    request_id: str
    fields: Mapping[str, Any]
    confidence: float
    quality: Mapping[str, float]
    sources: Mapping[str, str]
    model: ModelName
    base: ModelName
    location: Mapping[str, str]
    raw: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The answer as it came over the wire."""
        return dict(self.raw)


@dataclass(frozen=True)
class Unread:
    """One of several pictures that was not read. problem: why (RFC 9457)."""

    status: int
    title: str
    detail: str
    problem: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The problem as it came over the wire."""
        return dict(self.problem)


def read_reading(raw: Mapping[str, Any]) -> Reading:
    """The answer of POST /v1/read out of its JSON."""
    model = raw["model"]
    return Reading(
        request_id=raw["request_id"],
        fields=raw["fields"] if "fields" in raw else {name: value for name, value in raw.items() if name not in _OWN},
        confidence=raw["confidence"],
        quality=raw["quality"],
        sources=raw["sources"],
        model=ModelName(model["name"], model["version"], model["digest"]),
        base=ModelName(**model["base"]),
        location=raw.get("location", {}),
        raw=raw,
    )


def read_results(raw: Mapping[str, Any]) -> list[Reading | Unread]:
    """The answer of POST /v1/read:batch out of its JSON, in the order in which the pictures were sent."""
    return [_result(result) for result in sorted(raw["results"], key=lambda result: int(result["index"]))]


def _result(result: Mapping[str, Any]) -> Reading | Unread:
    if result["success"]:
        return read_reading(result["answer"])
    problem = result["problem"]
    return Unread(problem["status"], problem["title"], problem["detail"], problem)

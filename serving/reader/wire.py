"""Answers as JSON, as `serving/reader/schemas.py` describes them: what was read, and what is known of it besides.

Knows nothing of requests and models beyond what it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from safelight.location import CoarseLocation
from safelight.reader.manifest import ReaderManifest
from serving.models.pool import Looked
from serving.reader.catalogue import Fact, KeyCatalogue, SystemEntry
from serving.reader.predictor import Reader, Reading
from serving.reader.risk import risk_of

API_VERSION = "1"
KEYS = "keys"
"""The task whose answers are told with what the catalogue knows; fields of others come as they are."""
_READ = "read from the picture"
_RULE = "docs/reader/serving.md#risk"
_CATALOGUED = {
    "lockType": "lock_type",
    "estimatedAnnualProduction": "estimated_annual_production",
    "manufacturingComplexity": "manufacturing_complexity",
    "marketPenetration": "market_penetration",
    "timeInMarket": "time_in_market",
}


def answer_of(
    request_id: str,
    looked: Looked[Reading, ReaderManifest, Reader],
    catalogue: KeyCatalogue,
    location: CoarseLocation | None,
    now: float,
) -> dict[str, Any]:
    """A `KeysAnswer`, or a `FieldsAnswer` for any other task. now: seconds since the epoch."""
    (_, served), *_ = looked.by
    manifest, reading = served.manifest, looked.found
    told = _keys(reading, catalogue) if _is_keys(manifest, reading.answer) else _fields(reading)
    answer = {
        "success": True,
        "request_id": request_id,
        **told,
        "quality": reading.quality.to_dict(),
        "timestamp": timestamp(now),
        "api_version": API_VERSION,
        "model": {
            "name": manifest.name,
            "version": manifest.version,
            "digest": served.digest,
            "base": manifest.base.model_dump(),
        },
    }
    if looked.passed_over:
        answer["fallback_from"] = [{"model": name, "reason": reason} for name, reason in looked.passed_over]
    if location is not None:
        answer["location"] = {"zip3": location.zip3}
    return answer


def timestamp(now: float) -> str:
    """Seconds since the epoch as RFC 3339 has a time, in UTC, to the millisecond."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_keys(manifest: ReaderManifest, answer: Mapping[str, Any]) -> bool:
    """Another schema under the same name is told as it is."""
    bittings = answer.get("bittings")
    named = all(isinstance(answer.get(name), str) for name in ("keyway", "brand"))
    cut = isinstance(bittings, list) and bool(bittings) and all(type(depth) is int for depth in bittings)
    return manifest.name == KEYS and named and cut


def _keys(reading: Reading, catalogue: KeyCatalogue) -> dict[str, Any]:
    read = reading.answer
    entry = catalogue.entry(read["keyway"])
    risk = risk_of(read["bittings"], entry)
    facts: dict[str, Fact | None] = {name: getattr(entry, field) for name, field in _CATALOGUED.items()}
    sources = dict.fromkeys(("keyway", "bitting", "brand"), _READ)
    sources |= {name: fact.told for name, fact in facts.items() if fact is not None}
    sources["risk"] = "; ".join([_RULE, *_used(entry)])
    return {
        "keyway": read["keyway"],
        "bitting": ",".join(map(str, read["bittings"])),
        "brand": read["brand"],
        "confidence": round(reading.confidence, 6),
        **{name: None if fact is None else fact.value for name, fact in facts.items()},
        "risk": {
            "level": risk.level,
            "score": risk.score,
            "reasons": [asdict(reason) for reason in risk.reasons],
        },
        "sources": sources,
    }


def _used(entry: SystemEntry) -> list[str]:
    """What the rule takes from the catalogue."""
    used = {"the system's numbers": entry.system, "the keyway's openness": entry.openness}
    return [f"{name}: {fact.told}" for name, fact in used.items() if fact is not None]


def _fields(reading: Reading) -> dict[str, Any]:
    sources = dict.fromkeys(reading.answer, _READ)
    return {"fields": reading.answer, "confidence": round(reading.confidence, 6), "sources": sources}

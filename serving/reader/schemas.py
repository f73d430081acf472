"""What an answer of /v1/read looks like, for the documentation and for whoever checks one; `serving/reader/wire.py` writes
it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.detector.schemas import ModelName, PassedOver
from serving.reader.risk import Level

_DIGEST = "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c"


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReaderName(_Wire):
    """Which reader answered. digest: SHA-256 of its signed manifest. base: the model that it is adapted from."""

    name: str = Field(examples=["keys"])
    version: str = Field(examples=["3f9a1c0d2e4b"])
    digest: str = Field(examples=[_DIGEST])
    base: ModelName


class MeasuredQuality(_Wire):
    """How well the picture can be looked at; docs/reader/serving.md says how each is measured."""

    sharpness: float = Field(ge=0, examples=[412.6])
    luminance: float = Field(ge=0, le=1, examples=[0.47])
    dark: float = Field(ge=0, le=1, examples=[0.01])
    bright: float = Field(ge=0, le=1, examples=[0.02])
    contrast: float = Field(ge=0, le=1, examples=[0.55])
    width: int = Field(ge=1, examples=[1280])
    height: int = Field(ge=1, examples=[960])


class ReadPlace(_Wire):
    """All that is kept of the ZIP code that was given: 000 where few people live."""

    zip3: str = Field(examples=["941"])


class RiskReason(_Wire):
    """One of the rule's findings, and the points that it adds."""

    rule: str = Field(examples=["equal-neighbours"])
    points: int = Field(ge=0, examples=[10])
    text: str = Field(examples=["Neighbouring cuts of the same depth."])


class RiskTold(_Wire):
    """score: the sum of the points, 0 to 100."""

    level: Level = Field(examples=["low"])
    score: int = Field(ge=0, le=100, examples=[20])
    reasons: list[RiskReason]


class _Answer(_Wire):
    """confidence: calibrated on validation data, how likely the whole answer is to be right. sources: where each field is from;
    fields that are null have none. fallback_from, location: left out where there is nothing to tell."""

    success: Literal[True] = True
    request_id: str = Field(examples=["5f2d8c6ad5d14a3b9f0e6a1c2b7d4e90"])
    confidence: float = Field(ge=0, le=1, examples=[0.97])
    quality: MeasuredQuality
    timestamp: str = Field(examples=["2026-11-21T20:14:10.123Z"])
    api_version: str = Field(examples=["1"])
    model: ReaderName
    sources: dict[str, str] = Field(examples=[{"keyway": "read from the picture"}])
    fallback_from: list[PassedOver] | None = None
    location: ReadPlace | None = None


class KeysAnswer(_Answer):
    """A key. keyway, bitting (depths from bow to tip), brand: read from the picture. Those below come from the catalogue, null
    where it does not know them; risk is computed from what was read."""

    keyway: str = Field(examples=["SC1"])
    bitting: str = Field(examples=["2,5,4,7,3"])
    brand: str = Field(examples=["Schlage"])
    lockType: str | None = Field(default=None, examples=["pin tumbler"])
    estimatedAnnualProduction: int | float | str | None = Field(default=None, examples=[None])
    manufacturingComplexity: str | None = Field(default=None, examples=["low"])
    marketPenetration: int | float | str | None = Field(default=None, examples=[None])
    timeInMarket: int | float | str | None = Field(default=None, examples=[None])
    risk: RiskTold


class FieldsAnswer(_Answer):
    """What a reader of any other task reads. fields: they hold to its `json_schema` in /v1/models."""

    fields: dict[str, Any] = Field(examples=[{"reading": "004217", "unit": "m3"}])


class ReadResult(_Wire):
    """One picture of several. answer: where success is true. problem (RFC 9457): where it is not."""

    index: int = Field(ge=0, examples=[0])
    success: bool = Field(examples=[True])
    answer: KeysAnswer | FieldsAnswer | None = None
    problem: dict[str, Any] | None = Field(default=None, examples=[None])


class BatchAnswer(_Wire):
    """Pictures in the order in which they came. success: whether all of them were read."""

    success: bool = Field(examples=[True])
    request_id: str = Field(examples=["5f2d8c6ad5d14a3b9f0e6a1c2b7d4e90"])
    results: list[ReadResult]
    read: int = Field(ge=0, examples=[1])
    refused: int = Field(ge=0, examples=[0])
    timestamp: str = Field(examples=["2026-11-21T20:14:10.123Z"])
    api_version: str = Field(examples=["1"])

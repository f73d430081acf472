"""What every manifest says, and the manifest of a detector. That of a reader and of its base: `safelight.reader.manifest`.

Knows nothing of files, signatures and runtimes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from safelight.drift import Reference
from safelight.errors import ManifestInvalid
from safelight.golden import Golden
from safelight.heads.interface import Anchors, HeadName
from safelight.postprocess import Thresholds
from safelight.preprocess import Preprocess

MODEL = "model.onnx"
NAME = r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$"
SHA256 = r"^[0-9a-f]{64}$"
_LATER = frozenset({"head", "anchors", "golden", "reference"})


class Frozen(BaseModel):
    """A part of a manifest: nothing in it changes, and nothing unknown is let in."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Pinned(Frozen):
    """The one bundle that is meant. digest: SHA-256 of its manifest.json, which pins every other file."""

    name: str = Field(pattern=NAME)
    version: str = Field(pattern=NAME)
    digest: str = Field(pattern=SHA256)


class Described(Frozen):
    """What the manifests of all tasks have in common."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=NAME)
    version: str = Field(pattern=NAME)
    if (
        TYPE_CHECKING
    ):  # each declares these where they stood in its first bundles: their order on disk is in the digests
        task: str
        git_commit: str
        licence: str
        files: dict[str, str]

    def contents(self) -> frozenset[str]:
        """Names of the files that the bundle cannot do without, besides manifest, card and signature."""
        raise NotImplementedError

    def check(self) -> None:
        """Whatever its fields' types do not say. Raises ManifestInvalid."""


class Tensor(Frozen):
    """A graph's input or output: name, element type, and shape with a name for each free dimension."""

    name: str
    dtype: Literal["float32", "float16", "uint8", "int32", "int64"]
    shape: tuple[int | str, ...]


VariantName = Literal["int8", "dct"]


class Variant(Frozen):
    """A cheaper way to nearly the same answers, which passed a gate of its own: another graph with the same inputs and
    outputs (`file`), or JPEGs decoded at 1/2, 1/4 or 1/8 of their size as long as their longer side keeps `least_side`
    pixels. gate: what was measured."""

    file: str | None = Field(default=None, pattern=r"^model\.[a-z0-9]{1,32}\.onnx$")
    least_side: int | None = Field(default=None, ge=1)
    gate: dict[str, Any]

    @model_validator(mode="after")
    def _one_of_two(self) -> Variant:
        if (self.file is None) == (self.least_side is None):
            raise ValueError("expected either a file or a least side")
        return self


class Manifest(Described):
    """What a detector's bundle holds and how to use it. `files` maps every other file (but the signature) to its SHA-256."""

    task: Literal["object-detection"]
    labels: tuple[str, ...] = Field(min_length=1)
    input: Tensor
    outputs: tuple[Tensor, ...]
    preprocess: dict[str, Any]
    thresholds: dict[str, Any]
    metrics: dict[str, Any]
    calibration: dict[str, Any] | None = (
        None  # how far a score is a probability: temperature, and error before and after
    )
    parity: dict[str, Any]
    data_digest: str | None
    git_commit: str
    configuration: dict[str, Any]
    licence: str
    files: dict[str, str]
    variants: dict[VariantName, Variant] = {}
    head: HeadName = "boxes-scores"  # what the outputs mean: safelight/heads
    anchors: Anchors | None = None  # for heads that leave the decoding of boxes to us
    golden: dict[str, Golden] = {}  # by graph, for they do not answer alike: what it is to answer wherever it is loaded
    reference: Reference | None = None  # how pictures and answers were when they were as they should be

    @model_validator(mode="after")
    def _golden_of_its_graphs(self) -> Manifest:
        if unknown := set(self.golden) - self.contents():
            raise ValueError(f"golden: expected the graphs of this bundle, got {', '.join(sorted(unknown))}")
        return self

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Fields that came after the first bundles are left out where they say nothing, so that digests stay."""
        values: dict[str, Any] = handler(self)
        for name in _LATER & set(values):
            if getattr(self, name) == type(self).model_fields[name].default:
                del values[name]
        return values

    def contents(self) -> frozenset[str]:
        """Its graph, and those of its variants."""
        return frozenset({MODEL, *(variant.file for variant in self.variants.values() if variant.file is not None)})

    def check(self) -> None:
        """Raises ManifestInvalid unless preprocessing and thresholds can be used."""
        self.preprocessing()
        self.decision()

    def preprocessing(self) -> Preprocess:
        """The preprocessing the model was trained with. Raises ManifestInvalid."""
        try:
            return Preprocess(**self.preprocess)
        except (TypeError, ValueError) as error:
            raise ManifestInvalid(f"preprocess: {error}") from None

    def decision(self) -> Thresholds:
        """The thresholds chosen on validation data. Raises ManifestInvalid."""
        try:
            decision = Thresholds(**self.thresholds)
            decision.scores(self.labels)
            return decision
        except (TypeError, ValueError) as error:
            raise ManifestInvalid(f"thresholds: {error}") from None

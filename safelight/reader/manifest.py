"""The manifests of a reader: of the base, a vision-language model as three graphs, and of what adapts it to one task.

Several readers share one base in memory: each gives the base's graphs its own LoRA matrices with every request. Knows
nothing of tokenizers, runtimes and pictures.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from safelight.errors import ManifestInvalid
from safelight.manifest import Described, Frozen, Pinned
from safelight.reader.golden import GoldenReadings

VISION = "vision.onnx"
EMBEDDING = "embedding.onnx"
DECODER = "decoder.onnx"
TOKENIZER = "tokenizer.json"
ADAPTER = "adapter.safetensors"

Count = Annotated[int, Field(ge=1)]
Token = Annotated[int, Field(ge=0)]
VariantName = Literal["int8"]


class Architecture(Frozen):
    """What the graphs need to be run. image_side: pixels. image_tokens: rows that a picture takes in the prompt, each marked
    by `image_token_id`. positions: how many rows, prompt and answer together, the language model was made for.

    adapted: path of each linear layer that takes LoRA matrices, to its (inputs, outputs): `lora.PATH.A` is (r, inputs) and
    `lora.PATH.B` (outputs, r). Paths that begin with `text_model.` belong to the decoder, all others to the vision graph.
    """

    family: str = Field(pattern=r"^[a-z0-9_]{1,64}$")
    layers: Count
    kv_heads: Count
    head_dim: Count
    hidden: Count
    vocabulary: Count
    positions: Count
    image_side: Count
    image_tokens: Count
    image_token_id: Token
    eos_token_ids: tuple[Token, ...] = Field(min_length=1)
    adapted: dict[str, tuple[Count, Count]]

    @model_validator(mode="after")
    def _tokens_of_the_vocabulary(self) -> Architecture:
        if max(self.image_token_id, *self.eos_token_ids) >= self.vocabulary:
            raise ValueError(f"expected token ids below {self.vocabulary}")
        return self


class DecoderVariant(Frozen):
    """A cheaper decoder with the same inputs and outputs, which passed a gate. gate: what was measured."""

    file: str = Field(pattern=r"^decoder\.[a-z0-9]{1,32}\.onnx$")
    gate: dict[str, Any]


class BaseManifest(Described):
    """A base: `vision.onnx`, `embedding.onnx`, `decoder.onnx`, their tokenizer, and the decoder's variants."""

    task: Literal["vision-language-base"]
    architecture: Architecture
    metrics: dict[str, Any]
    parity: dict[str, Any]
    data_digest: str | None
    git_commit: str
    configuration: dict[str, Any]
    licence: str
    files: dict[str, str]
    variants: dict[VariantName, DecoderVariant] = Field(default={})

    def contents(self) -> frozenset[str]:
        """The graphs, those of the variants, and the tokenizer."""
        return frozenset({VISION, EMBEDDING, DECODER, TOKENIZER, *(v.file for v in self.variants.values())})


class Calibration(Frozen):
    """How a confidence is made of what the model thinks of its own answer: sigmoid(scale * logit(p) + offset), where p is
    the product of the probabilities of the tokens that it chose. Source: Platt, "Probabilistic outputs for support vector
    machines", 1999."""

    model_config = ConfigDict(allow_inf_nan=False)

    scale: float = 1.0
    offset: float = 0.0


class ReaderManifest(Described):
    """What adapts a base to a task: LoRA matrices (`adapter.safetensors`), what is asked, and what an answer looks like.

    base: the one bundle that it was trained on. rank: of its matrices. prompt_ids: the prompt whole, as tokens, with the
    base's image tokens in it. json_schema: of the answer. quality: limits of `safelight.reader.quality` that pictures are
    held to, where they are not the usual ones; null for none. golden: by the base's decoder, for they do not answer
    alike, what it answers wherever it is loaded.
    """

    task: Literal["image-to-json"]
    base: Pinned
    rank: Count
    json_schema: dict[str, Any]
    prompt: str = Field(min_length=1)
    prompt_ids: tuple[Token, ...] = Field(min_length=1)
    max_new_tokens: Count
    calibration: Calibration = Calibration()
    quality: dict[str, float | None] = Field(default={})
    golden: dict[str, GoldenReadings] = Field(default={})
    metrics: dict[str, Any]
    parity: dict[str, Any]
    data_digest: str | None
    git_commit: str
    configuration: dict[str, Any]
    licence: str
    files: dict[str, str]

    @field_validator("json_schema")
    @classmethod
    def _of_an_object(cls, schema: dict[str, Any]) -> dict[str, Any]:
        if schema.get("type") != "object" or not schema.get("properties"):
            raise ValueError("expected the JSON Schema of an object with properties")
        return schema

    def contents(self) -> frozenset[str]:
        """The LoRA matrices."""
        return frozenset({ADAPTER})

    def check_base(self, base: BaseManifest, digest: str) -> None:
        """Raises ManifestInvalid unless `base`, whose bundle has that digest, is the one that this adapts, and the prompt
        is one that it can be asked."""
        if self.base != Pinned(name=base.name, version=base.version, digest=digest):
            raise ManifestInvalid(f"Expected the base {self.base.name} {self.base.version}, got another one.")
        told = base.architecture
        pictures = self.prompt_ids.count(told.image_token_id)
        if pictures != told.image_tokens:
            raise ManifestInvalid(f"Expected a prompt with {told.image_tokens} image tokens, it has {pictures}.")
        if max(self.prompt_ids) >= told.vocabulary:
            raise ManifestInvalid(f"Expected a prompt of tokens below {told.vocabulary}.")
        if len(self.prompt_ids) + self.max_new_tokens > told.positions:
            raise ManifestInvalid(f"Expected a prompt and an answer that fit into {told.positions} positions together.")

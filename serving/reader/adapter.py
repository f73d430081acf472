"""What makes a base a reader of one kind of picture: LoRA matrices, a prompt, and what answers look like.

The matrices are made ready once, as the graphs take them: a step copies none of them, and several adapters share the base.
Knows nothing of bundles on disk: the bytes are those that were verified.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from safelight.errors import ManifestInvalid
from safelight.reader.manifest import Architecture, ReaderManifest
from serving.reader.constraint import Constraint, Tokens
from serving.reader.graphs import Floats, Values, of_the_decoder, value


@dataclass(frozen=True)
class Matrices:
    """LoRA's, by the graphs' names for them."""

    vision: Values
    decoder: Values


@dataclass(frozen=True, eq=False)
class Adapter:
    """digest: of its bundle, which tells it from others. prompt: token ids, the base's image tokens among them. constraint:
    what answers are held to, None for nothing. max_new_tokens: of an answer, the token that ends it included."""

    digest: str
    matrices: Matrices
    prompt: tuple[int, ...]
    constraint: Constraint | None
    max_new_tokens: int


def open_adapter(
    manifest: ReaderManifest, digest: str, data: bytes, architecture: Architecture, tokens: Tokens
) -> Adapter:
    """The adapter of a verified bundle. data: of its `adapter.safetensors`. architecture, tokens: of its base, which
    `ReaderManifest.check_base` has agreed to.

    Raises ManifestInvalid when the matrices are not those of the architecture, or the schema cannot be a constraint.
    """
    matrices = read_matrices(data, architecture, manifest.rank)
    constraint = Constraint(manifest.json_schema, tokens)
    return Adapter(digest, matrices, manifest.prompt_ids, constraint, manifest.max_new_tokens)


def read_matrices(data: bytes, architecture: Architecture, rank: int) -> Matrices:
    """`lora.PATH.A` (r, inputs) and `lora.PATH.B` (outputs, r) of every adapted layer, float32 and finite, and nothing else.
    Raises ManifestInvalid."""
    try:
        found = load(data)
    except (SafetensorError, KeyError, ValueError, TypeError):  # KeyError: a type that numpy does not have
        raise ManifestInvalid("adapter.safetensors is not well-formed.") from None
    expected = _shapes(architecture, rank)
    if set(found) != set(expected):
        odd = sorted(set(found) ^ set(expected))[0][:200]
        raise ManifestInvalid(
            f"adapter.safetensors does not have the base's adapted layers: {odd} is on one side only."
        )
    for name, shape in expected.items():
        held = found[name]
        if held.shape != shape or held.dtype != np.float32:
            raise ManifestInvalid(f"{name}: expected {shape} float32, got {held.shape} {held.dtype}.")
        if not np.isfinite(held).all():
            raise ManifestInvalid(f"{name}: expected finite numbers.")
    return _split(found)


def no_matrices(architecture: Architecture) -> Matrices:
    """Those that change nothing: the base alone."""
    return _split({name: np.zeros(shape, np.float32) for name, shape in _shapes(architecture, 1).items()})


def _shapes(architecture: Architecture, rank: int) -> dict[str, tuple[int, int]]:
    shapes = {}
    for path, (inputs, outputs) in architecture.adapted.items():
        shapes[f"lora.{path}.A"], shapes[f"lora.{path}.B"] = (rank, inputs), (outputs, rank)
    return shapes


def _split(found: dict[str, NDArray[np.float32]]) -> Matrices:
    vision: dict[str, Floats] = {}
    decoder: dict[str, Floats] = {}
    for name, held in found.items():
        (decoder if of_the_decoder(name.removeprefix("lora.")) else vision)[name] = held
    return Matrices(
        {name: value(held) for name, held in vision.items()}, {name: value(held) for name, held in decoder.items()}
    )

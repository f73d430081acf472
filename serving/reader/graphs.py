"""The three graphs of a base as functions: opened by ONNX Runtime, checked against the manifest, run and ended.

Knows nothing of prompts, answers and tokens' meaning, nor of bundles on disk: the bytes are those that were verified. What is
handed from one run to the next (keys and values, LoRA matrices) stays where ONNX Runtime has it, and is not copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from safelight.errors import ManifestInvalid, ModelUnavailable
from safelight.manifest import Tensor
from safelight.reader.manifest import Architecture
from serving.models.providers import ELEMENT_TYPES, ProviderName, open_session

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Value: TypeAlias = Any  # ort.OrtValue, which has no types
Values = Mapping[str, Value]
_DECODERS = "text_model."


@dataclass(frozen=True)
class Step:
    """T new tokens of B rows, after P columns that each row has, or has not, something in.

    embeddings: `(B, T, H)`. held: `(B, P + T)`, 1 where a column belongs to its row. positions: `(B, T)`, of the tokens in
    their rows. last: `(B,)`, which of the T the logits are wanted of.
    """

    embeddings: Floats
    held: Integers
    positions: Integers
    last: Integers


class Graphs:
    """What a base can do. Runs may come from several threads; `terminate` and `close` too."""

    def __init__(self, architecture: Architecture, vision: Any, embedding: Any, decoder: Any) -> None:
        self.architecture = architecture
        self._vision, self._embedding, self._decoder = vision, embedding, decoder
        self._past = past_names(architecture, "past_key_values")
        self._answers = ["logits", *past_names(architecture, "present")]
        self._under_way: set[ort.RunOptions] = set()
        self._closed = False

    def features(self, pictures: Floats, matrices: Values) -> Floats:
        """Pictures `(B, 3, S, S)` in [-1, 1] as rows of a prompt, `(B, N, H)`. matrices: LoRA's, of the vision graph."""
        (features,) = self._run(self._vision, ["image_features"], {"pixel_values": value(pictures), **matrices})
        return array(features)

    def embed(self, ids: Integers) -> Floats:
        """Tokens `(B, T)` as rows of a prompt, `(B, T, H)`."""
        (embeddings,) = self._run(self._embedding, ["inputs_embeds"], {"input_ids": value(ids)})
        return array(embeddings)

    def decode(self, step: Step, past: Sequence[Value], matrices: Values) -> tuple[Floats, list[Value]]:
        """Logits `(B, V)` after each row's last new token, and the keys and values of all P + T columns, two of
        `(B, KV, P + T, D)` a layer. past: those of the first P. matrices: LoRA's, of the decoder."""
        feed = {
            "inputs_embeds": value(step.embeddings),
            "attention_mask": value(step.held),
            "position_ids": value(step.positions),
            "logit_positions": value(step.last),
            **dict(zip(self._past, past, strict=True)),
            **matrices,
        }
        logits, *present = self._run(self._decoder, self._answers, feed)
        return array(logits), present

    def terminate(self) -> None:
        """End the runs under way with an error, each as soon as the operator that it is at is done; later ones are not
        touched."""
        for options in tuple(self._under_way):
            options.terminate = True

    def close(self) -> None:
        """End the runs under way, and let no other begin."""
        self._closed = True
        self.terminate()

    def _run(self, session: Any, names: list[str], feed: Values) -> list[Value]:
        """Raises ModelUnavailable when it was ended from outside, and what ONNX Runtime raises."""
        options = ort.RunOptions()
        self._under_way.add(options)
        try:
            if self._closed:
                options.terminate = True  # ONNX Runtime is not asked at all: the error below is the same
                raise ModelUnavailable
            answers: list[Value] = session.run_with_ort_values(names, feed, options)
            return answers
        except Exception:
            if options.terminate:
                raise ModelUnavailable("The model was stopped before it had answered.") from None
            raise
        finally:
            self._under_way.discard(options)


def open_graphs(
    architecture: Architecture,
    *,
    vision: bytes,
    embedding: bytes,
    decoder: bytes,
    threads: int,
    provider: ProviderName,
) -> Graphs:
    """The graphs of a verified base, opened. threads: within one run, 0 for one a core.

    Raises ConfigError when the provider cannot be had, ManifestInvalid when a graph does not load or does not have the inputs
    and outputs that the architecture asks for.
    """
    opened = []
    for name, graph in (("vision", vision), ("embedding", embedding), ("decoder", decoder)):
        session = open_session(graph, threads=threads, provider=provider)
        inputs, outputs = _promised(name, architecture)
        _agree(f"The {name} graph's input", inputs, session.get_inputs())
        _agree(f"The {name} graph's output", outputs, session.get_outputs())
        opened.append(session)
    return Graphs(architecture, *opened)


def of_the_decoder(path: str) -> bool:
    """Whether an adapted layer belongs to the decoder; all others belong to the vision graph."""
    return path.startswith(_DECODERS)


def past_names(architecture: Architecture, prefix: str) -> list[str]:
    """Keys and values by layer, in the order in which they are handed on."""
    return [f"{prefix}.{layer}.{kind}" for layer in range(architecture.layers) for kind in ("key", "value")]


def value(held: NDArray[Any]) -> Value:
    """An array as ONNX Runtime takes it: the same memory, kept alive by the value."""
    return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(held))


def array(given: Value) -> NDArray[Any]:
    """A value as numpy has it; on a CPU it is the same memory."""
    held: NDArray[Any] = given.numpy()
    return held


def _promised(graph: str, of: Architecture) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs and outputs, as the contract of the export has them."""
    if graph == "embedding":
        return [Tensor(name="input_ids", dtype="int64", shape=("b", "t"))], [
            _floats("inputs_embeds", "b", "t", of.hidden)
        ]
    decoder = graph == "decoder"
    lora = [
        _floats(f"lora.{path}.{half}", *shape)
        for path, (inputs, outputs) in of.adapted.items()
        if of_the_decoder(path) == decoder
        for half, shape in (("A", ("r", inputs)), ("B", (outputs, "r")))
    ]
    if not decoder:
        pixels = _floats("pixel_values", "b", 3, of.image_side, of.image_side)
        return [pixels, *lora], [_floats("image_features", "b", of.image_tokens, of.hidden)]
    past, present = (
        [_floats(name, "b", of.kv_heads, columns, of.head_dim) for name in past_names(of, prefix)]
        for prefix, columns in (("past_key_values", "p"), ("present", "pt"))
    )
    own = [
        _floats("inputs_embeds", "b", "t", of.hidden),
        Tensor(name="attention_mask", dtype="int64", shape=("b", "pt")),
        Tensor(name="position_ids", dtype="int64", shape=("b", "t")),
        Tensor(name="logit_positions", dtype="int64", shape=("b",)),
    ]
    return [*own, *past, *lora], [_floats("logits", "b", of.vocabulary), *present]


def _floats(name: str, *shape: int | str) -> Tensor:
    return Tensor(name=name, dtype="float32", shape=shape)


def _agree(what: str, promised: Sequence[Tensor], found: Sequence[Any]) -> None:
    """Names, types, and dimensions: what is free in the contract must be free in the graph."""
    have = {node.name: node for node in found}
    if missing := {tensor.name for tensor in promised} ^ set(have):
        raise ManifestInvalid(f"{what}s are not those of its architecture: {sorted(missing)[0]} is on one side only.")
    for tensor in promised:
        node = have[tensor.name]
        if ELEMENT_TYPES.get(node.type) != tensor.dtype:
            raise ManifestInvalid(f"{what} {tensor.name} is not of type {tensor.dtype}.")
        fixed = [dimension if isinstance(dimension, int) else None for dimension in node.shape]
        wanted = [dimension if isinstance(dimension, int) else None for dimension in tensor.shape]
        outgoing = what.endswith("output")  # exporters do not always know what comes out
        same = len(fixed) == len(wanted) and all(
            f == w or (outgoing and f is None) for f, w in zip(fixed, wanted, strict=True)
        )
        if not same:
            raise ManifestInvalid(f"{what} {tensor.name} does not have the shape {tensor.shape}, free ones by name.")

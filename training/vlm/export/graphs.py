"""vision.onnx, embedding.onnx and decoder.onnx of a SmolVLM-architecture model, every batch, length and rank free.

The graphs' contract: all numbers float32, ids int64.

- vision: `pixel_values (B, 3, S, S)` and LoRA matrices to `image_features (B, N, H)`
- embedding: `input_ids (B, T)` to `inputs_embeds (B, T, H)`
- decoder: `inputs_embeds (B, T, H)`, `attention_mask (B, P + T)`, `position_ids (B, T)`, `logit_positions (B,)`,
  `past_key_values.I.key` and `.value (B, KV, P, D)`, and LoRA matrices to `logits (B, V)`, `present.I.key` and `.value
  (B, KV, P + T, D)`
- LoRA matrices: `lora.PATH.A (r, inputs)` and `lora.PATH.B (outputs, r)` of every adapted layer; no adapter is zeros

Knows nothing of adapters and of how a graph is run.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from safelight.errors import ParityError
from safelight.reader.manifest import DECODER, EMBEDDING, VISION
from training.vlm.export.decoder import Decoder
from training.vlm.export.linear import TEXT
from training.vlm.export.vision import Vision
from training.vlm.families.views import Shift

OPSET = 18
_LIMIT = 2**31 - 2**20  # bytes of one protobuf file; what is larger would need files beside it
_BATCH, _NEW, _OLD, _RANK = 3, 5, 4, 6  # of the example: 1 and 2 would be specialised, and equal sizes made one
Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class _Graph:
    """A function, an example of its inputs (flat, by name) with their free dimensions named, and its outputs likewise."""

    function: nn.Module
    inputs: Mapping[str, tuple[Tensor, Shape]]
    outputs: Mapping[str, Shape]


def write_graphs(
    model: Any, adapted: Mapping[str, tuple[int, int]], side: int, folder: Path, views: Sequence[Shift] = ((0, 0),)
) -> dict[str, Path]:
    """Write the three graphs of a SmolVLMForConditionalGeneration in float32, each checked by ONNX's own checker.

    adapted: the layers that take LoRA matrices (`linear.adaptable`). side: of the pictures. views: see `Vision`. Returns where
    each lies, by file name. Raises ParityError when a dimension that is to be free is not.
    """
    model.eval()
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        VISION: _vision(model, adapted, side, views),
        EMBEDDING: _embedding(model),
        DECODER: _decoder(model, adapted),
    }
    for name, graph in made.items():
        _write(graph, folder / name)
    return {name: folder / name for name in made}


class _Flat(nn.Module):
    """A function of mappings as one of a flat list of tensors, which is what a graph is."""

    def __init__(self, inner: nn.Module, plain: int, past: int, paths: Sequence[str]) -> None:
        super().__init__()
        self.inner, self.plain, self.past, self.paths = inner, plain, past, tuple(paths)

    def forward(self, *tensors: Tensor) -> Any:
        plain, rest = tensors[: self.plain], tensors[self.plain :]
        cache, matrices = rest[: self.past], rest[self.past :]
        lora = {path: (matrices[2 * i], matrices[2 * i + 1]) for i, path in enumerate(self.paths)}
        return self.inner(*plain, cache, lora) if self.past else self.inner(*plain, lora)


def _matrices(adapted: Mapping[str, tuple[int, int]]) -> dict[str, tuple[Tensor, Shape]]:
    found: dict[str, tuple[Tensor, Shape]] = {}
    for path, (inputs, outputs) in adapted.items():
        found[f"lora.{path}.A"] = torch.rand(_RANK, inputs), ("rank", inputs)
        found[f"lora.{path}.B"] = torch.rand(outputs, _RANK), (outputs, "rank")
    return found


def _vision(model: Any, adapted: Mapping[str, tuple[int, int]], side: int, views: Sequence[Shift]) -> _Graph:
    own = {path: sizes for path, sizes in adapted.items() if not path.startswith(TEXT)}
    inner = Vision(model.model, side, views)
    pixels = torch.rand(_BATCH, 3, side, side), ("batch", 3, side, side)
    tokens = inner.positions.shape[0] // model.config.scale_factor**2
    return _Graph(
        _Flat(inner, 1, 0, list(own)),
        {"pixel_values": pixels, **_matrices(own)},
        {"image_features": ("batch", tokens, model.config.text_config.hidden_size)},
    )


def _embedding(model: Any) -> _Graph:
    ids = torch.zeros(_BATCH, _NEW, dtype=torch.int64), ("batch", "new")
    hidden = model.config.text_config.hidden_size
    return _Graph(
        model.model.text_model.get_input_embeddings(),
        {"input_ids": ids},
        {"inputs_embeds": ("batch", "new", hidden)},
    )


def _decoder(model: Any, adapted: Mapping[str, tuple[int, int]]) -> _Graph:
    own = {path: sizes for path, sizes in adapted.items() if path.startswith(TEXT)}
    text = model.config.text_config
    heads, width = text.num_key_value_heads, model.model.text_model.layers[0].self_attn.head_dim
    inputs: dict[str, tuple[Tensor, Shape]] = {
        "inputs_embeds": (torch.rand(_BATCH, _NEW, text.hidden_size), ("batch", "new", text.hidden_size)),
        "attention_mask": (torch.ones(_BATCH, _OLD + _NEW, dtype=torch.int64), ("batch", "all")),
        "position_ids": (torch.arange(_OLD, _OLD + _NEW).repeat(_BATCH, 1), ("batch", "new")),
        "logit_positions": (torch.zeros(_BATCH, dtype=torch.int64), ("batch",)),
    }
    plain = len(inputs)
    kinds = [f"{i}.{kind}" for i in range(text.num_hidden_layers) for kind in ("key", "value")]
    for kind in kinds:
        inputs[f"past_key_values.{kind}"] = torch.rand(_BATCH, heads, _OLD, width), ("batch", heads, "old", width)
    outputs: dict[str, Shape] = {"logits": ("batch", model.lm_head.out_features)}
    outputs |= {f"present.{kind}": ("batch", heads, "all", width) for kind in kinds}
    return _Graph(_Flat(Decoder(model), plain, len(kinds), list(own)), inputs | _matrices(own), outputs)


def _write(graph: _Graph, path: Path) -> None:
    tensors = tuple(tensor for tensor, _ in graph.inputs.values())
    free = tuple(
        {i: torch.export.Dim.DYNAMIC for i, d in enumerate(s) if isinstance(d, str)} for _, s in graph.inputs.values()
    )
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            graph.function,
            tensors,
            path,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=(free,) if isinstance(graph.function, _Flat) else free,
            external_data=False,
            verbose=False,
        )
    model = _tidied(onnx.load(str(path)), graph)
    onnx.save(model, str(path))
    if path.stat().st_size > _LIMIT:
        raise ParityError(f"Expected a graph of less than {_LIMIT} bytes, {path.name} is larger.")
    onnx.checker.check_model(str(path), full_check=True)


def _tidied(model: onnx.ModelProto, graph: _Graph) -> onnx.ModelProto:
    """The graph with its dimensions called by their names, and without the exporter's notes, which hold source lines and
    local paths. Raises ParityError when an input or output is not what was asked for."""
    told = {name: shape for name, (_, shape) in graph.inputs.items()} | dict(graph.outputs)
    for value in (*model.graph.input, *model.graph.output):
        _name(value, told[value.name])
    del model.graph.value_info[:], model.graph.metadata_props[:], model.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    return model


def _name(value: onnx.ValueInfoProto, shape: Shape) -> None:
    dimensions = value.type.tensor_type.shape.dim
    found = tuple(d.dim_value if d.HasField("dim_value") else None for d in dimensions)
    if len(found) != len(shape) or any(
        have is not None and told != have for told, have in zip(shape, found, strict=False)
    ):
        raise ParityError(f"Expected {value.name} of the shape {shape}, the exporter made it {found}.")
    for dimension, told in zip(dimensions, shape, strict=True):
        if isinstance(told, str):
            dimension.dim_param = told
        else:
            dimension.dim_value = told


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of its own deprecations and of torchvision's operators, which nothing here uses."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)

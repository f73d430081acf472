"""A torch predictor to an ONNX graph with a free batch dimension.

The graph's contract: `images` (batch, 3, S, S) float32 in [0, 1] to `boxes` (batch, anchors, 4) xyxy input pixels and
`scores` (batch, anchors, classes) in [0, 1]. Knows nothing of how the predictor was trained.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnxscript import opset18 as op
from onnxscript.onnx_types import BOOL
from torch import nn

from safelight.bundle import Tensor
from safelight.errors import ConfigError, ParityError
from safelight.postprocess import Run

OPSET = 18
INPUT = "images"
OUTPUTS = ("boxes", "scores")
BATCH = "batch"
"""Name of the free dimension."""
_EXAMPLE = 3  # pictures in the example batch: sizes 1 and 2 would be specialised


@dataclass(frozen=True)
class Exported:
    """How a graph came about. exporter: `dynamo` (torch.export), or `traced` (TorchScript) where that failed, and then
    `reason` says of what."""

    exporter: Literal["dynamo", "traced"]
    opset: int
    reason: str | None = None


Writer = Callable[[nn.Module, torch.Tensor, Path], None]


def export_onnx(
    predictor: nn.Module, input_size: int, path: Path, exporter: Literal["auto", "dynamo", "traced"] = "auto"
) -> Exported:
    """Write `predictor` to `path` as ONNX, checked by ONNX's own checker.

    predictor: `(B, 3, S, S)` to (boxes `(B, A, 4)`, scores `(B, A, C)`), on the CPU; put into evaluation mode. exporter:
    `auto` is dynamo, and traced where that fails. Raises ParityError when the batch dimension does not stay free, and what
    the exporter raises when it fails.
    """
    if exporter not in ("auto", "dynamo", "traced"):
        raise ConfigError(f"exporter: expected auto, dynamo or traced, got {exporter!r}.")
    predictor.eval()
    example = torch.rand(_EXAMPLE, 3, input_size, input_size)
    path.parent.mkdir(parents=True, exist_ok=True)
    if exporter == "traced":
        return _finished(_traced, predictor, example, path)
    try:
        return _finished(_dynamo, predictor, example, path)
    except Exception as error:  # the exporter raises a class of its own for each of its passes
        if exporter == "dynamo":
            raise
        return replace(_finished(_traced, predictor, example, path), reason=type(error).__name__)


def _finished(write: Writer, predictor: nn.Module, example: torch.Tensor, path: Path) -> Exported:
    write(predictor, example, path)
    graph = _tidied(path, predictor, example)
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, str(path))
    return Exported("dynamo" if write is _dynamo else "traced", OPSET)


def _dynamo(predictor: nn.Module, example: torch.Tensor, path: Path) -> None:
    """By torch.export. A named `Dim` would be specialised to the example's batch in networks that look at their sizes."""
    with _quiet():
        torch.onnx.export(
            predictor,
            (example,),
            path,
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            custom_translation_table={torch.ops.aten._is_all_true.default: _is_all_true},
            external_data=False,
            verbose=False,
        )


def _traced(predictor: nn.Module, example: torch.Tensor, path: Path) -> None:
    """By running it once and writing down what happened: branches are frozen as the example took them."""
    with _quiet():
        torch.onnx.export(
            predictor,
            (example,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: BATCH} for name in (INPUT, *OUTPUTS)},
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say of their own deprecations and of torchvision's operators, which nothing here uses."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)


def _is_all_true(x: BOOL) -> BOOL:
    """torch's `_is_all_true`, which DETR decoders reach by way of a check of their inputs and torchlib does not know."""
    return op.Cast(op.ReduceMin(op.Cast(x, to=onnx.TensorProto.INT32), keepdims=0), to=onnx.TensorProto.BOOL)


def tensors(path: Path) -> tuple[Tensor, list[Tensor]]:
    """The graph's input and outputs as a manifest describes them; free dimensions by name."""
    graph = onnx.load(str(path), load_external_data=False).graph
    return _tensor(graph.input[0]), [_tensor(output) for output in graph.output]


def describe_graph(path: Path, made: Exported) -> dict[str, Any]:
    """How the graph was made, by which versions, and what it is."""
    nodes = [node.op_type for node in onnx.load(str(path), load_external_data=False).graph.node]
    packages = ("torch", "onnx", "onnxscript", "onnxruntime", "transformers")
    return asdict(made) | {
        "versions": {name: version(name) for name in packages},
        "bytes": path.stat().st_size,
        "nodes": len(nodes),
    }


def onnx_run(model: Path | bytes, threads: int | None = None) -> Run:
    """The graph as a function of a batch, on the CPU."""
    session = _session(model, threads)

    def run(batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, scores = session.run(list(OUTPUTS), {INPUT: batch})
        return boxes, scores

    return run


def onnx_outputs(model: bytes, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What any graph answers to its inputs, by the names of its outputs, on the CPU."""
    session = _session(model, None)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _session(model: Path | bytes, threads: int | None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    given = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def torch_run(predictor: nn.Module) -> Run:
    """The predictor as a function of a batch, in fp32 on the device it is on."""
    predictor.eval()
    device = next(predictor.parameters()).device

    @torch.inference_mode()
    def run(batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, scores = predictor(torch.from_numpy(batch).to(device))
        return boxes.float().cpu().numpy(), scores.float().cpu().numpy()

    return run


@torch.inference_mode()
def _tidied(path: Path, predictor: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
    """The graph with its free dimension called `batch`, the outputs' other dimensions given, and without the exporter's
    notes, which hold source lines and local paths. Raises ParityError when the batch dimension is not free."""
    model = onnx.load(str(path))
    graph = model.graph
    free = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    if not free:
        raise ParityError("Expected a graph that takes any batch, the exporter fixed its size.")
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param == free:
                dimension.dim_param = BATCH
        del value.metadata_props[:]
    for output, answer in zip(graph.output, predictor(example), strict=True):
        dimensions = output.type.tensor_type.shape.dim
        dimensions[0].dim_param = BATCH
        for dimension, size in zip(dimensions[1:], answer.shape[1:], strict=True):
            dimension.dim_value = size
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del graph.metadata_props[:], model.metadata_props[:]
    return model


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    dimensions = value.type.tensor_type.shape.dim
    shape = [d.dim_value if d.HasField("dim_value") else d.dim_param for d in dimensions]
    return Tensor(name=value.name, dtype="float32", shape=tuple(shape))

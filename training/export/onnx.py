"""A torch predictor to an ONNX graph with a free batch dimension.

The graph's contract: `images` (batch, 3, S, S) float32 in [0, 1] to `boxes` (batch, anchors, 4) xyxy input pixels and
`scores` (batch, anchors, classes) in [0, 1]. Knows nothing of how the predictor was trained.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import nn

from safelight.bundle import Tensor
from safelight.postprocess import Run

OPSET = 18
INPUT = "images"
OUTPUTS = ("boxes", "scores")


def export_onnx(predictor: nn.Module, input_size: int, path: Path) -> None:
    """Write `predictor` to `path` as ONNX, checked by ONNX's own checker.

    predictor: `(B, 3, S, S)` to (boxes `(B, A, 4)`, scores `(B, A, C)`), in evaluation mode, on the CPU.
    """
    example = torch.rand(3, 3, input_size, input_size)  # a batch of 3: sizes 1 and 2 would be specialised
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of each torchvision operator it will not need
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecations
        torch.onnx.export(
            predictor.eval(),
            (example,),
            path,
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            external_data=False,
            verbose=False,
        )
    graph = onnx.load(str(path))
    _tidy(graph)
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, str(path))


def tensors(path: Path) -> tuple[Tensor, list[Tensor]]:
    """The graph's input and outputs as a manifest describes them; free dimensions by name."""
    graph = onnx.load(str(path), load_external_data=False).graph
    return _tensor(graph.input[0]), [_tensor(output) for output in graph.output]


def onnx_run(model: Path | bytes, threads: int | None = None) -> Run:
    """The graph as a function of a batch, on the CPU."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    session = ort.InferenceSession(
        model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"]
    )

    def run(batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, scores = session.run(list(OUTPUTS), {INPUT: batch})
        return boxes, scores

    return run


def torch_run(predictor: nn.Module) -> Run:
    """The predictor as a function of a batch, in fp32 on the device it is on."""
    predictor.eval()
    device = next(predictor.parameters()).device

    @torch.inference_mode()
    def run(batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, scores = predictor(torch.from_numpy(batch).to(device))
        return boxes.float().cpu().numpy(), scores.float().cpu().numpy()

    return run


def _tidy(model: onnx.ModelProto) -> None:
    """Call the free dimension `batch`, and drop the exporter's notes: they hold source lines and local paths."""
    graph = model.graph
    free = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param == free:
                dimension.dim_param = "batch"
        del value.metadata_props[:]
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del graph.metadata_props[:], model.metadata_props[:]


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    dimensions = value.type.tensor_type.shape.dim
    shape = [d.dim_value if d.HasField("dim_value") else d.dim_param for d in dimensions]
    return Tensor(name=value.name, dtype="float32", shape=tuple(shape))

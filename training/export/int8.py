"""Static int8: weights per channel and symmetric, activations by what real pictures made of them (QDQ graphs).

Knows nothing of metrics: whether the graph that comes out is good enough is for a gate to say. Source: Jacob et al.,
"Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018; ONNX Runtime does it.
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from safelight.errors import ConfigError
from safelight.preprocess import to_tensor
from training.export.onnx import INPUT

INT8 = "model.int8.onnx"
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_TOGETHER = 8  # calibration inputs whose activations are in memory at a time

Method = Literal["minmax", "entropy", "percentile"]
_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


@dataclass(frozen=True)
class Int8:
    """samples: calibration inputs. method: how an activation's range is chosen from what it was: all of it (minmax), what
    keeps its distribution (entropy), all but the outliers (percentile). max_map50_drop: what the graph may lose.
    operators: kinds of node that may be quantised. heads: whether the last weighted nodes before the outputs are, too.
    exclude: further nodes that stay fp32, as shell patterns of their names."""

    enabled: bool
    samples: int
    method: Method
    max_map50_drop: float
    operators: tuple[str, ...]
    heads: bool
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.method not in _METHODS:
            raise ConfigError(f"int8.method: expected one of {sorted(_METHODS)}, got {self.method!r}.")
        if self.samples < 1:
            raise ConfigError(f"int8.samples: expected at least 1, got {self.samples}.")
        if not set(self.operators) & WEIGHTED:
            raise ConfigError(f"int8.operators: expected at least one of {sorted(WEIGHTED)}, got {self.operators}.")


def quantise(graph: Path, pictures: NDArray[np.uint8], settings: Int8, path: Path) -> dict[str, Any]:
    """Write the int8 form of `graph` to `path`, calibrated on pictures `(N, S, S, 3)` uint8.

    Returns how many samples were looked at, how many nodes of which kind became int8, and how many of the weighted ones
    stayed as they were.
    Raises ConfigError when nothing is left to quantise.
    """
    reader = _Reader(pictures)
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        whole = Path(scratch) / "whole.onnx"
        # Shapes are known already, and symbolic inference fails on some DETR graphs.
        quant_pre_process(graph, whole, skip_symbolic_shape=True)
        model = onnx.load(whole)
        chosen = choose(model.graph, settings)
        quantize_static(
            whole,
            path,
            reader,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(settings.operators),
            per_channel=True,
            activation_type=QuantType.QUInt8,  # u8 x s8 is what VNNI multiplies
            weight_type=QuantType.QInt8,
            nodes_to_quantize=[node.name for node in chosen],
            calibrate_method=_METHODS[settings.method],
            extra_options={"CalibStridedMinMax": min(_TOGETHER, len(reader)), "WeightSymmetric": True},
        )
    kinds = Counter(node.op_type for node in chosen)
    kept = Counter(node.op_type for node in model.graph.node if node.op_type in WEIGHTED)
    kept.subtract({kind: kinds[kind] for kind in kept})
    return {"samples": len(reader), "int8_nodes": dict(kinds), "fp32_weighted_nodes": dict(kept)}


def choose(graph: onnx.GraphProto, settings: Int8) -> list[onnx.NodeProto]:
    """The nodes to quantise: of the given kinds, before the tail. The tail is what has no weights behind it on the way to
    the outputs: there scores and boxes are made, and 256 steps are too few for them. Raises ConfigError on none."""
    before_tail = _ancestors(graph)
    chosen = []
    for node in graph.node:
        head = node.op_type in WEIGHTED and node.name not in before_tail
        wanted = node.name in before_tail or (head and settings.heads)
        if (
            wanted
            and node.op_type in settings.operators
            and not any(fnmatch(node.name, pattern) for pattern in settings.exclude)
        ):
            chosen.append(node)
    if not any(node.op_type in WEIGHTED for node in chosen):
        raise ConfigError("int8: no weighted node is left to quantise. Look at int8.operators, heads and exclude.")
    return chosen


def _ancestors(graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes that some weighted node comes after."""
    makers = {output: node for node in graph.node for output in node.output}
    found: set[str] = set()
    waiting = [name for node in graph.node if node.op_type in WEIGHTED for name in node.input]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.name not in found:
            found.add(node.name)
            waiting += node.input
    return found


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime is not typed
    """Network inputs one by one, a range of them at a time; their number is a multiple of `_TOGETHER`, or less than it."""

    def __init__(self, pictures: NDArray[np.uint8]) -> None:
        self._pictures = pictures[: len(pictures) // _TOGETHER * _TOGETHER or len(pictures)]
        self.set_range(0, len(self._pictures))

    def __len__(self) -> int:
        return len(self._pictures)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._left = iter(range(start_index, end_index))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        index = next(self._left, None)
        return None if index is None else {INPUT: to_tensor(self._pictures[index])[None]}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's advice, which comes through the root logger, and the calibrators' progress, which is printed."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)

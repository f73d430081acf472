"""A small convolution network that takes some 2 ms on one thread, so that what a server adds is seen.

Its weights come from a seed; its scores are normalised over each picture, so that there is always about a dozen boxes. It is
a network to be timed: its boxes mean nothing, but they are those of the picture. Knows nothing of servers.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

SIDE, STRIDE, LABELS = 160, 8, ("light", "dark")
_CHANNELS = (16, 32, 64)  # of the three convolutions that halve each side
_BLOCKS = 7  # convolutions at an eighth of the size: what makes it 2 ms; see "infer_ms" in the results
_SPREAD = -2.0  # standard deviations above the mean of a picture's cells that a score of a half stands for


class _Graph:
    def __init__(self, seed: int) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, NDArray[np.generic]] = {}
        self._rng = np.random.default_rng(seed)

    def add(self, operator: str, inputs: list[str], **attributes: object) -> str:
        output = f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.constants[name] = value
        return name

    def convolution(self, x: str, given: int, made: int, stride: int, side: int = 3) -> str:
        weights = self._rng.standard_normal((made, given, side, side), np.float32) * np.sqrt(2 / (given * side * side))
        name = self.constant(f"weights{len(self.nodes)}", weights.astype(np.float32))
        return self.add("Conv", [x, name], kernel_shape=[side, side], strides=[stride] * 2, pads=[side // 2] * 4)


def two_ms_graph(seed: int = 0, blocks: int = _BLOCKS) -> bytes:
    """`images` (B, 3, 160, 160) to `boxes` (B, 400, 4) xyxy input pixels and `scores` (B, 400, 2)."""
    graph, x, channels = _Graph(seed), "images", 3
    for wanted in _CHANNELS:
        x, channels = graph.add("Relu", [graph.convolution(x, channels, wanted, 2)]), wanted
    for _ in range(blocks):
        x = graph.add("Relu", [graph.convolution(x, channels, channels, 1)])
    x = graph.convolution(x, channels, len(LABELS), 1, side=1)
    one = graph.constant("one", np.ones(len(LABELS), np.float32))
    shift = graph.constant("shift", np.full(len(LABELS), _SPREAD, np.float32))
    x = graph.add("Sigmoid", [graph.add("InstanceNormalization", [x, one, shift])])
    flat = graph.constant("flat", np.array([0, len(LABELS), -1], np.int64))
    graph.nodes.append(helper.make_node("Transpose", [graph.add("Reshape", [x, flat])], ["scores"], perm=[0, 2, 1]))
    last = graph.constant("last", np.array([2], np.int64))
    sums = graph.add("ReduceSum", ["scores", last], keepdims=1)
    graph.nodes.append(helper.make_node("Add", [sums, graph.constant("cells", _cells()[None])], ["boxes"]))
    return _model(graph)


def _cells() -> NDArray[np.float32]:
    """(400, 4): squares of three cells a side, one around each cell."""
    y, x = np.mgrid[: SIDE // STRIDE, : SIDE // STRIDE].reshape(2, -1) * STRIDE
    return np.stack([x - STRIDE, y - STRIDE, x + 2 * STRIDE, y + 2 * STRIDE], axis=1).astype(np.float32)


def _model(graph: _Graph) -> bytes:
    anchors = (SIDE // STRIDE) ** 2
    made = helper.make_graph(
        graph.nodes,
        "two-ms",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["batch", anchors, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", anchors, len(LABELS)]),
        ],
        [numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def two_ms_manifest() -> dict[str, object]:
    """What its manifest says, beside what every manifest says."""
    anchors = (SIDE // STRIDE) ** 2
    return {
        "labels": LABELS,
        "input": {"name": "images", "dtype": "float32", "shape": ("batch", 3, SIDE, SIDE)},
        "outputs": (
            {"name": "boxes", "dtype": "float32", "shape": ("batch", anchors, 4)},
            {"name": "scores", "dtype": "float32", "shape": ("batch", anchors, len(LABELS))},
        ),
        "preprocess": {"mode": "letterbox", "input_size": SIDE},
        "thresholds": {"score": 0.5, "nms_iou": 0.5, "floor": 0.01},
    }

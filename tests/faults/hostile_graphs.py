"""Detectors that find squares as `colour_graph` does, until a picture with some blue in it comes: then one raises, and one runs
on for hours."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.serving.graphs import colour_graph


def raising() -> bytes:
    """Looks an index up that is there only without blue: ONNX Runtime refuses the run."""
    nodes = [helper.make_node("Gather", ["one_zero", "count"], ["harmless"])]
    return _with_blue(nodes, [numpy_helper.from_array(np.zeros(1, np.float32), "one_zero")], most=1000)


def hanging() -> bytes:
    """Counts to some billions, a step at a time; without blue, to none."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["sum_in", "nought"], ["sum_out"]),
            helper.make_node("Identity", ["go_in"], ["go_out"]),
        ],
        "count",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum_in", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum_out", TensorProto.FLOAT, []),
        ],
        [numpy_helper.from_array(np.array(0, np.float32), "nought")],
    )
    constants = [
        numpy_helper.from_array(np.array(True), "go"),
        numpy_helper.from_array(np.array(0, np.float32), "begin"),
    ]
    return _with_blue(
        [helper.make_node("Loop", ["count", "go", "begin"], ["harmless"], body=body)], constants, most=4e9
    )


def _with_blue(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], *, most: float) -> bytes:
    """`colour_graph`, with `harmless` added to its boxes, a zero that `nodes` make out of `count`: int64, `most` at full
    blue."""
    model = onnx.load_from_string(colour_graph())
    graph = model.graph
    last = next(node for node in graph.node if node.output[0] == "boxes")
    last.output[0] = "plain_boxes"
    graph.node.extend([
        helper.make_node("Gather", ["images", "blue"], ["blues"], axis=1),
        helper.make_node("ReduceMax", ["blues"], ["bluest"], keepdims=0),
        helper.make_node("Mul", ["bluest", "most"], ["much"]),
        helper.make_node("Cast", ["much"], ["count"], to=TensorProto.INT64),
        *nodes,
        helper.make_node("Add", ["plain_boxes", "harmless"], ["boxes"]),
    ])  # fmt: skip
    graph.initializer.extend([
        numpy_helper.from_array(np.array([2], np.int64), "blue"),
        numpy_helper.from_array(np.array(most, np.float32), "most"),
        *constants,
    ])  # fmt: skip
    onnx.checker.check_model(model)
    return model.SerializeToString()

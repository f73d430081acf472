"""What is folded into a graph is done to its input, in either order of its dimensions, wherever the input is read."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from safelight.errors import ConfigError
from training.export.folding import Wanted, folded

MEAN, STD = (0.5, 0.25, 0.125), (0.5, 2.0, 4.0)
KINDS = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16, TensorProto.UINT8: np.uint8}


def through(shape: list[int], kind: int = TensorProto.FLOAT) -> bytes:
    """A graph that gives its input back, read once outside and once inside a branch."""

    def branch(name: str) -> onnx.GraphProto:
        return helper.make_graph(
            [helper.make_node("Identity", ["in"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, kind, shape)],
        )

    nodes = [
        helper.make_node("Identity", ["in"], ["outside"]),
        helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("v", TensorProto.BOOL, [], [True])),
        helper.make_node("If", ["yes"], ["inside"], then_branch=branch("one"), else_branch=branch("other")),
    ]
    outputs = [helper.make_tensor_value_info(name, kind, shape) for name in ("outside", "inside")]
    graph = helper.make_graph(nodes, "through", [helper.make_tensor_value_info("in", kind, shape)], outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


def run(graph: bytes, values: np.ndarray) -> list[np.ndarray]:
    return ort.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(["outside", "inside"], {"in": values})


@pytest.mark.parametrize("axis", [1, 3])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_the_input_is_turned_scaled_and_centred(axis, kind, rng):
    pixels = rng.integers(0, 9, (2, 4, 4, 3)).astype(KINDS[kind]) / 8
    expected = (pixels[..., ::-1] * 255 - np.array(MEAN)) / np.array(STD)
    if axis == 1:
        pixels, expected = pixels.transpose(0, 3, 1, 2), expected.transpose(0, 3, 1, 2)
    graph = folded(through(list(pixels.shape), kind), Wanted(True, 255.0, MEAN, STD), "in", axis)
    for answer in run(graph, np.ascontiguousarray(pixels)):
        np.testing.assert_allclose(answer, expected, rtol=1e-5 if kind == TensorProto.FLOAT else 2e-3)


def test_where_nothing_is_wanted_the_bytes_stay():
    graph = through([1, 3, 2, 2])
    assert folded(graph, Wanted(), "in", 1) is graph


def test_bytes_are_turned_but_not_scaled():
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 3, 2, 2)
    graph = through([1, 3, 2, 2], TensorProto.UINT8)
    assert (run(folded(graph, Wanted(bgr=True), "in", 1), pixels)[1] == pixels[:, ::-1]).all()
    with pytest.raises(ConfigError, match="scales them itself"):
        folded(graph, Wanted(scale=2.0), "in", 1)


@pytest.mark.parametrize("wrong", [{"scale": 0.0}, {"std": (1.0, 0.0, 1.0)}, {"mean": (1.0, 2.0)}])
def test_numbers_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError):
        Wanted(**wrong)

"""What a network wants done to its pictures, put into its graph, so that it takes what every network of ours takes: RGB in
[0, 1].

Knows nothing of where the graph came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from safelight.errors import ConfigError

_FLOATS = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}
_PREFIX = "safelight_"


@dataclass(frozen=True)
class Wanted:
    """bgr: blue first. scale: what a channel is multiplied by (255 for graphs that take 0 to 255), before mean and std, which
    are given in the network's own order of channels."""

    bgr: bool = False
    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.std) != 3:
            raise ConfigError("Expected three numbers for mean and for std.")
        if self.scale <= 0 or min(self.std) <= 0:
            raise ConfigError("Expected a scale and deviations above zero.")

    @property
    def plain(self) -> bool:
        """Whether nothing is to be done."""
        return self == Wanted()


def folded(graph: bytes, wanted: Wanted, name: str, channel_axis: int) -> bytes:
    """The graph with `wanted` done to its input first; the very same bytes where that is nothing.

    name: of the input. channel_axis: 1 or 3. Raises ConfigError when numbers are to be scaled and the input takes bytes: such a
    graph does so itself.
    """
    if wanted.plain:
        return graph
    model = onnx.load_from_string(graph)
    kind = next(value.type.tensor_type.elem_type for value in model.graph.input if value.name == name)
    constants: list[onnx.TensorProto] = []
    steps: list[tuple[str, NDArray[np.generic], dict[str, int]]] = []
    if wanted.bgr:
        steps.append(("Gather", np.array([2, 1, 0], np.int64), {"axis": channel_axis}))
    if wanted != Wanted(bgr=wanted.bgr):
        if kind not in _FLOATS:
            raise ConfigError("Expected an input of floats to scale; a graph that takes bytes scales them itself.")
        std, mean = np.array(wanted.std), np.array(wanted.mean)
        steps.append(("Mul", _along(wanted.scale / std, channel_axis, kind), {}))
        steps.append(("Sub", _along(mean / std, channel_axis, kind), {}))
    nodes, last = [], name
    for number, (operator, value, attributes) in enumerate(steps):
        constants.append(numpy_helper.from_array(value, f"{_PREFIX}constant_{number}"))
        nodes.append(helper.make_node(operator, [last, constants[-1].name], [f"{_PREFIX}input_{number}"], **attributes))
        last = nodes[-1].output[0]
    _renamed(model.graph.node, name, last)
    for number, node in enumerate(nodes):
        model.graph.node.insert(number, node)
    model.graph.initializer.extend(constants)
    folded_graph: bytes = model.SerializeToString(deterministic=True)
    return folded_graph


def _along(values: NDArray[np.float64], channel_axis: int, kind: int) -> NDArray[np.generic]:
    shape = [1, 1, 1, 1]
    shape[channel_axis] = 3
    return values.reshape(shape).astype(_FLOATS[kind])


def _renamed(nodes: Sequence[onnx.NodeProto], old: str, new: str) -> None:
    """Have these nodes, and the graphs inside them, read `new` where they read `old`."""
    for node in nodes:
        for place, given in enumerate(node.input):
            if given == old:
                node.input[place] = new
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _renamed(inner.node, old, new)

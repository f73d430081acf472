"""Small ONNX graphs that see what `colour_graph` sees and say it as the heads of other networks do.

Each takes squares of 64 pixels and has 64 cells of 8 pixels; the score of a cell is the mean of its red (person) or green
(cat). What stands for a layout here is written after its documentation, independently of the code that reads it.
"""

from __future__ import annotations

import itertools

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from safelight.heads import Anchors, HeadName
from tests.serving.graphs import CELL, SIDE, cell_boxes

CELLS = CELL * CELL
LAYOUTS: dict[str, tuple[HeadName, tuple[str, ...]]] = {
    "ours": ("boxes-scores", ("boxes", "scores")),
    "yolov3-maps": ("yolov3", ("coarse", "fine")),
    "yolov3-rows": ("yolov3", ("output",)),
    "yolov5": ("yolov5", ("output0",)),
    "yolov8": ("yolov8", ("output0",)),
    "yolov8-turned": ("yolov8", ("output0",)),
    "yolo-end2end": ("yolo-end2end", ("output0",)),
    "yolo-nas": ("yolo-nas", ("904", "913")),
    "yolo-nas-flat": ("yolo-nas-nms", ("graph2_flat_predictions",)),
    "yolo-nas-batch": ("yolo-nas-nms", ("num_predictions", "pred_boxes", "pred_scores", "pred_classes")),
    "detr-sigmoid": ("detr", ("logits", "pred_boxes")),
    "detr-softmax": ("detr", ("logits", "pred_boxes")),
    "rf-detr": ("detr", ("dets", "labels")),
}
"""Layout: its head, and the names of the outputs in the graph's order."""

ANCHORS: Anchors = (((8.0, 8.0),), ((16.0, 16.0),))
"""Of the layout `yolov3-maps`."""

_TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}


class Maker:
    """A graph under construction, computed in one float type."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._names = (f"value{number}" for number in itertools.count())

    def op(self, kind: str, *inputs: str | np.ndarray | float, to: str | None = None, **attributes: object) -> str:
        """One node; arrays and numbers become constants, in the graph's float type where they have fractions."""
        name = to or next(self._names)
        given = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self.nodes.append(helper.make_node(kind, given, [name], **attributes))
        return name

    def cast(self, value: str, kind: int) -> str:
        name = next(self._names)
        self.nodes.append(helper.make_node("Cast", [value], [name], to=kind))
        return name

    def constant(self, value: np.ndarray | float) -> str:
        array = np.asarray(value)
        name = next(self._names)
        cast = array.astype(self.dtype) if array.dtype.kind == "f" else array
        self.constants.append(numpy_helper.from_array(cast, name))
        return name


def head_graph(
    layout: str, dtype: str = "float32", channels: str = "first", batch: int | str = "batch", opset: int = 18
) -> bytes:
    """dtype: of the input; floats are the outputs' too. channels: `first` or `last`. batch: its size, or a name."""
    made = Maker("float32" if dtype == "uint8" else dtype)
    pictures = "images"
    if dtype == "uint8":
        pictures = made.op("Div", made.cast(pictures, TensorProto.FLOAT), 255.0)
    if channels == "last":
        pictures = made.op("Transpose", pictures, perm=[0, 3, 1, 2])
    scores = _scores(made, pictures)
    zeros = made.op("Mul", made.op("ReduceSum", scores, np.array([2]), keepdims=1), 0.0)
    _SAYS[layout](made, scores, zeros)
    shape = [batch, 3, SIDE, SIDE] if channels == "first" else [batch, SIDE, SIDE, 3]
    graph = helper.make_graph(
        made.nodes,
        "head",
        [helper.make_tensor_value_info("images", _TYPES[dtype], shape)],
        [_declared(name, layout, made.dtype, batch) for name in LAYOUTS[layout][1]],
        made.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def output_shapes(layout: str, batch: int | str) -> dict[str, tuple[int | str, ...]]:
    """The shape of each output of a layout."""
    two, seven = (batch, CELLS, 2), (batch, CELLS, 7)
    boxes = (batch, CELLS, 4)
    shapes: dict[str, tuple[tuple[int | str, ...], ...]] = {
        "ours": (boxes, two),
        "yolov3-maps": ((batch, 7, 4, 4), (batch, 7, 8, 8)),
        "yolov3-rows": (seven,),
        "yolov5": (seven,),
        "yolov8": ((batch, 6, CELLS),),
        "yolov8-turned": ((batch, CELLS, 6),),
        "yolo-end2end": ((batch, CELLS, 6),),
        "yolo-nas": (boxes, two),
        "yolo-nas-flat": (("found", 7),),
        "yolo-nas-batch": ((batch, 1), boxes, (batch, CELLS), (batch, CELLS)),
        "detr-sigmoid": (two, boxes),
        "detr-softmax": ((batch, CELLS, 3), boxes),
        "rf-detr": (boxes, (batch, CELLS, 3)),
    }
    return dict(zip(LAYOUTS[layout][1], shapes[layout], strict=True))


def output_dtype(name: str, dtype: str) -> str:
    """The element type of an output of a graph whose input is of this type."""
    return "int64" if name in ("num_predictions", "pred_classes") else "float32" if dtype == "uint8" else dtype


def described(layout: str, dtype: str = "float32", channels: str = "first", batch: int | str = "batch") -> dict:
    """What a manifest says of such a graph."""
    shape = (batch, 3, SIDE, SIDE) if channels == "first" else (batch, SIDE, SIDE, 3)
    return {
        "input": {"name": "images", "dtype": dtype, "shape": shape},
        "outputs": tuple(
            {"name": name, "dtype": output_dtype(name, dtype), "shape": sizes}
            for name, sizes in output_shapes(layout, batch).items()
        ),
        "head": LAYOUTS[layout][0],
        "anchors": ANCHORS if layout == "yolov3-maps" else None,
    }


def _declared(name: str, layout: str, dtype: str, batch: int | str) -> onnx.ValueInfoProto:
    kind = TensorProto.INT64 if output_dtype(name, dtype) == "int64" else _TYPES[dtype]
    return helper.make_tensor_value_info(name, kind, list(output_shapes(layout, batch)[name]))


def _scores(made: Maker, pictures: str) -> str:
    """(B, 64, 2): red and green of each cell."""
    colours = made.op("Gather", pictures, np.array([0, 1]), axis=1)
    cell = SIDE // CELL
    means = made.op("AveragePool", colours, kernel_shape=[cell, cell], strides=[cell, cell])
    return made.op("Transpose", made.op("Reshape", means, np.array([0, 2, CELLS])), perm=[0, 2, 1])


def _centres() -> np.ndarray:
    corners = cell_boxes()[None]
    return np.concatenate([(corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]], axis=2)


def _logits(made: Maker, scores: str, to: str | None = None) -> str:
    inside = made.op("Clip", scores, 0.001, 0.999)
    return made.op("Log", made.op("Div", inside, made.op("Sub", 1.0, inside)), to=to)


def _best(made: Maker, scores: str) -> tuple[str, str]:
    """(B, 64, 1): the better score of each cell, and its class."""
    return (
        made.op("ReduceMax", scores, np.array([2]), keepdims=1),
        made.op("ArgMax", scores, axis=2, keepdims=1),
    )


def _floats(made: Maker, whole: str) -> str:
    return made.cast(whole, _TYPES[made.dtype])


def _ours(made: Maker, scores: str, zeros: str) -> None:
    made.op("Add", zeros, cell_boxes()[None], to="boxes")
    made.op("Identity", scores, to="scores")


def _maps(made: Maker, scores: str, zeros: str) -> None:
    """The fine map has the cells; the coarse one sees nothing."""
    best, _ = _best(made, scores)
    shares = made.op("Div", scores, made.op("Max", best, 0.001))
    rows = made.op(
        "Concat",
        made.op("Expand", zeros, np.array([1, 1, 4])),  # tx, ty, tw, th: the middle of the cell, the anchor's size
        _logits(made, best),
        _logits(made, shares),
        axis=2,
    )
    turned = made.op("Transpose", rows, perm=[0, 2, 1])
    made.op("Reshape", turned, np.array([0, 7, CELL, CELL]), to="fine")
    pooled = made.op("AveragePool", "fine", kernel_shape=[2, 2], strides=[2, 2])
    made.op("Sub", made.op("Mul", pooled, 0.0), 20.0, to="coarse")


def _objectness(name: str):
    def says(made: Maker, scores: str, zeros: str) -> None:
        best, _ = _best(made, scores)
        shares = made.op("Div", scores, made.op("Max", best, 0.001))
        made.op("Concat", made.op("Add", zeros, _centres()), best, shares, axis=2, to=name)

    return says


def _yolov8(made: Maker, scores: str, zeros: str) -> None:
    rows = made.op("Concat", made.op("Add", zeros, _centres()), scores, axis=2)
    made.op("Transpose", rows, perm=[0, 2, 1], to="output0")


def _yolov8_turned(made: Maker, scores: str, zeros: str) -> None:
    made.op("Concat", made.op("Add", zeros, _centres()), scores, axis=2, to="output0")


def _end2end(made: Maker, scores: str, zeros: str) -> None:
    best, class_id = _best(made, scores)
    boxes = made.op("Add", zeros, cell_boxes()[None])
    made.op("Concat", boxes, best, _floats(made, class_id), axis=2, to="output0")


def _nas(made: Maker, scores: str, zeros: str) -> None:
    made.op("Add", zeros, cell_boxes()[None], to="904")
    made.op("Identity", scores, to="913")


def _flat(made: Maker, scores: str, zeros: str) -> None:
    """A row for each cell of at least a quarter's brightness."""
    best, class_id = _best(made, scores)
    boxes = made.op("Add", zeros, cell_boxes()[None])
    rows = made.op("Concat", boxes, best, _floats(made, class_id), axis=2)
    bright = made.op("NonZero", made.op("Greater", made.op("Squeeze", best, np.array([2])), 0.25))
    places = made.op("Transpose", bright, perm=[1, 0])
    picture = _floats(made, made.op("Gather", places, np.array([0]), axis=1))
    made.op("Concat", picture, made.op("GatherND", rows, places), axis=1, to=LAYOUTS["yolo-nas-flat"][1][0])


def _batch(made: Maker, scores: str, zeros: str) -> None:
    """The cells by brightness; after those of at least a quarter's, nothing but -1."""
    best, class_id = _best(made, scores)
    sorted_names = ["best", "order"]
    made.nodes.append(helper.make_node("TopK", [best, made.constant(np.array([CELLS]))], sorted_names, axis=1))
    boxes = made.op("Add", zeros, cell_boxes()[None])
    ordered = made.op("GatherElements", boxes, made.op("Expand", "order", np.array([1, 1, 4])), axis=1)
    classes = made.op("GatherElements", class_id, "order", axis=1)
    real = made.op("Greater", "best", 0.25)
    counted = made.cast(real, TensorProto.INT64)
    made.op("ReduceSum", made.op("Squeeze", counted, np.array([2])), np.array([1]), to="num_predictions")
    made.op("Where", real, ordered, -1.0, to="pred_boxes")
    made.op("Squeeze", made.op("Where", real, "best", -1.0), np.array([2]), to="pred_scores")
    made.op("Squeeze", made.op("Where", real, classes, np.array(-1)), np.array([2]), to="pred_classes")


def _detr_sigmoid(made: Maker, scores: str, zeros: str) -> None:
    _logits(made, scores, to="logits")
    made.op("Add", zeros, _centres() / SIDE, to="pred_boxes")


def _detr_softmax(made: Maker, scores: str, zeros: str) -> None:
    rest = made.op("Sub", 1.0, made.op("ReduceSum", scores, np.array([2]), keepdims=1))
    shares = made.op("Concat", scores, rest, axis=2)
    made.op("Add", made.op("Log", made.op("Max", shares, 0.001)), 2.0, to="logits")
    made.op("Add", zeros, _centres() / SIDE, to="pred_boxes")


def _rf_detr(made: Maker, scores: str, zeros: str) -> None:
    made.op("Concat", _logits(made, scores), made.op("Add", zeros, 3.0), axis=2, to="labels")
    made.op("Add", zeros, _centres() / SIDE, to="dets")


_SAYS = {
    "ours": _ours,
    "yolov3-maps": _maps,
    "yolov3-rows": _objectness("output"),
    "yolov5": _objectness("output0"),
    "yolov8": _yolov8,
    "yolov8-turned": _yolov8_turned,
    "yolo-end2end": _end2end,
    "yolo-nas": _nas,
    "yolo-nas-flat": _flat,
    "yolo-nas-batch": _batch,
    "detr-sigmoid": _detr_sigmoid,
    "detr-softmax": _detr_softmax,
    "rf-detr": _rf_detr,
}

"""Small ONNX graphs and signed bundles for the tests of serving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from safelight.bundle import MODEL, Champion, Manifest, write_bundle, write_champion

SIDE, CELL = 64, 8
LABELS = ("person", "cat")


def cell_boxes() -> np.ndarray:
    """(64, 4) float32: the 8 x 8 cells of the input, row by row."""
    y, x = np.mgrid[:CELL, :CELL].reshape(2, -1) * (SIDE // CELL)
    return np.stack([x, y, x + SIDE // CELL, y + SIDE // CELL], axis=1).astype(np.float32)


def colour_graph(
    classes: int = 2, side: int = SIDE, outputs: tuple[str, str] = ("boxes", "scores"), swapped: bool = False
) -> bytes:
    """A detector that sees a person in each red cell and a cat in each green one, or the other way round; the score is the
    colour's mean."""
    boxes, scores = outputs
    cell = side // CELL
    constants = {
        "channels": np.array(range(classes)[:: -1 if swapped else 1], np.int64),
        "flat": np.array([0, classes, CELL * CELL], np.int64),
        "last": np.array([2], np.int64),
        "nothing": np.zeros(1, np.float32),
        "cells": cell_boxes()[None],
    }
    nodes = [
        helper.make_node("Gather", ["images", "channels"], ["colours"], axis=1),
        helper.make_node("AveragePool", ["colours"], ["means"], kernel_shape=[cell, cell], strides=[cell, cell]),
        helper.make_node("Reshape", ["means", "flat"], ["rows"]),
        helper.make_node("Transpose", ["rows"], [scores], perm=[0, 2, 1]),
        helper.make_node("ReduceSum", [scores, "last"], ["sums"], keepdims=1),
        helper.make_node("Mul", ["sums", "nothing"], ["zeros"]),
        helper.make_node("Add", ["zeros", "cells"], [boxes]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, side, side])],
        [
            helper.make_tensor_value_info(boxes, TensorProto.FLOAT, ["batch", CELL * CELL, 4]),
            helper.make_tensor_value_info(scores, TensorProto.FLOAT, ["batch", CELL * CELL, classes]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def manifest(name: str = "coco", version: str = "v1", **changes: object) -> Manifest:
    values = {
        "name": name,
        "version": version,
        "task": "object-detection",
        "labels": LABELS,
        "input": {"name": "images", "dtype": "float32", "shape": ("batch", 3, SIDE, SIDE)},
        "outputs": (
            {"name": "boxes", "dtype": "float32", "shape": ("batch", "anchors", 4)},
            {"name": "scores", "dtype": "float32", "shape": ("batch", "anchors", 2)},
        ),
        "preprocess": {"mode": "letterbox", "input_size": SIDE},
        "thresholds": {"score": 0.6, "nms_iou": 0.5},
        "metrics": {"map50": 0.5},
        "parity": {},
        "data_digest": None,
        "git_commit": "0" * 40,
        "configuration": {},
        "licence": "MIT",
        "files": {},
    }
    return Manifest.model_validate({**values, **changes})


def promote(
    bundles: Path,
    private_key: Path,
    graph: bytes | None = None,
    graphs: dict[str, bytes] | None = None,
    **changes: object,
) -> Path:
    """Write, sign and promote a bundle, with the graphs of its variants; returns its folder."""
    described = manifest(**changes)  # type: ignore[arg-type]
    folder = bundles / described.name / described.version
    whole = colour_graph() if graph is None else graph
    digest = write_bundle(folder, described, {MODEL: whole, **(graphs or {})}, "# A card", private_key)
    write_champion(folder.parent, Champion(name=described.name, version=described.version, digest=digest))
    return folder

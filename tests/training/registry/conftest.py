"""A copy of an empty registry for each test, and a small graph to register."""

from __future__ import annotations

import shutil

import onnx
import pytest
from onnx import TensorProto, helper


@pytest.fixture
def uri(empty_registry, in_tmp):
    shutil.copy(empty_registry, in_tmp / "mlflow.db")
    return f"sqlite:///{in_tmp}/mlflow.db"


@pytest.fixture
def graph(in_tmp):
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 2]) for n in ("images", "boxes")]
    made = helper.make_graph([helper.make_node("Relu", ["images"], ["boxes"])], "g", value[:1], value[1:])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), "model.onnx")
    return in_tmp / "model.onnx"

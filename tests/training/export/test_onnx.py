"""Graphs take any batch whichever exporter made them, and say which it was."""

import numpy as np
import onnx
import pytest
import torch

from safelight.errors import ConfigError
from tests.training.export.nets import Checked, Fixed, Grid, Looped
from training.export.onnx import describe_graph, export_onnx, onnx_run, tensors, torch_run


@pytest.mark.parametrize(
    ("predictor", "wanted", "exporter", "reason"),
    [
        (Checked, "auto", "dynamo", False),
        (Grid, "traced", "traced", False),
        (Looped, "auto", "traced", True),
    ],
)
def test_the_graph_answers_at_any_batch(tmp_path, rng, predictor, wanted, exporter, reason):
    net, path = predictor(), tmp_path / "model.onnx"
    made = export_onnx(net.train(), 32, path, wanted)
    assert (made.exporter, made.opset, made.reason is not None) == (exporter, 18, reason)
    assert not net.training
    inputs = rng.random((8, 3, 32, 32), dtype=np.float32)
    for size in (1, 2, 8):
        for mine, theirs in zip(onnx_run(path)(inputs[:size]), torch_run(net)(inputs[:size]), strict=True):
            assert np.abs(mine - theirs).max() < 1e-4
    graph_input, outputs = tensors(path)
    assert graph_input.shape == ("batch", 3, 32, 32)
    assert [output.shape for output in outputs] == [("batch", 16, 4), ("batch", 16, 1)]
    assert b".py" not in path.read_bytes() and b"/" + tmp_path.parts[1].encode() not in path.read_bytes()


def test_a_graph_with_a_fixed_batch_is_refused(tmp_path, rng):
    with pytest.raises(Exception, match=r"(?i)dynamic|batch|constraint|specializ"):
        export_onnx(Fixed(), 32, tmp_path / "model.onnx", "dynamo")


def test_an_unknown_exporter_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="exporter"):
        export_onnx(Grid(), 32, tmp_path / "model.onnx", "best")  # type: ignore[arg-type]


def test_the_description_is_of_the_graph(tmp_path):
    path = tmp_path / "model.onnx"
    found = describe_graph(path, export_onnx(Grid(), 32, path, "traced"))
    assert found["nodes"] == len(onnx.load(path).graph.node) > 5
    assert found["bytes"] == path.stat().st_size
    assert found["versions"]["torch"] == torch.__version__
    assert found["exporter"] == "traced" and found["opset"] == 18

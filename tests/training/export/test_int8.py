"""int8 graphs: what is quantised, what stays, and that they answer nearly the same."""

from collections import Counter

import numpy as np
import onnx
import pytest

from safelight.errors import ConfigError
from tests.training.export.nets import Grid
from training.export.int8 import Int8, choose, quantise
from training.export.onnx import export_onnx, onnx_run


def settings(**changes):
    values = {
        "enabled": True,
        "samples": 8,
        "method": "minmax",
        "max_map50_drop": 0.01,
        "operators": ("Conv", "LeakyRelu", "Mul"),
        "heads": False,
    }
    return Int8(**{**values, **changes})


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "model.onnx"
    export_onnx(Grid(), 32, path, "traced")
    return path


@pytest.fixture
def pictures(rng):
    return rng.integers(0, 256, (8, 32, 32, 3), np.uint8)


def chosen(graph, **changes):
    return Counter(node.op_type for node in choose(onnx.load(graph).graph, settings(**changes)))


def test_what_comes_after_the_last_weights_stays(graph):
    assert Counter(node.op_type for node in onnx.load(graph).graph.node)["Mul"] >= 1
    assert chosen(graph) == {"Conv": 1, "LeakyRelu": 1}
    assert chosen(graph, heads=True) == {"Conv": 2, "LeakyRelu": 1}
    assert chosen(graph, operators=("Conv",)) == {"Conv": 1}
    assert chosen(graph, heads=True, exclude=("*stem*",)) == {"Conv": 1, "LeakyRelu": 1}


def test_nothing_left_is_an_error(graph):
    with pytest.raises(ConfigError, match="no weighted node"):
        chosen(graph, exclude=("*",))
    with pytest.raises(ConfigError, match="no weighted node"):
        chosen(graph, operators=("Gemm", "LeakyRelu"))


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_the_graph_answers_nearly_the_same(graph, pictures, tmp_path, method, capsys):
    small = tmp_path / "model.int8.onnx"
    made = quantise(graph, pictures, settings(method=method, heads=True), small)
    assert made == {
        "samples": 8,
        "int8_nodes": {"Conv": 2, "LeakyRelu": 1},
        "fp32_weighted_nodes": {"Conv": 0},
    }
    weights = [onnx.numpy_helper.to_array(value) for value in onnx.load(small).graph.initializer]
    per_channel = [value.shape for value in weights if value.dtype == np.int8 and value.ndim == 4]
    assert sorted(per_channel) == [(5, 8, 2, 2), (8, 3, 4, 4)]
    assert any(value.shape == (8,) and value.dtype == np.float32 for value in weights), "a scale for each channel"
    assert capsys.readouterr().out == ""
    inputs = pictures.transpose(0, 3, 1, 2).astype(np.float32) / 255
    for size in (1, 2, 8):
        (boxes, scores), (q_boxes, q_scores) = onnx_run(graph)(inputs[:size]), onnx_run(small)(inputs[:size])
        assert 0 < np.abs(scores - q_scores).max() < 0.1
        assert np.abs(boxes[..., :2] - q_boxes[..., :2]).max() < 3


def test_calibration_decides(graph, pictures, tmp_path):
    """Activations are cut to what the samples showed: black pictures are poor samples."""
    inputs = pictures.transpose(0, 3, 1, 2).astype(np.float32) / 255
    truth = onnx_run(graph)(inputs)[1]
    drifts = []
    for name, samples in {"real": pictures, "black": np.zeros_like(pictures)}.items():
        quantise(graph, samples, settings(), tmp_path / name)
        drifts.append(float(np.abs(onnx_run(tmp_path / name)(inputs)[1] - truth).max()))
    assert drifts[0] * 3 < drifts[1]


@pytest.mark.parametrize("count", [1, 5, 8, 19])
def test_any_number_of_samples(graph, rng, tmp_path, count):
    made = quantise(graph, rng.integers(0, 256, (count, 32, 32, 3), np.uint8), settings(), tmp_path / "q.onnx")
    assert made["samples"] == {1: 1, 5: 5, 8: 8, 19: 16}[count]


def test_the_same_twice(graph, pictures, tmp_path):
    for name in "ab":
        quantise(graph, pictures, settings(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("bad", [{"method": "best"}, {"samples": 0}, {"operators": ("Sigmoid",)}])
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(ConfigError, match=f"int8.{next(iter(bad))}"):
        settings(**bad)

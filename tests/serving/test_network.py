"""How a network is opened, fed and ended: providers, inputs that are refused, runs that are stopped on their way."""

from __future__ import annotations

import threading
import time

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from safelight.errors import ConfigError, ManifestInvalid, ModelUnavailable
from safelight.heads import Output
from serving.models.inputs import feed_of
from serving.models.network import open_network
from serving.models.providers import available
from tests.serving.graphs import CELL, LABELS, SIDE, cell_boxes, manifest
from tests.serving.head_graphs import LAYOUTS, described, head_graph


def slow_graph() -> bytes:
    """Boxes and scores of zero; where a picture has a white pixel in its corner, after a loop of 2 ** 40 rounds."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes_on"]),
            helper.make_node("Sin", ["value"], ["next"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [1]),
        ],
    )
    constants = {
        "first": np.zeros(4, np.int64),
        "second": np.ones(4, np.int64),
        "axes": np.arange(4),
        "rounds": np.array(2.0**40, np.float32),
        "none": np.zeros(1, np.float32),
        "cells": cell_boxes()[None],
        "scores_once": np.zeros((1, CELL * CELL, len(LABELS)), np.float32),
        "three": np.array([1, 1, 1], np.int64),
    }
    nodes = [
        helper.make_node("Slice", ["images", "first", "second", "axes"], ["corner"]),
        helper.make_node("ReduceMax", ["corner"], ["brightness"], keepdims=0),
        helper.make_node("Mul", ["brightness", "rounds"], ["many"]),
        helper.make_node("Cast", ["many"], ["count"], to=TensorProto.INT64),
        helper.make_node("Loop", ["count", "", "none"], ["result"], body=body),
        helper.make_node("Reshape", ["result", "three"], ["zeros"]),
        helper.make_node("Add", ["cells", "zeros"], ["boxes"]),
        helper.make_node("Mul", ["scores_once", "zeros"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, CELL * CELL, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, CELL * CELL, len(LABELS)]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


SLOW = slow_graph()
BRIGHT = np.ones((1, 3, SIDE, SIDE), np.float32)
DARK = np.zeros((1, 3, SIDE, SIDE), np.float32)


def slow_network():
    return open_network(manifest(), SLOW, threads=1, provider="cpu", warm_batches=(1, 8))


class Caller(threading.Thread):
    """Runs a network once; keeps what it raised."""

    def __init__(self, network, batch):
        super().__init__(daemon=True)
        self.network, self.batch, self.raised, self.ended = network, batch, None, 0.0

    def run(self):
        try:
            self.network(self.batch)
        except Exception as error:
            self.raised = error
        self.ended = time.monotonic()


@pytest.mark.parametrize("batch", [BRIGHT, np.concatenate([DARK, BRIGHT, DARK])])
def test_runs_under_way_are_ended_and_later_ones_are_not(batch):
    network = slow_network()
    callers = [Caller(network, batch) for _ in range(2)]
    for caller in callers:
        caller.start()
    callers[0].join(0.3)
    assert all(caller.is_alive() for caller in callers)
    ordered = time.monotonic()
    network.terminate()
    for caller in callers:
        caller.join(5)
        assert not caller.is_alive() and caller.ended - ordered < 1
        assert isinstance(caller.raised, ModelUnavailable) and caller.raised.retryable
    boxes, scores = network(DARK)
    assert boxes.shape == (1, CELL * CELL, 4) and not scores.any()
    network.terminate()
    network(DARK)


def test_what_fails_by_itself_is_no_termination():
    network = open_network(
        manifest(**described("ours")), head_graph("ours"), threads=1, provider="cpu", warm_batches=(1,)
    )
    with pytest.raises(Exception, match=r"[Ii]nvalid dimensions"):
        network(np.zeros((1, 3, 32, 32), np.float32))


def test_our_own_graphs_are_asked_directly(monkeypatch):
    """What a run costs is the session's run: the batch goes in, and its outputs come back, as they are."""
    calls = []
    real = ort.InferenceSession.run

    def run(self, names, feeds, options=None):
        answer = real(self, names, feeds, options)
        calls.append((feeds["images"], answer))
        return answer

    monkeypatch.setattr(ort.InferenceSession, "run", run)
    network = open_network(
        manifest(**described("ours")), head_graph("ours"), threads=1, provider="cpu", warm_batches=(1,)
    )
    batch = np.zeros((2, 3, SIDE, SIDE), np.float32)
    boxes, scores = network(batch)
    fed, (own_boxes, own_scores) = calls[-1]
    assert fed is batch and boxes is own_boxes and scores is own_scores


@pytest.mark.parametrize("provider", ["cuda", "openvino"])
def test_a_provider_that_is_not_installed_is_told(provider):
    if provider in available():
        pytest.skip(f"the installed ONNX Runtime has {provider}")
    package = {"cuda": "onnxruntime-gpu", "openvino": "onnxruntime-openvino"}[provider]
    with pytest.raises(ConfigError, match=rf"{package}.*Available: cpu"):
        open_network(manifest(), SLOW, threads=1, provider=provider, warm_batches=(1,))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("provider", ["cuda", "openvino"])
def test_a_provider_that_is_installed_answers(provider, layout):
    if provider not in available():
        pytest.skip(f"the installed ONNX Runtime has no {provider}")
    told, graph = manifest(**described(layout)), head_graph(layout)
    batch = np.random.default_rng(0).random((2, 3, SIDE, SIDE), np.float32)
    here, there = (
        open_network(told, graph, threads=1, provider=name, warm_batches=(1,))(batch) for name in ("cpu", provider)
    )
    for mine, other in zip(here, there, strict=True):
        np.testing.assert_allclose(mine, other, atol=2e-3)


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("int64", (None, 3, 64, 64)),
        ("float32", (None, 3, 64)),
        ("float32", (None, None, None, None)),
        ("float32", (None, 1, 64, 64)),
        ("float32", (None, 3, 64, 3)),
        ("float32", (None, 3, 32, 64)),
        ("uint8", (None, 64, 32, 3)),
        ("float32", (4, 3, 64, 64)),
    ],
)
def test_inputs_that_cannot_be_fed_are_refused(dtype, shape):
    with pytest.raises(ManifestInvalid, match="Expected"):
        feed_of(Output("images", dtype, shape), 64)


def test_every_byte_arrives_as_it_was():
    pixels = np.arange(256, dtype=np.uint8)
    feed = feed_of(Output("images", "uint8", (None, 3, None, None)), 64)
    fed = feed.cast(np.broadcast_to(pixels.astype(np.float32) / np.float32(255), (1, 3, 1, 256)))
    assert fed.dtype == np.uint8 and (fed[0, 0, 0] == pixels).all()


@pytest.mark.parametrize(("layout", "dtype"), [("yolov8", "float16"), ("ours", "uint8")])
def test_a_type_that_is_not_the_manifests_is_refused(layout, dtype):
    with pytest.raises(ManifestInvalid, match="type"):
        open_network(
            manifest(**described(layout)), head_graph(layout, dtype), threads=1, provider="cpu", warm_batches=(1,)
        )

"""What export tells serving: the same twice, agreed to by the graphs, refused by others."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from safelight.bundle import MODEL
from safelight.drift import LEAST
from safelight.errors import ManifestInvalid
from safelight.golden import EXACT, QUANTISED, check
from safelight.postprocess import Thresholds
from safelight.preprocess import Preprocess
from tests.training.export.nets import Grid
from training.export.golden import golden_samples, reference
from training.export.int8 import INT8, Int8, quantise
from training.export.onnx import export_onnx, onnx_run

SQUARE = Preprocess("letterbox", 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A graph and its int8 form."""
    folder = tmp_path_factory.mktemp("golden")
    export_onnx(Grid(), 32, folder / MODEL, "traced")
    shown = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    quantise(folder / MODEL, shown, Int8(True, 8, "minmax", 0.01, ("Conv", "LeakyRelu"), heads=True), folder / INT8)
    return folder


@pytest.fixture(scope="module")
def golden(folder):
    return golden_samples(folder, [INT8], SQUARE, 0)


def test_each_graph_has_samples_of_its_own(folder, golden):
    assert list(golden) == [MODEL, INT8]
    assert (golden[MODEL].tolerance, golden[INT8].tolerance) == (EXACT, QUANTISED)
    assert golden[MODEL].samples != golden[INT8].samples
    for name, made in golden.items():
        for threads in (1, 2):
            check(made, SQUARE, onnx_run(folder / name, threads))


def test_an_int8_graph_does_not_pass_for_the_whole_one(folder, golden):
    with pytest.raises(ManifestInvalid, match="golden sample"):
        check(golden[MODEL], SQUARE, onnx_run(folder / INT8))


def test_int8_agrees_where_its_kernels_are_others(folder, golden):
    """Without optimisation ONNX Runtime computes the quantised nodes in floats: as far as two machines may differ."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(folder / INT8, options, providers=["CPUExecutionProvider"])
    check(golden[INT8], SQUARE, lambda batch: tuple(session.run(["boxes", "scores"], {"images": batch})))


def test_another_process_makes_the_same_to_the_bit(folder, golden):
    program = (
        "import sys; from pathlib import Path; from tests.training.export.test_golden import *\n"
        "made = golden_samples(Path(sys.argv[1]), [INT8], SQUARE, 0)\n"
        "print(json.dumps({name: one.model_dump(mode='json') for name, one in made.items()}))"
    )
    said = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True)
    assert json.loads(said.stdout) == {name: one.model_dump(mode="json") for name, one in golden.items()}


def test_a_graph_whose_scores_are_chance_is_no_export(folder, tmp_path):
    model = onnx.load(folder / MODEL)
    for node in model.graph.node:
        node.output[:] = ["steady" if name == "scores" else name for name in node.output]
    model.graph.node.append(helper.make_node("RandomUniformLike", ["steady"], ["scores"]))
    onnx.save(model, tmp_path / MODEL)
    with pytest.raises(ManifestInvalid, match="does not answer as it did"):
        golden_samples(tmp_path, [], SQUARE, 0)


def test_the_reference_counts_what_serving_counts(folder):
    decision, run = Thresholds(0.3, 0.5, per_class={"crown": 0.4}), onnx_run(folder / MODEL)
    images = np.random.default_rng(1).integers(0, 256, (LEAST, 40, 24, 3), np.uint8)
    usual = reference(images, SQUARE, decision, ["crown"], run)
    assert usual == reference(images, SQUARE, decision, ["crown"], run)
    assert sum(usual.histograms["boxes"]) == LEAST
    assert sum(usual.histograms["top_score"][:4]) == 0  # nothing below the threshold of the class was counted
    assert reference(images[:-1], SQUARE, decision, ["crown"], run) is None

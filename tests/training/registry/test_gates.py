"""Each gate lets through what it should and says of the rest by how much."""

import copy

import pytest

from safelight.bundle import Bundle, Tensor
from tests.serving.graphs import LABELS, SIDE, manifest
from training.export.parity import Tolerance
from training.registry.comparison import Difference
from training.registry.gates import (
    Budget,
    card_gate,
    latency_gate,
    manifest_gate,
    parity_gate,
    quality_gate,
    same_answers,
    unmeasured_gate,
)

GRAPH = (
    Tensor(name="images", dtype="float32", shape=("batch", 3, SIDE, SIDE)),
    [
        Tensor(name="boxes", dtype="float32", shape=("batch", 64, 4)),
        Tensor(name="scores", dtype="float32", shape=("batch", 64, len(LABELS))),
    ],
)
PARITY = {
    "tensors": {str(size): {"boxes_relative": 1e-6, "score": 2e-6} for size in (1, 2, 8)},
    "boxes": {"least_iou": 0.999, "score": 3e-6},
    "map50": {"drop": 0.0},
}


def complete(**changes):
    values = {
        "outputs": GRAPH[1],
        "metrics": {"test": {"map50": {"value": 0.5}}, "reason": None},
        "parity": PARITY,
        "data_digest": "d" * 64,
        "configuration": {"model": {}, "data": {}, "seed": 0},
        "files": {"model.onnx": "a" * 64, "README.md": "b" * 64},
        "git_commit": "0" * 40,
    }
    return Bundle(manifest(**{**values, **changes}), "0" * 64, {})


def test_a_complete_manifest_passes():
    assert manifest_gate(complete(), GRAPH, labelled=True).passed


@pytest.mark.parametrize(
    ("changes", "lack"),
    [
        ({"git_commit": "unknown"}, "the commit is unknown"),
        ({"licence": " "}, "there is no licence"),
        ({"data_digest": None}, "no digest of the training data"),
        ({"metrics": {"test": None, "reason": None}}, "neither figures nor a reason"),
        ({"metrics": {}}, "neither figures nor a reason"),
        ({"configuration": {"model": {}, "seed": 0}}, "the configuration lacks data"),
        ({"files": {"model.onnx": "a" * 64}}, "no model card"),
        ({"outputs": GRAPH[1][::-1]}, "not the graph's"),
        ({"labels": ("person", "cat", "dog")}, "2 classes, the manifest 3 labels"),
        ({"preprocess": {"mode": "letterbox", "input_size": 32}}, "expected an input (batch, 3, 32, 32)"),
        ({"preprocess": {"mode": "sideways", "input_size": 32}}, "preprocess"),
    ],
)
def test_a_manifest_with_a_lack_is_refused_and_the_lack_is_named(changes, lack):
    verdict = manifest_gate(complete(**changes), GRAPH, labelled=True)
    assert not verdict.passed and lack in verdict.said


def test_unmeasured_data_needs_a_reason_and_no_digest():
    bundle = complete(data_digest=None, metrics={"test": None, "reason": "no labels"})
    assert manifest_gate(bundle, GRAPH, labelled=False).passed


def test_code_that_differs_from_its_commit_is_a_lack_where_asked_for():
    dirty = complete(git_commit="0" * 40 + "-dirty")
    assert manifest_gate(dirty, GRAPH, labelled=True).passed
    assert not manifest_gate(dirty, GRAPH, labelled=True, clean_commit=True).passed


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("tensors", "8", "boxes_relative"), 0.5, "boxes of tensors 0.5 (allowed 0.0001)"),
        (("tensors", "1", "score"), float("nan"), "scores of tensors nan"),
        (("boxes", "score"), 0.2, "scores of boxes 0.2"),
        (("boxes", "least_iou"), 0.5, "1 - IoU of boxes 0.5 (allowed 0.01)"),
        (("map50", "drop"), 0.3, "drop of mAP50 0.3 (allowed 0.001)"),
    ],
)
def test_drift_beyond_the_tolerance_is_refused_by_how_much(path, value, said):
    parity = copy.deepcopy(PARITY)
    place = parity
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    verdict = parity_gate(manifest(parity=parity), Tolerance())
    assert not verdict.passed and said in verdict.said


@pytest.mark.parametrize("lost", ["tensors", "boxes", "map50"])
def test_parity_that_was_not_measured_is_refused(lost):
    parity = {key: value for key, value in PARITY.items() if key != lost}
    verdict = parity_gate(manifest(parity=parity), Tolerance())
    assert not verdict.passed and "found none" in verdict.said
    assert parity_gate(manifest(parity=PARITY | {"map50": None}), Tolerance()).passed  # no labels: no mAP50 to drop


def test_a_picture_may_take_so_long_and_no_longer():
    budget = Budget(picture_s=1.0, ratio=2.0)
    assert latency_gate({"candidate": 0.9, "champion": 0.5}, budget).passed
    assert latency_gate({"candidate": 0.9}, budget).passed
    slow = latency_gate({"candidate": 1.5, "champion": 0.5}, budget)
    assert slow.said == "1.5 s a picture (allowed 1 s); 3.00 times the champion's time (allowed 2.00)"
    assert slow.measured == {"candidate": 1.5, "champion": 0.5} and slow.figures == {"picture_s": 1.0, "ratio": 2.0}


def test_not_worse_is_by_the_lower_bound_not_by_the_difference():
    near = quality_gate(Difference(0.50, 0.51, -0.04, 12), margin=0.05, confidence=0.95)
    assert near.passed and "at least -0.040 (allowed -0.050)" in near.said
    unsure = quality_gate(Difference(0.52, 0.51, -0.06, 12), margin=0.05, confidence=0.95)
    assert not unsure.passed and unsure.figures["low"] == -0.06
    assert not quality_gate(Difference(0.5, 0.5, float("nan"), 12), 0.05, 0.95).passed


def test_what_cannot_be_compared_is_accepted_by_a_word_only():
    assert not unmeasured_gate("no labels", accepted=False).passed
    assert "promotion.accept_unmeasured=true" in unmeasured_gate("no labels", accepted=False).said
    assert unmeasured_gate("no labels", accepted=True).passed


def test_a_data_card_says_more_than_its_title(tmp_path):
    assert not card_gate(None).passed and not card_gate(tmp_path / "none.md").passed
    (tmp_path / "card.md").write_text("# Trees\n" + " " * 1000)
    assert not card_gate(tmp_path / "card.md").passed
    (tmp_path / "card.md").write_text("# Trees\n" + "Where they come from. " * 20)
    assert card_gate(tmp_path / "card.md").passed


def test_the_same_graph_with_other_thresholds_answers_otherwise():
    one, other = complete().manifest, complete(metrics={}, git_commit="1" * 40).manifest
    assert same_answers(one, other)
    assert not same_answers(one, complete(thresholds={"score": 0.5, "nms_iou": 0.5}).manifest)
    assert not same_answers(one, complete(files={"model.onnx": "c" * 64}).manifest)

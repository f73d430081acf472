import numpy as np
import pytest
import torch
from torch import nn

from safelight.detections import Detections
from safelight.errors import ParityError
from safelight.postprocess import Thresholds
from safelight.preprocess import Preprocess
from training.export.onnx import export_onnx, onnx_run, tensors, torch_run
from training.export.parity import Tolerance, box_parity, match, metric_parity, tensor_parity

TOLERANCE = Tolerance()


class Grid(nn.Module):
    """A small predictor with the contract's outputs: one box a cell, its score the mean of the cell."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 8, stride=8)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            nn.init.normal_(self.conv.weight, std=0.2)

    def forward(self, images):
        cells = self.conv(images).flatten(2).transpose(1, 2)
        low = cells[..., :2].sigmoid() * 30
        boxes = torch.cat([low, low + 1 + cells[..., 2:4].exp()], dim=-1)
        return boxes, cells[..., 4:].sigmoid()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    predictor = Grid().eval()
    export_onnx(predictor, 32, path)
    return torch_run(predictor), onnx_run(path), path


def test_the_graph_follows_the_contract_and_holds_no_paths(exported):
    graph_input, (boxes, scores) = tensors(exported[2])
    assert (graph_input.name, graph_input.shape) == ("images", ("batch", 3, 32, 32))
    assert (boxes.name, boxes.shape) == ("boxes", ("batch", 16, 4))
    assert (scores.name, scores.shape) == ("scores", ("batch", 16, 1))
    assert b".py" not in exported[2].read_bytes()


def test_parity_at_batch_1_2_and_8(exported, rng):
    inputs = rng.random((8, 3, 32, 32), dtype=np.float32)
    found = tensor_parity(*exported[:2], inputs, TOLERANCE)
    assert set(found) == {"1", "2", "8"}
    assert all(entry["score"] < 1e-5 for entry in found.values())


def test_boxes_and_the_metric_agree(exported, picture):
    preprocess = Preprocess("letterbox", 32)
    found = box_parity(*exported[:2], [picture, picture[::-1]], preprocess, Thresholds(0.3, 0.5), TOLERANCE)
    assert found["pictures"] == 2 and found["matched"] > 0
    assert metric_parity(lambda run: 0.5, *exported[:2], TOLERANCE)["drop"] == 0


def drifted(run, scores=0.0, boxes=0.0):
    def other(batch):
        b, s = run(batch)
        return b + np.float32(boxes), s * np.float32(1 - scores)

    return other


@pytest.mark.parametrize("drift", [{"scores": 0.01}, {"boxes": 0.5}])
def test_drift_is_refused(exported, picture, rng, drift):
    reference = exported[0]
    other = drifted(reference, **drift)
    with pytest.raises(ParityError, match="batch 1"):
        tensor_parity(reference, other, rng.random((8, 3, 32, 32), dtype=np.float32), TOLERANCE)
    with pytest.raises(ParityError):
        box_parity(reference, other, [picture], Preprocess("letterbox", 32), Thresholds(0.3, 0.5), TOLERANCE)


def test_another_shape_and_a_lost_metric_are_refused(exported, rng):
    reference = exported[0]
    with pytest.raises(ParityError, match="expected shapes"):
        tensor_parity(
            reference,
            lambda b: (reference(b)[0][:, :3], reference(b)[1]),
            rng.random((8, 3, 32, 32), np.float32),
            TOLERANCE,
        )
    with pytest.raises(ParityError, match=r"mAP50 falls from 0\.5000 to 0\.4000"):
        metric_parity(lambda run: 0.5 if run is reference else 0.4, reference, exported[1], TOLERANCE)


def test_matching_is_one_to_one_and_within_a_class():
    a = Detections(np.array([[0, 0, 10, 10], [0, 0, 10, 10]]), np.array([0.9, 0.8]), np.array([0, 1]), (20, 20))
    b = Detections(np.array([[0, 0, 10, 10], [0, 0, 10, 9.9]]), np.array([0.9, 0.5]), np.array([0, 0]), (20, 20))
    pairs, alone = match(a, b, 0.9)
    assert pairs == [(1.0, 0.0)]
    assert sorted(alone) == pytest.approx([0.5, 0.8])

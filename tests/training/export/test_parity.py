import numpy as np
import pytest

from safelight.detections import Detections
from safelight.errors import ParityError
from safelight.postprocess import Thresholds
from safelight.preprocess import Preprocess
from tests.training.export.nets import Grid
from training.export.onnx import export_onnx, onnx_run, tensors, torch_run
from training.export.parity import Tolerance, box_parity, match, match_sets, metric_parity, tensor_parity

TOLERANCE = Tolerance()


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
    assert all(entry["score"] < 1e-5 and entry["rule"] == "direct" for entry in found.values())


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


def shuffled(run, seed):
    """The same answers in another order, each picture's its own."""

    def other(batch):
        boxes, scores = run(batch)
        orders = np.random.default_rng(seed).permuted(np.tile(np.arange(boxes.shape[1]), (len(boxes), 1)), axis=1)
        return np.take_along_axis(boxes, orders[..., None], 1), np.take_along_axis(scores, orders[..., None], 1)

    return other


def test_another_order_of_the_same_boxes_is_no_drift(exported, rng):
    inputs = rng.random((8, 3, 32, 32), dtype=np.float32)
    found = tensor_parity(exported[0], shuffled(exported[1], 1), inputs, TOLERANCE)
    assert {entry["rule"] for entry in found.values()} == {"matched"}
    assert all(entry["score"] < 1e-5 and entry["compared"] > 0 for entry in found.values())


@pytest.mark.parametrize("drift", [{"scores": 0.01}, {"boxes": 0.5}])
def test_drift_in_another_order_is_refused(exported, rng, drift):
    other = shuffled(drifted(exported[0], **drift), 2)
    with pytest.raises(ParityError, match="no other order"):
        tensor_parity(exported[0], other, rng.random((8, 3, 32, 32), dtype=np.float32), TOLERANCE)


def answer(*rows):
    """One picture's boxes, each 10 pixels wide at x, with the scores of two classes: (x, score, score)."""
    boxes = np.array([[[x, 0, x + 10, 10] for x, _, _ in rows]], np.float32)
    return boxes, np.array([[scores for _, *scores in rows]], np.float32)


def test_sets_are_matched_one_to_one_above_the_floor():
    ref = answer((0, 0.9, 0.1), (50, 0.2, 0.8), (20, 0.01, 0.0))
    same = answer((80, 0.0, 0.02), (50, 0.2, 0.8), (0, 0.9, 0.1))
    assert match_sets(ref, same, 100, TOLERANCE) == {"boxes_relative": 0, "score": 0, "compared": 2}
    twice = answer((0, 0.9, 0.1), (0, 0.9, 0.1), (20, 0.01, 0.0))
    assert match_sets(ref, twice, 100, TOLERANCE) is None, "each box has one partner"
    assert match_sets(twice, ref, 100, TOLERANCE) is None
    more = answer((0, 0.9, 0.1), (50, 0.2, 0.8), (20, 0.3, 0.0))
    assert match_sets(ref, more, 100, TOLERANCE) is None, "a box too many"
    assert match_sets(more, ref, 100, TOLERANCE) is None
    other_class = answer((0, 0.1, 0.9), (50, 0.2, 0.8), (20, 0.01, 0.0))
    assert match_sets(ref, other_class, 100, TOLERANCE) is None


def test_boxes_at_the_floor_may_be_alone_and_nothing_is_no_agreement():
    at = answer((0, 0.9, 0.0), (50, TOLERANCE.floor + 5e-5, 0.0))
    under = answer((0, 0.9, 0.0), (70, TOLERANCE.floor - 2e-4, 0.0))
    assert match_sets(at, under, 100, TOLERANCE)["compared"] == 1
    nothing = answer((0, 0.01, 0.0), (50, 0.0, 0.0))
    assert match_sets(nothing, nothing, 100, TOLERANCE) is None

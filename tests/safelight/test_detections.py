import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from safelight.detections import Detections, box_iou


def some() -> Detections:
    return Detections(np.array([[0, 0, 10, 10], [5, 5, 20, 20]]), np.array([0.9, 0.4]), np.array([0, 1]), (32, 24))


def test_shapes_that_do_not_match_are_refused_with_expected_and_actual():
    with pytest.raises(ValueError, match=r"scores: expected shape \(2,\) to match boxes, got \(1,\)"):
        Detections(np.zeros((2, 4)), np.zeros(1), np.zeros(2), (8, 8))


@pytest.mark.parametrize(
    ("boxes", "scores", "message"),
    [
        ([[0, 0, -1, 1]], [0.5], "x_max >= x_min"),
        ([[0, 0, np.nan, 1]], [0.5], "finite"),
        ([[0, 0, 1, 1]], [1.5], r"\[0, 1\]"),
    ],
)
def test_values_out_of_range_are_refused(boxes, scores, message):
    with pytest.raises(ValueError, match=message):
        Detections(np.array(boxes), np.array(scores), np.zeros(1), (8, 8))


def test_selection_and_counts():
    found = some()
    assert len(found.above(0.5)) == 1
    assert found.of_classes([1]).scores.tolist() == pytest.approx([0.4])
    assert found.counts(["cat", "person"]) == {"cat": 1, "person": 1}
    assert Detections.empty((8, 8)).counts(["cat"]) == {}


def test_iou_by_hand():
    a = np.array([[0, 0, 10, 10], [0, 0, 0, 0]], np.float32)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], np.float32)
    assert box_iou(a, b)[0].tolist() == pytest.approx([1, 50 / 150, 0])
    assert box_iou(a, b)[1].tolist() == [0, 0, 0]


corners = arrays(np.float32, (5, 2), elements=st.integers(0, 100).map(float))


@given(corners, arrays(np.float32, (5, 2), elements=st.integers(1, 50).map(float)))
def test_iou_is_symmetric_and_one_on_itself(low, size):
    boxes = np.concatenate([low, low + size], axis=1)
    iou = box_iou(boxes, boxes)
    assert np.allclose(iou, iou.T)
    assert np.allclose(np.diag(iou), 1)
    assert ((iou >= 0) & (iou <= 1.0001)).all()


def test_above_takes_one_threshold_or_one_a_class():
    found = Detections(np.zeros((3, 4)), np.array([0.9, 0.4, 0.3]), np.array([0, 0, 1]), (9, 9))
    assert found.above(0.35).scores.tolist() == pytest.approx([0.9, 0.4])
    assert found.above(np.array([0.5, 0.3], np.float32)).class_ids.tolist() == [0, 1]


def test_resized_boxes_lie_where_they_lay_on_the_picture():
    found = Detections(np.array([[10, 10, 50, 25]]), np.array([0.5]), np.array([0]), (50, 25))
    whole = found.resized((199, 100))
    assert whole.image_size == (199, 100)
    assert whole.boxes.tolist() == [pytest.approx([39.8, 40, 199, 100])]
    assert (whole.boxes <= [199, 100, 199, 100]).all()

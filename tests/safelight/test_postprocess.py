import numpy as np
import pytest

from safelight.detections import Detections, box_iou
from safelight.postprocess import Thresholds, detect, suppress
from safelight.preprocess import Preprocess

THRESHOLDS = Thresholds(score=0.5, nms_iou=0.5)


def bright_square(batch):
    """A network that finds the bright square of the fixture picture: exact boxes of values above 0.9."""
    boxes, scores = np.zeros((len(batch), 1, 4), np.float32), np.zeros((len(batch), 1, 1), np.float32)
    for i, image in enumerate(batch):
        ys, xs = np.nonzero((image > 0.95).all(axis=0))
        if len(ys):
            boxes[i, 0] = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            scores[i, 0] = 0.9
    return boxes, scores


@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess("letterbox", 240),
        Preprocess("tiles", 120, tile=60, overlap=30),
        Preprocess("tiles", 200, tile=200, overlap=10),
    ],
)
def test_the_square_is_found_where_it_is(picture, preprocess):
    found = detect(picture, preprocess, THRESHOLDS, bright_square)
    best = found.above(0.5)
    assert box_iou(best.boxes, np.array([[60, 30, 80, 50]], np.float32)).max() > 0.85
    assert found.image_size == (120, 90)


def test_a_picture_with_nothing_gives_no_boxes():
    black = np.zeros((50, 70, 3), np.uint8)
    assert len(detect(black, Preprocess("letterbox", 64), THRESHOLDS, bright_square)) == 0


def test_nms_keeps_the_strongest_of_each_class():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [30, 30, 40, 40]], np.float32)
    found = Detections(boxes, np.array([0.6, 0.9, 0.5, 0.7]), np.array([0, 0, 1, 0]), (50, 50))
    kept = suppress(found, 0.5, 10)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert kept.class_ids.tolist() == [0, 0, 1]
    assert len(suppress(found, 0.5, 2)) == 2


def test_nms_does_not_depend_on_the_order(rng):
    low = rng.uniform(0, 50, (60, 2)).astype(np.float32)
    boxes = np.concatenate([low, low + rng.uniform(5, 20, (60, 2)).astype(np.float32)], axis=1)
    scores = rng.choice([0.3, 0.6, 0.9], 60).astype(np.float32)
    found = Detections(boxes, scores, rng.integers(0, 3, 60), (80, 80))
    kept, shuffled = suppress(found, 0.4, 100), suppress(found[rng.permutation(60)], 0.4, 100)
    assert np.array_equal(kept.boxes, shuffled.boxes)
    for class_id in range(3):
        same = kept.of_classes([class_id]).boxes
        assert (box_iou(same, same) - np.eye(len(same)) <= 0.4 + 1e-6).all()


def test_boxes_are_clipped_to_the_picture(picture):
    def everything(batch):
        return np.tile(np.float32([[[-50, -50, 900, 900]]]), (len(batch), 1, 1)), np.ones(
            (len(batch), 1, 1), np.float32
        )

    found = detect(picture, Preprocess("letterbox", 64), THRESHOLDS, everything)
    assert found.boxes.tolist() == [[0, 0, 120, 90]]


@pytest.mark.parametrize("values", [{"score": 0, "nms_iou": 0.5}, {"score": 0.5, "nms_iou": 2}])
def test_thresholds_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match=r"expected a number in \(0, 1\]"):
        Thresholds(**values)

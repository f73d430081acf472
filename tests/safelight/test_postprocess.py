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


def test_half_an_object_at_a_tiles_border_is_no_second_box():
    """A square that two overlapping tiles see, the first one only in part, is answered once and whole."""
    image = np.zeros((100, 160, 3), np.uint8)
    image[40:60, 86:106] = 255  # tiles at x = 0 and 60, each of 100: the first sees 14 of its 20 pixels
    preprocess = Preprocess("tiles", 100, tile=100, overlap=40)
    assert [view.x for view in preprocess.views((160, 100))] == [0, 60]
    found = detect(image, preprocess, THRESHOLDS, bright_square)
    assert found.boxes.tolist() == [[86, 40, 106, 60]]


def test_every_centre_is_in_the_core_of_some_tile(rng):
    """A network that boxes one pixel wherever it is: none is lost, whatever the tiles."""
    for _ in range(40):
        tile = int(rng.integers(20, 80))
        preprocess = Preprocess("tiles", tile, tile=tile, overlap=int(rng.integers(0, tile // 2)))
        size = rng.integers(tile, 4 * tile, 2)
        image = np.zeros((size[1], size[0], 3), np.uint8)
        x, y = int(rng.integers(0, size[0])), int(rng.integers(0, size[1]))
        image[y, x] = 255
        assert detect(image, preprocess, THRESHOLDS, bright_square).boxes.tolist() == [[x, y, x + 1, y + 1]]


def test_each_view_is_bounded_and_keeps_its_strongest():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 4000, (5000, 2)).astype(np.float32)
    boxes, scores = np.concatenate([low, low + 1], axis=1)[None], rng.uniform(0.1, 0.9, (1, 5000, 1)).astype(np.float32)
    thresholds = Thresholds(0.5, 0.5, floor=0.1, max_detections=5000)
    image = np.zeros((4096, 4096, 3), np.uint8)
    found = detect(image, Preprocess("letterbox", 4096), thresholds, lambda _: (boxes, scores))
    assert len(found) <= 1000
    assert found.scores.min() >= np.sort(scores.ravel())[-1000]


def test_a_class_may_have_a_threshold_of_its_own():
    thresholds = Thresholds(0.5, 0.5, per_class={"cat": 0.2})
    assert thresholds.scores(["person", "cat"]).tolist() == pytest.approx([0.5, 0.2])
    assert Thresholds(**thresholds.to_dict()) == thresholds
    assert "per_class" not in THRESHOLDS.to_dict()
    with pytest.raises(ValueError, match="expected labels of the model, got 'cat'"):
        thresholds.scores(["person"])


@pytest.mark.parametrize("bad", [[0.5], "cat", {"cat": 0}, {"cat": 1.5}, {"cat": "0.5"}, {"cat": True}, {"cat": None}])
def test_bad_thresholds_of_classes_are_refused(bad):
    with pytest.raises(ValueError, match="per_class"):
        Thresholds(0.5, 0.5, per_class=bad)

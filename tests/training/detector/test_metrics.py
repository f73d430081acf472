import numpy as np
import pytest

from safelight.detections import Detections
from training.detector.metrics import IOUS, best_threshold, coco_map, curve, evaluate, match


def true(boxes, size=(800, 400), classes=None):
    classes = np.zeros(len(boxes)) if classes is None else classes
    return Detections(np.array(boxes, np.float32), np.ones(len(boxes)), classes, size)


def scenes(rng, classes=1):
    """Two scenes, detections that are jittered truth plus noise."""
    found, truth = [], []
    for size in ((800, 400), (400, 400)):
        low = rng.uniform(0, 350, (40, 2)) * [size[0] / 400, 1]
        boxes = np.concatenate([low, low + rng.uniform(15, 40, (40, 2))], axis=1)
        kinds = rng.integers(0, classes, 40)
        shifted = boxes[:32] + rng.normal(0, 3, (32, 4))
        noise = rng.uniform(0, 300, (30, 2))
        other = np.concatenate([noise, noise + 25], axis=1)
        truth.append(true(boxes, size, kinds))
        kinds = np.concatenate([kinds[:32], rng.integers(0, classes, 30)])
        found.append(Detections(np.concatenate([shifted, other]), rng.uniform(0.01, 1, 62), kinds, size))
    return found, truth


def test_perfect_and_empty_detections():
    truth = [true([[0, 0, 30, 30], [500, 100, 540, 140]])]
    report = evaluate(truth, truth, 0.5, draws=50, seed=0)
    for name in ("map50", "map50_95", "precision", "recall"):
        assert report[name]["value"] == pytest.approx(1)
    assert report["count_mae"]["value"] == 0 and report["plots"] == 2
    nothing = [Detections.empty((800, 400))]
    assert coco_map(nothing, truth) == {"map50": 0, "map50_95": 0}
    report = evaluate(nothing, truth, 0.5, draws=50, seed=0)
    assert report["recall"]["value"] == 0 and report["count_mae"]["value"] == 1


def test_precision_recall_and_count_by_hand():
    truth = [true([[0, 0, 30, 30], [100, 0, 130, 30], [500, 0, 530, 30]])]
    boxes = np.array([[0, 0, 30, 30], [1, 0, 31, 30], [100, 10, 130, 40], [600, 0, 630, 30]])  # right, double, right, wrong
    found = [Detections(boxes, np.array([0.9, 0.8, 0.7, 0.2]), np.zeros(4), (800, 400))]
    report = evaluate(found, truth, 0.5, draws=10, seed=0)
    assert report["precision"]["value"] == pytest.approx(2 / 3)
    assert report["recall"]["value"] == pytest.approx(2 / 3)
    assert report["count_mae"]["value"] == pytest.approx((1 + 1) / 2)
    assert match(found, truth, [0.4]).right.tolist() == [[True, False, True, False]]


@pytest.mark.parametrize("classes", [1, 3])
def test_our_curves_agree_with_pycocotools(rng, classes):
    from training.detector.metrics import _mean_ap

    found, truth = scenes(rng, classes)
    matches = match(found, truth, list(IOUS))
    ones = np.ones((1, matches.num_plots))
    ours = [float(_mean_ap(matches, row, ones)[0]) for row in range(len(IOUS))]
    theirs = coco_map(found, truth)
    assert ours[0] == pytest.approx(theirs["map50"], abs=1e-6)
    assert np.mean(ours) == pytest.approx(theirs["map50_95"], abs=1e-6)
    assert 0.1 < theirs["map50"] < 0.9


def test_a_bootstrap_draw_is_the_figure_of_the_drawn_plots(rng):
    from training.detector.metrics import _figures

    found, truth = scenes(rng)
    matches = match(found, truth, [0.4, *IOUS])
    twice = _figures(matches, 0.3, np.array([[0.0, 0.0, 2.0]]))
    alone = evaluate(found[1:], truth[1:], 0.3, draws=5, seed=0)
    for name, values in twice.items():
        assert values[0] == pytest.approx(alone[name]["value"], abs=1e-6)


def test_intervals_hold_the_value_and_repeat(rng):
    found, truth = scenes(rng)
    one, two = (evaluate(found, truth, 0.3, draws=200, seed=1) for _ in range(2))
    assert one == two
    for name in ("map50", "map50_95", "precision", "recall", "count_mae"):
        low, high = one[name]["interval"]
        assert low <= one[name]["value"] <= high and low < high


def test_the_threshold_is_where_f1_is_greatest():
    truth = [true([[0, 0, 30, 30], [100, 0, 130, 30]])]
    boxes = np.array([[0, 0, 30, 30], [100, 0, 130, 30], [300, 0, 330, 30]])
    found = [Detections(boxes, np.array([0.9, 0.6, 0.3]), np.zeros(3), (800, 400))]
    assert best_threshold(match(found, truth, [0.4])) == (pytest.approx(0.6), 1.0)
    assert best_threshold(match([Detections.empty((800, 400))], truth, [0.4])) == (1.0, 0.0)
    assert curve(match(found, truth, [0.4]))[-1] == pytest.approx({"recall": 1, "precision": 2 / 3, "score": 0.3})


def test_scenes_that_do_not_pair_are_refused():
    truth = [true([[0, 0, 30, 30]])]
    with pytest.raises(ValueError, match="expected one per scene"):
        coco_map([], truth)
    with pytest.raises(ValueError, match=r"expected boxes on a picture of \(800, 400\)"):
        coco_map([Detections.empty((5, 5))], truth)
    with pytest.raises(ValueError, match="at least one box"):
        coco_map([Detections.empty((5, 5))], [Detections.empty((5, 5))])

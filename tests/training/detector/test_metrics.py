import numpy as np
import pytest

from safelight.detections import Detections
from training.detector.bootstrap import Tally, evaluate, mean_average_precision
from training.detector.metrics import COCO_IOUS, Truth, best_threshold, coco_map, precision_recall_curve, true_positives

SIZE = (800, 400)


def truth(boxes, size=SIZE, classes=None):
    return Truth(np.array(boxes), np.zeros(len(boxes)) if classes is None else classes, size)


def found(boxes, scores, size=SIZE, classes=None):
    return Detections(np.array(boxes), np.array(scores), np.zeros(len(boxes)) if classes is None else classes, size)


def scenes(rng, classes=1):
    """Two scenes, detections that are jittered truth plus noise."""
    all_found, truths = [], []
    for size in (SIZE, (400, 400)):
        low = rng.uniform(0, 350, (40, 2)) * [size[0] / 400, 1]
        boxes = np.concatenate([low, low + rng.uniform(15, 40, (40, 2))], axis=1)
        kinds = rng.integers(0, classes, 40)
        shifted = boxes[:32] + rng.normal(0, 3, (32, 4))
        noise = rng.uniform(0, 300, (30, 2))
        other = np.concatenate([noise, noise + 25], axis=1)
        truths.append(truth(boxes, size, kinds))
        kinds = np.concatenate([kinds[:32], rng.integers(0, classes, 30)])
        all_found.append(found(np.concatenate([shifted, other]), rng.uniform(0.01, 1, 62), size, kinds))
    return all_found, truths


def test_perfect_and_empty_detections():
    truths = [truth([[0, 0, 30, 30], [500, 100, 540, 140]])]
    perfect = [found(truths[0].boxes, [1.0, 1.0])]
    report = evaluate(perfect, truths, 1, 0.5, samples=50)
    for name in ("map50", "map50_95", "precision", "recall", "f1"):
        assert report[name].value == pytest.approx(1)
    assert report["count_mae"].value == 0
    nothing = [Detections.empty(SIZE)]
    assert set(coco_map(nothing, truths, 1).values()) == {0.0}
    report = evaluate(nothing, truths, 1, 0.5, samples=50)
    assert report["recall"].value == 0 and report["count_mae"].value == 1


def test_precision_recall_and_count_by_hand():
    truths = [truth([[0, 0, 30, 30], [100, 0, 130, 30], [500, 0, 530, 30]])]
    right, double, shifted, wrong = [0, 0, 30, 30], [1, 0, 31, 30], [100, 10, 130, 40], [600, 0, 630, 30]
    some = [found([right, double, shifted, wrong], [0.9, 0.8, 0.7, 0.2])]
    assert true_positives(some[0], truths[0], 0.4).tolist() == [True, False, True, False]
    report = evaluate(some, truths, 1, 0.5, samples=10)
    assert report["precision"].value == pytest.approx(2 / 3)
    assert report["recall"].value == pytest.approx(2 / 3)
    assert report["count_mae"].value == pytest.approx((1 + 1) / 2)


@pytest.mark.parametrize("classes", [1, 3])
def test_our_ap_agrees_with_pycocotools(rng, classes):
    some, truths = scenes(rng, classes)
    tally = Tally.of(some, truths, COCO_IOUS, 400)
    theirs = coco_map(some, truths, classes)
    for row, iou in enumerate(COCO_IOUS):
        ours = mean_average_precision(tally, row, np.ones(tally.plot_count))
        assert ours == pytest.approx(theirs[iou], abs=1e-6)
    assert 0.1 < theirs[0.5] < 0.9


def test_a_draw_of_one_scene_is_the_figure_of_that_scene(rng):
    some, truths = scenes(rng)
    both = Tally.of(some, truths, [0.5], 400)
    alone = Tally.of(some[1:], truths[1:], [0.5], 400)
    drawn = mean_average_precision(both, 0, np.array([0.0, 0.0, 2.0]))
    assert both.plot_count == 3
    assert drawn == pytest.approx(mean_average_precision(alone, 0, np.ones(1)))


def test_intervals_hold_the_value_and_repeat(rng):
    some, truths = scenes(rng)
    one, two = (evaluate(some, truths, 1, 0.3, samples=200, seed=1) for _ in range(2))
    assert one == two
    for estimate in one.values():
        assert estimate.low <= estimate.value <= estimate.high and estimate.low < estimate.high


def test_the_threshold_is_where_f1_is_greatest():
    truths = [truth([[0, 0, 30, 30], [100, 0, 130, 30]])]
    some = [found([[0, 0, 30, 30], [100, 0, 130, 30], [300, 0, 330, 30]], [0.9, 0.6, 0.3])]
    assert best_threshold(some, truths) == (pytest.approx(0.45), 1.0)
    curve = precision_recall_curve(some, truths, 0.4)
    assert (curve.recall[-1], curve.precision[-1], curve.scores[-1]) == pytest.approx((1, 2 / 3, 0.3))
    with pytest.raises(ValueError, match="at least one detection"):
        best_threshold([Detections.empty(SIZE)], truths)


def test_scenes_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="as many scenes"):
        coco_map([], [truth([[0, 0, 30, 30]])], 1)
    with pytest.raises(ValueError, match="at least one box"):
        coco_map([Detections.empty(SIZE)], [truth(np.zeros((0, 4)))], 1)

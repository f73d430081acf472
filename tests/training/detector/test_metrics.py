import numpy as np
import pytest

from safelight.detections import Detections, box_iou
from training.detector.bootstrap import Tally, drawn_precisions, evaluate, mean_average_precision
from training.detector.metrics import (
    COCO_IOUS,
    CROWN_IOU,
    Truth,
    best_threshold,
    coco_map,
    matches,
    precision_recall_curve,
    true_positives,
)

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
    report = evaluate(perfect, truths, 1, 0.5, match_iou=CROWN_IOU, samples=50)
    for name in ("map50", "map50_95", "precision", "recall", "f1"):
        assert report[name].value == pytest.approx(1)
    assert report["count_mae"].value == 0
    nothing = [Detections.empty(SIZE)]
    assert set(coco_map(nothing, truths, 1).values()) == {0.0}
    report = evaluate(nothing, truths, 1, 0.5, match_iou=CROWN_IOU, samples=50)
    assert report["recall"].value == 0 and report["count_mae"].value == 1


def test_precision_recall_and_count_by_hand():
    truths = [truth([[0, 0, 30, 30], [100, 0, 130, 30], [500, 0, 530, 30]])]
    right, double, shifted, wrong = [0, 0, 30, 30], [1, 0, 31, 30], [100, 10, 130, 40], [600, 0, 630, 30]
    some = [found([right, double, shifted, wrong], [0.9, 0.8, 0.7, 0.2])]
    assert true_positives(some[0], truths[0], 0.4).tolist() == [True, False, True, False]
    report = evaluate(some, truths, 1, 0.5, match_iou=CROWN_IOU, samples=10)
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
    one, two = (evaluate(some, truths, 1, 0.3, match_iou=CROWN_IOU, samples=200, seed=1) for _ in range(2))
    assert one == two
    for estimate in one.values():
        assert estimate.low <= estimate.value <= estimate.high and estimate.low < estimate.high


def test_the_threshold_is_where_f1_is_greatest():
    truths = [truth([[0, 0, 30, 30], [100, 0, 130, 30]])]
    some = [found([[0, 0, 30, 30], [100, 0, 130, 30], [300, 0, 330, 30]], [0.9, 0.6, 0.3])]
    assert best_threshold(some, truths, CROWN_IOU) == (pytest.approx(0.45), 1.0)
    curve = precision_recall_curve(some, truths, 0.4)
    assert (curve.recall[-1], curve.precision[-1], curve.scores[-1]) == pytest.approx((1, 2 / 3, 0.3))
    with pytest.raises(ValueError, match="at least one detection"):
        best_threshold([Detections.empty(SIZE)], truths, CROWN_IOU)


def test_scenes_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="as many scenes"):
        coco_map([], [truth([[0, 0, 30, 30]])], 1)
    with pytest.raises(ValueError, match="at least one box"):
        coco_map([Detections.empty(SIZE)], [truth(np.zeros((0, 4)))], 1)


def one_by_one(detections, known, iou):
    """Greedy matching as COCO describes it, a detection at a time, at one IoU."""
    flags, taken = np.zeros(len(detections), np.bool_), set()
    overlap = box_iou(detections.boxes, known.boxes)
    for index in np.argsort(-detections.scores, kind="stable"):
        free = [
            (overlap[index, j], -j)
            for j in range(len(known))
            if j not in taken and known.class_ids[j] == detections.class_ids[index] and overlap[index, j] >= iou
        ]
        if free:
            flags[index] = True
            taken.add(-max(free)[1])
    return flags


def test_matching_at_all_ious_at_once_is_matching_one_by_one(rng):
    some, truths = scenes(rng, 3)
    partner = matches(some[0], truths[0], COCO_IOUS)
    assert partner.shape == (len(COCO_IOUS), len(some[0]))
    for row, iou in zip(partner, COCO_IOUS, strict=True):
        assert (row >= 0).tolist() == one_by_one(some[0], truths[0], np.float32(iou)).tolist()
        hit = row[row >= 0]
        assert len(set(hit.tolist())) == len(hit)
        assert (truths[0].class_ids[hit] == some[0].class_ids[row >= 0]).all()
    assert matches(some[0], truth(np.zeros((0, 4))), [0.5]).tolist() == [[-1] * len(some[0])]


def test_the_fast_bootstrap_is_the_plain_one(rng):
    some, truths = scenes(rng, 3)
    tally = Tally.of(some, truths, COCO_IOUS, 100)
    draws = rng.multinomial(tally.plot_count, np.full(tally.plot_count, 1 / tally.plot_count), 20).astype(np.float64)
    draws[0] = 0
    fast = drawn_precisions(tally, draws)
    plain = [[mean_average_precision(tally, row, draw) for row in range(len(COCO_IOUS))] for draw in draws]
    np.testing.assert_allclose(fast, plain, atol=1e-12)
    assert np.isnan(fast[0]).all() and np.isfinite(fast[1:]).all()


def test_whole_pictures_may_be_what_is_resampled(rng):
    some, truths = scenes(rng)
    assert Tally.of(some, truths, [0.5], None).plot_count == 2
    assert Tally.of(some, truths, [0.5], 100).plot_count == 8 * 4 + 4 * 4


def test_a_threshold_for_each_class(rng):
    some, truths = scenes(rng, 2)
    each = np.array([0.9, 0.2], np.float32)
    report = evaluate(some, truths, 2, each, match_iou=0.5, samples=5)
    kept = [d[d.scores >= each[d.class_ids]] for d in some]
    right = sum(true_positives(d, t, 0.5).sum() for d, t in zip(kept, truths, strict=True))
    assert report["precision"].value == pytest.approx(right / sum(map(len, kept)))
    assert evaluate(some, truths, 2, 0.3, match_iou=0.5, samples=5) == evaluate(
        some, truths, 2, np.array([0.3, 0.3], np.float32), match_iou=0.5, samples=5
    )

import numpy as np
import pytest

from safelight.detections import Detections
from safelight.postprocess import Thresholds
from safelight.preprocess import Preprocess
from tests.training.evaluation.made import LABELS, found, scene, see_colours, truth
from training.detector.metrics import COCO_IOUS, coco_map
from training.evaluation.coco import coco_figures
from training.evaluation.observed import observe

THRESHOLDS = Thresholds(0.5, 0.5, 0.01)


def test_the_twelve_by_hand():
    """A small, a medium and a large box; the medium one is found a little off, the large one second in its picture."""
    truths = [
        truth([[0, 0, 20, 20], [100, 100, 150, 150]], size=(400, 400)),
        truth([[0, 0, 200, 200]], size=(400, 400)),
    ]
    some = [
        found([[0, 0, 20, 20], [100, 100, 150, 140]], [0.9, 0.8], size=(400, 400)),
        found([[300, 300, 350, 350], [0, 0, 200, 200]], [0.7, 0.6], size=(400, 400)),
    ]
    total = coco_figures(some, truths, 1).total
    assert list(total) == [
        *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
        *("AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large"),
    ]
    off = np.mean([iou <= 0.8 for iou in COCO_IOUS])
    assert [total[name] for name in ("AP_small", "AP_large", "AR_small", "AR_large")] == pytest.approx([1] * 4)
    assert total["AR_medium"] == pytest.approx(off)
    assert total["AR_10"] == total["AR_100"] == pytest.approx((2 + off) / 3)
    assert total["AR_1"] == pytest.approx(1 / 3)
    assert total["AP50"] == pytest.approx((67 + 34 * 0.75) / 101, abs=0.01)


def test_they_agree_with_map_and_with_the_classes():
    seen = observe([scene(i) for i in range(8)], Preprocess("letterbox", 64), THRESHOLDS, see_colours, lambda: 0.0)
    figures = coco_figures(seen.found, seen.truths, len(LABELS))
    means = coco_map(seen.found, seen.truths, len(LABELS))
    assert figures.total["AP50"] == pytest.approx(means[0.5]) == pytest.approx(np.mean(list(figures.ap50.values())))
    assert figures.total["AP"] == pytest.approx(np.mean(list(means.values())))
    assert set(figures.ap) == {0, 1, 2} and 0.2 < figures.total["AP50"] < 1
    assert figures.total["AP_large"] is None and figures.total["AP_small"] == pytest.approx(figures.total["AP"])


def test_a_class_that_does_not_occur_has_no_figure():
    truths = [truth([[0, 0, 30, 30]], [2])]
    figures = coco_figures([found([[0, 0, 30, 30], [5, 5, 9, 9]], [0.9, 0.9], [2, 0])], truths, 3)
    assert set(figures.ap50) == {2} and figures.total["AP50"] == pytest.approx(1)


def test_nothing_found_is_zero_where_there_was_something_to_find():
    figures = coco_figures([Detections.empty((64, 64))], [truth([[0, 0, 50, 50]], [1])], 3)
    assert figures.total["AP"] == figures.total["AP_medium"] == figures.total["AR_100"] == 0
    assert figures.total["AP_small"] is None and figures.ap == {1: 0.0}
    with pytest.raises(ValueError, match="at least one box"):
        coco_figures([Detections.empty((64, 64))], [truth(np.zeros((0, 4)))], 3)

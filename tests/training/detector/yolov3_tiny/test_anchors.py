import numpy as np
import pytest

from training.detector.yolov3_tiny.anchors import fit_anchors, shape_iou


def test_shape_iou_by_hand():
    a = np.array([[10, 10], [10, 20]], np.float32)
    assert shape_iou(a, a).tolist() == [[1, 0.5], [0.5, 1]]
    assert shape_iou(a[:1], np.array([[20, 5]], np.float32))[0, 0] == pytest.approx(50 / 150)


def test_clusters_are_found_smallest_first(rng):
    centres = np.array([[80, 80], [10, 12], [30, 28]], np.float32)
    sizes = (centres[rng.integers(0, 3, 300)] * rng.uniform(0.95, 1.05, (300, 2))).astype(np.float32)
    anchors = fit_anchors(sizes, 3)
    assert np.allclose(anchors, centres[[1, 2, 0]], rtol=0.05)
    assert np.array_equal(anchors, fit_anchors(sizes[::-1], 3))


def test_more_anchors_fit_better(rng):
    sizes = rng.lognormal(3.5, 0.5, (400, 2)).astype(np.float32)
    fits = [shape_iou(sizes, fit_anchors(sizes, count)).max(axis=1).mean() for count in (1, 3, 6)]
    assert fits == sorted(fits) and fits[0] < fits[-1]


def test_fewer_boxes_than_anchors_are_refused():
    with pytest.raises(ValueError, match="at least 3 boxes"):
        fit_anchors(np.ones((2, 2), np.float32), 3)

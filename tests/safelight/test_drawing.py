import numpy as np
import pytest

from safelight.detections import Detections
from safelight.drawing import draw


def test_boxes_are_drawn_and_the_original_stays(picture):
    before = picture.copy()
    found = Detections(np.array([[10, 10, 100, 80]]), np.array([0.5]), np.array([1]), (120, 90))
    drawn = draw(picture, found, ["a", "b"])
    assert drawn.shape == picture.shape
    assert np.array_equal(picture, before)
    assert (drawn[10, 40:90] != picture[10, 40:90]).any()
    assert np.array_equal(drawn[85:], picture[85:])


def test_boxes_of_another_picture_are_refused(picture):
    with pytest.raises(ValueError, match=r"expected boxes on a picture of \(120, 90\), got \(9, 9\)"):
        draw(picture, Detections.empty((9, 9)), [])

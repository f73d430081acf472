import json

import pytest
import torch

from safelight.errors import ConfigError, WeightsError
from training.detector.families import FAMILIES, load_detector
from training.detector.yolov3_tiny import pretrained


def test_a_saved_detector_comes_back(tmp_path, detector):
    saved = detector().eval()
    saved.save(tmp_path)
    loaded = load_detector(tmp_path)
    pictures = torch.rand(2, 3, 64, 64)
    assert loaded.labels == saved.labels and not loaded.training
    for there, here in zip(loaded(pictures), saved(pictures), strict=True):
        assert torch.equal(there, here)


def test_families_are_known_by_their_own_name():
    assert all(cls.family == name for name, cls in FAMILIES.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "no-such"}, "known detector"),
        ({"labels": []}, "known detector"),
        ({"labels": ["a", "b"]}, "another network"),
        ({"description": {"anchors": 3}}, "known detector"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path, detector, change, message):
    detector().save(tmp_path)
    path = tmp_path / "detector.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(WeightsError, match=message):
        load_detector(tmp_path)


def test_nothing_there_is_said_so(tmp_path):
    with pytest.raises(WeightsError, match="Run the train stage first"):
        load_detector(tmp_path)


def test_anchors_need_boxes_to_be_fitted_to(tmp_path):
    with pytest.raises(ConfigError, match="at least 6 training boxes, got 0"):
        pretrained(["a"], str(tmp_path / "none"), "auto", keep_heads=False)


def test_an_input_that_the_cells_do_not_divide_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="multiple of 32 pixels, got 300"):
        pretrained(["a"], str(tmp_path / "none"), "auto", keep_heads=True, input_size=300)

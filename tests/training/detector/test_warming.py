import pytest
import torch
from safetensors.torch import save_file

from safelight.errors import WeightsError
from training.detector.interface import WEIGHTS
from training.detector.warming import warm_start
from training.detector.yolov3_tiny import YoloV3TinyDetector


def other(anchors, labels=("square",), widths=(8, 8, 16, 16, 32, 32, 32)):
    torch.manual_seed(1)
    return YoloV3TinyDetector(list(labels), anchors, grid_scale=2.0, widths=widths)


def test_all_weights_that_fit_are_taken(tmp_path, detector, anchors):
    given = other(anchors)
    given.save(tmp_path)
    warmed = detector()
    assert warm_start(warmed, tmp_path) == []
    for name, value in given.state_dict().items():
        assert torch.equal(warmed.state_dict()[name], value)


def test_heads_of_other_classes_start_afresh(tmp_path, detector, anchors):
    given = other(anchors, ["a", "b", "c"])
    given.save(tmp_path)
    warmed, fresh = detector(), detector()
    kept = warm_start(warmed, tmp_path)
    assert kept == [f"network.{head}.{part}" for head in ("coarse_head", "fine_head") for part in ("bias", "weight")]
    for name, value in warmed.state_dict().items():
        assert torch.equal(value, (fresh if name in kept else given).state_dict()[name]), name


def test_other_networks_are_refused(tmp_path, detector, anchors):
    with pytest.raises(WeightsError, match=r"expected model\.safetensors"):
        warm_start(detector(), tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="damaged"):
        warm_start(detector(), tmp_path)
    save_file({"something": torch.zeros(2, 2)}, tmp_path / WEIGHTS)
    with pytest.raises(WeightsError, match="another network's"):
        warm_start(detector(), tmp_path)
    other(anchors, ["a", "b"], (4, 4, 8, 8, 24, 24, 24)).save(tmp_path)
    with pytest.raises(WeightsError, match=r"no weights in .* have the shapes"):
        warm_start(detector(), tmp_path)

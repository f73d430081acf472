from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from safelight.errors import WeightsError
from safelight.postprocess import Thresholds, detect
from safelight.preprocess import Preprocess
from training.detector.yolov3_tiny.darknet import COCO_ANCHORS, load_darknet
from training.detector.yolov3_tiny.network import YoloV3Tiny, decode

ROOT = Path(__file__).resolve().parents[4]
WEIGHTS = ROOT / "data/base_models/yolov3-tiny.weights"
PHOTOS = ROOT / "data/raw/photos"
HEADER = np.array([0, 2, 0, 7, 0], "<i4").tobytes()
CLASSES = 4  # of the made-up file
WIDTHS = (4, 4, 8, 8, 16, 16, 16)


def network(classes=CLASSES):
    return YoloV3Tiny(classes, COCO_ANCHORS, widths=WIDTHS)


def layers(net):
    """The tensors in the order of the file, written down independently of the loader."""
    order = [*(f"backbone.{i}" for i in range(7)), "neck", "coarse", "coarse_head", "lateral", "fine", "fine_head"]
    state = net.state_dict()
    for name in order:
        parts = ("bias", "weight")
        if not name.endswith("head"):
            parts = ("norm.bias", "norm.weight", "norm.running_mean", "norm.running_var", "conv.weight")
        yield from (state[f"{name}.{part}"] for part in parts)


def numbers():
    """Values 0, 1, 2, ... as many as the small network takes."""
    return np.arange(sum(t.numel() for t in layers(network())), dtype="<f4")


def write(path, header=HEADER, values=None, extra=b""):
    path.write_bytes(header + (numbers() if values is None else values).tobytes() + extra)
    return path


@pytest.mark.parametrize("header", [HEADER, np.array([0, 1, 0, 7], "<i4").tobytes()])
def test_every_value_goes_to_its_place(tmp_path, header):
    net = network()
    load_darknet(net, write(tmp_path / "w", header), keep_heads=True, file_classes=CLASSES)
    assert np.array_equal(torch.cat([t.flatten() for t in layers(net)]).numpy(), numbers())


def test_another_number_of_classes_keeps_all_but_the_heads(tmp_path):
    path = write(tmp_path / "w")
    full, other = network(), network(1)
    load_darknet(full, path, keep_heads=True, file_classes=CLASSES)
    load_darknet(other, path, keep_heads=False, file_classes=CLASSES)
    theirs = full.state_dict()
    for name, value in other.state_dict().items():
        if not name.startswith(("fine_head", "coarse_head")):
            assert torch.equal(value, theirs[name]), name
    for head in (other.fine_head, other.coarse_head):
        assert head.weight.abs().max() < 0.1
        assert head.bias.view(3, 6)[:, 4].sigmoid().tolist() == pytest.approx([0.01] * 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.zeros(0, "<f4")}, "truncated"),
        ({"values": numbers()[:-1]}, "truncated"),
        ({"values": np.append(numbers(), np.float32(1))}, "trailing data"),
        ({"extra": b"\0"}, "whole 32-bit weights"),
        ({"values": np.where(numbers() == 5, np.nan, numbers()).astype("<f4")}, "finite"),
        ({"header": b"PK\3\4", "values": np.zeros(0, "<f4")}, "darknet header"),
        ({"header": b"PK\3\4" * 5}, "version"),
    ],
)
def test_a_file_that_is_not_right_is_refused_and_changes_nothing(tmp_path, change, message):
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(WeightsError, match=message):
        load_darknet(net, write(tmp_path / "w", **change), keep_heads=True, file_classes=CLASSES)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_heads_of_other_classes_or_anchors_cannot_be_kept(tmp_path):
    path = write(tmp_path / "w")
    with pytest.raises(WeightsError, match="4 classes, the network has 1"):
        load_darknet(network(1), path, keep_heads=True, file_classes=CLASSES)
    two = YoloV3Tiny(CLASSES, [head[:2] for head in COCO_ANCHORS], widths=WIDTHS)
    with pytest.raises(WeightsError, match="27 outputs, the network's 18"):
        load_darknet(two, path, keep_heads=True, file_classes=CLASSES)


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(WeightsError, match="Run the fetch stage first"):
        load_darknet(network(), tmp_path / "none", keep_heads=False)


@pytest.mark.skipif(not WEIGHTS.is_file(), reason="the official weights are not fetched (make run fetches them)")
@pytest.mark.parametrize(
    ("photo", "class_id", "least"), [("astronaut", 0, 0.5), ("chelsea", 15, 0.3), ("coffee", 41, 0.5)]
)
def test_the_official_weights_find_the_person_the_cat_and_the_cup(photo, class_id, least):
    """At 288 pixels: the photographs are close-ups, at 416 the small network does not see the cat for its fur."""
    path = PHOTOS / f"{photo}.png"
    if not path.is_file():
        pytest.skip("the photographs are not fetched (make run fetches them)")
    net = YoloV3Tiny(80, COCO_ANCHORS)
    load_darknet(net, WEIGHTS, keep_heads=True)
    net.eval()

    @torch.inference_mode()
    def run(batch):
        boxes, scores = decode(net, net(torch.from_numpy(batch)))
        return boxes.numpy(), scores.numpy()

    image = np.asarray(Image.open(path).convert("RGB"))
    found = detect(image, Preprocess("letterbox", 288), Thresholds(0.3, 0.45), run)
    assert found.class_ids[0] == class_id
    assert found.scores[0] >= least
    width, height = (found.boxes[0, 2:] - found.boxes[0, :2]) / found.image_size
    assert width > 0.4 and height > 0.4

import math

import numpy as np
import pytest
import torch

from training.detector.yolov3_tiny.network import MAX_LOG_SIZE, YoloV3Tiny, decode, decode_boxes


def test_shapes_of_heads_and_predictions(small):
    network = small(classes=3).eval()
    fine, coarse = network(torch.rand(2, 3, 96, 96))
    assert fine.shape == (2, 2, 6, 6, 8)
    assert coarse.shape == (2, 2, 3, 3, 8)
    boxes, scores = decode(network, network(torch.rand(2, 3, 96, 96)))
    assert boxes.shape == (2, 2 * (36 + 9), 4)
    assert scores.shape == (2, 2 * (36 + 9), 3)
    assert (boxes[..., 2:] > boxes[..., :2]).all()
    assert ((scores >= 0) & (scores <= 1)).all()


def test_the_published_size():
    network = YoloV3Tiny(80, [[[23, 27], [37, 58], [81, 82]], [[81, 82], [135, 169], [344, 319]]])
    # darknet stores a running mean and variance for each normalised channel as well
    stored = sum(t.numel() for name, t in network.state_dict().items() if "num_batches" not in name)
    assert stored == 8_858_734


@pytest.mark.parametrize("grid_scale", [1.0, 2.0])
def test_a_raw_zero_is_the_anchor_in_the_middle_of_its_cell(grid_scale):
    boxes = decode_boxes(torch.zeros(1, 1, 2, 3, 4), torch.tensor([[10.0, 20.0]]), 16, grid_scale)
    assert boxes[0, 0, 1, 2].tolist() == [2.5 * 16 - 5, 1.5 * 16 - 10, 2.5 * 16 + 5, 1.5 * 16 + 10]


def test_decoding_by_hand():
    raw = torch.tensor([math.log(3), -math.log(3), math.log(2), -math.log(2)]).expand(1, 1, 1, 1, 4)
    anchor = torch.tensor([[8.0, 8.0]])
    # sigmoid(log 3) = 3/4, sigmoid(-log 3) = 1/4; the box is 16 x 4
    assert decode_boxes(raw, anchor, 32, 1.0).flatten().tolist() == pytest.approx([24 - 8, 8 - 2, 24 + 8, 8 + 2])
    # scaled by 2: 2 * 3/4 - 1/2 = 1, 2 * 1/4 - 1/2 = 0
    assert decode_boxes(raw, anchor, 32, 2.0).flatten().tolist() == pytest.approx([32 - 8, -2, 32 + 8, 2])


def test_sizes_cannot_overflow():
    boxes = decode_boxes(torch.full((1, 1, 1, 1, 4), 1e4), torch.tensor([[10.0, 10.0]]), 16, 1.0)
    assert (boxes[..., 2] - boxes[..., 0]).item() == pytest.approx(10 * math.exp(MAX_LOG_SIZE), rel=1e-5)


def test_a_score_is_objectness_times_class_probability(small):
    network = small(classes=2).eval()
    picture = torch.rand(1, 3, 64, 64)
    head = network(picture)[0]
    _, scores = decode(network, network(picture))
    first = head[0, 0, 0, 0]
    assert torch.allclose(scores[0, 0], first[4].sigmoid() * first[5:].sigmoid())


def test_a_fresh_head_says_anchor_and_nothing_there(small, anchors):
    network = small(classes=4).eval()
    boxes, scores = decode(network, network(torch.rand(1, 3, 64, 64)))
    sizes = (boxes[0, :, 2:] - boxes[0, :, :2])[: 2 * 16].reshape(2, 16, 2)
    assert torch.allclose(sizes, torch.tensor(anchors[0], dtype=torch.float32)[:, None], rtol=0.2)
    assert scores.max().item() == pytest.approx(0.01 / 4, rel=0.5)


def test_the_stride_one_pooling_looks_right_and_down_as_darknet_does():
    pool = torch.nn.functional.max_pool2d
    x = torch.tensor([[[[-4.0, -3.0], [-2.0, -9.0]]]])
    assert pool(x, 2, stride=1, padding=1)[:, :, 1:, 1:].flatten().tolist() == [-2, -3, -2, -9]


def test_the_batch_does_not_change_the_answer(small):
    network = small().eval()
    pictures = torch.rand(3, 3, 64, 64)
    together, _ = decode(network, network(pictures))
    alone, _ = decode(network, network(pictures[1:2]))
    assert np.allclose(together[1].detach(), alone[0].detach(), atol=1e-4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_classes": 0}, "num_classes"),
        ({"anchors": [[[10, 10]]]}, "anchors: expected 2 lists"),
        ({"anchors": [[[10, 10]], [[0, 10]]]}, "anchors"),
        ({"grid_scale": 0.5}, "grid_scale"),
        ({"widths": [8, 8]}, "widths"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(values, message, anchors):
    with pytest.raises(ValueError, match=message):
        YoloV3Tiny(**{"num_classes": 1, "anchors": anchors, **values})

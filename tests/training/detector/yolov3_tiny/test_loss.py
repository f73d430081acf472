import math

import pytest
import torch

from training.detector.yolov3_tiny.loss import LossWeights, assign, complete_iou, detection_loss
from training.detector.yolov3_tiny.network import decode

WEIGHTS = LossWeights()


def assigned(box, sizes=((16, 16),), grid=(4, 4), max_ratio=3.0):
    """(row, column, anchor) of every cell of a stride-16 head that answers for a box."""
    found = assign(torch.tensor([box]), torch.tensor([0]), torch.tensor(sizes).float(), 16, grid, max_ratio)
    return sorted(zip(found.row.tolist(), found.column.tolist(), found.anchor.tolist(), strict=True))


def test_its_own_cell_and_the_two_nearest_answer_for_a_box():
    # centre (20, 40): a quarter into column 1, half into row 2
    assert assigned([12.0, 32.0, 28.0, 48.0]) == [(2, 0, 0), (2, 1, 0), (3, 1, 0)]
    # centre (28, 36): three quarters into column 1, a quarter into row 2
    assert assigned([20.0, 28.0, 36.0, 44.0]) == [(1, 1, 0), (2, 1, 0), (2, 2, 0)]


def test_no_cell_outside_the_picture_answers():
    assert assigned([0.0, 0.0, 8.0, 8.0]) == [(0, 0, 0)]
    assert assigned([56.0, 56.0, 64.0, 64.0]) == [(3, 3, 0)]


def test_only_anchors_of_a_like_shape_answer():
    sizes = ((16, 16), (40, 40), (60, 60), (16, 60))
    anchors = {anchor for _, _, anchor in assigned([24.0, 24.0, 40.0, 40.0], sizes)}
    assert anchors == {0, 1}
    assert assigned([24.0, 24.0, 40.0, 40.0], ((64, 64),)) == []


def test_boxes_of_several_pictures_stay_apart():
    boxes = torch.tensor([[12.0, 32.0, 28.0, 48.0]] * 2)
    found = assign(boxes, torch.tensor([0, 2]), torch.tensor([[16.0, 16.0]]), 16, (4, 4), 3.0)
    assert found.picture.tolist() == [0, 0, 0, 2, 2, 2]
    assert found.target.tolist() == [0, 0, 0, 1, 1, 1]


def test_complete_iou_by_hand():
    a = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    assert [v.item() for v in complete_iou(a, a)] == pytest.approx([1, 1], abs=1e-5)
    iou, ciou = complete_iou(a, torch.tensor([[5.0, 0.0, 15.0, 10.0]]))  # same shape, 5 apart in a 15 x 10 hull
    assert iou.item() == pytest.approx(1 / 3)
    assert ciou.item() == pytest.approx(1 / 3 - 25 / 325)
    iou, ciou = complete_iou(a, torch.tensor([[0.0, 2.5, 10.0, 7.5]]))  # same centre, half as high
    shape = 4 / math.pi**2 * (math.atan(2) - math.atan(1)) ** 2
    assert iou.item() == pytest.approx(0.5)
    assert ciou.item() == pytest.approx(0.5 - shape**2 / (0.5 + shape), abs=1e-6)


def test_boxes_without_area_or_overlap_have_finite_gradients():
    a = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    _, ciou = complete_iou(a, torch.tensor([[50.0, 50.0, 60.0, 60.0], [0.0, 0.0, 5.0, 5.0]]))
    ciou.sum().backward()
    assert ciou[0] < 0
    assert torch.isfinite(a.grad).all()


def loss_of(network, pictures, boxes, classes=None):
    classes = [torch.zeros(len(b), dtype=torch.long) for b in boxes] if classes is None else classes
    return detection_loss(
        network(pictures), boxes, classes, network.anchors, network.grid_scale, max_ratio=3.0, weights=WEIGHTS
    )


def test_the_total_is_the_weighted_sum_of_the_terms(small):
    terms = loss_of(small(3), torch.rand(2, 3, 64, 64), [torch.tensor([[8.0, 8.0, 30.0, 30.0]]), torch.zeros(0, 4)])
    weighted = 5 * terms["box"] + terms["objectness"] + 0.5 * terms["classes"]
    assert terms["loss"].item() == pytest.approx(weighted.item(), rel=1e-5)
    assert all(term > 0 for term in terms.values())


def test_pictures_without_boxes_only_push_objectness_down(small):
    network = small()
    terms = loss_of(network, torch.rand(2, 3, 64, 64), [torch.zeros(0, 4)] * 2)
    assert terms["box"] == 0 and terms["classes"] == 0 and terms["objectness"] > 0
    terms["loss"].backward()
    biases = network.fine_head.bias.grad.view(2, 6)
    assert (biases[:, 4] > 0).all() and (biases[:, [0, 1, 2, 3, 5]] == 0).all()


def test_a_right_head_costs_less_than_a_wrong_one():
    """Raw heads written by hand: an anchor of 16 x 16, a box that it fits in row 1, column 1; no coarse anchor is alike."""
    anchors, box = torch.tensor([[[16.0, 16.0]], [[400.0, 400.0]]]), [torch.tensor([[16.0, 16.0, 32.0, 32.0]])]
    kind = [torch.zeros(1, dtype=torch.long)]

    def cost(objectness, column):
        fine, coarse = torch.zeros(1, 1, 4, 4, 6), torch.zeros(1, 1, 2, 2, 6)
        fine[..., 4] = coarse[..., 4] = -6
        fine[0, 0, 1, column, 4] = objectness
        terms = detection_loss([fine, coarse], box, kind, anchors, 2.0, max_ratio=3.0, weights=WEIGHTS)
        return terms["objectness"].item()

    assert cost(6.0, 1) < cost(0.0, 1) < cost(6.0, 3)


def test_one_tile_is_learnt_by_heart(small, scene):
    """Loss falls and the boxes are found: a few dozen steps on one picture."""
    square = scene(5, (64, 64), 3)
    picture = torch.from_numpy(square.image).permute(2, 0, 1)[None].float() / 255
    boxes = [torch.from_numpy(square.truth.boxes)]
    network = small()
    optimiser = torch.optim.AdamW(network.parameters(), 5e-3)
    losses = []
    for _ in range(80):
        terms = loss_of(network, picture, boxes)
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
        losses.append(terms["loss"].item())
    assert losses[-1] < 0.3 * losses[0]
    for module in network.modules():  # the running statistics of 80 steps are not those of this picture yet
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train()
    found, scores = decode(network, network(picture))
    sure = found[0][scores[0, :, 0] > 0.3]
    for box in boxes[0]:
        iou, _ = complete_iou(sure, box.expand_as(sure))
        assert iou.max() > 0.6

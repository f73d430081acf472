"""Which cells answer for which box, and how wrong their answers are.

Assignment: a box belongs to every anchor whose sides are within `max_ratio` of its own, in the cell that holds its centre
and in the two neighbours nearest to it; a dense stand of trees then has several cells to speak for each crown. Box loss:
1 - CIoU (Zheng et al., "Distance-IoU Loss", 2020). Objectness: binary cross-entropy against the IoU that the cell's own
box reaches (Redmon et al., "You Only Look Once", 2016), so that scores rank boxes by how well they fit. Classes: binary
cross-entropy (YOLOv3). Neighbour cells are of use because centres may leave their cell (`grid_scale`, YOLOv4).

Knows nothing of pictures or optimisers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.detector.processes import shared_count
from training.detector.yolov3_tiny.network import STRIDES, decode_boxes


@dataclass(frozen=True)
class LossWeights:
    """How much each term counts. box, objectness, classes: factors; each term is a sum over cells per assigned cell."""

    box: float = 5.0
    objectness: float = 1.0
    classes: float = 0.5


@dataclass(frozen=True)
class Assigned:
    """P cells of one head that answer for a box each. picture, anchor, row, column, target: `(P,)` indices."""

    picture: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    target: Tensor


def detection_loss(
    heads: Sequence[Tensor],
    boxes: Sequence[Tensor],
    classes: Sequence[Tensor],
    anchors: Tensor,
    grid_scale: float,
    *,
    max_ratio: float,
    weights: LossWeights,
) -> dict[str, Tensor]:
    """The loss of a batch and its terms: `loss`, `box`, `objectness`, `classes`, scalars.

    heads: raw, `(B, K, H, W, 5 + C)` a stride, finest first. boxes: for each picture `(M, 4)` xyxy input pixels. classes:
    for each `(M,)` int64. anchors: `(heads, K, 2)` input pixels. max_ratio: see `assign`.
    """
    device = heads[0].device
    picture = torch.cat([torch.full((len(b),), i, device=device) for i, b in enumerate(boxes)])
    target, kind = torch.cat(list(boxes)).to(device), torch.cat(list(classes)).to(device)
    zero = sum((head.sum() * 0.0 for head in heads), torch.zeros((), device=device))
    box, objectness, class_, cells = zero, zero, zero, 0
    for head, sizes, stride in zip(heads, anchors, STRIDES, strict=True):
        raw = head.float()
        found = assign(target, picture, sizes, stride, (raw.shape[2], raw.shape[3]), max_ratio)
        index = (found.picture, found.anchor, found.row, found.column)
        predicted = decode_boxes(raw[..., :4], sizes, stride, grid_scale)[index]
        iou, ciou = complete_iou(predicted, target[found.target])
        wanted = torch.zeros(raw.shape[:-1], device=device)
        # A cell that answers for two boxes is held to the better of its two fits: index_put would keep either.
        flat = sum((i * step for i, step in zip(index, wanted.stride(), strict=True)), torch.zeros_like(found.picture))
        wanted.view(-1).scatter_reduce_(0, flat, iou.detach().clamp(min=0), "amax")
        box = box + (1 - ciou).sum()
        objectness = objectness + F.binary_cross_entropy_with_logits(raw[..., 4], wanted, reduction="sum")
        truth = F.one_hot(kind[found.target], raw.shape[-1] - 5).float()
        class_ = class_ + F.binary_cross_entropy_with_logits(raw[index][:, 5:], truth, reduction="sum")
        cells += len(iou)
    count = shared_count(cells, device)
    terms = {"box": box / count, "objectness": objectness / count, "classes": class_ / count}
    total = sum((getattr(weights, name) * term for name, term in terms.items()), zero)
    return {"loss": total, **{name: term.detach() for name, term in terms.items()}}


def assign(
    boxes: Tensor, picture: Tensor, anchors: Tensor, stride: int, grid: tuple[int, int], max_ratio: float
) -> Assigned:
    """The cells of one head that answer for `boxes` `(M, 4)` xyxy input pixels of `picture` `(M,)`.

    anchors: `(K, 2)` input pixels. grid: cells down and across. max_ratio: an anchor fits while neither side is more than
    so many times the box's, or the other way round.
    """
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 / stride
    ratio = (boxes[:, 2:] - boxes[:, :2])[:, None] / anchors[None]
    fits = torch.maximum(ratio, 1 / ratio).amax(dim=2) < max_ratio  # (M, K)
    own = centre.floor().long()
    part = centre - own
    steps = torch.tensor([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], device=boxes.device)
    near = torch.stack(
        [
            torch.ones_like(part[:, 0], dtype=torch.bool),
            part[:, 0] < 0.5,
            part[:, 0] >= 0.5,
            part[:, 1] < 0.5,
            part[:, 1] >= 0.5,
        ],
        dim=1,
    )
    cell = own[:, None] + steps[None]  # (M, 5, 2) as (column, row)
    limit = torch.tensor([grid[1], grid[0]], device=boxes.device)
    inside = ((cell >= 0) & (cell < limit)).all(dim=2)
    target, step, anchor = torch.nonzero((near & inside)[:, :, None] & fits[:, None, :], as_tuple=True)
    return Assigned(picture[target], anchor, cell[target, step, 1], cell[target, step, 0], target)


def complete_iou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and CIoU of boxes pair by pair: `(P, 4)` xyxy each to two `(P,)`. Source: Zheng et al., 2020, equation 10."""
    size_a, size_b = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
    overlap = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(dim=1)
    iou = overlap / (size_a.prod(dim=1) + size_b.prod(dim=1) - overlap + 1e-7)
    hull = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    apart = ((a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) ** 2).sum(dim=1) / 4
    angle = torch.atan(size_b[:, 0] / (size_b[:, 1] + 1e-7)) - torch.atan(size_a[:, 0] / (size_a[:, 1] + 1e-7))
    shape = 4 / math.pi**2 * angle**2
    with torch.no_grad():
        weight = shape / (1 - iou + shape + 1e-7)
    return iou, iou - apart / ((hull**2).sum(dim=1) + 1e-7) - weight * shape

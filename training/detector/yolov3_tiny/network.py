"""YOLOv3-tiny in plain torch, and the decoding that turns its raw heads into boxes and scores.

Knows nothing of targets, losses, files or pictures: tensors in, tensors out. Sources: Redmon & Farhadi, "YOLOv3: An
Incremental Improvement", 2018 (network and decoding; the tiny variant is the authors' yolov3-tiny.cfg); Bochkovskiy et
al., "YOLOv4", 2020, section 3.4 (`grid_scale`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDES = (16, 32)
"""Input pixels per cell of each head, finest first. Inputs are square, a multiple of the last."""

WIDTHS = (16, 32, 64, 128, 256, 512, 1024)
MAX_LOG_SIZE = 4.0  # a box is at most e^4 = 55 times its anchor: an untrained head must not overflow


class ConvUnit(nn.Module):
    """Convolution, batch normalisation, leaky ReLU (0.1), as darknet's `[convolutional] batch_normalize=1`."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-6, momentum=0.03)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, inputs, H, W)` to `(B, outputs, H, W)`."""
        return F.leaky_relu(self.norm(self.conv(x)), 0.1)


class YoloV3Tiny(nn.Module):
    """The network: pictures to raw heads.

    num_classes: C. anchors: for each head, finest first, the (width, height) of its boxes in input pixels, the same
    number of them for each. grid_scale: how far a box's centre may leave its cell; 1 keeps it inside (YOLOv3), s > 1
    lets it range over s cells. widths: channels of the seven backbone convolutions; other than the default ones only
    fit weights trained with them. Raises ValueError when the anchors do not fit the heads.
    """

    anchors: Tensor

    def __init__(
        self,
        num_classes: int,
        anchors: Sequence[Sequence[Sequence[float]]],
        grid_scale: float = 1.0,
        widths: Sequence[int] = WIDTHS,
    ) -> None:
        super().__init__()
        sizes = torch.tensor([[list(pair) for pair in head] for head in anchors], dtype=torch.float32)
        if sizes.ndim != 3 or sizes.shape[0] != len(STRIDES) or sizes.shape[2] != 2 or not (sizes > 0).all():
            raise ValueError(
                f"anchors: expected {len(STRIDES)} lists of positive (width, height), got shape {tuple(sizes.shape)}"
            )
        if num_classes < 1:
            raise ValueError(f"num_classes: expected at least 1, got {num_classes}")
        if grid_scale < 1:
            raise ValueError(f"grid_scale: expected at least 1, got {grid_scale}")
        if len(widths) != len(WIDTHS):
            raise ValueError(f"widths: expected {len(WIDTHS)} channel counts, got {len(widths)}")
        self.num_classes = num_classes
        self.grid_scale = grid_scale
        self.register_buffer("anchors", sizes, persistent=False)
        inputs = (3, *widths[:-1])
        self.backbone = nn.ModuleList(ConvUnit(i, o, 3) for i, o in zip(inputs, widths, strict=True))
        fine, half, deep = widths[4], widths[5], widths[6]
        outputs = sizes.shape[1] * (5 + num_classes)
        self.neck = ConvUnit(deep, fine, 1)
        self.coarse = ConvUnit(fine, half, 3)
        self.coarse_head = nn.Conv2d(half, outputs, 1)
        self.lateral = ConvUnit(fine, fine // 2, 1)
        self.fine = ConvUnit(fine // 2 + fine, fine, 3)
        self.fine_head = nn.Conv2d(fine, outputs, 1)
        self.reset_heads()

    def reset_heads(self, objectness: float = 0.01) -> None:
        """Initialise the output convolutions so that every box starts as its anchor, with this objectness.

        A rare-object prior keeps the thousands of empty cells from drowning the first steps (Lin et al., "Focal Loss for
        Dense Object Detection", 2017, section 4.1). Class probabilities start at 1 / C, at most 0.95.
        """
        prior = torch.zeros(5 + self.num_classes)
        prior[4] = math.log(objectness / (1 - objectness))
        share = min(0.95, 1 / self.num_classes)
        prior[5:] = math.log(share / (1 - share))
        for head in (self.coarse_head, self.fine_head):
            assert head.bias is not None
            nn.init.normal_(head.weight, std=0.01)
            with torch.no_grad():
                head.bias.copy_(prior.repeat(self.anchors.shape[1]))

    def forward(self, x: Tensor) -> list[Tensor]:
        """`(B, 3, S, S)` in [0, 1] to one raw head per stride, `(B, K, S / stride, S / stride, 5 + C)`.

        The last axis is (x, y, width, height, objectness, classes...), all before any non-linearity.
        """
        skip = x
        for i, unit in enumerate(self.backbone):
            x = unit(x)
            if i == 4:
                skip = x
            if i < 5:
                x = F.max_pool2d(x, 2)
            elif i == 5:  # darknet's stride-1 pooling looks right and down, and pads there
                x = F.max_pool2d(x, 2, stride=1, padding=1)[:, :, 1:, 1:]
        x = self.neck(x)
        coarse = self.coarse_head(self.coarse(x))
        up = F.interpolate(self.lateral(x), scale_factor=2.0, mode="nearest")
        fine = self.fine_head(self.fine(torch.cat([up, skip], dim=1)))
        return [self._split(fine), self._split(coarse)]

    def _split(self, head: Tensor) -> Tensor:
        batch, _, height, width = head.shape
        count = self.anchors.shape[1]
        return head.view(batch, count, 5 + self.num_classes, height, width).permute(0, 1, 3, 4, 2)


def decode(network: YoloV3Tiny, heads: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Raw heads of `network` to boxes `(B, A, 4)` xyxy input pixels and scores `(B, A, C)` in [0, 1].

    A score is objectness times class probability. A runs over heads (finest first), anchors, rows, columns.
    """
    boxes, scores = [], []
    for head, anchors, stride in zip(heads, network.anchors, STRIDES, strict=True):
        raw = head.float()
        boxes.append(decode_boxes(raw[..., :4], anchors, stride, network.grid_scale).flatten(1, 3))
        scores.append((raw[..., 4:5].sigmoid() * raw[..., 5:].sigmoid()).flatten(1, 3))
    return torch.cat(boxes, dim=1), torch.cat(scores, dim=1)


def decode_boxes(raw: Tensor, anchors: Tensor, stride: int, grid_scale: float) -> Tensor:
    """Raw boxes of one head `(B, K, H, W, 4)` to xyxy input pixels of the same shape.

    anchors: `(K, 2)` input pixels. centre = (grid_scale * sigmoid(t) - (grid_scale - 1) / 2 + cell) * stride (YOLOv4;
    grid_scale 1 is YOLOv3), size = anchor * exp(t).
    """
    cells = cell_corners(raw.shape[2], raw.shape[3], raw.device)
    centre = (raw[..., :2].sigmoid() * grid_scale - (grid_scale - 1) / 2 + cells) * stride
    half = anchors[:, None, None, :] * raw[..., 2:4].clamp(max=MAX_LOG_SIZE).exp() / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def cell_corners(height: int, width: int, device: torch.device) -> Tensor:
    """(column, row) of each cell, `(height, width, 2)` float32."""
    y = torch.arange(height, dtype=torch.float32, device=device)
    x = torch.arange(width, dtype=torch.float32, device=device)
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)

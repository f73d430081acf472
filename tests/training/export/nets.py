"""Small predictors with the contract of export: pictures to boxes and scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Grid(nn.Module):
    """One box a cell of 8 pixels; two weighted layers in front of a decoding without weights."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, 8, 4, stride=4)
            self.head = nn.Conv2d(8, 5, 2, stride=2)
            for conv in (self.stem, self.head):
                nn.init.normal_(conv.weight, std=0.3)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        cells = self.head(nn.functional.leaky_relu(self.stem(images), 0.1)).flatten(2).transpose(1, 2)
        low = cells[..., :2].sigmoid() * 30
        boxes = torch.cat([low, low + 1 + cells[..., 2:4].exp()], dim=-1)
        return boxes, cells[..., 4:].sigmoid()


class Checked(Grid):
    """As transformers' decoders do, it checks its inputs on the way."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        boxes, scores = super().forward(images)
        fine = torch.ops.aten._is_all_true(scores >= 0)
        return torch.where(fine, boxes, torch.zeros_like(boxes)), scores


class Looped(Grid):
    """torch.export cannot follow what depends on values; tracing writes down what the example did."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        boxes, scores = super().forward(images)
        return (boxes, scores) if float(scores.detach().max()) <= 1 else (boxes * 0, scores)


class Fixed(Grid):
    """Takes batches of three only."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        boxes, scores = super().forward(images)
        return boxes.reshape(3, 16, 4), scores

"""What a detection transformer answers, as boxes and scores; and true boxes as its loss takes them.

Knows nothing of networks. Boxes: centre, width and height as shares of the picture's side (Carion et al., 2020).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def class_scores(logits: Tensor, softmax: bool) -> Tensor:
    """Logits `(B, A, C)`, or `(B, A, C + 1)` with `no object` last, to scores `(B, A, C)` in [0, 1]."""
    return logits.softmax(dim=-1)[..., :-1] if softmax else logits.sigmoid()


def corners(boxes: Tensor, side: int) -> Tensor:
    """Shares (cx, cy, w, h) `(..., 4)` to xyxy input pixels `(..., 4)`."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1) * side


def targets(
    boxes: Sequence[Tensor], classes: Sequence[Tensor], side: int, device: torch.device
) -> list[dict[str, Tensor]]:
    """True boxes, `(M, 4)` xyxy input pixels a picture, and classes `(M,)`, as transformers' losses take them."""
    found = []
    for of_picture, kinds in zip(boxes, classes, strict=True):
        xyxy = of_picture.to(device, torch.float32).reshape(-1, 4) / side
        low, high = xyxy[:, :2], xyxy[:, 2:]
        found.append(
            {"boxes": torch.cat([(low + high) / 2, high - low], dim=1), "class_labels": kinds.to(device, torch.int64)}
        )
    return found

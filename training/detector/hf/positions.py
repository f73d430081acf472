"""Position embeddings at another picture size than the checkpoint's.

RF-DETR resamples them at each forward pass with a filter that ONNX does not have. Done once, when the checkpoint is
loaded, the sums are the same and the graph has none of it. Knows nothing of the other families, which resample them in a
way that exports.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


@torch.no_grad()
def fit_positions(network: nn.Module, side: int) -> None:
    """Resample RF-DETR's position embeddings to pictures of `side` pixels, in place, and note it in its configuration.

    Raises ValueError when windows of patches do not tile the picture.
    """
    config: Any = network.config
    if config.model_type != "rf_detr" or config.backbone_config.image_size == side:
        return
    backbone = config.backbone_config
    unit = backbone.patch_size * backbone.num_windows
    if side % unit:
        raise ValueError(f"expected a multiple of {unit} pixels (patches times windows)")
    for module in network.modules():
        if type(module).__name__ == "RfDetrDinov2Embeddings":
            embeddings: Any = module
            patches = (side // backbone.patch_size) ** 2
            like = torch.empty(1, patches + 1, embeddings.position_embeddings.shape[-1])
            fitted = embeddings.interpolate_pos_encoding(like, side, side)
            embeddings.position_embeddings = nn.Parameter(fitted.clone())
    backbone.image_size = side

"""Where a vision tower's learning begins: at filters and places that natural images suggest, in place of noise.

The filters of the patch embedding are those of the discrete cosine transform, lowest frequencies first (Ahmed, Natarajan &
Rao, 1974), mostly of luminance; the places are sines and cosines of the two coordinates (Vaswani et al., 2017; in two
dimensions, Beyer et al., "Better plain ViT baselines", 2022). Both are learnt on from there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LUMINANCE = (0.299, 0.587, 0.114)
_OPPONENTS = ((0.5, -0.5, 0.0), (-0.25, -0.25, 0.5))  # red against green, yellow against blue
_GAIN, _PLACE = 0.5, 0.3


def begin(tower: Any) -> None:
    """Set the patch embedding and the position embedding of transformers' SmolVLMVisionTransformer, in place."""
    embeddings = tower.embeddings
    width, _, patch, _ = embeddings.patch_embedding.weight.shape
    with torch.no_grad():
        embeddings.patch_embedding.weight.copy_(cosines(patch, width) * _GAIN)
        embeddings.patch_embedding.bias.zero_()
        embeddings.position_embedding.weight.copy_(places(embeddings.num_patches_per_side, width) * _PLACE)


def cosines(patch: int, width: int) -> Tensor:
    """`(width, 3, patch, patch)` float32: three quarters of the filters see luminance, an eighth each opponent colour."""
    step = np.arange(patch)
    waves = np.cos(np.pi * (step[:, None] + 0.5) * step[None] / patch) * np.sqrt(2 / patch)
    waves[:, 0] /= np.sqrt(2)
    order = sorted((u * u + v * v, u, v) for u in range(patch) for v in range(patch))
    coloured = width // 8
    seen = [(_LUMINANCE, width - 2 * coloured), *((opponent, coloured) for opponent in _OPPONENTS)]
    filters = [
        np.array(colour)[:, None, None] * np.outer(waves[:, v], waves[:, u])
        for colour, count in seen
        for _, u, v in order[:count]
    ]
    return torch.tensor(np.stack(filters), dtype=torch.float32)


def places(side: int, width: int) -> Tensor:
    """`(side * side, width)` float32, row after row."""
    y, x = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    rates = 1 / 100 ** (np.arange(width // 4) / (width // 4))

    def waves(values: NDArray[Any]) -> list[NDArray[Any]]:
        angles = values.reshape(-1, 1) * rates
        return [np.sin(angles), np.cos(angles)]

    return torch.tensor(np.concatenate([*waves(x), *waves(y)], axis=1), dtype=torch.float32)

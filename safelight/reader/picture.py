"""From a picture to the float tensor that a reader's vision tower takes: the one way in training, export and serving.

Knows nothing of models. The whole picture is scaled to fit a square and padded with grey (safelight/preprocess.py);
values are in [-1, 1], which is what SigLIP's towers expect (mean and standard deviation 0.5).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from safelight.preprocess import Preprocess


def to_input(pixels: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """`(H, W, 3)` uint8 RGB, upright, as contiguous `(3, side, side)` float32 in [-1, 1].

    Raises ValueError on an array of another shape or type.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size or pixels.dtype != np.uint8:
        raise ValueError(f"expected pixels (H, W, 3) uint8, got {pixels.shape} {pixels.dtype}")
    preprocess = Preprocess("letterbox", side)
    unit = preprocess.render(pixels, preprocess.views((pixels.shape[1], pixels.shape[0]))[0])
    return unit * np.float32(2) - np.float32(1)

"""The values of a picture as a checkpoint's preprocessor_config.json asks for them. Knows nothing of sizes or patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from safelight.reader.picture import to_input


def scaled(pixels: npt.NDArray[np.uint8], side: int, scaling: Mapping[str, Any]) -> Tensor:
    """`(H, W, 3)` RGB to `(3, side, side)` float32: the whole picture in a square, padded with grey.

    scaling: `do_normalize`, `image_mean` and `image_std`, of values in [0, 1]; by default mean and deviation 0.5.
    """
    signed = torch.from_numpy(to_input(pixels, side))
    unit = (signed + 1) / 2
    if not scaling.get("do_normalize", True):
        return unit
    mean = torch.tensor(scaling.get("image_mean") or [0.5] * 3, dtype=torch.float32)
    deviation = torch.tensor(scaling.get("image_std") or [0.5] * 3, dtype=torch.float32)
    return (unit - mean[:, None, None]) / deviation[:, None, None]

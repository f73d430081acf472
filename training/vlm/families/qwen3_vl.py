"""Qwen3-VL (Qwen Team, 2025). Videos are not used here.

Patches are laid out as transformers' Qwen2VLImageProcessorPil does it, which the tests compare with: windows of
`spatial_merge_size` squared patches follow one another, and each patch appears once for each frame of a pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from safelight.errors import ConfigError
from training.vlm.families.chat import Chat
from training.vlm.families.reader import HfReader, Part
from training.vlm.families.scaling import scaled


class Qwen3Vl(HfReader):
    family = "qwen3_vl"
    parts: ClassVar[Mapping[str, Part]] = {
        "model.visual.merger": "connector",
        "model.visual.deepstack_merger_list": "connector",
        "model.visual": "vision",
        "model.language_model": "text",
    }
    text_modules = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    joined = frozenset({"pixel_values", "image_grid_thw"})

    @classmethod
    def default_side(cls, config: Any) -> int:
        step = _step(config)
        return 336 // step * step

    @classmethod
    def check_side(cls, config: Any, side: int) -> None:
        if side <= 0 or side % _step(config):
            raise ConfigError(f"image_side: expected a multiple of {_step(config)}, got {side}.")

    def _chat(self) -> Chat:
        image = self.tokenizer.convert_ids_to_tokens(self.config.image_token_id)
        return Chat(self.tokenizer, image, image * (self.image_side // _step(self.config)) ** 2)

    def _sequence(self, ids: Tensor) -> dict[str, Tensor]:
        return {"mm_token_type_ids": (ids == self.config.image_token_id).to(torch.int64)}

    def _picture(self, pixels: npt.NDArray[np.uint8]) -> dict[str, Tensor]:
        vision = self.config.vision_config
        side, patch, merge = self.image_side, vision.patch_size, vision.spatial_merge_size
        windows = side // patch // merge
        picture = scaled(pixels, side, self.scaling).reshape(3, windows, merge, patch, windows, merge, patch)
        patches = picture.permute(1, 4, 2, 5, 0, 3, 6)[:, :, :, :, :, None]
        patches = patches.expand(-1, -1, -1, -1, -1, vision.temporal_patch_size, -1, -1)
        return {
            "pixel_values": patches.reshape((side // patch) ** 2, -1).contiguous(),
            "image_grid_thw": torch.tensor([[1, side // patch, side // patch]]),
        }


def _step(config: Any) -> int:
    return int(config.vision_config.patch_size * config.vision_config.spatial_merge_size)

"""LFM2-VL (Liquid AI, 2025): SigLIP2 NaFlex features, four to a token, before a language model of convolutions and attention.

One picture, never split into tiles. transformers' image processor for it needs torchvision, so patches are made here.
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

_START, _END = "<|image_start|>", "<|image_end|>"


class Lfm2Vl(HfReader):
    family = "lfm2_vl"
    parts: ClassVar[Mapping[str, Part]] = {
        "model.multi_modal_projector": "connector",
        "model.vision_tower": "vision",
        "model.language_model": "text",
    }
    text_modules = ("q_proj", "k_proj", "v_proj", "out_proj", "in_proj", "w1", "w2", "w3")

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
        return Chat(self.tokenizer, image, _START + image * (self.image_side // _step(self.config)) ** 2 + _END)

    def _picture(self, pixels: npt.NDArray[np.uint8]) -> dict[str, Tensor]:
        patch = self.config.vision_config.patch_size
        count = self.image_side // patch
        picture = scaled(pixels, self.image_side, self.scaling).reshape(3, count, patch, count, patch)
        return {
            "pixel_values": picture.permute(1, 3, 2, 4, 0).reshape(count * count, -1).contiguous(),
            "pixel_attention_mask": torch.ones(count * count, dtype=torch.int32),
            "spatial_shapes": torch.tensor([count, count]),
        }


def _step(config: Any) -> int:
    return int(config.vision_config.patch_size * config.downsample_factor)

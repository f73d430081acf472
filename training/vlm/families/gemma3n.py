"""Gemma 3n (Gemma Team, 2025). Its vision tower is timm's MobileNetV5, which needs timm and torchvision; its audio tower
is not used here and never adapted.

The tower turns a square of any side that its strides allow into 16 x 16 features, hence always 256 image tokens; the
checkpoint was trained at 256, 512 and 768 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from safelight.errors import ConfigError
from training.vlm.families.chat import Chat
from training.vlm.families.reader import HfReader, Part
from training.vlm.families.scaling import scaled

_STEP = 16  # stride of the finer of the two stages whose features the tower fuses


class Gemma3n(HfReader):
    family = "gemma3n"
    parts: ClassVar[Mapping[str, Part]] = {
        "model.embed_vision": "connector",
        "model.vision_tower": "vision",
        "model.embed_audio": "unused",
        "model.audio_tower": "unused",
        "model.language_model": "text",
    }
    text_modules = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

    @classmethod
    def default_side(cls, config: Any) -> int:
        return 336

    @classmethod
    def check_side(cls, config: Any, side: int) -> None:
        if side <= 0 or side % _STEP:
            raise ConfigError(f"image_side: expected a multiple of {_STEP}, got {side}.")

    def _chat(self) -> Chat:
        token = self.tokenizer.convert_ids_to_tokens
        image = token(self.config.image_token_id)
        begin, end = token(self.config.boi_token_id), token(self.config.eoi_token_id)
        soft = image * self.config.vision_soft_tokens_per_image
        return Chat(self.tokenizer, image, f"\n\n{begin}{soft}{end}\n\n")

    def _picture(self, pixels: npt.NDArray[np.uint8]) -> dict[str, Tensor]:
        return {"pixel_values": scaled(pixels, self.image_side, {"do_normalize": False, **self.scaling})}

"""SmolVLM (Marafioti et al., 2025), SmolVLM2, Idefics3 of the same layout, and offline_135m.

One global picture, never split into tiles: `(image side / patch)^2 / scale_factor^2` image tokens. The picture comes from
safelight/reader/picture.py, as in export and serving.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from safelight.errors import ConfigError
from safelight.reader.picture import to_input
from training.vlm.families.chat import Chat
from training.vlm.families.reader import IMAGE_FEATURES, HfReader, Part
from training.vlm.families.views import Shift, look_around
from training.vlm.interface import Example

_IMAGE = "<image>"
_AROUND = "<fake_token_around_image>"
_GLOBAL = "<global-img>"
_PIXELS = "pixel_values"


class SmolVlm(HfReader):
    family = "smolvlm"
    parts: ClassVar[Mapping[str, Part]] = {
        "model.connector": "connector",
        "model.vision_model": "vision",
        "model.text_model": "text",
    }
    text_modules = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

    @property
    def image_tokens(self) -> int:
        """How many tokens stand for a picture."""
        return int((self.image_side // self.config.vision_config.patch_size // self.config.scale_factor) ** 2)

    @classmethod
    def default_side(cls, config: Any) -> int:
        return int(config.vision_config.image_size)

    @classmethod
    def check_side(cls, config: Any, side: int) -> None:
        step, most = config.vision_config.patch_size * config.scale_factor, config.vision_config.image_size
        if side % step or not 0 < side <= most:
            raise ConfigError(f"image_side: expected a multiple of {step} up to {most}, got {side}.")

    def _chat(self) -> Chat:
        # Checkpoints without tiles need no word for "the whole picture"; ours has none.
        whole = _GLOBAL if _GLOBAL in self.tokenizer.get_vocab() else ""
        return Chat(self.tokenizer, _IMAGE, _AROUND + whole + _IMAGE * self.image_tokens + _AROUND)

    def look_around(self, views: tuple[Shift, ...]) -> None:
        inner: Any = self.base
        look_around(inner.model.vision_model, inner.model.connector, views)
        self.views = views

    def features(self, example: Example) -> Example:
        pixels = self._placed({_PIXELS: example.inputs[_PIXELS][None]})[_PIXELS]
        network: Any = self.base
        with torch.no_grad():
            rows: Tensor = network.model.get_image_features(pixels, return_dict=True).pooler_output[0]
        others = {name: value for name, value in example.inputs.items() if name != _PIXELS}
        return replace(example, inputs={**others, IMAGE_FEATURES: rows.cpu()})

    def _seen(self, features: Tensor) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        return {"image": BaseModelOutputWithPooling(pooler_output=list(features))}

    def _picture(self, pixels: npt.NDArray[np.uint8]) -> dict[str, Tensor]:
        return {_PIXELS: torch.from_numpy(to_input(pixels, self.image_side))[None]}

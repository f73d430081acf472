"""The hub's checkpoints by their sizes alone, for the memory table in docs/reader/models.md. No weights, no network.

Taken from public copies of the checkpoints' configurations and from their model cards; what is not named is transformers'
default for the class. `published`: parameters by the model card or by the name of the checkpoint, which the tests hold the
count against.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SIGLIP_BASE = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "patch_size": 16,
}
_ATTENTION = (2, 5, 8, 10, 12, 14)  # of LFM2's 16 layers; the others are convolutions


@dataclass(frozen=True)
class Size:
    """model_type, config: as in config.json. family, side: as `open_reader` takes them. outside: parameters of a part that
    needs a library which is not here."""

    family: str
    model_type: str
    config: Mapping[str, Any]
    side: int
    published: float
    outside: int = 0


def _smolvlm(model_type: str, text: Mapping[str, int], published: float) -> Size:
    whole = {"model_type": "llama", "vocab_size": 49_280, "tie_word_embeddings": False, **text}
    config = {
        "text_config": whole,
        "vision_config": {**_SIGLIP_BASE, "image_size": 512},
        "scale_factor": 4,
        "image_token_id": 49_190,
        "tie_word_embeddings": False,
    }
    return Size("smolvlm", model_type, config, 512, published)


SIZES: Mapping[str, Size] = {
    "smolvlm_256m": _smolvlm(
        "idefics3",
        {
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
        },
        256e6,
    ),
    "smolvlm2_500m": _smolvlm(
        "smolvlm",
        {
            "hidden_size": 960,
            "intermediate_size": 2560,
            "num_hidden_layers": 32,
            "num_attention_heads": 15,
            "num_key_value_heads": 5,
        },
        507e6,
    ),
    "lfm2_vl": Size(
        "lfm2_vl",
        "lfm2_vl",
        {
            "text_config": {
                "model_type": "lfm2",
                "hidden_size": 1024,
                "intermediate_size": 6656,
                "num_hidden_layers": 16,
                "num_attention_heads": 16,
                "num_key_value_heads": 8,
                "layer_types": ["full_attention" if index in _ATTENTION else "conv" for index in range(16)],
            },
            "vision_config": {
                "model_type": "siglip2_vision_model",
                **_SIGLIP_BASE,
                "num_patches": 256,
                "vision_use_head": False,
            },
        },
        320,
        450e6,
    ),
    "qwen3_vl_2b": Size(
        "qwen3_vl",
        "qwen3_vl",
        {
            "text_config": {
                "hidden_size": 2048,
                "intermediate_size": 6144,
                "num_hidden_layers": 28,
                "num_attention_heads": 16,
                "num_key_value_heads": 8,
                "head_dim": 128,
                "tie_word_embeddings": True,
            },
            "vision_config": {
                "depth": 24,
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_heads": 16,
                "out_hidden_size": 2048,
                "deepstack_visual_indexes": [5, 11, 17],
            },
            "tie_word_embeddings": True,
        },
        320,
        2e9,
    ),
    # Defaults all: they are E4B's. The vision tower is timm's, 300 million parameters by its name.
    "gemma3n_e4b": Size("gemma3n", "gemma3n", {}, 336, 8e9, outside=300_000_000),
}

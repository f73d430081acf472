"""What a reader's graphs need to be run, read off the network that they are made of. Knows nothing of files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import LlamaConfig, SmolVLMForConditionalGeneration

from safelight.errors import ConfigError
from safelight.reader.manifest import Architecture
from training.vlm.families.reader import HfReader


def network_of(reader: HfReader) -> Any:
    """The SmolVLMForConditionalGeneration around a Llama that a reader is. Raises ConfigError when it is another, or not
    whole."""
    network = reader.base
    if not isinstance(network, SmolVLMForConditionalGeneration) or not isinstance(
        network.config.text_config, LlamaConfig
    ):
        raise ConfigError(
            f"Expected a SmolVLM-architecture model around a Llama, got one of {reader.family}: its graphs are not written yet."
        )
    if reader.four_bit:
        raise ConfigError("Expected a network that is not in 4 bits. Open the base whole for its export.")
    return network


def architecture(reader: HfReader, adapted: Mapping[str, tuple[int, int]]) -> Architecture:
    """As the manifest of a base says it. adapted: as `linear.adaptable` gives it."""
    network: Any = network_of(reader)
    text, vision = network.config.text_config, network.config.vision_config
    side = reader.image_side // vision.patch_size // network.config.scale_factor
    return Architecture(
        family=reader.family,
        layers=text.num_hidden_layers,
        kv_heads=text.num_key_value_heads,
        head_dim=network.model.text_model.layers[0].self_attn.head_dim,
        hidden=text.hidden_size,
        vocabulary=network.lm_head.out_features,
        positions=text.max_position_embeddings,
        image_side=reader.image_side,
        image_tokens=side * side,
        image_token_id=network.config.image_token_id,
        eos_token_ids=(reader.eos_id,),
        adapted=dict(adapted),
    )

"""offline_135m: a base model that needs no model hub. SmolVLM's architecture (Marafioti et al., 2025) around a language
model that people use, SmolLM2-135M-Instruct (Allal et al., 2025), with a small vision tower of our own.

The language model comes from a GGUF file and is read by transformers; it stays as it is. The tower and the connector begin
at random: pretraining.py teaches them. Knows nothing of pictures.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

from safelight.errors import ConfigError, WeightsError

IMAGE, AROUND = "<image>", "<fake_token_around_image>"
END = "<|im_end|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, as SmolLM2 has it, without a system turn: the picture stands where the message has it."""


@dataclass(frozen=True)
class Tower:
    """The vision tower (a ViT; Dosovitskiy et al., 2021) and how many of its patches become one image token.

    image_side, patch: pixels. width, layers, heads: of the transformer. merged: patches a side of an image token's square
    (pixel shuffle; Shi et al., 2016)."""

    image_side: int
    patch: int
    width: int
    layers: int
    heads: int
    merged: int

    def __post_init__(self) -> None:
        if self.image_side % (self.patch * self.merged):
            raise ConfigError(
                f"tower: expected image_side in squares of {self.patch * self.merged}, got {self.image_side}."
            )
        if self.width % self.heads:
            raise ConfigError(f"tower: expected a width that {self.heads} heads divide, got {self.width}.")

    @property
    def image_tokens(self) -> int:
        """How many tokens stand for a picture."""
        return int((self.image_side // (self.patch * self.merged)) ** 2)


def language_model(gguf: Path) -> tuple[nn.Module, Any]:
    """The language model in a GGUF file, its weights as float32, and its tokenizer. Raises WeightsError."""
    if not gguf.is_file():
        raise WeightsError(f"Expected the language model {gguf.name}: run `python -m pipelines.reader.fetch`.")
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    try:
        with _without_bars():
            model = AutoModelForCausalLM.from_pretrained(
                **where, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
            )
            tokenizer = AutoTokenizer.from_pretrained(**where)
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{gguf.name} is no GGUF file that transformers reads ({type(error).__name__}).") from None
    return model, tokenizer


def assemble(
    language: nn.Module, tokenizer: Any, tower: Tower, seed: int
) -> tuple[SmolVLMForConditionalGeneration, Any]:
    """The whole model, with the language model's weights and a tower and connector at random, and its tokenizer, which
    knows the words for pictures."""
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE, AROUND]})
    tokenizer.chat_template = CHAT_TEMPLATE
    text: Any = language.config
    torch.manual_seed(seed)
    model = SmolVLMForConditionalGeneration(_config(text, tokenizer, tower)).float()
    state = {
        name.removeprefix("model."): value for name, value in language.state_dict().items() if name != "lm_head.weight"
    }
    words = state["embed_tokens.weight"]
    state["embed_tokens.weight"] = _with_new_words(words, len(tokenizer))
    model.model.text_model.load_state_dict(state)
    model.tie_weights()
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(END)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def _config(text: Any, tokenizer: Any, tower: Tower) -> SmolVLMConfig:
    values = {
        key: value for key, value in text.to_dict().items() if key not in ("quantization_config", "_name_or_path")
    }
    end = tokenizer.convert_tokens_to_ids(END)
    values |= {"vocab_size": len(tokenizer), "model_type": "llama", "eos_token_id": end, "tie_word_embeddings": True}
    vision = {
        "hidden_size": tower.width,
        "intermediate_size": 4 * tower.width,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads,
        "image_size": tower.image_side,
        "patch_size": tower.patch,
    }
    return SmolVLMConfig(
        vision_config=vision,
        text_config=values,
        scale_factor=tower.merged,
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )


def _with_new_words(words: Tensor, count: int) -> Tensor:
    """New words begin as the mean of all: near none of them, and as long as a word is."""
    new = words.mean(0, keepdim=True).expand(count - len(words), -1)
    return torch.cat([words, new])


@contextmanager
def _without_bars() -> Iterator[None]:
    """transformers tells of every tensor that it reads."""
    from transformers.utils import logging as told

    shown, level = told.is_progress_bar_enabled(), logging.getLogger("transformers").level
    told.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            told.enable_progress_bar()
        logging.getLogger("transformers").setLevel(level)

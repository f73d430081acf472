"""Low-rank adapters in a detection transformer, through PEFT.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021; Liu et al., "DoRA: Weight-Decomposed
Low-Rank Adaptation", 2024. Knows nothing of checkpoints or training. The heads are trained whole: they are small, often
new, and some families share their weights between two modules, which copies made by PEFT would tear apart.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from safelight.errors import ConfigError
from training.detector.hf.names import is_head


@dataclass(frozen=True)
class Lora:
    """rank, alpha: the adapters' product is scaled by alpha / rank. dropout: of the adapters' input. dora: also learn the
    length of each weight's columns. targets: ends of module names that are adapted (linear layers, and convolutions without
    groups), None for every linear layer that is not in a head. heads: whether the heads of classes and boxes are trained,
    whole."""

    rank: int = 8
    alpha: float = 16
    dropout: float = 0.0
    dora: bool = False
    targets: Sequence[str] | None = None
    heads: bool = True

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise ValueError(
                f"expected rank >= 1, alpha > 0 and 0 <= dropout < 1, got {self.rank}, {self.alpha} and {self.dropout}"
            )


def adapt(network: nn.Module, lora: Lora) -> nn.Module:
    """The network with adapters, which alone are trained, with the heads if `lora.heads`. Changes `network`.

    Raises ConfigError when no module is called as the targets say.
    """
    from peft import LoraConfig, get_peft_model

    targets = [name for name, module in network.named_modules() if _wanted(name, module, lora)]
    if not targets:
        named = "a linear layer" if lora.targets is None else f"a layer whose name ends in one of {list(lora.targets)}"
        raise ConfigError(f"lora: expected {named}, and this network has none.")
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        use_dora=lora.dora,
        target_modules=targets,
    )
    with _wordless(network):
        adapted: nn.Module = get_peft_model(network, config)
    if lora.heads:
        for name, parameter in adapted.named_parameters():
            if is_head(name):
                parameter.requires_grad_(True)
    return adapted


def fold(adapted: nn.Module) -> nn.Module:
    """A copy of the network without adapters, their weights added to those they adapt."""
    whole = copy.deepcopy(adapted)
    with _wordless(whole):
        folded: nn.Module = whole.merge_and_unload(safe_merge=True)  # type: ignore[operator]
    return folded


def _wanted(name: str, module: nn.Module, lora: Lora) -> bool:
    if not isinstance(module, nn.Linear | nn.Conv2d):
        return False
    if lora.dora and not bool(module.weight.flatten(1).norm(dim=1).all()):
        return False  # DoRA divides by the lengths, and layers of a network that was never trained may start at zero
    if lora.targets is None:
        return isinstance(module, nn.Linear) and not is_head(name)
    if isinstance(module, nn.Conv2d) and module.groups > 1:
        return False  # PEFT cannot fold these
    return any(f".{name}".endswith(f".{end}") for end in lora.targets)


@contextmanager
def _wordless(network: nn.Module) -> Iterator[None]:
    """Some detectors say that they tie word embeddings and mean their heads. PEFT would ask them for the words."""
    config: Any = network.config
    tied = getattr(config, "tie_word_embeddings", False)
    config.tie_word_embeddings = False
    try:
        yield
    finally:
        config.tie_word_embeddings = tied

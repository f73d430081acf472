"""How the feature extractor is trained: at which share of the learning rate, and from which step on.

Knows nothing of optimisers. A pretrained backbone is worth keeping while new heads are still random, and needs smaller
steps afterwards (Carion et al., "End-to-End Object Detection with Transformers", 2020: a tenth of the learning rate).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass(frozen=True)
class Backbone:
    """learning_rate_factor: of the other parts' learning rate. frozen_steps: optimiser steps for which it stays as it is,
    or `always`."""

    learning_rate_factor: float = 0.1
    frozen_steps: int | Literal["always"] = 0

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate_factor <= 1:
            raise ValueError(f"learning_rate_factor: expected a number in (0, 1], got {self.learning_rate_factor}")
        if self.frozen_steps != "always" and (not isinstance(self.frozen_steps, int) or self.frozen_steps < 0):
            raise ValueError(f"frozen_steps: expected a number of steps or 'always', got {self.frozen_steps!r}")

    def frozen_at(self, step: int) -> bool:
        """Whether the backbone stays as it is at this step."""
        return self.frozen_steps == "always" or step < self.frozen_steps


def freeze(parameters: Sequence[nn.Parameter], frozen: bool) -> None:
    """Stop or resume their training. A parameter without a gradient is left alone by every optimiser of torch."""
    for parameter in parameters:
        parameter.requires_grad_(not frozen)
        if frozen:
            parameter.grad = None


def rest_frozen_norms(network: nn.Module, training: bool) -> None:
    """Let batch normalisations whose weights are not trained use, and not move, the statistics they came with."""
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.weight is not None:
            module.train(training and module.weight.requires_grad)

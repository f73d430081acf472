"""A reader's learning as Lightning runs it: loss on answers, optimiser, schedule, validation by reading pictures.

Knows nothing of data on disk, of trackers or of configuration files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from safelight.errors import ConfigError
from training.fitting.learner import Learner
from training.vlm.datamodule import Sample
from training.vlm.families.reader import HfReader
from training.vlm.features import Features
from training.vlm.interface import IGNORED, Example
from training.vlm.quick import Quick

MONITOR = "val/exact"
"""What the best weights are chosen by: the share of validation answers that are read to the letter, greedily."""


@dataclass(frozen=True)
class Rates:
    """Peak learning rates. adapter: of low-rank matrices, wherever they are. connector, vision: of these parts, where they
    are trained whole."""

    adapter: float
    connector: float
    vision: float

    def __post_init__(self) -> None:
        for name in ("adapter", "connector", "vision"):
            if getattr(self, name) < 0:
                raise ConfigError(f"rates.{name}: expected 0 or more, got {getattr(self, name)}.")


class ReaderModule(Learner):
    """reader: adapted; what of it has a gradient is trained, and is all that checkpoints hold. prompt: of the task. rates:
    their peaks, reached after `warmup_steps`, then a cosine down to 2 % at `steps` (Loshchilov & Hutter, "SGDR", 2017).
    weight_decay: of AdamW, on matrices only. max_new_tokens: of an answer in validation. cache_features: of image features
    that are kept (features.py); 0 computes them anew at every look, as it must be where pictures vary or parts that see are
    trained. Raises ConfigError when nothing would be trained, or values make no sense."""

    monitor = MONITOR
    advice = "look at the records with the longest answers"

    def __init__(
        self,
        reader: HfReader,
        prompt: str,
        rates: Rates,
        weight_decay: float,
        warmup_steps: int,
        steps: int,
        max_new_tokens: int,
        cache_features: int = 0,
    ) -> None:
        super().__init__()
        least = {"weight_decay": 0, "warmup_steps": 0, "steps": 1, "max_new_tokens": 1, "cache_features": 0}
        given = {"weight_decay": weight_decay, "warmup_steps": warmup_steps, "steps": steps}
        for name, value in {**given, "max_new_tokens": max_new_tokens, "cache_features": cache_features}.items():
            if value < least[name]:
                raise ConfigError(f"module.{name}: expected at least {least[name]}, got {value}.")
        self.network: nn.Module = reader.model
        self.reader = reader
        self._trained = frozenset(name for name, value in self.named_parameters() if value.requires_grad)
        if not self._trained:
            raise ConfigError("Expected something of the reader to be trained: adapt it first.")
        self._prompt, self._rates, self._weight_decay = prompt, rates, weight_decay
        self._warmup_steps, self._steps, self._max_new_tokens = warmup_steps, steps, max_new_tokens
        self._features = Features(reader, cache_features) if cache_features else None
        self._quick: Quick | None = None
        forgiving = partial(_needs_no_frozen, self._trained)
        self.register_load_state_dict_post_hook(forgiving)  # type: ignore[no-untyped-call]  # torch's own
        self._sums = torch.zeros(4, dtype=torch.float64)

    def on_fit_start(self) -> None:
        """Dropout and gradient checkpointing work in training mode; transformers opens networks in the other. Raises
        ConfigError when features are to be kept of pictures that vary."""
        data = getattr(self.trainer, "datamodule", None)
        if self._features is not None and getattr(data, "augment", None) is not None:
            raise ConfigError("cache_features: expected pictures as they are: set datamodule.augment to null.")
        self.network.train()
        callbacks: list[Any] = self.trainer.callbacks  # type: ignore[attr-defined]  # which Lightning sets by a connector
        averaged = any(isinstance(callback, WeightAveraging) for callback in callbacks)  # of all weights
        short = self.trainer.precision == "bf16-mixed" and not averaged
        self._quick = Quick(self.reader, eager=self.device.type == "cpu", short=short)
        self._quick.begin()

    def on_validation_start(self) -> None:
        """Validation is with the base as it is."""
        if self._quick is not None:
            self._quick.lengthen()

    def on_validation_end(self) -> None:
        """On with learning."""
        if self._quick is not None:
            self._quick.shorten()

    def on_fit_end(self) -> None:
        """The reader is as it was, but for what it learnt."""
        if self._quick is not None:
            self._quick.end()

    def training_step(self, batch: Sequence[Sample], _: int) -> dict[str, Any]:
        """The loss of a batch, over its answers' tokens."""
        loss = self.reader.loss(self.reader.collate([self._example(sample) for sample in batch]))
        return {"loss": loss, "terms": {"loss": loss.detach()}}

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self._sums.zero_()

    def validation_step(self, batch: Sequence[Sample], _: int) -> None:
        """The loss of a batch, and what is read in its pictures, with the weights as they are: without autocast, as served."""
        examples = self.reader.collate([sample.example for sample in batch])
        tokens = int((examples["labels"] != IGNORED).sum())
        loss = float(self.reader.loss(examples))
        with torch.autocast(self.device.type, enabled=False):
            read = self.reader.generate([sample.pixels for sample in batch], self._prompt, self._max_new_tokens)
        right = sum(answer.text == sample.text for answer, sample in zip(read, batch, strict=True))
        self._sums += torch.tensor([loss * tokens, tokens, right, len(batch)], dtype=torch.float64)

    def on_validation_epoch_end(self) -> None:
        """Over the records of all processes."""
        sums = self.trainer.strategy.reduce(self._sums.to(self.device), reduce_op="sum")
        assert isinstance(sums, Tensor)
        loss, tokens, right, records = sums.tolist()
        self.log("val/loss", loss / tokens, prog_bar=True, batch_size=1)
        self.log("val/exact", right / records, prog_bar=True, batch_size=1)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW (Loshchilov & Hutter, 2019) on what is trained; the first group is the adapters'."""
        optimiser = torch.optim.AdamW(self.parameter_groups())
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self.learning_rate_factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What is trained, by learning rate and decay, as optimisers take it."""
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.reader.base.named_parameters():
            if parameter.requires_grad:
                decay = self._weight_decay if parameter.ndim > 1 else 0.0
                groups.setdefault((self._rate(name), decay), []).append(parameter)
        first = sorted(groups, key=lambda key: (key[0] != self._rates.adapter, -key[1]))
        return [{"params": groups[rate, decay], "lr": rate, "weight_decay": decay} for rate, decay in first]

    def learning_rate_factor(self, step: int) -> float:
        """Share of the peak learning rate at a step."""
        warm = min(1.0, (step + 1) / max(1, self._warmup_steps))
        return warm * (0.02 + 0.98 * (1 + math.cos(math.pi * min(1.0, step / self._steps))) / 2)

    def state_dict(self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """What is trained, without the frozen rest."""
        whole = super().state_dict(destination=destination, prefix=prefix, keep_vars=keep_vars)
        for name in [name for name in whole if name.startswith(prefix)]:
            if name.removeprefix(prefix) not in self._trained:
                del whole[name]
        return whole

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """What is trained, all of it. Raises ConfigError when it is that of another reader."""
        if set(state_dict) != self._trained:
            raise ConfigError("Expected the trained weights of this reader, got those of another.")
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

    def _example(self, sample: Sample) -> Example:
        return sample.example if self._features is None else self._features.example(sample.number, sample.example)

    def _rate(self, name: str) -> float:
        part = self.reader.part(name)
        if "lora_" in name or part not in ("vision", "connector"):
            return self._rates.adapter
        return self._rates.vision if part == "vision" else self._rates.connector


def _needs_no_frozen(trained: frozenset[str], _: nn.Module, keys: Any) -> None:
    """What is frozen is not missing from a stored state, also where the module is part of an average."""
    missing = [name for name in keys.missing_keys if name.removeprefix("module.") in trained]
    keys.missing_keys[:] = missing

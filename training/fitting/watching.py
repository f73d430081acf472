"""Callbacks that watch a training: that its numbers stay finite, that chance is repeatable, how long it waits for data.

Know nothing of what is learnt.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.profilers import Profiler
from torch import Tensor
from torch.optim import Optimizer

from safelight.errors import TrainingDiverged
from training.fitting.learner import Learner


class Seeded(pl.Callback):
    """Whatever the network draws at random (dropout, the noise of denoising queries) depends on the seed, the step, the
    backward pass and the process alone, so that a resumed run draws what the uninterrupted one would have."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed the generators of this process."""
        part = batch_idx % trainer.accumulate_grad_batches
        sequence = np.random.SeedSequence([self._seed, 2, trainer.global_step, part, trainer.global_rank])
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        np.random.seed(int(sequence.generate_state(1)[0]))  # some libraries draw from the global one


class Finite(pl.Callback):
    """Ends a training whose loss or gradient is not a number, before it reaches the weights."""

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """The loss. Among several processes the gradient tells all of them alike."""
        if trainer.world_size == 1 and not torch.isfinite(loss):
            raise TrainingDiverged(_said("loss", trainer))

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """The gradient; with 16-bit floats infinities are usual, and the loss scaler leaves such steps out."""
        if trainer.precision == "16-mixed":
            return
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if gradients and not torch.isfinite(torch.nn.utils.get_total_norm(gradients)):
            raise TrainingDiverged(_said("gradient", trainer))


class LoaderWait(Profiler):
    """How long the training loop waited for batches, by Lightning's own marks around fetching one."""

    _ACTION = "[_TrainingEpochLoop].train_dataloader_next"

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self._since = 0.0

    def start(self, action_name: str) -> None:
        """Lightning begins something."""
        if action_name == self._ACTION:
            self._since = time.monotonic()

    def stop(self, action_name: str) -> None:
        """Lightning ends it."""
        if action_name == self._ACTION:
            self.seconds += time.monotonic() - self._since


def _said(what: str, trainer: pl.Trainer) -> str:
    step = trainer.global_step + 1
    rate = trainer.optimizers[0].param_groups[0]["lr"]
    learner = trainer.lightning_module
    advice = learner.advice if isinstance(learner, Learner) else Learner.advice
    return (
        f"The {what} of step {step} is not finite (learning rate {rate:.2g}). Lower module.learning_rate, lengthen "
        "module.warmup_steps, clip harder (trainer.gradient_clip_val), try trainer.precision=32-true, or "
        f"{advice}. The best weights so far stay in the checkpoints folder."
    )

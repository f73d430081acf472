"""What a training keeps on disk while it runs: the best weights so far, and where to go on after an interruption.

Both are written beside their place and moved into it, so that a kill at any moment leaves a whole file. Knows nothing of
whether a training may be resumed (resuming.py).
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import WeightAveraging
from safetensors.torch import load_file, save_file
from torch import Tensor

RESUME = "resume.ckpt"


class Best(pl.Callback):
    """Keeps the weights of the best validation: the averaged ones where there is an average.

    folder: gets best-STEP.safetensors. Older ones go when a checkpoint no longer needs them. monitor: the greater the
    better.
    """

    def __init__(self, folder: Path, monitor: str, average: WeightAveraging | None = None) -> None:
        self._folder, self._monitor, self._average = folder, monitor, average
        self.score = math.nan
        self.step = 0

    def weights(self) -> dict[str, Tensor]:
        """The best weights, as the Lightning module's state."""
        return load_file(self._path())

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the weights if they are better than all before."""
        score = float(trainer.callback_metrics[self._monitor])
        if trainer.sanity_checking or not (self.step == 0 or math.isnan(self.score) or score > self.score):
            return
        self.score, self.step = score, trainer.global_step
        saved = {"state_dict": trainer.strategy.lightning_module_state_dict()}
        if self._average is not None:
            self._average.on_save_checkpoint(trainer, pl_module, saved)  # puts the average into state_dict
        if trainer.is_global_zero:
            self._folder.mkdir(parents=True, exist_ok=True)
            scratch = self._folder / ".best"
            save_file(
                {n: v.contiguous().clone() for n, v in saved["state_dict"].items()}, scratch
            )  # tied weights: twice
            settle(scratch, self._path())
        trainer.strategy.barrier()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove what neither this run nor the checkpoint just written needs. Comes after `Resumable`."""
        if trainer.is_global_zero:
            for path in self._folder.glob("best-*.safetensors"):
                if path != self._path():
                    path.unlink()

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        return {"score": self.score, "step": self.step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.score, self.step = float(state_dict["score"]), int(state_dict["step"])

    def _path(self) -> Path:
        return self._folder / f"best-{self.step}.safetensors"


class Resumable(pl.Callback):
    """Writes `RESUME` when a round begins and, with `every`, after each so many steps.

    The beginning of a round, not the end of the last: there everything that belongs to a round is done with.
    """

    def __init__(self, folder: Path, every: int | None = None) -> None:
        self._folder, self._every = folder, every

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The state before a round."""
        if trainer.global_step:
            self._save(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The state within a round, except at its end, whose validation is not yet done."""
        done = batch_idx + 1
        stepped = done % trainer.accumulate_grad_batches == 0
        if self._every and stepped and done < trainer.num_training_batches and trainer.global_step % self._every == 0:
            self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        scratch = self._folder / f".{RESUME}"
        trainer.save_checkpoint(scratch)
        if trainer.is_global_zero:
            settle(scratch, self._folder / RESUME)
        trainer.strategy.barrier()


class PlainCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint where it is told to, in one go: no copy in memory or in the system's folder for temporary files,
    where a kill would leave it. `Resumable` moves it into its place."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """See `TorchCheckpointIO`."""
        torch.save(checkpoint, path)


def settle(scratch: Path, path: Path) -> None:
    """Move a finished file into its place: after a crash there is the old one or the new one, whole."""
    with scratch.open("rb") as file:
        os.fsync(file.fileno())
    scratch.replace(path)

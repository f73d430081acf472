"""Callbacks for looking into a training: can it learn one batch by heart, and where does its time go.

Know nothing of what is learnt.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.profiler import ProfilerActivity, profile, schedule

from safelight.errors import TrainingDiverged


class LearnsByHeart(pl.Callback):
    """For a training that sees one batch again and again: ends it when the loss has fallen to `share` of its first value.

    Raises TrainingDiverged when it has not by the last step: then something between data, loss and optimiser
    does not fit together. first, last: the loss at the first and at the latest step.
    """

    def __init__(self, share: float) -> None:
        if not 0 < share < 1:
            raise ValueError(f"share: expected a number between 0 and 1, got {share}")
        self._share = share
        self.first = self.last = float("nan")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Compare the loss with the first one."""
        self.last = float(outputs["terms"]["loss"])
        if batch_idx == 0 and trainer.current_epoch == 0:
            self.first = self.last
        if self.last <= self._share * self.first:
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say so if it is not learnt."""
        if not self.last <= self._share * self.first:
            raise TrainingDiverged(
                f"One batch was not learnt by heart: its loss went from {self.first:.3f} to {self.last:.3f} in "
                f"{trainer.global_step} steps, expected at most {self._share:.0%} of the first. Look at the "
                "batch, at the learning rate, and at what is frozen."
            )


class Profiled(pl.Callback):
    """torch's profiler over a few steps after two to warm up: writes operators.txt (what took longest) and trace.json (for
    chrome://tracing or Perfetto) into `folder`."""

    def __init__(self, folder: Path, steps: int = 3) -> None:
        self._folder = folder
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        self._profile = profile(
            activities=activities,
            schedule=schedule(wait=1, warmup=1, active=steps, repeat=1),
            record_shapes=True,
            on_trace_ready=self._write,
        )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin."""
        self._profile.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A step is over."""
        self._profile.step()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End."""
        self._profile.stop()

    def _write(self, result: profile) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        longest = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        (self._folder / "operators.txt").write_text(result.key_averages().table(sort_by=longest, row_limit=40) + "\n")
        result.export_chrome_trace(str(self._folder / "trace.json"))

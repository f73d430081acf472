"""What a training says of itself on the way: a row every few steps and one a validation, as numbers and as a table.

Knows nothing of trackers; whoever wants the rows is given them (fitting.py).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

Row = dict[str, float]
"""`step` (optimiser steps done) and figures by name."""


class History(pl.Callback):
    """Gathers rows. Training figures are means over the processes and over the backward passes of a step.

    every: a row each so many steps. The rows travel in checkpoints.
    """

    def __init__(self, every: int = 10) -> None:
        self._every = every
        self._rows: dict[int, Row] = {}
        self._passes: list[dict[str, Tensor]] = []
        self._rate = 0.0

    @property
    def rows(self) -> list[Row]:
        """All rows so far, by step."""
        return [self._rows[step] for step in sorted(self._rows)]

    def add(self, step: int, **figures: float) -> None:
        """Enter figures into the row of a step."""
        self._rows.setdefault(step, {"step": step}).update(figures)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The learning rate that this step uses; when it is done, it is that of the next."""
        self._rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A row when a step is done and it is time."""
        self._passes.append(outputs["terms"])
        if len(self._passes) < trainer.accumulate_grad_batches:
            return
        passes, self._passes = self._passes, []
        step = trainer.global_step
        if step % self._every == 0:
            means = torch.stack([torch.stack([p[name].float() for name in passes[0]]) for p in passes]).mean(dim=0)
            means = trainer.strategy.reduce(means, reduce_op="mean")
            figures = {f"train_{name}": float(mean) for name, mean in zip(passes[0], means, strict=True)}
            self.add(step, lr=self._rate, **figures)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The figures of a validation."""
        if not trainer.sanity_checking:
            figures = {name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith("val/")}
            self.add(trainer.global_step, **{name.replace("/", "_"): value for name, value in figures.items()})

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint."""
        self._rows = {int(row["step"]): dict(row) for row in state_dict["rows"]}


def write_history(rows: Sequence[Row], path: Path) -> None:
    """The rows as CSV for `dvc plots`, one a step; cells without a figure are empty."""
    columns = ["step", *sorted({name for row in rows for name in row} - {"step"})]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: "" if math.isnan(value) else value for name, value in row.items()})

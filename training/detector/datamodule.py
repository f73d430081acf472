"""Prepared scenes as Lightning loads them: tiles to train on, whole scenes to validate on.

Knows nothing of networks. Decoded scenes stay in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from safelight.preprocess import Preprocess
from training.detector.rounds import RoundLoader, Rounds, RoundSampler
from training.detector.scenes import Augment, LabelledScene, Tiles, read_scenes

Batch = tuple[Tensor, list[Tensor], list[Tensor]]
"""Pictures `(B, 3, S, S)`, and for each picture boxes `(M, 4)` xyxy input pixels and classes `(M,)`."""


class SceneDataModule(pl.LightningDataModule):
    """root: folder of the prepared splits. preprocess: the one of training, export and serving. augment: how tiles vary.
    steps: optimiser steps in all, of `batch_size` tiles each. val_every: of them a round has, by default all. accumulate:
    backward passes a step. seed: fixes every tile. workers: loader processes."""

    def __init__(
        self,
        root: str,
        preprocess: Preprocess,
        augment: Augment,
        batch_size: int,
        steps: int,
        seed: int,
        workers: int = 0,
        val_every: int | None = None,
        accumulate: int = 1,
    ) -> None:
        super().__init__()
        self.rounds = Rounds(steps, val_every or steps, batch_size, accumulate)
        self._root, self._preprocess, self._augment = Path(root), preprocess, augment
        self._seed, self._workers = seed, workers
        self._scenes: dict[str, list[LabelledScene]] = {}

    def scenes(self, split: str) -> list[LabelledScene]:
        """A split's scenes, read once."""
        if split not in self._scenes:
            self._scenes[split] = read_scenes(self._root / split)
        return self._scenes[split]

    def train_dataloader(self) -> RoundLoader:
        """A round of batches; what is in them is fixed by the seed."""
        samples = self.rounds.steps * self.rounds.batch_size
        tiles = Tiles(self.scenes("train"), self._preprocess, self._augment, samples, self._seed)
        sampler = RoundSampler(self.rounds, *self._place())
        return RoundLoader(tiles, sampler, collate_fn=collate, num_workers=self._workers)

    def val_dataloader(self) -> DataLoader[LabelledScene]:
        """Whole scenes, one at a time; of several processes each takes every n-th."""
        world, rank = self._place()
        scenes: Sequence[LabelledScene] = self.scenes("val")
        mine: Any = Subset(scenes, range(rank, len(scenes), world))  # type: ignore[arg-type]
        return DataLoader(mine, batch_size=None, collate_fn=_as_it_is)  # type: ignore[arg-type]

    def _place(self) -> tuple[int, int]:
        """How many processes train together, and which of them this is."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer is not None else (1, 0)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Tiles go to the device whole; a scene stays, its views follow one batch at a time."""
        if isinstance(batch, LabelledScene):
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)


def collate(samples: list[tuple[Tensor, Tensor, Tensor]]) -> Batch:
    """Tiles to a batch; boxes stay lists, because their number differs."""
    pictures, boxes, classes = zip(*samples, strict=True)
    return torch.stack(pictures).contiguous(memory_format=torch.channels_last), list(boxes), list(classes)


def _as_it_is(scene: LabelledScene) -> LabelledScene:
    return scene

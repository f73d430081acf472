"""Drawn pictures as Lightning loads them. Knows nothing of networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from safelight.reader.task import Task
from training.fitting.rounds import RoundLoader, Rounds, RoundSampler
from training.vlm.photometry import Photometry
from training.vlm.tower.lessons import Lesson, Lessons, stacked
from training.vlm.tower.pool import Seen
from training.vlm.tower.words import Words


class LessonsDataModule(pl.LightningDataModule):
    """learn, look: pictures to learn from, and others to validate on. tasks: by name. patch: of the tower, pixels. rounds:
    see `Rounds`. shift, light: how pictures vary from look to look. workers: loader processes."""

    def __init__(
        self,
        learn: Sequence[Seen],
        look: Sequence[Seen],
        tasks: Mapping[str, Task],
        words: Words,
        *,
        patch: int,
        rounds: Rounds,
        shift: int,
        light: Photometry,
        seed: int,
        workers: int,
    ) -> None:
        super().__init__()
        self._rounds, self._workers = rounds, workers
        self._learn = Lessons(
            learn, tasks, words, patch=patch, shift=shift, light=light, seed=seed, batch=rounds.batch_size
        )
        self._look = Lessons(look, tasks, words, patch=patch)

    def train_dataloader(self) -> RoundLoader:
        """A round of batches; what is in them is fixed by the seed."""
        return RoundLoader(
            self._learn,
            RoundSampler(self._rounds),
            lambda: self.trainer.global_step if self.trainer is not None else 0,
            collate_fn=stacked,
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
        )

    def val_dataloader(self) -> DataLoader[Lesson]:
        """The pictures to validate on, as they were drawn."""
        return DataLoader(self._look, batch_size=self._rounds.batch_size, collate_fn=stacked)

    def transfer_batch_to_device(self, batch: Lesson, device: torch.device, dataloader_idx: int) -> Lesson:
        """Every tensor of it."""
        return Lesson(*(value.to(device) for value in vars(batch).values()))

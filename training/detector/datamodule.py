"""Prepared scenes as Lightning loads them: tiles or pictures to train on, whole scenes to validate on.

Knows nothing of networks.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from safelight.errors import ConfigError
from safelight.preprocess import Preprocess
from training.detector.photos import PhotoAugment, Photos
from training.detector.scenes import CACHE_BYTES, Augment, LabelledScene, Scenes, Tiles
from training.fitting.cache import PictureCache
from training.fitting.rounds import RoundLoader, Rounds, RoundSampler

TINY = 64
"""Samples in all up to which starting loader processes costs more than it gains."""

MOST_WORKERS = 8

Batch = tuple[Tensor, list[Tensor], list[Tensor]]
"""Pictures `(B, 3, S, S)`, and for each picture boxes `(M, 4)` xyxy input pixels and classes `(M,)`."""


class SceneDataModule(pl.LightningDataModule):
    """root: folder of the prepared splits. preprocess: the one of training, export and serving; its mode says whether tiles
    or whole pictures are trained on. augment: how they vary, `Augment` for tiles, `PhotoAugment` or None for pictures.
    steps: optimiser steps in all, of `batch_size` samples each. val_every: of them a round has, by default all. accumulate:
    backward passes a step. seed: fixes every sample. balance: share of samples below which a class is rare and comes up
    more often; None for all alike. cache_bytes: of decoded pictures that are kept, all loader processes together, and as
    much again for validation. workers: loader processes; None for one less than there are processors. pin_memory: for
    copies to a GPU. one_batch: see `RoundSampler`. Raises ConfigError when these do not go together."""

    def __init__(
        self,
        root: str,
        preprocess: Preprocess,
        augment: Augment | PhotoAugment | None,
        batch_size: int,
        steps: int,
        seed: int,
        workers: int | None = 0,
        val_every: int | None = None,
        accumulate: int = 1,
        balance: float | None = None,
        cache_bytes: int = CACHE_BYTES,
        pin_memory: bool = False,
        one_batch: bool = False,
    ) -> None:
        super().__init__()
        self.rounds = Rounds(steps, val_every or steps, batch_size, accumulate)
        wanted = (Augment,) if preprocess.mode == "tiles" else (PhotoAugment, type(None))
        if not isinstance(augment, wanted):
            raise ConfigError(
                f"augment: {type(augment).__name__} does not go with preprocess.mode {preprocess.mode!r}."
            )
        self._root, self._preprocess, self._augment = Path(root), preprocess, augment
        self._seed, self._balance = seed, balance
        self._cache_bytes, self._workers, self._pin_memory = cache_bytes, workers, pin_memory
        self._one_batch = one_batch
        self._scenes: dict[str, Scenes] = {}

    def scenes(self, split: str) -> Scenes:
        """A split's scenes, found once. Raises DataError when there are none."""
        if split not in self._scenes:
            share = max(1, self.workers()) if split == "train" else 1
            self._scenes[split] = Scenes(self._root / split, self._cache_bytes // share)
        return self._scenes[split]

    def workers(self) -> int:
        """Loader processes of each training process: as asked for, or as many as there are processors to spare."""
        if self._workers is not None:
            return self._workers
        if self.rounds.steps * self.rounds.batch_size <= TINY:
            return 0
        return min(MOST_WORKERS, max(0, len(os.sched_getaffinity(0)) // self._place()[0] - 1))

    def train_dataloader(self) -> RoundLoader:
        """A round of batches; what is in them is fixed by the seed."""
        workers = self.workers()
        return RoundLoader(
            self._stream(),
            RoundSampler(self.rounds, *self._place(), one_batch=self._one_batch),
            lambda: self.trainer.global_step if self.trainer is not None else 0,
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self._pin_memory,
        )

    def val_dataloader(self) -> DataLoader[LabelledScene | None]:
        """Whole scenes, one at a time; of several processes each takes every n-th, and None where there is none left."""
        share = Share(self.scenes("val"), *self._place())
        return DataLoader(share, batch_size=None, collate_fn=_as_it_is)  # type: ignore[arg-type]

    def _stream(self) -> Tiles | Photos:
        """The numbered samples of the whole training."""
        scenes, samples = self.scenes("train"), self.rounds.steps * self.rounds.batch_size
        if isinstance(self._augment, Augment):
            return Tiles(scenes, self._preprocess, self._augment, samples, self._seed, self._balance)
        cache = PictureCache(self._cache_bytes // max(1, self.workers()))
        scenes = Scenes(self._root / "train", cache_bytes=0)  # what is kept is the letterboxed picture
        return Photos(scenes, self._preprocess, self._augment, samples, self._seed, self._balance, cache)

    def _place(self) -> tuple[int, int]:
        """How many processes train together, and which of them this is."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer is not None else (1, 0)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Tiles go to the device whole; a scene stays, its views follow one batch at a time."""
        if batch is None or isinstance(batch, LabelledScene):
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)


class Share(Dataset[LabelledScene | None]):
    """The scenes that process `rank` of `world` looks at. All shares are equally long, so that the processes wait for each
    other equally often; what is missing is None."""

    def __init__(self, scenes: Sequence[LabelledScene], world: int = 1, rank: int = 0) -> None:
        self._scenes, self._world, self._rank = scenes, world, rank

    def __len__(self) -> int:
        return -(-len(self._scenes) // self._world)

    def __getitem__(self, index: int) -> LabelledScene | None:
        number = index * self._world + self._rank
        return self._scenes[number] if number < len(self._scenes) else None


def collate(samples: list[tuple[Tensor, Tensor, Tensor]]) -> Batch:
    """Tiles to a batch; boxes stay lists, because their number differs."""
    pictures, boxes, classes = zip(*samples, strict=True)
    return torch.stack(pictures).contiguous(memory_format=torch.channels_last), list(boxes), list(classes)


def _as_it_is(scene: LabelledScene | None) -> LabelledScene | None:
    return scene

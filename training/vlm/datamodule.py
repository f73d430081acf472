"""Prepared records as Lightning loads them: pictures with their answers, to learn from and to validate on.

Knows nothing of networks; how an example is made of a picture and an answer the reader says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from safelight.errors import ConfigError, DataError
from safelight.reader.task import Task
from training.fitting.cache import PictureCache
from training.fitting.rounds import RoundLoader, Rounds, RoundSampler
from training.vlm.bucketing import Buckets
from training.vlm.interface import Example, Reader
from training.vlm.photometry import Photometry
from training.vlm.prepared import Labelled, Pictures, read_split

CACHE_BYTES = 1_200_000_000
"""Room for some 3,500 pictures of 336 pixels a side."""


@dataclass(frozen=True)
class Sample:
    """number: of the record within its split. pixels: as the reader is given them. text: the answer. example: both of
    them, as the network takes them."""

    number: int
    pixels: NDArray[np.uint8]
    text: str
    example: Example


class ReaderDataModule(pl.LightningDataModule):
    """root: folder of the prepared splits. task: what is read. reader: makes the examples. steps: optimiser steps in all, of
    `batch_size` samples each. val_every: of them a round has, by default all. accumulate: backward passes a step. seed: fixes
    every sample. augment: how the light varies; None for not at all. window: see `Buckets`. val_records: how many validation
    records are looked at, spread evenly over the split. val_batch: so many of them at a time. workers: loader processes.
    cache_bytes: of decoded pictures that are kept, and as much again for validation. pin_memory: the batches are collated
    where they are used, so it does nothing; configurations for GPUs name it. one_batch: see `RoundSampler`. Raises
    ConfigError when these do not go together."""

    def __init__(
        self,
        root: str,
        task: Task,
        reader: Reader,
        batch_size: int,
        steps: int,
        seed: int,
        augment: Photometry | None = None,
        val_every: int | None = None,
        accumulate: int = 1,
        window: int = 16,
        val_records: int = 64,
        val_batch: int = 16,
        workers: int = 0,
        cache_bytes: int = CACHE_BYTES,
        pin_memory: bool = False,
        one_batch: bool = False,
    ) -> None:
        super().__init__()
        least = {"window": 1, "val_records": 1, "val_batch": 1, "workers": 0, "cache_bytes": 0}
        given = {"window": window, "val_records": val_records, "val_batch": val_batch, "workers": workers}
        for name, value in {**given, "cache_bytes": cache_bytes}.items():
            if value < least[name]:
                raise ConfigError(f"datamodule.{name}: expected at least {least[name]}, got {value}.")
        self.rounds = Rounds(steps, val_every or steps, batch_size, accumulate)
        self.augment = augment
        self._root, self._task, self._reader = Path(root), task, reader
        self._seed, self._window, self._workers, self._cache_bytes = seed, window, workers, cache_bytes
        self._val_records, self._val_batch, self._one_batch = val_records, val_batch, one_batch
        self._splits: dict[str, list[Labelled]] = {}

    def records(self, split: str) -> list[Labelled]:
        """A split's records, read once. Raises DataError."""
        if split not in self._splits:
            self._splits[split] = read_split(self._root, split, self._task)
        return self._splits[split]

    def train_dataloader(self) -> RoundLoader:
        """A round of batches; what is in them is fixed by the seed."""
        world, rank = self._place()
        records = self.records("train")
        lengths = [len(self._reader.tokenizer(record.text)["input_ids"]) for record in records]
        order = Buckets(lengths, self.rounds.share(world), self._seed, self._window)
        cache = PictureCache(self._cache_bytes // max(1, self._workers))
        pictures = Pictures(records, self._reader.image_side, cache)
        samples = Samples(records, pictures, self._reader, self._task.prompt, order, self.augment, self._seed)
        return RoundLoader(
            samples,
            RoundSampler(self.rounds, world, rank, one_batch=self._one_batch),
            lambda: self.trainer.global_step if self.trainer is not None else 0,
            collate_fn=list,
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
        )

    def val_dataloader(self) -> DataLoader[Sample]:
        """Records of the validation split as they are; of several processes each takes every n-th."""
        world, rank = self._place()
        records = self.records("validation")
        if len(records) < world:
            raise DataError(f"Expected a validation record for each of {world} processes, got {len(records)}.")
        count = min(len(records), max(self._val_records, world))
        chosen = np.linspace(0, len(records), count, endpoint=False).astype(np.int64)[rank::world]
        pictures = Pictures(records, self._reader.image_side, PictureCache(self._cache_bytes))
        samples = Samples(records, pictures, self._reader, self._task.prompt)
        return DataLoader(samples, batch_size=self._val_batch, sampler=chosen.tolist(), collate_fn=list)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Nothing: the reader collates a batch and takes it where its network is."""
        return batch

    def _place(self) -> tuple[int, int]:
        """How many processes train together, and which of them this is."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer is not None else (1, 0)


class Samples(Dataset[Sample]):
    """Numbered samples. order: which record each of an endless stream visits; None for the records themselves. augment: how
    the light of a picture varies, fixed by `seed` and the sample's number."""

    def __init__(
        self,
        records: Sequence[Labelled],
        pictures: Pictures,
        reader: Reader,
        prompt: str,
        order: Buckets | None = None,
        augment: Photometry | None = None,
        seed: int = 0,
    ) -> None:
        self._records, self._pictures, self._reader, self._prompt = records, pictures, reader, prompt
        self._order, self._augment, self._seed = order, augment, seed

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Sample:
        number = self._order.place(index) if self._order is not None else index
        pixels, text = self._pictures[number], self._records[number].text
        if self._augment is not None:
            pixels = self._augment.varied(pixels, np.random.default_rng([self._seed, 1, index]))
        return Sample(number, pixels, text, self._reader.encode(pixels, self._prompt, text))

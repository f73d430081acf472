"""`fit`: a learner and data in, the same learner with the weights of its best validation out.

Knows nothing of configuration files, trackers or stages: the train stage and the search for good settings both call it.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import EarlyStopping, EMAWeightAveraging, TQDMProgressBar

from safelight.errors import ConfigError
from training.fitting.history import History, Row
from training.fitting.keeping import Best, PlainCheckpointIO, Resumable
from training.fitting.learner import Learner
from training.fitting.watching import Finite, LoaderWait, Seeded

Track = Callable[[Sequence[Row]], None]
"""Given all rows of the history so far, more than once: it leaves out what it has."""


@dataclass(frozen=True)
class Fitted:
    """How a training went. score: of the best validation, at `best_step`; `steps` were done in all. history: see
    history.py. seconds: of this process, an earlier one's are not counted. loader_wait: share of them spent waiting for
    batches."""

    score: float
    best_step: int
    steps: int
    history: tuple[Row, ...]
    seconds: float
    loader_wait: float


def fit(
    module: Learner,
    data: pl.LightningDataModule,
    make_trainer: Callable[..., pl.Trainer],
    folder: Path,
    *,
    seed: int,
    ema_decay: float | None = None,
    patience: int | None = None,
    log_every: int = 10,
    resume_from: Path | None = None,
    resumable: bool = False,
    checkpoint_every: int | None = None,
    callbacks: Sequence[pl.Callback] = (),
    track: Track | None = None,
    progress: bool = True,
) -> Fitted:
    """Train `module` in place, until `data`'s steps are done or `patience` validations brought nothing better.

    make_trainer: makes a `pl.Trainer` with further keyword arguments; it decides on devices, precision and clipping.
    folder: for the best weights, and for checkpoints when `resumable`, at every round and every `checkpoint_every` steps.
    ema_decay: of the averaged weights, which are validated and kept; None for none. resume_from: a checkpoint of the same
    training. callbacks: more of them; an exception of theirs ends the training and comes out here. track: gets the history
    after each round. Raises ConfigError on settings that do not go together, TrainingDiverged on numbers that are none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    average = EMAWeightAveraging(decay=ema_decay) if ema_decay is not None else None
    history, best, wait = History(log_every), Best(folder, module.monitor, average), LoaderWait()
    chosen: list[pl.Callback | None] = [
        Seeded(seed),
        Finite(),
        *callbacks,
        average,
        history,
        EarlyStopping(module.monitor, mode="max", patience=patience, check_finite=False)
        if patience is not None
        else None,
        Resumable(folder, checkpoint_every) if resumable else None,
        best,
        _Tracked(history, track) if track is not None else None,
        TQDMProgressBar(refresh_rate=10) if progress else None,
    ]
    quiet()
    # A debugging help that takes time at every step; torch sets it by hand on the module's class, which no stub tells.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        trainer = make_trainer(
            callbacks=[callback for callback in chosen if callback is not None],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=progress,
            profiler=wait,
            plugins=[PlainCheckpointIO()],
        )
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(f"trainer: {error}") from None
    started = time.monotonic()
    trainer.fit(module, datamodule=data, ckpt_path=resume_from, weights_only=True)
    seconds = time.monotonic() - started
    if best.step:  # without a validation the last weights are all there is
        module.load_state_dict(best.weights(), strict=module.strict_loading)
    return Fitted(
        best.score,
        best.step,
        trainer.global_step,
        tuple(history.rows),
        seconds,
        wait.seconds / seconds if seconds else math.nan,
    )


class _Tracked(pl.Callback):
    """Hands on the history. Comes after `Resumable`: what was handed on is never ahead of the checkpoint."""

    def __init__(self, history: History, track: Track) -> None:
        self._history, self._track = history, track

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The rounds before this one."""
        self._tell(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The last round."""
        self._tell(trainer)

    def _tell(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero and self._history.rows:
            self._track(self._history.rows)


def quiet() -> None:
    """Lightning's hints on hardware and loaders, which the configuration has already decided on."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for text in (".*does not have many workers.*", ".*Checkpoint directory.*", ".*LeafSpec.*"):
        warnings.filterwarnings("ignore", text)

"""train: a base model and prepared records in, the adapter that did best on validation records out.

Writes adapter/ (PEFT's files and what it takes to load them), history.csv and summary.json, the same to the byte whenever it
is run. A run that was killed goes on where it was.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig
from rich.console import Console

from pipelines.models import read_json
from pipelines.reader.tasks import task_of
from pipelines.stage import build, plain, stage, write_json
from pipelines.training import first_process, looking_into, opened, said
from safelight.errors import ConfigError
from training.fitting.fitting import Fitted, Track, fit
from training.fitting.history import write_history
from training.fitting.resuming import Start, Unfinished, fingerprint
from training.registry.tracking import close_run, tag_run, weights_tag
from training.vlm.code import CODE
from training.vlm.families import adapt
from training.vlm.families.adapters import ADAPTER
from training.vlm.families.reader import HfReader
from training.vlm.module import MONITOR

DECIDING = ("task", "model", "trainer", "datamodule", "module", "seed", "steps", "val_every", "accumulate")
DECIDING_TOO = ("log_every", "patience", "ema_decay", "checkpoint_every")
"""Parts of the configuration that decide what comes out of a training."""

NOT_DECIDING = frozenset(
    f"{part}.{name}"
    for part, names in {
        "datamodule": ("root", "workers", "cache_bytes"),
        "model.reader": ("source", "revision", "offline"),  # the weights themselves decide
        "task": ("processed",),
    }.items()
    for name in names
)

LEARNT_FROM = ("train", "validation")


@stage("reader")
def main(cfg: DictConfig) -> None:
    """Open the base, adapt it, fit the adapter, keep the best of it and how it came about."""
    console = Console(soft_wrap=True, highlight=False)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    first = first_process()
    fresh = beginning(cfg)
    unfinished = Unfinished(Path(cfg.out.checkpoints), identity(cfg, fresh))
    start = unfinished.start(str(cfg.resume))
    if not first:
        fitted(cfg, fresh, None, start)
        return
    if start.said:
        console.print(f"train: {cfg.name} {start.said}")
    tags = {"kind": "fine-tuning", "task": cfg.task.name, "base": cfg.model.name}
    log, run_id = opened(cfg.tracking, cfg.name, start, tags)
    failed = True
    try:
        log.settings(plain(cfg))
        unfinished.begin(start, run_id)
        done = fitted(cfg, fresh, log, start)
        write(cfg, fresh, done)
        weights = Path(cfg.out.train) / "adapter" / ADAPTER
        tag_run(cfg.tracking.uri, run_id, weights_tag(weights))  # by which register finds the run
        log.figures({"fit_seconds": done.seconds, "loader_wait": done.loader_wait})
        failed = False
    finally:
        close_run(cfg.tracking.uri, run_id, failed)
    unfinished.finish()
    console.print(f"train: {cfg.name} {said(done, MONITOR)}")


def beginning(cfg: DictConfig) -> HfReader:
    """The base with adapters that do nothing yet. Raises ConfigError, WeightsError."""
    pl.seed_everything(cfg.seed, workers=True, verbose=False)  # adapters begin at random
    asked, given = cfg.task.image_side, cfg.model.reader.image_side
    if given is not None and given != asked:
        raise ConfigError(
            f"task.image_side is {asked} pixels and model.reader.image_side {given}: they must be the same."
        )
    reader = adapt(build(cfg.model.reader, image_side=asked), build(cfg.model.adaptation))
    assert isinstance(reader, HfReader)
    return reader


def identity(cfg: DictConfig, fresh: HfReader) -> dict[str, str]:
    """What makes a training this one and no other: see training/fitting/resuming.py."""
    values = plain(cfg)
    splits: dict[str, Any] = read_json(Path(cfg.task.processed) / "report.json")["splits"]
    data = {split: str(splits[split]["sha256"]) for split in LEARNT_FROM}
    settings = {name: values[name] for name in (*DECIDING, *DECIDING_TOO)}
    return fingerprint(settings, fresh.model, data, CODE, NOT_DECIDING)


def fitted(cfg: DictConfig, fresh: HfReader, track: Track | None, start: Start) -> Fitted:
    """Train `fresh` in place; it ends with the weights of the best validation."""
    task = task_of(plain(cfg.task))
    data = build(cfg.datamodule, task=task, reader=fresh)
    module = build(cfg.module, reader=fresh, prompt=task.prompt)
    return fit(
        module,
        data,
        functools.partial(build, cfg.trainer, max_steps=cfg.steps, accumulate_grad_batches=cfg.accumulate),
        Path(cfg.out.checkpoints),
        seed=cfg.seed,
        ema_decay=cfg.ema_decay,
        patience=cfg.patience,
        log_every=cfg.log_every,
        resume_from=start.checkpoint,
        resumable=True,
        checkpoint_every=cfg.checkpoint_every,
        callbacks=looking_into(cfg.debugging),
        track=track,
    )


def write(cfg: DictConfig, trained: HfReader, done: Fitted) -> None:
    """The stage's outputs. Nothing in them tells one run from the next; seconds lie with the stages' seconds."""
    out = Path(cfg.out.train)
    trained.save_adapter(out / "adapter")
    write_history(done.history, out / "history.csv")
    learnt = sum(value.numel() for value in trained.model.parameters() if value.requires_grad)
    summary = {MONITOR: done.score if done.best_step else None, "best_step": done.best_step, "steps": done.steps}
    write_json(out / "summary.json", {**summary, "trained_parameters": learnt})
    label = f"reader.train.fit@{cfg.name}"
    spent = {"seconds": round(done.seconds, 2), "loader_wait": round(done.loader_wait, 4)}
    write_json(Path(cfg.paths.seconds) / f"{label}.json", {"stage": label, **spent})


if __name__ == "__main__":
    main()

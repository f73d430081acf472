"""train: base weights in, the weights that did best on validation data out.

With `fit: false` the base weights are kept as they are: an import. Writes model.safetensors, detector.json, history.csv and
summary.json, the same to the byte whenever it is run. A run that was killed goes on where it was.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig
from rich.console import Console

from pipelines import prepare
from pipelines.models import base_detector, read_json
from pipelines.stage import build, plain, stage, write_json
from pipelines.training import first_process, looking_into, opened, said
from safelight.errors import ConfigError
from training.detector.code import CODE
from training.detector.interface import WEIGHTS, Detector
from training.detector.module import MONITOR
from training.detector.warming import warm_start
from training.fitting.fitting import Fitted, Track, fit
from training.fitting.history import write_history
from training.fitting.resuming import Start, Unfinished, fingerprint
from training.registry.tracking import close_run, tag_run, weights_tag

DECIDING = ("model", "trainer", "datamodule", "module", "seed", "steps", "val_every", "accumulate", "log_every")
DECIDING_TOO = ("patience", "ema_decay", "checkpoint_every", "fit")
"""Parts of the configuration that decide what comes out of a training."""

NOT_DECIDING = frozenset(
    f"{part}.{name}"
    for part, names in {
        "datamodule": ("root", "workers", "pin_memory", "cache_bytes"),
        "model.card": ("hub_id", "licence", "parameters", "source"),
    }.items()
    for name in names
)


def prepared(cfg: DictConfig) -> None:
    """Prepare the data, if nobody has: then a folder of one's own is trained on with one command."""
    if first_process() and cfg.data.labelled and not (Path(cfg.data.processed) / "report.json").is_file():
        prepare.main(cfg)


@stage("train", before=prepared)
def main(cfg: DictConfig) -> None:
    """Load the base weights, fit if asked to, keep the best weights and how they came about."""
    console = Console(soft_wrap=True, highlight=False)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    first = first_process()
    fresh = beginning(cfg, console if first else None)
    unfinished = Unfinished(Path(cfg.out.checkpoints), identity(cfg, fresh) if cfg.fit else {})
    start = unfinished.start(str(cfg.resume)) if cfg.fit else Start()
    if not first:
        fitted(cfg, fresh, None, start=start, resumable=True)
        return
    if start.said:
        console.print(f"train: {cfg.name} {start.said}")
    tags = {"kind": "fine-tuning" if cfg.fit else "import", "data": cfg.data.name}
    log, run_id = opened(cfg.tracking, cfg.name, start, tags)
    done, failed = None, True
    try:
        log.settings(plain(cfg))
        if cfg.fit:
            unfinished.begin(start, run_id)
            done = fitted(cfg, fresh, log, start=start, resumable=True)
        write(cfg, fresh, done)
        tag_run(cfg.tracking.uri, run_id, weights_tag(Path(cfg.out.train) / WEIGHTS))  # by which register finds the run
        if done:
            log.figures({"fit_seconds": done.seconds, "loader_wait": done.loader_wait})
        failed = False
    finally:
        close_run(cfg.tracking.uri, run_id, failed)
    unfinished.finish()
    console.print(f"train: {cfg.name} {said(done, MONITOR) if done else 'imported as it is'}")


def beginning(cfg: DictConfig, console: Console | None) -> Detector:
    """The detector before its first step: base weights, or another training's. Raises ConfigError."""
    if cfg.warm_start is not None and str(cfg.resume) not in ("auto", "never"):
        raise ConfigError("resume (a checkpoint) and warm_start (weights alone) exclude each other.")
    if cfg.warm_start is not None and not cfg.fit:
        raise ConfigError("warm_start: nothing is trained with fit: false.")
    fresh = base_detector(cfg)
    if cfg.warm_start is not None:
        kept = warm_start(fresh, Path(cfg.warm_start))
        if kept and console:
            console.print(f"train: {len(kept)} weights have another shape and start afresh: {', '.join(kept[:4])}")
    return fresh


def identity(cfg: DictConfig, fresh: Detector) -> dict[str, str]:
    """What makes a training this one and no other: see resuming.py."""
    values = plain(cfg)
    splits: dict[str, Any] = read_json(Path(cfg.data.processed) / "report.json")["splits"]
    data = {split: entry["sha256"] for split, entry in splits.items() if split != "test"}
    settings = {name: values[name] for name in (*DECIDING, *DECIDING_TOO)}
    return fingerprint(settings, fresh, data, CODE, NOT_DECIDING)


def fitted(
    cfg: DictConfig,
    fresh: Detector,
    track: Track | None,
    callbacks: Sequence[pl.Callback] = (),
    *,
    start: Start | None = None,
    resumable: bool = False,
) -> Fitted:
    """Train `fresh` in place; it ends with the weights of the best validation."""
    preprocess, thresholds = build(cfg.model.preprocess), build(cfg.model.thresholds)
    data = build(cfg.datamodule, preprocess=preprocess)
    module = build(cfg.module, detector=fresh, preprocess=preprocess, thresholds=thresholds)
    return fit(
        module,
        data,
        functools.partial(build, cfg.trainer, max_steps=cfg.steps, accumulate_grad_batches=cfg.accumulate),
        Path(cfg.out.checkpoints),
        seed=cfg.seed,
        ema_decay=cfg.ema_decay,
        patience=cfg.patience,
        log_every=cfg.log_every,
        resume_from=start.checkpoint if start else None,
        resumable=resumable,
        checkpoint_every=cfg.checkpoint_every,
        callbacks=[*callbacks, *looking_into(cfg.debugging)],
        track=track,
    )


def write(cfg: DictConfig, trained: Detector, done: Fitted | None) -> None:
    """The stage's outputs. Nothing in them tells one run from the next; seconds lie with the stages' seconds."""
    out = Path(cfg.out.train)
    out.mkdir(parents=True, exist_ok=True)
    trained.save(out)
    write_history(done.history if done else [], out / "history.csv")
    summary: dict[str, Any] = {}
    if done:
        score = done.score if done.best_step else None
        summary = {MONITOR: score, "best_step": done.best_step, "steps": done.steps}
    write_json(out / "summary.json", {"classes": len(trained.labels), **summary})
    if done:
        label = f"train.fit@{cfg.name}"
        spent = {"seconds": round(done.seconds, 2), "loader_wait": round(done.loader_wait, 4)}
        write_json(Path(cfg.paths.seconds) / f"{label}.json", {"stage": label, **spent})


if __name__ == "__main__":
    main()

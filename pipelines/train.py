"""train: base weights in, the weights that did best on validation data out.

With `fit: false` the base weights are kept as they are: an import. Writes model.safetensors, history.csv and run.json.
"""

from __future__ import annotations

import csv
import logging
import time
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import EMAWeightAveraging, LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger, MLFlowLogger
from rich.console import Console

from pipelines.models import base_detector
from pipelines.stage import build, git_commit, plain, stage, write_json
from training.detector.interface import Detector
from training.detector.module import MONITOR, DetectorModule
from training.registry.tracking import close_run, open_run


@stage("train")
def main(cfg: DictConfig) -> None:
    """Load the base weights, fit if asked to, keep the best weights and how they came about."""
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    out = Path(cfg.out.train)
    out.mkdir(parents=True, exist_ok=True)
    fresh = base_detector(cfg)
    tags = {"git_commit": git_commit(), "kind": "fine-tuning" if cfg.fit else "import", "data": cfg.data.name}
    run_id = open_run(cfg.tracking.uri, cfg.tracking.experiment, cfg.name, tags)
    failed = True
    try:
        summary = fit(cfg, fresh, run_id) if cfg.fit else {}
        failed = False
    finally:
        close_run(cfg.tracking.uri, run_id, failed)
    fresh.save(out)
    write_json(out / "run.json", {"run_id": run_id, "classes": len(fresh.labels), **summary})
    said = f"best {MONITOR} {summary[MONITOR]:.3f} at step {summary['best_step']}" if cfg.fit else "imported as it is"
    Console(soft_wrap=True).print(f"train: {cfg.name} {said}")


def fit(cfg: DictConfig, fresh: Detector, run_id: str) -> dict[str, Any]:
    """Train `fresh` in place; it ends with the averaged weights of the best validation. Returns how it went."""
    out = Path(cfg.out.train)
    preprocess, thresholds = build(cfg.model.preprocess), build(cfg.model.thresholds)
    data = build(cfg.datamodule, preprocess=preprocess)
    module: DetectorModule = build(cfg.module, detector=fresh, preprocess=preprocess, thresholds=thresholds)
    tracked = MLFlowLogger(cfg.tracking.experiment, tracking_uri=cfg.tracking.uri, run_id=run_id, log_model=False)
    tracked.log_hyperparams(plain(cfg))
    history = CSVLogger(out, name="", version="log")
    best = ModelCheckpoint(cfg.out.checkpoints, "best", monitor=MONITOR, mode="max", enable_version_counter=False)
    average = EMAWeightAveraging(decay=cfg.ema_decay)
    callbacks = [average, best, LearningRateMonitor("step"), TQDMProgressBar(refresh_rate=10)]
    quiet()
    trainer: pl.Trainer = build(cfg.trainer, logger=[tracked, history], callbacks=callbacks)
    started = time.monotonic()
    trainer.fit(module, datamodule=data)
    seconds = time.monotonic() - started
    kept = torch.load(best.best_model_path, weights_only=True, map_location="cpu")
    module.load_state_dict(kept["state_dict"])
    write_history(Path(history.log_dir) / "metrics.csv", out / "history.csv")
    score = float(best.best_model_score) if best.best_model_score is not None else float("nan")
    return {MONITOR: score, "best_step": kept["global_step"], "steps": cfg.steps, "fit_seconds": round(seconds, 1)}


def write_history(log: Path, path: Path) -> None:
    """Lightning's log, in which each row has some of the columns, as one row a step for `dvc plots`."""
    rows: dict[int, dict[str, str]] = {}
    with log.open(newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(int(row["step"]), {}).update({k: v for k, v in row.items() if v})
    columns = ["step", *sorted({name for row in rows.values() for name in row} - {"step", "epoch"})]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [name.replace("/", "_") for name in columns])
        writer.writeheader()
        for _, row in sorted(rows.items()):
            writer.writerow({name.replace("/", "_"): row.get(name, "") for name in columns})


def quiet() -> None:
    """Lightning's hints on hardware and loaders, which the configuration has already decided on."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    for text in (".*does not have many workers.*", ".*Checkpoint directory.*", ".*LeafSpec.*"):
        warnings.filterwarnings("ignore", text)


if __name__ == "__main__":
    main()

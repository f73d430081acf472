"""train: base weights in, the weights that did best on validation data out.

With `fit: false` the base weights are kept as they are: an import. Writes model.safetensors, history.csv and run.json.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
from omegaconf import DictConfig
from rich.console import Console

from pipelines.models import base_detector
from pipelines.stage import build, git_commit, plain, stage, write_json
from training.detector.fitting import Fitted, Track, fit
from training.detector.history import write_history
from training.detector.interface import WEIGHTS, Detector
from training.detector.module import MONITOR
from training.registry.runlog import RunLog
from training.registry.tracking import close_run, open_run, tag_run, weights_tag


@stage("train")
def main(cfg: DictConfig) -> None:
    """Load the base weights, fit if asked to, keep the best weights and how they came about."""
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    out = Path(cfg.out.train)
    out.mkdir(parents=True, exist_ok=True)
    fresh = base_detector(cfg)
    tags = {"git_commit": git_commit(), "kind": "fine-tuning" if cfg.fit else "import", "data": cfg.data.name}
    run_id = open_run(cfg.tracking.uri, cfg.tracking.experiment, cfg.name, tags, cfg.tracking.artifacts)
    failed = True
    try:
        log = RunLog(cfg.tracking.uri, run_id)
        log.settings(plain(cfg))
        done = fitted(cfg, fresh, log) if cfg.fit else None
        failed = False
    finally:
        close_run(cfg.tracking.uri, run_id, failed)
    fresh.save(out)
    tag_run(cfg.tracking.uri, run_id, weights_tag(out / WEIGHTS))  # by which register finds the run
    write_history(done.history if done else [], out / "history.csv")
    summary = {MONITOR: done.score, "best_step": done.best_step, "steps": done.steps} if done else {}
    write_json(out / "run.json", {"classes": len(fresh.labels), **summary})
    said = f"best {MONITOR} {done.score:.3f} at step {done.best_step}" if done else "imported as it is"
    Console(soft_wrap=True).print(f"train: {cfg.name} {said}")


def fitted(cfg: DictConfig, fresh: Detector, track: Track, callbacks: Sequence[pl.Callback] = ()) -> Fitted:
    """Train `fresh` in place; it ends with the averaged weights of the best validation."""
    preprocess, thresholds = build(cfg.model.preprocess), build(cfg.model.thresholds)
    data = build(cfg.datamodule, preprocess=preprocess)
    module = build(cfg.module, detector=fresh, preprocess=preprocess, thresholds=thresholds)
    return fit(
        module,
        data,
        functools.partial(build, cfg.trainer),
        Path(cfg.out.checkpoints),
        seed=cfg.seed,
        ema_decay=cfg.ema_decay,
        log_every=cfg.log_every,
        callbacks=callbacks,
        track=track,
    )


if __name__ == "__main__":
    main()

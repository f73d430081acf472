"""A trial of a search: the train configuration with a trial's values, trained in a folder of its own.

Writes config.yaml and history.csv there; the weights are not kept. The train stage's outputs are not touched.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytorch_lightning as pl
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipelines.stage import CONF, plain
from pipelines.train import beginning, fitted
from safelight.errors import ConfigError
from training.detector.module import MONITOR
from training.fitting.history import write_history
from training.registry.runlog import RunLog
from training.tuning.pruning import ReportValidation
from training.tuning.space import Value
from training.tuning.worker import Report, Task


def run(task: Task, report: Report, overrides: Sequence[str]) -> float:
    """Train with the trial's values on top of `overrides`; returns the best validation. The test scenes are not read."""
    checkpoints = task.folder / "checkpoints"
    own = assignments({"out.train": str(task.folder), "out.checkpoints": str(checkpoints)})
    cfg = composed([*overrides, *assignments(task.parameters), *own])
    OmegaConf.save(cfg, task.folder / "config.yaml", resolve=True)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    log = RunLog(cfg.tracking.uri, task.run_id)
    log.settings(plain(cfg))
    try:
        done = fitted(cfg, beginning(cfg, None), log, callbacks=[ReportValidation(MONITOR, report)])
    finally:
        shutil.rmtree(checkpoints, ignore_errors=True)
    write_history(done.history, task.folder / "history.csv")
    return done.score


def composed(overrides: Sequence[str]) -> DictConfig:
    """The train configuration. Raises ConfigError when it does not compose, or when its values do not resolve."""
    try:
        with nullcontext() if GlobalHydra.instance().is_initialized() else _conf():
            cfg: DictConfig = compose("train", overrides=list(overrides))
        OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(str(error).strip().splitlines()[0]) from None
    return cfg


def _conf() -> AbstractContextManager[None]:
    """Hydra in a process that was not started by it."""
    opened: AbstractContextManager[None] = initialize_config_dir(config_dir=str(CONF), version_base="1.3")
    return opened


def assignments(values: Mapping[str, Value]) -> list[str]:
    """Values by path or group as Hydra's overrides, whatever is in a text."""
    return [f"{key}={_written(value)}" for key, value in values.items()]


def _written(value: Value) -> str:
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return json.dumps(value)


def is_group(key: str) -> bool:
    """Whether an override of this key chooses a file, as `model=...` does."""
    return "." not in key and (CONF / key).is_dir()


def choices_of(group: str) -> list[str]:
    """The files of a group."""
    return sorted(path.stem for path in Path(CONF / group).glob("*.yaml"))

"""What every stage shares: configuration by Hydra, clean errors, and how long it took.

A stage is a function of the composed configuration. Hydra composes from conf/ only, unknown keys fail, and objects are
built from exact targets on an allowlist.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from pipelines.slices import part
from pipelines.sweep import job_folder, keep_apart
from safelight.errors import ConfigError, SafelightError

CONF = Path(__file__).resolve().parent.parent / "conf"

TARGETS = frozenset(
    {
        "pytorch_lightning.Trainer",
        "safelight.postprocess.Thresholds",
        "safelight.preprocess.Preprocess",
        "training.detector.datamodule.SceneDataModule",
        "training.detector.module.DetectorModule",
        "training.detector.photos.PhotoAugment",
        "training.detector.scenes.Augment",
        "training.detector.hf.Backbone",
        "training.detector.hf.Lora",
        "training.detector.hf.pretrained",
        "training.detector.yolov3_tiny.LossWeights",
        "training.detector.yolov3_tiny.pretrained",
        "training.vlm.datamodule.ReaderDataModule",
        "training.vlm.families.Adaptation",
        "training.vlm.families.open_reader",
        "training.vlm.module.Rates",
        "training.vlm.module.ReaderModule",
        "training.vlm.offline.Tower",
        "training.vlm.photometry.Photometry",
        "training.vlm.tower.module.TowerModule",
    }
)
"""Everything a configuration may build. A new class is added here, by hand, when its config is."""

_CODE = ("conf", "pipelines", "safelight", "training", "requirements.lock")

Stage = Callable[[DictConfig], None]


def stage(config_name: str, before: Stage | None = None) -> Callable[[Stage], Callable[..., None]]:
    """Turn a function of the configuration into a command. Called with a configuration, it runs on that one instead.

    The function is given the part of the configuration that pipelines/slices.py lists for it; `before`, which runs first,
    is given all of it.

    An expected error (SafelightError) ends it with its sentence and exit status 1, without a traceback. As one job of
    several (`-m`) it writes into a folder of its own.
    """

    def decorate(function: Stage) -> Callable[..., None]:
        @functools.wraps(function)
        def timed(cfg: DictConfig) -> None:
            started, name = time.monotonic(), name_of(Path(inspect.getfile(function)))
            job = job_folder()
            if job is not None:
                keep_apart(cfg, job)
            try:
                if before is not None:
                    before(cfg)
                function(part(cfg, name))
            except SafelightError as error:
                if job is not None:
                    raise  # Hydra goes on with the other jobs
                sys.exit(f"error: {error.title}: {error.detail}")
            _record_seconds(cfg, name, time.monotonic() - started)

        command: Callable[..., None] = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(
            timed
        )
        return command

    return decorate


def name_of(file: Path) -> str:
    """What the stage in a file of pipelines/ is called: `train`, or `reader.train` where it is in a folder there."""
    return ".".join(file.resolve().relative_to(Path(__file__).parent).with_suffix("").parts)


def build(node: DictConfig, **extra: Any) -> Any:
    """Build the object that a config node describes, with `extra` arguments as they are.

    Raises ConfigError when a target is not on the allowlist.
    """
    for target in _targets(OmegaConf.to_container(node, resolve=True)):
        if target not in TARGETS:
            raise ConfigError(f"_target_ {target!r} is not on the allowlist in pipelines/stage.py.")
    return hydra.utils.instantiate(node, _partial_=True, _convert_="all")(**extra)


def plain(node: DictConfig) -> dict[str, Any]:
    """A config node as plain values, resolved."""
    values = OmegaConf.to_container(node, resolve=True)
    if not isinstance(values, dict):
        raise ConfigError(f"Expected a mapping, got {type(values).__name__}.")
    return {str(key): value for key, value in values.items()}


def git_commit() -> str:
    """The commit of the working tree, `-dirty` when code or configuration differs from it; `unknown` outside git."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        return "unknown"
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", *_CODE], capture_output=True, check=False)
    return head.stdout.strip() + ("-dirty" if changed.returncode else "")


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
    scratch.replace(path)


def _record_seconds(cfg: DictConfig, name: str, seconds: float) -> None:
    label = f"{name}@{cfg.name}" if "name" in cfg else name
    write_json(Path(cfg.paths.seconds) / f"{label}.json", {"stage": label, "seconds": round(seconds, 2)})


def _targets(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [str(value["_target_"])] if "_target_" in value else []
        return own + [found for item in value.values() for found in _targets(item)]
    if isinstance(value, list):
        return [found for item in value for found in _targets(item)]
    return []

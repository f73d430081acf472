"""The trained detector as the stages after training find it: labels, network, preprocessing, pictures, thresholds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig
from safetensors.torch import load_file

from pipelines.stage import build
from safelight.errors import ConfigError, DataError, WeightsError
from safelight.images import ImageLimits, decode
from safelight.postprocess import Thresholds
from training.detector.yolov3_tiny import Predictor, YoloV3Tiny

WEIGHTS = "model.safetensors"


def labels(cfg: DictConfig) -> list[str]:
    """Class names in order: given in the data's config, or one a line in the file it names."""
    if cfg.data.labels is not None:
        return [str(label) for label in cfg.data.labels]
    path = Path(cfg.data.labels_file)
    if not path.is_file():
        raise DataError(f"Expected class names, one a line, in {path}. Run the fetch stage first.")
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def network(cfg: DictConfig) -> YoloV3Tiny:
    """The network of the configuration, its weights not yet loaded."""
    built: YoloV3Tiny = build(cfg.model.network, num_classes=len(labels(cfg)))
    return built


def trained(cfg: DictConfig) -> Predictor:
    """The predictor with the weights that the train stage kept, in evaluation mode. Raises WeightsError."""
    path = Path(cfg.out.train) / WEIGHTS
    if not path.is_file():
        raise WeightsError(f"Expected trained weights of {cfg.name} in {path.parent}. Run the train stage first.")
    fresh = network(cfg)
    try:
        fresh.load_state_dict(load_file(path))
    except RuntimeError:
        raise WeightsError(f"The weights of {cfg.name} belong to another network than conf/model describes.") from None
    return Predictor(fresh).eval()


def thresholds(cfg: DictConfig) -> Thresholds:
    """The thresholds of the configuration, with the score that evaluation chose on validation data, if it did."""
    configured: Thresholds = build(cfg.model.thresholds)
    chosen = Path(cfg.out.evaluate) / "thresholds.json"
    if not chosen.is_file():
        raise ConfigError(f"Expected thresholds of {cfg.name} in {chosen.parent}. Run the evaluate stage first.")
    return Thresholds(**{**configured.to_dict(), **json.loads(chosen.read_text())})


def pictures(folder: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Every JPEG, PNG and WebP of a folder by name: (name, `(H, W, 3)` uint8 RGB)."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"):
            yield path.stem, decode(path.read_bytes(), ImageLimits(max_bytes=1 << 30, max_pixels=1 << 28))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that an earlier stage wrote. Raises DataError when it is not there."""
    if not path.is_file():
        raise DataError(f"Expected {path.name} in {path.parent}. Run the stages before this one first (dvc repro).")
    value: dict[str, Any] = json.loads(path.read_text())
    return value

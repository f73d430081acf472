"""The trained detector as the stages after training find it: labels, network, preprocessing, pictures, thresholds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datasets import load_from_disk
from numpy.typing import NDArray
from omegaconf import DictConfig

from pipelines.stage import build
from safelight.errors import ConfigError, DataError
from safelight.images import ImageLimits, decode
from safelight.postprocess import Thresholds
from safelight.preprocess import Preprocess
from training.detector.families import load_detector
from training.detector.interface import Detector


def labels(cfg: DictConfig) -> list[str]:
    """Class names in order: given in the data's config, one a line in the file it names, or found by `prepare`."""
    if cfg.data.labels is not None:
        return [str(label) for label in cfg.data.labels]
    if cfg.data.labels_file is None:
        return [str(label) for label in read_json(Path(cfg.data.processed) / "report.json")["labels"]]
    path = Path(cfg.data.labels_file)
    if not path.is_file():
        raise DataError(f"Expected class names, one a line, in {path}. Run the fetch stage first.")
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def base_detector(cfg: DictConfig) -> Detector:
    """The detector of the configuration with its base weights, ready to be trained or, as it is, to be exported."""
    built: Detector = build(
        cfg.model.detector,
        labels=labels(cfg),
        input_size=cfg.model.preprocess.input_size,
        keep_heads=not cfg.fit,
        box_sizes=box_sizes(cfg) if cfg.fit else None,
    )
    return built


def box_sizes(cfg: DictConfig) -> NDArray[np.float32]:
    """Widths and heights of the training boxes as the network sees them: `(N, 2)` input pixels. Reads no picture."""
    preprocess: Preprocess = build(cfg.model.preprocess)
    folder = Path(cfg.data.processed) / "train"
    if not folder.is_dir():
        raise DataError(f"Expected a prepared split in {folder}. Run the prepare stage first.")
    sizes = [np.zeros((0, 2), np.float32)]
    for row in load_from_disk(str(folder)).select_columns(["width", "height", "objects"]):
        scale = preprocess.views((row["width"], row["height"]))[0].scale
        sizes.append(np.array(row["objects"]["bbox"], np.float32).reshape(-1, 4)[:, 2:] * np.float32(scale))
    return np.concatenate(sizes)


def trained(cfg: DictConfig) -> Detector:
    """The detector that the train stage kept, in evaluation mode. Raises WeightsError."""
    return load_detector(Path(cfg.out.train))


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

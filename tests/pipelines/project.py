"""A tiny data set, prepared, and base weights of chance: what the stages need to train in seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from tests.training.detector.conftest import squares_scene, store
from training.detector.yolov3_tiny import YoloV3Tiny
from training.detector.yolov3_tiny.network import ConvUnit

ANCHORS = [[[8, 8], [14, 14], [20, 20]], [[24, 24], [32, 32], [48, 48]]]


def make_project(folder: Path) -> list[str]:
    """Write data and weights; returns the overrides of the train configuration that use them."""
    prepared = folder / "prepared"
    store([squares_scene(1, (96, 64), 4), squares_scene(2, (64, 64), 3)], prepared / "train")
    store([squares_scene(3, (64, 64), 3)], prepared / "val")
    splits = {name: {"scenes": [], "boxes": 0, "sha256": name} for name in ("train", "val")}
    report = {"labels": ["square"], "records": 10, "quarantined": [], "splits": splits}
    (prepared / "report.json").write_text(json.dumps(report))
    write_weights(folder / "base.weights")
    return [
        "experiment=tree_crowns",
        "trainer.precision=32-true",
        "model.preprocess={input_size: 64, tile: 64, overlap: 16}",
        f"model.detector.anchors={ANCHORS}".replace(" ", ""),
        f"model.detector.path={folder / 'base.weights'}",
        "data.labels=[square]",
        f"data.processed={prepared}",
        f"paths.outputs={folder / 'outputs'}",
        f"tracking.uri=sqlite:///{folder / 'mlflow.db'}",
        f"tracking.artifacts={folder / 'artifacts'}",
        "datamodule.batch_size=2",
        "steps=4",
        "val_every=2",
        "log_every=1",
        "datamodule.workers=0",
    ]


def write_weights(path: Path) -> None:
    """A file like the authors', of a network that knows nothing."""
    torch.manual_seed(0)
    network = YoloV3Tiny(80, ANCHORS, 1.0)
    values = []
    for unit in (*network.backbone, network.neck, network.coarse, network.coarse_head):
        values += _values(unit)
    for unit in (network.lateral, network.fine, network.fine_head):
        values += _values(unit)
    header = np.array([0, 2, 0, 0, 0], "<i4").tobytes()
    path.write_bytes(header + np.concatenate(values).astype("<f4").tobytes())


def _values(unit: torch.nn.Module) -> list[np.ndarray]:
    if isinstance(unit, ConvUnit):
        norm = unit.norm
        tensors = [norm.bias, norm.weight, norm.running_mean, norm.running_var, unit.conv.weight]
    else:
        tensors = [unit.bias, unit.weight]
    return [tensor.detach().numpy().ravel() for tensor in tensors]

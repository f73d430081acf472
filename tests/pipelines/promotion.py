"""The outputs of a pipeline up to export, made by hand around a small graph, for the tests of register and promote."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from datasets import Dataset
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from onnx import numpy_helper
from PIL import Image

from pipelines.stage import CONF
from safelight.bundle import MODEL
from safelight.golden import make
from safelight.preprocess import Preprocess
from tests.serving.graphs import LABELS, SIDE, colour_graph
from training.data.scenes import features
from training.export.onnx import onnx_run

NAME = "tree-crowns"
PICTURES = 8
PARITY = {
    "tolerance": {},
    "tensors": {str(size): {"boxes_relative": 1e-7, "score": 1e-7} for size in (1, 2, 8)},
    "boxes": {"pictures": 1, "matched": 3, "least_iou": 0.9999, "score": 1e-7},
    "map50": {"reference": 0.9, "exported": 0.9, "drop": 0.0},
}
SETTINGS = (
    "experiment=tree_crowns",
    "fit=true",
    "data.processed=data/processed",
    f"data.labels=[{','.join(LABELS)}]",
    "data.card=data/card.md",
    "model.preprocess.mode=letterbox",
    f"model.preprocess.input_size={SIDE}",
    "model.preprocess.tile=null",
    "model.preprocess.overlap=0",
    "promotion.latency.ratio=1000",  # what these graphs take is noise; the gate has tests of its own
)


def shifted(pixels: float) -> bytes:
    """The colour detector with its boxes moved to the right, so that they miss by as much as is asked for."""
    model = onnx.load_from_string(colour_graph())
    for constant in model.graph.initializer:
        if constant.name == "cells":
            boxes = numpy_helper.to_array(constant) + np.array([pixels, 0, pixels, 0], np.float32)
            constant.CopyFrom(numpy_helper.from_array(boxes, "cells"))
    return model.SerializeToString()


def write_data(root: Path, pictures: int = PICTURES) -> None:
    """Pictures with red and green cells as validation data, a report, and a data card."""
    rng = np.random.default_rng(0)
    rows = {"image": [], "image_id": [], "width": [], "height": [], "objects": []}
    for index in range(pictures):
        cells = rng.choice(64, 6, replace=False)
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        boxes, classes = [], []
        for number, cell in enumerate(cells):
            x, y, kind = int(cell % 8) * 8, int(cell // 8) * 8, number % 2
            image[y : y + 8, x : x + 8, kind] = 255
            boxes.append([x, y, 8, 8])
            classes.append(kind)
        for key, value in {
            "image": Image.fromarray(image),
            "image_id": f"p{index}",
            "width": SIDE,
            "height": SIDE,
        }.items():
            rows[key].append(value)
        rows["objects"].append({"bbox": boxes, "category": classes})
    folder = root / "data" / "processed"
    Dataset.from_dict(rows, features=features(LABELS)).save_to_disk(str(folder / "val"))
    report = {"labels": list(LABELS), "splits": {"val": {"sha256": "0" * 64}}}
    (folder / "report.json").write_text(json.dumps(report))
    (root / "data" / "card.md").write_text("# Cells\n\n" + "Red and green cells on black, made for tests. " * 10)


def write_export(root: Path, graph: bytes, map50: float = 0.8, parity: dict | None = None) -> None:
    """What train, evaluate and export leave behind."""
    for stage in ("train", "evaluate", "export"):
        (root / "outputs" / stage / NAME).mkdir(parents=True, exist_ok=True)
    (root / "metrics").mkdir(exist_ok=True)
    (root / "outputs/train" / NAME / "model.safetensors").write_bytes(hashlib.sha256(graph).digest())
    (root / "outputs/evaluate" / NAME / "thresholds.json").write_text('{"score": 0.5}')
    (root / "outputs/evaluate" / NAME / "picture.jpg").write_bytes(b"pixels")
    (root / "outputs/export" / NAME / "model.onnx").write_bytes(graph)
    (root / "outputs/export" / NAME / "parity.json").write_text(json.dumps(parity or PARITY))
    (root / "outputs/export" / NAME / "report.json").write_text('{"graph": {}, "variants": {}}')
    golden = {MODEL: make(Preprocess("letterbox", SIDE), onnx_run(graph), 0).model_dump(mode="json")}
    (root / "outputs/export" / NAME / "serving.json").write_text(json.dumps({"golden": golden, "reference": None}))
    figure = {"value": map50, "low": map50 - 0.1, "high": map50 + 0.1}
    (root / "metrics" / f"{NAME}.json").write_text(json.dumps({"reason": None, "test": {"map50": figure}, "val": {}}))


@functools.cache
def _composed():
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose("train", overrides=list(SETTINGS))


def configured(uri: str, *overrides: str):
    """The configuration of the stages in the working directory; it is composed once, for that takes most of a second."""
    return OmegaConf.merge(_composed(), OmegaConf.from_dotlist([f"tracking.uri={uri}", *overrides]))

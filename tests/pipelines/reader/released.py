"""The outputs of a reader's pipeline up to evaluate, made by hand around the tiny base, for the tests of what comes after."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from pipelines.stage import CONF
from safelight.golden import draw
from safelight.reader import golden
from safelight.reader.manifest import ADAPTER, DECODER, TOKENIZER
from tests.serving.reader import tiny

NAME = "keys"
BASE = "offline-135m"
OUT = Path("outputs/reader") / NAME
ANSWERS = [{"keyway": "SC1", "bittings": [2, 5, 4, 7, 3], "brand": "Schlage"}] * 4
PARITY = {
    "pictures": 100,
    "tokens": 1900,
    "equal": 100,
    "logit_difference": 1e-5,
    "first_difference": None,
    "runs": [["batch 8", 100, 100], ["padded", 16, 16]],
}
SETTINGS = (
    "task.card=data/card.md",
    "task.processed=data/processed",
    f"task.image_side={tiny.SIDE}",
    "promotion.latency={picture_s: 60, ratio: 1000, pictures: 2, repeats: 1}",  # here it is noise; it has tests of its own
)


def share(value: float) -> dict:
    return {"value": value, "low": value - 0.02, "high": value + 0.02, "of": 300}


def metrics(exact: float = 0.93, met: bool = True) -> dict:
    held = {
        "exact": share(exact),
        "fields": {name: {"exact": share(exact)} for name in ("keyway", "bittings", "brand")},
    }
    targets = {
        "fields": {"keyway": {"at_least": 0.98, "met": met, **share(0.99 if met else 0.95)}},
        "valid_unconstrained": {"at_least": 0.98, "met": True, **share(1.0)},
        "met": met,
    }
    return {"task": NAME, "test": {"constrained": held}, "hard": {"constrained": held}, "targets": targets}


def write_data(root: Path, test_digest: str = "e" * 64) -> None:
    """Prepared test records, their report, and a data card."""
    folder = root / "data/processed"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines = []
    for number, answer in enumerate(ANSWERS):
        Image.fromarray(draw(number, 0, 64)).save(folder / f"images/{number}.png")
        lines.append(json.dumps({"image_path": f"images/{number}.png", **answer}))
    (folder / "test.jsonl").write_text("\n".join(lines) + "\n")
    splits = {
        name: {"records": 4, "sha256": digest} for name, digest in {"train": "a" * 64, "test": test_digest}.items()
    }
    (folder / "report.json").write_text(json.dumps({"splits": splits}))
    (root / "data/card.md").write_text("# Keys\n\n" + "Keys of chance, made for tests. " * 10)


def golden_of(base: tiny.Base, seed: int) -> dict:
    """What the tiny base answers with an adapter."""
    engine, adapter = base.engine(rows=1), base.adapter(seed)

    def read(picture):
        found = engine.read(picture, adapter, left_s=lambda: 60.0)
        return found.text, found.log_probability

    try:
        return {DECODER: golden.make(read, tiny.SIDE, 0, 0.02).model_dump(mode="json")}
    finally:
        engine.stop()


def write_outputs(root: Path, base: tiny.Base, seed: int = 1, measured: dict | None = None, int8: bool = False) -> None:
    """What train, export and evaluate leave behind. seed: of the adapter."""
    export, evaluate, train = (root / OUT / stage for stage in ("export", "evaluate", "train"))
    for folder in (export, evaluate, train / "adapter", root / "metrics"):
        folder.mkdir(parents=True, exist_ok=True)
    for name, data in base.files.items():
        (export / name).write_bytes(data)
    (export / TOKENIZER).write_text(base.tokenizer.to_str())
    (export / ADAPTER).write_bytes(base.adapter_bytes(seed))
    gate = {"pictures": 50, "equal": 1.0, "least_equal": 0.95}
    outcome = {"outcome": "refused", "reason": "for the test", "gate": gate}
    if int8:
        (export / "decoder.int8.onnx").write_bytes(base.files[DECODER])
        outcome = {"outcome": "accepted", "file": "decoder.int8.onnx", "gate": gate}
    report = {
        "architecture": base.architecture.model_dump(mode="json"),
        "prompt_ids": list(base.prompt()),
        "max_new_tokens": 160,
        "rank": tiny.RANK,
        "int8": outcome,
    }
    (export / "report.json").write_text(json.dumps(report))
    (export / "parity.json").write_text(json.dumps(PARITY))
    (evaluate / "calibration.json").write_text(json.dumps({"scale": 0.8, "offset": 0.1}))
    (evaluate / "golden.json").write_text(json.dumps(golden_of(base, seed)))
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(evaluate / "gallery.png")
    (train / "adapter/adapter_model.safetensors").write_bytes(base.adapter_bytes(seed))
    (root / "metrics/reader.json").write_text(json.dumps(measured or metrics()))


@functools.cache
def _composed():
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose("reader", overrides=list(SETTINGS))


def configured(uri: str, *overrides: str):
    """The configuration of the stages in the working directory; the schema is the tiny reader's."""
    cfg = _composed().copy()
    cfg.task.schema = tiny.KEYS
    return OmegaConf.merge(cfg, OmegaConf.from_dotlist([f"tracking.uri={uri}", *overrides]))


def of_bases(*overrides: str):
    """The configuration of `pipelines.reader.bases`."""
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose("reader_bases", overrides=list(overrides))

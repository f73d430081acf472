"""A tiny reader, from a base of chance to its exported graphs: made by the stages themselves."""

import json

import numpy as np
from hydra import compose, initialize_config_dir
from PIL import Image

from pipelines.stage import CONF
from tests.training.vlm.export.taught import KIND, write_base

SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "green", "blue"]},
        "bars": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": 9},
            "minItems": 1,
            "maxItems": 3,
        },
    },
    "required": ["colour", "bars"],
    "additionalProperties": False,
}
COLOURS = ("red", "green", "blue")
COUNTS = {"train": 48, "validation": 36, "test": 12, "hard": 6}


def write_records(folder, counts=None):
    """One or two bars of one colour, prepared as the prepare stage leaves them; the hard ones are dim."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for split, count in (counts or COUNTS).items():
        lines = []
        for number in range(count):
            colour, two = number % 3, number // 3 % 2
            pixels = random.integers(10, 50, (24, 32, 3)).astype(np.uint8)
            for bar in range(1 + two):
                pixels[2:22, 2 + 15 * bar : 14 + 15 * bar, colour] = 110 if split == "hard" else 230
            Image.fromarray(pixels).save(folder / f"{split}_{number}.png")
            answer = {"colour": COLOURS[colour], "bars": [2, 9] if two else [1]}
            lines.append(json.dumps({"image_path": f"{split}_{number}.png", **answer}) + "\n")
        (folder / f"{split}.jsonl").write_text("".join(lines))
    splits = {split: {"records": count, "sha256": split} for split, count in (counts or COUNTS).items()}
    (folder / "report.json").write_text(json.dumps({"splits": splits}))


def make(root):
    """A base of chance, records, and a schema."""
    write_base(root / "base", root / "checkpoint")
    write_records(root / "processed/bars")
    (root / "schema.json").write_text(json.dumps(SCHEMA))


def configuration(root, *overrides):
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose(
            "reader",
            [
                "task=custom",
                "task.name=bars",
                "task.prompt='Which bars?'",
                "task.private=false",
                f"task.schema={root}/schema.json",
                f"task.image_side={KIND.side}",
                "task.targets.valid_unconstrained=0.5",
                "+task.targets.fields.colour=0.4",
                "+task.targets.fields.bars=1.0",
                f"model.reader.source={root}/base",
                f"model.reader.image_side={KIND.side}",
                "model.adaptation.vision=lora",
                "model.learning_rate=0.005",
                f"paths.processed={root}/processed",
                f"paths.outputs={root}/outputs",
                f"paths.metrics={root}/metrics",
                f"tracking.uri=sqlite:///{root}/mlflow.db",
                f"tracking.artifacts={root}/artifacts",
                "trainer.precision=32-true",
                "steps=140",
                "val_every=140",
                "datamodule.batch_size=12",
                "datamodule.val_records=8",
                "datamodule.augment=null",
                "module.warmup_steps=5",
                "module.max_new_tokens=40",
                "export.pictures=4",
                "export.repeats=1",
                "export.int8.least_equal=0.0",
                "evaluation.rows=4",
                "evaluation.threads=1",
                "evaluation.untuned=2",
                "evaluation.unconstrained.hard=3",
                "evaluation.bootstrap_samples=50",
                "flavours.pictures=4",
                "flavours.timed=1",
                "flavours.rows=2",
                "flavours.threads=1",
                f"flavours.document={root}/flavours.md",
                *overrides,
            ],
        )

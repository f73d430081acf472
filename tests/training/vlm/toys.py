"""A toy task: bars of one colour, to be counted and named. Prepared as the prepare stage leaves it."""

import json

import numpy as np
from PIL import Image

from safelight.reader.task import Task

SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green", "blue"]}, "count": {"type": "integer"}},
    "required": ["colour", "count"],
    "additionalProperties": False,
}
TASK = Task("bars", SCHEMA, "Which bars?", 32)
COLOURS = ("red", "green", "blue")


def picture(colour, count, random=None):
    """Bars on dark, noisy ground."""
    pixels = (random or np.random.default_rng(1)).integers(10, 50, (24, 32, 3)).astype(np.uint8)
    for bar in range(count):
        pixels[2:22, 2 + 15 * bar : 14 + 15 * bar, COLOURS.index(colour)] = 230
    return pixels


def write(folder, train=24, validation=9):
    """Bars in pictures of 32 x 24 pixels; two bars are answered by 200, so that answers differ in length."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    splits = {}
    for split, records in {"train": train, "validation": validation}.items():
        lines = []
        for number in range(records):
            colour, count = number % 3, number // 3 % 2 + 1
            name = f"{split}_{number}.png"
            Image.fromarray(picture(COLOURS[colour], count, random)).save(folder / name)
            answer = {"colour": COLOURS[colour], "count": 200 if count == 2 else 1}
            lines.append(json.dumps({"image_path": name, **answer}) + "\n")
        (folder / f"{split}.jsonl").write_text("".join(lines))
        splits[split] = {"records": records, "sha256": split}
    (folder / "report.json").write_text(json.dumps({"splits": splits}))

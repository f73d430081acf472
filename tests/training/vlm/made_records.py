"""Records and pictures for tests: a small task, and folders as users make them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from safelight.reader.task import Task

SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "green", "blue"]},
        "counts": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "maxItems": 4},
        "serial": {"type": "string"},
    },
    "required": ["colour", "counts"],
    "additionalProperties": False,
}
TASK = Task("blocks", SCHEMA, "Which blocks?", 64)


def pixels(seed: int, side: int = 160) -> np.ndarray:
    """Blocks of chance colours: no two seeds look alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 226, (side // 20, side // 20, 3))
    return (
        (np.kron(coarse, np.ones((20, 20, 1))) + rng.integers(-9, 10, (side, side, 3))).clip(20, 235).astype(np.uint8)
    )


def picture(path: Path, seed: int, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed)).save(path, **options)
    return path


def record(number: int, **changes) -> dict:
    answer = {"colour": "red", "counts": [number % 10, number // 10 % 10], "serial": f"s{number // 2}"}
    return {"image_path": f"images/{number}.png", **answer, **changes}


def folder(root: Path, splits: dict[str, range]) -> Path:
    """A JSONL for each name, and the pictures they name."""
    for name, numbers in splits.items():
        for number in numbers:
            picture(root / f"images/{number}.png", number)
        lines(root / f"{name}.jsonl", [record(number) for number in numbers])
    return root


def lines(path: Path, records: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(r if isinstance(r, str) else f"{json.dumps(r)}\n" for r in records))
    return path

"""The internal form of detection data: one Arrow row a scene, boxes as COCO has them (xywh pixels).

Knows nothing of annotation formats, tiles or learners. Boxes as in Lin et al., "Microsoft COCO", 2014.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image

from training.data.voc import Scene


def features(labels: Sequence[str]) -> Features:
    """Columns of a split: image (PNG bytes), image_id, width, height, objects {bbox [x, y, w, h] pixels, category}."""
    return Features(
        {
            "image": ImageFeature(),
            "image_id": Value("string"),
            "width": Value("int32"),
            "height": Value("int32"),
            "objects": {
                "bbox": List(List(Value("float32"), length=4)),
                "category": List(ClassLabel(names=list(labels))),
            },
        }
    )


def write_split(scenes: Sequence[tuple[Scene, tuple[int, int, int, int]]], labels: Sequence[str], folder: Path) -> str:
    """Write (scene, region of its picture in xyxy pixels) pairs as an Arrow folder. Returns the contents' SHA-256."""
    digest = hashlib.sha256()
    rows = []
    for scene, region in scenes:
        with Image.open(scene.path) as image:
            pixels = image.convert("RGB").crop(region)
        row = _row(scene, pixels)
        digest.update(pixels.tobytes())
        digest.update(repr((row["image_id"], row["objects"], list(labels))).encode())
        rows.append(row)
    columns = {name: [row[name] for row in rows] for name in features(labels)}
    dataset = Dataset.from_dict(columns, features=features(labels))
    dataset._fingerprint = digest.hexdigest()[
        :16
    ]  # content instead of a random number, so that the folder is reproducible
    dataset.save_to_disk(str(folder))
    return digest.hexdigest()


def _row(scene: Scene, pixels: Image.Image) -> dict[str, Any]:
    buffer = io.BytesIO()
    pixels.save(buffer, "PNG", compress_level=3)
    return {
        "image": {"bytes": buffer.getvalue(), "path": None},
        "image_id": scene.image_id,
        "width": scene.size[0],
        "height": scene.size[1],
        "objects": {
            "bbox": [[left, top, right - left, bottom - top] for left, top, right, bottom in scene.boxes],
            "category": list(scene.classes),
        },
    }

"""The internal form of detection data: one Arrow row a scene, boxes as COCO has them (xywh pixels).

Knows nothing of annotation formats, tiles or learners. Boxes as in Lin et al., "Microsoft COCO", 2014.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, Features, List, Value
from datasets import Image as ImageFeature
from datasets.arrow_writer import ArrowWriter
from PIL import Image

from safelight.errors import DataError
from training.data.pictures import opened
from training.data.records import Scene
from training.data.regions import Region

_ROWS_AT_ONCE = 16  # held in memory before they are written


def features(labels: Sequence[str]) -> Features:
    """Columns of a split: image (encoded bytes that decode upright), image_id, width, height, objects {bbox [x, y, w, h]
    pixels, category}."""
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


def write_split(
    scenes: Iterable[tuple[Scene, Region | None]], labels: Sequence[str], folder: Path, max_pixels: int = 1 << 30
) -> str:
    """Write (scene, region of its picture, None for the whole) pairs as an Arrow folder. Returns the contents' SHA-256.

    A whole picture keeps its encoded bytes where every reader gets the same upright pixels from them; any other becomes a
    PNG. The digest is over pixels and boxes, so that it does not depend on the encoding. Few pictures are in memory at a
    time. Raises DataError when there is no scene.
    """
    digest = hashlib.sha256()
    scratch = folder.with_name(f".{folder.name}.rows")
    scratch.parent.mkdir(parents=True, exist_ok=True)
    with ArrowWriter(path=str(scratch), features=features(labels), writer_batch_size=_ROWS_AT_ONCE) as writer:
        for scene, region in scenes:
            row, pixels = _row(scene, region, max_pixels)
            digest.update(pixels)
            digest.update(repr((row["image_id"], row["objects"], list(labels))).encode())
            writer.write(row)
        written, _ = writer.finalize()
    if not written:
        raise DataError(f"Expected pictures in the split {folder.name!r}, got none.")
    dataset = Dataset.from_file(str(scratch))
    dataset._fingerprint = digest.hexdigest()[:16]  # content instead of a random number: the folder is reproducible
    dataset.save_to_disk(str(folder))
    scratch.unlink()
    return digest.hexdigest()


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the place of `folder` when all went well, and vanishes otherwise."""
    scratch, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    for leftover in (scratch, old):  # of a run that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        if folder.exists():
            folder.rename(old)
        scratch.rename(folder)
    finally:
        for leftover in (scratch, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _row(scene: Scene, region: Region | None, max_pixels: int) -> tuple[dict[str, Any], bytes]:
    """The row, and the pixels of its picture."""
    data = scene.picture.read()
    picture = opened(data, max_pixels)
    pixels = Image.fromarray(picture.pixels)
    if region is not None and region != (0, 0, *pixels.size):
        pixels = pixels.crop(region)
    elif picture.plain:
        return _described(scene, data), pixels.tobytes()
    buffer = io.BytesIO()
    pixels.save(buffer, "PNG", compress_level=3)
    return _described(scene, buffer.getvalue()), pixels.tobytes()


def _described(scene: Scene, data: bytes) -> dict[str, Any]:
    return {
        "image": {"bytes": data, "path": None},
        "image_id": scene.image_id,
        "width": scene.size[0],
        "height": scene.size[1],
        "objects": {
            "bbox": [[left, top, right - left, bottom - top] for left, top, right, bottom in scene.boxes],
            "category": list(scene.classes),
        },
    }
